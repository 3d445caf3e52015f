"""What is typed is never lost: not by a reload, not by a crash of the server or of the browser."""

import contextlib
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from redpencil.records import Response

pytestmark = pytest.mark.external

FOX = Response("fox", "What does the fox do?", "The quick brown fox jumps over the lazy dog.")


def saved(page: Any) -> None:
    """Wait until the page says that the server has the text."""
    page.locator('#save-state[data-state="saved"]').wait_for()


def select(page: Any, word: str) -> None:
    """Select a word of the response, as a double click would."""
    page.locator("#response").evaluate(
        "(area, word) => { area.focus(); const at = area.value.indexOf(word);"
        " area.setSelectionRange(at, at + word.length); }",
        word,
    )


def test_what_is_typed_survives_the_death_of_the_server_and_a_reload(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    page = sign_in(service).page
    select(page, "quick")
    page.keyboard.type("slow")
    saved(page)
    assert service.rows("assignment")[0]["draft"] == "The slow brown fox jumps over the lazy dog."

    service.kill()
    select(page, "lazy")
    page.keyboard.type("sleepy")
    page.locator('#save-state[data-state="offline"]').wait_for()
    assert "kept in this browser" in page.locator("#save-state").inner_text()
    assert service.rows("assignment")[0]["draft"] == "The slow brown fox jumps over the lazy dog."

    service.start()
    page.reload()
    page.locator("#desk").wait_for()
    assert page.locator("#response").input_value() == "The slow brown fox jumps over the sleepy dog."
    saved(page)
    assert service.rows("assignment")[0]["draft"] == "The slow brown fox jumps over the sleepy dog."


def test_a_page_that_stays_open_saves_by_itself_when_the_server_is_back(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    page = sign_in(service).page
    service.kill()
    select(page, "quick")
    page.keyboard.type("slow")
    page.locator('#save-state[data-state="offline"]').wait_for()
    service.start()
    saved(page)
    assert service.rows("assignment")[0]["draft"] == "The slow brown fox jumps over the lazy dog."


def test_saved_is_not_said_before_the_server_answered(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    page = sign_in(service).page
    page.route(re.compile("/draft$"), lambda route: (time.sleep(1.5), route.continue_()))
    select(page, "quick")
    page.keyboard.type("slow")
    with page.expect_request(re.compile("/draft$")):
        pass
    assert page.locator("#save-state").get_attribute("data-state") == "saving"
    assert "Saved" not in page.locator("#save-state").inner_text()
    saved(page)


def test_a_browser_that_dies_before_it_could_save_has_the_text_when_it_is_back(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    window = sign_in(service)
    cut_off = [True]
    window.context.route(re.compile("/draft$"), lambda route: route.abort() if cut_off else route.continue_())
    select(window.page, "quick")
    window.page.keyboard.type("slow")
    window.page.locator('#save-state[data-state="offline"]').wait_for()
    with contextlib.suppress(Exception):  # the renderer dies under it
        window.page.goto("chrome://crash", timeout=5000)
    cut_off.clear()

    page = window.tab()
    page.locator("#notice").wait_for()
    assert page.locator("#response").input_value() == "The slow brown fox jumps over the lazy dog."
    saved(page)


def test_a_tab_that_nobody_touched_removes_nothing_that_another_tab_keeps(
    make_service: Callable[..., Any], sign_in: Callable[..., Any], until: Callable[[Any, str], None]
) -> None:
    service = make_service([FOX])
    window = sign_in(service)
    window.page.locator("#desk").wait_for()
    idle = window.tab()
    idle.locator("#desk").wait_for()
    window.context.route(re.compile("/draft$"), lambda route: route.abort())
    select(window.page, "quick")
    window.page.keyboard.type("slow")
    window.page.locator('#save-state[data-state="offline"]').wait_for()
    kept = "() => Object.entries(localStorage).filter(([name]) => name.startsWith('redpencil draft')).map((e) => e[1])"
    until(window.page, f"({kept})().some((text) => text.includes('slow'))")
    idle.goto("about:blank")
    assert any("slow brown fox" in text for text in window.page.evaluate(kept))


def test_an_answer_that_got_lost_makes_no_conflict(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    """The server took the draft and died before it could say so; typing went on meanwhile."""
    service = make_service([FOX])
    page = sign_in(service).page
    lost: list[int] = []

    def lose_first(route: Any) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().status)
        route.abort()

    page.route(re.compile("/draft$"), lose_first)
    select(page, "quick")
    page.keyboard.type("slow")
    page.locator('#save-state[data-state="offline"]').wait_for()
    select(page, "lazy")
    page.keyboard.type("sleepy")
    saved(page)
    assert lost == [200]
    assert not page.locator("#conflict").is_visible()
    assert service.rows("assignment")[0]["draft"] == "The slow brown fox jumps over the sleepy dog."


def test_a_hand_in_whose_answer_got_lost_is_handed_in_once(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    page = sign_in(service).page
    lost: list[int] = []

    def lose_first(route: Any) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.fetch().status)
        route.abort()

    page.route(re.compile("/submit$"), lose_first)
    select(page, "quick")
    page.keyboard.type("slow")
    page.keyboard.press("Control+Enter")
    page.locator("#problem").wait_for()
    assert "Not handed in" in page.locator("#problem").inner_text()
    page.keyboard.press("Control+Enter")
    page.locator("#empty").wait_for()
    assert [row["edited"] for row in service.rows("submission")] == ["The slow brown fox jumps over the lazy dog."]


def test_a_hand_in_can_be_taken_back_and_gone_on_with(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX, Response("cat", "What does the cat do?", "The cat sleeps.")])
    page = sign_in(service).page
    select(page, "quick")
    page.keyboard.type("slow")
    page.locator("#reason").fill("It is slow.")
    page.locator("#save").click()
    page.locator("#done-text", has_text="Handed in. 90").wait_for()
    page.locator("#prompt", has_text="What does the cat do?").wait_for()
    assert page.locator("#response").input_value() == "The cat sleeps."
    page.get_by_role("button", name="Undo").click()
    page.locator("#prompt", has_text="What does the fox do?").wait_for()
    assert page.locator("#response").input_value() == "The slow brown fox jumps over the lazy dog."
    assert page.locator("#reason").input_value() == "It is slow."
    assert service.rows("submission")[0]["undone"] is not None
    page.keyboard.press("Control+Enter")
    page.locator("#prompt", has_text="What does the cat do?").wait_for()
    assert [row["undone"] is None for row in service.rows("submission")] == [False, True]

    page.goto(service.url + "/mine")
    page.get_by_role("button", name="Take back").click()
    page.locator("#prompt", has_text="What does the fox do?").wait_for()
    assert page.locator("#response").input_value() == "The slow brown fox jumps over the lazy dog."


def test_signing_in_anew_in_another_tab_does_not_stop_the_saving(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    window = sign_in(service)
    page = window.page
    page.evaluate("document.querySelector('meta[name=csrf]').content = 'that of an older session'")
    select(page, "quick")
    page.keyboard.type("slow")
    page.locator('#save-state[data-state="saved"]').wait_for()
    assert "slow" in service.rows("assignment")[0]["draft"]
    page.keyboard.press("Control+Enter")
    page.locator("#empty").wait_for()


def test_somebody_else_in_the_same_browser_saves_nothing_in_their_name(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    window = sign_in(service)
    page = window.page
    window.context.request.post(f"{service.url}/join/{service.tokens['ben']}", max_redirects=0)
    select(page, "quick")
    page.keyboard.type("slow")
    page.locator("#problem", has_text="Another person has since signed in in this browser").wait_for()
    assert service.rows("assignment")[0]["draft"] == ""
    window.context.request.post(f"{service.url}/join/{service.tokens['ana']}", max_redirects=0)
    page.reload()
    page.locator("#restore").wait_for()
    assert page.locator("#response").input_value() == "The slow brown fox jumps over the lazy dog."


def test_a_page_that_alone_has_the_text_asks_before_it_is_left(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    page = sign_in(service).page
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    service.kill()
    select(page, "quick")
    page.keyboard.type("slow")
    page.locator("#save-text", has_text="leave the page open").wait_for()
    page.goto("about:blank")
    assert asked == ["beforeunload"]
    service.start()
