"""Let many editors work at once on several server processes, kill servers, and count what was lost or doubled.

    python benchmarks/annotation_load.py --editors 24 --items 2000

Each editor is a thread with a connection of its own: it takes an item, saves drafts, hands in, and now and then gives
an item back, hands in twice or takes back, over HTTP. Servers are killed with SIGKILL in the middle and started again;
what was under way is sent again, as the page does. At the end the database is compared with what the servers had
acknowledged. With no `--think` the editors never pause, which is the load of hundreds of people.
"""

import argparse
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))

from annotation_ledger import STUCK_S, Ledger, Outcome, compare, tell
from annotation_servers import Server, free_port, temporary_postgres
from redpencil.records import Response
from redpencil.web.auth import add_person
from redpencil.web.database import open_database, writing
from redpencil.web.items import import_responses
from redpencil.web.project import ProjectConfig, write_project

TEXT: Final = (
    "the of and a to in is that it was for on are with as his they be at one have this from or had by hot word but "
    "what some we can out other were all there when up use your how said an each she which do their time if will way"
)
GIVE_BACK, SKIP, KEEP, TWICE, UNDO = 0.02, 0.02, 0.1, 0.03, 0.02
"""How often an editor gives an item back, skips it, finds nothing to edit, hands in twice, takes back what is in."""


class Editor:
    """One person at work, on one connection."""

    def __init__(self, port: int, token: str, ledger: Ledger, seed: int, think: float) -> None:
        self.port, self.ledger, self.think = port, ledger, think
        self.rng = random.Random(seed)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.headers: dict[str, str] = {}
        self.interrupted = False
        self._join(token)

    def _join(self, token: str) -> None:
        self.connection.request("POST", f"/join/{token}")
        answer = self.connection.getresponse()
        answer.read()
        if answer.status != 303:
            raise SystemExit(f"cannot join: status {answer.status}")
        self.headers = {"Cookie": (answer.getheader("Set-Cookie") or "").split(";")[0]}
        self.headers["X-CSRF-Token"] = self.call("GET", "/api/me")["csrf"]

    def work(self) -> None:
        """Go on until everything is done."""
        try:
            while not self.ledger.finished():
                task = self.call("POST", "/api/next", timed="next")
                if task is None:
                    time.sleep(0.05)
                else:
                    self._edit(task)
        except Exception as error:
            self.ledger.problem(f"{type(error).__name__}: {error}")
        finally:
            self.connection.close()

    def _edit(self, task: dict[str, Any]) -> None:
        path, text, version = f"/api/assignments/{task['assignment_id']}", task["draft"], task["version"]
        before = self.ledger.drafts.get(task["assignment_id"], task["response"])
        if text != before:
            self.ledger.problem(f"assignment {task['assignment_id']} came back with another draft")
        for _ in range(self.rng.randint(1, 3)):
            text = self._changed(text)
            version = self._save(path, task["assignment_id"], text, version)
        if self.rng.random() < GIVE_BACK:
            self.call("POST", f"{path}/release")
            return
        sent = {"version": version, "text": text, "outcome": self._outcome()}
        number = self._submit(path, task["assignment_id"], sent)
        if self.rng.random() < TWICE and self._submit(path, task["assignment_id"], sent) != number:
            self.ledger.problem(f"assignment {task['assignment_id']} was handed in twice")
        if self.rng.random() < UNDO and sent["outcome"] != "skipped":
            with self.ledger.lock:
                del self.ledger.standing[number]
                self.ledger.taken_back.add(number)
            again = self.call("POST", f"/api/submissions/{number}/undo")
            text = self._changed(again["draft"])
            self._submit(path, again["assignment_id"], {"version": again["version"], "text": text, "outcome": "edited"})

    def _changed(self, text: str) -> str:
        words = text.split(" ")
        words[self.rng.randrange(len(words))] = f"word{self.rng.randrange(10**9)}"
        return " ".join(words)

    def _outcome(self) -> str:
        drawn = self.rng.random()
        return "skipped" if drawn < SKIP else "no_edit_needed" if drawn < SKIP + KEEP else "edited"

    def _save(self, path: str, number: int, text: str, version: int) -> int:
        saved = self.call("PUT", f"{path}/draft", {"text": text, "version": version, "active_s": 1.0}, timed="draft")
        self.ledger.drafts[number] = text
        if self.interrupted and self.call("GET", path)["draft"] != text:
            self.ledger.problem(f"the draft of assignment {number} is not what was acknowledged")
        return int(saved["version"])

    def _submit(self, path: str, number: int, sent: dict[str, Any]) -> int:
        done = self.call("POST", f"{path}/submit", sent, timed="submit")
        with self.ledger.lock:
            self.ledger.drafts[number] = sent["text"]
            edited = sent["text"] if sent["outcome"] == "edited" else None
            self.ledger.standing[done["submission_id"]] = (sent["outcome"], edited)
            self.ledger.moved = time.monotonic()
        return int(done["submission_id"])

    def call(self, method: str, path: str, body: object = None, timed: str | None = None) -> Any:
        """Send a request until a server answers it; one that a kill interrupted is sent again as it was."""
        if timed is not None and self.think:
            time.sleep(self.rng.expovariate(1 / self.think))
        content = None if body is None else json.dumps(body).encode()
        began, self.interrupted = time.monotonic(), False
        while True:
            try:
                self.connection.request(method, path, content, self.headers)
                answer = self.connection.getresponse()
                found = answer.read()
            except (OSError, http.client.HTTPException):
                self.connection.close()
                self.ledger.counts["interrupted"] += not self.interrupted
                self.interrupted = True
                if time.monotonic() - began > STUCK_S or self.ledger.problems:
                    raise
                time.sleep(0.05)
                continue
            self.ledger.counts["requests"] += 1
            if answer.status == 503:
                self.ledger.counts["busy"] += 1
                time.sleep(0.5)
                continue
            break
        if timed is not None and not self.interrupted:
            self.ledger.times.setdefault(timed, []).append(time.monotonic() - began)
        if answer.status not in (200, 204):
            raise RuntimeError(f"{method} {path}: status {answer.status}, {found[:300]!r}")
        return json.loads(found) if found else None


