"""An item is kept while somebody is at the page, and whoever lost one is told so and finds the text again."""

import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest

from redpencil.records import Response
from redpencil.web import work
from redpencil.web.database import open_database

pytestmark = pytest.mark.external

FOX = Response("fox", "What does the fox do?", "The quick brown fox jumps over the lazy dog.")
SLOW = "The slow brown fox jumps over the lazy dog."
ANA, BEN = 1, 2


def replace(page: Any, word: str, other: str) -> None:
    page.locator("#response").evaluate(
        "(area, word) => { area.focus(); const at = area.value.indexOf(word);"
        " area.setSelectionRange(at, at + word.length); }",
        word,
    )
    page.keyboard.type(other)


def saved(page: Any) -> None:
    page.locator('#save-state[data-state="saved"]').wait_for()


def expire(service: Any) -> None:
    with sqlite3.connect(service.place) as database:
        database.execute("UPDATE assignment SET lease_until = 1")


def ben_takes(service: Any) -> int:
    """Ben has the item from now on; gives the number of his assignment."""
    engine = open_database(service.place)
    task = work.next_task(engine, BEN, now=time.time())
    engine.dispose()
    assert task is not None
    return task.assignment_id


def ben_gives_back(service: Any, assignment_id: int) -> None:
    engine = open_database(service.place)
    work.release(engine, BEN, assignment_id, now=time.time())
    engine.dispose()


def test_a_text_that_others_overtook_is_found_again_and_taken_up_when_there_is_room(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    window = sign_in(service, permissions=["clipboard-read", "clipboard-write"])
    page = window.page
    replace(page, "quick", "slow")
    saved(page)
    page.goto(f"{service.url}/mine")
    assert "In work" in page.locator("[data-standing=yours]").inner_text()
    expire(service)
    bens = ben_takes(service)
    page.goto(service.url)
    page.locator("#empty").wait_for()

    page.get_by_role("link", name="See your work").click()
    page.wait_for_load_state()  # A button does nothing before its script has run.
    line = page.locator("[data-standing=taken]")
    assert "Gone to others" in line.inner_text()
    line.get_by_role("button", name="Copy the text").click()
    line.locator("button", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == SLOW
    line.get_by_role("link", name="Read").click()
    page.locator("#closed", has_text="Others have this item now").wait_for()
    assert page.locator("#closed-text").input_value() == SLOW
    assert page.locator("#closed-text").get_attribute("readonly") is not None
    assert not page.locator("#closed-take-up").is_visible()

    ben_gives_back(service, bens)
    page.goto(f"{service.url}/mine")
    page.locator("[data-standing=free]").get_by_role("link", name="Open").click()
    page.get_by_role("button", name="Take it up again").click()
    page.locator("#desk").wait_for()
    assert page.locator("#response").input_value() == SLOW
    page.keyboard.press("Control+Enter")
    page.locator("#empty").wait_for()
    assert [row["edited"] for row in service.rows("submission")] == [SLOW]


def test_the_page_says_at_once_that_others_have_the_item_and_when_it_is_free_again(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    page = sign_in(service).page
    expire(service)
    bens = ben_takes(service)
    replace(page, "quick", "slow")
    page.locator("#lease", has_text="Others have taken this item").wait_for()
    saved(page)
    assert service.rows("assignment")[0]["draft"] == SLOW
    ben_gives_back(service, bens)
    replace(page, "lazy", "sleepy")
    page.locator("#lease").wait_for(state="hidden")
    page.keyboard.press("Control+Enter")
    page.locator("#empty").wait_for()
    assert [row["edited"] for row in service.rows("submission")] == [SLOW.replace("lazy", "sleepy")]


@pytest.mark.parametrize("kind", ["edit", "compare"])
def test_a_lease_lasts_while_somebody_is_there_and_no_longer(
    make_service: Callable[..., Any], sign_in: Callable[..., Any], kind: str
) -> None:
    other = Response("fox", FOX.prompt, SLOW)
    given = {"responses": [FOX]} if kind == "edit" else {"compare": ([FOX], [other])}
    service = make_service(**given, lease_s=900)
    page = sign_in(service).page
    page.clock.install()
    page.reload()
    page.locator("#desk").wait_for()
    expire(service)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/draft") else None)
    page.clock.fast_forward(899_000)
    assert not page.locator("#lease").is_visible()
    page.clock.fast_forward(2_000)
    page.locator("#lease", has_text="others can take this").wait_for()
    assert asked == [], "a page that is only left open keeps nothing from the others"
    with page.expect_response("**/draft"):
        page.mouse.move(200, 200)
        page.mouse.move(300, 300)
    page.locator("#lease").wait_for(state="hidden")
    assert service.rows("assignment")[0]["lease_until"] > 1e9
    assert len(asked) == 1

    # At work: renewed once a third of the time is over, not with every move.
    expire(service)
    page.clock.fast_forward(290_000)
    page.mouse.move(100, 100)
    page.clock.fast_forward(20_000)
    with page.expect_response("**/draft"):
        page.mouse.move(200, 200)
    page.mouse.move(300, 300)
    page.wait_for_timeout(100)
    assert len(asked) == 2
    assert service.rows("assignment")[0]["lease_until"] > 1e9
    page.keyboard.press("Alt+2")
    page.keyboard.press("Control+Enter")
    page.locator("#empty").wait_for()
    assert len(service.rows("submission")) == 1


def test_a_comparison_that_others_have_taken_says_so(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service(compare=([FOX], [Response("fox", FOX.prompt, SLOW)]))
    page = sign_in(service).page
    page.clock.install()
    page.reload()
    page.locator("#desk").wait_for()
    expire(service)
    ben_takes(service)
    page.clock.fast_forward(400_000)
    page.mouse.move(100, 100)
    page.locator("#lease", has_text="Others have taken this comparison").wait_for()
