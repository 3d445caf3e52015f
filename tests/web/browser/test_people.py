"""The admin's pages in a real browser: people, settings, imports."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.records import Response

pytestmark = pytest.mark.external


@pytest.fixture
def service(make_service: Callable[..., Any]) -> Any:
    return make_service([Response("a", "Tell me.", "One two.")])


@pytest.fixture
def page(service: Any, sign_in: Callable[..., Any]) -> Any:
    return sign_in(service, "adam").page


def test_an_invited_person_gets_in_by_the_link(service: Any, page: Any, browser: Any) -> None:
    page.goto(service.url + "/people")
    page.locator("#name").fill("Zoë")
    page.locator("#role").select_option("reviewer")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Make a link").click()
    page.locator("#link").wait_for()
    link = page.locator("#link-text").input_value()
    assert link.startswith(f"{service.url}/join/")
    assert page.locator("tr", has_text="Zoë").locator("td").first.inner_text() == "reviewer"
    context = browser.new_context()
    other = context.new_page()
    other.goto(link)
    other.get_by_role("button", name="Sign in").click()
    assert other.goto(service.url + "/dashboard").status == 200
    page.get_by_role("button", name="Revoke Zoë").click()
    page.get_by_role("button", name="Revoke", exact=True).click()
    page.locator("tr.revoked", has_text="Zoë").wait_for()
    other.goto(service.url + "/dashboard")
    assert other.url.endswith("/signed-out")
    context.close()


def test_a_new_link_ends_the_old_one(service: Any, page: Any) -> None:
    page.goto(service.url + "/people")
    page.get_by_role("button", name="New link for ben").click()
    page.get_by_role("button", name="Leave it").click()
    assert page.locator("#link").is_hidden()
    page.get_by_role("button", name="New link for ben").click()
    page.get_by_role("button", name="Make a new link").click()
    page.locator("#link").wait_for()
    assert page.locator("#link-name").inner_text() == "ben"
    fresh = page.locator("#link-text").input_value().rsplit("/", 1)[1]
    assert fresh != service.tokens["ben"]


def test_a_name_that_is_taken_is_refused_beside_its_field(service: Any, page: Any) -> None:
    page.goto(service.url + "/people")
    page.locator("#name").fill("ben")
    page.get_by_role("button", name="Make a link").click()
    page.get_by_text("There is already a person called 'ben'").wait_for()
    assert page.evaluate("document.activeElement.id") == "name"


def test_settings_are_saved_as_they_are_shown(service: Any, page: Any) -> None:
    page.goto(service.url + "/project")
    page.get_by_label("Title").fill("Friendly facts")
    page.get_by_label("Guidelines").fill("# Little\n\nChange *little*.")
    page.get_by_label("Tags, one a line").fill("wrong\n\n odd ")
    page.get_by_label("Refuse below").fill("12.5")
    page.get_by_label("An item goes on after").fill("1.5")
    page.get_by_label("Refuse above").fill("300")
    page.get_by_label("People per item").fill("3")
    page.get_by_label("Known answers").fill("10")
    page.get_by_label("Show suggestions").uncheck()
    page.get_by_label("skipped").check()
    page.get_by_role("button", name="Save the settings").click()
    page.get_by_text("Saved.").wait_for()
    stored = page.request.get(service.url + "/api/project").json()
    del stored["version"]
    assert stored == {
        "title": "Friendly facts",
        "guidelines": "# Little\n\nChange *little*.",
        "kept_soft": 0.5,
        "kept_hard": 0.125,
        "distance_soft": None,
        "distance_hard": 300,
        "tags": ["wrong", "odd"],
        "editors_per_item": 3,
        "lease_s": 90.0,
        "known_answer_share": 0.1,
        "suggestions": False,
        "reason_required_for": ["cannot_be_fixed", "skipped"],
    }
    page.reload()
    assert page.get_by_label("Refuse below").input_value() == "12.5"
    assert page.get_by_label("Guidelines").input_value() == "# Little\n\nChange *little*."


def test_settings_that_another_admin_changed_meanwhile_are_not_overwritten(
    service: Any, page: Any, sign_in: Callable[..., Any]
) -> None:
    page.goto(service.url + "/project")
    other = sign_in(service, "adam").page
    other.goto(service.url + "/project")
    other.get_by_label("Title").fill("Theirs")
    other.get_by_role("button", name="Save the settings").click()
    other.get_by_text("Saved.").wait_for()
    other.get_by_label("Title").fill("Theirs again")
    other.get_by_role("button", name="Save the settings").click()
    other.get_by_text("Saved.").wait_for()
    page.get_by_label("People per item").fill("3")
    page.get_by_role("button", name="Save the settings").click()
    page.get_by_text("the settings have changed").wait_for()
    stored = page.request.get(service.url + "/api/project").json()
    assert (stored["title"], stored["editors_per_item"]) == ("Theirs again", 1)


def test_a_name_and_a_role_are_changed(service: Any, page: Any, look: Callable[[Any], None]) -> None:
    page.goto(service.url + "/people")
    page.get_by_role("button", name="Change name or role of ben").click()
    look(page)
    page.locator("#change-name").fill("rita")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator("#change-problem", has_text="rita").wait_for()
    page.locator("#change-name").fill("Benedict")
    page.locator("#change-role").select_option("reviewer")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator("tr", has_text="Benedict").wait_for()
    assert page.locator("tr", has_text="Benedict").locator("td").first.inner_text() == "reviewer"
    assert [(row["name"], row["role"]) for row in service.rows("person")][1] == ("Benedict", "reviewer")


def test_rows_that_are_left_out_of_an_import_are_named(service: Any, page: Any, tmp_path: Path) -> None:
    file = tmp_path / "responses.jsonl"
    long = {"id": "endless", "prompt": "?", "response": "x" * 1_600_000}
    file.write_text(json.dumps(long) + "\n" + json.dumps(long | {"id": "b", "response": "Yes."}), encoding="utf-8")
    page.goto(service.url + "/project")
    page.locator("#responses").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    page.get_by_text("1 added, 1 left out, since they could not be handed in.").wait_for()
    assert page.locator("#left-out li").inner_text().startswith("endless: ")


def test_a_setting_that_does_not_fit_is_refused_beside_its_field(service: Any, page: Any) -> None:
    page.goto(service.url + "/project")
    page.get_by_label("People per item").fill("0")
    page.get_by_role("button", name="Save the settings").click()
    page.locator("#editors_per_item-problem").wait_for()
    assert page.evaluate("document.activeElement.id") == "editors_per_item"
    assert page.get_by_text("Saved.").count() == 0


def test_files_are_imported_and_the_log_tells(service: Any, page: Any, tmp_path: Path) -> None:
    file = tmp_path / "responses.jsonl"
    rows = [{"id": "a", "prompt": "Tell me.", "response": "One two."}, {"id": "b", "prompt": "?", "response": "Yes."}]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    page.goto(service.url + "/project")
    page.locator("#responses").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    page.get_by_text("1 added, 1 were here already.").wait_for()
    page.get_by_label("What", exact=True).select_option("comparison")
    page.get_by_label("First model").set_input_files(file)
    page.get_by_role("button", name="Import").click()
    page.locator("#import-problem").wait_for()
    page.reload()
    assert page.locator("#log tr", has_text="imported").count() == 1


def test_the_looks(service: Any, sign_in: Callable[..., Any], look: Callable[[Any], None]) -> None:
    page = sign_in(service, "adam").page
    for path in ("/project", "/people"):
        page.goto(service.url + path)
        look(page)
    page.get_by_role("button", name="Revoke ben").click()
    look(page)
