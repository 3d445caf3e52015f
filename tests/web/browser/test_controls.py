"""Characters that turn the direction of writing, or are not seen at all, are seen wherever a text is shown."""

from collections.abc import Callable
from typing import Any

import pytest

from redpencil.records import Response
from redpencil.report.markup import visible

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


def test_pages_of_the_service_and_reports_show_the_same(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    """Each character of Unicode's first planes and of its tags alone, and beside Latin letters."""
    page = sign_in(make_service([Response("1", "Q", "A")])).page
    planes = [*range(0x80, 0xD800), *range(0xE000, 0x1_0000), *range(0xE_0000, 0xE_0200)]
    # After a control character of C1, which a page shows as nothing, reports have the replacement character.
    texts = [f"{one} a{one} {one}b" for one in map(chr, planes) if not one.isspace() and one >= "\xa0"]
    texts += ["p\u0430yp\u0430l \u0420\u043e", "\u2764\ufe0f\u200d\U0001f525", "a\u200d\u200cb", "\ufe0f\ufe0f\ufe0f"]
    shown = page.evaluate(
        """async texts => {
          const list = document.createElement("div");
          for (const text of texts) list.appendChild(document.createElement("p")).textContent = text;
          document.body.append(list);
          await new Promise((done) => setTimeout(done));
          for (const one of list.querySelectorAll(".control")) one.replaceWith(`[${one.dataset.name}]`);
          const shown = [...list.children].map((one) => one.textContent);
          list.remove();
          return shown;
        }""",
        texts,
    )
    assert len(texts) > 60_000
    assert [(text, one) for text, one in zip(texts, shown, strict=True) if one != visible(text)] == []


def test_titles_and_options_have_no_labels_but_numbers(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([Response("\u202egpj.p\u0430y", "Q", "A b")], tags=["wr\u200bong", "rude"])
    page = sign_in(service).page
    page.locator("#response").press_sequentially("so ")
    page.keyboard.press("Control+Enter")
    page.locator("#empty").wait_for()
    window = sign_in(service, "rita")
    assert window.tab("/disputes/1").title().startswith("Item [U+202E]gpj.p[U+0430]y")
    page = window.tab("/items?tag=wr%E2%80%8Bong")
    assert page.locator("#tag option").nth(1).text_content() == "wr[U+200B]ong"
    assert page.locator("#tag").input_value() == "wr\u200bong"  # what is asked for stays the tag
