"""Every page and state: nothing that axe-core objects to, in light and dark, and no scrolling sideways on a phone."""

from collections.abc import Callable
from typing import Any

import pytest

from redpencil.records import Response

pytestmark = pytest.mark.external

RESPONSES = [
    Response("1", "How do I keep basil alive?", "Water it *never* and\n\n- keep it in the dark\n- feed it daily\n"),
    Response("2", "Add two numbers.", "```python\ndef add(a, b):\n\treturn a - b" + "b" * 300 + "\n```\n"),
]
SUGGESTIONS = {"1": RESPONSES[0].response.replace("never", "often").replace("dark", "sun")}
LIGHT = {"color_scheme": "light"}
DARK = {"color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True}


@pytest.fixture(params=[LIGHT, DARK, PHONE], ids=["light", "dark", "phone"])
def looks(request: Any, axe: Callable[[Any], list[str]]) -> tuple[dict[str, Any], Callable[[Any], None]]:
    """How the window is, and what to call on a page that is to be looked at."""

    def look(page: Any) -> None:
        assert axe(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"

    return request.param, look


def replace(page: Any, word: str, other: str) -> None:
    page.locator("#response").evaluate(
        "(area, word) => { area.focus(); const at = area.value.indexOf(word);"
        " area.setSelectionRange(at, at + word.length); }",
        word,
    )
    page.keyboard.type(other)


def test_the_editing_page_in_its_states(
    make_service: Callable[..., Any], sign_in: Callable[..., Any], looks: Any
) -> None:
    options, look = looks
    service = make_service(RESPONSES, suggestions=SUGGESTIONS, guidelines="# Be *brief*", kept_hard=0.4, kept_soft=0.99)
    window = sign_in(service, **options)
    page = window.page
    look(page)
    replace(page, "never", "now and then")
    page.locator("#suggestion-list button").nth(2).click()
    page.locator("#tags summary").click()
    page.locator('#meter[data-level="soft"]').wait_for()
    look(page)
    page.locator("#tab-preview").click()
    page.locator("#preview li").first.wait_for()
    look(page)
    for keys, dialog in (("F1", "#keys"), ("F2", "#guidelines h1")):
        page.keyboard.press(keys)
        page.locator(dialog).wait_for()
        look(page)
        page.keyboard.press("Escape")
    page.keyboard.press("Alt+3")
    page.keyboard.press("Control+Enter")
    page.locator("#problem").wait_for()
    look(page)
    page.locator('#save-state[data-state="saved"]').wait_for()
    service.kill()
    replace(page, "daily", "weekly")
    page.locator('#save-state[data-state="offline"]').wait_for()
    look(page)
    service.start()
    page.locator('#save-state[data-state="saved"]').wait_for(timeout=30_000)
    page.keyboard.press("Alt+1")
    page.keyboard.press("Control+Enter")
    page.locator("#done").wait_for()
    look(page)
    page.keyboard.press("Alt+4")
    page.keyboard.press("Control+Enter")
    page.locator("#empty").wait_for()
    look(page)


def test_two_versions_side_by_side(make_service: Callable[..., Any], sign_in: Callable[..., Any], looks: Any) -> None:
    options, look = looks
    window = sign_in(make_service(RESPONSES[:1]), **options)
    second = window.tab()
    second.locator("#desk").wait_for()
    replace(window.page, "never", "daily")
    window.page.locator('#save-state[data-state="saved"]').wait_for()
    replace(second, "dark", "sun")
    second.locator("#conflict").wait_for()
    look(second)
    second.locator("#conflict-keep-mine").click()
    second.locator("#aside").wait_for()
    look(second)


def test_the_comparing_page(make_service: Callable[..., Any], sign_in: Callable[..., Any], looks: Any) -> None:
    options, look = looks
    other = [Response(one.id, one.prompt, one.response.upper()) for one in RESPONSES]
    page = sign_in(make_service(compare=(RESPONSES, other)), **options).page
    look(page)
    page.keyboard.press("Alt+1")
    page.keyboard.press("Control+Enter")
    page.locator("#done").wait_for()
    look(page)


def test_the_other_pages(make_service: Callable[..., Any], sign_in: Callable[..., Any], looks: Any) -> None:
    options, look = looks
    service = make_service(
        RESPONSES, guidelines="# Be brief\n\n| a | b |\n|--|--:|\n| 1 | `2` |\n\n> quoted [link](https://x.org)"
    )
    window = sign_in(service, **options)
    window.page.keyboard.press("Alt+2")
    window.page.keyboard.press("Control+Enter")
    window.page.locator("#done").wait_for()
    for path in ("/mine", "/guidelines", "/nowhere", f"/join/{service.tokens['ana']}"):
        look(window.tab(path))
    stranger = sign_in(service, "ben", **options)
    stranger.context.clear_cookies()
    look(stranger.tab("/"))
