"""White space that an edit changed beside words that it kept is the original's again; deliberate spaces stay."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.alignment import spacing
from redpencil.alignment.spacing import normalise_marked, normalise_spacing, restore_spacing, untidy_places


@pytest.mark.parametrize(
    ("original", "edited"),
    [
        ("One.\r\nTwo.\r\n", "One.\nTwo."),
        ("One.\rTwo.", "One.\nTwo."),
        ("One.\nTwo.", "One.\r\nTwo.\r\n"),
        ("One.  Two.", "One. Two."),
        ("One. Two.", "One.  Two."),
        ("Bonjour\u00a0!", "Bonjour !"),
        ("if a:\n\tb()\n\tc()", "if a:\n    b()\n    c()"),
        ("One.\n\nTwo.", "One. Two."),
        ("One. Two.", "One.\n\nTwo."),
        ("a  \nb", "a\nb"),
        ("\u4f60\u597d\u3000\u4e16\u754c", "\u4f60\u597d \u4e16\u754c"),
        (" \t", ""),
        ("\n One \n", "One"),
    ],
)
def test_texts_that_differ_in_white_space_alone_are_the_original(original: str, edited: str) -> None:
    assert restore_spacing(original, edited) == original


@pytest.mark.parametrize(
    ("original", "edited", "restored"),
    [
        # A word is replaced in the second line; everything else is as it was.
        ("One is.\r\nTwo is fine.\r\nThree.", "One is.\nTwo is better.\nThree.", "One is.\r\nTwo is better.\r\nThree."),
        # The first and the last word of a line are replaced: the same line ends around them.
        ("a b\r\nc d\r\ne", "a x\ny d\ne", "a x\r\ny d\r\ne"),
        # The doubled space stays with the replaced word, also before it.
        ("a  b  c", "a x c", "a  x  c"),
        # New text takes the original's line ends, the most frequent ones.
        ("a\r\nb\r\nc\nd", "a\nb\nc\nd\ne f\n\ng", "a\r\nb\r\nc\nd\r\ne f\r\n\r\ng"),
        ("a", "a\r\nb", "a\r\nb"),
        # An inserted word: the next word keeps its space.
        ("a  c", "a b c", "a b  c"),
        ("One.\r\n\r\nTwo.", "One. New.\n\nTwo.", "One. New.\r\n\r\nTwo."),
        ("One.\n\nTwo.", "One.\n\nNew. Two.", "One.\n\nNew. Two."),
        # A deleted word: the space of the word that follows, or else that of the deleted one.
        ("a b  c", "a c", "a  c"),
        ("a\r\nb c", "a\nc", "a\r\nc"),
        ("a\nb c d", "a c x", "a c x"),
        # Where one side has no space, the space is the edit.
        ("Hello ,you", "Hello, you", "Hello, you"),
        ("a=1 b", "a = 1 c", "a = 1 c"),
        ("an alot b", "an a lot c", "an a lot c"),
        # A list made of sentences.
        ("One. Two.", "- One.\n- Two.", "- One.\n- Two."),
        ("- One.\n- Two.", "One. Two.", "One. Two."),
        # Tabs written as spaces, though words changed.
        ("if a:\n\tb()\n\t\tc(1)\nd", "if a:\n    b()\n        c(2)\nd", "if a:\n\tb()\n\t\tc(2)\nd"),
        # Deeper lines of code are another program.
        ("x = 1\nprint(x)", "if a:\n    x = 1\n    print(x)", "if a:\n    x = 1\n    print(x)"),
        (
            "def f():\r\n    x()\r\n    y()\r\nz()",
            "def f():\n    if a:\n        x()\n        y()\nz()",
            "def f():\r\n    if a:\r\n        x()\r\n        y()\r\nz()",
        ),
        # The ends are the original's.
        ("\n a b\n", "a c", "\n a c\n"),
        ("a b", " a c\n", "a c"),
        ("a b", "", ""),
        ("", "a", "a"),
    ],
)
def test_where_words_changed_too(original: str, edited: str, restored: str) -> None:
    assert restore_spacing(original, edited) == restored


spaces = st.sampled_from([" ", "  ", "\n", "\r\n", "\r", "\n\n", "\t", "\u00a0", "\n    ", "\n\t", " \n", "\u3000"])
words = st.lists(st.sampled_from(["a", "b", "c.", "d,", "(e)", "\u4f60\u597d", "it's", "the"]), min_size=1, max_size=12)


def _spaced(parts: list[str], gaps: list[str]) -> str:
    return "".join(part + gap for part, gap in zip(parts, gaps, strict=True))


@st.composite
def texts(draw: st.DrawFn, parts: list[str] | None = None) -> str:
    chosen = draw(words) if parts is None else parts
    return draw(st.just("") | spaces) + _spaced(
        chosen, [*(draw(spaces) for _ in chosen[1:]), draw(st.just("") | spaces)]
    )


@given(st.data(), words)
def test_any_other_white_space_gives_the_original(data: st.DataObject, parts: list[str]) -> None:
    original, edited = data.draw(texts(parts)), data.draw(texts(parts))
    assert restore_spacing(original, edited) == original


@given(texts() | st.text(), texts() | st.text())
def test_words_are_never_touched_and_a_second_time_changes_nothing(original: str, edited: str) -> None:
    restored = restore_spacing(original, edited)
    assert restored.split() == edited.split()
    assert restore_spacing(original, restored) == restored


@given(st.data(), words, st.integers(0, 11))
def test_one_new_word_leaves_all_white_space_as_it_was(data: st.DataObject, parts: list[str], place: int) -> None:
    """The copy has its own line ends, single spaces and spaces for tabs; the new word occurs nowhere else."""
    gaps = [data.draw(spaces) for _ in parts]
    new = [*parts]
    new[place % len(parts)] = "new"
    copied = [gap.replace("\r\n", "\n").replace("\r", "\n").expandtabs(4) for gap in gaps]
    copied = [gap.strip(" ") if gap.endswith("\n") else gap if "\n" in gap else " " for gap in copied]
    assert restore_spacing(_spaced(parts, gaps), _spaced(new, copied)) == _spaced(new, gaps)


def test_ten_thousand_equal_pairs_take_less_than_a_second() -> None:
    text = "some words of a text " * 20
    began = time.perf_counter()
    for _ in range(10_000):
        restore_spacing(text, text.rstrip())
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("edited", ["One three, four", "One,two three", "Zero one two three"])
def test_single_spaces_alone_need_no_alignment(edited: str, monkeypatch: pytest.MonkeyPatch) -> None:
    aligned = restore_spacing("One two  three", edited)
    monkeypatch.setattr(spacing, "changed_runs", None)
    assert restore_spacing("One two three", edited) == edited == aligned.replace("  ", " ")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("One. Two.", 0),
        ("One. Two. ", 1),
        ("One.  Two.\n", 2),
        (" One.", 0),
        ("One. \nTwo.", 1),
        ("One.\n\nTwo.", 0),
        ("if a:\n    b()\n    c()", 0),
        ("a\t\tb\u00a0 c", 2),
        ("One.\r\nTwo.", 0),
        ("", 0),
        ("   ", 1),
    ],
)
def test_white_space_that_nobody_sees_is_counted(text: str, places: int) -> None:
    assert untidy_places(text) == places


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("One. Two. ", "One. Two."),
        ("\n One.  Two.\t Three", "One. Two. Three"),
        ("One.\u00a0Two.\u3000Three", "One. Two. Three"),
        ("One. \r\nTwo.\rThree", "One.\nTwo.\nThree"),
        ("One.\n \n\t\n\nTwo.", "One.\n\nTwo."),
        ("if a:\n    b()  \n\tc()", "if a:\n    b()\n\tc()"),
        (" \n ", ""),
        ("", ""),
    ],
)
def test_white_space_written_in_one_way(text: str, plain: str) -> None:
    assert normalise_spacing(text) == plain


@given(st.text("ab \t\n\r\u00a0\u2003\x0b."))
def test_plain_white_space_stays_and_has_no_stray_place(text: str) -> None:
    plain = normalise_spacing(text)
    assert normalise_spacing(plain) == plain
    assert untidy_places(plain) == 0
    assert plain.split() == text.split()
    assert normalise_marked(text, {"spans": None}) == (plain, {"spans": None})


@given(st.text("ab \t\n\r\u00a0.", min_size=1), st.data())
def test_spans_move_with_their_words(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    plain, meta = normalise_marked(text, {"spans": [{"start": start, "end": end, "type": "x"}], "other": 1})
    (span,) = meta["spans"]
    assert plain == normalise_spacing(text)
    assert 0 <= span["start"] <= span["end"] <= len(plain)
    assert plain[span["start"] : span["end"]].split() == text[start:end].split()
    assert (span["type"], meta["other"]) == ("x", 1)


@pytest.mark.parametrize("span", [{"start": 0, "end": 99}, {"start": "0", "end": 1}, {"start": True, "end": 1}, 3, {}])
def test_what_is_no_span_stays(span: object) -> None:
    assert normalise_marked(" a  b ", {"spans": [span]}) == ("a b", {"spans": [span]})
