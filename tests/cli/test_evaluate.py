"""`judge` and `evaluate`: Tables 1, 2 and 3 from files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.records import Comparison, Response, read_jsonl
from redpencil.runs import read_json


def judgements(path: Path, *preferences: str, ids: str = "abcdefgh") -> Path:
    rows = [
        {"id": name, "prompt": "p", "first": "one two", "second": "three", "preference": preference}
        for name, preference in zip(ids, preferences, strict=False)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_judgements_put_the_policy_first(chain: Any, tiny_run: Any) -> None:
    ours = {row.id: row.response for row in read_jsonl(chain.folder / "outputs.jsonl", Response)}
    theirs = {row.id: row.response for row in read_jsonl(tiny_run.folder / "reference" / "evaluation.jsonl", Response)}
    for name, judge in (("world", "oracle"), ("model", str(chain.folder / "reward-sequence" / "checkpoint"))):
        rows = list(read_jsonl(chain.folder / f"judged_by_{name}.jsonl", Comparison))
        assert len(rows) == 16
        assert all((row.first, row.second) == (ours[row.id], theirs[row.id]) for row in rows)
        assert {row.annotator for row in rows} == {judge}


def test_the_judge_of_a_run_and_of_the_command_agree(
    redpencil: Callable[..., Any], tiny_run: Any, tmp_path: Path
) -> None:
    run = tiny_run.folder
    redpencil(
        *("judge", "--policy", run / "outputs-token" / "evaluation.jsonl", "--judge", "world"),
        *("--reference", run / "reference" / "evaluation.jsonl", "--out", tmp_path / "token.jsonl"),
    )
    assert (tmp_path / "token.jsonl").read_bytes() == (run / "judge" / "token.jsonl").read_bytes()
    outcome = redpencil("evaluate", "win-rate", tmp_path / "token.jsonl", "--json")
    assert json.loads(outcome.out)["win_rate"]["token"] == read_json(run / "results.json")["win_rate"]["token"]


def test_bad_outputs_and_judges(mistake: Callable[..., str], chain: Any, tiny_run: Any, tmp_path: Path) -> None:
    outputs = chain.folder / "outputs.jsonl"
    start = ("judge", "--policy", outputs, "--out", tmp_path / "j.jsonl")
    assert "outputs.jsonl [id]: no reference response has the id" in mistake(
        *start, "--reference", chain.folder / "responses.jsonl", "--judge", "world"
    )
    assert "no judge called 'nobody' way out: `world`, or the folder" in mistake(
        *start, "--reference", outputs, "--judge", "nobody"
    )
    assert "is no reward model" in mistake(
        *start, "--reference", outputs, "--judge", tiny_run.folder / "sft" / "checkpoint"
    )


def test_win_rates_and_their_paired_difference_by_hand(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    # 1, 1, .5, 0: mean .625; deviations .375, .375, -.125, -.625: squares sum to .6875; /3 = .2292, /4 = .0573,
    # root .2394. Against 0, 1, .5, .5 the differences are 1, 0, 0, -.5: mean .125, squares about it sum to
    # .7656 + .0156 + .0156 + .3906 = 1.1875; /3/4 = .0990, root .3146.
    ours = judgements(tmp_path / "ours.jsonl", "first", "first", "tie", "second")
    theirs = judgements(tmp_path / "theirs.jsonl", "tie", "tie", "first", "second", ids="dcba")
    found = json.loads(redpencil("evaluate", "win-rate", ours, theirs, "--json").out)
    rate = found["win_rate"]["ours"]
    assert (rate["value"], rate["n"], rate["wins"], rate["losses"], rate["draws"]) == (62.5, 4, 2, 1, 1)
    assert rate["standard_error"] == pytest.approx(23.94, abs=0.01)
    assert rate["mean_length"] == 2
    difference = found["win_rate_difference"]["ours-theirs"]
    assert difference["value"] == 12.5
    assert difference["standard_error"] == pytest.approx(31.46, abs=0.01)
    table = redpencil("evaluate", "win-rate", ours, theirs).out
    assert "62.5" in table
    assert "ours-theirs: +12.5 points (standard error 31.5, paired)" in table


def test_one_judgement_has_no_standard_error(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    one = judgements(tmp_path / "one.jsonl", "first")
    found = json.loads(redpencil("evaluate", "win-rate", one, "--json").out)
    assert found["win_rate"]["one"]["standard_error"] is None


def test_files_of_one_name_are_told_apart(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        judgements(tmp_path / name / "token.jsonl", "first", "tie")
    paths = [tmp_path / name / "token.jsonl" for name in ("a", "b")]
    found = json.loads(redpencil("evaluate", "win-rate", *paths, "--json").out)
    assert list(found["win_rate"]) == [str(path) for path in paths]


def test_judgements_of_different_prompts_cannot_be_paired(mistake: Callable[..., str], tmp_path: Path) -> None:
    ours = judgements(tmp_path / "ours.jsonl", "first", "tie")
    theirs = judgements(tmp_path / "theirs.jsonl", "first", "tie", ids="ax")
    assert "ours and theirs were judged on different prompts" in mistake("evaluate", "win-rate", ours, theirs)
    twice = judgements(tmp_path / "twice.jsonl", "first", "tie", ids="aa")
    assert "an id occurs twice in twice" in mistake("evaluate", "win-rate", twice)


def test_the_accuracy_matrix_is_that_of_the_run(redpencil: Callable[..., Any], tiny_run: Any) -> None:
    run = tiny_run.folder
    models = [part for name in ("token_edits", "sequence_edits", "sequence_comparisons")
              for part in ("--model", run / f"reward-{name}" / "checkpoint")]  # fmt: skip
    tests = [part for name in ("edits", "comparisons") for part in ("--pairs", run / "align" / f"{name}_test.jsonl")]
    found = json.loads(redpencil("evaluate", "reward", *models, *tests, "--json").out)["reward_accuracy"]
    expected = read_json(run / "results.json")["reward_accuracy"]
    assert list(found) == ["reward-token_edits", "reward-sequence_edits", "reward-sequence_comparisons", "shorter_wins"]
    for name, row in found.items():
        assert row["edits_test"] == expected[name.removeprefix("reward-")]["edits"]
        assert row["comparisons_test"] == expected[name.removeprefix("reward-")]["comparisons"]
    table = redpencil("evaluate", "reward", *models, *tests).out
    assert "reward-token_edits" in table
    assert "shorter_wins" in table


def test_accuracy_needs_a_reward_model_and_pairs_that_fit(
    mistake: Callable[..., str], chain: Any, tiny_run: Any, tmp_path: Path
) -> None:
    pairs = chain.folder / "pairs.jsonl"
    policy = tiny_run.folder / "sft" / "checkpoint"
    assert "is no reward model" in mistake("evaluate", "reward", "--model", policy, "--pairs", pairs)
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"id": "x", "prompt_ids": [1], "rejected_ids": [9999], "chosen_ids": [2]}))
    model = chain.folder / "reward-token" / "checkpoint"
    assert "bad.jsonl: pair 'x'" in mistake("evaluate", "reward", "--model", model, "--pairs", bad)


def curve(folder: Path, *win_rates: float | None) -> Path:
    folder.mkdir()
    rows = [
        {"step": step, "seconds": 2.0 * step} | ({} if rate is None else {"eval/win_rate": rate})
        for step, rate in enumerate(win_rates)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_efficiency_by_hand(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    # The sequence arm is best, 50, at step 4; the token arm first has as much at step 2: in 2/4 of the steps.
    token = curve(tmp_path / "token", 40, None, 51, 45, 60)
    sequence = curve(tmp_path / "sequence", 40, 44, 48, 49, 50)
    arguments = ("evaluate", "efficiency", "--token", token, "--sequence", sequence)
    assert json.loads(redpencil(*arguments, "--json").out) == {
        "efficiency": {
            "token_step": 2, "sequence_step": 4, "ratio": 0.5, "token_seconds": 4.0, "sequence_seconds": 8.0,
        }
    }  # fmt: skip
    assert "at step 4 (8 s), at step 2 (4 s): in 0.50 of the steps" in redpencil(*arguments).out
    swapped = redpencil("evaluate", "efficiency", "--token", sequence, "--sequence", token)
    assert "never reaches" in swapped.out


def test_efficiency_needs_curves(mistake: Callable[..., str], tmp_path: Path) -> None:
    sequence = curve(tmp_path / "sequence", 40, 44)
    start = ("evaluate", "efficiency", "--sequence", sequence, "--token")
    assert "nowhere: no such folder" in mistake(*start, tmp_path / "nowhere")
    assert "[eval/win_rate]: its metrics.jsonl holds no win rate" in mistake(*start, curve(tmp_path / "x", None))
    for row in ('{"eval/win_rate": 1}', '{"step": "x", "seconds": 1, "eval/win_rate": 1}'):
        (tmp_path / "x" / "metrics.jsonl").write_text(row)
        assert "metrics.jsonl:1 [step]: no number stands there" in mistake(*start, tmp_path / "x")
