"""The whole task by keyboard alone, keys that can be chosen, and no key that a letter could set off."""

import string
from collections.abc import Callable
from typing import Any

import pytest

from redpencil.records import Response
from redpencil.web.database import open_database, writing
from redpencil.web.project import ProjectConfig, write_project

pytestmark = pytest.mark.external

RESPONSES = [
    Response("1", "What does the fox do?", "The quick brown fox jumps.", meta={"input": "Foxes live in the wood."}),
    Response("2", "What does the cat do?", "The cat sleeps."),
]


def focused(page: Any) -> str:
    name: str = page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
    return name


def prompt(page: Any, text: str) -> None:
    page.locator("#prompt", has_text=text).wait_for()


def test_a_task_from_the_first_key_to_the_last(make_service: Callable[..., Any], sign_in: Callable[..., Any]) -> None:
    service = make_service(RESPONSES, suggestions={"1": "The slow brown fox jumps."}, guidelines="Be *brief*.")
    page = sign_in(service).page
    prompt(page, "fox")
    keys = page.keyboard
    assert focused(page) == "Close", "the guidelines are open at the first visit"
    keys.press("Escape")
    assert focused(page) == "response"
    keys.press("F2")
    page.locator("#guidelines em", has_text="brief").wait_for()
    keys.press("Escape")
    assert focused(page) == "response", "a dialog gives the focus back"
    keys.press("Alt+ArrowDown")
    assert focused(page) == "Take"
    keys.press("Alt+Enter")
    assert page.locator("#response").input_value() == "The slow brown fox jumps."
    keys.press("Alt+t")
    keys.press("Control+End")
    keys.type(" Often.")
    keys.press("Alt+r")
    assert focused(page) == "reason"
    keys.type("Foxes do.")
    keys.press("Control+Enter")
    prompt(page, "cat")
    assert focused(page) == "response"
    keys.press("Alt+2")
    keys.press("Control+Enter")
    page.locator("#empty").wait_for()
    first, second = service.rows("submission")
    assert (first["outcome"], first["edited"], first["reason"]) == (
        "edited",
        "The slow brown fox jumps. Often.",
        "Foxes do.",
    )
    assert (second["outcome"], second["edited"]) == ("no_edit_needed", None)

    keys.press("Alt+u")
    prompt(page, "cat")
    assert page.locator('input[value="no_edit_needed"]').is_checked()


