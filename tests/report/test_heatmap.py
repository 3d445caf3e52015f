"""Heat-maps for pages and terminals."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.report.heatmap import heatmap_html, heatmap_text


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
    assert heatmap_text(tokens, rewards).plain == shown


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
    with pytest.raises(RedpencilError, match="2 tokens and 1 rewards"):
        heatmap_text(["a", "b"], [1.0])
    with pytest.raises(RedpencilError, match="way out"):
        heatmap_html(["a"], [1.0], flaws=["x", "y"])


def test_nothing_at_all() -> None:
    assert text_of(heatmap_html([], [])) == ""
    assert heatmap_text([], []).plain == ""


def test_terminal_styles() -> None:
    text = heatmap_text(["good", "bad", "plain"], [1.0, -1.0, 0.0])
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styles["bad"].startswith("underline black on rgb(")
    assert styles["good"].startswith("black on rgb(")
    assert "plain" not in styles


@given(st.lists(st.tuples(st.text(max_size=8), st.floats(-5, 5)), max_size=12))
def test_tags_are_balanced_for_any_token(pairs: list[tuple[str, float]]) -> None:
    html = heatmap_html([token for token, _ in pairs], [reward for _, reward in pairs])
    assert html.count("<span") == html.count("</span>") == len(pairs)
    assert html.count("<") == 2 * len(pairs) + 2
