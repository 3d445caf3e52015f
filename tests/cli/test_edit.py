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
    assert "r.jsonl [prompt]: 'what is love ?' is no prompt of the world" in mistake(*start, "world")


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
def test_an_interrupt_says_how_far_it_got_and_the_same_command_goes_on(
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
    assert outcome["paid_again_though_in_the_journal"] == 0
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
    assert "'local' asks no server" in mistake(
        *start, "--provider", "local", "--model", tmp_path, "--base-url", stub.address
    )
    hosted = (*start, *stub.provider("openai"))
    assert "no such place: 'left' hint: one of turn, text, none" in mistake(*hosted, "--primer", "left")
    assert "no price is known for mine" in mistake(*hosted, "--model", "mine", "--max-cost", "1")
    assert "takes no batches" in mistake(*start, "--provider", "world", "--batch-out", tmp_path / "b")
    assert "gives no batches" in mistake(*start, "--provider", "world", "--batch-in", tmp_path / "b")
    assert "b: cannot read it" in mistake(*hosted, "--batch-in", tmp_path / "b")
    assert "it is also an input" in mistake(*hosted, "--out", tmp_path / "responses.jsonl")
    assert "OPENAI_API_KEY" in mistake_without_key(mistake, *start)
    # Neither file is there yet, and yet one would be written over the other.
    assert "it is also the journal" in mistake(*hosted, "--journal", tmp_path / "o")
    assert "it is also the journal" in mistake(*hosted, "--journal", tmp_path / "b", "--batch-out", tmp_path / "b")
    assert "it is also an input" in mistake(*hosted, "--batch-out", tmp_path / "responses.jsonl")
    assert "one of them at a time" in mistake(*hosted, "--batch-out", tmp_path / "b", "--batch-in", tmp_path / "r")
    for flag, value in (("--timeout", "5"), ("--concurrency", "16"), ("--retries", "1"), ("--extra", "a=1")):
        told = mistake(*start, "--provider", "local", "--model", tmp_path, flag, value)
        assert f"[{flag}]: the provider 'local' asks no server" in told
    assert "has but one" in mistake(*hosted, "--provider", "anthropic", "--length-parameter", "max_tokens")
    assert "no such parameter: 'n'" in mistake(*hosted, "--length-parameter", "n")
    for extra, told in (
        ("low", "not a parameter: 'low'"), ("=1", "not a parameter"), ("model=m", "model has a flag"),
        ("messages=[]", "not yours to set"), ('a="\\ud83d"', "half of a character"),
    ):  # fmt: skip
        assert told in mistake(*hosted, "--extra", extra)
    assert "[--temperature]: a temperature without end" in mistake(*hosted, "--temperature", "inf")
    assert "not a name: 'm\\udcff'" in mistake(*hosted, "--model", "m\udcff")
    assert "[--base-url]: this is not the address" in mistake(*hosted, "--base-url", f"{stub.address}/v1\n")
    os.mkfifo(tmp_path / "pipe")
    assert "pipe: responses are read several times" in mistake(*hosted, "--responses", tmp_path / "pipe")
    assert stub.paid() == 0


def mistake_without_key(mistake: Callable[..., str], *start: Any) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY")
        return mistake(*start, "--provider", "openai", "--model", "m")
