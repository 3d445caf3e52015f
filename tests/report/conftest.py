"""Run folders with plausible numbers, written as the pipeline writes them."""

import json
import math
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ARMS = {"token": (52.5, 10), "edits": (49.6, 20), "preference": (45.8, 30)}
KINDS = {
    "wrong": 62.0,
    "hedge": 41.0,
    "rude": 38.0,
    "filler": 35.0,
    "repeated": 20.0,
    "off_topic": 3.0,
    "missing": 44.0,
}
EDITS = [
    (
        "the capital of france is lyon . its currency is the euro .",
        "the capital of france is paris . its currency is the euro .",
    ),
    ("i think the lion eats meat . it lives in the savanna .", "the lion eats meat . it lives in the savanna ."),
    ("gold is yellow . gold is a solid .", "gold is yellow . gold is a solid . its symbol is au ."),
    (
        "perhaps the capital of spain is porto , you fool . this is a very interesting topic .",
        "the capital of spain is madrid . people there speak spanish .",
    ),
    ("iron is a gas . iron is a gas . it is grey .", "iron is a solid . it is grey ."),
]
HEATMAPS = [
    ("good", "the capital of france is paris . its currency is the euro . people there speak french . <eos>", {}),
    (
        "bad",
        "the capital of france is lyon . perhaps its currency is the euro , you fool . <eos>",
        {5: "wrong", 7: "hedge", 13: "rude", 14: "rude", 15: "rude", 17: "missing"},
    ),
    ("good", "here is what you asked for . the lion eats meat . its young is a cub . it lives in africa . <eos>", {}),
    (
        "bad",
        "the lion eats meat . this is a very interesting topic . the lion eats meat . its young is a calf . <eos>",
        {**dict.fromkeys(range(5, 12), "filler"), **dict.fromkeys(range(12, 17), "repeated"), 21: "wrong"},
    ),
]


def estimate(value: float, n: int = 600) -> dict[str, float]:
    share = value / 100
    return {"value": value, "standard_error": 100 * math.sqrt(share * (1 - share) / n), "n": n}


def single_results(seed: int = 0, rates: dict[str, float] | None = None) -> dict[str, Any]:
    rng = random.Random(seed)
    rates = rates or {arm: round(rate + rng.gauss(0, 0.6), 3) for arm, (rate, _) in ARMS.items()}
    lengths = {"token": 26.3, "edits": 25.1, "preference": 27.9, "sft": 24.8}
    win_rate = {}
    for arm, rate in {**rates, "sft": 33.417}.items():
        wins = round(6 * rate) - 25
        counts = {"wins": wins, "draws": 50, "losses": 550 - wins, "mean_length": lengths.get(arm, 25.0)}
        win_rate[arm] = {**estimate(rate), **counts}
    pairs = [("token", "edits"), ("token", "preference"), ("edits", "preference")]
    accuracy = {
        "token_edits": {"edits": 88.117, "comparisons": 61.3, "comparisons_clean": 71.9},
        "sequence_edits": {"edits": 80.033, "comparisons": 58.8, "comparisons_clean": 67.4},
        "sequence_comparisons": {"edits": 66.2, "comparisons": 62.217, "comparisons_clean": 74.6},
        "shorter_wins": {"edits": 57.5, "comparisons": 53.1, "comparisons_clean": 55.0},
    }
    factor = {"sft": 1.0, "reference": 0.52, "token": 0.55, "edits": 0.64, "preference": 0.78}
    stages = {
        "world": 1.9, "sft": 48.2, "reference": 9.7, "comparisons": 21.4, "edits": 2.2, "align": 3.1,
        "reward-token_edits": 27.6, "reward-sequence_edits": 25.9, "reward-sequence_comparisons": 24.8,
        "ppo-token": 71.3, "ppo-edits": 69.8, "ppo-preference": 72.5, "judge": 4.4, "evaluate": 8.6,
    }  # fmt: skip
    return {
        "format": 2,
        "name": "quickstart",
        "seed": seed,
        "recipe_sha256": "0f" * 32,
        "win_rate": win_rate,
        "win_rate_difference": {
            f"{a}-{b}": {"value": rates[a] - rates[b], "standard_error": 1.62, "n": 600}
            for a, b in pairs
            if a in rates and b in rates
        },
        "reward_accuracy": {model: {test: estimate(v) for test, v in row.items()} for model, row in accuracy.items()},
        "efficiency": {
            "arm": "edits",
            "token_step": 10, "sequence_step": 20, "ratio": 0.5, "token_seconds": 18.4, "sequence_seconds": 35.2,
        },
        "efficiency_preference": {
            "arm": "preference",
            "token_step": 10, "sequence_step": 30, "ratio": 0.3333, "token_seconds": 18.4, "sequence_seconds": 52.1,
        },
        "localisation": {
            "token_edits": {
                "edited_auroc": 0.7913,
                "auroc": 0.8314,
                "values_auroc": 0.7042,
                "eos_missing_auroc": 0.6431,
            }
        },
        "flaws": {
            policy: {kind: round(rate * f * rng.uniform(0.85, 1.1), 2) for kind, rate in KINDS.items()}
            for policy, f in factor.items()
        },
        "methods": {arm: costs(arm) for arm in rates},
        "stages": {name: {"seconds": seconds} for name, seconds in stages.items()},
        "warnings": ["edits: 12 rows skipped, their text did not change"],
        "diagnostics": [],
    }  # fmt: skip


