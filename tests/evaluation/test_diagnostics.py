"""Alarms: each goes off at the step where its number passes its threshold, and a sound run raises none."""

import math
import random
from typing import Any

import pytest

from redpencil.config.recipe import AlarmsConfig
from redpencil.evaluation.diagnostics import ADVICE, Alarm, result_alarms, training_alarms

CONFIG = AlarmsConfig()


def rows(steps: int = 12, **columns: list[float]) -> list[dict[str, Any]]:
    """Metrics of a sound run with some columns replaced; looks at the validation prompts at every other step."""
    made: list[dict[str, Any]] = [{"step": 0, "eval/length": 25.0, "eval/win_rate": 36.0}]
    for step in range(1, steps + 1):
        row: dict[str, Any] = {
            "step": step, "reward": 0.1 * step, "reward_std": 1.0, "kl": 4.0, "length": 25.0, "entropy": 0.5,
            "value_loss": 0.4,
        }  # fmt: skip
        if step % 2 == 0:
            row |= {"eval/length": 26.0, "eval/win_rate": 36.0 + step}
        made.append(row)
    for name, values in columns.items():
        having = [row for row in made if name.replace("eval_", "eval/") in row]
        for row, value in zip(having, values, strict=True):
            row[name.replace("eval_", "eval/")] = value
    return made


def only(found: list[Alarm]) -> tuple[str, int | None]:
    (alarm,) = found
    assert alarm.where == "ppo-token"
    assert alarm.advice == ADVICE[alarm.name]
    return alarm.name, alarm.step


def test_a_sound_run_raises_none() -> None:
    assert training_alarms(rows(), CONFIG, "ppo-token") == []
    assert training_alarms([], CONFIG, "ppo-token") == []


def test_kl_is_a_mean_of_three_steps_for_each_token() -> None:
    # .35 nats a token at 25 tokens is 8.75 nats a response. Steps 8, 9, 10 have 8, 8, 11: mean 9, .36 a token.
    kl = [4.0] * 7 + [8.0, 8.0, 11.0, 4.0, 4.0]
    found = training_alarms(rows(kl=kl), CONFIG, "ppo-token")
    assert only(found) == ("kl", 10)
    assert found[0].value == pytest.approx(0.36)
    assert training_alarms(rows(kl=[4.0] * 7 + [8.0, 8.0, 10.0, 4.0, 4.0]), CONFIG, "ppo-token") == []


def test_length_may_neither_grow_nor_shrink() -> None:
    assert only(training_alarms(rows(eval_length=[25.0, 26, 30, 34.9, 35.1, 36, 30]), CONFIG, "ppo-token")) == (
        "length", 8
    )  # fmt: skip
    assert only(training_alarms(rows(eval_length=[25.0, 20, 17.8, 26, 26, 26, 26]), CONFIG, "ppo-token")) == (
        "length", 4
    )  # fmt: skip


def test_rewards_that_no_longer_spread() -> None:
    spread = [1.0, 1.0, 1.0, 0.9, 0.5, 0.2, 0.2, 0.19, 0.19, 0.19, 0.19, 0.19]
    flat = training_alarms(rows(reward_std=[0.0] * 12), CONFIG, "ppo-token")
    assert only(flat) == ("reward_saturation", 3)
    assert "from the start" in flat[0].message
    # Means of three from step 8 on: .1967 is the first under .2.
    assert only(training_alarms(rows(reward_std=spread), CONFIG, "ppo-token")) == ("reward_saturation", 8)


def test_the_value_loss_explodes_against_its_median_so_far() -> None:
    # Median .4; the mean of .4, .4, 11.3 is 4.03, ten times as much; .4, .4, 11.1 gives 3.97.
    assert only(training_alarms(rows(value_loss=[0.4] * 8 + [11.3] + [0.4] * 3), CONFIG, "ppo-token")) == (
        "value_loss", 9
    )  # fmt: skip
    assert training_alarms(rows(value_loss=[0.4] * 8 + [11.1] + [0.4] * 3), CONFIG, "ppo-token") == []
    # One earlier peak, 3 (not yet an explosion), does not make a later one usual: the median is still .4.
    peaked = [0.4] * 5 + [3.0] + [0.4] * 4 + [11.3, 0.4]
    assert only(training_alarms(rows(value_loss=peaked), CONFIG, "ppo-token")) == ("value_loss", 11)
    found = training_alarms(rows(value_loss=[9.0, 5.0, 2.0] + [0.4] * 6 + [11.3, 0.4, 0.4]), CONFIG, "ppo-token")
    assert only(found) == ("value_loss", 10)
    # Before it knows its level it is high, and nobody is alarmed.
    assert training_alarms(rows(value_loss=[9.0, 5.0, 2.0] + [0.4] * 9), CONFIG, "ppo-token") == []


