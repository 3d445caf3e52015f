"""Heat-maps of responses by one reward model or two: pieces of text, numbers, colours, and the page in a browser."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.report.scores import (
    Piece,
    Row,
    ScoredModel,
    ScoredResponse,
    limit_of,
    page_notes,
    pieces_of,
    scores_line,
    scores_page,
    scores_text,
)

TOKEN = ScoredModel("token model", "token", 0.25, 2.0, "edits")
OTHER = ScoredModel("other model", "token", -0.5, 1.0, "edits")
SEQUENCE = ScoredModel("sequence model", "sequence", 0.0, 1.0, "edits")
TEXT = "it is mud ."
READING = ScoredResponse(-0.25, ((0, 2), (2, 5), (5, 9), (9, 11), (11, 11)), (0.5, 0.0, -2.0, 0.01, 1.0))
COARSE = ScoredResponse(0.1, ((0, 5), (6, 9), (10, 11)), (1.0, -1.0, 0.5))
WHOLE = ScoredResponse(-0.75, (), ())
AXE = Path(__file__).parents[1] / "web" / "vendor" / "axe.min.js"


class _Page(HTMLParser):
    """What a page shows: texts of tokens with their numbers, and the cells of the tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tokens: list[tuple[str, str, str]] = []
        self.cells: list[str] = []
        self.text, self._inside = "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self._inside = tag
        if "data-value" in found:
            self.tokens.append(("", str(found["data-value"]), str(found["class"])))
            self._inside = "token"

    def handle_endtag(self, _: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._inside == "token":
            self.tokens[-1] = (data, *self.tokens[-1][1:])
        elif self._inside == "td":
            self.cells.append(data)


def test_pieces_are_tokens_and_what_lies_between() -> None:
    assert pieces_of(TEXT, COARSE) == [
        Piece("it is", 1.0),
        Piece(" ", None),
        Piece("mud", -1.0),
        Piece(" ", None),
        Piece(".", 0.5),
    ]
    assert pieces_of(TEXT, READING)[-1] == Piece("", 1.0, is_end=True)
    assert pieces_of("abc", ScoredResponse(0.0, ((0, 1),), (1.0,)))[-1] == Piece("bc", None)


def test_tokens_that_share_characters_are_one_piece() -> None:
    reading = ScoredResponse(0.0, ((0, 1), (1, 2), (1, 2), (1, 3), (3, 4)), (1.0, 2.0, 3.0, 4.0, 5.0))
    assert pieces_of("abcd", reading) == [Piece("a", 1.0), Piece("bc", 9.0, tokens=3), Piece("d", 5.0)]


spans = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4), st.floats(-5, 5)), max_size=8)


@given(st.text(min_size=13, max_size=13), spans, st.booleans())
def test_nothing_of_text_or_reward_is_lost(text: str, drawn: list[tuple[int, int, float]], finished: bool) -> None:
    drawn = sorted(drawn)
    offsets = [(start, start + length) for start, length, _ in drawn] + [(13, 13)] * finished
    rewards = [reward for *_, reward in drawn] + [1.0] * finished
    pieces = pieces_of(text, ScoredResponse(0.0, tuple(offsets), tuple(rewards)))
    assert "".join(piece.text for piece in pieces) == text
    assert sum(piece.reward or 0 for piece in pieces) == pytest.approx(sum(rewards), abs=1e-9)
    assert sum(piece.tokens for piece in pieces if piece.reward is not None) == len(offsets)
    assert sum(piece.is_end for piece in pieces) == finished


def test_a_line_without_colours() -> None:
    assert scores_line(TEXT, READING) == "it(+0.50) is(+0.00) mud(-2.00) .(+0.01) end(+1.00)"
    assert scores_line(TEXT, COARSE) == "it is(+1.00) mud(-1.00) .(+0.50)"
    assert scores_line(TEXT, WHOLE) == TEXT
    assert scores_line("\n", ScoredResponse(0.0, ((0, 1),), (1.0,))) == "\N{MIDDLE DOT}(+1.00)"


def test_terminal_colours_share_the_scale() -> None:
    text = scores_text(TEXT, READING, limit=2.0)
    assert text.plain == "it is mud . end"
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styles["mud"].startswith("underline black on rgb(")
    assert styles["it"].startswith("black on rgb(")
    assert "is" not in styles
    faint = {str(span.style) for span in scores_text(TEXT, READING, limit=20.0).spans}
    assert styles["mud"] not in faint


def test_the_limit_is_over_all_models_and_responses() -> None:
    rows = [Row("p", TEXT, (COARSE, READING)), Row("p", TEXT, (COARSE, COARSE))]
    assert limit_of(rows) == 2.0
    assert limit_of([]) == 0.0


def test_the_page_shows_every_number_twice() -> None:
    page = _Page(scores_page([Row("what is it", TEXT, (READING,))], [TOKEN]))
    minus = "\N{MINUS SIGN}"
    # half of the largest is .04 + .25 * .58 of opacity: shown; .01 of 2 is next to nothing
    assert page.tokens == [
        ("it", "+0.50", "token reward"),
        ("is", "0.00", "token"),
        ("mud", f"{minus}2.00", "token blame"),
        (".", "+0.01", "token"),
        ("end", "+1.00", "token end reward"),
    ]
    assert page.cells == [cell for text, value, _ in page.tokens for cell in (text, value)]
    assert f"{minus}2.00 to +2.00" in page.text
    assert f"{minus}0.250" in page.text
    assert "what is it" in page.text


