"""Edit many responses through a faulty server, kill the command on the way, and count what was lost or paid for twice.

    python benchmarks/llm_editing.py --responses 20000 --kills 3

A stub server on loopback speaks the OpenAI API through the real SDK and meets requests with 429, 500, broken bodies and
slow answers; some of its edits keep too little, so that they are asked for once more. `redpencil edit` is killed with
SIGKILL at random moments and started again until it is done. Then every row is compared with the edit that the server
gave, and the server's log of paid answers with the cache at each kill.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))

from redpencil.editing.prompt import ask_again, place_primer, render_edit_prompt
from redpencil.providers.base import Message, request_key
from redpencil.providers.openai_client import OpenAIClient
from redpencil.records import Edit, EditOutcome, Response, read_jsonl, write_jsonl
from stub_llm_server import REWRITTEN, hash_of, is_rewritten
from stub_llm_server import edit as stub_edit

MODEL: Final = "stub-1"
TEXT: Final = (
    "the of and a to in is that it was for on are with as his they be at one have this from or had by hot word but "
    "what some we can out other were all there when up use your how said an each she which do their time if will way "
    "about many then them write would like so these her long make thing see him two has look more day could go come "
    "did number sound no most people my over know water than call first who may down side been now find any new work"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the whole exercise came to. Rates are answers per second of the command's own running time, each answer
    counted once.
    """

    responses: int
    kills: int
    rows: int
    outcomes: dict[str, int]
    rows_wrong: int
    asked_twice_for_a_smaller_edit: int
    paid: int
    paid_twice: int
    under_way_at_kills: int
    paid_again_though_in_the_cache: int
    faults_met: dict[str, int]
    seconds: float
    answers_per_second: float


def make_responses(count: int, seed: int) -> Iterator[Response]:
    """Responses of 40 to 120 words, each different."""
    rng, words = random.Random(seed), TEXT.split()
    for number in range(count):
        text = " ".join(rng.choices(words, k=rng.randint(40, 120)))
        yield Response(f"r{number}", f"Question {number}: {' '.join(rng.choices(words, k=12))}?", f"{text}.", "policy")


