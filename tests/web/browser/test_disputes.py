"""A reviewer settles what two editors did differently, in a real browser."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from redpencil.records import Response
from redpencil.web import work
from redpencil.web.auth import list_people
from redpencil.web.database import open_database, reading
from redpencil.web.review import decide, dispute

pytestmark = pytest.mark.external

ORIGINAL = "The red fox ran\n\thome \U0001f98a today.\r\n\r\n```\nx = 1\n```\nIt was late."
ANA = ORIGINAL.replace("red", "brown").replace("late", "early")
BEN = ORIGINAL.replace("red", "grey").replace("x = 1", "x = 2")


def hand_in(service: Any, texts: Mapping[str, str | None]) -> None:
    """Each person's edit of their next response; None says that no edit is needed."""
    engine = open_database(service.place)
    with reading(engine) as connection:
        ids = {person.name: person.id for person in list_people(connection)}
    for name, text in texts.items():
        task = work.next_task(engine, ids[name], now=1.0)
        assert task is not None
        sent = work.Submission("edited" if text else "no_edit_needed", text, active_s=1.0)
        work.submit(engine, ids[name], task.assignment_id, task.version, sent, now=2.0)
    engine.dispose()


@pytest.fixture
def service(make_service: Callable[..., Any]) -> Any:
    """Two responses, both edited differently by ana and by ben."""
    made = make_service([Response("a", "Tell me.", ORIGINAL), Response("b", "And?", "One two.")], editors_per_item=2)
    hand_in(made, {"ana": ANA, "ben": BEN})
    hand_in(made, {"ana": "One 2.", "ben": None})
    return made


@pytest.fixture
def page(service: Any, sign_in: Callable[..., Any]) -> Any:
    window = sign_in(service, "rita")
    window.page.goto(service.url + "/disputes")
    window.page.get_by_role("link", name="Begin with the first").click()
    window.page.get_by_text("of 3 are still open").wait_for()
    return window.page


def test_places_are_chosen_by_keyboard_and_the_text_is_exact(service: Any, page: Any) -> None:
    assert page.locator("#result").input_value() == ORIGINAL.replace("\r\n", "\n")
    page.locator("input[name=place-0]").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.locator("label", has_text="early").click()
    page.get_by_text("All places are decided.").wait_for()
    assert page.locator("#redline ins").all_inner_texts() == ["brown", "2", "early"]
    page.locator("#reason").fill("both were right")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/disputes/2")
    (decided,) = service.rows("adjudication")
    assert decided["edited"] == ORIGINAL.replace("red", "brown").replace("x = 1", "x = 2").replace("late", "early")
    assert (decided["outcome"], decided["reason"], decided["merged_from"]) == ("edited", "both were right", [1, 2])


def test_all_of_one_editor(service: Any, page: Any) -> None:
    page.get_by_role("button", name="Take all of editor A").click()
    page.get_by_role("button", name="Decide and next").click()
    page.wait_for_url("**/disputes/2")
    (decided,) = service.rows("adjudication")
    assert (decided["edited"], decided["merged_from"]) == (BEN, [2])


def test_open_places_are_pointed_out_once(service: Any, page: Any) -> None:
    page.set_viewport_size({"width": 1000, "height": 420})
    page.locator("#reason").focus()
    page.keyboard.press("Control+Enter")
    text = "3 places are still open. Deciding again keeps the original there: "
    alert = page.get_by_role("alert").filter(has_text=text)
    assert alert.inner_text().endswith("No edit needed, though both editors changed it.")
    assert page.evaluate("document.activeElement.name") == "place-0"
    box = alert.bounding_box()
    assert box is not None
    assert 0 <= box["y"] <= 420 - box["height"]  # seen without scrolling
    assert service.rows("adjudication") == []
    page.keyboard.press("Alt+3")
    page.wait_for_function("document.querySelector('#open-places').hidden")
    page.keyboard.press("Alt+2")
    alert.wait_for()
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/disputes/2")
    assert service.rows("adjudication")[0]["outcome"] == "no_edit_needed"


def test_a_key_that_is_held_down_settles_nothing_more(service: Any, page: Any) -> None:
    page.get_by_role("button", name="Take all of editor A").click()
    page.keyboard.down("Control")
    for _ in range(3):
        page.keyboard.down("Enter")  # from the second on these are repeats
    page.wait_for_url("**/disputes/2")
    page.locator("#undecided", has_text="open").wait_for()
    for _ in range(6):
        page.keyboard.down("Enter")
        page.wait_for_timeout(30)
    assert page.url.endswith("/disputes/2")
    assert page.locator("#problem").is_hidden()
    page.keyboard.up("Enter")
    page.keyboard.down("Enter")
    page.get_by_text("Deciding again keeps the original there").wait_for()
    for _ in range(6):
        page.keyboard.down("Enter")
        page.wait_for_timeout(30)
    assert len(service.rows("adjudication")) == 1


def test_a_decision_is_confirmed_with_a_way_to_change_it(page: Any) -> None:
    page.get_by_role("button", name="Take all of editor A").click()
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/disputes/2")
    page.locator("#settled-toast", has_text="Settled.").wait_for()
    page.keyboard.press("Alt+1")
    page.keyboard.press("Alt+a")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/disputes")
    page.get_by_role("link", name="Change it").click()
    page.wait_for_url("**/disputes/2")
    assert page.locator("#settled").is_visible()
    assert page.locator("#settled-toast").is_hidden()


