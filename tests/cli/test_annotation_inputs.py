"""What `annotate` brings into a project; the command's own tests say what it tells of that."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from redpencil.cli.annotation_inputs import Inputs
from redpencil.errors import RedpencilError
from redpencil.web.database import open_database, reading
from redpencil.web.schema import item


def test_files_are_looked_at_before_there_is_a_database(tmp_path: Path) -> None:
    edits = tmp_path / "e.jsonl"
    edits.write_text('{"id": "1", "prompt": "p", "original": "a", "edited": "b"}\n')
    with pytest.raises(RedpencilError, match="suggestions belong to responses"):
        Inputs(None, edits, None, None, None).check()
    with pytest.raises(RedpencilError, match="no such file"):
        Inputs(tmp_path / "none.jsonl", None, None, None, None).check()
    with pytest.raises(RedpencilError) as caught:
        Inputs(edits, None, None, None, None).check()
    assert caught.value.field == "response"
    Inputs(None, edits, edits, None, None).check()


def test_known_answers_come_first_and_suggestions_go_to_both(tmp_path: Path) -> None:
    """A response that is also a known answer is one item, with the answer."""
    rows = [{"id": str(n), "prompt": "p", "response": f"text {n}"} for n in range(2)]
    edits = [{"id": row["id"], "prompt": "p", "original": row["response"], "edited": "better"} for row in rows]
    files = {"r": rows, "s": edits, "k": edits[:1]}
    for name, content in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    responses, suggestions, known = (tmp_path / f"{name}.jsonl" for name in "rsk")
    inputs = Inputs(responses, suggestions, known, None, None)
    assert inputs.files() == [responses, suggestions, known]
    engine = open_database(tmp_path / "edits.db")
    done = inputs.bring_in(engine)
    assert (done["known"]["added"], done["responses"]["added"], done["responses"]["known"]) == (1, 1, 1)
    assert done["suggestions"] == {"used": 2, "unused": 0}
    with reading(engine) as connection:
        found = connection.execute(select(item.c.external_id, item.c.suggestion, item.c.known_answer)).all()
    assert sorted((row.external_id, row.suggestion, row.known_answer is None) for row in found) == [
        ("0", "better", False),
        ("1", "better", True),
    ]
    engine.dispose()


def test_files_that_do_not_pair_are_told_apart(tmp_path: Path) -> None:
    sides = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path, count in zip(sides, (1, 3), strict=True):
        rows = [{"id": str(n), "prompt": "p", "response": "r"} for n in range(count)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = open_database(tmp_path / "edits.db")
    with pytest.raises(RedpencilError) as caught:
        Inputs(None, None, None, sides, None).bring_in(engine)
    engine.dispose()
    told = caught.value
    assert (told.file, told.problem) == (str(sides[1]), f"has 2 ids that {sides[0]} lacks, such as '1'")
    assert told.hint == "cut both to the same prompts"
