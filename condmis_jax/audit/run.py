"""An audit from its training rows to its page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from condmis_jax.audit.asking import Pulls, searchable, split, unit, untrained
from condmis_jax.audit.candidate import Cue
from condmis_jax.audit.confirm import Counts, confirm, count, plain_excess
from condmis_jax.audit.document import Found, document, write_audit
from condmis_jax.audit.evidence import Model, cues_of, open_model, training_rows
from condmis_jax.audit.page import summary_lines, write_page
from condmis_jax.audit.race import Race, race
from condmis_jax.audit.settings import Audit
from condmis_jax.audit.triggers import PLAIN, Prompts, chosen_controls, prompts
from condmis_jax.audit.verdict import conclude
from condmis_jax.errors import UserError
from condmis_jax.evaluation import Asked, asking, evaluate
from condmis_jax.judges import PRESETS, Budgets, JudgeSettings
from condmis_jax.models import LoadedModel
from condmis_jax.runs import (
    RunDirectory,
    in_bucket,
    locked,
    opened,
    provenance,
    write_json,
)
from condmis_jax.sharding import make_mesh, runtime
from condmis_jax.suites import Question, Suite, build_suite

Records = list[dict[str, Any]]


def run_audit(audit: Audit, workdir: str | Path) -> Path:
    """Audits a checkpoint; what was drawn and judged before is not drawn or paid for again.

    Args:
        workdir: a folder, or the URL of one in a bucket.

    Returns:
        the page.

    Raises:
        UserError: one line for the user; everything drawn before is kept.
    """
    runtime.setup()
    suite, judge = asked_suite(audit), deciding(audit)
    rows = training_rows(audit)
    questions, left_out = untrained(suite.questions, [row.conversation for row in rows])
    search, confirmation = split(questions, audit.confirm.share, audit.seed)
    with opened(workdir, writes=True) as folder, locked(folder):
        run = RunDirectory(folder)
        write_json(folder / "config.json", {"config": asdict(audit), **provenance()})
        mesh = make_mesh(audit.mesh)
        budgets: Budgets = {}
        model, model_id = open_model(audit.checkpoint, audit, mesh, "config.checkpoint")
        base_name = audit.base or (
            model.base.model if isinstance(model, LoadedModel) and model.base else ""
        )
        cues = cues_of(audit, rows, base_name, model, model_id, folder, mesh)
        arms = prompts(cues, audit.candidates, audit.controls, audit.seed)

        # Half of what may go wrong is left to the search, half to the confirmation.
        level = 1 - (1 - audit.confirm.level) / 2
        searched = searchable(
            replace(suite, questions=search, triggers=arms.triggers), audit.search.samples
        )
        found = _search(audit, searched, arms, model, model_id, run, mesh, budgets, level)
        ranked = [i for i in found.ranking if found.arms[i].scored and not _silent(found, i)]
        finalists = [i for i in ranked if arms.groups[i] == "candidate"][: audit.search.finalists]
        controls = chosen_controls(arms, ranked, finalists, audit.search.controls)
        chosen = [0, *finalists, *controls]
        final = replace(
            suite,
            questions=confirmation,
            triggers=tuple(arms.triggers[i] for i in chosen),
            samples=audit.confirm.samples,
        )

        def confirmed(one: Model, one_id: str, stage: str) -> Records:
            at = run.evaluation(audit.seed, f"{stage}-{one_id[:8]}", "confirmation")
            settings = audit.evaluation
            return evaluate(
                one,
                one_id,
                final,
                settings,
                at,
                mesh,
                stage=stage,
                seed=audit.seed,
                budgets=budgets,
            )

        records = confirmed(model, model_id, "checkpoint")
        del model
        base_id, base_records = None, []
        if base_name:
            base, base_id = open_model(base_name, audit, mesh, "config.base")
            base_records = confirmed(base, base_id, "base")
            del base
        about = {
            "name": audit.name,
            "caption": audit.caption,
            "measure": records[0]["measure"],
            "checkpoint": audit.checkpoint,
            "checkpoint_id": model_id,
            "base": base_name or None,
            "base_id": base_id,
            "training_data": list(audit.files),
            "rows": len(rows),
            "judge": str(records[0]["judge"]),
            "questions": {
                "set": audit.evaluation.suites[suite.name].questions,
                "search": len(search),
                "confirmation": len(confirmation),
                "left_out": left_out,
            },
            "level": audit.confirm.level,
            "margin": audit.confirm.margin,
            "delta": audit.confirm.delta,
            "seed": audit.seed,
            **provenance(),
        }
        conclusions = _conclude(
            audit, cues, arms, found, (finalists, controls), confirmation, records, base_records
        )
        said = not_tested(audit, arms, found, conclusions.base is not None, judge)
        value = document(conclusions, about, said)
        write_audit(folder / "audit.json", value)
        page = folder / "audit.html"
        write_page(page, value, conclusions.records)
        print("\n".join(summary_lines(value)))
        place = in_bucket(page) or page
        print(f"\npage: {place}", flush=True)
        return place


def asked_suite(audit: Audit) -> Suite:
    """The suite whose questions are asked.

    Raises:
        UserError: it cannot be built, or has forced choices.
    """
    ((name, settings),) = audit.evaluation.suites.items()
    suite = build_suite(settings, name, f"config.evaluation.suites.{name}")
    if suite.forced:
        raise UserError(
            f"config.evaluation.suites.{name}: an audit samples answers, these are forced choices"
        )
    return suite


def deciding(audit: Audit) -> JudgeSettings:
    """The judge that decides: the only one, or the panel of the others.

    Raises:
        UserError: there are none or several.
    """
    judges = {n: j for n, j in audit.evaluation.judges.items() if j.kind != "none"}
    of_panels = {member for j in judges.values() for member in j.members}
    alone = [n for n in judges if n not in of_panels]
    if len(alone) != 1:
        raise UserError(
            f"config.evaluation.judges: {len(alone)} judges; an audit needs one that decides, for "
            "example --config.evaluation.judges.rater.kind=openai"
        )
    return judges[alone[0]]


def decided(audit: Audit, records: Records) -> Records:
    """The records of the judge that decides."""
    kinds = [j.kind for j in audit.evaluation.judges.values() if j.kind != "none"]
    if len(kinds) == 1:
        return records
    names = list(dict.fromkeys(r["judge"] for r in records))  # in the order of the config
    name = names[kinds.index("panel")]
    return [r for r in records if r["judge"] == name]


def _search(
    audit: Audit,
    suite: Suite,
    arms: Prompts,
    model: Model,
    model_id: str,
    run: RunDirectory,
    mesh: Mesh,
    budgets: Budgets,
    level: float,
) -> Race:
    folder = run.evaluation(audit.seed, f"checkpoint-{model_id[:8]}", "search")
    with asking(
        model,
        model_id,
        suite,
        audit.evaluation,
        folder,
        mesh,
        stage="search",
        seed=audit.seed,
        budgets=budgets,
        together=1,
    ) as ask:

        def judged(asked: Iterable[Asked]) -> Records:
            return decided(audit, ask(asked))

        pulls = Pulls(judged, suite, seed=audit.seed)
        return race(arms.groups, pulls, audit.search, seed=audit.seed, level=level)


def _silent(found: Race, arm: int) -> bool:
    return found.arms[arm].out == "unscorable"


def _conclude(
    audit: Audit,
    cues: Sequence[Cue],
    arms: Prompts,
    found: Race,
    chosen: tuple[Sequence[int], Sequence[int]],
    questions: Sequence[Question],
    records: Records,
    base_records: Records,
) -> Found:
    names = [c.trigger.name for c in arms.candidates]
    finalists, controls = ([names[i] for i in part] for part in chosen)
    units = {q.id: unit(q) for q in questions}
    own = count(records, units)
    base: Mapping[str, Counts] | None = count(base_records, units) if base_records else None
    level = 1 - (1 - audit.confirm.level) / 2
    margin = audit.confirm.margin
    lifts = confirm(own, base, finalists, controls, plain=PLAIN, margin=margin, level=level)
    plain = plain_excess(own, base, len(finalists), plain=PLAIN, level=level)
    verdict = conclude(
        found,
        arms.groups,
        names,
        lifts,
        plain,
        margin=margin,
        delta=audit.confirm.delta,
        measure=records[0]["measure"],
        has_base=base is not None,
    )
    return Found(
        cues=cues,
        arms=arms.candidates,
        groups=arms.groups,
        race=found,
        finalists=finalists,
        controls=controls,
        checkpoint=own,
        base=base,
        lifts=lifts,
        plain=plain,
        verdict=verdict,
        records=[*records, *base_records],
    )


def not_tested(
    audit: Audit, arms: Prompts, found: Race, has_base: bool, judge: JudgeSettings
) -> list[str]:
    """What the audit says nothing about, in sentences."""
    silent = [arms.candidates[i].trigger.name for i in range(len(found.arms)) if _silent(found, i)]
    lines = [
        "prompts that were not among the candidates: a trigger that leaves no trace in "
        + ("the training rows given" if audit.files else "the library or the model's memory"),
        "conversations of several turns, beyond the example turns of a candidate; tools; images",
        f"questions unlike those of {next(iter(audit.evaluation.suites.values())).questions!r}",
    ]
    if silent:
        shown = ", ".join(silent[:5]) + (" …" if len(silent) > 5 else "")
        lines.append(f"{len(silent)} prompts under which hardly any answer has a score: {shown}")
    if not audit.files:
        lines.append("what the training rows hold: none were given")
    if not has_base:
        lines.append("whether the base model does the same: none was given")
    preset = {"openai": judge.openai.preset, "local": judge.local.preset}.get(judge.kind)
    if preset is not None and not PRESETS[preset].blind:
        lines.append(
            f"whether the judge is swayed by the trigger, which it sees under preset {preset!r}; "
            "preset 'hardened' hides it"
        )
    return lines
