"""Numbers, redlines and heat-maps as text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.records import Edit
from redpencil.report.markup import (
    bounds,
    choose_edits,
    duration,
    heatmap_html,
    interval_text,
    plain,
    points_interval,
    redline_html,
    signed,
    terminal_style,
    turns,
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
    assert points_interval(Estimate(value=-1.0, standard_error=2.0)) == f"{MINUS}4.9 to +2.9"
    assert bounds(SeedMean(value=0.8, low=-0.1, high=1.7), 1.0) == (0.0, 1.0)
    assert bounds(SeedMean(value=8, low=-1, high=300), None) == (-1, 300)
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


def test_a_word_that_turns_the_direction_of_writing_is_isolated() -> None:
    turning = "\N{RIGHT-TO-LEFT OVERRIDE}evil"
    assert f"<ins><bdi>{turning}</bdi></ins>" in redline_html("it is good", f"it is {turning}")
    assert "<bdi>" not in redline_html("it is good", "it is bad")


def text_of(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html)


def test_words_with_numbers_on_hover_and_blame_underlined() -> None:
    html = heatmap_html(["paris", "lyon"], [0.5, -1.0])
    assert text_of(html) == "paris lyon"
    # the strongest gets opacity .62; half of it .04 + .5 * .58 = .33
    assert '<span class="token" style="background:rgb(0 114 178/0.33)" title="+0.50">paris</span>' in html
    assert (
        '<span class="token blame" style="background:rgb(213 94 0/0.62)" title="\N{MINUS SIGN}1.00">lyon</span>' in html
    )


def test_a_shared_limit_makes_responses_comparable() -> None:
    # .5 of 2 is a quarter: .04 + .25 * .58 = .185, printed .18 or .19
    assert "/0.1" in heatmap_html(["paris"], [0.5], limit=2.0)
    assert "/0.62" in heatmap_html(["paris"], [9.0], limit=2.0)


def test_next_to_nothing_has_no_colour() -> None:
    html = heatmap_html(["a", "b"], [1.0, -0.01])
    assert html.count("background") == 1
    assert "blame" not in html
    assert "background" not in heatmap_html(["a"], [0.0])


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (["the", "lion"], "the lion"),
        ([" The", " lion", "ess"], "The lioness"),
        (["\u0120The", "\u0120lion", "\u010a", "x"], "The lion\n\u00b7x"),
        (["\u2581The", "\u2581lion"], "The lion"),
        (["lion", "##ess", "eats"], "lioness eats"),
        (["a", "", "b"], "a \u00b7 b"),
    ],
)
def test_spaces_of_every_kind_of_tokenizer(tokens: list[str], shown: str) -> None:
    rewards = [0.0] * len(tokens)
    assert text_of(heatmap_html(tokens, rewards)) == shown


def test_neighbours_of_one_flaw_share_a_box() -> None:
    html = heatmap_html(["a", "b", "c", "d"], [0, 0, 0, 0], flaws=[None, "rude", "rude", "wrong"])
    assert html.count('class="flaw"') == 2
    assert html.count("<sup>rude</sup>") == 1
    assert text_of(html) == "a b crude dwrong"


def test_hostile_text_is_escaped() -> None:
    html = heatmap_html(["<script>alert(1)</script>", '"'], [1.0, -1.0], flaws=["<b>", None])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<b>" not in html


def test_lengths_must_agree() -> None:
    with pytest.raises(RedpencilError, match="2 tokens and 1 rewards"):
        heatmap_html(["a", "b"], [1.0])
    with pytest.raises(RedpencilError, match="hint"):
        heatmap_html(["a"], [1.0], flaws=["x", "y"])


def test_nothing_at_all() -> None:
    assert text_of(heatmap_html([], [])) == ""


def test_terminal_styles() -> None:
    assert terminal_style(-1.0, 1.0).startswith("underline black on rgb(")
    assert terminal_style(1.0, 1.0).startswith("black on rgb(")
    assert terminal_style(0.0, 1.0) == ""


@given(st.lists(st.tuples(st.text(max_size=8), st.floats(-5, 5)), max_size=12))
def test_tags_are_balanced_for_any_token(pairs: list[tuple[str, float]]) -> None:
    html = heatmap_html([token for token, _ in pairs], [reward for _, reward in pairs])
    assert html.count("<span") == html.count("</span>") == len(pairs)
    assert html.count("<") == 2 * len(pairs) + 2


def test_control_characters_are_seen() -> None:
    assert visible("a\tb\n\x00\x1b\x7f\x85") == (
        "a\tb\n\N{SYMBOL FOR NULL}\N{SYMBOL FOR ESCAPE}\N{SYMBOL FOR DELETE}\N{REPLACEMENT CHARACTER}"
    )


@pytest.mark.parametrize("code", [0x202A, 0x202E, 0x2066, 0x2069])
def test_what_sets_the_direction_of_writing(code: int) -> None:
    assert turns(f"a{chr(code)}")


@pytest.mark.parametrize("text", ["", "left", "\u05e9\u05dc\u05d5\u05dd", "\u2029 \u2065"])
def test_what_does_not(text: str) -> None:
    assert not turns(text)
