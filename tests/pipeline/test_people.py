"""People as editors: the run stops, and goes on when its answers are edited in the annotation service."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from redpencil.config.asked import EditorConfig
from redpencil.errors import RedpencilError
from redpencil.pipeline import people
from redpencil.pipeline.people import edit_by_people
from redpencil.pipeline.plan import plan_run
from redpencil.pipeline.preview import preview
from redpencil.pipeline.run import run_recipe
from redpencil.records import Edit, EditOutcome, Response, read_jsonl
from redpencil.runs import Stage, open_stage
from redpencil.web.app import create_app
from redpencil.web.auth import add_person
from redpencil.web.database import open_database, reading, writing
from redpencil.web.items import list_items
from redpencil.web.project import ProjectConfig, write_project

SERVE = """
import sys
from redpencil.web.server import serve
serve(sys.argv[1], port=0, say=lambda line: print(line, flush=True))
"""
ONE_ARM = ("arms={figa: {method: figa}}", "reward_models={}")
ROWS = [Response(f"r{n}", f"Question {n}?", f"The answer to it is {n}", model="policy") for n in range(3)]


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "edits.db")


class Editors:
    """People who hand in their tasks through the API; `connect` makes a client of the service."""

    def __init__(self, place: str, connect: Callable[[], Any]) -> None:
        self.place, self.connect = place, connect
        self.sessions: dict[str, Any] = {}

    def _join(self, name: str) -> Any:
        engine = open_database(self.place)
        token = add_person(engine, name, "editor")
        engine.dispose()
        client = self.connect()
        assert client.post(f"/join/{token}", follow_redirects=False).status_code == 303
        client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
        return client

    def __call__(self, name: str, most: int = 1_000, outcome: str = "edited") -> int:
        """Hand in so many tasks, or all that there are for this person; returns how many there were."""
        if name not in self.sessions:
            self.sessions[name] = self._join(name)
        client = self.sessions[name]
        for number in range(most):
            answer = client.post("/api/next")
            if answer.status_code == 204:
                return number
            task = answer.json()
            body = {"version": task["version"], "outcome": outcome, "reason": "so it is"}
            if outcome == "edited":
                body["text"] = f"{task['response']} and more"
            assert client.post(f"/api/assignments/{task['assignment_id']}/submit", json=body).status_code == 200
        return most


@pytest.fixture
def post(place: str) -> Iterator[Editors]:
    """`post("Ann", 2, "skipped")`: Ann hands in two tasks, or all that there are, through the API."""
    engine = open_database(place)
    app = create_app(engine)
    yield Editors(place, lambda: TestClient(app))
    engine.dispose()


@pytest.fixture
def post_to_server(place: str) -> Iterator[Editors]:
    """The same over the network, to a server that is a process of its own."""
    with subprocess.Popen([sys.executable, "-c", SERVE, place], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split("/join/")[0]
        editors = Editors(place, lambda: httpx2.Client(base_url=url, timeout=30))
        try:
            yield editors
        finally:
            for client in editors.sessions.values():
                client.close()
            server.terminate()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with open_stage(tmp_path / "run" / "annotations-figa", "annotations-figa", seed=0, config={}, inputs={}) as opened:
        assert opened is not None
        yield opened


def edited(stage: Stage, place: str, rows: Sequence[Response] = ROWS, **options: Any) -> list[Edit]:
    return edit_by_people(stage, EditorConfig(project=place, **options), {"figa": rows})["figa"]


def not_done(stage: Stage, place: str, rows: Sequence[Response] = ROWS) -> RedpencilError:
    with pytest.raises(RedpencilError) as caught:
        edited(stage, place, rows)
    return caught.value


def items_in(place: str) -> int:
    engine = open_database(place)
    with reading(engine) as connection:
        count = len(list_items(connection).items)
    engine.dispose()
    return count


def test_it_stops_until_all_are_done_and_adds_nothing_twice(stage: Stage, place: str, post: Editors) -> None:
    error = not_done(stage, place)
    assert error.problem == "0 of 3 answers of annotations-figa are edited"
    assert (error.field, error.file) == ("editor.project", place)
    assert f"`redpencil annotate {place}`" in str(error.hint)
    assert post("Ann", 2) == 2
    assert not_done(stage, place).problem.startswith("2 of 3 answers")
    assert post("Ann") == 1
    rows = edited(stage, place)
    assert [row.edited for row in rows] == [f"The answer to it is {n} and more" for n in range(3)]
    assert [row.id for row in rows] == ["r0", "r1", "r2"]
    assert {(row.editor, row.outcome) for row in rows} == {("Ann", EditOutcome.EDITED)}
    assert rows[0].meta["annotation"]["outcome"] == "edited"
    assert items_in(place) == 3


def test_what_was_rejected_or_has_nothing_to_edit_has_no_text_and_is_not_waited_for(
    stage: Stage, place: str, post: Editors
) -> None:
    unstorable = Response("nul", "Q", "a\0b")
    rows = [*ROWS, Response("empty", "Q", " "), unstorable, Response("long", "Q", "x" * 2_000_001)]
    assert not_done(stage, place, rows).problem.startswith("0 of 3 answers")
    assert post("Ann", 1, "no_edit_needed") == 1
    assert post("Ann", 1, "cannot_be_fixed") == 1
    assert post("Ann", 1) == 1
    edits = edited(stage, place, rows)
    assert [row.outcome.value for row in edits] == ["unchanged", "refused", "edited", "empty", "failed", "failed"]
    assert [row.edited == row.original for row in edits] == [True, True, False, True, True, True]
    assert [row.meta["problem"].split(", of")[0] for row in edits[-2:]] == [
        "it holds a NUL character at character 2",
        "its response has 2,000,001 characters",
    ]


def test_a_skipped_answer_waits_for_the_others_and_is_given_up_when_all_have_skipped_it(
    stage: Stage, place: str, post: Editors
) -> None:
    not_done(stage, place)
    assert post("Ann", 1) == 1
    assert post("Bob", 1) == 1
    assert post("Ann", 1, "skipped") == 1
    assert not_done(stage, place).problem.startswith("2 of 3 answers"), "Bob may still edit what Ann skipped"
    assert post("Bob", 1, "skipped") == 1
    rows = edited(stage, place)
    assert [row.outcome.value for row in rows] == ["edited", "edited", "failed"]
    assert rows[-1].meta["problem"] == people.SKIPPED


def test_an_edit_counts_before_what_another_person_rejected(stage: Stage, place: str, post: Editors) -> None:
    engine = open_database(place)
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(editors_per_item=2))
    engine.dispose()
    not_done(stage, place)
    assert post("Ann", 1_000, "cannot_be_fixed") == 3
    assert post("Bob", 2) == 2
    assert post("Bob", 1, "cannot_be_fixed") == 1
    assert [(row.editor, row.outcome.value) for row in edited(stage, place)] == [
        *[("Bob", "edited")] * 2,
        ("Ann", "refused"),
    ]


def test_as_many_people_as_the_project_says_and_the_first_edit_counts(stage: Stage, place: str, post: Editors) -> None:
    engine = open_database(place)
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(editors_per_item=2))
    engine.dispose()
    not_done(stage, place)
    assert post("Ann") == 3
    assert not_done(stage, place).problem.startswith("0 of 3")
    assert post("Bob", 1_000, "no_edit_needed") == 3
    assert {row.editor for row in edited(stage, place)} == {"Ann"}


def test_one_text_of_two_policies_is_edited_once_and_another_text_of_one_id_is_another_item(
    stage: Stage, place: str, post: Editors
) -> None:
    config = EditorConfig(project=place)
    other = [Response("r0", "Question 0?", "Quite another answer", model="sft"), *ROWS[1:]]
    with pytest.raises(RedpencilError, match="0 of 4 answers"):
        edit_by_people(stage, config, {"sft": other, "figa": ROWS})
    assert post("Ann") == 4
    edits = edit_by_people(stage, config, {"sft": other, "figa": ROWS})
    assert [row.original for row in edits["sft"]] == [row.response for row in other]
    assert [row.edited for row in edits["sft"][1:]] == [row.edited for row in edits["figa"][1:]]
    assert edits["sft"][0].edited == "Quite another answer and more"


def test_answers_that_are_not_a_stage_s_own_any_more_are_withdrawn(stage: Stage, place: str, post: Editors) -> None:
    not_done(stage, place)
    assert post("Ann", 1) == 1
    anew = [ROWS[0], Response("r1", "Question 1?", "Another answer", model="policy")]
    assert not_done(stage, place, anew).problem.startswith("1 of 2 answers")
    assert post("Ann") == 1, "the old answers to questions 1 and 2 are not given to people"
    assert [row.edited for row in edited(stage, place, anew)] == [f"{row.response} and more" for row in anew]
    not_done(stage, place)
    run = stage.folder.parent
    config = EditorConfig(project=place)
    people.withdraw_old(config, run, [run / "annotations-figa"])
    people.withdraw_old(config, run / "annotations", [])
    assert post("Ann", 1) == 1
    people.withdraw_old(config, run, [run / "annotations-dpo"])
    assert post("Ann") == 0, "nothing in the run's plan asks for it"


def test_a_file_that_is_not_there_has_nothing_to_withdraw_and_is_not_made(place: str, tmp_path: Path) -> None:
    people.withdraw_old(EditorConfig(project=place), tmp_path, [])
    assert not Path(place).exists()


@pytest.mark.slow
def test_a_run_of_two_rounds_goes_on_with_the_edits_of_people(
    two_rounds: Path, tiny: Any, tmp_path: Path, place: str, post_to_server: Editors, rounds: tuple[str, ...]
) -> None:
    out = Path(shutil.copytree(two_rounds, tmp_path / "run"))
    shutil.rmtree(out / "annotations-figa")
    recipe = tiny(*rounds, *ONE_ARM, f"editor={{project: {place}}}")

    def run() -> Path:
        return run_recipe(recipe, out, jobs=1, listener=lambda _: None)

    with pytest.raises(RedpencilError, match="0 of 12 answers of annotations-figa are edited"):
        run()
    assert not (out / "annotations-figa").exists()
    assert post_to_server("Ann", 4) == 4
    with pytest.raises(RedpencilError, match="4 of 12"):
        run()
    assert post_to_server("Ann") == 8
    with pytest.raises(RedpencilError, match="answers of needed are edited"):
        run()  # the second round is trained; what its answers still need is for people too
    edits = list(read_jsonl(out / "annotations-figa" / "edits_train.jsonl", Edit))
    assert [row.edited for row in edits] == [f"{row.original} and more" for row in edits]
    assert {row.editor for row in edits} == {"Ann"}
    assert post_to_server("Ann", 1_000, "no_edit_needed") > 12
    run()
    assert (out / "report.html").is_file()
    unmeasured = tiny(*rounds, *ONE_ARM, f"editor={{project: {place}, measure: false}}")
    assert "needed" not in [spec.name for spec in plan_run(unmeasured, out, 3)]


@pytest.mark.parametrize(
    ("project", "hint"),
    [("postgresql://ann:secret@host/edits", "PGPASSWORD"), ("postgresql://host/edits?password=x", "PGPASSWORD")],
)
def test_a_recipe_holds_no_password(tiny: Any, project: str, hint: str) -> None:
    with pytest.raises(RedpencilError, match="no secrets") as caught:
        tiny(f"editor={{project: '{project}'}}")
    assert hint in str(caught.value.hint)
    assert "secret" not in str(caught.value.problem).replace("secrets", "")


def test_a_project_is_a_file_beside_the_recipe_or_a_url(tiny: Any, tmp_path: Path) -> None:
    recipe = tiny("editor={project: edits.db}")
    assert Path(recipe.editor.project).is_absolute()
    url = "postgresql://ann@host/edits"
    assert tiny(f"editor={{project: '{url}'}}").editor.project == url
    with pytest.raises(RedpencilError, match="wait says nothing of this editor"):
        tiny("editor={rule: scripted, wait: true}")
    broken = tmp_path / "broken.db"
    broken.write_text("not a database")
    with pytest.raises(RedpencilError) as caught:
        run_recipe(tiny(f"editor={{project: {broken}}}"), tmp_path / "run", jobs=1, listener=lambda _: None)
    assert caught.value.field == "editor.project"
    assert not (tmp_path / "run").exists()


def test_a_look_at_what_would_run_makes_no_project(tiny: Any, tmp_path: Path) -> None:
    said = list(preview(tiny("world.comparisons=12", f"editor={{project: {tmp_path}/new.db}}"), tmp_path / "run"))
    assert "needed: to do" in said
    assert not list(tmp_path.iterdir())
    with pytest.raises(RedpencilError, match="no such folder") as caught:
        list(preview(tiny(f"editor={{project: {tmp_path}/nowhere/new.db}}"), tmp_path / "run"))
    assert (caught.value.field, str(caught.value.file)) == ("editor.project", str(tmp_path / "nowhere"))
