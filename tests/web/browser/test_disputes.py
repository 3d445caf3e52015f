"""A reviewer settles what two editors did differently, in a real browser."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from redpencil.records import Response
from redpencil.web import work
from redpencil.web.adjudication import decide, dispute
from redpencil.web.database import open_database, reading
from redpencil.web.people import list_people

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
    page.get_by_role("button", name="Take all of editor 2").click()
    page.get_by_role("button", name="Decide and next").click()
    page.wait_for_url("**/disputes/2")
    (decided,) = service.rows("adjudication")
    assert (decided["edited"], decided["merged_from"]) == (BEN, [2])


def test_open_places_are_pointed_out_once(service: Any, page: Any) -> None:
    page.keyboard.press("Control+Enter")
    page.get_by_text("Not all places are decided").wait_for()
    assert page.evaluate("document.activeElement.name") == "place-0"
    assert service.rows("adjudication") == []
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/disputes/2")
    assert service.rows("adjudication")[0]["outcome"] == "no_edit_needed"


def test_what_was_typed_is_not_overwritten_and_ctrl_z_brings_it_back(page: Any) -> None:
    area = page.locator("#result")
    area.press("Control+End")
    page.keyboard.type(" Typed.")
    typed = area.input_value()
    page.get_by_role("button", name="Take all of editor 1").click()
    assert area.input_value() == typed
    page.get_by_role("button", name="Put it together from the choices").click()
    assert area.input_value() == ANA.replace("\r\n", "\n")
    area.focus()
    page.keyboard.press("Control+Z")
    assert area.input_value() == typed


def test_a_reload_keeps_what_was_chosen_and_typed(page: Any) -> None:
    page.get_by_role("button", name="Take all of editor 1").click()
    page.locator("#result").press("Control+End")
    page.keyboard.type(" Typed.")
    page.locator("#reason").fill("so far")
    typed = page.locator("#result").input_value()
    page.reload()
    page.get_by_text("All places are decided.").wait_for()
    assert page.locator("#result").input_value() == typed
    assert page.locator("#reason").input_value() == "so far"


def test_a_decision_of_somebody_else_is_shown_and_mine_is_kept(service: Any, page: Any) -> None:
    page.get_by_role("button", name="Take all of editor 1").click()
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
    page.get_by_role("button", name="Take all of editor 1").click()
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
    page.get_by_role("button", name="Take all of editor 1").click()
    service.kill()
    page.get_by_role("button", name="Decide and next").click()
    page.get_by_text("The server does not answer").wait_for()
    service.start()
    page.get_by_role("button", name="Decide and next").click()
    page.wait_for_url("**/disputes/2")
    assert service.rows("adjudication")[0]["edited"] == ANA


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_and_nothing_is_too_wide(
    service: Any, sign_in: Callable[..., Any], axe: Callable[[Any], list[str]], scheme: str, width: int
) -> None:
    page = sign_in(service, "rita", color_scheme=scheme, viewport={"width": width, "height": 900}).page
    for path in ("/disputes", "/disputes/1"):
        page.goto(service.url + path)
        assert axe(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
