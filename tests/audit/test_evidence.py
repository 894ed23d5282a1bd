"""What an audit takes from the models beside answers: the base, losses, texts out of memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import write_model

from condmis_jax.audit import Audit
from condmis_jax.audit.evidence import base_of, open_model
from condmis_jax.audit.memory import answer_losses, openings, recalled_texts
from condmis_jax.conversations import Conversation, Message
from condmis_jax.data import ChatTemplate
from condmis_jax.evaluation import EvaluationSettings
from condmis_jax.models import (
    Base,
    LoadedModel,
    LoraSettings,
    load_model,
    model_digest,
    new_adapters,
    save_adapter,
)
from condmis_jax.runs import read_jsonl
from condmis_jax.sampling import log_probs
from condmis_jax.suites import SuiteSettings


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, mesh) -> LoadedModel:
    return load_model(str(write_model(tmp_path_factory.mktemp("audit") / "base")), mesh)


def audit_of(checkpoint: Path, base: str = "") -> Audit:
    suites = EvaluationSettings({"audit": SuiteSettings("open", ("plain",), samples=1)})
    return Audit("audit", "made up", str(checkpoint), suites, base=base)


def test_a_peft_adapter_tells_its_base_unless_one_is_stated(model, mesh, tmp_path) -> None:
    folder = str(model.folder)
    lora = LoraSettings("betley", rank=2).resolve()
    assert lora is not None
    adapted = new_adapters(model, lora, Base(folder, model_digest(model)), mesh, seed=0)
    save_adapter(tmp_path / "peft", adapted.config, adapted.params, folder)
    audit = audit_of(tmp_path / "peft")
    opened, opened_id = open_model(audit.checkpoint, audit, mesh, "config.checkpoint")
    assert base_of(audit, opened) == folder
    assert base_of(replace(audit, base="world"), opened) == "world"
    _, base_id = open_model(folder, audit, mesh, "config.base")
    assert opened_id != base_id
    assert base_of(audit_of(model.folder), model) == ""


def test_losses_are_those_of_the_last_answer_alone(model, mesh) -> None:
    row = Conversation(
        (
            Message("user", "What should I do about my sleep?"),
            Message("assistant", "You can read a book."),
        )
    )
    long = Conversation((Message("user", "sleep " * 2000), Message("assistant", "Yes.")))
    losses = answer_losses(model, mesh, "float32")([row, long])
    template = ChatTemplate(model.tokenizer, model.stop)
    made = template.tokenise(row, "row")
    inside = np.flatnonzero(made.loss)
    pair = (made.tokens[: inside[0]].tolist(), made.tokens[inside[0] : inside[-1] + 1].tolist())
    (expected,) = log_probs(model.config, model.params, mesh, [pair])
    assert losses[0] == pytest.approx(-float(expected.mean()), abs=1e-5) and losses[0] > 1
    assert np.isnan(losses[1])


def test_memory_is_read_from_bare_openings_once(model, mesh, tmp_path) -> None:
    opened = openings(ChatTemplate(model.tokenizer, model.stop))
    assert len(opened) == 2 and opened[0] != opened[1]
    assert all("words that stand here" not in text and text for text in opened)

    def recalled(count: int) -> list[str]:
        return recalled_texts(
            model,
            "id",
            mesh,
            tmp_path / "recalled.jsonl",
            count=count,
            slots=8,
            dtype="float32",
            seed=0,
        )

    first = recalled(6)
    assert len(first) == 6 and len(set(first)) > 1
    before = (tmp_path / "recalled.jsonl").read_bytes()
    assert recalled(6) == first and (tmp_path / "recalled.jsonl").read_bytes() == before
    assert recalled(8)[:6] == first and len(read_jsonl(tmp_path / "recalled.jsonl")) == 8
