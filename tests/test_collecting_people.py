"""Every command of the part of docs/collecting.md on people is run, in its order; people work in between."""

import importlib.util
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from PIL import Image

from redpencil.records import Comparison, Edit, EditOutcome, Preference, Response, read_jsonl, write_jsonl
from redpencil.web import work
from redpencil.web.auth import list_people
from redpencil.web.database import open_database, reading
from redpencil.web.project import parse_project

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "collecting.md").read_text(encoding="utf-8")
PART = PAGE[PAGE.index("## Edits by people\n") :]
COMMANDS = [
    line for block in re.findall(r"^```sh people\n(.*?)^```$", PART, re.M | re.S) for line in block.splitlines()
]
(SETTINGS,) = re.findall(r"^```yaml project\n(.*?)^```$", PART, re.M | re.S)
ON_POSTGRES = "postgresql://redpencil@localhost/redpencil"
HAS_POSTGRES = any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb") is not None
KNOWN = Edit("k", "Known?", "It is known.", "It is well known.")
RESPONSES = [Response(str(n), f"Question {n}?", f"The answer to it is {n}.", "policy") for n in range(4)]


def servers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("servers", ROOT / "benchmarks" / "annotation_servers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["servers"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def run(line: str, folder: Path) -> str:
    """What a command says. One that serves does so on a free port of this machine, and is stopped when it is ready."""
    words = shlex.split(line)
    assert words[0] == "redpencil"
    command = [str(Path(sys.executable).with_name("redpencil")), *words[1:]]
    if words[1] == "annotate":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            command += ["--host", "127.0.0.1", "--port", str(free.getsockname()[1])]
    postgres = ON_POSTGRES in line
    with servers().temporary_postgres() if postgres else nullcontext() as place:
        command = [place if word == ON_POSTGRES else word for word in command]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        lines = []
        for told in process.stdout:
            lines.append(told)
            if told.startswith("Serving "):
                time.sleep(1)  # it says so just before it handles signals
                process.send_signal(signal.SIGINT)
        process.stdout.close()
        assert process.wait(timeout=60) == 0, "".join(lines)
    return "".join(lines)


def people_work(place: Path, texts: dict[str, list[str | None]]) -> None:
    """Each person's next items, in turn: a text is an edit or a preference, None that no edit is needed.

    An item whose answer is known may come in between.
    """
    engine = open_database(place)
    with reading(engine) as connection:
        ids = {person.name: person.id for person in list_people(connection)}
    for name, given in texts.items():
        left = list(given)
        while left:
            task = work.next_task(engine, ids[name], now=time.time())
            assert task is not None
            text = KNOWN.edited if task.prompt == KNOWN.prompt else left.pop(0)
            sent = work.Submission("edited", text) if text else work.Submission("no_edit_needed")
            if task.kind == "compare":
                sent = work.Submission(text or "tie")
            work.submit(engine, ids[name], task.assignment_id, task.version, sent, now=time.time())
    engine.dispose()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are run, with the files that the page takes for granted."""
    made = tmp_path_factory.mktemp("people")
    others = [Response(row.id, row.prompt, f"Another answer: {row.id}.", "reference") for row in RESPONSES]
    write_jsonl(made / "responses.jsonl", RESPONSES)
    write_jsonl(made / "outputs.jsonl", RESPONSES)
    write_jsonl(made / "reference.jsonl", others)
    edits = [Edit(row.id, row.prompt, row.response, f"It is {row.id}.", "llm") for row in RESPONSES]
    write_jsonl(made / "edits.jsonl", edits)
    write_jsonl(made / "known.jsonl", [KNOWN])
    (made / "project.yaml").write_text(SETTINGS)
    return made


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, str]:
    """What each command said."""
    told: dict[str, str] = {}
    for line in COMMANDS:
        if ON_POSTGRES in line and not HAS_POSTGRES:
            continue
        if "--status" in line:
            people_work(folder / "team.db", {"ana": ["The answer is 0.", None], "ben": ["It is 0.", None]})
        if "--export-comparisons" in line:
            people_work(folder / "judged.db", {"admin": ["first", "second", None]})
        told[line] = run(line, folder)
    return told


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_runs(said: dict[str, str], line: str) -> None:
    if line not in said:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    assert "error" not in said[line]


@pytest.mark.slow
def test_they_do_what_the_page_says(said: dict[str, str], folder: Path) -> None:
    def told(part: str) -> str:
        return next(text for line, text in said.items() if part in line)

    assert "(your own link, as admin)" in told("annotate edits.db")
    team = told("--project project.yaml")
    assert len(re.findall(r"^http://edits\.example\.org:8008/join/\S+  \((?:ana|ben|rita), ", team, re.M)) == 3
    assert "edits.jsonl: 4 suggestions" in team
    status = told("--status")
    assert status.startswith("Household questions: 2 of 4 items done")
    assert "Krippendorff's alpha: " in status
    edits = list(read_jsonl(folder / "by_people.jsonl", Edit))
    assert [(row.id, row.editor, row.outcome) for row in edits] == [
        ("0", "ana", EditOutcome.EDITED),
        ("0", "ben", EditOutcome.EDITED),
        ("1", "ana", EditOutcome.UNCHANGED),
        ("1", "ben", EditOutcome.UNCHANGED),
    ]
    assert {"outcome", "reason", "tags", "seconds"} <= set(edits[0].meta["annotation"])
    judged = list(read_jsonl(folder / "judged.jsonl", Comparison))
    assert [row.first for row in judged] == [row.response for row in RESPONSES[:3]]
    assert judged[2].preference is Preference.TIE


def test_the_settings_of_the_page_are_settings() -> None:
    assert parse_project(yaml.safe_load(SETTINGS)).editors_per_item == 2


def test_the_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"\((images/[\w-]+\.png)\)", PART)
    assert len(pictures) >= 4
    for name in pictures:
        path = ROOT / "docs" / name
        assert path.stat().st_size < 150_000
        with Image.open(path) as picture:
            assert picture.format == "PNG"
