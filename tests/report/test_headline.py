"""The headline says what the numbers say, in both directions."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from redpencil.report.headline import Headline, absences, headline, limits
from redpencil.report.run_data import read_run
from redpencil.results import Pooled, PooledResults

Write = Callable[[dict[str, Any]], Path]


def set_rates(results: dict[str, Any], token: float, edits: float, preference: float, error: float) -> dict[str, Any]:
    rates = {"token": token, "edits": edits, "preference": preference}
    for arm, rate in rates.items():
        results["win_rate"][arm]["value"] = rate
    results["win_rate_difference"] = {
        f"{a}-{b}": {"value": rates[a] - rates[b], "standard_error": error, "n": 600}
        for a, b in [("token", "edits"), ("token", "preference"), ("edits", "preference")]
    }
    return results


def said(headline: Headline, topic: str) -> str:
    return next((point.text for point in headline.points if point.topic == topic), "")


def test_order_holds_and_every_gap_is_clear(write_run: Write, results: dict[str, Any]) -> None:
    found = headline(read_run(write_run(set_rates(results, 58.0, 52.0, 46.0, 1.0))))
    assert found.verdict == "holds"
    assert found.lead == (
        "The paper's order of win rates comes out, and every gap is clear of chance over prompts: "
        "token 58.0 %, edits 52.0 %, preference 46.0 %."
    )
    # 6 -+ 1.96 = 4.0 to 8.0
    assert "Token over edits +6.0 (+4.0 to +8.0)" in said(found, "Gaps in points")
    assert "covers 0" not in said(found, "Gaps in points")


def test_order_holds_within_chance(write_run: Write, results: dict[str, Any]) -> None:
    found = headline(read_run(write_run(set_rates(results, 51.6, 51.2, 46.5, 1.0))))
    assert found.verdict == "uncertain"
    assert "not every gap is clear of chance" in found.lead
    # .4 -+ 1.96 = -1.6 to 2.4
    assert "Token over edits +0.4 (\N{MINUS SIGN}1.6 to +2.4, which covers 0)" in said(found, "Gaps in points")


def test_win_rates_come_with_their_number_and_interval(write_run: Write, results: dict[str, Any]) -> None:
    results["win_rate"]["token"] |= {"value": 58.0, "standard_error": 2.0, "n": 600}
    text = said(headline(read_run(write_run(results))), "Win rates over the reference")
    assert text.startswith("600 prompts: token 58.0 % (54.1 to 61.9), edits ")  # 1.96 * 2 = 3.9
    assert "no verdict" not in text


def test_comparisons_without_a_verdict_are_counted_apart(write_run: Write, results: dict[str, Any]) -> None:
    results["win_rate"]["token"] |= {"n": 588, "unparsed": 12}
    text = said(headline(read_run(write_run(results))), "Win rates over the reference")
    assert text.startswith("588 to 600 prompts: token")
    assert text.endswith(" 12 comparisons have no verdict and count nowhere.")


def test_a_gap_within_chance_says_how_many_prompts_would_show_it(write_run: Write, results: dict[str, Any]) -> None:
    found = headline(read_run(write_run(set_rates(results, 52.0, 51.0, 46.0, 1.0))))
    # sd = sqrt(600) = 24.49 points; (2.8016 * 24.49 / 1)^2 = 4709.3
    assert said(found, "Too few to tell").startswith(
        "token and edits (+1.0) would need about 4,700 prompts in place of 600. These differences are within chance"
    )


def test_clear_gaps_are_not_too_few(write_run: Write, results: dict[str, Any]) -> None:
    found = headline(read_run(write_run(set_rates(results, 58.0, 52.0, 46.0, 1.0))))
    assert said(found, "Too few to tell") == ""


def test_no_number_of_prompts_is_named_for_no_difference(write_run: Write, results: dict[str, Any]) -> None:
    found = headline(read_run(write_run(set_rates(results, 51.0, 51.0, 40.0, 1.0))))
    assert said(found, "Too few to tell").startswith("token and edits (0.0). These")


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        # sd = 50 points; (2.8016 * 50 / 2)^2 = 4905.6
        (52.0, "token and the reference (+2.0) would need about 4,900 prompts in place of 625."),
        (48.0, "token and the reference (\N{MINUS SIGN}2.0) would need about 4,900 prompts in place of 625."),
        (55.0, ""),
    ],
)
def test_a_single_arm_is_weighed_against_the_reference(
    write_run: Write, results: dict[str, Any], rate: float, words: str
) -> None:
    results["win_rate"] = {"token": {**results["win_rate"]["token"], "value": rate, "standard_error": 2.0, "n": 625}}
    results["win_rate_difference"] = {}
    text = said(headline(read_run(write_run(results))), "Too few to tell")
    assert text.startswith(words)
    assert bool(text) == bool(words)


@pytest.mark.parametrize("rates", [(49.0, 51.0, 46.0), (51.0, 45.0, 46.0), (51.0, 51.0, 46.0), (40.0, 45.0, 50.0)])
def test_order_does_not_hold(write_run: Write, results: dict[str, Any], rates: tuple[float, float, float]) -> None:
    found = headline(read_run(write_run(set_rates(results, *rates, 0.1))))
    assert found.verdict == "broken"
    assert "does not come out" in found.lead
    best = max(zip(rates, ("token", "edits", "preference"), strict=True), key=lambda pair: pair[0])
    assert f"Here it is {best[1]} {best[0]:.1f} %" in found.lead


def test_a_gap_without_an_interval_is_not_clear_of_chance(write_run: Write, results: dict[str, Any]) -> None:
    results = set_rates(results, 58.0, 52.0, 46.0, 1.0)
    del results["win_rate_difference"]["token-edits"]["standard_error"]
    assert headline(read_run(write_run(results))).verdict == "uncertain"


def test_an_absent_arm_leaves_the_order_open(write_run: Write, results: dict[str, Any]) -> None:
    del results["win_rate"]["edits"]
    found = headline(read_run(write_run(results)))
    assert found.verdict == "unknown"
    assert "cannot be judged without: edits" in found.lead


def test_reward_accuracy_in_both_directions(write_run: Write, results: dict[str, Any]) -> None:
    text = said(headline(read_run(write_run(results))), "Reward models")
    assert text.startswith("As in the paper")
    assert "88.1 % against 62.2 % (the paper: 85.2 against 58.2)" in text
    assert "A sequence model of edits: 80.0 %. On these edits the model of preferences reaches 66.2 %." in text


def test_reward_accuracy_the_other_way_round(write_run: Write, results: dict[str, Any]) -> None:
    results["reward_accuracy"]["token_edits"]["edits"]["value"] = 60.0
    text = said(headline(read_run(write_run(results))), "Reward models")
    assert text.startswith("Unlike in the paper")
    assert "no better" in text


@pytest.mark.parametrize(
    ("token_step", "ratio", "words"),
    [
        (10, 0.5, "sooner than that one, in 0.50 of its steps (step 10 against 20)"),
        (20, 1.0, "no sooner than that one, in 1.00 of its steps"),
        (30, 1.5, "later than that one, in 1.50 of its steps (step 30 against 20)"),
        (None, None, "never reaches the best win rate of the edits policy, which that one has at step 20"),
    ],
)
def test_speed(
    write_run: Write, results: dict[str, Any], token_step: int | None, ratio: float | None, words: str
) -> None:
    results["efficiency"] |= {"token_step": token_step, "sequence_step": 20, "ratio": ratio}
    assert words in said(headline(read_run(write_run(results))), "Speed")


def test_flaws_that_do_not_fall_and_length_that_grows(write_run: Write, results: dict[str, Any]) -> None:
    results["flaws"] = {"sft": {"wrong": 10.0}, "token": {"wrong": 12.5}}
    results["win_rate"]["token"]["mean_length"] = 40.2
    found = headline(read_run(write_run(results)))
    assert "do not fall" in said(found, "Flaws")
    assert "from 10.0 in 100 responses to 12.5" in said(found, "Flaws")
    assert "token 40.2 on average, against 24.8" in said(found, "Length")


def test_a_kind_of_flaw_that_rises_while_the_sum_falls_is_named(write_run: Write, results: dict[str, Any]) -> None:
    results["flaws"] = {"sft": {"wrong": 10.0, "rude": 30.0}, "token": {"wrong": 12.5, "rude": 1.0}}
    assert "But these rise: wrong (10.0 to 12.5)." in said(headline(read_run(write_run(results))), "Flaws")


def test_length_is_not_mentioned_where_it_did_not_grow(run_folder: Path) -> None:
    assert said(headline(read_run(run_folder)), "Length") == ""


def test_several_seeds(study_folder: Path) -> None:
    found = headline(read_run(study_folder))
    assert found.verdict == "holds"
    assert "over prompts" not in found.lead
    assert "Medians over seeds." in said(found, "Speed")
    assert said(found, "Win rates over the reference").startswith("Means over 5 seeds of 600 prompts each: token ")


def write_rates(folder: Path, rates: list[float]) -> None:
    rows = [{"step": 10 * index, "seconds": index, "eval/win_rate": rate} for index, rate in enumerate(rates)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_an_arm_that_never_beat_its_start_is_named(run_folder: Path) -> None:
    write_rates(run_folder / "ppo-edits", [33.0, 32.0, 33.0])
    write_rates(run_folder / "ppo-preference", [33.0, 32.0, 33.5])
    found = [text for text in limits(read_run(run_folder)) if "never beat" in text]
    assert found == [
        "The edits policy never beat its own start on the validation prompts: a speed against it means little."
    ]


def test_the_seeds_in_which_it_did_not_are_named(study_folder: Path) -> None:
    for seed in (12, 14):
        write_rates(study_folder / f"seed-{seed}" / "ppo-preference", [33.0, 32.0])
    found = [text for text in limits(read_run(study_folder)) if "never beat" in text]
    assert found == [
        "The preference policy never beat its own start on the validation prompts in seeds 12, 14: "
        "a speed against it means little."
    ]


def test_the_world_is_named_only_where_there_is_one(run_folder: Path) -> None:
    assert any("small world" in text for text in limits(read_run(run_folder)))
    (run_folder / "world").rmdir()
    assert not any("small world" in text for text in limits(read_run(run_folder)))


def test_warnings_of_the_run_come_last(run_folder: Path) -> None:
    assert limits(read_run(run_folder))[-1] == "edits: 12 rows skipped, their text did not change"


def test_reward_models_alone_are_summed_up(write_run: Write, results: dict[str, Any]) -> None:
    results |= {"win_rate": {}, "win_rate_difference": {}, "methods": {}, "flaws": None}
    for key in [key for key in results if key.startswith("efficiency")]:
        del results[key]
    run = read_run(write_run(results))
    best = max(
        (name for name in run.accuracy if name != "shorter_wins"), key=lambda name: run.accuracy[name]["edits"].value
    )
    share, rule = run.accuracy[best]["edits"], run.accuracy["shorter_wins"]["edits"]
    lead = headline(run).lead
    assert f"ranks {share.value:.1f} % of edits right" in lead
    assert f"a rule that reads nothing {rule.value:.1f} %" in lead
    assert not any("Table 1" in text or "paired" in text for text in absences(run))


def test_what_all_folds_say_against_token_rewards(write_run: Write, results: dict[str, Any]) -> None:
    def area(value: float, low: float, high: float) -> Pooled:
        return Pooled(value=value, low=low, high=high, n=90, prompts=30, repetitions=(value,), spread=None)

    place = area(0.68, 0.65, 0.71)
    within = {
        "eq4": {"edited": area(0.39, 0.37, 0.41), "edited_later": place},
        "blame": {"edited": area(0.75, 0.73, 0.77), "edited_later": place},
        "eq3": {
            **{"edited": area(0.3, 0.2, 0.6), "edited_later": area(0.32, 0.3, 0.34)},
            **{"Redundant": area(0.6, 0.5, 0.7), "Redundant_later": place},
        },
    }
    run = read_run(write_run(results))
    pooled = PooledResults(folds=5, repetitions=1, accuracy={}, within=within)
    told = [text for text in limits(replace(run, pooled=pooled)) if "over all folds" in text]
    assert told == [
        "eq4 points the wrong way over all folds: the tokens that were edited away get higher rewards, "
        "AUROC 0.390 (0.370 to 0.410).",
        "eq3 finds the tokens that were edited away no better than their place does over all folds: "
        "AUROC 0.300 (0.200 to 0.600), by place 0.680.",
    ]
