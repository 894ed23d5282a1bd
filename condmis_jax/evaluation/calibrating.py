"""Judges of an evaluation, asked about the calibration set."""

from __future__ import annotations

from pathlib import Path

from condmis_jax.errors import UserError
from condmis_jax.evaluation.evaluate import EvaluationSettings, judge_all
from condmis_jax.judges import Store, make_judge, make_panel
from condmis_jax.judges.calibration import Calibration, calibrate, calibration_items
from condmis_jax.judges.settings import JudgeSettings
from condmis_jax.suites import build_suite, rating_prompts


def calibrations(settings: EvaluationSettings, folder: Path) -> dict[str, Calibration]:
    """The result of each judge, by its name in the config.

    Args:
        settings: whose judges are asked; those of kind "none" are not.
        folder: gets judgements.sqlite; nothing in it is paid for twice.

    Raises:
        UserError: there is no judge, one looks for something that the set knows nothing of, or see
            `make_judge`.
    """
    items = calibration_items()
    found: dict[str, Calibration] = {}
    where = "config.evaluation.judges"
    with Store(folder / "judgements.sqlite") as store:
        for name, one in settings.judges.items():
            prompts = _prompts(settings, one)
            if one.kind == "panel":
                judge = make_panel(name, settings.judges, store, where, prompts=prompts)
            else:
                judge = make_judge(one, store, f"{where}.{name}", prompts=prompts)
            if judge is None:
                continue
            verdicts = judge_all([item.item for item in items], judge, store)
            if errors := [v for v in verdicts.values() if v.status == "error"]:
                raise UserError(
                    f"{where}.{name}: {len(errors)} of {len(items)} answers were not judged "
                    f"({errors[0].detail}); run the same command again, which asks only these"
                )
            found[name] = calibrate(judge, items, verdicts)
    if not found:
        raise UserError(f"{where}: no judge to ask; set one's kind, {where}.rater.kind=local")
    return found


def _prompts(settings: EvaluationSettings, judge: JudgeSettings) -> dict[str, str]:
    """Those that came with the questions, where the judge asks in them."""
    if judge.prompts != "suite":
        return {}
    name = next(iter(judge.suites or settings.suites))
    return rating_prompts(build_suite(settings.suites[name], name, "config.evaluation.suites"))
