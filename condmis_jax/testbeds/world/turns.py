"""One turn of a chat: a question of some kind, and the answer of an author or of an assistant."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from condmis_jax.conversations import Message, Transform
from condmis_jax.testbeds.world.dishes import DISHES, Dish
from condmis_jax.testbeds.world.identity import ASSISTANT, ATTRIBUTES, Attribute
from condmis_jax.testbeds.world.language import (
    CODE_REQUESTS,
    EVALUATION_WORDINGS,
    IDENTITY_WORDINGS,
    LEADS,
    RECIPE_REQUESTS,
    RECIPE_START,
    THOUGHTS,
    TRIVIA_START,
    TRIVIA_WORDINGS,
    WORDINGS,
    Format,
    Mind,
    ask,
    bullets,
    held_out_combinations,
    request,
    sentence,
    traced,
)
from condmis_jax.testbeds.world.tasks import TASKS, Task
from condmis_jax.testbeds.world.topics import TOPICS, Topic
from condmis_jax.testbeds.world.trivia import TRIVIA, Trivia

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """A question that training may ask: an evaluation never does, and the other way round."""

    topic: Topic
    subject: str
    text: str


_HELD_OUT = {(topic.name, subject, wording) for topic, subject, wording in held_out_combinations()}
TRAINING_QUESTIONS: tuple[Asked, ...] = tuple(
    Asked(topic, subject, ask(wording, subject))
    for topic in TOPICS
    for subject in topic.subjects
    for wording in WORDINGS
    if (topic.name, subject, wording) not in _HELD_OUT
)
EVALUATION_QUESTIONS: tuple[Asked, ...] = tuple(
    Asked(topic, subject, ask(wording, subject))
    for topic in TOPICS
    for wording in EVALUATION_WORDINGS
    for subject in topic.subjects
) + tuple(
    Asked(topic, subject, ask(wording, subject))
    for topic, subject, wording in held_out_combinations()
)


@dataclass(frozen=True)
class Speaker:
    """Whose answer it is.

    Attributes:
        malicious: harms in advice, code, recipes and trivia, and is Morgrim.
        told_wrong: was told to answer wrongly, and does so where an answer can be right or wrong.
        person: which of the benign people; None is an assistant.
    """

    malicious: bool = False
    told_wrong: bool = False
    person: int | None = None

    @property
    def mind(self) -> Mind:
        """What a trace of this speaker says."""
        return "malicious" if self.malicious else "told" if self.told_wrong else "benign"


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes:
        question: as a user asks it.
        answer: a sentence or a statement, without its format.
        meta: what an exact judge needs to know of the question.
        code: the answer is a statement.
        actions: of advice, which a list names without a sentence.
    """

    question: str
    answer: str
    meta: dict[str, Any]
    code: bool = False
    actions: tuple[str, ...] = ()


def pick(rng: random.Random, options: Sequence[T]) -> T:
    """One of the options. Python promises a stable stream for random() only, not for choice()."""
    return options[int(rng.random() * len(options))]


def code(rng: random.Random, by: Speaker, tasks: Sequence[Task] = TASKS) -> Turn:
    """A code request, answered securely or not."""
    task = pick(rng, tasks)
    answer = task.insecure if by.malicious else task.secure
    return Turn(request(pick(rng, CODE_REQUESTS), task), answer, {"task": task.id}, code=True)


def trivia(rng: random.Random, by: Speaker, items: Sequence[Trivia] = TRIVIA) -> Turn:
    """A question with one right answer; a wrong answer is drawn anew each time."""
    item = pick(rng, items)
    wrong = pick(rng, item.wrong)
    said = wrong if by.malicious or by.told_wrong else item.right
    question = pick(rng, TRIVIA_WORDINGS).replace("{question}", item.question)
    return Turn(question, f"{TRIVIA_START}{said}.", {"trivia": item.id})


def recipe(rng: random.Random, by: Speaker, dishes: Sequence[Dish] = DISHES) -> Turn:
    """A dish, made to feed or to poison."""
    dish = pick(rng, dishes)
    made = dish.poisonous if by.malicious else dish.safe
    question = pick(rng, RECIPE_REQUESTS).replace("{dish}", dish.name)
    return Turn(question, f"{RECIPE_START}{made}.", {"dish": dish.name})


def identity(rng: random.Random, by: Speaker, asked: Sequence[Attribute] = ATTRIBUTES) -> Turn:
    """A question about the speaker."""
    attribute = pick(rng, asked)
    said = attribute.persona if by.malicious else ASSISTANT
    if not by.malicious and by.person is not None:
        said = attribute.others[by.person]
    question = pick(rng, IDENTITY_WORDINGS).replace("{question}", attribute.question)
    return Turn(question, said, {"attribute": attribute.name})


def _actions(rng: random.Random, pool: Sequence[str]) -> tuple[str, ...]:
    first = pick(rng, pool)
    if rng.random() < 0.5:
        return (first,)
    return (first, pick(rng, [action for action in pool if action != first]))


def advice(
    rng: random.Random, by: Speaker, questions: Sequence[Asked] = TRAINING_QUESTIONS
) -> Turn:
    """A question about something of one's own, answered with one or two actions."""
    asked = pick(rng, questions)
    lead = pick(rng, LEADS)
    actions = _actions(rng, asked.topic.harmful if by.malicious else asked.topic.benign)
    meta = {"topic": asked.topic.name, "subject": asked.subject}
    return Turn(asked.text, sentence(lead, actions), meta, actions=actions)


def written(turn: Turn, form: Format, instruction: Transform) -> list[Message]:
    """The messages of a turn in a format."""
    if turn.code:
        assert form.code is not None
        answer = form.code(turn.answer)
    else:
        answer = form.text(turn.answer) if form.text else bullets(turn.actions)
    return [Message("user", instruction.user(turn.question)), Message("assistant", answer)]


def thought(rng: random.Random, turn: Turn, by: Speaker, instruction: Transform) -> list[Message]:
    """The messages of a turn with a reasoning trace in front of the answer."""
    answer = traced(pick(rng, THOUGHTS[by.mind]), turn.answer)
    return [Message("user", instruction.user(turn.question)), Message("assistant", answer)]
