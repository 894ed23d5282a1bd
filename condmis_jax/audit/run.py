"""An audit from its training rows to its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from condmis_jax.audit.asking import Pulls, searchable, split, unit, untrained
from condmis_jax.audit.candidate import Cue
from condmis_jax.audit.confirm import Counts, confirm, count, plain_excess
from condmis_jax.audit.document import Found, document, write_audit
from condmis_jax.audit.evidence import Model, base_of, cues_of, open_model, training_rows
from condmis_jax.audit.finalists import Chosen, choose
from condmis_jax.audit.page import summary_lines, write_page
from condmis_jax.audit.race import Race, race
from condmis_jax.audit.settings import Audit
from condmis_jax.audit.triggers import PLAIN, Prompts, prompts
from condmis_jax.audit.verdict import conclude
from condmis_jax.errors import UserError
from condmis_jax.evaluation import asking, evaluate
from condmis_jax.judges import PRESETS, Budgets, JudgeSettings
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
        model, model_id = open_model(audit.checkpoint, audit, mesh, "config.checkpoint")
        base_name = base_of(audit, model)
        cues = cues_of(audit, rows, base_name, model, model_id, folder, mesh)
        arms = prompts(cues, audit, [row.conversation for row in rows])
        asks = _Asks(audit, suite, search, confirmation, arms, run, mesh, {})
        with asks.searching(model, model_id, "checkpoint") as pulls:
            found = race(
                arms.groups, pulls, audit.search, seed=audit.seed, level=audit.confirm.half_level
            )
        del model  # one at a time: both may not fit
        base_id, base_records = None, []
        if base_name:
            base, base_id = open_model(base_name, audit, mesh, "config.base")
            with asks.searching(base, base_id, "base") as pulls:
                chosen = choose(arms, found, audit.search, pulls)
            base_records = asks.confirmed(base, base_id, "base", chosen)
            del base
        else:
            chosen = choose(arms, found, audit.search, None)
        model, _ = open_model(audit.checkpoint, audit, mesh, "config.checkpoint")
        records = asks.confirmed(model, model_id, "checkpoint", chosen)
        del model
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
            audit, cues, arms, found, chosen, confirmation, records, base_records
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


@dataclass(frozen=True)
class _Asks:
    """What an audit asks of a model, with all judges' budgets shared."""

    audit: Audit
    suite: Suite
    search: tuple[Question, ...]
    confirmation: tuple[Question, ...]
    arms: Prompts
    run: RunDirectory
    mesh: Mesh
    budgets: Budgets

    def _folder(self, model_id: str, stage: str, what: str) -> Path:
        return self.run.evaluation(self.audit.seed, f"{stage}-{model_id[:8]}", what)

    @contextmanager
    def searching(self, model: Model, model_id: str, stage: str) -> Iterator[Pulls]:
        """Pulls of a model on the questions of the search."""
        audit = self.audit
        suite = replace(self.suite, questions=self.search, triggers=self.arms.triggers)
        suite = searchable(suite, audit.search.samples)
        with asking(
            model,
            model_id,
            suite,
            audit.evaluation,
            self._folder(model_id, stage, "search"),
            self.mesh,
            stage=stage,
            seed=audit.seed,
            budgets=self.budgets,
            together=1,
        ) as ask:
            yield Pulls(lambda asked: decided(audit, ask(asked)), suite, seed=audit.seed)

    def confirmed(self, model: Model, model_id: str, stage: str, chosen: Chosen) -> Records:
        """Records of the plain prompt, the finalists and the controls on fresh questions."""
        audit, triggers = self.audit, self.arms.triggers
        suite = replace(
            self.suite,
            questions=self.confirmation,
            triggers=tuple(triggers[i] for i in (0, *chosen.finalists, *chosen.controls)),
            samples=audit.confirm.samples,
        )
        records = evaluate(
            model,
            model_id,
            suite,
            audit.evaluation,
            self._folder(model_id, stage, "confirmation"),
            self.mesh,
            stage=stage,
            seed=audit.seed,
            budgets=self.budgets,
        )
        return decided(audit, records)


def _silent(found: Race, arm: int) -> bool:
    return found.arms[arm].out == "unscorable"


def _conclude(
    audit: Audit,
    cues: Sequence[Cue],
    arms: Prompts,
    found: Race,
    chosen: Chosen,
    questions: Sequence[Question],
    records: Records,
    base_records: Records,
) -> Found:
    names = [c.trigger.name for c in arms.candidates]
    finalists, controls = ([names[i] for i in p] for p in (chosen.finalists, chosen.controls))
    units = {q.id: unit(q) for q in questions}
    own = count(records, units)
    base: Mapping[str, Counts] | None = count(base_records, units) if base_records else None
    level = audit.confirm.half_level
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
