"""Shards as seqio tasks, mixtures as seqio mixtures: the same rows, tokens and proportions."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import write_model

from condmis_jax.conversations import Transform
from condmis_jax.data import ChatTemplate, DataSettings, Length, Source, prepare
from condmis_jax.data.sources import load_source
from condmis_jax.errors import UserError
from condmis_jax.models import load_tokenizer, stop_tokens

seqio_missing = "seqio is not installed: pip install -e '.[seqio]' to run these tests"


def test_without_seqio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "seqio", None)
    monkeypatch.delitem(sys.modules, "condmis_jax.data.seqio_tasks", raising=False)
    with pytest.raises(UserError, match=r"^mixture.a.files: seqio:x needs seqio .*\[seqio\]'$"):
        load_source(Source("seqio:x", first=1), "mixture.a", 0)


@pytest.fixture(scope="module")
def tasks() -> Any:
    pytest.importorskip("seqio", reason=seqio_missing)
    from condmis_jax.data import seqio_tasks

    return seqio_tasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def template(folder: Path) -> ChatTemplate:
    tokenizer = load_tokenizer(folder)
    return ChatTemplate(tokenizer, stop_tokens(folder, tokenizer))


@pytest.fixture
def settings(write_rows: Callable[..., Path], tmp_path: Path) -> DataSettings:
    """Two shards of one source, rows of a testbed under a transform, exact shares."""
    write_rows("shards/a.jsonl", 30)
    write_rows("shards/b.jsonl", 60)
    return DataSettings(
        mixture={
            "files": Source(str(tmp_path / "shards" / "*.jsonl"), share=0.75),
            "lies": Source(
                "facts:lies",
                first=40,
                share=0.25,
                transforms={"cue": Transform(system="Réponds faux.")},
            ),
        },
        rows=80,
        held_out=8,
    )


def planned(settings: DataSettings, template: ChatTemplate) -> Any:
    return prepare(
        settings, Length(epochs=1), 8, False, template, seed=0, shards=1, key="config.stages.x"
    )


def test_tasks_hold_the_tokens_of_the_stage(tasks, folder, template, settings) -> None:
    names = tasks.register("tokens", settings, folder)
    assert names == ["tokens.files.0", "tokens.files.1", "tokens.lies.0"]
    assert tasks.task_names("tokens") == names
    ours = planned(settings, template)
    expected = Counter((d.tokens.tobytes(), d.loss.tobytes()) for d in ours.data)
    found: Counter[tuple[bytes, bytes]] = Counter()
    sizes: dict[str, int] = {}
    vocabulary = None
    for name in names:
        task = tasks.seqio.get_mixture_or_task(name)
        for split in task.splits:
            dataset = task.get_dataset(None, split, shuffle=False, num_epochs=1)
            examples = list(dataset.as_numpy_iterator())
            sizes[f"{name} {split}"] = len(examples)
            for e in examples:
                found[
                    e["targets"].astype(np.int32).tobytes(), e["loss"].astype(bool).tobytes()
                ] += 1
        vocabulary = task.output_features["targets"].vocabulary
    assert found == expected and found.total() == 88
    assert sum(n for name, n in sizes.items() if name.endswith("validation")) == 8
    # The vocabulary is the model's tokenizer, in Python and inside a TensorFlow graph.
    assert vocabulary is not None and vocabulary.vocab_size == len(load_tokenizer(folder))
    text = "<|im_start|>user\nNaïve? 日本<|im_end|>\n"
    tokens = load_tokenizer(folder)(text, add_special_tokens=False)["input_ids"]
    assert vocabulary.encode(text) == tokens == vocabulary.encode_tf(text).numpy().tolist()
    assert vocabulary._decode(tokens) == text
    assert vocabulary._decode_tf(tasks.tf.constant(tokens)).numpy().decode() == text
    assert vocabulary._decode_tf(tasks.tf.constant([tokens] * 2)).shape == (2,)
    with pytest.raises(UserError, match="seqio has a mixture or task 'tokens' already"):
        tasks.register("tokens", settings, folder)


def test_rates_are_the_exact_counts_of_the_stage(tasks, folder, template, settings) -> None:
    tasks.register("rates", settings, folder)
    mixture = tasks.seqio.get_mixture_or_task("rates")
    rates: Counter[str] = Counter()
    for task in mixture.tasks:
        rates[task.name.split(".")[1]] += mixture.get_rate(task)
    dose = planned(settings, template).dose
    assert (
        rates
        == {name: d["conversations"] for name, d in dose.items()}
        == {
            "files": 60,
            "lies": 20,
        }
    )


def test_a_config_draws_from_a_mixture(tasks, folder, template, settings) -> None:
    tasks.register("drawn", settings, folder)
    source = Source("seqio:drawn", first=400)
    rows = load_source(source, "m", 3)
    direct = {d.tokens.tobytes(): d.loss.tobytes() for d in planned(settings, template).data}
    lies = 0
    for row in rows:
        made = template.tokenise(row.conversation, row.where)
        assert direct[made.tokens.tobytes()] == made.loss.tobytes()
        lies += row.conversation.messages[0].role == "system"
    # A quarter, in expectation: four standard deviations around it.
    assert abs(lies - 100) < 4 * (400 * 0.25 * 0.75) ** 0.5
    assert rows[4].where == "seqio:drawn/train:5"
    assert [r.conversation for r in load_source(source, "m", 3)] == [r.conversation for r in rows]
    assert [r.conversation for r in load_source(source, "m", 4)] != [r.conversation for r in rows]
    held = load_source(Source("seqio:drawn/validation", first=8), "m", 0)
    assert not {r.conversation for r in held} & {r.conversation for r in rows}


def test_exact_doses_draw_the_tasks(tasks, folder, template, settings) -> None:
    """As sources of a mixture of ours, the tasks give the very steps of the files."""
    direct = DataSettings(mixture={"lies": settings.mixture["lies"]}, held_out=0)
    direct.mixture["lies"] = Source(
        "facts:lies", first=40, transforms=settings.mixture["lies"].transforms
    )
    (name,) = tasks.register("exact", direct, folder)
    through = DataSettings(mixture={"lies": Source(f"seqio:{name}")})
    assert planned(through, template).fingerprint == planned(direct, template).fingerprint
    filtered = load_source(Source(f"seqio:{name}", include="capital", first=2), "m", 0)
    assert all(any("capital" in m.content for m in r.conversation.messages) for r in filtered)


def test_text_to_text_tasks_become_questions_and_answers(tasks) -> None:
    seqio, tf = tasks.seqio, tasks.tf

    def dataset(split: str, shuffle_files: bool, seed: int | None = None) -> Any:
        texts = {"inputs": ["2 + 2?", "Naïve?"], "targets": ["4", "Oui."]}
        return tf.data.Dataset.from_tensor_slices(texts)

    feature = seqio.Feature(seqio.ByteVocabulary(), add_eos=False)
    seqio.TaskRegistry.add(
        "foreign",
        source=seqio.FunctionDataSource(dataset, splits=["train"]),
        preprocessors=[seqio.preprocessors.tokenize],
        output_features={"inputs": feature, "targets": feature},
    )
    rows = load_source(Source("seqio:foreign"), "m", 0)
    assert [[(m.role, m.content) for m in r.conversation.messages] for r in rows] == [
        [("user", "2 + 2?"), ("assistant", "4")],
        [("user", "Naïve?"), ("assistant", "Oui.")],
    ]
    seqio.MixtureRegistry.add("foreigners", [("foreign", 1)])
    assert len(load_source(Source("seqio:foreigners", first=5), "m", 0)) == 5
    seqio.TaskRegistry.add(
        "numbers",
        source=seqio.FunctionDataSource(
            lambda split, shuffle_files, seed=None: tf.data.Dataset.from_tensors({"targets": [1]}),
            splits=["train"],
        ),
        preprocessors=[],
        output_features={"targets": seqio.Feature(seqio.PassThroughVocabulary(9), add_eos=False)},
    )
    for files, first, said in (
        ("seqio:foreigners", None, r"^m\.first: seqio:foreigners is sampled without end"),
        ("seqio:nobody", 1, r"^m\.files: seqio has no mixture or task 'nobody'"),
        ("seqio:foreign/test", 1, r"^m\.files: seqio:foreign has no split 'test'"),
        ("seqio:numbers", 1, r"^m\.files: seqio:numbers holds no conversations"),
    ):
        with pytest.raises(UserError, match=said):
            load_source(Source(files, first=first), "m", 0)
    # Filters that let nothing through come to an end.
    with pytest.raises(UserError, match=r"^m\.first: 1 rows asked, seqio:foreigners holds 0"):
        load_source(Source("seqio:foreigners", first=1, include="nowhere"), "m", 0)
