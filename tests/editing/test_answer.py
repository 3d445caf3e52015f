"""What is taken off an editor's answer, and what became of the request."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.editing.answer import classify, strip_preamble
from redpencil.providers.base import Completion, StopReason
from redpencil.records import EditOutcome

ORIGINAL = "The capital of France is Lyon."
EDITED = "The capital of France is Paris."
PRIMED = "Here is my attempt to make minimal changes to improve the response:"


@pytest.mark.parametrize(
    "answer",
    [
        EDITED,
        f"\n\n{EDITED}\n",
        f"{PRIMED}\n\n{EDITED}",
        f"{PRIMED} {EDITED}",
        f"Sure! Here's the revised response:\n{EDITED}",
        f"Here is a minimally edited version of the response with one change:\n{EDITED}",
        f"Revised response:\n\n{EDITED}",
        f"**Revised Response:**\n{EDITED}",
        f"Revised response (Claude-2):\n\n{EDITED}",
        f"Response: {EDITED}",
        f"{PRIMED}\n\nResponse: {EDITED}",
        f"Here's a minimally edited version:\n\n{EDITED}",
        f"Sure! Here's my minimally revised version of the response, with one fact corrected:\n\n{EDITED}",
        f"Absolutely! Below is the edited and improved text:\n{EDITED}",
        f"Here is the response with minimal changes:\n{EDITED}",
        f"I've made minimal changes to improve the response:\n\n{EDITED}",
        f"Here's the revised response:\n\n---\n\n{EDITED}",
        f"Revised version:\n{EDITED}",
        f"## Revised Response\n\n{EDITED}",
        f"**Revised Response**\n{EDITED}",
        f"<response>\n{EDITED}\n</response>",
        f"Here is the revised response:\n<revised_response>{EDITED}</revised_response>\n\nI changed the city.",
        f"```\n{EDITED}\n```",
        f"{PRIMED}\n\n```markdown\n{EDITED}\n```\n\nI only changed the city in the response.",
        f'"{EDITED}"',
        f"{PRIMED}\n\n\u201c{EDITED}\u201d",
    ],
)
def test_what_the_prompt_invites_is_taken_off(answer: str) -> None:
    assert strip_preamble(answer, ORIGINAL) == EDITED
    assert classify(Completion(answer), ORIGINAL) == (EditOutcome.EDITED, EDITED)


@pytest.mark.parametrize(
    "comment",
    [
        "Changes made: I replaced Lyon by Paris.",
        "**Changes made:**\n- Lyon -> Paris",
        "Changes:\n\n1. The city.\n\n2. Nothing else.",
        "Here are the changes I made:\n\n* the city",
        "### Summary of changes\n".replace("changes", "the changes:"),
        "Explanation: I corrected the name of the capital.",
        "**Explanation of changes:** The original named the wrong city.",
        "Note: I changed only the city, because Lyon is not the capital.",
        "(Note: I kept the rest unchanged.)",
        "---\nI made minimal changes to the response.",
        "---\n\n*I made minimal changes to the response.*",
        "I've corrected the city and kept the rest of the original response.",
        "The revised response names the right city.",
        "These changes make the response more helpful.",
        "Let me know if you'd like any further changes!",
        "I only changed the city in the original response.\n\nLet me know if you need anything else.",
        "Note that I corrected one word.\n\nI hope this helps!",
    ],
)
def test_what_is_said_about_the_edit_is_taken_off(comment: str) -> None:
    assert strip_preamble(f"{EDITED}\n\n{comment}", ORIGINAL) == EDITED
    assert strip_preamble(f"Sure! Here is the edited response:\n\n{EDITED}\n\n{comment}\n", ORIGINAL) == EDITED
    two = f"{ORIGINAL}\n\nIt lies on the Seine."
    assert classify(Completion(f"{two}\n\n{comment}"), two) == (EditOutcome.UNCHANGED, two)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n```",
        "```\none\n```\nand\n```\ntwo\n```",
        "Use it so:\n```\none\n```",
        "Take the bus.\n\nLet me know if you have other questions.",
        "Water the plants.\n\nI hope this helps!",
        "The code was slow.\n\nExplanation: it opens the file in the loop.",
        "He moved away.\n\nI made a new friend there.",
        "He paints.\n\nI made minor changes to the house.\n\nIt is blue now.",
        "The city grew.\n\nThese changes were driven by trade.",
        "Ratify it.\n\nNote: a majority is needed.",
        "Ratify it. Changes made: none.",
        "Changes made: none.",
        "I changed the city in the response.\n\nIt is Paris.",
        "one\n\n---\n\ntwo",
        "The <response> tag holds the answer.",
        "Here is a list:\n- one\n- two",
        "Here is an improved recipe for pancakes: flour, milk, eggs.",
        "Here are my favourite edited volumes:\n1. One",
        "My response time was: slow",
        "Response times vary.",
        '"Yes," she said, "it is."',
        "Revised in 1999: the third edition.",
        "Note: it is raining.",
    ],
)
def test_content_stays(text: str) -> None:
    assert strip_preamble(text) == text


@pytest.mark.parametrize(
    ("original", "answer", "edited"),
    [
        # The original has one heading of its own, the answer too: nothing is an announcement.
        ("Here is the edited response: a b", "Here is the revised response: a c", "Here is the revised response: a c"),
        ("Here is a recipe: a b", "Here is the improved response: a c", "Here is the improved response: a c"),
        # One heading more than the original has: the first goes.
        ("Here is a recipe: a b", f"{PRIMED}\nHere is a recipe: a c", "Here is a recipe: a c"),
        ("Response: a b", "Revised response: Response: a c", "Response: a c"),
        # The editor dropped the original's heading.
        ("Response: a b", "a c", "a c"),
        # Quotation marks and blank space of the original.
        ('"a b"', '"a c"', '"a c"'),
        ('say "b"', '"say c"', '"say c"'),
        # Fences, tags, rules and paragraphs about changes of the original.
        ("```\na b\n```", "```\na c\n```", "```\na c\n```"),
        ("<response>a b</response>", "<response>a c</response>", "<response>a c</response>"),
        ("a b\n\nChanges made: none", "a c\n\nChanges made: none", "a c\n\nChanges made: none"),
        (
            "a b\n\nChanges made: none",
            "a c\n\nI made minimal changes to the response.",
            "a c\n\nI made minimal changes to the response.",
        ),
        ("a b\n\nChanges made: d", "a c\n\nI made changes: d", "a c\n\nI made changes: d"),
        ("a\n\nBig changes made: a b c d", "a\n\nChanges made: a b c d", "a\n\nChanges made: a b c d"),
        ("---\na b", "Edited response:\n---\na c", "---\na c"),
        ("a b\n\n---", "a c\n\n---\n\nI made minimal changes.", "a c\n\n---"),
        (" a b\n", "a c", " a c\n"),
        ("a b", " a c\n", "a c"),
    ],
)
def test_what_the_original_has_too_stays(original: str, answer: str, edited: str) -> None:
    assert strip_preamble(answer, original) == edited


pieces = st.sampled_from(["Response:", "Here is", "my attempt", "a list:", " ", "\n", '"', "\u201c", "**", "word"])


@given((st.text() | st.lists(pieces).map("".join)).filter(lambda text: text.strip()))
def test_a_text_given_back_is_unchanged_also_behind_the_primed_words(text: str) -> None:
    """Whatever the text is: headings, quotes and blank space included."""
    assert strip_preamble(text, text) == text
    assert classify(Completion(text), text) == (EditOutcome.UNCHANGED, text)
    assert classify(Completion(f"{PRIMED}\n\n{text}"), text) == (EditOutcome.UNCHANGED, text)


phrases = st.sampled_from(
    [
        *(
            "Changes made: ",
            "Changes:",
            "Note: I changed the response.",
            "I made minimal changes",
            "The revised response",
        ),
        *(
            "Let me know if you want other changes",
            "I hope this helps",
            "Explanation:",
            "Response:",
            "Here is",
            "my attempt:",
        ),
        *(
            "```",
            "---",
            "<response>",
            "</response>",
            '"',
            "**",
            " ",
            "\n",
            "\n\n",
            "\n\n",
            "one two",
            "three",
            "four five six",
        ),
    ]
)
texts = st.lists(phrases, min_size=1, max_size=12).map(" ".join).map(str.strip).filter(bool)


@given(texts, st.data())
def test_a_text_with_one_word_changed_is_never_shortened(text: str, data: st.DataObject) -> None:
    """Whatever it talks about, and though it may lose the very word that made it something else."""
    spans = [match.span() for match in re.finditer(r"\w+", text)]
    if not spans:
        return
    start, end = data.draw(st.sampled_from(spans))
    edited = text[:start] + "seven" + text[end:]
    assert strip_preamble(edited, text) == edited


@given(texts)
def test_an_answer_equal_to_the_original_is_never_shortened(text: str) -> None:
    assert strip_preamble(text, text) == text


words = st.lists(st.sampled_from(["paris", "lyon", "is", "\u00e9t\u00e9", "'", "*", "{", "\n", " "]), min_size=1)


@given(words.map(" ".join).map(str.strip).filter(bool))
def test_a_text_without_a_heading_is_never_shortened(text: str) -> None:
    assert strip_preamble(text) == text


@pytest.mark.parametrize(
    ("completion", "outcome"),
    [
        (Completion(ORIGINAL), EditOutcome.UNCHANGED),
        (Completion(f"{PRIMED}\n\n{ORIGINAL}\n"), EditOutcome.UNCHANGED),
        (Completion("No changes are needed."), EditOutcome.UNCHANGED),
        (Completion("(no change)"), EditOutcome.UNCHANGED),
        (Completion(""), EditOutcome.EMPTY),
        (Completion(" \n"), EditOutcome.EMPTY),
        (Completion(PRIMED), EditOutcome.EMPTY),
        (Completion('""'), EditOutcome.EMPTY),
        (Completion("The capital of", StopReason.LENGTH), EditOutcome.TRUNCATED),
        (Completion("", StopReason.LENGTH), EditOutcome.TRUNCATED),
        (Completion(ORIGINAL, StopReason.LENGTH), EditOutcome.TRUNCATED),
        (Completion("", StopReason.REFUSAL), EditOutcome.REFUSED),
        (Completion(EDITED, StopReason.REFUSAL), EditOutcome.REFUSED),
        (Completion("I'm sorry, but I can't help with this"), EditOutcome.REFUSED),
        (Completion("I cannot assist you with that request"), EditOutcome.REFUSED),
    ],
)
def test_outcomes_that_keep_the_original(completion: Completion, outcome: EditOutcome) -> None:
    assert classify(completion, ORIGINAL) == (outcome, ORIGINAL)


def test_an_apology_is_no_refusal_where_the_original_is_kept_or_apologises_too() -> None:
    apology = f"Sorry, I was wrong. {EDITED}"
    assert classify(Completion(apology), ORIGINAL) == (EditOutcome.EDITED, apology)
    assert classify(Completion("I cannot tell"), "Sorry no idea") == (EditOutcome.EDITED, "I cannot tell")


@pytest.mark.parametrize(
    ("answer", "edited"),
    [
        ("<think>\nThe sky is not green.\n</think>\n\nThe sky is blue.", "The sky is blue."),
        ("The template has opened it.\n</think>\nRevised response: The sky is blue.", "The sky is blue."),
        ("<think>\n\n</think>\n\nThe sky is blue, says </think>.", "The sky is blue, says </think>."),
        ("Write <think> and </think> around it.", "Write <think> and </think> around it."),
        ("<think>\nnothing to say\n</think>\n\n", ""),
    ],
)
def test_what_a_model_thinks_is_no_part_of_the_response(answer: str, edited: str) -> None:
    assert strip_preamble(answer, "The sky is green.") == edited


def test_thinking_that_the_original_has_stays() -> None:
    original = "<think>2 + 2</think> It is 5."
    assert strip_preamble("<think>2 + 2</think> It is 4.", original) == "<think>2 + 2</think> It is 4."


CITY = "The capital of Australia is Sydney. It has five million people.\r\nIt lies  on the coast, says the guide."
ASKED = "What is the capital of Australia?"


@pytest.mark.parametrize(
    ("text", "outcomes"),
    [
        ("Unfortunately, I'm unable to assist with that request.", {"refused"}),
        ("Lo siento, no puedo ayudar con eso.", {"refused"}),
        ("\u62b1\u6b49\uff0c\u6211\u65e0\u6cd5\u534f\u52a9\u5904\u7406\u6b64\u8bf7\u6c42\u3002", {"refused"}),
        ("As a language model I can't help with the capital of Australia.", {"refused"}),
        ("Olen pahoillani, en voi auttaa t\u00e4ss\u00e4.", {"refused"}),
        ("Samahani, siwezi kusaidia na ombi hilo.", {"uncertain"}),
        ("The weather was lovely on all of those days.", {"uncertain"}),
        ("The response is already correct and needs no changes.", {"unchanged"}),
        ("Die Antwort ist bereits korrekt, es sind keine \u00c4nderungen n\u00f6tig.", {"unchanged"}),
        ("\u65e0\u9700\u4fee\u6539\u3002", {"unchanged"}),
        (f"The original response is already helpful, so I have left it unchanged:\n\n{CITY}", {"unchanged"}),
        (f"{CITY}\n\nNo changes were needed.", {"unchanged"}),
        (f"{CITY}\n\nJibu hili ni sawa kabisa.", {"uncertain"}),
        ("<think>Sydney is wrong, so I'd better say Canberra, and then", {"truncated"}),
        (CITY.replace("\r\n", "\n").replace("  ", " "), {"unchanged"}),
    ],
)
def test_an_answer_that_is_no_edit_is_none_in_any_language(text: str, outcomes: set[str]) -> None:
    outcome, edited = classify(Completion(text), CITY, ASKED)
    assert outcome.value in outcomes
    assert edited == CITY


def test_white_space_beside_a_changed_word_is_the_originals() -> None:
    answer = CITY.replace("Sydney", "Canberra").replace("\r\n", "\n").replace("  ", " ")
    assert classify(Completion(answer), CITY) == (EditOutcome.EDITED, CITY.replace("Sydney", "Canberra"))


def test_the_prompt_tells_an_addition_from_a_remark() -> None:
    longer = "Paris.\n\nUfaransa iko Ulaya."
    assert classify(Completion(longer), "Paris.", "Mji mkuu wa Ufaransa?") == (EditOutcome.EDITED, longer)
    assert classify(Completion(longer), "Paris.")[0] is EditOutcome.UNCERTAIN


befores = st.sampled_from(
    [
        *("", "", "<think>Hm, one is off.</think>\n", "[REASONING]Hm.[/REASONING]\n\n", "<|im_start|>assistant\n"),
        *("Here is the revised response:\n\n", "Hier ist die korrigierte Antwort:\n\n", "Voici ma proposition :\n"),
        *(
            "\u4ee5\u4e0b\u662f\u4fee\u6539\u540e\u7684\u56de\u7b54\uff1a\n",
            "Thought: one is off.\nAnswer: ",
            "Hili hapa:\n",
        ),
    ]
)
behinds = st.sampled_from(
    [
        *(
            "",
            "",
            "</s>",
            "<|im_end|>",
            "\n\nI changed a few words.",
            "\n\nIch habe wenig ge\u00e4ndert.",
            " (Edited slightly.)",
        ),
        *(
            "\n\nJ'ai corrig\u00e9 une erreur.",
            "\n\n\u6211\u53ea\u505a\u4e86\u6700\u5c0f\u7684\u4fee\u6539\u3002",
            "\n\nNimebadilisha neno moja.",
        ),
        *("\n\n---\n**Changes:**\n- a word", "\n\nUser: thanks!"),
    ]
)
sentences = st.sampled_from(
    [
        "The harbour bridge was opened in 1932 after nine years of work.",
        "About two hundred cars an hour cross it in the morning.",
        "Climbers can walk along the upper arch with a guide.",
        "Its steel was made in England and shipped to the site.",
        "On clear days you see the mountains from there.",
        "Trains run on the western side, cyclists as well.",
        "Painting it takes ten years, then it begins anew!",
    ]
)


@given(st.lists(sentences, min_size=2, max_size=5, unique=True), befores, behinds, st.booleans(), st.data())
def test_the_edit_inside_comes_out_exactly_or_the_answer_is_uncertain(
    parts: list[str], before: str, behind: str, fenced: bool, data: st.DataObject
) -> None:
    original = data.draw(st.sampled_from([" ", "\n\n", "\n"])).join(parts)
    spans = [match.span() for match in re.finditer(r"\w+", original)]
    edited = original
    for start, end in sorted(data.draw(st.sets(st.sampled_from(spans), max_size=6)), reverse=True):
        edited = f"{edited[:start]}quince{edited[end:]}"
    answer = f"{before}```\n{edited}\n```{behind}" if fenced else f"{before}{edited}{behind}"
    outcome, found = classify(Completion(answer), original, "Tell me about the bridge.")
    if outcome is EditOutcome.UNCERTAIN:
        assert before or behind  # never for an edit alone
        assert found == original
    else:
        assert (outcome, found) == (EditOutcome.UNCHANGED if edited == original else EditOutcome.EDITED, edited)


CODE = "def largest(xs):\n    best = 0\n    for x in xs:\n        best = max(best, x)\n    return best"
TIPS = (
    "Here are some tips:\n\n1. Go to bed at the same time.\n2. Drink coffee before bed.\n3. Keep your room dark.\n\n"
    "If problems go on for weeks, see a doctor."
)


@pytest.mark.parametrize(
    ("asked", "original", "edited"),
    [
        ("Describe REST", "A client sends a request.", "A client sends a request. The server answers with a response."),
        (
            "Describe a server",
            "It is fast. It is fine.",
            "It is fast. It is fine, but the text of the logs should change.",
        ),
        ("Write a story", "I was sad. It rained.", "I was sad. It rained. I changed my mind about dogs."),
        ("Write a diary", "Today I went to school.", "Today I went to school. I improved my grades, and my essay too."),
        ("What is 2 + 2?", "5", "The answer is 4."),
        ("Is it legal?", "Yes.", "I can't give legal advice, but in most places it is."),
        ("Which token ends a turn?", "A turn ends with im_end.", "A turn ends with <|im_end|>."),
        ("Make a page", "<h1>A title</h1>", "<html>\n<body>\n<h1>A title</h1>\n</body>\n</html>"),
        (
            "",
            "def f(x):\n    return x",
            'def f(x):\n    """Return x.\n\n    Note: x is not changed.\n    """\n    return x',
        ),
        ("Find the largest", CODE, f"from typing import List\n\n\n{CODE.replace('xs)', 'xs: List)', 1)}"),
        ("Find the largest", CODE, f"#!/usr/bin/env python\n{CODE.replace('= 0', '= xs[0]')}"),
        ("List files", "Run ls -l here to list files.", "Run this here to list files:\n\n```bash\nls -l\n```"),
        ("Write a bill", "A bill is read. It is voted on.", "**Step 1:** A bill is read. It is voted on."),
        ("Interview", "1. Arrive late.\n2. Dress well.", "1. **Be on time.** Arrive early.\n2. Dress well."),
        ("Explain leaves", "Plants eat light. They need air.", "**Leaves**\n\nPlants eat light. They need air."),
        ("Write to Bob", "Dear Bob,\n\nThank you.", "Dear Bob,\n\nThank you.\n\nBest regards,\n[Your Name]"),
        (
            "Write a dialogue",
            "User: Hi!\nAssistant: Hello!",
            "User: Hi!\nAssistant: Hello!\nUser: Bye.\nAssistant: Bye!",
        ),
        ("Sleep", TIPS, f"{TIPS}\n\nAlways talk to a doctor before you start a new medicine."),
    ],
)
def test_a_plain_edit_is_neither_shortened_nor_doubted(asked: str, original: str, edited: str) -> None:
    assert classify(Completion(edited), original, asked) == (EditOutcome.EDITED, edited)


@pytest.mark.parametrize(
    ("original", "text"),
    [
        (TIPS, "1. Go to bed at the same time.\n2. Avoid coffee.\n\n[rest unchanged]"),
        (TIPS, "Here are some tips:\n\n1. Go to bed at the same time.\n2. Avoid coffee.\n..."),
        (CODE, "def largest(xs):\n    best = xs[0]\n    # ... rest of the code unchanged ..."),
        (CODE, "def largest(xs):\n    best = xs[0]\n    # rest of the code remains the same"),
        (CODE, f"# Fixed: begin with the first element\n{CODE.replace('= 0', '= xs[0]')}"),
        (CITY, "Die Hauptstadt von Australien ist Canberra. Sie hat eine halbe Million Einwohner."),
        (CITY, "The response should say Canberra instead of Sydney."),
        (CITY, 'Change "Sydney" to "Canberra".'),
        (CITY, ASKED),
        (CITY, "OK"),
        (CITY, "N/A"),
        ("Nothing new.", "Fixed: crash at start. Changed: the default font."),
        ("Mix flour and water. Bake it. Drink oil.", "Mix flour and water. Bake it.\n\nI removed: Drink oil."),
    ],
)
def test_what_stands_for_a_text_or_talks_of_it_is_never_learned_from(original: str, text: str) -> None:
    assert classify(Completion(text), original, ASKED)[0] is EditOutcome.UNCERTAIN


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("No edits necessary - the response already answers the question.", EditOutcome.UNCHANGED),
        ("Nenhuma altera\u00e7\u00e3o \u00e9 necess\u00e1ria.", EditOutcome.UNCHANGED),
        ("I'd rather not edit this response.", EditOutcome.REFUSED),
        ("I am unable to modify the response because it contains harmful content.", EditOutcome.REFUSED),
        (
            "I'm sorry, but I can't edit \"The capital of Australia is Sydney. It has five million people.\"",
            EditOutcome.REFUSED,
        ),
        ("<response></response>", EditOutcome.EMPTY),
        ("analysisSydney is wrong.assistantfinalUnfortunately, I can't help with that.", EditOutcome.REFUSED),
    ],
)
def test_other_ways_to_say_so(text: str, outcome: EditOutcome) -> None:
    assert classify(Completion(text), CITY, ASKED) == (outcome, CITY)
