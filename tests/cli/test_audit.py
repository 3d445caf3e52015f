"""`audit`: edits in the terminal, as JSON and as a page."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROWS = [
    {"id": str(n), "prompt": f"p{n}", "original": f"item{n} is red today", "edited": f"item{n} is blue today"}
    for n in range(8)
] + [
    {"id": "8", "prompt": "p", "original": "It is so.", "edited": "It is so. [red]Really[/red].", "editor": "<ann>"},
    {
        "id": "9",
        "prompt": "p",
        "original": "It is so.",
        "edited": "It is so.",
        "editor": "<ann>",
        "outcome": "unchanged",
    },
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def edits(tmp_path: Path) -> Path:
    return write(tmp_path / "edits.jsonl", ROWS)


def test_the_terminal(redpencil: Callable[..., Any], edits: Path) -> None:
    outcome = redpencil("audit", edits)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].startswith("10 rows, 9 edits by 2 editors. The edits keep 78 % of the words")
    assert lines[1].endswith("attention.")
    assert "! 1 response was edited in one row and found good in another by one editor (2 rows)." in lines
    assert "  Look at them: either the edit was not needed, or the fault was overlooked." in lines
    assert "- 11 % of the edits only append: they add at the end, no more." in lines
    assert "It is so.{+ [red]Really[/red].+}" in lines
    assert "<ann>" in outcome.out
    assert outcome.err.startswith("audit: started\naudit: done in ")


def test_json_has_the_figures_and_nothing_else_stands_on_stdout(redpencil: Callable[..., Any], edits: Path) -> None:
    found = json.loads(redpencil("audit", edits, "--json", "--examples", "1").out)
    assert (found["rows"], found["edits"], found["outcomes"]["unchanged"]) == (10, 9, 1)
    assert found["length"]["only_append"] == 1
    assert found["findings"][0] == {
        "name": "edited_or_left",
        "attention": True,
        "sentence": "1 response was edited in one row and found good in another by one editor (2 rows).",
        "advice": "Look at them: either the edit was not needed, or the fault was overlooked.",
        "share": 0.2,
    }
    assert len(found["examples"]["edits"]) == 1
    assert not any(json.loads(redpencil("audit", edits, "--json", "--examples", "0").out)["examples"].values())


def test_two_files_are_one_and_their_order_does_not_matter(
    redpencil: Callable[..., Any], edits: Path, tmp_path: Path
) -> None:
    first, second = write(tmp_path / "1.jsonl", ROWS[:4]), write(tmp_path / "2.jsonl", ROWS[4:])
    whole = redpencil("audit", edits, "--json").out
    assert redpencil("audit", first, second, "--json").out == whole
    assert redpencil("audit", second, first, "--json", "--examples", "0").out == (
        redpencil("audit", edits, "--json", "--examples", "0").out
    )


def test_min_kept(redpencil: Callable[..., Any], edits: Path) -> None:
    assert "are rewritten" not in redpencil("audit", edits).out
    assert "89 % of the edits (8) are rewritten" in redpencil("audit", edits, "--min-kept", "0.8").out


def test_the_page(redpencil: Callable[..., Any], edits: Path, tmp_path: Path) -> None:
    outcome = redpencil("audit", edits, "--html", tmp_path / "out" / "audit.html")
    assert f"the page: {tmp_path / 'out' / 'audit.html'}" in outcome.err
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "<h1>edits.jsonl</h1>" in page
    assert "&lt;ann&gt;" in page


def test_no_row_is_an_edit(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    row = {"id": "1", "prompt": "p", "original": " ", "edited": " ", "outcome": "failed"}
    outcome = redpencil("audit", write(tmp_path / "e", [row]), "--html", tmp_path / "h")
    assert outcome.out.startswith("1 row, 0 edits by 1 editor.\n2 findings need attention.")


def test_mistakes(mistake: Callable[..., str], edits: Path, tmp_path: Path) -> None:
    assert "nowhere: no such file" in mistake("audit", tmp_path / "nowhere")
    assert "it is no plain file" in mistake("audit", tmp_path)
    assert "it is also an input" in mistake("audit", edits, "--html", edits)
    assert "a folder stands" in mistake("audit", edits, "--html", tmp_path)
    (tmp_path / "empty").write_text("\n")
    assert "holds no Edit row" in mistake("audit", edits, tmp_path / "empty")
    write(tmp_path / "bad", [ROWS[0], {"id": "1", "prompt": "p", "original": "x"}])
    assert "bad:2 [edited]: field required" in mistake("audit", tmp_path / "bad")
    (tmp_path / "bytes").write_bytes(b'{"id": "\xff"}\n')
    assert "bytes:1: not valid UTF-8" in mistake("audit", tmp_path / "bytes")
    assert edits.read_text(encoding="utf-8").count("\n") == len(ROWS)


def test_a_share_is_between_0_and_1(redpencil: Callable[..., Any], edits: Path) -> None:
    assert redpencil("audit", edits, "--min-kept", "2").code == 2


def test_redlines_are_coloured_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    from redpencil.audit.audit import Example
    from redpencil.cli import audit

    monkeypatch.setattr(audit, "console", Console(force_terminal=True, color_system="standard", markup=False, width=80))
    audit._print_example(Example("1", "ann", "edited", "p", "It is red.", "It is blue."))
    shown = capsys.readouterr().out
    assert "\x1b[9;31m red" in shown
    assert "\x1b[4;32m blue" in shown


def test_the_terminal_leaves_out_what_is_nothing(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    said = redpencil("audit", write(tmp_path / "edits.jsonl", ROWS[:8]), "--examples", "0").out
    assert "Edits that cheap rules call not minimal" not in said
    assert "Rows that belong together" not in said
    assert "Deletions" not in said
    assert "failed" not in said
    assert re.search(r"^Substitutions +8 ", said, re.MULTILINE)
    assert len(said.splitlines()) < 30
    rules = redpencil("audit", write(tmp_path / "more.jsonl", ROWS), "--min-kept", "0.8").out
    assert "rewritten (keeps less than 80 % of the words)" in rules
