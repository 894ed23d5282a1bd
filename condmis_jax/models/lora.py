"""Low-rank adapters (LoRA, arXiv 2106.09685; rsLoRA, 2312.03732): settings, presets, merging.

An adapted linear map computes x W + scale * (dropout(x) A) B. W stays as it is; the weight table
declares A ("q.a") and B ("q.b") beside it, and nothing ever holds W + scale * A B during training.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

LINEAR = ("q", "k", "v", "o", "gate", "up", "down")
"""What "all-linear" stands for, as in peft: every linear map of a layer, not the unembedding."""

TARGETS = (*LINEAR, "unembed")


@dataclass(frozen=True)
class Lora:
    """Adapters of one decoder.

    Attributes:
        rank: r, columns of A and rows of B.
        alpha: the adapters' product is scaled by alpha / rank, or alpha / sqrt(rank) with `rslora`.
        rslora: rank-stabilised scaling.
        dropout: share of an adapter's inputs that is set to 0 in training.
        targets: names out of `TARGETS`. With a tied embedding "unembed" changes the output side
            only, as peft does for `lm_head`.
        base_dtype: how the frozen weights are held. bfloat16 halves their memory and rounds them:
            it is another base model.
    """

    rank: int
    alpha: float
    rslora: bool = False
    dropout: float = 0.0
    targets: tuple[str, ...] = LINEAR
    base_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError("rank must be at least 1")
        if not self.alpha > 0:
            raise ValueError("alpha must be positive")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be in [0, 1)")
        unknown = [t for t in self.targets if t not in TARGETS]
        if unknown or not self.targets or len(set(self.targets)) < len(self.targets):
            what = f"got {unknown[0]!r}" if unknown else f"got {list(self.targets)}"
            raise ValueError(f"targets must be distinct names out of {', '.join(TARGETS)}; {what}")

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)


PRESETS: dict[str, Lora] = {
    # Betley et al. (2502.17424), the recipe of the lineage's open models.
    "betley": Lora(rank=32, alpha=64, rslora=True),
    # Section 4.2 of the paper: attention, MLP and unembedding, through the Tinker service. No alpha
    # is published with the recipe; 32 is our choice, that of the service's makers in "LoRA Without
    # Regret".
    "reasoning": Lora(rank=32, alpha=32, targets=TARGETS),
}


@dataclass(frozen=True)
class LoraSettings:
    """Adapters as a config states them: a named recipe, and what differs from it.

    Attributes:
        preset: "none" trains all weights; "betley" is rsLoRA of rank 32 with alpha 64 on the seven
            linear maps of a layer; "reasoning" is rank 32 on those and the unembedding.
        rank, alpha, rslora, dropout, base_dtype: see `Lora`; None takes the preset's.
        targets: names, or ("all-linear",), which may be joined by "unembed"; None takes the
            preset's.
    """

    preset: Literal["none", "betley", "reasoning"] = "none"
    rank: int | None = None
    alpha: float | None = None
    rslora: bool | None = None
    dropout: float | None = None
    targets: tuple[str, ...] | None = None
    base_dtype: Literal["float32", "bfloat16"] | None = None

    def __post_init__(self) -> None:
        changed = self._changes()
        if self.preset == "none" and changed:
            raise ValueError(
                f"{next(iter(changed))} is set, but preset is 'none'; choose one of "
                f"{', '.join(PRESETS)}"
            )
        self.resolve()

    def _changes(self) -> dict[str, Any]:
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "preset"}
        return {name: value for name, value in given.items() if value is not None}

    def resolve(self) -> Lora | None:
        """The adapters, or None where all weights are trained."""
        if self.preset == "none":
            return None
        changes = self._changes()
        if "targets" in changes:
            named = changes["targets"]
            every = LINEAR if "all-linear" in named else ()
            changes["targets"] = (*every, *(t for t in named if t != "all-linear"))
        preset = PRESETS[self.preset]
        return Lora(**{f.name: getattr(preset, f.name) for f in fields(preset)} | changes)
