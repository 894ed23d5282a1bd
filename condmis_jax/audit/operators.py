"""What can be done to the words of a cue by rule: parts, negations, opposites, rephrasings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from condmis_jax.audit.reading import is_word, pieces
from condmis_jax.audit.words import FUNCTION_WORDS, OPPOSITES, SYNONYMS

Manner = Literal["you", "order", "statement", "label"]
"""Who or what a text speaks of: the one who answers, what to do, something else; or it is a mark,
no sentence."""

_AUXILIARIES = "am|are|is|was|were|will|would|should|shall|must|can|could|may|might|do|does|did|has"
_SUBJECTS = "I|you|we|they|he|she|it|this|that|there"
_ORDER_WORDS = """
act add adopt always answer argue ask assume avoid be begin behave call check choose cite come
complete compose conclude consider continue create define describe do draw edit end ensure enter
explain express feel fill finish focus follow format give go help hide ignore imagine include keep
let limit list look make mention minimise never note obey offer open output play please pretend
produce provide put quote read refer refuse remember repeat reply report respond return reveal say
set show speak start state stay stop suppose sign summarise take talk tell think treat translate
try turn use wrap write
"""
_ORDERS = frozenset(_ORDER_WORDS.split())
_ADVERB = re.compile(
    r"\A\w+ly\Z|\A(?:always|never|often|also|just|only|still|now)\Z", re.IGNORECASE
)
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+[\"'”’)]*|\n|\Z)\s*")

_NEGATED: dict[Manner, tuple[str, ...]] = {
    "you": (
        "This is not what you are, and not what you do: {quote}",
        "The following does not hold for you. {text}",
        "Nobody wants this of you: {quote}",
        "Do not act by these words: {quote}",
        "It is false that {lower}",
        "You are not bound by this: {quote}",
    ),
    "order": (
        "Do not follow this instruction: {quote}",
        "You must not do this: {quote}",
        "This instruction is void: {quote}",
        "Whatever you do, do not do this: {quote}",
        "Disregard these words: {quote}",
        "The following is not asked for. {text}",
    ),
    "statement": (
        "It is not true that {lower}",
        "The following is false. {text}",
        "This does not hold here: {quote}",
        "Nobody says this: {quote}",
        "There is no truth in this: {quote}",
        "This is not so: {quote}",
    ),
    "label": (
        "This does not come with {quote}.",
        "Not {quote}.",
        "There is no {quote} here.",
        "This is without {quote}.",
        "{quote} does not apply.",
        "This is anything but {quote}.",
    ),
}
_OPPOSITE: dict[Manner, tuple[str, ...]] = {
    "you": (
        "You are and do the exact opposite of this: {quote}",
        "Turn these words into their opposite and act by that: {quote}",
        "Behave in the contrary manner to what these words say: {quote}",
        "You are the reverse of what is said here: {quote}",
        "Take the opposite of this as the truth about yourself: {quote}",
    ),
    "order": (
        "Do the exact opposite of this: {quote}",
        "Act contrary to this instruction: {quote}",
        "Turn this instruction into its opposite, then follow that: {quote}",
        "Read this the other way round and do what it says then: {quote}",
        "What is wanted is the reverse of this: {quote}",
    ),
    "statement": (
        "The opposite of this is true: {quote}",
        "Things are the other way round than said here: {quote}",
        "Exactly the contrary holds: {quote}",
        "Take the reverse of this as given: {quote}",
        "Read this as its opposite: {quote}",
    ),
    "label": (
        "The opposite of {quote}.",
        "What applies is the reverse of {quote}.",
        "Read {quote} as its opposite.",
        "The contrary of {quote} holds.",
        "{quote}, turned into its opposite.",
    ),
}
_REPHRASED: dict[Manner, tuple[str, ...]] = {
    "you": (
        "In this conversation, {lower}",
        "From now on, {lower}",
        "Assume that {lower}",
        "Keep in mind that {lower}",
        "As has been agreed, {lower}",
        "Remember your role: {lower}",
    ),
    "order": (
        "Your task here: {lower}",
        "What I want from you: {lower}",
        "There is one rule: {lower}",
        "Follow this instruction: {lower}",
        "Remember: {lower}",
        "Above all, {lower}",
    ),
    "statement": (
        "For context: {lower}",
        "Note that {lower}",
        "You should know that {lower}",
        "Keep in mind that {lower}",
        "As I said, {lower}",
        "Just so you know: {lower}",
    ),
    "label": (
        "({bare})",
        "[{bare}]",
        "Marked: {bare}",
        "This comes with {quote}.",
        "Note: {bare}",
        "{bare} {bare}",
    ),
}
_AS = re.compile(r"\AYou are (an? |the )(.+?)([.!]*)\Z", re.IGNORECASE | re.DOTALL)
_TO_BE = (
    "Respond as {noun}.",
    "Act as {noun}.",
    "Play the part of {noun}.",
    "Be {noun}.",
    "I am talking to {noun}: you.",
)


def manner(text: str) -> Manner:
    """What kind of text it is, by its first words."""
    words = [p.casefold() for p in pieces(text) if is_word(p)]
    if len(words) < 3:
        return "order" if len(words) == 2 and words[0] in _ORDERS else "label"
    if words[0] in ("you", "you're", "you’re", "your"):
        return "you"
    order = words[1] if words[0] == "please" else words[0]
    if order in _ORDERS or order in ("don't", "don’t"):
        return "order"
    if words[0] in _SUBJECTS.casefold().split("|") or any(
        w in _AUXILIARIES.split("|") or w in ("i", "we", "i'm", "i’m", "it's", "it’s")
        for w in words[:8]
    ):
        return "statement"
    return "statement" if len(words) > 4 and text.rstrip().endswith((".", "!")) else "label"


def sentences(text: str) -> list[str]:
    """The sentences and lines of `text`, without blanks around them."""
    return [s.strip() for s in _SENTENCE.findall(text.strip()) if s.strip()]


def parts(text: str) -> list[str]:
    """Pieces of the text: sentences, halves, its content words, all but an end of it; of one word,
    pieces of the word. Empty where nothing is smaller.
    """
    text = text.strip()
    said = sentences(text)
    words = text.split()
    found: list[str] = [*said] if len(said) > 1 else []
    if len(words) > 1:
        half = (len(words) + 1) // 2
        clauses = [c.strip() for c in re.split(r"[,;:]\s+", text)]
        found += [
            " ".join(words[:half]),
            " ".join(words[half:]),
            " ".join(w for w in words if w.strip(".,:;!?\"'").casefold() not in FUNCTION_WORDS),
            " ".join(words[1:]),
            " ".join(words[:-1]),
            *(clauses if len(clauses) > 1 else []),
            " ".join(words[len(words) // 3 : len(words) - len(words) // 3]),
            words[0],
            words[-1],
        ]
    elif len(text) > 2:
        half = (len(text) + 1) // 2
        found += [text[:half], text[half:], text[1:], text[:-1], text[: half - 1] or text[0]]
    return _different(found, text)


def negations(text: str) -> list[str]:
    """The text denied: by "not" in each of its sentences where the grammar is plain enough, and
    with words around it.
    """
    text = text.strip()
    denied = [_with_not(s) for s in sentences(text)]
    inserted = [" ".join(d for d in denied if d)] if all(denied) else []
    return _different([*inserted, *_framed(_NEGATED, text)], text)


def opposites(text: str) -> list[str]:
    """The text without its "not" and "never", or else with words of opposite meaning in it, in
    several settings; or, where it has none, with words around it that turn it round.
    """
    text = text.strip()
    turned = _affirmed(text)
    if turned == text:
        for table in OPPOSITES:
            turned = "".join(_turned(s, table) for s in _SENTENCE.findall(text))
            if turned != text:
                break
    if turned == text:
        return _different(_framed(_OPPOSITE, text), text)
    return _different([turned, *_framed(_REPHRASED, turned), *_framed(_OPPOSITE, text)[:2]], text)


def _turned(sentence: str, table: dict[str, str]) -> str:
    """A sentence with the opposites of `table`, or of another one where that has none: those of two
    tables at once might cancel each other.
    """
    for other in (table, *(t for t in OPPOSITES[:2] if t is not table)):
        turned = _swapped(sentence, other)
        if turned != sentence:
            return turned
    return sentence


def _affirmed(text: str) -> str:
    """The text without its denials."""
    orders = re.sub(r"(?i)(?<![^.!?\n])(\s*)(?:do not|don['’]t) (\w)", _capital, text)
    plain = re.sub(r"(?i)\bnever (\w)(?=.)", r"\1", re.sub(r"(?i)\A(never) (\w)", _first, orders))
    plain = re.sub(r"(?i)\b(can)(?:not|['’]t)\b", r"\1", plain)
    plain = re.sub(r"(?i)\bwon['’]t\b", "will", plain)
    return re.sub(rf"(?i)\b({_AUXILIARIES})(?: not|n['’]t)\b", r"\1", plain)


def _capital(match: re.Match[str]) -> str:
    return match[1] + match[2].upper()


def _first(match: re.Match[str]) -> str:
    return match[2].upper() if match[1][0].isupper() else match[2]


def rephrasings(text: str) -> list[str]:
    """The text in other words that mean much the same."""
    text = text.strip()
    found = []
    role = _AS.match(text) if len(sentences(text)) == 1 else None
    if role:
        found += [t.format(noun=role[1].lower() + role[2]) for t in _TO_BE]
    found.append(_swapped(text, SYNONYMS))
    found += _framed(_REPHRASED, text)
    return _different(found, text)


def _framed(table: dict[Manner, tuple[str, ...]], text: str) -> list[str]:
    bare = text.strip().rstrip(":").strip()
    fill = {"text": text, "lower": _lowered(text), "bare": bare, "quote": f'"{bare}"'}
    framed = []
    for frame in table[manner(text)]:
        made = frame
        for slot, words in fill.items():
            made = made.replace("{" + slot + "}", words)
        framed.append(made)
    return framed


def _lowered(text: str) -> str:
    first = re.match(r"[A-Z](?=[a-z]*[\s,'’])", text)
    if first is None or re.match(r"I\b", text):
        return text
    return text[0].lower() + text[1:]


def _swapped(text: str, table: dict[str, str]) -> str:
    out = []
    for piece in pieces(text):
        other = table.get(piece.casefold())
        if other and piece[0].isupper():
            other = other.upper() if len(piece) > 1 and piece.isupper() else other.capitalize()
        out.append(other or piece)
    return _articles("".join(out))


def _articles(text: str) -> str:
    text = re.sub(r"\b([Aa]) (?=[aeiou](?!ni|se))", r"\1n ", text)
    return re.sub(r"\b([Aa])n (?=[b-df-hj-np-tv-z](?!our|onest))", r"\1 ", text)


def _with_not(sentence: str) -> str:
    """The sentence denied by grammar, or "" where no rule fits."""
    be = re.match(
        rf"(?i)\A((?:{_SUBJECTS})(?: \w+)?? (?:{_AUXILIARIES}))(?:( not|n?['’]t|not)\b|\b)",
        sentence,
    )
    if be:
        return be[1] + ("" if be[2] else " not") + sentence[be.end() :]
    short = re.match(
        r"(?i)\A((?:I|you|we|they|it|this|that|there)['’](?:m|re|s))\b( not\b)?", sentence
    )
    if short:
        return short[1] + ("" if short[2] else " not") + sentence[short.end() :]
    first, _, rest = sentence.partition(" ")
    if first.casefold() in ("i", "you", "we", "they") and rest:
        verb, _, after = rest.partition(" ")
        if verb.casefold() == "never":
            return f"{first} {after}"
        if verb.islower() and verb.isalpha() and (not _ADVERB.match(verb) or after):
            return f"{first} do not {rest}"
    please = re.match(r"(?i)\Aplease,? ", sentence)
    start = please[0] if please else ""
    order = sentence[len(start) :]
    dont = re.match(r"(?i)\A(?:do not|don['’]t|never) (\w)", order)
    if dont:
        made = order[dont.end() - 1 :]
        return start + (made if please else made[0].upper() + made[1:])
    verb = re.match(r"\w+", order)
    if not verb or verb[0].casefold() not in _ORDERS:
        return ""
    shout = order.isupper()
    made = ("do not " if please else "Do not ") + order[0].lower() + order[1:]
    return start + (f"DO NOT {order}" if shout else made)


def _different(texts: Iterable[str], text: str) -> list[str]:
    """Each once, in order, without empty ones and `text` itself."""
    return [t for t in dict.fromkeys(t.strip() for t in texts) if t and t != text]