@contextmanager
def stub_server(log: Path, options: argparse.Namespace) -> Iterator[str]:
    """A server with faults; yields its address."""
    shares = ("too-many", "errors", "malformed", "slow", "rewrites")
    flags = [f"--{name}={getattr(options, name.replace('-', '_'))}" for name in shares]
    script = Path(__file__).parent / "stub_llm_server.py"
    server = subprocess.Popen(
        [
            sys.executable,
            str(script),
            *flags,
            f"--seed={options.seed}",
            f"--log={log}",
            "--slow-s=1",
            "--retry-after-s=1",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}"
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def stats(address: str) -> dict[str, int]:
    """The server's counts."""
    with urllib.request.urlopen(f"{address}/stats") as answer:
        found: dict[str, int] = json.load(answer)
    return found


def start(folder: Path, address: str, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """The command, as a user would start it."""
    command = [str(Path(sys.executable).with_name("redpencil")), "edit", "--provider", "openai", "--model", MODEL]
    command += ["--responses", str(folder / "responses.jsonl"), "--out", str(folder / "edits.jsonl")]
    command += ["--base-url", f"{address}/v1", "--concurrency", str(options.concurrency), "--max-tokens", "1024"]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def committed(cache: Path) -> tuple[set[str], int]:
    """Keys that a dead process's cache has answers to, and how many requests were under way."""
    connection = sqlite3.connect(f"file:{cache}?mode=ro", uri=True)
    answered = {key.hex() for (key,) in connection.execute("SELECT key FROM answer WHERE text IS NOT NULL")}
    (open_,) = connection.execute("SELECT count(*) FROM answer WHERE text IS NULL AND problem IS NULL").fetchone()
    connection.close()
    return answered, int(open_)


def paid_answers(log: Path) -> list[str]:
    """Hashes of the messages that the server answered well, in order."""
    return [json.loads(line)["messages"] for line in log.read_bytes().splitlines()]


def run(folder: Path, options: argparse.Namespace) -> Outcome:
    """The whole exercise in `folder`."""
    write_jsonl(folder / "responses.jsonl", make_responses(options.responses, options.seed))
    log, cache = folder / "paid.jsonl", folder / "edits.jsonl.cache"
    rng = random.Random(options.seed)
    moments = sorted(rng.uniform(0.05, 0.9) * options.responses for _ in range(options.kills))
    seconds, repaid, under_way = 0.0, 0, 0
    watched: list[tuple[int, set[str]]] = []
    with stub_server(log, options) as address:
        keys = keys_by_hash(folder, address)
        for moment in [*moments, None]:
            process, began = start(folder, address, options), time.monotonic()
            while process.poll() is None and (moment is None or stats(address).get("paid", 0) < moment):
                time.sleep(0.01 if moment is not None else 0.2)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            code = process.wait()
            seconds += time.monotonic() - began
            if moment is None:
                if code != 0:
                    raise SystemExit((folder / "log.txt").read_text(encoding="utf-8"))
                break
            before = len(paid_answers(log))
            known, open_ = committed(cache)
            under_way += open_
            watched.append((before, known))
        counts = stats(address)
    paid = paid_answers(log)
    for before, known in watched:
        repaid += sum(keys.get(digest) in known for digest in paid[before:])
    return _outcome(folder, options, paid, counts, seconds, repaid, under_way)


CLIENT: Final = OpenAIClient(MODEL, max_tokens=1024, base_url="http://127.0.0.1/v1")


def requests_about(response: Response) -> list[list[Message]]:
    """The first request about a response, and the second one if the first answer keeps too little."""
    turns = place_primer(render_edit_prompt(response.prompt, response.response), "text")
    return [turns, ask_again(turns, REWRITTEN)]


def hash_of_turns(turns: list[Message]) -> str:
    """The hash under which the server knows a request."""
    return hash_of(CLIENT.body(turns))


def keys_by_hash(folder: Path, address: str) -> dict[str, str]:
    """The cache's key of each request to this server, by the hash under which the server knows it."""
    identity = replace(CLIENT, base_url=f"{address}/v1").identity
    return {
        hash_of_turns(turns): request_key(identity, turns)
        for response in read_jsonl(folder / "responses.jsonl", Response)
        for turns in requests_about(response)
    }


def _outcome(
    folder: Path,
    options: argparse.Namespace,
    paid: list[str],
    counts: dict[str, int],
    seconds: float,
    repaid: int,
    under_way: int,
) -> Outcome:
    outcomes: Counter[str] = Counter()
    wrong = rows = twice = 0
    for response, row in zip(
        read_jsonl(folder / "responses.jsonl", Response), read_jsonl(folder / "edits.jsonl", Edit), strict=True
    ):
        rows += 1
        outcomes[row.outcome.value] += 1
        twice += "retry" in row.meta
        first, second = map(hash_of_turns, requests_about(response))
        again = is_rewritten(first, options.rewrites)
        expected = stub_edit(response.response, second if again else first).strip()
        same = (row.id, row.prompt, row.original) == (response.id, response.prompt, response.response)
        right = same and row.edited == expected and ("retry" in row.meta) == again
        wrong += not (right or row.outcome is EditOutcome.FAILED)
    return Outcome(
        responses=options.responses,
        kills=options.kills,
        rows=rows,
        outcomes=dict(outcomes),
        rows_wrong=wrong,
        asked_twice_for_a_smaller_edit=twice,
        paid=len(paid),
        paid_twice=len(paid) - len(set(paid)),
        under_way_at_kills=under_way,
        paid_again_though_in_the_cache=repaid,
        faults_met={name: number for name, number in counts.items() if name in ("429", "500", "malformed", "gone")},
        seconds=round(seconds, 1),
        answers_per_second=round(len(set(paid)) / seconds, 1),
    )


def main(arguments: list[str]) -> dict[str, Any]:
    """Read the options, run, print, and fail if anything was lost, doubled or paid for twice without need."""
    parser = argparse.ArgumentParser(description="Edit through a faulty server, with kills; count what went wrong.")
    parser.add_argument("--responses", type=int, default=20_000, metavar="N", help="how many there are to edit")
    parser.add_argument("--kills", type=int, default=3, metavar="N", help="how often the command is killed")
    parser.add_argument("--concurrency", type=int, default=64, metavar="N", help="requests under way at once")
    for name, share, what in (
        ("too-many", 0.02, "429 with Retry-After"),
        ("errors", 0.01, "500"),
        ("malformed", 0.005, "a broken body"),
        ("slow", 0.005, "an answer that takes a second longer"),
        ("rewrites", 0.02, "a first answer that keeps too little, so that a second one is asked for"),
    ):
        parser.add_argument(
            f"--{name}", type=float, default=share, metavar="SHARE", help=f"share of {what} (default {share})"
        )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the responses, the faults and the kills")
    options = parser.parse_args(arguments)
    os.environ.pop("OPENAI_BASE_URL", None)
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(Path(folder), options)
    result = asdict(outcome)
    print(json.dumps(result, indent=2))
    sound = (
        outcome.rows == outcome.responses
        and outcome.rows_wrong == 0
        and outcome.outcomes.get("failed", 0) == 0
        and outcome.paid_again_though_in_the_cache == 0
        and outcome.paid_twice <= outcome.under_way_at_kills
    )
    if not sound:
        raise SystemExit("not sound: see rows_wrong, outcomes.failed, paid_again_though_in_the_cache, paid_twice")
    return result


if __name__ == "__main__":
    main(sys.argv[1:])
