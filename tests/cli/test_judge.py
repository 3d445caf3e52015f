"""`judge`, by the oracle, a reward model, a rule, and hosted models against a stub server."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.cli.judge import check_judge, make_judge
from redpencil.cli.options import runtime_of, settings
from redpencil.errors import RedpencilError
from redpencil.evaluation.judges import Pairing
from redpencil.records import Comparison, Pair, Preference, Response, read_jsonl
from redpencil.text import read_json


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def outputs(path: Path, *responses: str, model: str = "", prompt: str = "question {} ?") -> Path:
    rows = [
        {"id": f"q{number}", "prompt": prompt.replace("{}", str(number)), "response": text, "model": model}
        for number, text in enumerate(responses)
    ]
    return write(path, *rows)


def sides(folder: Path, count: int = 12, prompt: str = "question {} ?") -> tuple[str | Path, ...]:
    """Policy and reference; the policy's responses are longer from the seventh on, and equal to it at the sixth."""
    ours = outputs(folder / "ours.jsonl", *("word " * n for n in range(1, count + 1)), model="mine", prompt=prompt)
    theirs = outputs(folder / "theirs.jsonl", *(["word " * 6] * count), model="other", prompt=prompt)
    return ("judge", "--policy", ours, "--reference", theirs)


def last_body(stub: Any) -> Any:
    with urllib.request.urlopen(f"{stub.address}/last", timeout=10) as reply:
        return json.load(reply)


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
    found, expected = json.loads(outcome.out), read_json(run / "results.json")["win_rate"]["token"]
    assert (found["win_rate"], found["mean_words"]) == (expected["value"], expected["mean_length"])
    assert all(found[key] == expected[key] for key in ("standard_error", "n", "wins", "losses", "draws"))


