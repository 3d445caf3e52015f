"""`report`: a run folder as a page, and as Markdown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_the_report_is_written_anew(redpencil: Callable[..., Any], tiny_run: Any, tmp_path: Path) -> None:
    page = tiny_run.folder / "report.html"
    before = page.read_text(encoding="utf-8")
    page.unlink()
    outcome = redpencil("report", tiny_run.folder, "--markdown", tmp_path / "docs" / "results.md")
    assert page.read_text(encoding="utf-8") == before
    lead, report, markdown = outcome.out.splitlines()
    assert lead == tiny_run.outcome.out.splitlines()[0]
    assert report == f"report:   {page}"
    assert markdown == f"markdown: {tmp_path / 'docs' / 'results.md'}"
    assert (tmp_path / "docs" / "results.md").read_text(encoding="utf-8").startswith("# Results: tiny\n")


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_results(mistake: Callable[..., str], tmp_path: Path, name: str) -> None:
    assert "no results.json in this folder" in mistake("report", tmp_path / name)


def test_a_broken_results_file(mistake: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{")
    assert "results.json: not valid JSON" in mistake("report", tmp_path)
    (tmp_path / "results.json").write_text('{"win_rate": 3}')
    assert "results.json [format]: written in another format" in mistake("report", tmp_path)
    assert "a folder stands" in mistake("report", tmp_path, "--markdown", tmp_path)
    assert "it is also an input" in mistake("report", tmp_path, "--markdown", tmp_path / "results.json")
