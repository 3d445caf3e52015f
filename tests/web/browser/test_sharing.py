"""Two tabs, two browsers, two people: nobody overwrites anybody, and both texts are kept."""

from collections.abc import Callable
from typing import Any

import pytest

from redpencil.records import Response

pytestmark = pytest.mark.external

FOX = Response("fox", "What does the fox do?", "The quick brown fox jumps over the lazy dog.")
SLOW = "The slow brown fox jumps over the lazy dog."
RED = "The quick red fox jumps over the lazy dog."


def replace(page: Any, word: str, other: str) -> None:
    page.locator("#response").evaluate(
        "(area, word) => { area.focus(); const at = area.value.indexOf(word);"
        " area.setSelectionRange(at, at + word.length); }",
        word,
    )
    page.keyboard.type(other)


def saved(page: Any) -> None:
    page.locator('#save-state[data-state="saved"]').wait_for()


def shown(page: Any) -> str:
    text: str = page.locator("#response").input_value()
    return text


@pytest.mark.parametrize("keep", ["mine", "theirs"])
def test_two_tabs_show_both_texts_and_lose_neither(
    make_service: Callable[..., Any], sign_in: Callable[..., Any], keep: str
) -> None:
    service = make_service([FOX])
    window = sign_in(service)
    first, second = window.page, window.tab()
    second.locator("#desk").wait_for()
    replace(first, "quick", "slow")
    saved(first)
    replace(second, "brown", "red")
    second.locator("#conflict").wait_for()
    assert second.locator("#conflict-mine").inner_text() == RED
    assert second.locator("#conflict-theirs").inner_text() == SLOW
    assert service.rows("assignment")[0]["draft"] == SLOW

    second.locator(f"#conflict-keep-{keep}").click()
    saved(second)
    kept, aside = (RED, SLOW) if keep == "mine" else (SLOW, RED)
    assert shown(second) == kept
    assert second.locator("#aside-list .text-box").inner_text() == aside
    assert service.rows("assignment")[0]["draft"] == kept
    second.reload()
    second.get_by_role("button", name="Put it into the editor").click()
    saved(second)
    assert service.rows("assignment")[0]["draft"] == aside


def test_a_tab_that_nobody_touched_follows_the_other(
    make_service: Callable[..., Any], sign_in: Callable[..., Any], until: Callable[[Any, str], None]
) -> None:
    service = make_service([FOX])
    window = sign_in(service)
    first, second = window.page, window.tab()
    second.locator("#desk").wait_for()
    replace(first, "quick", "slow")
    saved(first)
    second.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    until(second, "document.querySelector('#response').value.includes('slow')")
    replace(second, "brown", "red")
    saved(second)
    assert service.rows("assignment")[0]["draft"] == "The slow red fox jumps over the lazy dog."


def test_a_tab_learns_that_the_other_handed_in(make_service: Callable[..., Any], sign_in: Callable[..., Any]) -> None:
    service = make_service([FOX, Response("cat", "What does the cat do?", "The cat sleeps.")])
    window = sign_in(service)
    first, second = window.page, window.tab()
    second.locator("#desk").wait_for()
    replace(first, "quick", "slow")
    first.keyboard.press("Control+Enter")
    first.locator("#prompt", has_text="What does the cat do?").wait_for()
    replace(second, "brown", "red")
    second.locator("#conflict").wait_for()
    assert second.locator("#conflict-theirs").inner_text() == SLOW
    assert not second.locator("#conflict-keep-mine").is_visible()
    second.locator("#conflict-keep-theirs").click()
    second.locator("#prompt", has_text="What does the cat do?").wait_for()
    assert [row["edited"] for row in service.rows("submission")] == [SLOW]


