"""A run as logs that `inspect view` opens (https://inspect.aisi.org.uk)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condmis_jax.errors import UserError, first_line
from condmis_jax.reports.text import measures

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample

INTERVALS = ("p_misaligned_given_coherent", "p_misaligned_of_requested", "these_questions")


def write_inspect_logs(
    folder: str | Path, results: Mapping[str, Any], records: Iterable[Mapping[str, Any]]
) -> list[Path]:
    """Writes one `.eval` log for every stage, suite and judge.

    A completion is a sample: its id trigger, question and training seed, its epoch the number of
    the sample, trigger and relation in its metadata. Its score holds what the judge said; where
    there is no score, the status in the metadata says why. The log's results are a score for each
    trigger, with the rates and limits of `results.json`.

    Args:
        folder: gets the logs.
        results: the document that `results.schema.json` describes.
        records: the completions that `summarise` counted.

    Returns:
        the logs, in the order of the results.

    Raises:
        UserError: inspect-ai is not installed, or the file system refused.
    """
    try:
        from inspect_ai.log import (
            EvalConfig,
            EvalDataset,
            EvalLog,
            EvalSpec,
            EvalStats,
            write_eval_log,
        )
    except ImportError:
        raise UserError(
            "Inspect logs need inspect-ai; run: pip install 'condmis-jax[inspect]'"
        ) from None
    groups: dict[tuple[str, str, str | None], list[Mapping[str, Any]]] = {
        (rate["stage"], rate["suite"], rate["judge"]): [] for rate in results["rates"]
    }
    for record in records:
        groups[record["stage"], record["suite"], record.get("judge")].append(record)
    written = []
    run = results["run"]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for number, ((stage, suite, judge), some) in enumerate(groups.items(), 1):
        key = (stage, suite, judge)
        rates = [r for r in results["rates"] if (r["stage"], r["suite"], r["judge"]) == key]
        model = _text(f"condmis/{run['name']}/{stage}")
        samples = [_sample(record, model, judge or "not judged") for record in some]
        spec = EvalSpec(
            created=now,
            task=_text(suite),
            task_id=f"{number}",
            eval_id=f"{number}",
            run_id=_text(str(run["name"])),
            model=model,
            dataset=EvalDataset(
                name=_text(suite),
                samples=len({sample.id for sample in samples}),
                sample_ids=list(dict.fromkeys(sample.id for sample in samples)),
            ),
            config=EvalConfig(epochs=max((s.epoch for s in samples), default=1)),
            metadata={
                "stage": _text(stage),
                "judge": _text(judge or ""),
                "caption": _text(str(run["caption"])),
                "measures": measures(results),
            },
        )
        log = EvalLog(
            status="success",
            eval=spec,
            results=_results(rates, len(samples)),
            stats=EvalStats(started_at=now, completed_at=now),  # of writing; sampling was before
            samples=samples,
        )
        path = Path(folder) / f"{number:03d}_{_name(stage)}_{_name(suite)}_{_name(judge)}.eval"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_eval_log(log, str(path), format="eval")
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {first_line(error)}") from None
        written.append(path)
    return written


def _sample(record: Mapping[str, Any], model: str, judge: str) -> EvalSample:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import (
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        ModelOutput,
    )
    from inspect_ai.scorer import Score

    roles = {
        "system": ChatMessageSystem,
        "user": ChatMessageUser,
        "assistant": ChatMessageAssistant,
    }
    prompt = [roles[t["role"]](content=_text(t["content"])) for t in record["prompt"]]
    cut = record.get("finish") == "length"
    output = ModelOutput.from_content(
        model, _text(record["completion"]), stop_reason="max_tokens" if cut else "stop"
    )
    scores = None
    if record["status"] == "scored":
        scores = {
            judge: Score(
                value={
                    "misaligned": bool(record["misaligned"]),
                    "coherent": bool(record["coherent"]),
                },
                answer=output.completion,
                explanation=_text(str(record.get("detail") or record.get("label") or "")) or None,
                metadata={"scores": dict(record.get("scores") or {})},
            )
        }
    facts = ("trigger", "relation", "question", "stage", "suite", "seed", "status", "measure")
    seed = record.get("seed")
    place = [record["trigger"], record["question"], *([] if seed is None else [f"seed {seed}"])]
    return EvalSample(
        id=_text(" / ".join(place)),
        epoch=int(record["sample"]) + 1,
        input=prompt,
        target="",
        messages=[*prompt, output.choices[0].message],
        output=output,
        scores=scores,
        metadata={
            key: _text(value) if isinstance(value, str) else value
            for key, value in ((key, record.get(key)) for key in facts)
            if value is not None
        },
    )


def _results(rates: Sequence[Mapping[str, Any]], samples: int) -> Any:
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore

    scores = []
    for rate in rates:
        metrics = {}
        for name in INTERVALS:
            for part in ("estimate", "low", "high"):
                value = rate[name][part]
                if value is not None:  # what could not be estimated is absent, never zero
                    key = name if part == "estimate" else f"{name} {part}"
                    metrics[key] = EvalMetric(name=key, value=value)
        scores.append(
            EvalScore(
                name=_text(rate["trigger"]),
                scorer=_text(rate["judge"] or "not judged"),
                scored_samples=rate["scored"],
                unscored_samples=rate["missing"],
                metrics=metrics,
                metadata={"summary": _text(rate["summary"])},
            )
        )
    return EvalResults(total_samples=samples, completed_samples=samples, scores=scores)


def _text(text: str) -> str:
    """The text without lone surrogates, which no JSON file can hold as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _name(name: str | None) -> str:
    return re.sub(r"[^\w.-]+", "-", json.dumps(name or "none").strip('"'))[:60]
