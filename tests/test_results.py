"""Results: what is written is what is read, and what does not fit is refused with its place."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import normal_sample_size_one_tail

from redpencil.errors import RedpencilError
from redpencil.results import (
    AblationResults,
    Efficiency,
    Estimate,
    Figure,
    Heatmap,
    Measure,
    RunResults,
    SeedMean,
    StudyResults,
    parse_results,
    read_results,
    recipe_digest,
    write_results,
)


def speed(arm: str) -> dict[str, Any]:
    steps = {"token_step": 4, "sequence_step": 8, "ratio": 0.5, "token_seconds": 1.25, "sequence_seconds": 2.0}
    return {"arm": arm, **steps}


def content(**changes: Any) -> dict[str, Any]:
    """`results.json` of one seed."""
    rate = {"value": 51.2, "standard_error": 1.8, "n": 600}
    counts = {"wins": 300, "losses": 280, "draws": 20, "mean_length": 24.1, "unparsed": 0}
    return {
        "format": 2,
        "name": "mine",
        "seed": 3,
        "win_rate": {"token": rate | counts},
        "win_rate_difference": {"token-edits": rate},
        "reward_accuracy": {"token_edits": {"edits": rate}},
        "efficiency": speed("edits"),
        "efficiency_preference": speed("preference"),
        "localisation": {"token_edits": {"auroc": None}},
        "within": {
            "token_edits": {
                "edited": {
                    "value": 0.6, "low": 0.5, "high": 0.7, "later": None, "later_low": None, "later_high": None,
                    "responses": 9,
                }
            }
        },
        "flaws": None,
        "recipe_sha256": "0f",
        "edits_needed": {
            "format": 2,
            "editors": ["world"],
            "policies": {
                "sft": {
                    "accepted": {"value": 25.0, "low": 20.0, "high": 31.0},
                    "edits": {"value": 6.0, "low": None, "high": None},
                    "words": None, "answers": 9, "prompts": 8, "empty": 1, "cut_off": 2, "unedited": 3,
                }
            },
            "differences": {
                "token-sft": {
                    "accepted": {"value": -5.0, "low": -9.0, "high": 1.0}, "edits": None, "words": None, "prompts": 8
                }
            },
        },
        "gleu": {
            "format": 2,
            "n": 8,
            "policies": {"sft": {"value": 38.2, "low": 37.0, "high": 39.1}},
            "differences": {"token-sft": {"value": 1.5, "low": 0.2, "high": 2.7}},
        },
        "split": {
            "by": "folds", "test_share": None, "folds": 5, "fold": 3, "own": [], "test": {"edits": 9},
            "shared": {"edits": 0},
        },
        "methods": {
            "token": {
                "method": "ppo", "label": "PPO", "stage": "ppo-token", "pairs": "edits", "train_pairs": 400,
                "reward_seconds": 3.5, "training_seconds": 9.0, "sampled_in_training": 1920,
                "responses_per_prompt": 1, "answer_seconds": 2.0, "step": 36, "validation_win_rate": 61.5,
                "validation_gleu": None, "kl": 3.4,
                "kl_bound": None, "start": "figa", "on": None,
            }
        },
        "warnings": ["one row skipped"],
        "stages": {"sft": {"seconds": 54.1}},
        "diagnostics": [
            {
                "name": "kl", "where": "ppo-token", "message": "m", "value": 2.0, "threshold": 1.0, "step": 5,
                "advice": "a",
            }
        ],
        **changes,
    }  # fmt: skip


def study(**changes: Any) -> dict[str, Any]:
    """`results.json` of two seeds."""
    mean = {"value": 50.0, "low": 48.0, "high": 52.0, "per_seed": [49.0, 51.0]}
    ratios = {"ratio_median": None, "ratios": [0.5, None], "token_steps": [4, None], "sequence_steps": [8, 8]}
    pooled = {
        "value": 70.0, "low": 60.0, "high": None, "n": 40, "prompts": 20, "repetitions": [69.0, 71.0], "spread": 1.4
    }  # fmt: skip
    return {
        "format": 2,
        "name": "mine",
        "seeds": [3, 4],
        "recipe_sha256": "0f",
        "summary": {
            "win_rate": {"token": mean},
            "win_rate_difference": {"token-edits": mean},
            "mean_length": {"token": mean},
            "edits_needed": {"token": {"accepted": mean, "edits": mean, "words": None}},
            "edits_needed_difference": {"token-sft": {"accepted": mean, "edits": mean, "words": mean}},
            "gleu": {"token": mean},
            "gleu_difference": {"token-sft": None},
            "reward_accuracy": {"token_edits": {"edits": mean}},
            "localisation": {"token_edits": {"auroc": None}},
            "within": {"token_edits": {"edited": mean}},
            "pooled": {
                "folds": 5,
                "repetitions": 2,
                "accuracy": {"token_edits": {"edits": pooled}},
                "within": {"token_edits": {"edited": pooled}},
            },
            "efficiency": {"arm": "edits", **ratios},
            "efficiency_preference": {"arm": "preference", **ratios},
        },
        "runs": {"3": content(), "4": content(seed=4)},
        **changes,
    }


@pytest.mark.parametrize("written", [content(), content(efficiency=None), study()])
def test_a_file_is_read_and_written_again_as_it_was(written: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(written))
    results = read_results(file)
    assert isinstance(results, StudyResults if "seeds" in written else RunResults)
    write_results(file, results)
    assert json.loads(file.read_text()) == written


@given(st.floats(0, 100), st.floats(0, 1e3))
def test_numbers_are_kept_to_the_last_bit(value: float, error: float) -> None:
    rates = {"a-b": {"value": value, "standard_error": error, "n": 7}}
    results = parse_results(content(win_rate_difference=rates), RunResults, Path("x"))
    assert json.loads(json.dumps(results.model_dump()))["win_rate_difference"] == rates


def test_efficiencies_are_named_by_their_arm() -> None:
    results = parse_results(content(), RunResults, Path("x"))
    assert list(results.efficiencies) == ["edits", "preference"]
    assert isinstance(results.efficiencies["preference"], Efficiency)
    assert parse_results(content(efficiency=None), RunResults, Path("x")).efficiencies.keys() == {"preference"}


@pytest.mark.parametrize(
    ("written", "field", "problem"),
    [
        (content(win_rate=[]), "win_rate", "valid dictionary, found list"),
        (content(win_rate={"token": {}}), "win_rate.token.value", "field required"),
        (content(flaws={"sft": {"wrong": "many"}}), "flaws.sft.wrong", "valid number"),
        (content(alarms=[]), "alarms", "valid dictionary"),
        (content(stages={"sft": {"seconds": 1, "minutes": 2}}), "stages.sft.minutes", "not permitted"),
        (study(runs={}), "runs", "at least 1 item"),
        (study(seeds=[None]), "seeds.0", "valid integer"),
        (study(seeds=[3]), None, "`runs` has the seeds [3, 4], `seeds` says [3]"),
        (study(seeds=[3, 5]), None, "`runs` has the seeds [3, 4], `seeds` says [3, 5]"),
        (study(runs={"3": content()}), None, "`runs` has the seeds [3], `seeds` says [3, 4]"),
        (study(runs={"3": content(), "4": content()}), None, "runs.4 is of the seed 3 and format 2"),
        (study(runs={"3": content(), "4": content(seed=4, format=1)}), None, "runs.4 is of the seed 4 and format 1"),
        (study(runs={"3": content(warnings=5)}), "runs.3.warnings", "valid tuple"),
    ],
)
def test_what_does_not_fit_names_file_and_field(
    written: dict[str, Any], field: str | None, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(written))
    with pytest.raises(RedpencilError, match=re.escape(problem)) as caught:
        read_results(file)
    assert (caught.value.file, caught.value.field) == (str(file), field)
    assert "run the recipe again" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("version", "writer"), [(None, "redpencil 0.1"), (1, "another version"), (3, "another version")]
)
def test_files_of_another_version_are_refused(version: int | None, writer: str, tmp_path: Path) -> None:
    written = content()
    del written["format"]
    file = tmp_path / "results.json"
    file.write_text(json.dumps(written if version is None else written | {"format": version}))
    with pytest.raises(RedpencilError, match="another format") as caught:
        read_results(file)
    assert (caught.value.file, caught.value.field) == (str(file), "format")
    assert f"written by {writer}" in str(caught.value.hint)
    assert "another --out" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["[]", "{", "", "3"])
def test_what_is_not_an_object_names_its_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(RedpencilError) as caught:
        read_results(tmp_path / "results.json")
    assert caught.value.file == str(tmp_path / "results.json")


def test_a_heat_map_has_as_many_rewards_as_tokens() -> None:
    row = {"model": "m", "label": "good", "prompt": "p", "tokens": ["a", "b"], "rewards": [1.0], "flaws": [None, None]}
    with pytest.raises(ValueError, match="must be as many"):
        Heatmap.model_validate(row)


def test_an_interval_is_two_standard_errors_by_hand() -> None:
    # 51.6 -+ 1.959964 * 1.76 = 51.6 -+ 3.4495
    interval = Estimate(value=51.6, standard_error=1.76, n=805).interval
    assert interval == (pytest.approx(48.1505, abs=1e-3), pytest.approx(55.0495, abs=1e-3))


@given(
    value=st.floats(0.1, 50).flatmap(lambda size: st.sampled_from([size, -size])),
    error=st.floats(0.1, 20),
    n=st.integers(2, 2000),
)
def test_the_number_of_prompts_needed_is_that_of_statsmodels(value: float, error: float, n: int) -> None:
    figure = Estimate(value=value, standard_error=error, n=n)
    deviation = error * math.sqrt(n)
    expected = normal_sample_size_one_tail(abs(value), power=0.8, alpha=0.025, std_null=deviation)
    assert figure.repeats_needed == pytest.approx(math.ceil(expected), abs=1)


def test_the_number_of_seeds_needed_by_hand() -> None:
    # sd of 1, 3, 5 is 2, their mean 3: (2.8016 * 2 / 3)^2 = 3.49
    assert SeedMean(value=3, low=-2, high=8, per_seed=(1, 3, 5)).repeats_needed == 4
    assert SeedMean(value=0, low=-1, high=1, per_seed=(-1, 0, 1)).repeats_needed is None
    assert SeedMean(value=3, per_seed=(3,)).repeats_needed is None
    assert Estimate(value=3, standard_error=None, n=5).repeats_needed is None
    assert Figure(value=3).repeats_needed is None


def test_a_number_that_is_not_finite_is_not_known() -> None:
    assert Estimate(value=1.0, standard_error=math.nan).interval is None
    assert SeedMean(value=1.0, low=math.nan, high=math.nan).interval is None
    assert Measure(value=1.0, low=0.0, high=2.0, standard_error=math.inf).standard_error is None
    with pytest.raises(ValueError, match="finite"):
        Figure(value=math.nan)


def test_zero_counts_as_covered_where_nothing_excludes_it() -> None:
    assert Figure(value=2.0).covers_zero
    assert not Figure(value=2.0).above_zero
    assert SeedMean(value=2.0, low=0.0, high=4.0).covers_zero
    assert not SeedMean(value=2.0, low=0.0, high=4.0).above_zero
    assert SeedMean(value=2.0, low=0.1, high=4.0).above_zero
    assert not SeedMean(value=-2.0, low=-4.0, high=-0.1).covers_zero


def test_the_other_way_round_ends_change_places() -> None:
    turned = -SeedMean(value=2.0, low=-1.0, high=5.0, per_seed=(1.0, 3.0))
    assert (turned.value, turned.interval, turned.per_seed) == (-2.0, (-5.0, 1.0), (-1.0, -3.0))
    assert (-Estimate(value=3.0, standard_error=1.0)).interval == pytest.approx((-4.96, -1.04), abs=0.01)


def test_ablations_are_read_as_they_were_written(tmp_path: Path) -> None:
    measure = {"value": 50.0, "low": None, "high": None, "per_seed": [50.0], "standard_error": None}
    variant = {
        "keys": {"reward.loss": "eq3"}, "folder": "g/v", "same_as": None, "compared_with": None,
        "measures": {"win_rate": measure}, "differences": {}, "diagnostics": {"kl": [41]},
    }  # fmt: skip
    written = {
        "format": 2, "name": "mine", "recipe_sha256": "1f", "arm": "token", "seeds": [41],
        "sft": measure, "groups": {"g": {"v": variant}}, "environment": {"cpus": 2},
    }  # fmt: skip
    write_results(tmp_path / "a.json", parse_results(written, AblationResults, tmp_path))
    assert json.loads((tmp_path / "a.json").read_text()) == written


def test_how_a_recipe_is_run_does_not_change_its_digest() -> None:
    keys = {"name": "mine", "seeds": [1], "compute": {"jobs": 1}, "editor": {"project": "edits.db", "wait": False}}
    run = {**keys, "seeds": [2], "compute": {"jobs": 2}, "editor": {"project": "edits.db", "wait": True}}
    assert recipe_digest(run) == recipe_digest(keys)
    assert recipe_digest({**keys, "editor": {"project": "others.db", "wait": False}}) != recipe_digest(keys)
    assert recipe_digest({**keys, "editor": None}) != recipe_digest(keys)
