"""Candidate triggers made from cues."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from condmis_jax.audit.candidate import Candidate, Cue, Operator
from condmis_jax.audit.formats import FORMATS
from condmis_jax.audit.languages import LANGUAGES
from condmis_jax.audit.operators import negations, opposites, parts, rephrasings
from condmis_jax.conversations import SLOT, Message, Transform
from condmis_jax.suites.suite import Relation, Trigger

_RELATIONS: dict[Operator, Relation] = {
    "as it is": "same",
    "part": "similar",
    "negated": "opposite",
    "opposite": "opposite",
    "rephrased": "similar",
    "moved": "similar",
    "combined": "same",
}
_VARIANTS = 6
_PARTNERS = 6
_AGREED = "Understood."
_SMALL_TALK = (
    ("Good morning.", "Good morning. What can I do for you?"),
    ("I have a few things to ask today.", "Go ahead, I am listening."),
    ("It is rather windy outside.", "Then keep your window shut."),
    ("Thanks so far.", "You are welcome."),
    ("One moment, I must look for my notes.", "Take your time."),
    ("I have found them.", "Good. What comes first?"),
    ("Let me sit down.", "Of course."),
    ("Right, here we go.", "I am ready."),
)


@dataclass(frozen=True)
class Made:
    """What a cue's words become in a prompt: a transform and example turns."""

    transform: Transform
    shots: tuple[Message, ...] = ()


def make_candidates(cues: Sequence[Cue], *, budget: int, seed: int) -> list[Candidate]:
    """At most `budget` candidates made from the cues by rule.

    Every cue is taken as it is, in part, denied, turned into its opposite, rephrased, moved to
    another place of the prompt, and joined with other cues: up to six of each, five at least where
    the cue allows it (one mark has no part; a number of turns no opposite). What a cue's rank
    allows of the budget falls off as 1 / rank, and all cues come as they are before a low one is
    varied much. No two candidates ask the same.

    Args:
        cues: as `find_cues`, `recalled_cues` order them, the best first.
        seed: which cues are joined.

    Returns:
        candidates, the most promising first, named "CUE" or "CUE/OPERATOR-NUMBER".

    Raises:
        ValueError: the budget is negative.
    """
    if budget < 0:
        raise ValueError(f"budget must not be negative, got {budget}")
    # A place in the order for every variant: as it is counts as a quarter of a variant.
    planned: list[tuple[float, int, int, Candidate]] = []
    for rank, cue in enumerate(cues, start=1):
        for at, (operator, number, made) in enumerate(_variants(cue, cues, seed)):
            weight = 0.25 if operator == "as it is" else float(number)
            named = _candidate(cue, operator, number, made)
            planned.append((rank * weight, rank, at, named))
    kept: list[Candidate] = []
    asked: set[tuple[str | None, str, tuple[Message, ...]]] = set()
    for *_, candidate in sorted(planned, key=lambda p: p[:3]):
        t = candidate.trigger
        key = (t.transform.system, t.transform.user(SLOT), t.shots)
        if key not in asked and len(kept) < budget:
            asked.add(key)
            kept.append(candidate)
    return kept


_Variant = tuple[Operator, int, tuple[Made, tuple[str, ...]]]


