"""The table of methods, and a report in which not every arm learns from rewards."""

import json
import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from redpencil.report import paper, tables
from redpencil.report.headline import absences, headline
from redpencil.report.markdown import render_markdown
from redpencil.report.markup import DASH, MINUS, duration
from redpencil.report.run_data import read_run
from redpencil.report.run_page import render
from redpencil.report.tables import methods

BEST_OF_N: dict[str, Any] = {
    "method": "best_of_n", "label": "best of 16", "stage": None, "responses_per_prompt": 16, "kl": None, "step": None,
    "training_seconds": 0.0, "kl_bound": math.log(16) - 15 / 16, "sampled_in_training": 0, "answer_seconds": 31.0,
}  # fmt: skip


def offline(costs: dict[str, Any], method: str) -> dict[str, Any]:
    """Costs of a method that learns from pairs."""
    names = {"method": method, "label": method.upper(), "stage": f"{method}-{method}"}
    return costs | names | {"reward_seconds": 0.0, "sampled_in_training": 0}


@pytest.fixture
def mixed(results: dict[str, Any]) -> dict[str, Any]:
    """Results in which the second arm of the recipe is best-of-n and the last one DPO."""
    rates = results["win_rate"]
    results["win_rate"] = {
        "sft": rates["sft"], "token": rates["token"], "best": {**rates["edits"], "value": 55.5},
        "edits": rates["edits"], "preference": rates["preference"], "dpo": {**rates["edits"], "value": 48.0},
    }  # fmt: skip
    costs = results["methods"]
    results["methods"] = {
        "token": costs["token"], "best": costs["edits"] | BEST_OF_N, "edits": costs["edits"],
        "preference": costs["preference"], "dpo": offline(costs["edits"], "dpo"),
    }  # fmt: skip
    return results


def test_one_method_that_learns_from_rewards_needs_no_such_table(run_folder: Path) -> None:
    assert methods(read_run(run_folder)) is None


def test_two_such_methods_need_it(write_run: Callable[..., Path], results: dict[str, Any]) -> None:
    results["methods"]["edits"] |= {"method": "grpo", "label": "GRPO", "stage": "grpo-edits"}
    table = methods(read_run(write_run(results)))
    assert table is not None
    assert [row[0].small for row in table.rows] == ["PPO", "GRPO", "PPO"]


def test_each_method_tells_its_costs(write_run: Callable[..., Path], mixed: dict[str, Any]) -> None:
    table = methods(read_run(write_run(mixed)))
    assert table is not None
    rows = {row[0].text: row for row in table.rows}
    assert list(rows) == ["token", "edits", "preference", "best", "dpo"]
    assert len(table.header) == len(rows["dpo"])
    token, best, dpo = (rows[name] for name in ("token", "best", "dpo"))
    assert [cell.text for cell in token[2:]] == ["edits", "60.0 s", "40.0 s", "1,920", "2.0 s", "4.25"]
    assert (token[0].small, token[2].small, token[4].small) == ("PPO", "4,000 pairs", "kept: step 28")
    # Nothing is trained but the reward model, and every use pays for 16 responses. ln 16 - 15/16 = 1.835
    assert best[0].small == "best of 16"
    assert (best[3].text, best[4].kind, best[5].text) == ("60.0 s", "absent", "0")
    assert (best[6].text, best[6].small, best[7].text) == ("31.0 s", "16 a prompt", "\N{LESS-THAN OR EQUAL TO} 1.84")
    assert (dpo[0].small, dpo[1].text, dpo[3].kind) == ("DPO", "48.0", "absent")


def test_the_arm_whose_speed_is_measured_samples_as_it_trains(
    write_run: Callable[..., Path], mixed: dict[str, Any]
) -> None:
    run = read_run(write_run(mixed))
    assert run.first_arm == "token"
    assert set(run.speeds) == {"edits", "preference"}  # not best-of-n, which is second in the recipe


def test_one_page_compares_them_all(write_run: Callable[..., Path], mixed: dict[str, Any]) -> None:
    run = read_run(write_run(mixed))
    first = tables.win_rates(run)
    assert first is not None
    small = {row[0].text: row[0].small for row in first.rows}
    assert (small["best"], small["dpo"]) == ("best of 16", "DPO")
    assert "best of 16" in render(run)
    text = render_markdown(run)
    assert "## Methods" in text
    assert "| dpo (DPO) | 48.0 (" in text


