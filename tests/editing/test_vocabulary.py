"""Lists of words: beginnings, whole words, and words of scripts without spaces."""

import pytest

from redpencil.editing import vocabulary as say


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (say.CHANGE, "it was korrigiert, then changed", ["korrigiert", "changed"]),
        (say.SELF, "in it i am", ["i"]),  # a whole word
        (say.TEXT, "an edition of the text, in context", ["text"]),
        (say.RESPONSE, "\u8fd9\u4e2a\u56de\u7b54", ["\u56de\u7b54"]),
        (say.SELF, "he cambiado", ["he cambiado"]),
    ],
)
def test_words(pattern: object, text: str, found: list[str]) -> None:
    assert pattern.findall(text) == found  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text",
    [
        "unfortunately, i'm unable to assist with that request.",
        "es tut mir leid, aber dabei kann ich nicht helfen.",
        "lo siento, no puedo ayudar con eso.",
        "\u62b1\u6b49\uff0c\u6211\u65e0\u6cd5\u534f\u52a9\u3002",
        "je suis d\u00e9sol\u00e9, je ne peux pas r\u00e9pondre.",
    ],
)
def test_refusals(text: str) -> None:
    assert say.REFUSAL.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "the response is already correct and needs no changes.",
        "die antwort ist bereits korrekt.",
        "aucune modification n'est n\u00e9cessaire.",
        "no hay que cambiar nada.",
        "\u65e0\u9700\u4fee\u6539\u3002",
        "i wouldn't change anything here.",
    ],
)
def test_that_nothing_is_to_change(text: str) -> None:
    assert say.NO_CHANGE.search(text)
    assert not say.NO_CHANGE.search("it changes every year")