def test_keys_are_the_persons_own_on_this_page_too(service: Any, page: Any) -> None:
    page.keyboard.press("F1")
    page.get_by_role("button", name="Change the keys for Decide").click()
    page.keyboard.press("Alt+s")
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+ArrowDown")
    assert page.evaluate("document.activeElement.name") == "place-0"
    page.keyboard.press("Alt+3")
    page.locator("#reason").fill("beyond help")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Alt+s")
    page.wait_for_url("**/disputes/2")
    assert [row["outcome"] for row in service.rows("adjudication")] == ["cannot_be_fixed"]


def test_what_nobody_disputes_can_be_found_looked_at_and_changed(
    make_service: Callable[..., Any], sign_in: Callable[..., Any], look: Callable[[Any], None]
) -> None:
    service = make_service([Response("a", "Tell me.", ORIGINAL), Response("b", "And?", "One two.")])
    hand_in(service, {"ana": ANA, "ben": None})
    page = sign_in(service, "rita").page
    page.get_by_role("link", name="Items").click()
    look(page)
    page.get_by_label("By").select_option("ana")
    page.get_by_role("button", name="Show").click()
    page.locator(".dispute-list li").wait_for()
    page.get_by_role("link", name="Tell me.").click()
    page.get_by_role("heading", name="Is this right?").wait_for()
    look(page)
    page.keyboard.press("Alt+2")
    page.locator("#result").fill(ORIGINAL.replace("\r\n", "\n"))
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/disputes")
    assert [row["outcome"] for row in service.rows("adjudication")] == ["no_edit_needed"]


def test_what_was_typed_is_not_overwritten_and_ctrl_z_brings_it_back(page: Any) -> None:
    area = page.locator("#result")
    area.press("Control+End")
    page.keyboard.type(" Typed.")
    typed = area.input_value()
    page.get_by_role("button", name="Take all of editor B").click()
    assert area.input_value() == typed
    page.get_by_role("button", name="Build it from the choices").click()
    assert area.input_value() == ANA.replace("\r\n", "\n")
    area.focus()
    page.keyboard.press("Control+Z")
    assert area.input_value() == typed


def test_a_reload_keeps_what_was_chosen_and_typed(page: Any) -> None:
    page.get_by_role("button", name="Take all of editor B").click()
    page.locator("#result").press("Control+End")
    page.keyboard.type(" Typed.")
    page.locator("#reason").fill("so far")
    typed = page.locator("#result").input_value()
    page.reload()
    page.get_by_text("All places are decided.").wait_for()
    assert page.locator("#result").input_value() == typed
    assert page.locator("#reason").input_value() == "so far"


def test_a_decision_of_somebody_else_is_shown_and_mine_is_kept(service: Any, page: Any) -> None:
    page.get_by_role("button", name="Take all of editor B").click()
    engine = open_database(service.place)
    with reading(engine) as connection:
        shown = dispute(connection, 1)
    decide(engine, 4, 1, shown.version, "Adam's text.", "edited", now=5.0)
    engine.dispose()
    page.get_by_role("button", name="Decide and next").click()
    page.locator("#stale-text", has_text="Adam's text.").wait_for()
    assert page.locator("#result").input_value() == ANA.replace("\r\n", "\n")
    page.get_by_role("button", name="See what changed").click()
    page.locator("#settled").wait_for()
    page.locator("#measure", has_text="words kept").wait_for()
    assert page.locator("#result").input_value() == ANA.replace("\r\n", "\n")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/disputes/2")
    assert service.rows("adjudication")[0]["edited"] == ANA


def test_a_text_left_here_does_not_take_the_place_of_a_later_decision_unseen(service: Any, page: Any) -> None:
    page.get_by_role("button", name="Take all of editor B").click()
    page.goto(service.url + "/disputes")
    engine = open_database(service.place)
    with reading(engine) as connection:
        shown = dispute(connection, 1)
    decide(engine, 4, 1, shown.version, "Adam's text.", "edited", now=5.0)
    engine.dispose()
    page.goto(service.url + "/disputes/1")
    page.locator("#stale-text", has_text="Adam's text.").wait_for()
    assert "compare before you decide" in page.locator("#problem").inner_text()
    assert page.locator("#result").input_value() == ANA.replace("\r\n", "\n")


def test_a_server_that_is_away_loses_nothing(service: Any, page: Any) -> None:
    page.get_by_role("button", name="Take all of editor B").click()
    service.kill()
    page.get_by_role("button", name="Decide and next").click()
    page.get_by_text("The server does not answer").wait_for()
    service.start()
    page.get_by_role("button", name="Decide and next").click()
    page.wait_for_url("**/disputes/2")
    assert service.rows("adjudication")[0]["edited"] == ANA


def test_the_looks(service: Any, sign_in: Callable[..., Any], look: Callable[[Any], None]) -> None:
    page = sign_in(service, "rita").page
    for path in ("/disputes", "/disputes/1"):
        page.goto(service.url + path)
        look(page)