def test_the_headline_says_where_ppo_stands_whichever_way_it_comes_out(
    write_run: Callable[..., Path], mixed: dict[str, Any]
) -> None:
    mixed["win_rate_difference"] |= {
        "token-best": {"value": -8.0, "standard_error": 1.0, "n": 600},
        "dpo-token": {"value": -5.0, "standard_error": 1.0, "n": 600},
        "token-figa": {"value": 1.0, "standard_error": 1.0, "n": 600},
    }
    mixed["methods"]["figa"] = offline(mixed["methods"]["dpo"], "figa")
    points = {point.topic: point.text for point in headline(read_run(write_run(mixed))).points}
    minus = "\N{MINUS SIGN}"
    assert points["Other methods"] == (
        "The token policy is ahead of dpo +5.0 (+3.0 to +7.0); "
        f"it is behind best {minus}8.0 ({minus}10.0 to {minus}6.0); "
        f"it does not clearly differ from figa +1.0 ({minus}1.0 to +3.0, which covers 0)."
    )


def test_curves_are_of_arms_that_sample_as_they_train(write_run: Callable[..., Path], mixed: dict[str, Any]) -> None:
    folder = write_run(mixed)
    (folder / "dpo-dpo").mkdir()
    (folder / "dpo-dpo" / "metrics.jsonl").write_text(json.dumps({"step": 1, "eval/win_rate": 50.0}) + "\n")
    assert set(read_run(folder).curves) == {"token", "edits", "preference"}


@pytest.mark.parametrize("of_several", [False, True])
def test_the_time_of_a_run_is_not_the_sum_of_stages_that_ran_at_the_same_time(
    of_several: bool, run_folder: Path, study_folder: Path
) -> None:
    folder = study_folder if of_several else run_folder
    without = tables.stages(read_run(folder))
    assert without is not None
    assert without.rows[-1][0].text == "sum of the stages"
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text()) if manifest.is_file() else {}
    manifest.write_text(json.dumps(content | {"wall_seconds": 3723.0}), encoding="utf-8")
    timed = tables.stages(read_run(folder))
    assert timed is not None
    assert timed.rows[:-1] == without.rows
    assert timed.rows[-1][0].text == ("the run, all seeds together" if of_several else "the run")
    assert timed.rows[-1][1].text == duration(3723)
    speed = tables.efficiency(read_run(folder))
    assert speed is not None
    assert any("--jobs 1" in note for note in speed.notes)


def test_localisation_within_a_response_stands_beside_the_place(
    write_run: Callable[..., Path], results: dict[str, Any]
) -> None:
    ends = {"low": 0.37, "high": 0.41, "later": 0.68, "later_low": 0.66, "later_high": 0.7, "responses": 242}
    results["within"] = {"token_edits": {"edited": {"value": 0.39, **ends}, "Redundant": {"value": None, **ends}}}
    table = tables.within(read_run(write_run(results)))
    assert table is not None
    assert [[(cell.text, cell.small) for cell in row] for row in table.rows] == [
        [("Token model, edits", ""), ("edited away", ""), ("0.390", "0.370 to 0.410"), ("0.680", "0.660 to 0.700")],
        [("Token model, edits", ""), ("Redundant", ""), ("\N{EN DASH}", ""), ("0.680", "0.660 to 0.700")],
    ]


def ranged(value: float, half: float | None = 1.0) -> dict[str, float | None]:
    low, high = (None, None) if half is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high}


def policy_needs(accepted: float, words: float, **counts: int) -> dict[str, Any]:
    figures = {"accepted": ranged(accepted), "edits": ranged(words / 2), "words": ranged(words)}
    return {**figures, "answers": 200, "prompts": 200, "empty": 0, "cut_off": 0, "unedited": 0, **counts}


