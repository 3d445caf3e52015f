"""A recipe whose judge is an LLM, asked at a stub server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.pipeline.execute import execute
from redpencil.pipeline.inputs import check_inputs
from redpencil.pipeline.plan import plan_run
from redpencil.records import Comparison, Response, read_jsonl
from redpencil.text import read_json


def judge_again(recipe: Any, root: Path) -> None:
    plan = [spec for spec in plan_run(recipe, root, 3) if spec.name == "judge"]
    execute(plan, jobs=1, listener=lambda _: None)


def rows_of(root: Path, name: str) -> list[Comparison]:
    return list(read_jsonl(root / "judge" / f"{name}.jsonl", Comparison))


def test_an_llm_judges_the_outputs_and_is_asked_once(
    tiny: Any, copied: Path, stub: tuple[str, Callable[[], int]]
) -> None:
    address, paid = stub
    judge = f"judge={{provider: openai, model: gpt-5-mini, base_url: '{address}'}}"
    judge_again(tiny(judge), copied)
    judged = rows_of(copied, "token")
    assert all("gpt-5-mini" in row.annotator for row in judged)
    different = {
        (row.prompt, row.first, row.second)
        for name in ("sft", "token", "edits", "preference")
        for row in rows_of(copied, name)
        if row.first != row.second
    }
    assert paid() == 2 * len(different)  # in both orders
    outputs, reference = (
        list(read_jsonl(copied / place / "evaluation.jsonl", Response)) for place in ("outputs-token", "reference")
    )
    assert [(row.first, row.second) for row in judged] == [
        (one.response, other.response) for one, other in zip(outputs, reference, strict=True)
    ]
    assert read_json(copied / "judge" / "manifest.json")["notes"]["cost"] > 0
    # another stage with the same requests finds them answered
    before = paid()
    judge_again(tiny(judge, "judge.orders=one"), copied)
    assert paid() == before
    assert "sk-secret" not in (copied / "judge" / "manifest.json").read_text()


def test_a_run_that_reaches_its_cost_stops_and_goes_on_where_it_was(
    tiny: Any, copied: Path, stub: tuple[str, Callable[[], int]]
) -> None:
    address, paid = stub
    judge = f"judge={{provider: openai, model: gpt-5-mini, base_url: '{address}', concurrency: 1, max_cost: 1.0e-9}}"
    with pytest.raises(RedpencilError, match="and the judge is not done") as raised:
        judge_again(tiny(judge), copied)
    assert raised.value.field == "judge.max_cost"
    first = paid()
    assert first >= 1
    judge_again(tiny(judge, "judge.max_cost=5"), copied)
    whole = paid()
    assert whole > first
    different = {
        (row.prompt, row.first, row.second)
        for name in ("sft", "token", "edits", "preference")
        for row in rows_of(copied, name)
        if row.first != row.second
    }
    assert whole == 2 * len(different)  # none was paid for twice


@pytest.mark.parametrize(
    ("judge", "field", "problem"),
    [
        ("{provider: anthropic, model: claude-x}", "judge.provider", "no API key in ANTHROPIC_API_KEY"),
        ("{provider: openai, model: unheard-of, max_cost: 1}", "judge.max_cost", "no price is known"),
        ("{provider: openai, model: m, template: nowhere.yaml}", "judge.template", "no judge template"),
        ("{provider: openai, model: m, prices: /no/prices.yaml}", "judge.prices", "no such file"),
        ("{verdicts: /no/folder/people.jsonl}", "judge.verdicts", "no such file"),
        ("{folder: /no/judge}", "judge.folder", "no such file"),
        ("{provider: local, model: /no/model}", "judge.model", "config.json is missing"),
    ],
)
def test_what_the_last_stage_would_stumble_over_is_found_first(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, judge: str, field: str, problem: str
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with pytest.raises(RedpencilError, match=problem) as raised:
        check_inputs([tiny(f"judge={judge}")])
    assert raised.value.field == field
    assert raised.value.hint


def test_a_rule_judges_as_the_command_would(tiny: Any, copied: Path) -> None:
    judge_again(tiny("judge={pattern: '\\b(is|are)\\b', fewer: true}"), copied)
    counts = [
        (row.first.split().count("is") + row.first.split().count("are"))
        - (row.second.split().count("is") + row.second.split().count("are"))
        for row in rows_of(copied, "token")
    ]
    expected = ["first" if count < 0 else "second" if count > 0 else "tie" for count in counts]
    assert [row.preference.value for row in rows_of(copied, "token")] == expected


def test_verdicts_of_people_stand_in_for_a_judge(tiny: Any, copied: Path, tmp_path: Path) -> None:
    by_oracle = {name: rows_of(copied, name) for name in ("sft", "token", "edits", "preference")}
    people = tmp_path / "people.jsonl"
    other_way = {"first": "second", "second": "first", "tie": "tie"}
    left_out = by_oracle["token"][0]
    with people.open("w") as out:
        for row in (row for rows in by_oracle.values() for row in rows):
            if (row.prompt, row.first, row.second) == (left_out.prompt, left_out.first, left_out.second):
                continue
            mirrored = {"first": row.second, "second": row.first, "preference": other_way[row.preference.value]}
            out.write(json.dumps({"id": "x", "prompt": row.prompt, **mirrored}) + "\n")
    recipe = tiny(f"judge.verdicts={people}")
    names = ("judge", "ppo-token", "evaluate")
    people.rename(people.with_name("later.jsonl"))
    check_inputs([recipe])  # people cannot compare what is not there yet
    with pytest.raises(RedpencilError, match="there are no verdicts yet") as raised:
        execute([spec for spec in plan_run(recipe, copied, 3) if spec.name in names], jobs=1, listener=lambda _: None)
    assert (raised.value.file, raised.value.field) == (str(people), "judge.verdicts")
    trained = read_json(copied / "ppo-token" / "manifest.json")["fingerprint"]
    people.with_name("later.jsonl").rename(people)
    execute([spec for spec in plan_run(recipe, copied, 3) if spec.name in names], jobs=1, listener=lambda _: None)
    assert read_json(copied / "ppo-token" / "manifest.json")["fingerprint"] == trained  # what they compared stays
    rows = rows_of(copied, "token")
    assert rows[0].preference.value == "none"
    assert [row.preference for row in rows[1:]] == [row.preference for row in by_oracle["token"][1:]]
    (remark, *_) = read_json(copied / "judge" / "manifest.json")["notes"]["remarks"]
    assert "have no verdict and count in no win rate" in remark
    # nobody compares answers while a policy trains, so the best reward decides
    results = read_json(copied / "evaluate" / "results.json")
    assert results["win_rate"]["token"]["unparsed"] >= 1
    assert results["efficiency"] is None
    assert results["win_rate_difference"]["token-edits"]["n"] < len(rows)
    assert "eval/reward" in (copied / "ppo-token" / "metrics.jsonl").read_text()
    assert "eval/win_rate" not in (copied / "ppo-token" / "metrics.jsonl").read_text()


def test_verdicts_of_other_answers_are_no_judge(tiny: Any, copied: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.jsonl"
    row = {"id": "x", "prompt": "p", "first": "a", "second": "b", "preference": "first"}
    people.write_text(json.dumps(row) + "\n")
    with pytest.raises(RedpencilError, match="none of the 12 answers of sft has a verdict") as raised:
        judge_again(tiny(f"judge.verdicts={people}"), copied)
    assert raised.value.file == str(people)
    assert "evaluation.jsonl compared with" in (raised.value.hint or "")
