"""`ablate`: variants of a recipe in one command, again, in parts, and when something is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ONE_ARM = {
    "arms": {"token": {"reward_model": "token_edits"}},
    "reward_models": {"token_edits": {"pairs": "edits", "reward": {"level": "token"}}},
}


@pytest.fixture
def recipe(tiny: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    groups = {
        "loss": {"eq4": {}, "eq3": {"reward.loss": "eq3"}},
        "anchors": {"no": {}, "yes": {"align.anchor": "none"}},
    }
    content = {"base": str(tiny), "name": "mine", "overrides": ONE_ARM, "groups": groups}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.slow
def test_tables_in_the_terminal_on_pages_and_as_json(
    redpencil: Callable[..., Any], recipe: Path, tmp_path: Path
) -> None:
    out, page = tmp_path / "out", tmp_path / "docs" / "page.md"
    first = redpencil("ablate", recipe, "--out", out, "--jobs", "1", "--only", "loss", "--markdown", page)
    assert first.code == 0, first
    assert "loss: the policy" in first.out
    assert "loss: its reward model" in first.out
    assert "anchors" not in first.out
    assert first.err.startswith(f"mine: seed 3, in {out}\n")
    assert f"report:  {out / 'report.html'}" in first.err
    assert "| eq3 (reward.loss=eq3) |" in page.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").endswith("```\nredpencil ablate mine.yaml --markdown page.md\n```\n")
    assert "loss: the policy" in (out / "report.html").read_text(encoding="utf-8")

    again = redpencil("ablate", recipe, "--out", out, "--jobs", "1", "--json")
    assert again.code == 0, again
    results = json.loads(again.out)
    assert results == json.loads((out / "ablations.json").read_text(encoding="utf-8"))
    assert {name: list(rows) for name, rows in results["groups"].items()} == {
        "loss": ["eq4", "eq3"], "anchors": ["no", "yes"]
    }  # fmt: skip
    assert results["groups"]["anchors"]["yes"]["same_as"] == "base"
    assert "loss/eq3/seed-3/reward-token_edits: already complete" in again.err
    assert ": done in" not in again.err


def test_seeds_are_checked_before_anything_runs(mistake: Callable[..., str], recipe: Path, tmp_path: Path) -> None:
    assert "the same seed twice" in mistake("ablate", recipe, "--seed", "1", "--seed", "1", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_mistakes(mistake: Callable[..., str], recipe: Path, tmp_path: Path, tiny: Path) -> None:
    out = ("--out", tmp_path / "out")
    assert "no group called 'los'" in mistake("ablate", recipe, "--only", "los", *out)
    assert "cannot read the recipe" in mistake("ablate", tmp_path / "nowhere.yaml", *out)
    assert "[prompt_template]: unknown key" in mistake("ablate", tiny, *out)
    assert "would be overwritten" in mistake("ablate", recipe, "--markdown", recipe, *out)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years")
    assert "holds no ablations" in mistake("ablate", recipe, *out)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