def test_two_people_do_not_get_the_same_item_unless_two_are_asked_for(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    ana, ben = sign_in(service, "ana").page, sign_in(service, "ben").page
    ana.locator("#desk").wait_for()
    ben.locator("#empty").wait_for()

    service = make_service([FOX], editors_per_item=2)
    ana, ben = sign_in(service, "ana").page, sign_in(service, "ben").page
    replace(ana, "quick", "slow")
    saved(ana)
    ben.reload()
    ben.locator("#desk").wait_for()
    assert shown(ben) == FOX.response, "nobody sees another's draft"
    replace(ben, "brown", "red")
    saved(ben)
    for page in (ana, ben):
        page.keyboard.press("Control+Enter")
        page.locator("#empty").wait_for()
    assert sorted(row["edited"] for row in service.rows("submission")) == [RED, SLOW]


def test_an_expired_lease_gives_the_item_to_another_and_the_first_keeps_the_text(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    import sqlite3

    service = make_service([FOX], lease_s=600)
    ana = sign_in(service, "ana").page
    ana.locator("#desk").wait_for()
    with sqlite3.connect(service.place) as database:
        database.execute("UPDATE assignment SET lease_until = 1")
    ben = sign_in(service, "ben").page
    replace(ben, "brown", "red")
    ben.keyboard.press("Control+Enter")
    ben.locator("#empty").wait_for()
    replace(ana, "quick", "slow")
    ana.keyboard.press("Control+Enter")
    # The text stays on the page, and the address leads to it again.
    ana.locator("#closed", has_text="Others have this item now").wait_for()
    for _ in range(2):
        assert ana.locator("#closed-text").input_value() == SLOW
        assert [ana.locator(f"#closed-redline {what}").inner_text() for what in ("del", "ins")] == ["quick", "slow"]
        assert not ana.locator("#closed-take-up").is_visible()
        ana.reload()
        ana.locator("#closed").wait_for()
    ana.get_by_role("link", name="Go on with the next one").click()
    ana.locator("#empty").wait_for()
    assert [row["edited"] for row in service.rows("submission")] == [RED]
    assert [row["draft"] for row in service.rows("assignment")] == [SLOW, RED]


NO_ROOM = """() => {
Storage.prototype.setItem = new Proxy(Storage.prototype.setItem, {
    apply(set, storage, [name, value]) {
        if (name.startsWith("redpencil aside")) throw new DOMException("full", "QuotaExceededError");
        return Reflect.apply(set, storage, [name, value]);
    },
});
}"""


def test_a_text_that_the_browser_has_no_room_for_stays_on_the_page(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    window = sign_in(service)
    first, second = window.page, window.tab()
    second.locator("#desk").wait_for()
    second.evaluate(NO_ROOM)
    replace(first, "quick", "slow")
    saved(first)
    replace(second, "brown", "red")
    second.locator("#conflict").wait_for()
    second.locator("#conflict-keep-mine").click()
    saved(second)
    assert second.locator("#aside-list .text-box").inner_text() == SLOW
    assert "cannot store all" in second.locator("#aside-loose").inner_text()
    second.keyboard.press("Control+Enter")
    second.locator("#problem", has_text="only on this page").wait_for()
    assert service.rows("submission") == []
    asked: list[str] = []
    second.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    with pytest.raises(Exception, match="ERR_ABORTED"):
        second.goto("about:blank")
    assert asked == ["beforeunload"]
    second.get_by_role("button", name="Discard").click()
    second.keyboard.press("Control+Enter")
    second.locator("#empty").wait_for()
    assert [row["edited"] for row in service.rows("submission")] == [RED]


def test_a_text_that_came_too_late_is_not_dropped_where_there_is_no_room(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX, Response("cat", "What does the cat do?", "The cat sleeps.")])
    window = sign_in(service)
    first, second = window.page, window.tab()
    second.locator("#desk").wait_for()
    second.evaluate(NO_ROOM)
    replace(first, "quick", "slow")
    first.keyboard.press("Control+Enter")
    first.locator("#prompt", has_text="What does the cat do?").wait_for()
    replace(second, "brown", "red")
    second.locator("#conflict").wait_for()
    second.get_by_role("button", name="Go on").click()
    second.locator("#conflict-problem", has_text="no room").wait_for()
    assert second.locator("#conflict-copy").is_visible()
    assert second.locator("#conflict-mine").inner_text() == RED
    second.get_by_role("button", name="Go on").click()
    second.locator("#prompt", has_text="What does the cat do?").wait_for()
    assert second.locator("#aside-list .text-box").inner_text() == RED


def test_what_another_tab_keeps_is_not_overwritten_where_there_is_no_room(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service([FOX])
    window = sign_in(service)
    first, second = window.page, window.tab()
    second.locator("#desk").wait_for()
    second.evaluate(NO_ROOM)
    service.kill()
    replace(first, "quick", "slow")
    first.locator('#save-state[data-state="offline"]').wait_for()
    replace(second, "brown", "red")
    second.locator("#save-text", has_text="leave the page open").wait_for()
    kept = "() => Object.entries(localStorage).filter(([name]) => name.startsWith('redpencil draft')).map((e) => e[1])"
    assert "slow" in "".join(second.evaluate(kept))
