"""Import and export over HTTP."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from redpencil.records import Edit, read_jsonl

SignIn = Callable[[str, str], TestClient]


def test_items_come_in_and_edits_go_out_while_people_work(sign_in: SignIn, tmp_path: Path) -> None:
    ann, eve = sign_in("Ann", "editor"), sign_in("Eve", "reviewer")
    task = ann.post("/api/next").json()
    words = task["response"]
    rows = b"".join(
        json.dumps({"id": name, "prompt": prompt, "response": answer}).encode() + b"\n"
        for name, prompt, answer in (
            ("r0", "Question 0", words),
            ("r1", "Question 1", "another"),
            ("new", "Q", "words"),
        )
    )
    counts = {"added": 1, "known": 1, "changed": 1, "empty": 0, "refused": [], "warnings": [], "by_prompt": 0}
    assert eve.post("/api/import", content=rows).json() == counts
    suggestions = json.dumps({"id": "more", "prompt": "Q", "original": "some words", "edited": "a word"})
    more = json.dumps({"id": "more", "prompt": "Q", "response": "some words"})
    files = {"responses": ("../../etc/passwd", more), "suggestions": ("x", suggestions)}
    assert eve.post("/api/import", files=files).json()["added"] == 1
    sides = {side: json.dumps({"id": "c", "prompt": "Q", "response": side}) for side in ("first", "second")}
    assert eve.post("/api/import", files={side: ("c", row) for side, row in sides.items()}).json()["added"] == 1
    known = json.dumps({"id": "k", "prompt": "Q", "original": "some words", "edited": "a word"})
    assert eve.post("/api/import", files={"known": ("k", known)}).json()["added"] == 1
    body = {"version": task["version"], "text": words + "more", "outcome": "edited"}
    assert ann.post(f"/api/assignments/{task['assignment_id']}/submit", json=body).status_code == 200
    answer = eve.get("/api/export/edits")
    assert answer.headers["content-disposition"] == 'attachment; filename="edits.jsonl"'
    (tmp_path / "edits.jsonl").write_bytes(answer.content)
    edits = list(read_jsonl(tmp_path / "edits.jsonl", Edit))
    assert [(edit.id, edit.original, edit.edited) for edit in edits] == [("r0", words, words + "more")]
    actions = [event for event in sign_in("Sue", "admin").get("/api/events").json() if event["action"] == "imported"]
    assert [event["detail"]["added"] for event in actions] == [1, 1, 1, 1]
    assert eve.get("/api/export/comparisons").content == b""


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"id": "1", "prompt": "Q"}\n', "response"),
        (b'{"id": "1", "prompt"\n', "responses, line 1: not valid JSON"),
        (b'{"id": "1", "prompt": "Q", "response": "a"}\n{"id": "\xff"}\n', "responses, line 2: not valid UTF-8"),
        (b"", "no Response row"),
    ],
)
def test_a_wrong_upload_says_where(sign_in: SignIn, content: bytes, problem: str) -> None:
    answer = sign_in("Eve", "reviewer").post("/api/import", content=content)
    assert answer.status_code == 422
    assert problem in answer.json()["error"] + str(answer.json()["field"])
    assert "/tmp" not in answer.text
