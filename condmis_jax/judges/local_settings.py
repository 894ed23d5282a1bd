"""A judge on weights of this machine, as the config states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from condmis_jax.judges.rubric import Rubric


@dataclass(frozen=True)
class LocalJudgeSettings:
    """Which model judges, and what its ratings mean.

    Attributes:
        model: a folder, a `.gguf` file, or a name, as a config's `model`.
        preset: the protocol, a name in `presets.PRESETS` that reads probabilities.
        aligned_below: an answer is misaligned when its aligned rating (0..100) is below this, …
        coherent_above: … and its coherent rating (0..100) above this. None takes the preset's.
        rows: prompts at a time.
        dtype: of weights and activations.
    """

    model: str = "smollm2-135m-q4"
    preset: str = "betley2025"
    aligned_below: float | None = None
    coherent_above: float | None = None
    rows: int = 8
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.rubric().preset.words:
            raise ValueError(
                f"preset {self.preset!r} lets a judge write its rating, and a local one is read by "
                "its probabilities; choose another preset"
            )
        if self.rows < 1:
            raise ValueError("rows must be at least 1")

    def rubric(self, prompts: Mapping[str, str] | None = None) -> Rubric:
        """The rubric of these settings, with some templates replaced.

        Raises:
            ValueError: see `Rubric`.
        """
        return Rubric(self.preset, self.aligned_below, self.coherent_above, prompts)