def run(place: str, folder: Path, options: argparse.Namespace) -> Outcome:
    """The whole exercise on one new database."""
    tokens = prepare(place, options)
    ledger = Ledger(options.items * options.editors_per_item)
    servers = [Server(place, free_port(), folder / f"server-{n}.log") for n in range(options.servers)]
    try:
        for server in servers:
            server.start()
        editors = [
            Editor(servers[n % len(servers)].port, token, ledger, options.seed * 1000 + n, options.think)
            for n, token in enumerate(tokens)
        ]
        began = time.monotonic()
        threads = [threading.Thread(target=editor.work) for editor in editors]
        for thread in threads:
            thread.start()
        try:
            kill_on_the_way(servers, ledger, options)
        except BaseException as error:
            ledger.problem(f"{type(error).__name__}: {error}")  # which lets the editors end
            raise
        finally:
            for thread in threads:
                thread.join()
        seconds = time.monotonic() - began
    finally:
        for server in servers:
            server.kill()
    return compare(place, ledger, seconds, options)


def prepare(place: str, options: argparse.Namespace) -> list[str]:
    """A project with items and editors; gives the tokens of their invite links."""
    engine = open_database(place)
    rng, words = random.Random(options.seed), TEXT.split()
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(editors_per_item=options.editors_per_item, reason_required_for=()))
    import_responses(
        engine,
        (
            Response(f"r{n}", f"Question {n}?", " ".join(rng.choices(words, k=rng.randint(40, 120))))
            for n in range(options.items)
        ),
    )
    tokens = [add_person(engine, f"editor {n}") for n in range(options.editors)]
    engine.dispose()
    return tokens


def kill_on_the_way(servers: list[Server], ledger: Ledger, options: argparse.Namespace) -> None:
    """Kill one server after the other when so much is done, and start it again."""
    for number in range(options.kills):
        moment = ledger.wanted * (number + 1) / (options.kills + 1)
        while ledger.done() < moment and not ledger.finished():
            time.sleep(0.02)
        server = servers[number % len(servers)]
        server.kill()
        time.sleep(0.2)
        server.start()


def main(arguments: list[str]) -> list[Outcome]:
    """Read the options, run, print, and fail if anything was lost or doubled."""
    parser = argparse.ArgumentParser(description="Load the annotation service, kill servers, count what went wrong.")
    parser.add_argument("--editors", type=int, default=24)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--editors-per-item", type=int, default=2)
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--think", type=float, default=0.0, help="mean seconds before each call of an editor")
    parser.add_argument("--on", nargs="*", choices=("sqlite", "postgresql"), default=("sqlite", "postgresql"))
    parser.add_argument("--database", help="an empty PostgreSQL database, instead of a server of its own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.editors < options.editors_per_item + 4:
        parser.error("some editors skip an item: have at least four more of them than each item needs")
    outcomes = []
    for kind in options.on:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            place = f"{folder}/edits.db"
            if kind == "postgresql":
                place = options.database or stack.enter_context(temporary_postgres())
            outcomes.append(run(place, Path(folder), options))
    if options.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    else:
        for outcome in outcomes:
            tell(outcome)
    if not all(outcome.sound for outcome in outcomes):
        raise SystemExit("not sound: something was lost, doubled, or answered in a way that nobody expects")
    return outcomes


if __name__ == "__main__":
    main(sys.argv[1:])