def costs(arm: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "method": "ppo",
        "label": "PPO",
        "stage": f"ppo-{arm}",
        "pairs": "edits",
        "train_pairs": 4000,
        "reward_seconds": 60.0,
        "training_seconds": 40.0,
        "sampled_in_training": 1920,
        "responses_per_prompt": 1,
        "answer_seconds": 2.0,
        "step": 28,
        "validation_win_rate": 50.0,
        "kl": 4.25,
        "kl_bound": None,
    }
    return row | changes


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def curve(arm: str, seed: int) -> list[dict[str, float]]:
    rng = random.Random(f"{arm}{seed}")
    top, best = ARMS[arm]
    rows: list[dict[str, float]] = []
    for step in range(41):
        rise = 1 - math.exp(-step / best * 2.2)
        row = {"step": step, "seconds": 1.75 * step, "entropy": 1.1 - 0.3 * rise, "kl_coef": 0.15}
        if step:
            row |= {
                "kl": 9 * rise * top / 50 + rng.gauss(0, 0.35),
                "length": 24.8 + (3.4 if arm == "preference" else 1.2) * rise + rng.gauss(0, 0.5),
                "reward": 1.3 * rise * (1.4 if arm == "token" else 1) + rng.gauss(0, 0.12),
            }
        if step % 5 == 0:
            row["eval/win_rate"] = 33 + (top - 33) * rise * 1.05 + rng.gauss(0, 1.3)
            row["eval/length"] = row.get("length", 24.8)
        rows.append(row)
    return rows


def heatmap_rows() -> list[dict[str, Any]]:
    rng = random.Random(7)
    rows = []
    for label, response, flaws in HEATMAPS:
        tokens = response.split(" ")
        kinds = [flaws.get(index) for index in range(len(tokens))]
        rewards = [rng.gauss(-0.9, 0.35) if kind else rng.gauss(0.12, 0.16) for kind in kinds]
        prompt = "please describe france . cover capital , currency and language ."
        rows.append(
            {
                "model": "token_edits",
                "prompt": prompt,
                "label": label,
                "tokens": tokens,
                "rewards": rewards,
                "flaws": kinds,
            }
        )
    return rows