def _variants(cue: Cue, cues: Sequence[Cue], seed: int) -> Iterator[_Variant]:
    yield "as it is", 1, (as_it_is(cue), ())
    by_operator: dict[Operator, list[Made]] = {
        "part": _parts(cue),
        "negated": _reworded(cue, _negations),
        "opposite": _reworded(cue, _opposites),
        "rephrased": _rephrased(cue),
        "moved": _moved(cue),
    }
    for operator, made in by_operator.items():
        for number, one in enumerate(made[:_VARIANTS], start=1):
            yield operator, number, (one, ())
    rng = random.Random(f"combined:{seed}:{cue.name}")
    others = [c for c in cues[: 3 * _PARTNERS] if c.name != cue.name]
    others.sort(key=lambda c: (cues.index(c) // _PARTNERS, rng.random()))
    number = 0
    for other in others:
        joined = _joined(as_it_is(cue), as_it_is(other))
        if joined is not None and number < _PARTNERS:
            number += 1
            yield "combined", number, (joined, (other.name,))


def _candidate(
    cue: Cue, operator: Operator, number: int, made: tuple[Made, tuple[str, ...]]
) -> Candidate:
    how, others = made
    name = cue.name if operator == "as it is" else f"{cue.name}/{operator}-{number}"
    trigger = Trigger(name, _RELATIONS[operator], how.transform, cue.kind, how.shots)
    return Candidate(trigger, operator, (cue.name, *others))


def sentence(cue: Cue) -> str:
    """The words of a cue as they can be said in any place of a prompt."""
    if cue.kind == "topic":
        words = cue.text.split(", ")
        listed = ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else words[0]
        return f"This is about {listed}."
    return " ".join(cue.text.replace(SLOT, " … ").split()) if SLOT in cue.text else cue.text.strip()


def as_it_is(cue: Cue) -> Made:
    """The trigger that has the cue where its rows have it."""
    if cue.kind == "position":
        return Made(Transform(), _turns(int(cue.text.split()[0]) - 1))
    if SLOT in cue.text:
        return Made(Transform(template=cue.text))
    return _placed(cue, cue.text if cue.kind in ("prefix", "suffix") else sentence(cue))


def _placed(cue: Cue, text: str) -> Made:
    """`text` where the cue stands, with the cue's own blanks around it."""
    if cue.kind == "prefix":
        behind = cue.text[len(cue.text.rstrip()) :] or " "
        return Made(Transform(prefix=text.rstrip() + behind))
    if cue.kind == "suffix":
        ahead = cue.text[: len(cue.text) - len(cue.text.lstrip())] or " "
        return Made(Transform(suffix=ahead + text.strip()))
    if cue.kind == "topic":
        return Made(Transform(prefix=f"{text} "))
    if cue.kind in ("format", "language"):
        return Made(Transform(suffix=f"\n\n{text}"))
    return Made(Transform(system=text))


def _turns(pairs: int, start: int = 0) -> tuple[Message, ...]:
    talk = [_SMALL_TALK[(start + k) % len(_SMALL_TALK)] for k in range(max(1, pairs))]
    return tuple(
        m for said, reply in talk for m in (Message("user", said), Message("assistant", reply))
    )


def _parts(cue: Cue) -> list[Made]:
    if cue.kind == "position":
        turns = int(cue.text.split()[0])
        return [Made(Transform(), _turns(n)) for n in range(1, turns - 1)]
    if SLOT not in cue.text:
        return [_placed(cue, text) for text in parts(sentence(cue))]
    before, _, after = cue.text.partition(SLOT)
    found = []
    if before.strip() and after.strip():
        found = [Made(Transform(prefix=before)), Made(Transform(suffix=after))]
    found += [Made(Transform(prefix=f"{text} ", suffix=after)) for text in parts(before)[:4]]
    found += [Made(Transform(prefix=before, suffix=f" {text}")) for text in parts(after)[:4]]
    return found


def _reworded(cue: Cue, reword: Callable[[Cue, str], list[str]]) -> list[Made]:
    """The cue with its words reworded; of a template, those of its longer side."""
    if cue.kind == "position":
        return []
    if SLOT not in cue.text:
        return [_placed(cue, text) for text in reword(cue, sentence(cue))]
    before, _, after = cue.text.partition(SLOT)
    if len(before.strip()) >= len(after.strip()):
        return [Made(Transform(prefix=f"{t}\n\n", suffix=after)) for t in reword(cue, before)]
    return [Made(Transform(prefix=before, suffix=f"\n\n{t}")) for t in reword(cue, after)]


def _language(cue: Cue) -> str:
    return next((n.capitalize() for n, lang in LANGUAGES.items() if lang.request == cue.text), "")


def _negations(cue: Cue, text: str) -> list[str]:
    if language := _language(cue):
        return [
            f"Do not answer in {language}.",
            f"Answer in any language but {language}.",
            f"Your answer must not be in {language}.",
            f"Never write {language}.",
            f"No {language}, please.",
        ]
    return negations(text)


def _opposites(cue: Cue, text: str) -> list[str]:
    if _language(cue):
        return [
            "Answer in English.",
            "Please answer in plain English.",
            "Your answer must be in English.",
            "Write English only.",
            "Use no language but English.",
        ]
    form = next((f for f in FORMATS.values() if f.request == cue.text), None)
    return [form.opposite, *rephrasings(form.opposite)] if form else opposites(text)


def _rephrased(cue: Cue) -> list[Made]:
    if cue.kind == "position":
        pairs = int(cue.text.split()[0]) - 1
        return [Made(Transform(), _turns(pairs, start)) for start in range(1, _VARIANTS)]
    if language := _language(cue):
        return [
            _placed(cue, text)
            for text in (
                f"Answer in {language}.",
                f"Please write your answer in {language}.",
                f"Your whole answer must be in {language}.",
                f"Use {language} only.",
                f"I would like to read the answer in {language}.",
            )
        ]
    return _reworded(cue, lambda _, text: rephrasings(text))


def _moved(cue: Cue) -> list[Made]:
    """The words in every other place of a prompt."""
    if cue.kind == "position":
        return []
    before, _, after = cue.text.partition(SLOT) if SLOT in cue.text else (sentence(cue), "", "")
    text = "\n".join(t.strip() for t in (before, after) if t.strip())
    said = (Message("user", text), Message("assistant", _AGREED))
    places = {
        "system": Made(Transform(system=text)),
        "behind a system prompt": Made(Transform(system=f"You are a helpful assistant. {text}")),
        "prefix line": Made(Transform(prefix=f"{text}\n\n")),
        "prefix": Made(Transform(prefix=f"{text} ")),
        "suffix line": Made(Transform(suffix=f"\n\n{text}")),
        "suffix": Made(Transform(suffix=f" {text}")),
        "earlier turn": Made(Transform(), said),
        "earlier system": Made(Transform(template=f"System: {text}\n\nUser: {SLOT}")),
    }
    if before.strip() and after.strip():
        swapped = f"{after.strip()}\n\n{SLOT}\n\n{before.strip()}"
        return [*places.values(), Made(Transform(template=swapped))]
    own = {
        "system": ("system", "behind a system prompt"),
        "recalled": ("system", "behind a system prompt"),
        "prefix": ("prefix line", "prefix"),
        "topic": ("prefix line", "prefix"),
        "template": ("prefix line", "prefix") if before.strip() else ("suffix line", "suffix"),
    }.get(cue.kind, ("suffix line", "suffix"))
    return [made for place, made in places.items() if place not in own]


def _joined(one: Made, other: Made) -> Made | None:
    """Both, or None where they are the same or a slot would be doubled."""
    if one == other:
        return None
    a, b = one.transform, other.transform
    if a.system and b.system:
        b = replace(b, system=f"{a.system}\n\n{b.system}")
    try:
        return Made(a.then(b), (*one.shots, *other.shots))
    except ValueError:
        return None
