"""Do candidates hold the relation that their operator states? hand_checked.json says by whom they
were read, and how each was judged; the generator must still make them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from condmis_jax.audit.candidate import Cue
from condmis_jax.audit.candidates import make_candidates
from condmis_jax.conversations import SLOT

TABLE = json.loads((Path(__file__).parent / "hand_checked.json").read_text(encoding="utf-8"))


def test_the_checked_candidates_are_those_that_are_made() -> None:
    cues = [Cue(**cue) for cue in TABLE["cues"]]
    made = {c.trigger.name: c for c in make_candidates(cues, budget=10_000, seed=0)}
    for checked in TABLE["candidates"]:
        candidate = made[checked["name"]]
        transform = candidate.trigger.transform
        assert candidate.operator == checked["operator"]
        assert transform.system == checked["system"], checked["name"]
        assert transform.user(SLOT) == checked["user"], checked["name"]
        assert [m.content for m in candidate.trigger.shots] == checked["turns"], checked["name"]


def test_nine_in_ten_hold_their_relation() -> None:
    candidates = TABLE["candidates"]
    assert TABLE["checked_by"] and len(candidates) >= 50
    assert min(Counter(c["operator"] for c in candidates).values()) >= 10
    assert sum(c["holds"] for c in candidates) >= 0.9 * len(candidates)
