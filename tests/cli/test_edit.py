"""`edit` on the files of the tiny run, and with hosted models against a stub server."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.records import Edit, Response, read_jsonl

PROMPT = "tell me about jordan . i need its language , currency and capital ."


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_edit_gives_one_edit_for_each_response(chain: Any) -> None:
    edits = list(read_jsonl(chain.folder / "edits.jsonl", Edit))
    responses = list(read_jsonl(chain.folder / "responses.jsonl", Response))
    assert [(row.id, row.original) for row in edits] == [(row.id, row.response) for row in responses]
    outcomes = Counter(row.outcome.value for row in edits)
    assert f"{outcomes['edited']} edited" in chain.outcomes["edit"].err


def test_an_empty_response_is_counted_and_never_lost(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    responses = write(tmp_path / "r", {"id": "1", "prompt": PROMPT, "response": " "})
    outcome = redpencil("edit", "--responses", responses, "--provider", "world", "--out", tmp_path / "edits")
    assert (outcome.code, "1 rows in" in outcome.err, "1 empty" in outcome.err) == (0, True, True)
    (row,) = read_jsonl(tmp_path / "edits", Edit)
    assert (row.outcome, row.edited) == ("empty", " ")


def test_edit_takes_a_template_of_ones_own(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    responses = write(tmp_path / "r", {"id": "1", "prompt": PROMPT, "response": "its language is german ."})
    arguments = ("edit", "--responses", responses, "--provider", "world", "--out", tmp_path / "edits")
    (tmp_path / "t").write_text("Question: {question}\n\nResponse: {response}\n\nPlease make minimal changes. Thanks!")
    assert redpencil(*arguments, "--template", tmp_path / "t").code == 0
    (row,) = read_jsonl(tmp_path / "edits", Edit)
    assert row.outcome == "edited"
    (tmp_path / "t").write_text("Please correct {response}")
    outcome = redpencil(*arguments, "--template", tmp_path / "t")
    assert (outcome.code, "the edit template has no {question}" in outcome.err) == (1, True)


def test_bad_editors(mistake: Callable[..., str], tmp_path: Path) -> None:
    rows = write(tmp_path / "r.jsonl", {"id": "1", "prompt": "what is love ?", "response": "a ."})
    start = ("edit", "--responses", rows, "--out", tmp_path / "o", "--provider")
    assert "no provider called 'gpt'" in mistake(*start, "gpt")
    assert "r.jsonl [prompt]: 'what is love ?' is not a prompt of the world" in mistake(*start, "world")


def responses_in(folder: Path, count: int = 12, text: str = "the sky is green at noon and grass is blue") -> Path:
    rows = ({"id": f"r{number}", "prompt": f"question {number} ?", "response": text} for number in range(count))
    return write(folder / "responses.jsonl", *rows)


@pytest.mark.parametrize("kind", ["anthropic", "openai"])
def test_a_hosted_model_edits_and_nothing_is_asked_again(
    redpencil: Callable[..., Any], stub: Any, tmp_path: Path, kind: str
) -> None:
    responses, out = responses_in(tmp_path), tmp_path / "edits.jsonl"
    arguments = ("edit", "--responses", responses, "--out", out, *stub.provider(kind))
    first = redpencil(*arguments, "--json")
    assert first.code == 0
    summary = json.loads(first.out)
    rows = list(read_jsonl(out, Edit))
    assert [row.id for row in rows] == [f"r{number}" for number in range(12)]
    assert {row.editor for row in rows} == {"gpt-5-mini"}
    assert summary["outcomes"] == Counter(row.outcome.value for row in rows)
    assert summary["answers_of_this_run"] == stub.paid() == 12
    # gpt-5-mini costs $.25 and $2 a million tokens.
    assert summary["cost"] == pytest.approx((summary["input_tokens"] * 0.25 + summary["output_tokens"] * 2) / 1e6)
    assert summary["input_tokens"] > 12 * 50

    before = out.read_bytes()
    again = redpencil(*arguments, "--json")
    assert (again.code, json.loads(again.out)) == (0, {**summary, "answers_of_this_run": 0})
    assert (out.read_bytes(), stub.paid()) == (before, 12)


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_how_far_it_got_and_the_same_command_continues(
    start_stub: Callable[..., Any], real_command: Callable[..., list[str]], tmp_path: Path, signal_: signal.Signals
) -> None:
    stub = start_stub("--latency-s", "0.1")
    arguments = ("edit", "--responses", responses_in(tmp_path, 30), "--out", tmp_path / "e", *stub.provider("openai"))
    command = real_command(*arguments, "--concurrency", "2", "--min-kept", "0")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        while stub.paid() < 5:
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal_)
        _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "Traceback" not in said
    found = re.search(r"interrupted: (\d+) of 30 answers are in (\S+); the same command asks for the rest", said)
    assert found is not None, said
    with sqlite3.connect(found[2]) as connection:
        (kept,) = connection.execute("SELECT count(*) FROM answer WHERE text IS NOT NULL").fetchone()
    connection.close()
    assert int(found[1]) == kept >= 3
    subprocess.run(command, check=True, capture_output=True)
    assert len(list(read_jsonl(tmp_path / "e", Edit))) == 30
    assert stub.paid() <= 30 + 2  # what was under way is asked again


def last_body(stub: Any) -> Any:
    with urllib.request.urlopen(f"{stub.address}/last", timeout=10) as reply:
        return json.load(reply)


def test_further_parameters_go_into_every_request_and_decide_answers(
    redpencil: Callable[..., Any], stub: Any, tmp_path: Path
) -> None:
    arguments = ("edit", "--responses", responses_in(tmp_path, 1), "--out", tmp_path / "e")
    openai = (*arguments, *stub.provider("openai"))
    redpencil(*openai, "--extra", "reasoning_effort=low", "--extra", "seed=7", "--extra", 'provider={"only": ["x"]}')
    body = last_body(stub)
    assert (body["reasoning_effort"], body["seed"], body["provider"]) == ("low", 7, {"only": ["x"]})
    assert (body["max_tokens"], "max_completion_tokens" in body) == (4096, False)
    redpencil(*openai)
    assert stub.paid() == 2  # another request
    redpencil(*openai, "--length-parameter", "max_completion_tokens", "--temperature", "0.5")
    assert (last_body(stub)["max_completion_tokens"], "max_tokens" in last_body(stub)) == (4096, False)
    redpencil(*arguments, *stub.provider("anthropic"), "--extra", 'thinking={"type": "disabled"}')
    assert last_body(stub)["thinking"] == {"type": "disabled"}


def test_a_batch_file_is_for_openai_unless_a_flag_names_a_server(
    redpencil: Callable[..., Any], stub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{stub.address}/v1")
    start = ("edit", "--responses", responses_in(tmp_path, 1), "--out", tmp_path / "e", "--provider", "openai")

    def lengths(*options: str) -> set[str]:
        redpencil(*start, "--model", "m", "--batch-out", tmp_path / "batch", *options)
        (line,) = (tmp_path / "batch").read_text().splitlines()
        return {name for name in json.loads(line)["body"] if name.startswith("max_")}

    assert lengths() == {"max_completion_tokens"}
    assert lengths("--base-url", f"{stub.address}/v1") == {"max_tokens"}
    assert lengths("--length-parameter", "max_tokens") == {"max_tokens"}


def test_kill_9_and_again_loses_nothing_and_pays_nothing_twice() -> None:
    """The short version of `make bench-editing`."""
    script = Path(__file__).parents[2] / "benchmarks" / "llm_editing.py"
    done = subprocess.run(
        [
            sys.executable,
            str(script),
            "--responses",
            "500",
            "--kills",
            "2",
            "--concurrency",
            "16",
            "--rewrites",
            "0.05",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    outcome = json.loads(done.stdout)
    assert (outcome["rows"], outcome["rows_wrong"], sum(outcome["outcomes"].values())) == (500, 0, 500)
    assert outcome["paid_again_though_in_the_cache"] == 0
    twice = outcome["asked_twice_for_a_smaller_edit"]
    assert 1 <= twice <= 50
    assert outcome["paid"] - outcome["paid_twice"] == 500 + twice
    assert outcome["paid_twice"] <= outcome["under_way_at_kills"] <= 2 * 16
    assert outcome["faults_met"]["429"] > 0
    assert outcome["faults_met"]["500"] > 0


def test_bad_requests_to_edit(mistake: Callable[..., str], stub: Any, tmp_path: Path) -> None:
    start = ("edit", "--responses", responses_in(tmp_path), "--out", tmp_path / "o")
    assert "'openai' needs a model" in mistake(*start, "--provider", "openai")
    assert "'world' has no models" in mistake(*start, "--provider", "world", "--model", "m")
    assert "'local' has no server" in mistake(
        *start, "--provider", "local", "--model", tmp_path, "--base-url", stub.address
    )
    hosted = (*start, *stub.provider("openai"))
    assert "no such place: 'left' hint: one of turn, text, none" in mistake(*hosted, "--primer", "left")
    assert "no price is known for mine" in mistake(*hosted, "--model", "mine", "--max-cost", "1")
    assert "does not take batches" in mistake(*start, "--provider", "world", "--batch-out", tmp_path / "b")
    assert "does not take batches" in mistake(*start, "--provider", "world", "--batch-in", tmp_path / "b")
    assert "b: cannot read it" in mistake(*hosted, "--batch-in", tmp_path / "b")
    assert "it is also an input" in mistake(*hosted, "--out", tmp_path / "responses.jsonl")
    assert "OPENAI_API_KEY" in mistake_without_key(mistake, *start)
    # Neither file is there yet, and yet one would be written over the other.
    assert "it is also the response cache" in mistake(*hosted, "--cache", tmp_path / "o")
    assert "it is also the response cache" in mistake(*hosted, "--cache", tmp_path / "b", "--batch-out", tmp_path / "b")
    assert "it is also an input" in mistake(*hosted, "--batch-out", tmp_path / "responses.jsonl")
    assert "one of them at a time" in mistake(*hosted, "--batch-out", tmp_path / "b", "--batch-in", tmp_path / "r")
    for flag, value in (("--timeout", "5"), ("--concurrency", "16"), ("--retries", "1"), ("--extra", "a=1")):
        told = mistake(*start, "--provider", "local", "--model", tmp_path, flag, value)
        assert f"[{flag}]: the provider 'local' has no server" in told
    assert "has only one" in mistake(*hosted, "--provider", "anthropic", "--length-parameter", "max_tokens")
    assert "no such parameter: 'n'" in mistake(*hosted, "--length-parameter", "n")
    for extra, told in (
        ("low", "not a parameter: 'low'"), ("=1", "not a parameter"), ("model=m", "model has a flag"),
        ("messages=[]", "redpencil sets messages itself"), ('a="\\ud83d"', "half of a character"),
    ):  # fmt: skip
        assert told in mistake(*hosted, "--extra", extra)
    assert "[--base-url]: this is not the address" in mistake(*hosted, "--base-url", f"{stub.address}/v1\n")
    os.mkfifo(tmp_path / "pipe")
    assert "pipe: responses are read several times" in mistake(*hosted, "--responses", tmp_path / "pipe")
    assert stub.paid() == 0


def mistake_without_key(mistake: Callable[..., str], *start: Any) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY")
        return mistake(*start, "--provider", "openai", "--model", "m")


def test_a_dry_run_asks_nobody_and_writes_nothing(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    responses, out = responses_in(tmp_path), tmp_path / "edits.jsonl"
    arguments = ("edit", "--responses", responses, "--out", out, *stub.provider("openai"), "--dry-run")
    plan = json.loads(redpencil(*arguments, "--json").out)
    assert (plan["responses"], plan["to_ask"], plan["answered"], stub.paid()) == (12, 12, 0, 0)
    # Twelve responses of 42 bytes, each answered with as much: 126 tokens at 4 bytes each.
    assert plan["output_tokens"] == 12 * 42 // 4
    assert plan["batch_cost"] == pytest.approx(plan["cost"] / 2)
    told = redpencil(*arguments).err
    assert "12 responses: 0 answered before, 0 empty, 12 to ask" in told
    # 1,146 tokens at $.25 and 126 at $2 a million.
    assert "about $0.00054, as a batch $0.00027; thinking and second requests cost extra" in told
    assert "price of 2026" in told
    assert "check the provider's page: https://developers.openai.com/api/docs/pricing" in told
    assert f"gpt-5-mini at {stub.address}/v1, 16 at once" in told
    assert not list(tmp_path.glob("edits*"))
    unknown = redpencil(*arguments[:-1], "--model", "mine", "--dry-run")
    assert "no price is known for mine" in unknown.err


def test_a_price_of_ones_own_counts(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("models: {gpt-5-mini: {input: 1000000, output: 0}}")
    arguments = ("edit", "--responses", responses_in(tmp_path), "--out", tmp_path / "e", *stub.provider("openai"))
    summary = json.loads(redpencil(*arguments, "--prices", tmp_path / "prices.yaml", "--json").out)
    assert summary["cost"] == summary["input_tokens"]


def test_what_failed_is_told_and_asked_again_by_the_next_run(
    redpencil: Callable[..., Any], stub: Any, tmp_path: Path
) -> None:
    rows = [{"id": "good", "prompt": "q", "response": "a b c d e"}]
    rows.append({"id": "bad", "prompt": "q", "response": "a {stub:status=400} c d e"})
    responses, out = write(tmp_path / "r", *rows), tmp_path / "e"
    arguments = ("edit", "--responses", responses, "--out", out, *stub.provider("openai"))
    outcome = redpencil(*arguments)
    assert outcome.code == 0
    told = "1 failed: 1 HTTP 400 (ordered to fail with 400); run the same command again to ask for these rows only"
    assert told in outcome.err
    assert "requests refused with HTTP 4xx will be refused again" in outcome.err
    assert "sk-secret" not in outcome.err + out.read_text()
    good, bad = read_jsonl(out, Edit)
    assert (bad.outcome, bad.edited, "400" in bad.meta["problem"]) == ("failed", bad.original, True)
    redpencil(*arguments)
    assert stub.paid() == 1
    assert good.outcome in ("edited", "unchanged")


def test_a_file_is_not_written_over_by_a_run_without_an_answer(
    mistake: Callable[..., str], stub: Any, tmp_path: Path
) -> None:
    out = tmp_path / "e"
    out.write_text("kept")
    arguments = ("edit", "--out", out, *stub.provider("openai"), "--retries", "0", "--responses")
    told = mistake(*arguments, responses_in(tmp_path, 5, "a {stub:status=500} b"))
    assert f"{out}: nothing to write: no response got an answer (5 HTTP 500 (ordered to fail with 500))" in told
    assert "run the same command again" in told
    assert "hint: change the request" in mistake(*arguments, responses_in(tmp_path, 5, "a {stub:status=400} b"))
    assert out.read_text() == "kept"


def test_failures_are_told_by_their_reasons_the_most_frequent_first(
    redpencil: Callable[..., Any], stub: Any, tmp_path: Path
) -> None:
    orders = ["status=400"] * 2 + ["status=500"] * 3 + ["delay=0"] * 2
    rows = [{"id": str(n), "prompt": f"q {n}", "response": f"a {{stub:{o}}} b c"} for n, o in enumerate(orders)]
    arguments = ("edit", "--responses", write(tmp_path / "r", *rows), "--out", tmp_path / "e", *stub.provider("openai"))
    outcome = redpencil(*arguments, "--retries", "0", "--json")
    kinds = "3 HTTP 500 (ordered to fail with 500), 2 HTTP 400 (ordered to fail with 400)"
    assert (outcome.code, f"5 failed: {kinds}; " in outcome.err) == (0, True)
    problems = {"HTTP 500: ordered to fail with 500": 3, "HTTP 400: ordered to fail with 400": 2}
    assert list(json.loads(outcome.out)["problems"].items()) == list(problems.items())


def test_bad_rows_at_the_head_stop_nothing_for_good(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    texts = ["a {stub:status=400} b"] * 70 + ["a good one"] * 10
    rows = [{"id": str(n), "prompt": f"q {n}", "response": text} for n, text in enumerate(texts)]
    arguments = ("edit", "--responses", write(tmp_path / "r", *rows), "--out", tmp_path / "e", *stub.provider("openai"))
    arguments += ("--concurrency", "4")
    for _ in range(3):
        stopped = redpencil(*arguments)
        assert stopped.code == 1
        assert "refused the first 20 requests for one reason" in stopped.err
    for _ in range(2):
        done = redpencil(*arguments)
        assert done.code == 0
        assert "70 failed: 70 HTTP 400" in done.err
        assert stub.paid() == 10
    assert len(list(read_jsonl(tmp_path / "e", Edit))) == 80


def test_many_bad_rows_after_an_answer_are_no_outage(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    texts = ["a good one"] + ["a {stub:status=400} b"] * 60
    rows = [{"id": str(n), "prompt": f"q {n}", "response": text} for n, text in enumerate(texts)]
    arguments = ("edit", "--responses", write(tmp_path / "r", *rows), "--out", tmp_path / "e", *stub.provider("openai"))
    assert redpencil(*arguments, "--concurrency", "1").code == 0


def test_truncations_say_what_to_do(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    arguments = ("edit", "--responses", responses_in(tmp_path, 3, "a {stub:length} b"), "--out", tmp_path / "e")
    told = redpencil(*arguments, *stub.provider("openai"), "--max-tokens", "64").err
    assert "3 were cut off at --max-tokens 64; a run with a higher limit asks for all rows anew" in told


def test_who_is_asked_is_said_before(
    redpencil: Callable[..., Any], stub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{stub.address}/v1")
    arguments = ("edit", "--responses", responses_in(tmp_path, 2), "--out", tmp_path / "e", "--provider", "openai")
    told = redpencil(*arguments, "--model", "gpt-5-mini", "--concurrency", "3").err.splitlines()[0]
    assert told == f"edit: 2 of 2 responses, gpt-5-mini at {stub.address}/v1 (from OPENAI_BASE_URL), 3 at once"


def test_refusals_and_cut_answers_have_names(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    orders = {"refused": "{stub:refuse}", "truncated": "{stub:length}", "empty": "{stub:empty}"}
    rows = [{"id": name, "prompt": "q", "response": f"a {order} c d e"} for name, order in orders.items()]
    responses, out = write(tmp_path / "r", *rows), tmp_path / "e"
    for kind in ("anthropic", "openai"):
        redpencil("edit", "--responses", responses, "--out", out, *stub.provider(kind), "--cache", tmp_path / kind)
        assert {row.id: row.outcome.value for row in read_jsonl(out, Edit)} == {name: name for name in orders}


@pytest.mark.parametrize(
    ("kind", "results"),
    [
        ("openai", lambda key, body: {"custom_id": key, "response": {"status_code": 200, "body": body}, "error": None}),
        ("anthropic", lambda key, body: {"custom_id": key, "result": {"type": "succeeded", "message": body}}),
    ],
)
def test_batch_files_there_and_back_give_the_edits_of_a_live_run(
    redpencil: Callable[..., Any], stub: Any, tmp_path: Path, kind: str, results: Callable[[str, Any], Any]
) -> None:
    responses = responses_in(tmp_path)
    live, out, batch = tmp_path / "live", tmp_path / "batched", tmp_path / "requests"
    redpencil("edit", "--responses", responses, "--out", live, *stub.provider(kind))
    arguments = ("edit", "--responses", responses, "--out", out, *stub.provider(kind))
    written = redpencil(*arguments, "--batch-out", batch)
    assert f"12 requests in {batch}" in written.err
    assert not out.exists()
    rows = (
        [(row["custom_id"], row["body"]) for row in map(json.loads, batch.read_text().splitlines())]
        if kind == "openai"
        else [(row["custom_id"], row["params"]) for row in json.loads(batch.read_text())["requests"]]
    )
    path = "/v1/chat/completions" if kind == "openai" else "/v1/messages"
    answers = [(key, post(f"{stub.address}{path}", body)) for key, body in rows]
    # The provider leaves one request without an answer.
    write(tmp_path / "results", *(results(key, body) for key, body in answers[1:]))
    paid = stub.paid()
    outcome = redpencil(*arguments, "--batch-in", tmp_path / "results")
    assert outcome.code == 0
    assert "1 requests are still without an answer; --batch-out writes them" in outcome.err
    assert stub.paid() == paid
    assert [row.outcome.value for row in read_jsonl(out, Edit)].count("failed") == 1
    assert f"1 requests in {batch}" in redpencil(*arguments, "--batch-out", batch).err
    write(tmp_path / "results", results(*answers[0]))
    outcome = redpencil(*arguments, "--batch-in", tmp_path / "results", "--temperature", "0.5")
    assert "1 of 1 results belong to none of these requests; the response cache keeps them" in outcome.err
    outcome = redpencil(*arguments, "--batch-in", tmp_path / "results")
    assert (outcome.code, "belong to none" in outcome.err) == (0, False)
    assert out.read_bytes() == live.read_bytes()
    assert "there is nothing to ask" in redpencil(*arguments, "--batch-out", batch).err


def test_what_came_in_a_batch_costs_half_and_the_rest_does_not(
    redpencil: Callable[..., Any], stub: Any, tmp_path: Path
) -> None:
    (tmp_path / "prices.yaml").write_text("models: {gpt-5-mini: {input: 1000000, output: 0}}")
    arguments = ("edit", "--responses", responses_in(tmp_path), "--out", tmp_path / "e", *stub.provider("openai"))
    arguments += ("--prices", tmp_path / "prices.yaml")
    redpencil(*arguments, "--batch-out", tmp_path / "batch")
    first = json.loads((tmp_path / "batch").read_text().splitlines()[0])
    body = {"choices": [{"message": {"content": "the sky is blue"}}]}
    body |= {"usage": {"prompt_tokens": 1000, "completion_tokens": 1}}
    write(tmp_path / "results", {"custom_id": first["custom_id"], "response": {"status_code": 200, "body": body}})
    batched = json.loads(redpencil(*arguments, "--batch-in", tmp_path / "results", "--json").out)
    assert (batched["input_tokens"], batched["cost"]) == (1000, 500)
    rest = json.loads(redpencil(*arguments, "--json", "--min-kept", "0").out)
    assert rest["answers_of_this_run"] == 11
    assert rest["cost"] == rest["input_tokens"] - 500


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def test_max_cost_stops_and_the_next_run_continues(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("models: {gpt-5-mini: {input: 10000, output: 0}}")  # about $1 a request
    arguments = ("edit", "--responses", responses_in(tmp_path, 40), "--out", tmp_path / "e", *stub.provider("openai"))
    arguments += ("--prices", tmp_path / "prices.yaml", "--concurrency", "2")
    stopped = redpencil(*arguments, "--max-cost", "5")
    paid = stub.paid()
    assert 3 <= paid <= 10
    told = f"{40 - paid} of 40 were not asked: --max-cost 5 is spent; the same command continues, with as much again"
    assert (stopped.code, stopped.err.splitlines()[-1]) == (1, told)
    rows = list(read_jsonl(tmp_path / "e", Edit))
    assert Counter(row.meta.get("problem") for row in rows) == {"never asked": 40 - paid, None: paid}
    assert redpencil(*arguments, "--max-cost", "0").code == 1
    assert stub.paid() == paid
    assert redpencil(*arguments).code == 0
    assert paid < 40 == stub.paid()  # those under way when it stopped were waited for
    assert {row.outcome.value for row in read_jsonl(tmp_path / "e", Edit)} <= {"edited", "unchanged"}


def test_max_cost_that_buys_nothing_writes_nothing(mistake: Callable[..., str], stub: Any, tmp_path: Path) -> None:
    (tmp_path / "e").write_text("kept")
    arguments = ("edit", "--responses", responses_in(tmp_path, 3), "--out", tmp_path / "e", *stub.provider("openai"))
    assert "none of the 3 responses was asked about" in mistake(*arguments, "--max-cost", "0")
    assert (tmp_path / "e").read_text() == "kept"
    assert [path.name for path in tmp_path.glob("e*")] == ["e"]  # no empty cache either


def test_second_requests_that_max_cost_leaves_out_are_told_of(
    redpencil: Callable[..., Any], start_stub: Callable[..., Any], tmp_path: Path
) -> None:
    stub = start_stub("--rewrites", "1")
    (tmp_path / "prices.yaml").write_text("models: {gpt-5-mini: {input: 10000, output: 0}}")
    arguments = ("edit", "--responses", responses_in(tmp_path, 3), "--out", tmp_path / "e", *stub.provider("openai"))
    arguments += ("--prices", tmp_path / "prices.yaml")
    stopped = redpencil(*arguments, "--max-cost", "1")
    assert (stopped.code, stub.paid()) == (1, 3)
    assert stopped.err.splitlines()[-1].startswith("3 second requests were not asked: --max-cost 1 is spent")
    done = redpencil(*arguments)
    assert (done.code, stub.paid()) == (0, 6)
    assert "3 were asked for twice" in done.err


def test_max_cost_needs_a_server_that_counts(mistake: Callable[..., str], stub: Any, tmp_path: Path) -> None:
    responses = responses_in(tmp_path, 1, "a {stub:uncounted} b c d e")
    arguments = ("edit", "--responses", responses, "--out", tmp_path / "e", *stub.provider("openai"))
    assert "[--max-cost]: the server does not report how many tokens" in mistake(*arguments, "--max-cost", "5")


def test_an_error_of_the_server_is_not_about_the_responses(mistake: Callable[..., str], tmp_path: Path) -> None:
    responses = write(tmp_path / "r.jsonl", {"id": "1", "prompt": "q", "response": "a b", "input": ["no text"]})
    server = ("--provider", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--retries", "0")
    start = ("edit", "--out", tmp_path / "e", *server, "--responses")
    assert mistake(*start, responses_in(tmp_path)).startswith("http://127.0.0.1:9/v1: no connection")
    assert "r.jsonl [input]: the input of '1'" in mistake(*start, responses)


def test_only_what_is_asked_again_is_told_of(redpencil: Callable[..., Any], stub: Any, tmp_path: Path) -> None:
    arguments = ("edit", "--responses", responses_in(tmp_path, 3), "--out", tmp_path / "e", *stub.provider("openai"))
    arguments += ("--cache", tmp_path / "j")
    redpencil(*arguments)
    with sqlite3.connect(tmp_path / "j") as connection:
        connection.execute("UPDATE answer SET text = NULL, checksum = NULL WHERE rowid = 1")
    connection.close()
    (tmp_path / "j.lock").unlink()  # it says how many answers there were
    assert "in progress" not in redpencil(*arguments, "--temperature", "0.5").err  # none of these requests
    assert "1 requests were in progress when the last run ended" in redpencil(*arguments).err
    assert "in progress" not in redpencil(*arguments).err
