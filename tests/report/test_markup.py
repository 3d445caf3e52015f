"""Numbers, redlines and heat-maps as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.records import Edit
from redpencil.report.markup import (
    bounds,
    choose_edits,
    duration,
    heatmap_html,
    in_brackets,
    interval_text,
    plain,
    points_interval,
    redline_html,
    signed,
    visible,
)
from redpencil.results import Estimate, Figure, SeedMean

MINUS = "\N{MINUS SIGN}"


def test_signs() -> None:
    assert signed(1.26) == "+1.3"
    assert signed(-1.26) == f"{MINUS}1.3"
    assert signed(-0.04) == "0.0"
    assert plain(-2.0) == f"{MINUS}2.0"
    assert plain(None) == "\N{EN DASH}"
    assert points_interval(SeedMean(value=0.5, low=-0.5, high=1.5)) == f"{MINUS}0.5 to +1.5"


def test_a_share_stays_within_0_and_100_but_a_difference_does_not() -> None:
    # 99 + 1.96 * 2 = 102.9; -1 - 3.9 = -4.9
    assert interval_text(Estimate(value=99.0, standard_error=2.0)) == "95.1 to 100.0"
    assert in_brackets(Estimate(value=99.0, standard_error=2.0)) == " (95.1 to 100.0)"
    assert points_interval(Estimate(value=-1.0, standard_error=2.0)) == f"{MINUS}4.9 to +2.9"
    assert bounds(SeedMean(value=0.8, low=-0.1, high=1.7), 1.0) == (0.0, 1.0)
    assert bounds(SeedMean(value=8, low=-1, high=300), None) == (-1, 300)
    assert in_brackets(Figure(value=1.0)) == ""
    assert interval_text(Figure(value=1.0)) == points_interval(Figure(value=1.0)) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.13, "4.1 s"), (99.96, "1 min 40 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (None, "\N{EN DASH}")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def edit(index: int, original: str, edited: str) -> Edit:
    return Edit(str(index), "prompt", original, edited)


def test_replacement_with_the_space_outside_of_the_marks() -> None:
    assert redline_html("it is lyon .", "it is paris .") == (
        '<p class="redline">it is <del>lyon</del> <ins>paris</ins> .</p>'
    )


def test_deletion_and_insertion() -> None:
    assert "<ins>" not in redline_html("a very good cat", "a good cat")
    assert "<del>very</del>" in redline_html("a very good cat", "a good cat")
    assert "<ins>very</ins>" in redline_html("a good cat", "a very good cat")


def test_hostile_text_is_escaped_in_what_is_kept_deleted_and_inserted() -> None:
    evil = "<script>x</script>"
    for original, edited in [(f"{evil} a", f"{evil} b"), (f"a {evil} b", "a b"), ("a b", f"a {evil} b")]:
        html = redline_html(original, edited)
        assert "<script" not in html
        assert "&lt;script&gt;" in html


def test_choice_has_each_kind_alone_then_mixed_and_the_first_of_each() -> None:
    edits = [
        edit(0, "same text", "same text"),
        edit(1, "one two three four", "one zwei three four"),
        edit(2, "one two three four", "one deux three four"),
        edit(3, "one two three four", "one two three"),
        edit(4, "one two three", "one two three four"),
        edit(5, "one two three four five six seven", "eins two three four five six"),
        edit(6, "long " * 400 + "end", "long " * 400),
    ]
    assert [chosen.id for chosen in choose_edits(edits)] == ["1", "3", "4", "5"]
    assert [chosen.id for chosen in choose_edits(edits, count=2)] == ["1", "3"]
    assert choose_edits([]) == []


@given(st.lists(st.tuples(st.text(max_size=8), st.floats(-5, 5)), max_size=12))
def test_tags_are_balanced_for_any_token(pairs: list[tuple[str, float]]) -> None:
    html = heatmap_html([token for token, _ in pairs], [reward for _, reward in pairs])
    assert html.count("<span") == html.count("</span>") == len(pairs)
    assert html.count("<") == 2 * len(pairs) + 2


def test_control_characters_are_seen() -> None:
    assert visible("a\tb\n\x00\x1b\x7f\x85") == (
        "a\tb\n\N{SYMBOL FOR NULL}\N{SYMBOL FOR ESCAPE}\N{SYMBOL FOR DELETE}\N{REPLACEMENT CHARACTER}"
    )


@pytest.mark.parametrize("code", [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
def test_what_sets_the_direction_of_writing_is_seen(code: int) -> None:
    assert visible(f"a{chr(code)}b") == f"a[U+{code:04X}]b"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("pass\u200bword", "pass[U+200B]word"),
        ("\ufeffa\u00adb\u2060", "[U+FEFF]a[U+00AD]b[U+2060]"),
        ("\u3164\u115f\u180e", "[U+3164][U+115F][U+180E]"),
        ("a\u200db, \u200c", "a[U+200D]b, [U+200C]"),
        ("\u200dx \u6f22\u200d", "[U+200D]x \u6f22[U+200D]"),
        ("hi\U000e0068\U000e0069", "hi[U+E0068][U+E0069]"),  # words in tags, which models read and people do not see
        ("a\ufe0f\ufe01\U000e0100", "a\ufe0f[U+FE01][U+E0100]"),  # bytes in selectors of variants
        ("p\u0430yp\u0430l", "p[U+0430]yp[U+0430]l"),
        ("\u0421ola \u039aelvin ca\u0441", "[U+0421]ola [U+039A]elvin ca[U+0441]"),
        ("\ud83d", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_what_is_not_seen_or_looks_like_something_else_is_seen(text: str, seen: str) -> None:
    assert visible(text) == seen


@pytest.mark.parametrize(
    "text",
    [
        *("", "left", "\u05e9\u05dc\u05d5\u05dd", "\u2029 \u2065 \u200f \u200e"),
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian
        "\u0915\u094d\u200d\u0937",  # Hindi
        "\U0001f469\u200d\U0001f4bb \u2764\ufe0f\u200d\U0001f525 1\ufe0f\u20e3",  # emoji
        "\u0420\u043e\u0441\u0441\u0438\u044f \u0438 \u041a\u0438\u0435\u0432",  # words of Cyrillic letters alone
        "\u0394x \u03bcm \u03b2-test \u0391\u03b8\u03ae\u03bd\u03b1",  # letters that look like no Latin one, and Greek
        "na\u00efve \u00a0 caf\u00e9 e\u0301",
    ],
)
def test_what_writing_needs_stays(text: str) -> None:
    assert visible(text) == text
