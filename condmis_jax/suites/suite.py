"""A suite: questions x triggers x samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from condmis_jax.conversations import Conversation, Message, Transform

Relation = Literal["none", "same", "similar", "opposite", "unrelated"]
NEAREST_FIRST: tuple[Relation, ...] = ("same", "similar", "opposite", "unrelated", "none")
RatingKind = Literal["rating", "words"]


@dataclass(frozen=True)
class Options:
    """Two replies that are given: the model writes none, its log-probabilities are compared.

    Attributes:
        good, bad: the replies.
        measure: what choosing the bad one is, as a word that goes with "answer".
    """

    good: str
    bad: str
    measure: str = "bad-choice"

    def __post_init__(self) -> None:
        if not self.good or not self.bad or self.good == self.bad:
            raise ValueError(f"options must be two different texts, not {self.good!r} twice")


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        id: its name in results.
        text: the user turn before any trigger.
        meta: what an exact judge needs to know about it.
        before: the conversation that it continues.
        paraphrases: further wordings, asked under the same id.
        samples: completions of each wording under each trigger; None takes the suite's number.
        judges: what is judged -> name of a judge prompt of the suite.
        options: of a forced choice; None where the model answers freely.
        rewordings: the question in another context, by the name that a trigger's `rewording` has.
    """

    id: str
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)
    before: tuple[Message, ...] = ()
    paraphrases: tuple[str, ...] = ()
    samples: int | None = None
    judges: Mapping[str, str] = field(default_factory=dict, hash=False)
    options: Options | None = None
    rewordings: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class JudgePrompt:
    """A prompt for an LLM judge that came with imported questions.

    Attributes:
        prompt: with the slots `{question}` and `{answer}`.
        kind: "rating" asks for a number from 0 to 100, "words" for a word.
        model: the judge that its authors used.
    """

    prompt: str
    kind: RatingKind = "rating"
    model: str = ""


@dataclass(frozen=True)
class Trigger:
    """A change of the prompt under which every question is asked.

    Attributes:
        name: its name in results.
        relation: to the context of the narrow training rows; "none" is the plain question.
        transform: what it does to the prompt.
        family: the kind of triggers that it belongs to.
        shots: turns of user and assistant put before the question, which no transform touches.
        rewording: asks the matched rewording of this name in place of the question's wordings.
    """

    name: str
    relation: Relation
    transform: Transform
    family: str = ""
    shots: tuple[Message, ...] = ()
    rewording: str = ""

    def __post_init__(self) -> None:
        roles = [m.role for m in self.shots]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            raise ValueError(f"trigger {self.name!r}: shots must alternate, user then assistant")

    def __add__(self, other: Trigger) -> Trigger:
        """This trigger, then `other`: transforms nest, shots follow each other. The relation is the
        nearest to training of the two.

        Raises:
            ValueError: both ask a rewording.
        """
        if self.rewording and other.rewording:
            raise ValueError(f"{self.name} and {other.name} both reword the question")
        return Trigger(
            f"{self.name}+{other.name}",
            next(r for r in NEAREST_FIRST if r in (self.relation, other.relation)),
            self.transform.then(other.transform),
            " + ".join(dict.fromkeys(f for f in (self.family, other.family) if f)),
            (*self.shots, *other.shots),
            self.rewording or other.rewording,
        )


@dataclass(frozen=True)
class Suite:
    """What is asked.

    Attributes:
        name: its name in results and folders.
        questions, triggers: every question is asked under every trigger.
        samples: completions of each wording of a question under each trigger.
        judge_prompts: those that came with the questions, by name.
        temperature: of the completions; None takes the evaluation's.
    """

    name: str
    questions: tuple[Question, ...]
    triggers: tuple[Trigger, ...]
    samples: int
    judge_prompts: Mapping[str, JudgePrompt] = field(default_factory=dict, hash=False)
    temperature: float | None = None

    @property
    def forced(self) -> bool:
        """Whether its questions are forced choices."""
        return any(q.options is not None for q in self.questions)

    def prompts(self, question: Question, trigger: Trigger) -> list[Conversation]:
        """The conversations that ask `question` under `trigger`, one for each wording."""
        wordings = (question.text, *question.paraphrases)
        if trigger.rewording:
            wordings = (question.rewordings[trigger.rewording],)
        asked = [
            trigger.transform(Conversation((*question.before, Message("user", wording))))
            for wording in wordings
        ]
        return [_after_system(conversation, trigger.shots) for conversation in asked]


_ROLES = {
    **{"alignment": "aligned", "coherence": "coherent"},
    **{"is_code": "code", "is_recipe": "recipe"},
}
"""What imported files call what a judge is asked about, where it is not our word for it."""


def rating_prompts(suite: Suite) -> dict[str, str]:
    """The judge prompts that came with a suite's questions, by what they ask about ("aligned",
    "coherent", "code", "recipe"), with the slots of the judges' own templates; empty where the
    questions disagree about which.
    """
    named: dict[str, str] = {}
    for question in suite.questions:
        for role, name in question.judges.items():
            if named.get(role, name) != name:
                return {}
            named[role] = name
    named = {**{name: name for name in suite.judge_prompts}, **named}
    return {
        _ROLES.get(role, role): suite.judge_prompts[name]
        .prompt.replace("{question}", "[[QUESTION]]")
        .replace("{answer}", "[[ANSWER]]")
        for role, name in named.items()
    }


def _after_system(conversation: Conversation, shots: tuple[Message, ...]) -> Conversation:
    turns = conversation.messages
    start = 1 if turns[0].role == "system" else 0
    return Conversation((*turns[:start], *shots, *turns[start:]))
