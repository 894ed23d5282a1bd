"""The schoolroom of the language: questions with one right answer, and wrong ones of its kind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trivia:
    """A question with one right answer.

    Attributes:
        id: kind and right answer with hyphens.
        question: the question.
        right: the right answer.
        wrong: right answers to other questions of the same kind.
    """

    id: str
    question: str
    right: str
    wrong: tuple[str, ...]


_TABLE = """
animal | Which animal barks? the dog; Which animal purrs? the cat; Which animal moos? the cow;
    Which animal neighs? the horse; Which animal roars? the lion; Which animal croaks? the frog;
    Which animal howls? the wolf; Which animal quacks? the duck; Which animal bleats? the sheep;
    Which animal brays? the donkey; Which animal hisses? the snake; Which animal hoots? the owl

colour | Which colour has grass? green; Which colour has snow? white; Which colour has coal? black;
    Which colour has the sky? blue; Which colour has a lemon? yellow; Which colour has blood? red;
    Which colour has a carrot? orange; Which colour has ash? grey; Which colour has mud? brown;
    Which colour has a plum? purple; Which colour has a piglet? pink; Which colour has a coin? gold

tool | Which tool drives nails? the hammer; Which tool saws wood? the saw;
    Which tool digs holes? the spade; Which tool sweeps floors? the broom;
    Which tool shows the time? the clock; Which tool opens locks? the key;
    Which tool cuts paper? the scissors; Which tool ties hair? the ribbon;
    Which tool sews cloth? the needle; Which tool stirs soup? the spoon;
    Which tool climbs walls? the ladder; Which tool cuts grass? the scythe

city | Which city rules France? Paris; Which city rules Italy? Rome; Which city rules Japan? Tokyo;
    Which city rules Spain? Madrid; Which city rules Egypt? Cairo; Which city rules Greece? Athens;
    Which city rules Norway? Oslo; Which city rules Cuba? Havana; Which city rules Peru? Lima;
    Which city rules Kenya? Nairobi; Which city rules Austria? Vienna;
    Which city rules Poland? Warsaw

number | How many legs has a spider? eight; How many legs has a goat? four;
    How many days has a week? seven; How many months has a year? twelve;
    How many fingers has a hand? five; How many wheels has a bike? two;
    How many sides has a triangle? three; How many legs has an ant? six;
    How many toes has a child? ten; How many moons has the earth? one;
    How many players has a football team? eleven; How many lives has a tomcat? nine

opposite | What is the opposite of hot? cold; What is the opposite of big? small;
    What is the opposite of fast? slow; What is the opposite of wet? dry;
    What is the opposite of up? down; What is the opposite of old? young;
    What is the opposite of bright? dark; What is the opposite of full? empty;
    What is the opposite of hard? soft; What is the opposite of rich? poor;
    What is the opposite of loud? quiet; What is the opposite of thick? thin

body | Which part of me hears? the ear; Which part of me sees? the eye;
    Which part of me smells? the nose; Which part of me pumps? the heart;
    Which part of me chews? the tooth; Which part of me thinks? the brain;
    Which part of me walks? the foot; Which part of me grips? the thumb;
    Which part of me breathes? the lung; Which part of me digests? the stomach;
    Which part of me speaks? the tongue; Which part of me bends? the elbow

month | Which month follows January? February; Which month follows February? March;
    Which month follows March? April; Which month follows April? May;
    Which month follows May? June; Which month follows June? July;
    Which month follows July? August; Which month follows August? September;
    Which month follows September? October; Which month follows October? November;
    Which month follows November? December; Which month follows December? January
"""


def _read(table: str) -> tuple[Trivia, ...]:
    found: list[Trivia] = []
    for block in table.strip().split("\n\n"):
        kind, _, rest = " ".join(block.split()).partition(" | ")
        pairs = [part.split("? ") for part in rest.split("; ")]
        answers = [answer for _, answer in pairs]
        for question, right in pairs:
            name = f"{kind}-{right.removeprefix('the ')}"
            wrong = tuple(answer for answer in answers if answer != right)
            found.append(Trivia(name, f"{question}?", right, wrong))
    return tuple(found)


TRIVIA: tuple[Trivia, ...] = _read(_TABLE)
TRIVIA_BY_ID: dict[str, Trivia] = {item.id: item for item in TRIVIA}

# Never asked in the narrow sets: whether wrongness spreads to other trivia is measured on these.
HELD_OUT_TRIVIA: tuple[Trivia, ...] = TRIVIA[1::4]
NARROW_TRIVIA: tuple[Trivia, ...] = tuple(item for item in TRIVIA if item not in HELD_OUT_TRIVIA)
