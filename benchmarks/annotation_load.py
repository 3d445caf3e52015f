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
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))

from sqlalchemy import Connection, func, select

from annotation_servers import Server, free_port, temporary_postgres
from redpencil.records import Response
from redpencil.web.database import open_database, reading, writing
from redpencil.web.items import import_responses
from redpencil.web.people import add_person
from redpencil.web.project import ProjectConfig, write_project
from redpencil.web.schema import assignment, item, submission

TEXT: Final = (
    "the of and a to in is that it was for on are with as his they be at one have this from or had by hot word but "
    "what some we can out other were all there when up use your how said an each she which do their time if will way"
)
GIVE_BACK, SKIP, KEEP, TWICE, UNDO = 0.02, 0.02, 0.1, 0.03, 0.02
"""How often an editor gives an item back, skips it, finds nothing to edit, hands in twice, takes back what is in."""
STUCK_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the whole exercise came to. Times are of calls that no kill interrupted, as an editor sees them."""

    database: str
    editors: int
    items: int
    editors_per_item: int
    servers: int
    kills: int
    submissions: int
    lost: int
    doubled: int
    texts_wrong: int
    items_wrong: int
    drafts: int
    drafts_wrong: int
    interrupted: int
    busy: int
    problems: list[str]
    requests: int
    seconds: float
    requests_per_second: float
    draft_p50_ms: float
    draft_p99_ms: float
    submit_p50_ms: float
    submit_p99_ms: float
    next_p50_ms: float
    next_p99_ms: float

    @property
    def sound(self) -> bool:
        """Whether nothing was lost, doubled or answered in a way that nobody expects."""
        return not (
            self.lost
            or self.doubled
            or self.texts_wrong
            or self.items_wrong
            or self.drafts_wrong
            or self.busy
            or self.problems
        )


@dataclass
class Ledger:
    """What the servers acknowledged, noted by all editors together."""

    wanted: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    standing: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    """Outcome and edited text of each submission that was not taken back."""
    taken_back: set[int] = field(default_factory=set)
    drafts: dict[int, str] = field(default_factory=dict)
    """The last text of each assignment."""
    times: dict[str, list[float]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    moved: float = field(default_factory=time.monotonic)

    def done(self) -> int:
        """How many submissions stand, without those that skip."""
        with self.lock:
            return sum(outcome != "skipped" for outcome, _ in self.standing.values())

    def finished(self) -> bool:
        """Whether all is done, something went wrong, or nothing moves any more."""
        if time.monotonic() - self.moved > STUCK_S:
            self.problem(f"nothing was handed in for {STUCK_S:.0f} s")
        return bool(self.problems) or self.done() >= self.wanted

    def problem(self, text: str) -> None:
        """Note what nobody expects."""
        with self.lock:
            self.problems.append(text)


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


def compare(place: str, ledger: Ledger, seconds: float, options: argparse.Namespace) -> Outcome:
    """Hold what the database has against what was acknowledged."""
    engine = open_database(place)
    with reading(engine) as connection:
        found = found_in(connection, options.editors_per_item)
    engine.dispose()
    standing: dict[int, tuple[str, str | None]] = found["standing"]
    requests = ledger.counts["requests"]
    return Outcome(
        database=place.split(":")[0] if "://" in place else "sqlite",
        editors=options.editors,
        items=options.items,
        editors_per_item=options.editors_per_item,
        servers=options.servers,
        kills=options.kills,
        submissions=len(standing) + len(found["taken_back"]),
        lost=len(ledger.standing.keys() - standing.keys()) + len(ledger.taken_back - found["taken_back"]),
        doubled=len(standing.keys() - ledger.standing.keys()) + found["doubled"],
        texts_wrong=sum(standing.get(number, sent) != sent for number, sent in ledger.standing.items()),
        items_wrong=found["items_wrong"],
        drafts=len(ledger.drafts),
        drafts_wrong=sum(found["drafts"].get(number) != text for number, text in ledger.drafts.items()),
        interrupted=ledger.counts["interrupted"],
        busy=ledger.counts["busy"],
        problems=ledger.problems[:10],
        requests=requests,
        seconds=round(seconds, 1),
        requests_per_second=round(requests / seconds, 1),
        **{
            f"{name}_p{share}_ms": percentile(ledger.times.get(name, []), share)
            for name in ("draft", "submit", "next")
            for share in (50, 99)
        },
    )


def found_in(connection: Connection, editors_per_item: int) -> dict[str, Any]:
    """What the database holds, in the terms of the ledger."""
    rows = connection.execute(select(submission)).all()
    current = [row for row in rows if row.undone is None]
    done = Counter(row.item_id for row in current if row.outcome != "skipped")
    people = Counter((row.item_id, row.person_id) for row in current)
    counted = {row.id: row.done for row in connection.execute(select(item.c.id, item.c.done))}
    open_ones = connection.execute(select(func.count()).where(assignment.c.state == "open")).scalar_one()
    wrong = sum(not count == done[number] == editors_per_item for number, count in counted.items())
    return {
        "standing": {row.id: (row.outcome, row.edited) for row in current},
        "taken_back": {row.id for row in rows if row.undone is not None},
        "doubled": sum(count > 1 for count in people.values()),
        "items_wrong": wrong + open_ones,
        "drafts": {row.id: row.draft for row in connection.execute(select(assignment.c.id, assignment.c.draft))},
    }


def percentile(seconds: list[float], share: int) -> float:
    """In milliseconds; 0 for none."""
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 1) if ordered else 0.0


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


def tell(outcome: Outcome) -> None:
    """The outcome in a few lines."""
    print(
        f"{outcome.database}: {outcome.editors} editors, {outcome.items:,} items for {outcome.editors_per_item} each, "
        f"{outcome.servers} servers, {outcome.kills} kills\n"
        f"  {outcome.submissions:,} submissions: {outcome.lost} lost, {outcome.doubled} doubled, "
        f"{outcome.texts_wrong} with another text; {outcome.items_wrong} items not done by exactly "
        f"{outcome.editors_per_item}; {outcome.drafts_wrong} of {outcome.drafts:,} drafts not as acknowledged\n"
        f"  {outcome.interrupted} calls interrupted by kills, {outcome.busy} answered 'busy'\n"
        f"  {outcome.requests:,} requests in {outcome.seconds} s, {outcome.requests_per_second}/s\n"
        f"  autosave {outcome.draft_p50_ms} ms (p50), {outcome.draft_p99_ms} ms (p99); "
        f"submit {outcome.submit_p50_ms}, {outcome.submit_p99_ms}; next item {outcome.next_p50_ms}, "
        f"{outcome.next_p99_ms}"
    )
    for problem in outcome.problems:
        print(f"  {problem}")


if __name__ == "__main__":
    main(sys.argv[1:])
