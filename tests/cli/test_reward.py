"""`evaluate reward`: reward models under the microscope."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from redpencil.records import Comparison, Edit, read_jsonl
from redpencil.runs import read_json

NAMES = ("token_edits", "sequence_edits", "sequence_comparisons")


def models(run: Path, *names: str) -> list[Any]:
    return [part for name in names for part in ("--model", run / f"reward-{name}" / "checkpoint")]


def test_the_accuracy_matrix_is_that_of_the_run(redpencil: Callable[..., Any], tiny_run: Any) -> None:
    run = tiny_run.folder
    tests = [part for name in ("edits", "comparisons") for part in ("--pairs", run / "align" / f"{name}_test.jsonl")]
    outcome = redpencil("evaluate", "reward", *models(run, *NAMES), *tests, "--json")
    found, expected = json.loads(outcome.out)["reward_accuracy"], read_json(run / "results.json")["reward_accuracy"]
    assert list(found) == [*(f"reward-{name}" for name in NAMES), "shorter_wins", "longer_wins"]
    for name, row in expected.items():
        for kind in ("edits", "comparisons"):
            cell = found[name if name == "shorter_wins" else f"reward-{name}"][f"{kind}_test"]
            assert {key: cell[key] for key in row[kind]} == row[kind]
            assert 0 <= cell["low"] < cell["value"] < cell["high"] <= 100
    assert found["longer_wins"]["edits_test"]["value"] == 100 - found["shorter_wins"]["edits_test"]["value"]


def test_texts_give_what_the_run_found(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    run, page = tiny_run.folder, tmp_path / "page.html"
    annotations = run / "annotations"
    arguments = (
        *("evaluate", "reward", *models(run, *NAMES), "--edits", annotations / "edits_test.jsonl", "--recipe", tiny),
        *("--comparisons", annotations / "comparisons_test.jsonl", "--html", page),
    )
    found, expected = json.loads(redpencil(*arguments, "--json").out), read_json(run / "results.json")
    for name in NAMES:
        for kind in ("edits", "comparisons"):
            cell = found["reward_accuracy"][f"reward-{name}"][f"{kind}_test"]
            assert cell["value"] == expected["reward_accuracy"][name][kind]["value"]
    localised = found["localisation"]["reward-token_edits"]["edits_test"]["edited"]
    assert localised["auroc"] == pytest.approx(expected["localisation"]["token_edits"]["edited_auroc"], abs=1e-6)
    assert list(found["localisation"]) == list(found["drift"]) == ["reward-token_edits"]
    assert found["models"]["reward-sequence_comparisons"] == {"level": "sequence", "trained_on": "comparisons"}
    edits = {row.id: row for row in read_jsonl(annotations / "edits_test.jsonl", Edit)}
    for model in found["worst_pairs"].values():
        for pairs in model["edits_test"].values():
            assert all(pair["margin"] < 0 and pair["edited"] == edits[pair["id"]].edited for pair in pairs)
    text = page.read_text(encoding="utf-8")
    assert "reward-token_edits" in text
    assert "Worst pairs of edits_test" in text


def test_what_the_terminal_shows(redpencil: Callable[..., Any], tiny_run: Any, tiny: Path) -> None:
    run = tiny_run.folder
    shown = redpencil(
        *("evaluate", "reward", *models(run, "token_edits"), "--recipe", tiny),
        *("--edits", run / "annotations" / "edits_test.jsonl"),
    ).out
    for title in (
        "Pairs ranked right, %",
        "Calibration",
        "Localisation",
        "Drift of unchanged tokens",
        "By type of edit",
    ):
        assert f"\n{title}" in shown
    assert "The shorter text wins" in shown
    assert "Within a" in shown
    if "Worst pairs" in shown:
        assert "[-" in shown or "{+" in shown


def test_rows_of_rewardbench(
    redpencil: Callable[..., Any], mistake: Callable[..., str], tiny_run: Any, tmp_path: Path
) -> None:
    run, path = tiny_run.folder, tmp_path / "filtered.json"
    rows = [
        {
            "prompt": row.prompt,
            "chosen": row.first,
            "chosen_model": "a",
            "rejected": row.second,
            "rejected_model": "b",
            "subset": ("alpacaeval-easy", "math-prm", "hep-cpp", "donotanswer", "llmbar-natural")[n % 5],
            "id": 1,
        }
        for n, row in enumerate(read_jsonl(run / "annotations" / "comparisons_test.jsonl", Comparison))
    ]
    path.write_text(json.dumps(rows))
    arguments = ("evaluate", "reward", *models(run, "token_edits"), "--rewardbench", path)
    bench = json.loads(redpencil(*arguments, "--json").out)["reward_bench"]["reward-token_edits"]["filtered"]
    assert list(bench["sections"]) == ["Chat", "Chat Hard", "Safety", "Reasoning"]
    assert bench["score"] == pytest.approx(sum(bench["sections"].values()) / 4)
    assert bench["sections"]["Chat"] == bench["subsets"]["alpacaeval-easy"]["value"]
    assert "RewardBench score" in redpencil(*arguments).out
    del rows[1]["subset"]
    path.write_text(json.dumps(rows))
    assert "subset" in mistake(*arguments)
    for wrong in ({"prompt": "p"}, {**rows[0], "chosen": 7}):
        path.write_text(json.dumps([wrong]))
        told = mistake(*arguments)
        assert "hint: give rows as RewardBench has them: prompt, chosen" in told
        assert "--" not in told


def test_a_model_that_does_not_say_how_it_learned_prompts_reads_its_chat_template(
    redpencil: Callable[..., Any], tiny_run: Any, tmp_path: Path
) -> None:
    bare = shutil.copytree(tiny_run.folder / "reward-token_edits" / "checkpoint", tmp_path / "bare")
    (bare / "redpencil.json").unlink()
    edits = tiny_run.folder / "annotations" / "edits_test.jsonl"
    arguments = ("evaluate", "reward", "--model", bare, "--edits", edits, "--json")

    def brier() -> float:
        return float(json.loads(redpencil(*arguments).out)["calibration"]["bare"]["edits_test"]["brier"])

    plain = brier()
    (bare / "chat_template.jinja").write_text("<bos> {{ messages[0]['content'] }} <answer>")
    chat = brier()
    assert chat != plain
    (bare / "redpencil.json").write_text('{"prompt_template": "<bos> {prompt} <answer>"}')
    assert brier() == chat


def test_files_of_one_name_are_told_apart(redpencil: Callable[..., Any], tiny_run: Any, tmp_path: Path) -> None:
    run, other = tiny_run.folder, tmp_path / "edits_test.jsonl"
    shutil.copy(run / "align" / "edits_test.jsonl", other)
    paths = [run / "align" / "edits_test.jsonl", other]
    tests = [part for path in paths for part in ("--pairs", path)]
    found = json.loads(redpencil("evaluate", "reward", *models(run, "token_edits"), *tests, "--json").out)
    assert list(found["tests"]) == [str(path) for path in paths]


def test_models_without_sense_are_named(mistake: Callable[..., str], tiny_run: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_run.folder / "reward-token_edits" / "checkpoint", broken)
    weights = load_file(broken / "model.safetensors")
    weights["score.weight"].fill_(float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    pairs = tiny_run.folder / "align" / "edits_test.jsonl"
    told = mistake("evaluate", "reward", "--model", broken, "--pairs", pairs)
    assert "broken: the model gives responses of edits_test rewards that are no finite numbers" in told


def test_accuracy_needs_a_reward_model_and_pairs_that_fit(
    redpencil: Callable[..., Any], mistake: Callable[..., str], tiny_run: Any, tmp_path: Path
) -> None:
    run = tiny_run.folder
    pairs, policy = run / "align" / "edits_test.jsonl", run / "sft" / "checkpoint"
    assert "is not a reward model" in mistake("evaluate", "reward", "--model", policy, "--pairs", pairs)
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"id": "x", "prompt_ids": [1], "rejected_ids": [9999], "chosen_ids": [2]}))
    start = ("evaluate", "reward", *models(run, "token_edits"))
    assert "bad.jsonl: pair 'x'" in mistake(*start, "--pairs", bad)
    bad.write_text(json.dumps({"id": "1", "prompt": "p", "original": "a", "edited": "a"}))
    assert "bad.jsonl: it holds no pair to score (1" in mistake(*start, "--edits", bad)
    assert "is also an input" in mistake(*start, "--pairs", pairs, "--html", pairs)
    refused = redpencil(*start)
    assert refused.code == 2
    assert "give --edits, --comparisons, --rewardbench or" in " ".join(refused.err.replace("│", " ").split())