def test_everything_can_be_reached_by_tab_and_the_skip_link_works(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    page = sign_in(make_service(RESPONSES, suggestions={"1": "The slow brown fox jumps."})).page
    prompt(page, "fox")
    page.locator("#response").press("Control+End")
    page.keyboard.type(" x")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(focused(page))
    buttons = {"save", "response", "reason", "open-keys", "open-guidelines", "restore", "tab-redline"}
    assert buttons | {"Take", "Leave", "Work", "My work", "Skip to the content"} <= reached
    page.evaluate("document.activeElement.blur()")
    page.reload()
    prompt(page, "fox")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert focused(page) == "main"


def test_no_key_that_types_or_deletes_does_anything_else(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service(RESPONSES)
    page = sign_in(service).page
    prompt(page, "fox")
    page.locator("#response").press("Control+a")
    for key in string.ascii_letters + string.digits + ".,;/?-+":
        page.keyboard.type(key)
    page.keyboard.press("Enter")
    page.keyboard.press("Backspace")
    assert page.locator("#response").input_value() == string.ascii_letters + string.digits + ".,;/?-+"
    page.locator("#save").focus()
    for key in "s1 2x".replace(" ", ""):
        page.keyboard.press(key)
    page.keyboard.press("Backspace")
    prompt(page, "fox")
    assert service.rows("submission") == []


def test_keys_can_be_chosen_and_stay_chosen_in_this_browser(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    window = sign_in(make_service(RESPONSES))
    page = window.page
    prompt(page, "fox")
    page.keyboard.press("Control+/")
    change = page.get_by_role("button", name="Change the keys for Save and next")
    for refused, why in (
        ("s", "Ctrl or Alt"),
        ("Alt+Backspace", "needed for typing"),
        ("Control+c", "browser"),
        ("Alt+g", "taken by"),
    ):
        change.click()
        page.keyboard.press(refused)
        page.locator("#keys-note", has_text=why).wait_for()
    page.keyboard.press("Alt+s")
    page.locator("#keys-list kbd", has_text="Alt+S").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("#save kbd").inner_text() == "Alt+S"

    page.reload()
    prompt(page, "fox")
    page.keyboard.press("Alt+2")
    page.keyboard.press("Control+Enter")
    prompt(page, "fox")
    page.keyboard.press("Alt+s")
    prompt(page, "cat")
    page.keyboard.press("F1")
    page.get_by_role("button", name="Back to the usual keys").click()
    page.keyboard.press("Escape")
    assert page.locator("#save kbd").inner_text() == "Ctrl+Enter"


def test_two_responses_are_compared_blind_by_keyboard(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    first = [Response(str(n), f"Prompt {n}", f"one\t{n}\n<b>", model="model-x") for n in range(2)]
    second = [Response(str(n), f"Prompt {n}", f"two {n}", model="model-y") for n in range(2)]
    service = make_service(compare=(first, second))
    page = sign_in(service).page
    page.locator("#first").wait_for()
    texts = {page.locator(f"#{side}").evaluate("place => place.textContent") for side in ("first", "second")}
    assert texts in ({f"one\t{n}\n<b>", f"two {n}"} for n in range(2))
    assert "model-" not in page.content()
    before = page.locator("#prompt").inner_text()
    page.keyboard.press("Control+Enter")
    page.locator("#problem", has_text="Choose A, B or tie").wait_for()
    page.keyboard.press("Alt+3")
    page.keyboard.press("Control+Enter")
    page.locator("#prompt").filter(has_not_text=before).wait_for()
    page.keyboard.press("Alt+u")
    prompt(page, before)
    assert page.locator('input[value="second"]').is_checked()
    page.keyboard.press("Alt+2")
    page.keyboard.press("Control+Enter")
    page.locator("#prompt").filter(has_not_text=before).wait_for()
    page.keyboard.press("Alt+4")
    page.keyboard.press("Control+Enter")
    page.locator("#done-text", has_text="Skip").wait_for()
    found = [(row["outcome"], row["undone"] is None) for row in service.rows("submission")]
    assert found == [("second", False), ("tie", True), ("skipped", True)]


def test_guidelines_open_at_the_first_visit_and_after_a_change(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    service = make_service(RESPONSES, guidelines="Be brief.")
    window = sign_in(service)
    page = window.page
    for words in ("Be brief.", "Be kind."):
        page.locator("#guidelines[open]", has_text=words).wait_for()
        page.keyboard.press("Escape")
        page.reload()
        prompt(page, "fox")
        page.locator("#tally", has_text="left").wait_for()
        assert not page.locator("#guidelines").is_visible()
        engine = open_database(service.place)
        with writing(engine) as connection:
            write_project(connection, ProjectConfig(guidelines="Be kind."))
        engine.dispose()
        page.reload()
    page.locator("#guidelines").wait_for(state="hidden")


def test_the_foot_says_how_far_one_is(make_service: Callable[..., Any], sign_in: Callable[..., Any]) -> None:
    page = sign_in(make_service(RESPONSES)).page
    page.locator("#tally", has_text="0 done, about 2 left").wait_for()
    page.keyboard.press("Alt+2")
    page.keyboard.press("Control+Enter")
    page.locator("#tally", has_text="1 done, about 1 left").wait_for()


def test_a_comparison_begins_with_the_question_and_neither_side_looks_chosen(
    make_service: Callable[..., Any], sign_in: Callable[..., Any]
) -> None:
    other = [Response(one.id, one.prompt, one.response.upper()) for one in RESPONSES]
    page = sign_in(make_service(compare=(RESPONSES, other))).page
    page.locator("#first").wait_for()
    assert focused(page) == "h-prompt"
    ring = "(one) => [getComputedStyle(one).outlineStyle, getComputedStyle(one).outlineColor]"
    assert [page.locator(side).evaluate(ring)[0] for side in ("#first", "#second")] == ["none", "none"]
    page.keyboard.press("Alt+1")
    choice = page.locator("input:checked + span").evaluate("(one) => getComputedStyle(one).borderColor")
    page.keyboard.press("Tab")
    page.locator("#first").focus()
    style, colour = page.locator("#first").evaluate(ring)
    assert style == "solid"
    assert colour != choice