def test_the_entropy_collapses() -> None:
    entropy = [0.5] * 6 + [0.16, 0.15, 0.14, 0.14, 0.14, 0.14]
    # Under .15, which is .3 of .5: steps 8 to 10 have .15, .14, .14.
    assert only(training_alarms(rows(entropy=entropy), CONFIG, "ppo-token")) == ("entropy", 10)


def test_reward_up_while_the_judge_says_down() -> None:
    # Best look at step 4; at steps 8 and 10 it is 6 points under it while the reward went on to rise; 5 are allowed.
    rates = [36.0, 40, 50, 49, 44, 44, 44]
    assert only(training_alarms(rows(eval_win_rate=rates), CONFIG, "ppo-token")) == ("overoptimisation", 10)
    assert training_alarms(rows(eval_win_rate=[36.0, 40, 50, 49, 45, 45, 45]), CONFIG, "ppo-token") == []
    assert training_alarms(rows(eval_win_rate=[36.0, 40, 50, 44, 50, 44, 50]), CONFIG, "ppo-token") == []
    falling = [0.1 * (12 - step) for step in range(12)]
    assert training_alarms(rows(eval_win_rate=rates, reward=falling), CONFIG, "ppo-token") == []


def test_a_policy_that_only_got_worse_is_over_optimised_from_the_start() -> None:
    # Nothing is paid before step 1: the first three steps stand for it, mean .2; at the fourth look it is .7.
    found = training_alarms(rows(eval_win_rate=[60.0, 50, 40, 30, 30, 30, 30]), CONFIG, "ppo-token")
    assert only(found) == ("overoptimisation", 6)
    assert "rose from 0.20 to 0.50" in found[0].message


def test_noise_of_the_looks_raises_little() -> None:
    # Two standard errors of a difference: 3 * sqrt(2) * 2 = 8.5 points, so a fall by 8 may be chance.
    noisy = [row | {"eval/win_rate_standard_error": 3.0} for row in rows(eval_win_rate=[36.0, 50, 42, 42, 42, 42, 42])]
    assert training_alarms(noisy, CONFIG, "ppo-token") == []
    rng = random.Random(0)
    alarmed = 0
    for _ in range(300):
        wins = [[float(rng.random() < 0.5) for _ in range(200)] for _ in range(11)]
        flat: list[dict[str, Any]] = [
            {"step": step, "reward": step, "eval/win_rate": sum(of) / 2, "eval/win_rate_standard_error": 3.54}
            for step, of in enumerate(wins)
        ]
        alarmed += any(alarm.name == "overoptimisation" for alarm in training_alarms(flat, CONFIG, "ppo-token"))
    assert alarmed < 50, "a policy that stays as it is, on prompts that are all a toss-up"


@pytest.mark.parametrize(
    ("column", "name"), [("kl", "kl"), ("value_loss", "value_loss"), ("reward_std", "reward_saturation")]
)
def test_what_ceases_to_be_a_number_raises_the_alarm(column: str, name: str) -> None:
    values = [4.0 if column == "kl" else 1.0] * 10 + [math.nan, math.nan]
    found = training_alarms(rows(**{column: values}), CONFIG, "ppo-token")
    assert (found[0].name, found[0].step) == (name, 11)


def test_numbers_without_a_bound_stop_nothing() -> None:
    rows_ = rows(kl=[math.inf, -math.inf, 1.0] + [4.0] * 9, value_loss=[1e308] * 12)
    assert ("kl", 3) in [(alarm.name, alarm.step) for alarm in training_alarms(rows_, CONFIG, "ppo-token")]


def test_missing_measures_raise_nothing() -> None:
    bare = [{"step": step, "kl": 99.0} for step in range(5)]
    assert training_alarms(bare, CONFIG, "ppo-token") == []
    assert training_alarms(rows(2, kl=[99.0, 99.0]), CONFIG, "ppo-token") == []  # fewer than three steps


def test_alarms_come_in_the_order_in_which_they_go_off_and_once_each() -> None:
    found = training_alarms(rows(kl=[99.0] * 12, entropy=[0.5] * 6 + [0.0] * 6), CONFIG, "ppo-token")
    assert [(alarm.name, alarm.step) for alarm in found] == [("kl", 3), ("entropy", 9)]


def test_every_threshold_is_a_recipe_key() -> None:
    loud = training_alarms(rows(), AlarmsConfig(kl=0.1), "ppo-token")
    assert [alarm.name for alarm in loud] == ["kl"]
    # The last three compare with chance and with rules that read nothing, which no recipe sets.
    compared = {"points_wrong", "place", "trivial_rule"}
    assert set(AlarmsConfig.model_fields) >= set(ADVICE) - {"win_rate", "length", "reward_saturation"} - compared