def test_two_files_of_one_prompt_set_are_matched_by_prompt(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    start = sides(tmp_path, 4)
    theirs = outputs(tmp_path / "theirs.jsonl", *(["word " * 6] * 4))
    rows = [json.loads(line) | {"id": f"theirs-{n}"} for n, line in enumerate(theirs.read_text().splitlines())]
    rows[1]["id"] = "q1"  # one id agrees
    write(theirs, *reversed(rows))
    outcome = redpencil(*start, "--judge", "longer", "--out", tmp_path / "j.jsonl")
    assert "3 of 4 rows were matched by prompt, as their ids differ" in outcome.err
    found = list(read_jsonl(tmp_path / "j.jsonl", Comparison))
    assert [row.id for row in found] == ["q0", "q1", "q2", "q3"]
    assert [row.meta.get("reference_id") for row in found] == ["theirs-0", None, "theirs-2", "theirs-3"]
    assert {row.preference for row in found} == {Preference.SECOND}


def test_a_response_that_was_cut_off_stays_so_from_judge_to_pairs(
    redpencil: Callable[..., Any], tiny_run: Any, tmp_path: Path
) -> None:
    ours = write(tmp_path / "ours.jsonl", {"id": "1", "prompt": "p", "response": "a", "finished": False})
    theirs = write(tmp_path / "theirs.jsonl", {"id": "1", "prompt": "p", "response": "a b c ."})
    judged, pairs = tmp_path / "j.jsonl", tmp_path / "pairs.jsonl"
    redpencil("judge", "--policy", ours, "--reference", theirs, "--judge", "shorter", "--out", judged)
    policy = tiny_run.folder / "sft" / "checkpoint"
    redpencil("align", "--comparisons", judged, "--tokenizer", policy, "--out", pairs)
    [pair] = read_jsonl(pairs, Pair)
    end = pair.rejected_ids[-1]
    assert len(pair.chosen_ids) == 1
    assert end not in pair.chosen_ids
    # asked again about the judged pairs, the answer is the same
    redpencil("judge", "--comparisons", judged, "--judge", "longer", "--out", tmp_path / "again.jsonl")
    redpencil("align", "--comparisons", tmp_path / "again.jsonl", "--tokenizer", policy, "--out", pairs)
    [pair] = read_jsonl(pairs, Pair)
    assert (pair.chosen_ids[-1], len(pair.rejected_ids)) == (end, 1)


def test_bad_outputs_and_judges(mistake: Callable[..., str], chain: Any, tiny_run: Any, tmp_path: Path) -> None:
    outputs = chain.folder / "outputs.jsonl"
    start = ("judge", "--policy", outputs, "--out", tmp_path / "j.jsonl")
    assert "outputs.jsonl [id]: no reference response has the id" in mistake(
        *start, "--reference", chain.folder / "responses.jsonl", "--judge", "world"
    )
    assert "no judge called 'nobody' hint: `world`, or the folder" in mistake(
        *start, "--reference", outputs, "--judge", "nobody"
    )
    assert "is not a reward model" in mistake(
        *start, "--reference", outputs, "--judge", tiny_run.folder / "sft" / "checkpoint"
    )


def test_a_pair_too_long_for_the_reward_model_is_named(
    mistake: Callable[..., str], tiny_run: Any, tmp_path: Path
) -> None:
    ours, theirs = outputs(tmp_path / "ours", "a", "its " * 999), outputs(tmp_path / "theirs", "a", "b")
    folder = tiny_run.folder / "reward-token_edits" / "checkpoint"
    files = ("--policy", ours, "--reference", theirs, "--out", tmp_path / "j")
    assert "ours: the prompt and response 'q1' have 10" in mistake("judge", *files, "--judge", folder)


def test_rules_of_length_and_comparisons_anew(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    judged = redpencil(*sides(tmp_path), "--judge", "longer", "--out", tmp_path / "j", "--json")
    assert json.loads(judged.out)["verdicts"] == {"second": 5, "tie": 1, "first": 6}
    again = ("judge", "--comparisons", tmp_path / "j", "--judge", "shorter", "--out", tmp_path / "k")
    assert "12 judgements in" in redpencil(*again).err
    rows, mirrored = list(read_jsonl(tmp_path / "j", Comparison)), list(read_jsonl(tmp_path / "k", Comparison))
    assert Counter(row.preference.value for row in mirrored) == {"first": 5, "tie": 1, "second": 6}
    assert (
        [row.meta for row in mirrored] == [row.meta for row in rows] == [{"policy": "mine", "reference": "other"}] * 12
    )


@pytest.mark.parametrize("kind", ["anthropic", "openai"])
def test_a_hosted_model_judges_in_both_orders_and_nothing_is_asked_again(
    redpencil: Callable[..., Any], stub: Any, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "judged.jsonl"
    arguments = (*sides(tmp_path), "--judge", "llm", "--out", out, *stub.provider(kind))
    first = redpencil(*arguments, "--json")
    assert first.code == 0
    summary = json.loads(first.out)
    rows = list(read_jsonl(out, Comparison))
    assert [row.preference.value for row in rows] == ["second"] * 5 + ["tie"] + ["first"] * 6
    assert {row.annotator for row in rows} == {"gpt-5-mini (default)"}
    assert (summary["verdicts"], summary["flipped"], summary["same_text"]) == (
        {"first": 6, "second": 5, "tie": 1, "none": 0}, 0, 1,
    )  # fmt: skip
    assert stub.paid() == summary["answers_of_this_run"] == 22
    # gpt-5-mini costs $.25 and $2 a million tokens.
    assert summary["cost"] == pytest.approx((summary["input_tokens"] * 0.25 + summary["output_tokens"] * 2) / 1e6)
    assert sum(row.meta.get("cost", 0) for row in rows) == pytest.approx(summary["cost"])
    body = last_body(stub)
    form = body["output_config"]["format"] if kind == "anthropic" else body["response_format"]["json_schema"]
    assert form["schema"]["properties"]["preference"]["enum"] == ["first", "second", "tie"]

    before = out.read_bytes()
    again = json.loads(redpencil(*arguments, "--json").out)
    assert (again["answers_of_this_run"], again["verdicts"], stub.paid()) == (0, summary["verdicts"], 22)
    assert out.read_bytes() == before


def test_the_other_side_costs_nothing_more_and_mirrors(
    redpencil: Callable[..., Any], stub: Any, tmp_path: Path
) -> None:
    _, _, ours, _, theirs = sides(tmp_path)
    more = ("--judge", "llm", *stub.provider("openai"), "--cache", tmp_path / "cache")
    redpencil("judge", "--policy", ours, "--reference", theirs, "--out", tmp_path / "there", *more)
    redpencil("judge", "--policy", theirs, "--reference", ours, "--out", tmp_path / "back", *more)
    assert stub.paid() == 22
    turn = {"first": "second", "second": "first", "tie": "tie"}
    there, back = (list(read_jsonl(tmp_path / name, Comparison)) for name in ("there", "back"))
    assert [turn[row.preference.value] for row in there] == [row.preference.value for row in back]


@pytest.mark.parametrize("template", ["alpaca-eval", "alpaca-eval-mark"])
def test_templates_in_the_manner_of_alpaca_eval(
    redpencil: Callable[..., Any], stub: Any, tmp_path: Path, template: str
) -> None:
    arguments = (*sides(tmp_path), "--judge", "llm", "--out", tmp_path / "j", *stub.provider("openai"))
    assert redpencil(*arguments, "--template", template).code == 0
    rows = list(read_jsonl(tmp_path / "j", Comparison))
    assert [row.preference.value for row in rows] == ["second"] * 5 + ["tie"] + ["first"] * 6
    assert "response_format" not in last_body(stub)


def test_a_template_of_ones_own_and_no_schema(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(
        "{instruction}\n<output_1>\n{output_1}\n</output_1>\n\n<output_2>\n{output_2}\n</output_2>"
    )
    arguments = (*sides(tmp_path, 2), "--judge", "llm", "--out", tmp_path / "j", *stub.provider("openai"))
    redpencil(*arguments, "--template", tmp_path / "mine.txt", "--no-schema")
    assert "response_format" not in last_body(stub)
    assert len(last_body(stub)["messages"]) == 1
    assert {row.annotator for row in read_jsonl(tmp_path / "j", Comparison)} == {"gpt-5-mini (mine)"}


def test_one_order_is_asked_about_each_pair(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    prompt = "{} {stub:verdict=first}"
    arguments = (*sides(tmp_path, 40, prompt), "--judge", "llm", "--orders", "one", *stub.provider("openai"))
    redpencil(*arguments, "--out", tmp_path / "j")
    assert stub.paid() == 39
    rows = list(read_jsonl(tmp_path / "j", Comparison))
    # The judge takes whoever stands first, so the winners are the lots.
    assert 8 <= sum(row.preference.value == "first" for row in rows) <= 31
    redpencil(*arguments, "--out", tmp_path / "k", "--seed", "1")
    assert [row.preference for row in read_jsonl(tmp_path / "k", Comparison)] != [row.preference for row in rows]


def test_kill_9_and_again_loses_nothing(
    start_stub: Callable[..., Any], real_command: Callable[..., list[str]], tmp_path: Path
) -> None:
    stub = start_stub("--latency-s", "0.1")
    arguments = (*sides(tmp_path, 20), "--judge", "llm", "--out", tmp_path / "j", *stub.provider("openai"))
    command = real_command(*arguments, "--concurrency", "2")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        while stub.paid() < 8:
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=30)
    assert not (tmp_path / "j").exists()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "were in progress when the last run ended" in done.stderr
    assert len(list(read_jsonl(tmp_path / "j", Comparison))) == 20
    assert 38 <= stub.paid() <= 38 + 2


def test_bad_requests_to_judge(mistake: Callable[..., str], stub: Any, tmp_path: Path) -> None:
    start = (*sides(tmp_path, 2), "--out", tmp_path / "j")
    hosted = (*start, "--judge", "llm", *stub.provider("openai"))
    assert "[--provider]: the judge llm needs a provider" in mistake(*start, "--judge", "llm")
    assert "the provider 'world' edits and does not judge" in mistake(*start, "--judge", "llm", "--provider", "world")
    assert "'openai' needs a model" in mistake(*start, "--judge", "llm", "--provider", "openai")
    assert "[--template]: no judge template called 'x'" in mistake(*hosted, "--template", "x")
    assert "[--orders]: no such orders: 'three' hint: one of both, one" in mistake(*hosted, "--orders", "three")
    assert "[--model]: the judge 'world' is not an LLM" in mistake(*start, "--judge", "world", "--model", "m")
    assert "[--no-schema]: the judge 'longer' is not an LLM" in mistake(*start, "--judge", "longer", "--no-schema")
    assert "give --policy and --reference, or --comparisons" in mistake("judge", "--judge", "world", "--out", "o")
    assert "or --comparisons" in mistake(*start, "--judge", "world", "--comparisons", tmp_path / "ours.jsonl")
    assert "it is also an input" in mistake(*hosted, "--out", tmp_path / "theirs.jsonl")
    assert ".: the results cannot be written to a folder" in mistake(*hosted, "--out", ".")
    assert "it is also the response cache" in mistake(*hosted, "--cache", tmp_path / "j")
    assert "one of them at a time" in mistake(*hosted, "--dry-run", "--batch-out", tmp_path / "b")
    os.mkfifo(tmp_path / "pipe")
    assert "pipe: responses are read several times" in mistake(*hosted, "--reference", tmp_path / "pipe")
    others = write(tmp_path / "o.jsonl", {"id": "q0", "prompt": "question 0 ?", "response": "a"})
    assert "ours.jsonl [id]: no reference response has the id 'q1'" in mistake(*hosted, "--reference", others)
    assert stub.paid() == 0


def pairs(folder: Path, *prompts: str) -> tuple[str | Path, ...]:
    """A longer response of the policy to each prompt."""
    for name, response in (("ours", "a longer answer"), ("theirs", "an answer")):
        rows = [{"id": f"q{n}", "prompt": text, "response": response} for n, text in enumerate(prompts)]
        write(folder / name, *rows)
    return ("judge", "--policy", folder / "ours", "--reference", folder / "theirs", "--judge", "llm")


def test_a_dry_run_asks_nobody_and_writes_nothing(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    arguments = (*pairs(tmp_path, "a", "b", "c"), "--out", tmp_path / "j", *stub.provider("openai"), "--dry-run")
    plan = json.loads(redpencil(*arguments, "--json").out)
    assert (plan["pairs"], plan["same"], plan["to_ask"], plan["answered"], stub.paid()) == (3, 0, 6, 0, 0)
    # Six answers of 400 bytes by guess, at 4 bytes a token.
    assert plan["output_tokens"] == 600
    assert plan["cost"] == pytest.approx((plan["input_tokens"] * 0.25 + 600 * 2) / 1e6)
    assert plan["batch_cost"] == pytest.approx(plan["cost"] / 2)
    told = redpencil(*arguments).err
    assert "3 pairs, 0 of them with the same text on both sides: 0 requests answered before, 6 to ask" in told
    assert "thinking costs extra" in told
    assert not list(tmp_path.glob("j*"))


def test_what_has_no_verdict_is_kept_counted_and_told(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    orders = ("delay=0", "verdict=first", "verdict=two", "verdict=prose", "status=400", "refuse", "length", "empty")
    arguments = (*pairs(tmp_path, *(f"{{stub:{order}}}" for order in orders)), "--out", tmp_path / "j")
    arguments += (*stub.provider("openai"), "--max-tokens", "64")
    outcome = redpencil(*arguments, "--json")
    assert outcome.code == 0
    rows = list(read_jsonl(tmp_path / "j", Comparison))
    problems = [row.meta.get("problem") for row in rows]
    assert problems == [None, None, "unparsed", "unparsed", "failed", "refused", "truncated", "unparsed"]
    assert [row.preference.value for row in rows] == ["first", "tie"] + ["none"] * 6
    assert rows[7].meta["verdicts"][0] == {
        "shown_first": "first", "verdict": "none", "problem": "unparsed", "answer": "",
    }  # fmt: skip
    summary = json.loads(outcome.out)
    assert summary["verdicts"] == {"first": 1, "second": 0, "tie": 1, "none": 6}
    assert summary["problems"] == {"unparsed": 3, "failed": 1, "refused": 1, "truncated": 1}
    assert (summary["flipped"], summary["failures"]) == (1, {"HTTP 400: ordered to fail with 400": 2})
    told = redpencil(*arguments).err
    assert "1 for the first, 0 for the second, 1 ties, 6 without a verdict" in told
    assert "1 of the ties are flips" in told
    assert "without a verdict: 3 unparsed, 1 failed, 1 refused, 1 truncated; meta.verdicts" in told
    assert "answers were cut off at --max-tokens 64" in told
    assert "2 failed: 2 HTTP 400 (ordered to fail with 400); run the same command again" in told
    rate = json.loads(redpencil("evaluate", "win-rate", tmp_path / "j", "--json").out)
    assert (rate["n"], rate["win_rate"], rate["unparsed"]) == (2, 75, 6)


def test_a_file_is_not_written_over_by_a_run_without_an_answer(
    mistake: Callable[..., str], stub: Any, tmp_path: Path
) -> None:
    (tmp_path / "j").write_text("kept")
    arguments = (*pairs(tmp_path, "{stub:status=500}", "b {stub:status=500}"), "--out", tmp_path / "j")
    arguments += (*stub.provider("openai"), "--retries", "0")
    assert "nothing to write: no pair got an answer (4 HTTP 500 (ordered to fail with 500))" in mistake(*arguments)
    assert "none of the 2 pairs was asked about" in mistake(*arguments, "--max-cost", "0", "--cache", tmp_path / "x")
    assert (tmp_path / "j").read_text() == "kept"


def test_max_cost_stops_and_the_next_run_continues(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("models: {gpt-5-mini: {input: 10000, output: 0}}")  # about $1 a request
    arguments = (*pairs(tmp_path, *(f"question {n}" for n in range(20))), "--out", tmp_path / "j")
    arguments += (*stub.provider("openai"), "--prices", tmp_path / "prices.yaml", "--concurrency", "2")
    stopped = redpencil(*arguments, "--max-cost", "8")
    paid = stub.paid()
    assert 4 <= paid <= 16
    told = f"{40 - paid} requests were not asked: --max-cost 8 is spent; the same command continues, with as much again"
    assert (stopped.code, stopped.err.splitlines()[-1]) == (1, told)
    problems = {row.meta.get("problem") for row in read_jsonl(tmp_path / "j", Comparison)}
    assert problems == {None, "never asked"}
    assert redpencil(*arguments).code == 0
    assert stub.paid() == 40
    assert {row.preference.value for row in read_jsonl(tmp_path / "j", Comparison)} == {"first"}


@pytest.mark.parametrize(
    ("kind", "results"),
    [
        ("openai", lambda key, body: {"custom_id": key, "response": {"status_code": 200, "body": body}, "error": None}),
        ("anthropic", lambda key, body: {"custom_id": key, "result": {"type": "succeeded", "message": body}}),
    ],
)
def test_batch_files_there_and_back_give_the_judgements_of_a_live_run(
    redpencil: Callable[..., Any], stub: Any, tmp_path: Path, kind: str, results: Callable[[str, Any], Any]
) -> None:
    start = (*pairs(tmp_path, "a", "b {stub:verdict=first}"), *stub.provider(kind))
    redpencil(*start, "--out", tmp_path / "live")
    arguments = (*start, "--out", tmp_path / "batched")
    batch = tmp_path / "requests"
    assert f"4 requests in {batch}" in redpencil(*arguments, "--batch-out", batch).err
    rows = (
        [(row["custom_id"], row["body"]) for row in map(json.loads, batch.read_text().splitlines())]
        if kind == "openai"
        else [(row["custom_id"], row["params"]) for row in json.loads(batch.read_text())["requests"]]
    )
    form = "response_format" if kind == "openai" else "output_config"
    assert all(form in body for _, body in rows)
    path = "/v1/chat/completions" if kind == "openai" else "/v1/messages"
    write(tmp_path / "results", *(results(key, post(f"{stub.address}{path}", body)) for key, body in rows[:3]))
    told = redpencil(*arguments, "--batch-in", tmp_path / "results").err
    assert "1 requests are still without an answer; --batch-out writes them" in told
    assert [row.preference.value for row in read_jsonl(tmp_path / "batched", Comparison)] == ["first", "none"]
    write(tmp_path / "rest", *(results(key, post(f"{stub.address}{path}", body)) for key, body in rows[3:]))
    assert redpencil(*arguments, "--batch-in", tmp_path / "rest").code == 0
    live, batched = (list(read_jsonl(tmp_path / name, Comparison)) for name in ("live", "batched"))
    assert [row.preference for row in live] == [row.preference for row in batched]
    assert [row.meta["cost"] / 2 for row in live] == pytest.approx([row.meta["cost"] for row in batched])
    assert "every pair has its answer; there is nothing to ask" in redpencil(*arguments, "--batch-out", batch).err


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def test_the_oracle_has_no_folder_and_a_model_has(tmp_path: Path) -> None:
    assert check_judge("world") is None
    assert check_judge(str(tmp_path)) == tmp_path
    with pytest.raises(RedpencilError, match=r"\[--judge\]: no judge called 'wrld'"):
        check_judge("wrld")


def test_the_oracle_knows_right_from_wrong() -> None:
    recipe = settings(None, None)
    judge = make_judge("world", recipe, runtime_of(recipe))
    prompt = "tell me about jordan . i need its language , currency and capital ."
    right, wrong = "the capital of jordan is amman .", "the capital of jordan is cairo ."
    assert judge.compare([Pairing("1", prompt, right, wrong)]) == [Preference.FIRST]
    assert judge.name == "oracle"


def test_a_reward_model_judges_by_its_folder(tiny_run: object) -> None:
    run: Path = tiny_run.folder  # type: ignore[attr-defined]
    recipe = settings(None, None)
    folder = str(run / "reward-token_edits" / "checkpoint")
    judge = make_judge(folder, recipe, runtime_of(recipe))
    assert judge.name == folder
    assert judge.compare([Pairing("1", "a", "b .", "b .")]) == [Preference.TIE]


def test_rules_of_length_need_no_runtime() -> None:
    recipe = settings(None, None)
    for name, preference in (("longer", Preference.FIRST), ("shorter", Preference.SECOND)):
        assert check_judge(name) is None
        judge = make_judge(name, recipe, None)
        assert (judge.name, judge.compare([Pairing("1", "p", "aa", "a")])) == (name, [preference])
