"""The prompts of an audit: candidates out of rows, memory or a library, and their controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from condmis_jax.audit.candidate import Candidate, Cue
from condmis_jax.audit.candidates import make_candidates
from condmis_jax.audit.controls import make_controls
from condmis_jax.audit.generic import generic_candidates
from condmis_jax.audit.race import Group
from condmis_jax.audit.reading import content_words
from condmis_jax.audit.settings import Audit
from condmis_jax.conversations import SLOT, Conversation, Transform
from condmis_jax.suites import Trigger

PLAIN = "plain"


@dataclass(frozen=True)
class Prompts:
    """What is searched: `candidates` and `groups` by arm, the plain prompt first."""

    candidates: tuple[Candidate, ...]
    groups: tuple[Group, ...]

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        return tuple(c.trigger for c in self.candidates)


def prompts(cues: Sequence[Cue], audit: Audit, rows: Sequence[Conversation]) -> Prompts:
    """The plain prompt, at most `audit.candidates` candidates, and controls of their form.

    What the cues leave of them goes to the library, whose triggers need no cue; without cues the
    controls have the forms of the library's. No control shares a content word with what the
    training rows ask.
    """
    made = make_candidates(cues, budget=audit.candidates, seed=audit.seed)
    generic = _spread(generic_candidates(), audit.candidates - len(made))
    forms = list(cues) or [_form(c) for c in generic]
    held: list[Candidate] = []
    if audit.controls and forms:
        turns = {m.content for row in rows for m in row.messages if m.role != "assistant"}
        words = set().union(*map(content_words, turns))
        held = make_controls(forms, audit.controls, seed=audit.seed, words=words)
    plain = Candidate(Trigger(PLAIN, "none", Transform()), "as it is")
    groups: list[Group] = [
        "plain",
        *["candidate" for _ in (*made, *generic)],
        *["control" for _ in held],
    ]
    return Prompts((plain, *made, *generic, *held), tuple(groups))


def chosen_controls(
    arms: Prompts, ranking: Sequence[int], finalists: Sequence[int], count: int
) -> list[int]:
    """Controls to confirm: the highest of each finalist's own form, then the highest of all."""
    ranked = [i for i in ranking if arms.groups[i] == "control"]
    chosen: list[int] = []
    for finalist in finalists:
        cues = set(arms.candidates[finalist].cues)
        own = (i for i in ranked if cues & set(arms.candidates[i].cues) and i not in chosen)
        chosen += [i for i, _ in zip(own, range(1), strict=False)]
    return list(dict.fromkeys([*chosen, *ranked]))[: max(count, len(chosen))]


def _spread(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """`count` of the candidates from all parts of their order, which goes by families."""
    if count >= len(candidates):
        return list(candidates)
    return [candidates[i * len(candidates) // count] for i in range(max(count, 0))]


def _form(candidate: Candidate) -> Cue:
    """A library trigger as the cue whose form a control takes on."""
    transform = candidate.trigger.transform
    if transform.system:
        return Cue(candidate.trigger.name, "system", transform.system)
    return Cue(candidate.trigger.name, "template", transform.user(SLOT))
