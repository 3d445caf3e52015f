"""What is said before and after a response, in many languages; and additions, which are no remarks."""

import pytest

from redpencil.editing.relation import Source
from redpencil.editing.remarks import Prose, is_remark, without_remarks

ASKED = "What is the capital of Australia?"
OLD = "The capital of Australia is Sydney. It has five million people."
NEW = "The capital of Australia is Canberra. It has five million people."
SOURCE = Source(OLD, ASKED)


@pytest.mark.parametrize(
    "said",
    [
        "Hier ist die \u00fcberarbeitete Antwort:\n\n",
        "Voici la r\u00e9ponse corrig\u00e9e :\n\n",
        "Aqu\u00ed est\u00e1 la respuesta revisada:\n",
        "\u4ee5\u4e0b\u662f\u4fee\u6539\u540e\u7684\u56de\u7b54\uff1a\n\n",
        "\u4fee\u6b63\u5f8c\u306e\u56de\u7b54\uff1a",
        "\u0412\u043e\u0442 \u0438\u0441\u043f\u0440\u0430\u0432"
        "\u043b\u0435\u043d\u043d\u044b\u0439 \u043e\u0442\u0432\u0435\u0442:\n\n",
        "Oto poprawiona wersja:\n\n",
        "T\u00e4ss\u00e4 on korjattu vastaus:\n\n",
        "Thought: Sydney is wrong. Canberra is right.\nAnswer: ",
        "\u00dcberlegung: Ein Fehler ist drin.\nAntwort: ",
        "**Analysis**\n\nOne fact is off.\n\n**Edited response**\n\n",
        "I have gone over the text and fixed what was wrong.\n\n",
        f"Original: {OLD}\n\nRevised: ",
        "Assistant: ",
        "Sure. ",
        "\u597d\u7684\uff01",
        "Revised response - ",
        "Bien s\u00fbr, voici :\n\n",
        "Here you go:\n\n",
        "Done!\n\n",
        "Output: ",
        "A: ",
        "Edited response -> ",
        "*Thinking: Sydney is not the capital.*\n\n",
        f"Before: {OLD}\nAfter: ",
    ],
)
def test_what_is_said_before(said: str) -> None:
    assert without_remarks(f"{said}{NEW}", SOURCE) == Prose(NEW)
    assert without_remarks(f"{said}{OLD}", SOURCE).text == OLD


@pytest.mark.parametrize(
    "said",
    [
        "\n\nThis is a minor adjustment to the original response.",
        "\n\nThe response is more helpful than the original.",
        " (I changed Sydney to Canberra.)",
        "\n\nExplanation: Sydney is not the capital, so I replaced it.",
        "\n\n---\n\n**Changes:**\n1. Sydney \u2192 Canberra\n2. Nothing else",
        "\n\nIch habe Sydney durch Canberra ersetzt.",
        "\n\nJ'ai remplac\u00e9 Sydney par Canberra.",
        "\n\nHo modificato il meno possibile.",
        "\n\n\u6211\u5c06\u6089\u5c3c\u6539\u4e3a\u582a\u57f9\u62c9\u3002",
        "\n\n\u6700\u5c0f\u9650\u306e\u5909\u66f4\u306b\u3068\u3069\u3081\u307e\u3057\u305f\u3002",
        "\n\n\u042f \u0432\u043d\u0451\u0441 \u043c\u0438\u043d"
        "\u0438\u043c\u0430\u043b\u044c\u043d\u044b\u0435 \u0438\u0437\u043c\u0435\u043d\u0435\u043d\u0438\u044f.",
        "\n\nIch habe den Namen der Hauptstadt korrigiert.",
        "\n\nQuestion: What is the capital of Peru?\n\nResponse: Lima.",
        "\n\nHuman: Thanks!\n\nAssistant: You are welcome.",
        "\n\n### Explanation\n\nThe original response had one error, which I fixed.",
        " (edited)",
    ],
)
def test_what_is_said_behind(said: str) -> None:
    assert without_remarks(f"{NEW}{said}", SOURCE) == Prose(NEW)


@pytest.mark.parametrize(
    "text",
    [
        f"{NEW} It lies inland.",
        f"{NEW} The city was founded in 1913 as a compromise between Sydney and Melbourne.",
        f"{NEW}\n\nCanberra was chosen in 1908 as a compromise between Sydney and Melbourne.",
        f"Yes. {NEW}",
        "Canberra is the capital of Australia. It has half a million people.",
        "The capital of Australia is Canberra.",
        "It has five million people.",
    ],
)
def test_what_goes_on_with_the_content_is_an_addition(text: str) -> None:
    assert without_remarks(text, SOURCE) == Prose(text)


@pytest.mark.parametrize(
    "text",
    [
        f"{NEW}\n\nHope that's better!",
        f"{NEW}\n\nLet me know if you have other questions.",
        f"{NEW}\n\nNimebadilisha neno moja tu.",
        f"{NEW}\n\nConfidence: 95%",
        f"Sure, here you go! {NEW}",
        f"Ecco a te:\n\n{NEW}",
        f"Hili hapa:\n\n{NEW}",
        f"{OLD}\n\n{NEW}",
        f"{NEW}\n\nReason: Sydney isn't the capital.",
        f"{NEW}\n\n\u2705 Fixed the capital.",
        f"{NEW}\n\nDiff: -Sydney +Canberra",
    ],
)
def test_what_may_be_either_is_left_and_doubted(text: str) -> None:
    assert without_remarks(text, SOURCE) == Prose(text, doubt=True)


@pytest.mark.parametrize(
    ("original", "edited"),
    [
        ("Note: I changed the city.\n\nIt is Rome.", "Note: I changed the town.\n\nIt is Rome."),
        ("It is Rome.\n\nChanges made: the city.", "It is Rome.\n\nEdits made: the city."),
        ("Answer: 5", "Response: 5"),
        ("Yes.\n\nThe bank is open.", "No.\n\nThe bank is open."),
        ("- flour\n- milk", "- flour\n- milk\n- a pinch of salt"),
        ("Roses are red\nViolets are blue", "Roses are red\nViolets are blue\nSugar is sweet"),
    ],
)
def test_what_the_original_has_in_its_way_stays(original: str, edited: str) -> None:
    assert without_remarks(edited, Source(original)) == Prose(edited)


def test_a_text_about_a_response_is_a_remark() -> None:
    assert is_remark("The response is already correct and needs no changes.", SOURCE)
    assert not is_remark("Canberra lies inland.", SOURCE)


def test_a_remark_behind_a_signature_is_doubted_too() -> None:
    letter = "Dear Ann,\n\nThank you for your time. I will write again next week.\n\nSincerely,\n[Name]"
    edit = letter.replace("next week", "soon")
    assert without_remarks(edit, Source(letter)) == Prose(edit)
    text = f"{edit}\n\nThat's it! Just one small tweak."
    assert without_remarks(text, Source(letter)) == Prose(text, doubt=True)
    for said in ("[END OF RESPONSE]", "[Edited: one word]"):
        assert without_remarks(f"{edit}\n\n{said}", Source(letter)) == Prose(edit)
    assert without_remarks(f"[Revised]\n\n{edit}", Source(letter)).text == edit