def test_rewards_at_the_wrong_tokens() -> None:
    def row(value: float, low: float, high: float, later: float | None) -> dict[str, float | None]:
        return {"value": value, "low": low, "high": high, "later": later}

    within = {
        "wrong": {"edited": row(0.39, 0.37, 0.41, 0.68), "error_spans": row(0.45, 0.4, 0.5, 0.68)},
        "placed": {"edited": row(0.67, 0.65, 0.69, 0.68), "Redundant": row(0.7, 0.6, 0.8, 0.9)},
        "early": {"edited": row(0.67, 0.65, 0.69, 0.32)},
        "right": {"edited": row(0.75, 0.73, 0.77, 0.68), "Redundant": row(0.4, 0.3, 0.49, 0.9)},
        "unknown": {"edited": {"value": 0.1, "low": None, "high": None, "later": 0.5}},
        "alone": {"edited": row(0.6, 0.55, 0.65, None)},
    }
    found = result_alarms({"within": within}, {}, CONFIG)
    assert [(alarm.name, alarm.where, round(alarm.threshold, 9)) for alarm in found] == [
        ("points_wrong", "reward-wrong", 0.5),
        ("place", "reward-wrong on error_spans", 0.68),
        ("place", "reward-placed", 0.68),
        ("place", "reward-early", 0.68),
        ("points_wrong", "reward-right on Redundant", 0.5),
    ]
    assert (
        "edited away get higher rewards than the others of a response: AUROC 0.390 (0.370 to 0.410)" in found[0].message
    )
    assert "errors of the type Redundant" in found[-1].message
    assert all(alarm.advice for alarm in found)


def test_an_accuracy_that_a_rule_reaches() -> None:
    def accuracies(value: float, error: float | None) -> dict[str, Any]:
        rules = {"shorter_wins": 65.0, "white_space_wins_then_shorter": 76.0}
        shares = {rule: {"edits": {"value": share, "standard_error": 3.0}} for rule, share in rules.items()}
        return {"reward_accuracy": {"m": {"edits": {"value": value, "standard_error": error}}, **shares}}

    (alarm,) = result_alarms(accuracies(80.0, 3.0), {"m": "edits"}, CONFIG)
    assert (alarm.name, alarm.where, alarm.threshold) == ("trivial_rule", "reward-m", 76)
    assert "stray white space wins, else the shorter text (76.0 %)" in alarm.message
    assert "80.0 % of the held-out edits right (95 % 74.1 to 85.9)" in alarm.message
    # 1.96 standard errors below 82 are 76.1.
    assert result_alarms(accuracies(82.0, 3.0), {"m": "edits"}, CONFIG) == []
    assert result_alarms(accuracies(80.0, None), {"m": "edits"}, CONFIG) == []
    assert result_alarms(accuracies(80.0, 3.0), {"m": "comparisons"}, CONFIG) == []


def test_weak_reward_models_and_policies_that_do_not_gain() -> None:
    results = {
        "win_rate": {"sft": {"value": 34.0}, "token": {"value": 57.0}, "edits": {"value": 34.0}},
        "reward_accuracy": {
            "a": {"edits": {"value": 93.0}, "comparisons": {"value": 55.0}},
            "b": {"edits": {"value": 95.0}, "comparisons": {"value": 69.9}},
            "shorter_wins": {"edits": {"value": 50.0}},
        },
    }
    found = result_alarms(results, {"a": "edits", "b": "comparisons", "absent": "edits"}, CONFIG)
    assert [(alarm.name, alarm.where) for alarm in found] == [("reward_accuracy", "reward-b"), ("win_rate", "edits")]
    assert "69.9 % of the held-out preferences right, under 70 %" in found[0].message
    assert result_alarms(results, {"a": "edits"}, AlarmsConfig(win_rate_gain=-1)) == []
    noisy = {name: {"value": rate, "standard_error": 2.0} for name, rate in (("sft", 34.0), ("a", 39.5), ("b", 39.8))}
    # Two standard errors of a difference of two such rates are 2 * sqrt(8) = 5.66 points.
    (chance,) = result_alarms({"win_rate": noisy}, {}, CONFIG)
    assert (chance.where, "more than chance (5.7 points)" in chance.message) == ("a", True)
    stricter = result_alarms(results, {}, AlarmsConfig(win_rate_gain=30))
    assert [alarm.where for alarm in stricter] == ["token", "edits"]
    assert "by more than 30 points" in stricter[0].message
    assert result_alarms({}, {"a": "edits"}, CONFIG) == []
    assert result_alarms(results, {"b": "comparisons"}, AlarmsConfig(reward_accuracy=69.9, win_rate_gain=-1)) == []
