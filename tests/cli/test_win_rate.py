"""`evaluate win-rate`: from files of verdicts to rates, differences and a ranking."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ALPACA_EVAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "alpaca_eval"


def judgements(path: Path, *preferences: str, ids: str = "abcdefgh", **more: str) -> Path:
    rows = [
        {"id": name, "prompt": "p", "first": "one two", "second": "three", "preference": preference, **more}
        for name, preference in zip(ids, preferences, strict=False)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_one_policy_is_one_object_by_hand(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    # 1, 1, .5, 0: mean .625; deviations .375, .375, -.125, -.625: squares sum to .6875; /3 = .2292, /4 = .0573,
    # root .2394. The fifth has no verdict.
    path = judgements(tmp_path / "ours.jsonl", "first", "first", "tie", "second", "none")
    found = json.loads(redpencil("evaluate", "win-rate", path, "--json").out)
    assert (found["win_rate"], found["n"], found["unparsed"]) == (62.5, 4, 1)
    assert (found["wins"], found["losses"], found["draws"]) == (2, 1, 1)
    assert found["standard_error"] == pytest.approx(23.94, abs=0.01)
    assert (found["mean_words"], found["mean_length_reference"]) == (2, 5)
    assert found["length_controlled"] is None
    assert found["warnings"] == ["ours: 1 of 5 comparisons have no verdict"]


def test_several_policies_are_paired_and_ranked_by_hand(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    # Against 0, 1, .5, .5 in the order of ours the differences are 1, 0, 0, -.5: mean .125, squares about it sum to
    # .7656 + .0156 + .0156 + .3906 = 1.1875; /3/4 = .0990, root .3146.
    ours = judgements(tmp_path / "ours.jsonl", "first", "first", "tie", "second")
    theirs = judgements(tmp_path / "theirs.jsonl", "tie", "tie", "first", "second", ids="dcba")
    found = json.loads(redpencil("evaluate", "win-rate", ours, theirs, "--json").out)
    assert [found["policies"][name]["win_rate"] for name in ("ours", "theirs")] == [62.5, 50]
    difference = found["differences"]["ours minus theirs"]
    assert (difference["value"], difference["better"], difference["worse"], difference["p_value"]) == (12.5, 1, 1, 1)
    assert difference["standard_error"] == pytest.approx(31.46, abs=0.01)
    assert [row["name"] for row in found["ranking"]] == ["ours", "theirs", "the reference"]
    shown = redpencil("evaluate", "win-rate", ours, theirs).out
    assert "62.5 [" in shown
    assert "ours minus theirs: +12.5 points (95 %" in shown
    assert "2/1/1" in shown


def test_a_policy_that_is_another_ones_reference_is_ranked_once(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    one = judgements(tmp_path / "one.jsonl", "first", "tie", policy="a", reference="base")
    two = judgements(tmp_path / "two.jsonl", "first", "first", policy="b", reference="a")
    ranking = json.loads(redpencil("evaluate", "win-rate", one, two, "--json").out)["ranking"]
    assert [(row["name"], row["matches"]) for row in ranking] == [("two", 2), ("one", 4), ("base (reference)", 2)]


def test_one_judgement_has_no_standard_error(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    found = json.loads(redpencil("evaluate", "win-rate", judgements(tmp_path / "one.jsonl", "first"), "--json").out)
    assert (found["win_rate"], found["standard_error"], found["low"]) == (100, None, None)


def test_files_of_one_name_are_told_apart(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        judgements(tmp_path / name / "token.jsonl", "first", "tie")
    paths = [tmp_path / name / "token.jsonl" for name in ("a", "b")]
    found = json.loads(redpencil("evaluate", "win-rate", *paths, "--json").out)
    assert list(found["policies"]) == [str(path) for path in paths]


def test_kinds_of_prompts_by_any_key(
    redpencil: Callable[..., Any], mistake: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "ours.jsonl"
    rows = [*judgements(tmp_path / "x.jsonl", "first", "tie", topic="tea").read_text().splitlines()]
    rows += judgements(tmp_path / "y.jsonl", "second", ids="z", topic="milk").read_text().splitlines()
    path.write_text("\n".join(rows))
    found = json.loads(redpencil("evaluate", "win-rate", path, "--by", "topic", "--json").out)["categories"]
    assert {kind: row["win_rate"] for kind, row in found.items()} == {"tea": 75, "milk": 0}
    assert json.loads(redpencil("evaluate", "win-rate", path, "--json").out)["categories"] == {}
    assert "ours.jsonl [level]: no row has this key" in mistake("evaluate", "win-rate", path, "--by", "level")
    assert "tea" in redpencil("evaluate", "win-rate", path, "--by", "topic").out


def test_what_files_do_not_allow_is_said_and_the_rest_told(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    ours = judgements(tmp_path / "ours.jsonl", "first", "tie", policy="a", reference="base")
    other = judgements(tmp_path / "other.jsonl", "first", "tie", ids="ax", policy="b", reference="base")
    found = json.loads(redpencil("evaluate", "win-rate", ours, other, "--json").out)
    assert [row["win_rate"] for row in found["policies"].values()] == [75, 75]
    assert found["differences"] == {}
    assert len(found["ranking"]) == 3
    (warning,) = found["warnings"]
    assert warning.startswith("ours and other cannot be paired: judged on different prompts")
    apart = judgements(tmp_path / "apart.jsonl", "tie", "tie", policy="c", reference="d", second="four")
    found = json.loads(redpencil("evaluate", "win-rate", ours, apart, "--json").out)
    assert (found["ranking"], found["differences"]) == ([], {})
    assert "different references" in found["warnings"][0]
    assert found["warnings"][1].startswith("no ranking: apart and base (reference) are not linked")


def test_policies_against_different_references_are_not_paired(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    one = judgements(tmp_path / "one.jsonl", "first", "first", policy="a", reference="base")
    two = judgements(tmp_path / "two.jsonl", "tie", "tie", policy="b", reference="a", second="one two")
    found = json.loads(redpencil("evaluate", "win-rate", one, two, "--json").out)
    assert found["differences"] == {}


def test_a_policy_that_meets_itself_is_no_verdict_on_its_rank(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    judgements(tmp_path / "a.jsonl", "first", "tie", policy="a", reference="base")
    judgements(tmp_path / "b.jsonl", "first", ids="x", policy="a", reference="a")
    path.write_text((tmp_path / "a.jsonl").read_text() + (tmp_path / "b.jsonl").read_text())
    two = judgements(tmp_path / "two.jsonl", "first", "tie", policy="b", reference="base")
    ranking = json.loads(redpencil("evaluate", "win-rate", path, two, "--json").out)["ranking"]
    assert {row["name"]: row["matches"] for row in ranking} == {"one": 2, "two": 2, "base (reference)": 4}


def test_names_that_coincide_do_not_merge_players(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    def players(*paths: Path) -> dict[str, int]:
        ranking = json.loads(redpencil("evaluate", "win-rate", *paths, "--json").out)["ranking"]
        return {row["name"]: row["matches"] for row in ranking}

    # A file that is called as references are, and two files of one policy, of which a reference could be either.
    other = judgements(tmp_path / "other.jsonl", "first", "tie")
    assert players(judgements(tmp_path / "reference.jsonl", "first", "tie"), other) == {
        "reference": 2, "other": 2, "the reference": 4
    }  # fmt: skip
    one, two = (judgements(tmp_path / f"{n}.jsonl", "first", "tie", policy="m", reference="base") for n in "ab")
    three = judgements(tmp_path / "c.jsonl", "tie", "tie", policy="k", reference="m")
    found = json.loads(redpencil("evaluate", "win-rate", one, two, three, "--json").out)
    assert found["ranking"] == []
    assert any("m (reference)" in warning or "c are not linked" in warning for warning in found["warnings"])


def test_mistakes_name_the_file_and_the_hint(mistake: Callable[..., str], tmp_path: Path) -> None:
    ours = judgements(tmp_path / "ours.jsonl", "first", "tie")
    twice = judgements(tmp_path / "twice.jsonl", "first", "tie", ids="aa")
    assert "twice.jsonl [id]: two verdicts of one annotator have the id 'a'" in mistake("evaluate", "win-rate", twice)
    none = judgements(tmp_path / "none.jsonl", "none", "none")
    assert "none.jsonl: none of the 2 comparisons has a verdict" in mistake("evaluate", "win-rate", none)
    assert "no such format: 'csv' hint: one of redpencil, alpaca-eval" in mistake(
        "evaluate", "win-rate", ours, "--format", "csv"
    )


@pytest.mark.parametrize("model", ["alpaca-7b", "alpaca-farm-ppo-human"])
def test_the_published_leaderboard_to_1e_9(redpencil: Callable[..., Any], model: str) -> None:
    path = ALPACA_EVAL / f"{model}.json"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    with (ALPACA_EVAL / "leaderboard.csv").open(newline="") as file:
        published = {row[""]: row for row in csv.DictReader(file)}[model]
    found = json.loads(redpencil("evaluate", "win-rate", path, "--format", "alpaca-eval", "--json").out)
    for key in ("win_rate", "standard_error"):
        assert found[key] == pytest.approx(float(published[key]), abs=1e-9)
    names = {"wins": "n_wins", "losses": "n_wins_base", "draws": "n_draws", "n": "n_total"}
    assert {ours: found[ours] for ours in names} == {ours: int(published[theirs]) for ours, theirs in names.items()}
    assert list(found["categories"]) == ["helpful_base", "koala", "oasst", "selfinstruct", "vicuna"]
    far = [line for line in found["warnings"] if "at equal length" in line]
    assert bool(far) == (model == "alpaca-farm-ppo-human")
