"""`edit` on the files of the tiny run, and with hosted models against a stub server."""

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
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
    assert (outcome.code, "1 edits" in outcome.err, "1 empty" in outcome.err) == (0, True, True)
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


@dataclass(frozen=True)
class Stub:
    """A server on loopback that speaks the APIs of Anthropic and OpenAI."""

    address: str
    log: Path

    def paid(self) -> int:
        return self.log.read_bytes().count(b"\n")

    def provider(self, kind: str) -> tuple[str, ...]:
        url = f"{self.address}/v1" if kind == "openai" else self.address
        return ("--provider", kind, "--model", "gpt-5-mini", "--base-url", url)


StartStub = Callable[..., Stub]


@pytest.fixture
def start_stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartStub]:
    for name in ("ANTHROPIC", "OPENAI"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-secret")
        monkeypatch.delenv(f"{name}_BASE_URL", raising=False)
    with ExitStack() as stack:

        def start(*flags: str) -> Stub:
            script = Path(__file__).parents[2] / "benchmarks" / "stub_llm_server.py"
            log = tmp_path / f"paid-{len(list(tmp_path.glob('paid-*')))}"
            command = [sys.executable, str(script), "--log", str(log), *flags]
            server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(server.terminate)
            assert server.stdout is not None
            return Stub(f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}", log)

        yield start


@pytest.fixture
def stub(start_stub: StartStub) -> Stub:
    return start_stub()


def responses_in(folder: Path, count: int = 12, text: str = "the sky is green at noon and grass is blue") -> Path:
    rows = ({"id": f"r{number}", "prompt": f"question {number} ?", "response": text} for number in range(count))
    return write(folder / "responses.jsonl", *rows)


@pytest.mark.parametrize("kind", ["anthropic", "openai"])
def test_a_hosted_model_edits_and_nothing_is_asked_again(
    redpencil: Callable[..., Any], stub: Stub, tmp_path: Path, kind: str
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


def test_a_dry_run_asks_nobody_and_writes_nothing(redpencil: Callable[..., Any], stub: Stub, tmp_path: Path) -> None:
    responses, out = responses_in(tmp_path), tmp_path / "edits.jsonl"
    arguments = ("edit", "--responses", responses, "--out", out, *stub.provider("openai"), "--dry-run")
    plan = json.loads(redpencil(*arguments, "--json").out)
    assert (plan["responses"], plan["to_ask"], plan["answered"], stub.paid()) == (12, 12, 0, 0)
    # Twelve responses of 42 bytes, each answered with as much: 126 tokens at 4 bytes each.
    assert plan["output_tokens"] == 12 * 42 // 4
    assert plan["batch_cost"] == pytest.approx(plan["cost"] / 2)
    told = redpencil(*arguments).err
    assert "12 responses: 0 answered before, 0 empty, 12 to ask" in told
    assert "about $0.00, as a batch $0.00; price of 2026" in told
    assert not list(tmp_path.glob("edits*"))
    unknown = redpencil(*arguments[:-1], "--model", "mine", "--dry-run")
    assert "no price is known for mine" in unknown.err


def test_a_price_of_ones_own_counts(redpencil: Callable[..., Any], stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("models: {gpt-5-mini: {input: 1000000, output: 0}}")
    arguments = ("edit", "--responses", responses_in(tmp_path), "--out", tmp_path / "e", *stub.provider("openai"))
    summary = json.loads(redpencil(*arguments, "--prices", tmp_path / "prices.yaml", "--json").out)
    assert summary["cost"] == summary["input_tokens"]


def test_what_failed_is_told_and_asked_again_by_the_next_run(
    redpencil: Callable[..., Any], stub: Stub, tmp_path: Path
) -> None:
    rows = [{"id": "good", "prompt": "q", "response": "a b c d e"}]
    rows.append({"id": "bad", "prompt": "q", "response": "a {stub:status=400} c d e"})
    responses, out = write(tmp_path / "r", *rows), tmp_path / "e"
    arguments = ("edit", "--responses", responses, "--out", out, *stub.provider("openai"))
    outcome = redpencil(*arguments)
    assert outcome.code == 0
    assert "1 failed; the same command asks for them again, and for nothing else" in outcome.err
    assert "sk-secret" not in outcome.err + out.read_text()
    good, bad = read_jsonl(out, Edit)
    assert (bad.outcome, bad.edited, "400" in bad.meta["problem"]) == ("failed", bad.original, True)
    redpencil(*arguments)
    assert stub.paid() == 1
    assert good.outcome in ("edited", "unchanged")


def test_refusals_and_cut_answers_have_names(redpencil: Callable[..., Any], stub: Stub, tmp_path: Path) -> None:
    orders = {"refused": "{stub:refuse}", "truncated": "{stub:length}", "empty": "{stub:empty}"}
    rows = [{"id": name, "prompt": "q", "response": f"a {order} c d e"} for name, order in orders.items()]
    responses, out = write(tmp_path / "r", *rows), tmp_path / "e"
    for kind in ("anthropic", "openai"):
        redpencil("edit", "--responses", responses, "--out", out, *stub.provider(kind), "--journal", tmp_path / kind)
        assert {row.id: row.outcome.value for row in read_jsonl(out, Edit)} == {name: name for name in orders}


@pytest.mark.parametrize(
    ("kind", "results"),
    [
        ("openai", lambda key, body: {"custom_id": key, "response": {"status_code": 200, "body": body}, "error": None}),
        ("anthropic", lambda key, body: {"custom_id": key, "result": {"type": "succeeded", "message": body}}),
    ],
)
def test_batch_files_there_and_back_give_the_edits_of_a_live_run(
    redpencil: Callable[..., Any], stub: Stub, tmp_path: Path, kind: str, results: Callable[[str, Any], Any]
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
    redpencil(*arguments, "--batch-in", tmp_path / "results")
    assert out.read_bytes() == live.read_bytes()
    assert "nothing is to be asked" in redpencil(*arguments, "--batch-out", batch).err


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def test_max_cost_stops_and_the_next_run_goes_on(redpencil: Callable[..., Any], stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("models: {gpt-5-mini: {input: 10000, output: 0}}")  # about $1 a request
    arguments = ("edit", "--responses", responses_in(tmp_path, 40), "--out", tmp_path / "e", *stub.provider("openai"))
    arguments += ("--prices", tmp_path / "prices.yaml", "--concurrency", "2")
    stopped = redpencil(*arguments, "--max-cost", "5")
    assert stopped.code == 0
    assert "stopped: --max-cost 5.0 is spent" in stopped.err
    paid = stub.paid()
    assert 3 <= paid <= 10
    assert "failed; the same command asks for them again" in stopped.err
    redpencil(*arguments)
    assert paid < 40 <= stub.paid() <= 42  # those under way when it stopped may be paid twice
    assert {row.outcome.value for row in read_jsonl(tmp_path / "e", Edit)} <= {"edited", "unchanged"}


def test_kill_9_and_again_loses_nothing_and_pays_nothing_twice() -> None:
    """The short version of `make bench-editing`."""
    script = Path(__file__).parents[2] / "benchmarks" / "llm_editing.py"
    done = subprocess.run(
        [sys.executable, str(script), "--responses", "500", "--kills", "2", "--concurrency", "16"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    outcome = json.loads(done.stdout)
    assert (outcome["rows"], outcome["rows_wrong"], sum(outcome["outcomes"].values())) == (500, 0, 500)
    assert outcome["paid_again_though_in_the_journal"] == 0
    assert 500 <= outcome["paid"] <= 500 + outcome["under_way_at_kills"] <= 500 + 2 * 16
    assert outcome["faults_met"]["429"] > 0
    assert outcome["faults_met"]["500"] > 0


def test_bad_requests_to_edit(mistake: Callable[..., str], stub: Stub, tmp_path: Path) -> None:
    start = ("edit", "--responses", responses_in(tmp_path), "--out", tmp_path / "o")
    assert "'openai' needs a model" in mistake(*start, "--provider", "openai")
    assert "'world' has no models" in mistake(*start, "--provider", "world", "--model", "m")
    assert "'local' asks no server" in mistake(
        *start, "--provider", "local", "--model", tmp_path, "--base-url", stub.address
    )
    hosted = (*start, *stub.provider("openai"))
    assert "no such place: 'left' way out: one of turn, text, none" in mistake(*hosted, "--primer", "left")
    assert "no price is known for mine" in mistake(*hosted, "--model", "mine", "--max-cost", "1")
    assert "takes no batches" in mistake(*start, "--provider", "world", "--batch-out", tmp_path / "b")
    assert "gives no batches" in mistake(*start, "--provider", "world", "--batch-in", tmp_path / "b")
    assert "b: cannot read it" in mistake(*hosted, "--batch-in", tmp_path / "b")
    assert "it is also an input" in mistake(
        *hosted, "--journal", tmp_path / "responses.jsonl", "--out", tmp_path / "responses.jsonl"
    )
    assert "OPENAI_API_KEY" in mistake_without_key(mistake, *start)


def mistake_without_key(mistake: Callable[..., str], *start: Any) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY")
        return mistake(*start, "--provider", "openai", "--model", "m")