@pytest.fixture
def edited(results: dict[str, Any]) -> dict[str, Any]:
    """Results of a run whose answers were edited, and compared with references."""
    difference = {"accepted": ranged(30.0), "edits": ranged(-4.0), "words": ranged(-8.0, None), "prompts": 200}
    results["edits_needed"] = {
        "format": 2,
        "editors": ["ann", "ben"],
        "policies": {"sft": policy_needs(10.0, 20.6, cut_off=3), "token": policy_needs(40.0, 12.4, unedited=5)},
        "differences": {"token-sft": difference},
    }
    results["gleu"] = {
        "format": 2,
        "n": 200,
        "policies": {"sft": ranged(38.2), "token": ranged(40.1), "edits": ranged(39.0), "source": ranged(37.5)},
        "differences": {
            **{"token-sft": ranged(1.9), "edits-sft": ranged(0.8), "token-edits": ranged(1.1)},
            **{"token-source": ranged(2.6), "edits-source": ranged(1.5), "sft-source": ranged(0.7)},
        },
    }
    return results


def texts(table: tables.Table | None) -> list[list[tuple[str, str]]]:
    assert table is not None
    return [[(cell.text, cell.small) for cell in row] for row in table.rows]


def test_names_with_hyphens_are_told_apart() -> None:
    policies = ("sft", "my-sft", "a", "a-b", "b-sft")
    assert paper.sides("a-b-sft", ("sft", "a-b")) == ("a-b", "sft")
    assert paper.sides("a-my-sft", policies) == ("a", "my-sft")
    assert paper.sides("my-sft-sft", policies) == ("my-sft", "sft")
    assert paper.sides("token-sft", ()) == ("token", "sft")


def test_edits_still_needed_stand_beside_the_win_rate(write_run: Callable[..., Path], edited: dict[str, Any]) -> None:
    run = read_run(write_run(edited))
    table = tables.needs(run)
    assert texts(table) == [
        [("Token rewards from edits", ""), ("40.0", "39.0 to 41.0"), ("6.2", "5.2 to 7.2"), ("12.4", "11.4 to 13.4")],
        [("SFT, before training", ""), ("10.0", "9.0 to 11.0"), ("10.3", "9.3 to 11.3"), ("20.6", "19.6 to 21.6")],
    ]
    assert table is not None
    assert "(ann, ben)" in table.notes[0]
    assert table.notes[2:] == (
        "Not accepted, since they ended at the length limit: sft 3 of 200 answers.",
        "Counted nowhere, since they have no edit: token 5 of 205 answers.",
    )
    fewer = (f"{MINUS}4.0", f"{MINUS}5.0 to {MINUS}3.0"), (f"{MINUS}8.0", "")
    assert texts(tables.needs_gaps(run)) == [[("token over sft", ""), ("+30.0", "+29.0 to +31.0"), *fewer]]
    page, markdown = render(run), render_markdown(run)
    for text in ("Edits still needed", "Words changed in 100", "Agreement with the references"):
        assert text in page
        assert text in markdown
    (point,) = [point.text for point in headline(run).points if point.topic == "Edits still needed"]
    assert point.startswith("Words changed in 100: sft 20.6 (19.6 to 21.6), token 12.4 (11.4 to 13.4).")
    assert "sft 10.0 % (9.0 to 11.0), token 40.0 %" in point
    assert not [text for text in absences(run) if "edits still needed" in text]


def test_answers_without_a_word_are_not_said_to_need_any(
    write_run: Callable[..., Path], edited: dict[str, Any]
) -> None:
    for row in edited["edits_needed"]["policies"].values():
        row |= {"edits": None, "words": None}
    run = read_run(write_run(edited))
    (point,) = [point.text for point in headline(run).points if point.topic == "Edits still needed"]
    assert point.startswith("No answer has a word. Answers that stand as they are: sft 10.0 %")
    assert texts(tables.needs(run))[0][2:] == [(DASH, ""), (DASH, "")]


def test_gleu_stands_with_its_paired_differences(write_run: Callable[..., Path], edited: dict[str, Any]) -> None:
    run = read_run(write_run(edited))
    rows = {row[0][0]: row[1:] for row in texts(tables.gleu(run))}
    over_source = ("+2.6", "+1.6 to +3.6")
    assert rows["Token rewards from edits"] == [("40.1", "39.1 to 41.1"), ("+1.9", "+0.9 to +2.9"), over_source]
    assert rows["SFT, before training"][1:] == [(DASH, ""), ("+0.7", f"{MINUS}0.3 to +1.7")]
    assert rows["The source, unchanged"] == [("37.5", "36.5 to 38.5"), (DASH, ""), (DASH, "")]
    assert texts(tables.gleu_gaps(run)) == [[("token over edits", ""), ("+1.1", "+0.1 to +2.1")]]
    (point,) = [point.text for point in headline(run).points if point.topic == "GLEU against the references"]
    assert "token 40.1 (39.1 to 41.1), +1.9 (+0.9 to +2.9) over SFT" in point