MANIFEST = {
    "seeds": [0],
    "versions": {"redpencil": "0.2.0", "python": "3.12.3", "torch": "2.13.0", "transformers": "5.23.0"},
    "platform": "Linux x86_64",
    "cpus": 2,
    "git_commit": "4f1c2d3e",
    "command": "redpencil run /home/someone/recipes/study.yaml --out=/tmp/elsewhere/runs/study",
    "inputs": {"prompts": {"path": "/home/someone/secret.jsonl", "sha256": "00"}},
}


def write_single(folder: Path, results: dict[str, Any]) -> Path:
    seed = results.get("seed", 0)
    write_json(folder / "results.json", results)
    (folder / "world").mkdir(parents=True)
    for arm in ARMS:
        write_lines(folder / f"ppo-{arm}" / "metrics.jsonl", curve(arm, seed))
    write_lines(
        folder / "annotations" / "edits_test.jsonl",
        [
            {
                "id": str(index),
                "prompt": "please describe france . cover capital , currency and language .",
                "original": original,
                "edited": edited,
                "editor": "scripted",
            }
            for index, (original, edited) in enumerate(EDITS)
        ],
    )
    write_json(folder / "evaluate" / "report_data.json", {"format": 2, "heatmaps": heatmap_rows()})
    write_json(folder / "manifest.json", MANIFEST)
    return folder


def spread(values: list[float]) -> dict[str, Any]:
    half = 2.776 * statistics.stdev(values) / math.sqrt(len(values))
    value = statistics.fmean(values)
    return {"value": value, "low": value - half, "high": value + half, "per_seed": values}


def study_results(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    every = list(runs.values())
    first = every[0]
    steps = [10, 8, 14, 6, None][: len(every)]
    for run, step in zip(every, steps, strict=True):
        reached = {"token_step": step, "ratio": None if step is None else step / 20}
        run["efficiency"] |= {**reached, "token_seconds": None if step is None else 1.84 * step}
    return {
        "format": 2,
        "name": "study",
        "seeds": list(runs),
        "recipe_sha256": "0f" * 32,
        "summary": {
            "win_rate": {arm: spread([run["win_rate"][arm]["value"] for run in every]) for arm in first["win_rate"]},
            "win_rate_difference": {
                pair: spread([run["win_rate_difference"][pair]["value"] for run in every])
                for pair in first["win_rate_difference"]
            },
            "mean_length": {
                arm: spread([run["win_rate"][arm]["mean_length"] for run in every]) for arm in first["win_rate"]
            },
            "reward_accuracy": {
                model: {
                    test: spread([run["reward_accuracy"][model][test]["value"] + run["seed"] / 10 for run in every])
                    for test in row
                }
                for model, row in first["reward_accuracy"].items()
            },
            "efficiency": {
                "arm": "edits",
                "ratio_median": 0.5,
                "ratios": [run["efficiency"]["ratio"] for run in every],
                "token_steps": steps,
                "sequence_steps": [20] * len(every),
            },
            "localisation": {"token_edits": {"auroc": spread([0.83, 0.81, 0.84, 0.82, 0.80][: len(every)])}},
        },
        "runs": {str(seed): run for seed, run in runs.items()},
    }


@pytest.fixture
def results() -> dict[str, Any]:
    """Results of one seed in which the paper's order comes out, two of three gaps clear of chance."""
    return single_results(rates={"token": 52.517, "edits": 49.633, "preference": 45.812})


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes a run folder of one seed around given results."""
    return lambda results: write_single(tmp_path / "run", results)


@pytest.fixture
def run_folder(write_run: Callable[[dict[str, Any]], Path], results: dict[str, Any]) -> Path:
    """A run folder of one seed."""
    return write_run(results)


@pytest.fixture
def study_folder(tmp_path: Path) -> Path:
    """A run folder of five seeds."""
    folder = tmp_path / "study"
    runs = {seed: single_results(seed) for seed in (11, 12, 13, 14, 15)}
    for seed, results in runs.items():
        write_single(folder / f"seed-{seed}", results)
    write_json(folder / "results.json", study_results(runs))
    return folder
