"""Characters that turn the direction of writing are seen, wherever a text is shown, and stay in the text."""

from collections.abc import Callable
from typing import Any

import pytest

from redpencil.records import Response

pytestmark = pytest.mark.external

TRICK = "access_level != \u202e\u2066// check\u2069 \u2066user\u202c"
LABELS = ["U+202E", "U+2066", "U+2069", "U+2066", "U+202C"]
SHOWN = """selector => [...document.querySelectorAll(`${selector} .control`)].map(
    (one) => getComputedStyle(one, "::before").content.replaceAll('"', ""))"""


def test_an_editor_sees_them_in_the_question_and_in_the_redline(
    make_service: Callable[..., Any], sign_in: Callable[..., Any], look: Callable[[Any], None]
) -> None:
    service = make_service([Response("1", f"Is {TRICK} safe?", f"It is {TRICK}, I think.")])
    page = sign_in(service).page
    page.locator("#prompt .control").first.wait_for()
    assert page.evaluate(SHOWN, "#prompt") == LABELS
    assert page.evaluate("document.querySelector('#prompt').textContent") == f"Is {TRICK} safe?"
    # Each is alone in its element, so that it turns nothing: the words stand from left to right as they were written.
    places = page.evaluate(
        """() => {
          const walker = document.createTreeWalker(document.querySelector("#prompt"), NodeFilter.SHOW_TEXT);
          const places = [];
          while (walker.nextNode()) {
            const range = document.createRange();
            range.selectNodeContents(walker.currentNode);
            if (walker.currentNode.nodeValue.trim().length > 1) places.push(range.getBoundingClientRect().left);
          }
          return places;
        }"""
    )
    assert len(places) == 4
    assert places == sorted(places)
    area = page.locator("#response")
    area.evaluate("area => { area.focus(); area.setSelectionRange(0, 2); }")
    page.keyboard.type("That")
    page.locator("#redline .control").first.wait_for()
    assert page.evaluate(SHOWN, "#redline") == LABELS
    look(page)
    page.keyboard.press("Control+Enter")
    page.locator("#empty").wait_for()
    assert service.rows("submission")[0]["edited"] == f"That is {TRICK}, I think."


def test_who_compares_and_who_reviews_sees_them(make_service: Callable[..., Any], sign_in: Callable[..., Any]) -> None:
    service = make_service(
        compare=([Response("1", "Q", f"a {TRICK}", model="m")], [Response("1", "Q", "b \u202dc", model="n")])
    )
    page = sign_in(service).page
    page.locator("#first .control, #second .control").first.wait_for()
    found = page.evaluate(SHOWN, "#first") + page.evaluate(SHOWN, "#second")
    assert sorted(found) == sorted([*LABELS, "U+202D"])
    page.keyboard.press("Control+Enter")
    listed = make_service([Response("1", f"Is {TRICK} safe?", "yes")])
    items = sign_in(listed, "rita").tab("/items")
    items.locator(".control").first.wait_for()
    assert items.evaluate(SHOWN, "main") == LABELS


def test_writing_from_right_to_left_is_left_alone(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    hebrew = "\u05e9\u05dc\u05d5\u05dd \u200fworld\u200e!"
    page = sign_in(make_service([Response("1", hebrew, hebrew)])).page
    page.get_by_text("world").first.wait_for()
    assert page.locator(".control").count() == 0
