"""`annotate`: what goes into a project and comes out of it, and the server as people start it."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from redpencil.records import Comparison, Edit, EditOutcome, read_jsonl
from redpencil.web import work
from redpencil.web.auth import list_people, person_of_invite, remember_address
from redpencil.web.database import list_events, open_database, reading, writing
from redpencil.web.project import ProjectConfig, read_project
from redpencil.web.schema import item

Redpencil = Callable[..., Any]
RESPONSES = [
    {"id": "1", "prompt": "Capital of Australia?", "response": "It is Sydney, a large city.", "model": "policy"},
    {"id": "2", "prompt": "Why is the sky blue?", "response": "It mirrors the sea."},
    {"id": "3", "prompt": "Who wrote Faust?", "response": "Schiller wrote it."},
]
SUGGESTED = "It is Canberra, a planned city."


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def edit(row: dict[str, Any], edited: str, **more: Any) -> dict[str, Any]:
    return {"id": row["id"], "prompt": row["prompt"], "original": row["response"], "edited": edited, **more}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with responses, in which the commands are run."""
    for name in ("REDPENCIL_DATABASE", "REDPENCIL_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "r.jsonl", *RESPONSES)
    return tmp_path


def tasks_done_by(place: str, name: str, *texts: str | None) -> None:
    """Somebody works: None finds that no edit is needed."""
    engine = open_database(place)
    with reading(engine) as connection:
        (number,) = (person.id for person in list_people(connection) if person.name == name)
    for text in texts:
        task = work.next_task(engine, number, now=time.time())
        assert task is not None
        given = work.Submission("no_edit_needed") if text is None else work.Submission("edited", text)
        if task.kind == "compare":
            given = work.Submission("first")
        work.submit(engine, number, task.assignment_id, task.version, given, now=time.time())
    engine.dispose()


@pytest.mark.usefixtures("here")
def test_responses_go_in_and_edits_come_out(redpencil: Redpencil) -> None:
    outcome = redpencil("annotate", "edits.db", "--responses", "r.jsonl", "--invite", "ana:editor", "--no-serve")
    assert outcome.code == 0
    assert outcome.err.startswith("r.jsonl: 3 added\nThis link works on this machine only, at port 8008;")
    assert re.fullmatch(r"http://127\.0\.0\.1:8008/join/[\w-]{43}  \(ana, editor\)\n", outcome.out)
    tasks_done_by("edits.db", "ana", SUGGESTED, None)
    outcome = redpencil("annotate", "edits.db", "--export", "edits.jsonl", "--status")
    assert outcome.err == "2 edits in edits.jsonl\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in Path().glob("edits.*")} == {0o600}
    assert outcome.out.splitlines()[0] == "Edits: 2 of 3 items done, 0 begun, 1 waiting; each is for 1 person"
    assert "  ana: 2 done, 0 skipped" in outcome.out
    first, second = read_jsonl("edits.jsonl", Edit)
    assert (first.edited, first.editor, first.outcome) == (SUGGESTED, "ana", EditOutcome.EDITED)
    assert (second.edited, second.outcome) == (RESPONSES[1]["response"], EditOutcome.UNCHANGED)


def test_the_same_command_continues_and_adds_what_is_new(redpencil: Redpencil, here: Path) -> None:
    command = ("annotate", "edits.db", "--responses", "r.jsonl", "--invite", "ana", "--no-serve", "--json")
    (first,) = json.loads(redpencil(*command).out)["invited"]
    assert (first["name"], first["role"]) == ("ana", "editor")
    write(here / "r.jsonl", {**RESPONSES[0], "response": "Another text."}, *RESPONSES[1:], {**RESPONSES[0], "id": "4"})
    again = redpencil(*command)
    done = json.loads(again.out)
    assert done["responses"] == {"added": 1, "known": 2, "changed": 1, "empty": 0, "refused": [], "by_prompt": 0}
    assert done["invited"] == [{"name": "ana", "role": "editor", "link": None}]
    assert "1 added, 2 here already, 1 left out, as their ids belong to other texts" in again.err
    assert "ana is here already" in again.err
    engine = open_database("edits.db")
    with reading(engine) as connection:  # the link that ana has still opens the door
        assert person_of_invite(connection, str(first["link"]).rsplit("/", 1)[1]) is not None
    engine.dispose()


def test_suggestions_are_taken_only_for_the_text_that_they_edit(redpencil: Redpencil, here: Path) -> None:
    write(
        here / "s.jsonl",
        edit(RESPONSES[0], SUGGESTED),
        {**edit(RESPONSES[1], "?"), "original": "Some other response."},
        edit(RESPONSES[2], "Schiller wrote it.", outcome="unchanged"),
    )
    outcome = redpencil(
        *("annotate", "edits.db", "--responses", "r.jsonl", "--suggestions", "s.jsonl", "--invite", "ana"),
        *("--no-serve", "--json"),
    )
    assert json.loads(outcome.out)["suggestions"] == {"used": 1, "unused": 1}
    assert "s.jsonl: 1 suggestions, 1 left out, as they are for other texts" in outcome.err
    engine = open_database("edits.db")
    found = []
    while (task := work.next_task(engine, 1, now=time.time())) is not None:
        found.append(task.suggestion)
        work.submit(engine, 1, task.assignment_id, task.version, work.Submission("no_edit_needed"), now=time.time())
    engine.dispose()
    assert found == [SUGGESTED, None, None]


def test_suggestions_go_to_known_answers_too(redpencil: Redpencil, here: Path) -> None:
    write(here / "k.jsonl", edit(RESPONSES[1], "It scatters light."))
    write(here / "s.jsonl", edit(RESPONSES[1], "It mirrors the sea and the land."))
    outcome = redpencil(
        *("annotate", "edits.db", "--known", "k.jsonl", "--suggestions", "s.jsonl", "--no-serve", "--json")
    )
    assert json.loads(outcome.out)["suggestions"] == {"used": 1, "unused": 0}
    assert "warning: no editor gets the 1 items with a known answer: known_answer_share is 0" in outcome.err
    engine = open_database("edits.db")
    with reading(engine) as connection:
        assert connection.scalars(select(item.c.suggestion)).all() == ["It mirrors the sea and the land."]
    engine.dispose()


def test_known_answers_that_stand_out_are_told(redpencil: Redpencil, here: Path) -> None:
    write(here / "k.jsonl", edit(RESPONSES[1], "It scatters light."))
    write(here / "s.jsonl", edit(RESPONSES[0], SUGGESTED))
    (here / "project.yaml").write_text("known_answer_share: .5\n")
    command = ("annotate", "edits.db", "--responses", "r.jsonl", "--known", "k.jsonl", "--project", "project.yaml")
    outcome = redpencil(*command, "--suggestions", "s.jsonl", "--no-serve")
    warning = "1 of 1 items with a known answer have no suggestion, of the others 1 of 2: people could tell them apart"
    assert f"warning: {warning}\n" in outcome.err
    assert "warning" not in redpencil("annotate", "edits.db", "--status").err  # where nothing came in


def test_a_text_that_is_too_long_is_named(redpencil: Redpencil, here: Path) -> None:
    write(here / "r.jsonl", *RESPONSES, {**RESPONSES[0], "id": "long", "response": "\a" * 1_000_000})
    outcome = redpencil("annotate", "edits.db", "--responses", "r.jsonl", "--no-serve", "--json")
    told = "its response has 6,000,002 bytes as JSON, of which 3,145,728 are allowed"
    assert json.loads(outcome.out)["responses"]["refused"] == [{"id": "long", "problem": told}]
    assert outcome.err == f"r.jsonl: 3 added, 1 left out, as they are too long to be handed in:\n  long: {told}\n"


def test_a_long_file_has_a_progress_bar_and_a_short_one_none(redpencil: Redpencil, here: Path) -> None:
    for rows, shown in ((499, False), (500, True)):
        write(here / "many.jsonl", *({**RESPONSES[0], "id": f"{rows}-{n}"} for n in range(rows)))
        outcome = redpencil("annotate", "edits.db", "--responses", "many.jsonl", "--no-serve")
        assert ("many.jsonl: started" in outcome.err) == shown
        assert f"many.jsonl: {rows} added" in outcome.err


def test_known_answers_and_settings(redpencil: Redpencil, here: Path) -> None:
    write(here / "k.jsonl", edit(RESPONSES[0], SUGGESTED))
    (here / "project.yaml").write_text("title: Geography\nknown_answer_share: 1\neditors_per_item: 2\n")
    outcome = redpencil(
        *("annotate", "edits.db", "--responses", "r.jsonl", "--known", "k.jsonl", "--project", "project.yaml"),
        *("--invite", "ana", "--no-serve"),
    )
    assert outcome.code == 0
    assert "project.yaml: changed title, editors_per_item, known_answer_share" in outcome.err
    tasks_done_by("edits.db", "ana", SUGGESTED)
    status = json.loads(redpencil("annotate", "edits.db", "--status", "--json").out)["status"]
    assert (status["title"], status["items"]["known"], status["items"]["total"]) == ("Geography", 1, 2)
    assert status["known"][0]["exact"] == 1
    exported = redpencil("annotate", "edits.db", "--export", "e.jsonl")
    assert "not in it: 1 on items with a known answer" in exported.err
    engine = open_database("edits.db")
    with reading(engine) as connection:
        assert "changed project" in {event.action for event in list_events(connection)}
        assert read_project(connection) == ProjectConfig(title="Geography", known_answer_share=1, editors_per_item=2)
    engine.dispose()
    again = redpencil("annotate", "edits.db", "--project", "project.yaml", "--no-serve")
    assert "project.yaml: nothing to change" in again.err


def test_agreement_is_told(redpencil: Redpencil, here: Path) -> None:
    (here / "project.yaml").write_text("editors_per_item: 2\n")
    redpencil(
        *("annotate", "edits.db", "--responses", "r.jsonl", "--project", "project.yaml", "--no-serve"),
        *("--invite", "ana", "--invite", "ben", "--invite", "rita: reviewer"),
    )
    before = redpencil("annotate", "edits.db", "--status").out
    assert "Krippendorff's alpha: not yet, as no two people have done the same items" in before
    tasks_done_by("edits.db", "ana", SUGGESTED, "It scatters light.", None)
    tasks_done_by("edits.db", "ben", SUGGESTED, None, None)
    shown = redpencil("annotate", "edits.db", "--status").out
    assert re.search(
        r"^Krippendorff's alpha: outcome 0\.\d\d \(3 items\); words changed 0\.\d\d \(3 items\)$", shown, re.M
    )
    assert "1 item on which people differ waits for a reviewer" in shown


def test_pairs_to_compare(redpencil: Redpencil, here: Path) -> None:
    write(here / "other.jsonl", *({**row, "response": f"other {row['id']}"} for row in RESPONSES))
    outcome = redpencil("annotate", "c.db", "--compare", "r.jsonl", "other.jsonl", "--invite", "ana", "--no-serve")
    assert outcome.err.startswith("r.jsonl: 3 added\n")
    tasks_done_by("c.db", "ana", None, None)
    outcome = redpencil("annotate", "c.db", "--export-comparisons", "out.jsonl", "--json")
    assert json.loads(outcome.out)["comparisons"] == 2
    assert [row.second for row in read_jsonl("out.jsonl", Comparison)] == ["other 1", "other 2"]
    assert redpencil("annotate", "c.db", "--status").out.startswith("Comparisons: 2 of 3 items done")


@pytest.mark.usefixtures("here")
def test_links_lead_to_where_people_find_the_service(redpencil: Redpencil, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("annotate", "edits.db", "--no-serve", "--invite")
    assert redpencil(*command, "a", "--host", "::1", "--port", "9000").out.startswith("http://[::1]:9000/join/")
    monkeypatch.setenv("REDPENCIL_BASE_URL", "https://edits.example.org/")
    assert redpencil(*command, "b").out.startswith("https://edits.example.org/join/")
    assert redpencil(*command, "c", "--base-url", "https://other.example.org").out.startswith(
        "https://other.example.org/"
    )


def test_the_database_may_be_named_by_the_environment(
    redpencil: Redpencil, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDPENCIL_DATABASE", "named.db")
    assert redpencil("annotate", "--responses", "r.jsonl", "--no-serve").code == 0
    assert (here / "named.db").exists()
    assert redpencil("annotate", "other.db", "--responses", "r.jsonl", "--no-serve").code == 0
    assert (here / "other.db").exists()


def test_mistakes(mistake: Callable[..., str], here: Path) -> None:
    write(here / "s.jsonl", edit(RESPONSES[0], SUGGESTED))
    (here / "project.yaml").write_text("titel: x\n")
    assert "which database?" in mistake("annotate")
    assert "two are given" in mistake("annotate", "edits.db", "--database", "postgresql://localhost/x")
    assert "only SQLite files and PostgreSQL" in mistake("annotate", "--database", "mysql://localhost/x")
    assert "no such database" in mistake("annotate", "edits.db", "--export", "e.jsonl")
    assert "no such file" in mistake("annotate", "edits.db", "--responses", "missing.jsonl")
    assert "s.jsonl:1 [response]" in mistake("annotate", "edits.db", "--responses", "s.jsonl")
    assert "suggestions belong to responses" in mistake("annotate", "edits.db", "--suggestions", "s.jsonl")
    assert "did you mean 'title'?" in mistake("annotate", "edits.db", "--project", "project.yaml")
    portless = ("--invite", "ana", "--port", "0", "--no-serve")
    assert "links need to know the port" in mistake("annotate", "edits.db", *portless)
    for wrong in ("example.org/edits", "https://example.org/edits"):
        assert "https://edits.example.org" in mistake("annotate", "edits.db", "--base-url", wrong)
    assert not (here / "edits.db").exists()  # nothing was made for a command that could not work
    same = ("--export", "e.jsonl", "--export-comparisons", "./e.jsonl")
    assert "two files" in mistake("annotate", "edits.db", "--responses", "r.jsonl", *same)
    assert "r.jsonl" in mistake("annotate", "edits.db", "--responses", "r.jsonl", "--export", "r.jsonl")
    assert "also an input" in mistake("annotate", "edits.db", "--responses", "r.jsonl", "--export", "edits.db")
    assert "no role 'boss'" in mistake("annotate", "edits.db", "--invite", "ana:boss", "--no-serve")
    assert "different prompts under the id '1'" in mistake(
        *("annotate", "edits.db", "--no-serve", "--compare", "r.jsonl"),
        write(here / "o.jsonl", *({**row, "prompt": "?"} for row in RESPONSES)),
    )


def test_a_port_that_is_taken_is_told_before_anything_is_done(mistake: Callable[..., str], here: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        told = mistake("annotate", "edits.db", "--invite", "ana", "--port", taken)
    assert f"cannot listen on 127.0.0.1, port {taken}" in told
    assert not (here / "edits.db").exists()


@pytest.mark.usefixtures("here")
def test_links_made_beside_a_service_lead_to_it(redpencil: Redpencil) -> None:
    engine = open_database("edits.db")
    with writing(engine) as connection:
        remember_address(connection, "http://192.0.2.7:9000")
    engine.dispose()
    command = ("annotate", "edits.db", "--no-serve", "--invite")
    assert redpencil(*command, "a").out.startswith("http://192.0.2.7:9000/join/")
    assert redpencil(*command, "b", "--port", "81").out.startswith("http://127.0.0.1:81/join/")
    assert "warning: the links work on this machine only" in redpencil(*command, "c", "--host", "0.0.0.0").err


@pytest.mark.usefixtures("here")
def test_a_person_has_one_role(redpencil: Redpencil, mistake: Callable[..., str]) -> None:
    redpencil("annotate", "edits.db", "--invite", "ana", "--no-serve")
    assert "ana is here already, as editor" in mistake("annotate", "edits.db", "--invite", "ana:admin", "--no-serve")


@pytest.mark.usefixtures("here")
def test_what_is_missing_is_told(mistake: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redpencil.cli.annotate.PACKAGES", ("fastapi", "no_such_package"))
    told = mistake("annotate", "edits.db")
    assert "the service needs no_such_package" in told
    assert "pip install 'redpencil[web]'" in told


Serve = Callable[..., tuple["subprocess.Popen[str]", str]]


@pytest.fixture
def serve(here: Path, real_command: Callable[..., list[str]]) -> Iterator[Serve]:
    """Starts the real command and waits for the admin's link."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> tuple["subprocess.Popen[str]", str]:
        command = real_command("annotate", *arguments, "--port", "0")
        server = subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(server)
        assert server.stderr is not None
        for line in server.stderr:
            if found := re.match(r"(http://\S+)/join/\S+  \(your own link, as admin\)", line):
                return server, found[1]
        raise AssertionError(f"the server ended with {server.wait()}")

    yield start
    for server in started:
        if server.poll() is None:
            server.kill()
        server.wait()
        for stream in (server.stderr, server.stdout):
            assert stream is not None
            stream.close()


def answers(url: str) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
                return json.load(answer) == {"status": "ok"}
        except OSError:
            time.sleep(0.05)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_until_it_is_told_to_stop(serve: Serve, workers: str) -> None:
    server, url = serve("edits.db", "--responses", "r.jsonl", "--workers", workers)
    assert answers(url)
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=30) == 0


@pytest.mark.slow
def test_links_of_whoever_is_invited_at_the_start_open_the_door(serve: Serve) -> None:
    """Also that of the only admin, at a port that nobody knew before."""
    server, url = serve("edits.db", "--invite", "boss:admin", "--invite", "admin:editor")
    assert answers(url)
    server.terminate()
    assert server.stdout is not None
    links = re.findall(rf"^({re.escape(url)}/join/\S+)  \((\w+)", server.stdout.read(), re.M)
    server.wait(timeout=30)
    engine = open_database("edits.db")
    with reading(engine) as connection:
        opened = [person_of_invite(connection, link.rsplit("/", 1)[1]) for link, _ in links]
    engine.dispose()
    assert [person.name for person in opened if person is not None] == ["boss", "admin"]


@pytest.mark.slow
def test_a_service_manager_may_stop_it(serve: Serve) -> None:
    server, url = serve("edits.db")
    assert answers(url)
    server.terminate()
    assert server.wait(timeout=30) in (0, -signal.SIGTERM)


def test_it_starts_without_what_is_slow_to_load(here: Path) -> None:
    heavy = ("torch", "transformers", "numpy", "pandas", "pyarrow", "scipy")
    script = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from redpencil.cli.main import app\n"
        "done = CliRunner().invoke(app, ['annotate', 'edits.db', '--responses', 'r.jsonl', '--no-serve', '--status'])\n"
        "import redpencil.web.server\n"
        f"print(done.exit_code, [name for name in {heavy} if name in sys.modules])\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=here)
    assert shown.stdout.strip() == "0 []"


@pytest.mark.slow
def test_it_starts_soon(serve: Serve) -> None:
    """In seconds of the processor, which other work on the machine lengthens less than it does those of the clock."""
    took = []
    for _ in range(3):
        server, url = serve("edits.db", "--responses", "r.jsonl")
        assert answers(url)
        ticks = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        took.append(sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"))
        server.kill()
    assert min(took) < 2, took  # a new database is made by the first; around .6 where the machine is free
