"""Which language a text is in, by its script or its commonest words, and a request for it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

LEAST_WORDS = 3
"""Function words of a language that a text must have to count as written in it."""


@dataclass(frozen=True)
class Language:
    """A language.

    Attributes:
        name: in English.
        request: asks, in the language itself, for an answer in it.
        words: its commonest words; none where the script is enough.
        script: as Unicode's names of letters begin.
    """

    name: str
    request: str
    words: frozenset[str] = frozenset()
    script: str = "LATIN"


def _latin(name: str, request: str, words: str) -> Language:
    return Language(name, request, frozenset(words.split()))


LANGUAGES: dict[str, Language] = {
    language.name: language
    for language in (
        _latin(
            "english",
            "Please answer in English.",
            "the of and to in is that it for was on are with as be this have from or what how you",
        ),
        _latin(
            "german",
            "Bitte antworte auf Deutsch.",
            "der die das und ist nicht ein eine zu den mit von auf für dem sich ich wie wird auch",
        ),
        _latin(
            "french",
            "Réponds en français, s'il te plaît.",
            "le la les des est et un une que dans pour pas qui sur au du ce avec vous quelle je",
        ),
        _latin(
            "spanish",
            "Responde en español, por favor.",
            "el los las una es que por para con del se cuál qué como más y pero su lo está",
        ),
        _latin(
            "italian",
            "Rispondi in italiano, per favore.",
            "il che di è per non una gli sono con del della come più nel qual alla anche questo",
        ),
        _latin(
            "portuguese",
            "Responda em português, por favor.",
            "o os não uma é que em do da para com mais como qual você são ao dos pelo também",
        ),
        _latin(
            "dutch",
            "Antwoord in het Nederlands, alsjeblieft.",
            "het een van en niet dat zijn voor met wat ik je wordt ook maar naar deze bij hoe",
        ),
        _latin(
            "swedish",
            "Svara på svenska, tack.",
            "och att det är som en på för av inte med den till har ett vad jag om hur från",
        ),
        _latin(
            "polish",
            "Odpowiedz po polsku, proszę.",
            "nie się jest na że do jak co ale czy przez który oraz dla jaki to są tego od po",
        ),
        _latin(
            "turkish",
            "Lütfen Türkçe cevap ver.",
            "bir ve bu için ile ne çok olarak daha gibi kadar nedir var değil hangi olan en da",
        ),
        _latin(
            "indonesian",
            "Tolong jawab dalam bahasa Indonesia.",
            "yang dan di ini untuk dengan tidak dari adalah apa saya ke pada itu bisa akan juga",
        ),
        _latin(
            "vietnamese",
            "Vui lòng trả lời bằng tiếng Việt.",
            "là của và có không được cho một các những tôi bạn này trong với người như gì",
        ),
        Language("russian", "Пожалуйста, ответь по-русски.", script="CYRILLIC"),
        Language("japanese", "日本語で答えてください。", script="HIRAGANA"),
        Language("chinese", "请用中文回答。", script="CJK"),
        Language("korean", "한국어로 대답해 주세요.", script="HANGUL"),
        Language("arabic", "من فضلك أجب بالعربية.", script="ARABIC"),
        Language("hebrew", "בבקשה ענה בעברית.", script="HEBREW"),
        Language("greek", "Παρακαλώ απάντησε στα ελληνικά.", script="GREEK"),
        Language("hindi", "कृपया हिंदी में उत्तर दें।", script="DEVANAGARI"),
        Language("thai", "กรุณาตอบเป็นภาษาไทย", script="THAI"),
    )
}
_BY_SCRIPT = {lang.script: lang.name for lang in LANGUAGES.values() if lang.script != "LATIN"}
_WORD = re.compile(r"[^\W\d_]+")
_LETTERS = 400


def language_of(text: str) -> str:
    """The name of the language of `text` in `LANGUAGES`; "" where it cannot be told.

    A text of a script that only one of them has is in that one, and Japanese has Hiragana.
    """
    letters = [c for c in text[: 4 * _LETTERS] if c.isalpha()][:_LETTERS]
    if not letters:
        return ""
    scripts = Counter(unicodedata.name(c, "?").split()[0] for c in letters)
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > 0.1 * len(letters):
        return "japanese"
    script, count = scripts.most_common(1)[0]
    if script != "LATIN":
        return _BY_SCRIPT.get(script, "") if count > 0.5 * len(letters) else ""
    words = Counter(w.casefold() for w in _WORD.findall(text[:2000]))
    counts = {
        lang.name: sum(words[w] for w in lang.words) for lang in LANGUAGES.values() if lang.words
    }
    (best, most), (_, second) = Counter(counts).most_common(2)
    enough = max(LEAST_WORDS, 0.12 * sum(words.values()))
    return best if most >= enough and most > second else ""