def test_two_models_with_other_tokens_and_one_with_none() -> None:
    rows = [
        Row("p", TEXT, (READING, COARSE)),
        Row("q", "", (ScoredResponse(0.0, ((0, 0),), (1.0,)), ScoredResponse(0.0, (), ()))),
    ]
    page = _Page(scores_page(rows, [TOKEN, OTHER]))
    assert len(page.tokens) == 5 + 3 + 1
    assert page.text.count("other model") >= 3
    page = _Page(scores_page([Row("p", TEXT, (READING, WHOLE))], [TOKEN, SEQUENCE]))
    assert len(page.tokens) == 5
    assert TEXT in page.text
    assert "one reward for the whole response" in page.text
    page = _Page(scores_page([Row("p", TEXT, (WHOLE,))], [SEQUENCE]))
    assert "underlined" not in page.text  # there is nothing to explain


def test_the_underline_grows_with_the_blame() -> None:
    html = scores_page([Row("p", "ab", (ScoredResponse(0.0, ((0, 1), (1, 2)), (-1.0, -0.5)),))], [TOKEN])
    # depth .62 gives 1 + 2; half of it (.04 + .5 * .58 = .33) gives 1 + 2 * .33 / .62
    assert re.findall(r"--depth:([\d.]+);--thick:([\d.]+)px", html) == [("0.62", "3.0"), ("0.33", "2.1")]


def test_notes_say_what_was_taken_off_and_when_one_scale_is_unfair() -> None:
    rows = [Row("p", TEXT, (READING, COARSE))]
    said = page_notes(rows, [TOKEN, OTHER], standardised=False)
    assert said == [
        "Token rewards are shown minus the model's mean reward on reference responses: "
        "+0.250 (token model), \N{MINUS SIGN}0.500 (other model).",
        "Both models share one scale of colour.",
    ]
    small = ScoredResponse(0.0, COARSE.offsets, (0.1, -0.1, 0.05))
    said = page_notes([Row("p", TEXT, (READING, small))], [TOKEN, OTHER], standardised=False)
    assert said[-1].startswith("One model's largest reward is 20 times the other's; --standardise")
    assert page_notes(rows, [TOKEN, OTHER], standardised=True)[0].startswith("Token rewards are shown as PPO uses them")
    assert page_notes([Row("p", TEXT, (WHOLE,))], [SEQUENCE], standardised=False) == []
    bare = ScoredModel("bare", "token", 0.0, 1.0, "unknown")
    assert page_notes([], [bare], standardised=False)[0] == (
        "bare has no reward card, so nothing is subtracted from its rewards."
    )


def test_hostile_text_is_escaped() -> None:
    text = "<script>alert(1)</script>"
    page = scores_page(
        [Row("<b>", text, (ScoredResponse(0.0, ((0, len(text)),), (1.0,)),))], [ScoredModel("<i>", "token", 0, 1, "x")]
    )
    assert page.count("<script>") == 1  # our own
    assert "<b>" not in page
    assert "<i>" not in page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path("/usr/bin/chromium").is_file():
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.external
@pytest.mark.parametrize("models", [(TOKEN,), (TOKEN, OTHER), (TOKEN, SEQUENCE)])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_is_too_wide(
    browser: Any, tmp_path: Path, scheme: str, width: int, models: tuple[ScoredModel, ...]
) -> None:
    readings = {TOKEN: READING, OTHER: COARSE, SEQUENCE: WHOLE}
    rows = [Row("what is it", TEXT, tuple(readings[model] for model in models))] * 2
    (tmp_path / "page.html").write_text(scores_page(rows, models), encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    context.close()


@pytest.mark.external
def test_numbers_show_on_hover_and_on_keyboard_focus(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(scores_page([Row("p", TEXT, (READING, COARSE))], [TOKEN, OTHER]), "utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    bubble = "getComputedStyle(document.querySelectorAll('.token')[{}], '::after')"

    def shown(index: int) -> tuple[str, str]:
        style = bubble.format(index)
        return page.evaluate(f"[{style}.visibility, {style}.content]")

    assert shown(2) == ["hidden", '"\N{MINUS SIGN}2.00"']
    page.locator(".token").nth(2).hover()
    assert shown(2)[0] == "visible"
    page.mouse.move(0, 0)
    page.keyboard.press("Tab")
    assert shown(0) == ["visible", '"+0.50"']
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert [shown(0)[0], shown(2)[0]] == ["hidden", "visible"]
    page.keyboard.press("Tab")  # to the other heat-map, and not through every token
    assert shown(5)[0] == "visible"
    page.close()


def test_a_character_that_turns_the_direction_of_writing_is_shown() -> None:
    text = "a\N{RIGHT-TO-LEFT OVERRIDE}\x00 b \N{LEFT-TO-RIGHT ISOLATE}"
    html = scores_page([Row("p\x1b", text, (ScoredResponse(0.0, ((0, 3), (4, 5)), (1.0, 0.5)),))], [TOKEN])
    page = _Page(html)
    shown = "a[U+202E]\N{SYMBOL FOR NULL}"
    assert [token[::2] for token in page.tokens] == [(shown, "token reward"), ("b", "token reward")]
    assert " [U+2066]" in html
    assert "p\N{SYMBOL FOR ESCAPE}" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f]", html)