def test_gleu_without_the_unchanged_source_has_no_column_for_it(
    write_run: Callable[..., Path], edited: dict[str, Any]
) -> None:
    """As in runs whose prompts have no text to improve, and in those of before it stood there."""
    found = edited["gleu"]
    del found["policies"]["source"]
    found["differences"] = {pair: gap for pair, gap in found["differences"].items() if not pair.endswith("-source")}
    run = read_run(write_run(edited))
    table = tables.gleu(run)
    assert table is not None
    assert table.header == ("Policy", "GLEU", "Over SFT")
    assert [len(row) for row in table.rows] == [3, 3, 3]
    assert "unchanged" not in render(run)
    assert "unchanged" not in render_markdown(run)


ARMS = [f"arm-{number}" for number in range(8)]


@pytest.mark.parametrize("measured", ["validation_win_rate", "validation_gleu", None])
@pytest.mark.parametrize("count", [6, 8])
def test_of_many_arms_differences_are_from_sft_and_from_the_best_on_the_validation_prompts(
    count: int, measured: str | None, write_run: Callable[..., Path], edited: dict[str, Any]
) -> None:
    arms = ARMS[:count]
    costs, rate = edited["methods"]["token"], edited["win_rate"]["token"]
    # arm-2 is the best one on the validation prompts, arm-5 on those of the evaluation.
    edited["methods"] = {
        arm: {**costs, "validation_win_rate": None, **({measured: 60.0 - abs(n - 2)} if measured else {})}
        for n, arm in enumerate(arms)
    }
    edited["win_rate"] = {policy: {**rate, "value": 70.0 if policy == "arm-5" else 50.0} for policy in ("sft", *arms)}
    pairs = [f"{first}-{second}" for first, second in (*combinations(arms, 2), *((arm, "sft") for arm in arms))]
    gap = {"value": 1.0, "standard_error": 1.0, "n": 200}
    needs = {"accepted": ranged(1.0), "edits": ranged(1.0), "words": ranged(1.0), "prompts": 200}
    edited["win_rate_difference"] = dict.fromkeys(pairs, gap)
    policies = ("sft", *arms)
    edited["edits_needed"] |= {
        "policies": {policy: policy_needs(10.0, 20.6) for policy in policies},
        "differences": dict.fromkeys(pairs, needs),
    }
    edited["gleu"] |= {
        "policies": {policy: ranged(38.0) for policy in policies},
        "differences": dict.fromkeys(pairs, ranged(1.0)),
    }
    run = read_run(write_run(edited))
    best = [] if measured is None else ["arm-2"]
    others = {"sft", *(arms if count == 6 else best)}
    shown = {pair for pair in pairs if others.intersection(paper.sides(pair, policies))}
    of_arms = {pair for pair in shown if not pair.endswith("-sft")}
    made = (tables.gaps(run), shown), (tables.needs_gaps(run), shown), (tables.gleu_gaps(run), of_arms)
    for table, expected in made:
        if table is None:
            assert not expected
            continue
        assert {row[0].text for row in table.rows} == {" over ".join(paper.sides(pair, policies)) for pair in expected}
        note = "Of 8 arms, these are the differences from SFT"
        by = " and from arm-2, the best of them on the validation prompts" if measured else ""
        assert (f"{note}{by}; results.json has those of all pairs." in table.notes) == (count == 8)
    few = [point.text for point in headline(run).points if point.topic == "Too few to tell"]
    assert len(few) == 1
    assert not any("sft" in text or (count == 8 and "arm-0 and arm-1" in text) for text in few)


def test_a_run_that_nobody_edited_says_how_it_would_be_counted(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert tables.needs(run) is None
    assert tables.needs_gaps(run) is None
    assert tables.gleu(run) is None
    assert 'id="h-needs"' not in render(run)
    assert [text for text in absences(run) if "nobody edited the policies' answers" in text]
