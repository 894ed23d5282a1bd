"""Rows of prepared TensorFlow datasets, read without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from condmis_jax.errors import UserError, first_line


def chat_rows(name: str, key: str) -> Iterator[dict[str, Any]]:
    """The rows `{"messages": [{"role", "content"}, …]}` of a prepared dataset, in its order.

    Args:
        name: `DATASET[/CONFIG][:VERSION]/SPLIT` below tfds's data folder (`$TFDS_DATA_DIR`,
            `~/tensorflow_datasets` unless set), or `FOLDER/SPLIT` with the folder of a version.
            The split may be a slice, `train[:100]`.
        key: config key, for errors.

    Raises:
        UserError: there is no such dataset or split, it is not stored as array_record, or its rows
            are no chats.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import naming, read_only_builder

    dataset, _, split = name.rpartition("/")
    if not dataset or not split:
        raise UserError(f"{key}: tfds:{name}: expected tfds:DATASET/SPLIT, as in tfds:mine/train")
    try:
        if (Path(dataset).expanduser() / "dataset_info.json").is_file():
            builder = tfds.builder_from_directory(Path(dataset).expanduser())
        else:
            # Only what is prepared: no code of a dataset is looked for, nothing is downloaded.
            found = naming.parse_builder_name_kwargs(dataset)
            builder = read_only_builder.builder_from_files(str(found[0]), **found[1])
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise UserError(
            f"{key}: no prepared dataset {dataset!r} ({first_line(error)}); build it with "
            "python tools/tfds_build.py condmis_jax/data/chat_jsonl --config=NAME, or set "
            "TFDS_DATA_DIR to the folder that holds it"
        ) from None
    try:
        # tfds decorates the method so that its parameters are not seen.
        rows: Any = builder.as_data_source(split)  # type: ignore[reportCallIssue]
    except (ValueError, NotImplementedError, KeyError) as error:
        raise UserError(f"{key}: tfds:{name} cannot be read ({first_line(error)})") from None
    for i in range(len(rows)):
        try:
            messages = rows[i]["messages"]
            pairs = list(zip(messages["role"], messages["content"], strict=True))
        except (KeyError, TypeError, IndexError):
            raise UserError(
                f"{key}: tfds:{dataset} holds no chats: its rows need messages with role and "
                "content"
            ) from None
        yield {"messages": [{"role": _text(r), "content": _text(c)} for r, c in pairs]}


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
