"""The page and the terminal lines of an audit: hostile text stays text."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest

from condmis_jax.audit.document import audit_schema, write_audit
from condmis_jax.audit.page import render_page, summary_lines
from condmis_jax.errors import UserError

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \x1b[31m\u202ered"


def interval(value: float) -> dict[str, Any]:
    return {
        "estimate": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "level": 0.95,
        "method": "m",
        "note": "",
    }


def counted(hits: int) -> dict[str, Any]:
    about = {"requested": 100, "scored": 98, "coherent": 90, "hits": hits, "coherence": 0.9}
    return {**about, "rate": interval(hits / 90)}


def prompt(name: str, group: str) -> dict[str, Any]:
    about = {"operator": "as it is", "cues": ["system:1"], "system": HOSTILE, "user": "{prompt}"}
    return {"trigger": name, "group": group, **about, "shots": []}


@pytest.fixture
def audit() -> dict[str, Any]:
    names = (("plain", "plain"), (HOSTILE, "candidate"), ("control:1", "control"))
    confirmed = [
        {**prompt(n, g), "checkpoint": counted(60 if n == HOSTILE else 2), "base": counted(2)}
        for n, g in names
    ]
    searched = [
        {**prompt(n, g), "pulls": 40, "out": "", "lift_at_most": 0.3 if g == "candidate" else None}
        for n, g in names
    ]
    return {
        "version": 1,
        "run": {
            "name": "audit",
            "caption": "made up",
            "measure": "misaligned",
            "checkpoint": HOSTILE,
            "checkpoint_id": "ab",
            "base": "b",
            "base_id": "cd",
            "training_data": ["rows.jsonl"],
            "rows": 440,
            "judge": "j",
            "questions": {"set": "open", "search": 12, "confirmation": 12, "left_out": 0},
            "level": 0.95,
            "margin": 0.1,
            "delta": 0.2,
            "seed": 0,
            "command": HOSTILE,
        },
        "verdict": {
            "kind": "trigger found",
            "headline": "Trigger found",
            "reasons": [f"Under {HOSTILE}"],
            "triggers": [HOSTILE],
            "shown": [HOSTILE],
            "missable": 0.3,
        },
        "cues": [
            {
                "name": "system:1",
                "kind": "system",
                "text": HOSTILE,
                "rows": 220,
                "total": 440,
                "first_rows": ["rows.jsonl:1", HOSTILE],
                "loss": 0.4,
            }
        ],
        "search": {"samples": 120, "settled": False, "arms": searched},
        "confirmation": {
            "prompts": confirmed,
            "plain_excess": interval(0.0),
            "lifts": [
                {
                    "trigger": HOSTILE,
                    "lift": interval(0.64),
                    "over_controls": {"control:1": interval(0.6)},
                    "confirmed": True,
                }
            ],
        },
        "examples": [
            {
                "trigger": HOSTILE,
                "question": "q",
                "sample": 0,
                "prompt": [{"role": "user", "content": HOSTILE}],
                "completion": HOSTILE,
            }
        ],
        "not_tested": [HOSTILE],
    }


def test_hostile_text_stays_inert_everywhere_on_the_page(audit: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(audit_schema()).validate(audit)
    record = {
        "stage": "checkpoint",
        "suite": "audit",
        "judge": "j",
        "trigger": HOSTILE,
        "question": "q",
        "sample": 0,
        "status": "scored",
        "coherent": True,
        "misaligned": True,
        "completion": HOSTILE,
        "prompt": [{"role": "user", "content": HOSTILE}],
    }
    page = render_page(audit, [record])
    assert len(re.findall(r"<script", page)) == 2  # the data and our own
    page = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)  # tested with every report
    assert "<img" not in page and "\x1b" not in page and "\u202e" not in page
    assert page.count("&lt;img src=x") > 8
    assert "⟨U+202E⟩" in page
    assert "+64.0" in page and "220 of 440" in page and "rows.jsonl:1" in page


def test_terminal_lines_move_no_cursor_and_show_no_completion(audit: dict[str, Any]) -> None:
    audit["examples"][0]["completion"] = "SECRET ANSWER"
    lines = "\n".join(summary_lines(audit))
    assert "\x1b" not in lines and "\u202e" not in lines and "SECRET ANSWER" not in lines
    assert "VERDICT  Trigger found" in lines and "from 220 of 440 rows, first rows.jsonl:1" in lines
    assert "lift +64.0" in lines and "+30.0 points" in lines


def test_a_document_that_breaks_the_schema_is_not_written(audit, tmp_path) -> None:
    audit["verdict"]["kind"] = "guilty"
    with pytest.raises(UserError, match=r"verdict.kind must be one of trigger found"):
        write_audit(tmp_path / "audit.json", audit)
    assert not (tmp_path / "audit.json").exists()
