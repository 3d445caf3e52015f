"""The results page in Markdown."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.report.markdown import write_markdown


def rows(text: str, heading: str) -> list[list[str]]:
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    found = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in found]


def test_tables_of_several_seeds(study_folder: Path, tmp_path: Path) -> None:
    out = write_markdown(study_folder, tmp_path / "docs" / "results.md")
    text = out.read_text(encoding="utf-8")
    results = json.loads((study_folder / "results.json").read_text())
    token = results["summary"]["win_rate"]["token"]
    table_1 = rows(text, "Table 1: win rate")
    assert table_1[2][1] == f"{token['value']:.1f} ({token['low']:.1f} to {token['high']:.1f})"
    assert table_1[2][2] == "51.6 \N{PLUS-MINUS SIGN} 1.8"
    table_2 = rows(text, "Table 2: reward accuracy")
    assert table_2[2][1].startswith("**")
    assert not table_2[2][2].startswith("**")
    assert len(rows(text, "Each seed")) == 2 + 5
    gap = results["summary"]["win_rate_difference"]["token-preference"]
    assert f"{gap['value']:+.1f} ({gap['low']:+.1f} to {gap['high']:+.1f})" in text
    for heading in ("Table 3: training efficiency", "Localisation", "Flaws", "Time"):
        assert len(rows(text, heading)) > 2


def test_every_table_is_rectangular(study_folder: Path, run_folder: Path, tmp_path: Path) -> None:
    for folder in (study_folder, run_folder):
        text = write_markdown(folder, tmp_path / "results.md").read_text(encoding="utf-8")
        for heading in re.findall(r"^## (.+)$", text, flags=re.MULTILINE):
            assert len({len(row) for row in rows(text, heading)}) <= 1, heading


def test_provenance_without_paths_of_the_machine(study_folder: Path, tmp_path: Path) -> None:
    text = write_markdown(study_folder, tmp_path / "results.md").read_text(encoding="utf-8")
    assert "- Seeds: 11, 12, 13, 14, 15" in text
    assert r"2 CPU cores, Linux x86\_64" in text
    assert "torch 2.13.0" in text
    assert "redpencil run study.yaml --out=study\nredpencil report runs/study --markdown docs/results.md" in text
    assert "/home" not in text
    assert str(tmp_path) not in text


def test_hostile_text_stays_in_its_cell(run_folder: Path, results: dict[str, Any], tmp_path: Path) -> None:
    results["name"] = "a | b\n<script>"
    results["flaws"]["sft"]["x | y"] = 1.0
    (run_folder / "results.json").write_text(json.dumps(results))
    text = write_markdown(run_folder, tmp_path / "results.md").read_text(encoding="utf-8")
    assert "<script>" not in text.replace(r"\<script\>", "")
    assert len({len(row) for row in rows(text, "Flaws")}) == 1


def test_a_folder_without_results_leaves_the_old_page(tmp_path: Path) -> None:
    old = tmp_path / "results.md"
    old.write_text("old")
    with pytest.raises(RedpencilError):
        write_markdown(tmp_path / "nothing", old)
    assert old.read_text() == "old"
