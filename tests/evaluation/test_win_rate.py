"""Win rates with all that is told beside them: by hand, and against AlpacaEval's published figures."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from statsmodels.stats.proportion import proportion_confint

from redpencil.errors import RedpencilError
from redpencil.evaluation.win_rate import (
    Case,
    Efficiency,
    Interval,
    by_category,
    policy_win_rate,
    read_cases,
    shared_scores,
    time_to_reach,
)
from redpencil.records import Comparison, Preference, write_jsonl

ALPACA_EVAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "alpaca_eval"


def case(
    name: str, score: float | None, response: str = "a b", other: str = "a", kind: str | None = None, prompt: str = "p"
) -> Case:
    return Case(name, prompt, score, response, other, traits={} if kind is None else {"category": kind})


def test_a_win_rate_by_hand() -> None:
    # Scores 1, 1, .5, 0 as in test_statistics: 62.5 with a standard error of 23.94. The fifth has no verdict: it
    # counts for nothing but the lengths, (2 + 2 + 2 + 2 + 7) / 5 = 3 characters, (4 * 2 + 3) / 5 = 2.2 words.
    cases = [case("1", 1.0), case("2", 1.0), case("3", 0.5), case("4", 0.0), case("5", None, "aaa b c")]
    found = policy_win_rate(cases)
    assert (found.win_rate, found.n, found.wins, found.losses, found.draws, found.unparsed) == (62.5, 4, 2, 1, 1, 1)
    assert found.standard_error == pytest.approx(23.93568, abs=1e-5)
    assert found.mean_length == (4 * 3 + 7) / 5
    assert found.mean_words == pytest.approx(2.2)
    assert (found.mean_length_reference, found.mean_words_reference) == (1, 1)
    assert 0 <= found.low < 62.5 < found.high <= 100


def test_a_probability_above_one_half_is_a_win_but_counts_as_what_it_is() -> None:
    found = policy_win_rate([case("1", 0.75), case("2", 0.25), case("3", 0.5), case("4", 0.75)])
    assert (found.win_rate, found.wins, found.losses, found.draws) == (56.25, 2, 1, 1)


def test_the_interval_follows_confidence_and_seed() -> None:
    cases = [case(str(i), float(i % 3 == 0)) for i in range(60)]
    wide, narrow = policy_win_rate(cases), policy_win_rate(cases, Interval(confidence=0.5))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert policy_win_rate(cases, Interval(seed=4)) == policy_win_rate(cases, Interval(seed=4))


def test_cases_that_all_agree_have_the_interval_of_wilson() -> None:
    # 20 of 20 at z = 1.95996: low = (1 + z^2/40) / (1 + z^2/20) - z/(1 + z^2/20) * sqrt(z^2/1600) = .83887; high = 1.
    found = policy_win_rate([case(str(i), 1.0) for i in range(20)])
    assert found.low == pytest.approx(83.887, abs=1e-3)
    assert found.high == 100
    drawn = policy_win_rate([case(str(i), 0.5) for i in range(8)])
    low, high = proportion_confint(4, 8, method="wilson")
    assert (drawn.low, drawn.high) == pytest.approx((100 * low, 100 * high))


def test_one_case_has_no_error_and_none_at_all_is_a_mistake() -> None:
    assert math.isnan(policy_win_rate([case("1", 1.0)]).standard_error)
    with pytest.raises(RedpencilError, match="none of the 2 comparisons has a verdict"):
        policy_win_rate([case("1", None), case("2", None)])


def test_kinds_of_prompts_are_counted_apart() -> None:
    cases = [case("1", 1.0, kind="a"), case("2", 0.5, kind="b"), case("3", 0.0, kind="a"), case("4", None, kind="a")]
    found = by_category([*cases, case("5", 1.0)])
    assert {kind: (row.value, row.n) for kind, row in found.items()} == {"a": (50.0, 2), "b": (50.0, 1)}
    assert by_category([case("1", 1.0)]) == {}


def test_scores_are_paired_by_id_where_both_have_a_verdict() -> None:
    ours = [case("1", 1.0), case("2", None), case("3", 0.5)]
    theirs = [case("3", 0.0), case("1", 0.5), case("2", 1.0)]
    assert shared_scores(ours, theirs) == ([1.0, 0.5], [0.5, 0.0])
    with pytest.raises(RedpencilError, match=r"different prompts .*'4'"):
        shared_scores(ours, [*theirs, case("4", 1.0)])
    with pytest.raises(RedpencilError, match=r"different prompts .*both have the id '3'"):
        shared_scores(ours, [case("1", 0.5), case("2", 1.0), case("3", 0.0, prompt="q")])
    with pytest.raises(RedpencilError, match=r"different references .*'3'"):
        shared_scores(ours, [case("1", 0.5), case("2", 1.0), case("3", 0.0, other="another")])


@pytest.mark.parametrize("model", ["alpaca-7b", "alpaca-farm-ppo-human"])
def test_every_published_figure_of_the_leaderboard(model: str) -> None:
    path = ALPACA_EVAL / f"{model}.json"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    with (ALPACA_EVAL / "leaderboard.csv").open(newline="") as file:
        published = {row[""]: row for row in csv.DictReader(file)}[model]
    found = policy_win_rate(read_cases(path, "alpaca-eval"))
    assert found.win_rate == pytest.approx(float(published["win_rate"]), abs=1e-9)
    assert found.standard_error == pytest.approx(float(published["standard_error"]), abs=1e-9)
    counts = (found.wins, found.losses, found.draws, found.n)
    assert counts == tuple(int(published[key]) for key in ("n_wins", "n_wins_base", "n_draws", "n_total"))
    assert int(found.mean_length) == int(published["avg_length"])


SEQUENCE = [(0, 0.0, 40.0), (10, 11.0, 45.0), (20, 22.0, 50.0), (30, 33.0, 50.0), (40, 44.0, 48.0)]


def test_first_step_that_reaches_the_earliest_best() -> None:
    # The sequence arm's best is 50, first at step 20. The token arm has 49 at 5 and 51 at 15: 15 / 20 = .75.
    token = [(0, 0.0, 40.0), (5, 6.0, 49.0), (15, 17.0, 51.0), (20, 23.0, 55.0)]
    assert time_to_reach(token, SEQUENCE) == Efficiency(15, 20, 0.75, 17.0, 22.0)


def test_equal_is_reached() -> None:
    assert time_to_reach([(10, 12.0, 50.0)], SEQUENCE).ratio == 0.5


def test_never_reached() -> None:
    assert time_to_reach([(10, 12.0, 49.9)], SEQUENCE) == Efficiency(None, 20, None, None, 22.0)
    assert time_to_reach([], SEQUENCE).token_step is None


def test_order_does_not_matter() -> None:
    token = [(20, 23.0, 55.0), (15, 17.0, 51.0), (5, 6.0, 49.0)]
    assert time_to_reach(token, SEQUENCE[::-1]) == time_to_reach(token[::-1], SEQUENCE)


def test_step_zero_is_not_training() -> None:
    # Both start at 60 and get worse at first. Counted, step 0 would be the best, reached in no time: 0 / 0.
    token = [(0, 0.0, 60.0), (10, 10.0, 51.0), (20, 20.0, 53.0)]
    sequence = [(0, 0.0, 60.0), (10, 10.0, 50.0), (20, 20.0, 52.0)]
    assert time_to_reach(token, sequence) == Efficiency(20, 20, 1.0, 20.0, 20.0)


@pytest.mark.parametrize("sequence", [[], [(0, 0.0, 40.0)]])
def test_no_evaluation_of_the_sequence_arm_is_an_error(sequence: list[tuple[int, float, float]]) -> None:
    with pytest.raises(RedpencilError, match="no evaluation after step 0") as caught:
        time_to_reach([(10, 1.0, 50.0)], sequence)
    assert caught.value.hint


def alpaca(path: Path, *rows: dict[str, Any]) -> Path:
    start = {"instruction": "Name a fruit.", "output_1": "An apple.", "output_2": "A pear!", "dataset": "koala"}
    names = {"generator_1": "davinci", "generator_2": "ours"}
    path.write_text(json.dumps([start | names | row for row in rows]))
    return path


def test_judgements_give_scores_lengths_and_names(tmp_path: Path) -> None:
    meta = {"policy": "ours", "reference": "theirs", "category": "fruit"}
    kinds = (Preference.FIRST, Preference.SECOND, Preference.TIE, Preference.NONE)
    rows = [Comparison(kind.value, "Name a fruit.", "A pear!", "An apple.", kind, "people", meta) for kind in kinds]
    write_jsonl(tmp_path / "j.jsonl", rows)
    cases = read_cases(tmp_path / "j.jsonl")
    assert [case.score for case in cases] == [1.0, 0.0, 0.5, None]
    assert (len(cases[0].response), len(cases[0].other)) == (7, 9)
    assert (cases[0].policy, cases[0].reference, cases[0].category()) == ("ours", "theirs", "fruit")


def test_annotations_of_alpaca_eval_have_the_policy_second(tmp_path: Path) -> None:
    given = [1, 2, 1.0, 0, 1.5, 1.25, None]
    rows = ({"preference": each, "instruction": str(number)} for number, each in enumerate(given))
    cases = read_cases(alpaca(tmp_path / "a.json", *rows), "alpaca-eval")
    assert [case.score for case in cases] == [0.0, 1.0, 0.0, 0.5, 0.5, 0.25, None]
    assert (cases[0].response, cases[0].other) == ("A pear!", "An apple.")
    assert (cases[0].policy, cases[0].reference, cases[0].category()) == ("ours", "davinci", "koala")


def test_the_category_is_the_first_key_that_is_there_or_the_one_asked_for(tmp_path: Path) -> None:
    meta = {"category": None, "subset": "chat", "level": 3}
    write_jsonl(tmp_path / "j.jsonl", [Comparison("1", "p", "a", "b", Preference.TIE, meta=meta)])
    (case,) = read_cases(tmp_path / "j.jsonl")
    assert (case.category(), case.category("level"), case.category("nowhere")) == ("chat", "3", None)


def test_preferences_of_zero_and_one_are_not_alpaca_evals(tmp_path: Path) -> None:
    rows = ({"preference": each, "instruction": str(number)} for number, each in enumerate([0, 1, 1, None, 0]))
    with pytest.raises(RedpencilError, match="only 0 and 1") as caught:
        read_cases(alpaca(tmp_path / "a.json", *rows), "alpaca-eval")
    assert (caught.value.file, "--value 0=first" in str(caught.value.hint)) == (str(tmp_path / "a.json"), True)


@pytest.mark.parametrize("given", [3, 0.5, -1, "2", True, [1], 10**400])
def test_what_is_no_preference_is_refused_with_its_row(tmp_path: Path, given: object) -> None:
    path = alpaca(tmp_path / "a.json", {"preference": 1}, {"preference": given})
    with pytest.raises(RedpencilError, match=r"a.json \[preference\].*in row 2 is not a preference"):
        read_cases(path, "alpaca-eval")


def test_a_missing_output_a_missing_preference_and_an_id_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"\[output_2\].*row 1"):
        read_cases(alpaca(tmp_path / "a.json", {"output_2": None, "preference": 1}), "alpaca-eval")
    with pytest.raises(RedpencilError, match=r"\[preference\].*row 1"):
        read_cases(alpaca(tmp_path / "b.json", {}), "alpaca-eval")
    write_jsonl(tmp_path / "j.jsonl", [Comparison("1", "p", "a", "b", Preference.TIE, "ana")] * 2)
    with pytest.raises(RedpencilError, match="two verdicts of ana have the id '1'"):
        read_cases(tmp_path / "j.jsonl")
    others = [Comparison("1", "p", "a", second, Preference.TIE, second) for second in "bc"]
    write_jsonl(tmp_path / "j.jsonl", others)
    with pytest.raises(RedpencilError, match="two pairs of responses have the id '1'"):
        read_cases(tmp_path / "j.jsonl")


def test_several_people_on_one_pair_are_one_case_with_their_mean(tmp_path: Path) -> None:
    kinds = (Preference.FIRST, Preference.TIE, Preference.NONE, Preference.FIRST)
    rows = [Comparison("1", "p", "a", "b", kind, name) for kind, name in zip(kinds, "wxyz", strict=True)]
    rows += [Comparison("2", "p", "a", "b", Preference.NONE, name) for name in "wx"]
    write_jsonl(tmp_path / "j.jsonl", rows)
    first, second = read_cases(tmp_path / "j.jsonl")
    assert first.score == pytest.approx((1 + 0.5 + 1) / 3)
    assert second.score is None


def test_rows_of_alpaca_eval_are_known_by_their_instruction_in_any_order(tmp_path: Path) -> None:
    rows = [{"instruction": text, "preference": number} for text, number in (("x", 1), ("y", 2), ("x", 2))]
    there = {case.id: case.score for case in read_cases(alpaca(tmp_path / "a.json", *rows), "alpaca-eval")}
    assert there == {"x": 0.0, "y": 1.0, "x (2)": 1.0}
    moved = read_cases(alpaca(tmp_path / "b.json", rows[1], rows[0], rows[2]), "alpaca-eval")
    assert {case.id: case.score for case in moved} == there


def test_an_array_in_place_of_lines_says_which_format_it_may_be(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"(?s)a\.json: a JSON array.*--format alpaca-eval"):
        read_cases(alpaca(tmp_path / "a.json", {"preference": 1}))


def test_a_file_without_rows_and_one_that_is_no_json_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(RedpencilError, match="the file has no rows"):
        read_cases(tmp_path / "empty.json", "alpaca-eval")
    (tmp_path / "broken.json").write_text('[{"instruction": "x"')
    with pytest.raises(RedpencilError, match=r"broken\.json"):
        read_cases(tmp_path / "broken.json", "alpaca-eval")
