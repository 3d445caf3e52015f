"""A stand-in for hosted LLMs on loopback: the Anthropic and the OpenAI chat API, with faults on demand.

    python benchmarks/stub_llm_server.py --too-many 0.02 --errors 0.01 --malformed 0.005 --slow 0.01 --log paid.jsonl

It prints `{"port": N}` and serves until it is stopped. Point a client at http://127.0.0.1:N (Anthropic) or
http://127.0.0.1:N/v1 (OpenAI). It answers with a small edit of the response that it finds in the prompt, always the
same for the same messages; asked to compare two outputs, it says that the longer one is better. Which request meets
which fault follows from --seed, the messages and how often they were sent, so that runs can be repeated and another try
gets through.

A prompt can order a fault for itself, with one of these anywhere in its text:

    {stub:refuse} {stub:length} {stub:empty} {stub:surrogate}   such an answer
    {stub:verdict=first}   this verdict on two outputs: first, second, tie, two (both at once) or prose (none)
    {stub:uncounted}       an answer that does not say how many tokens it took
    {stub:used=-5}         an answer that says it took so many
    {stub:charset=utf-16}  says that the UTF-8 of the body is another encoding
    {stub:status=400}      this HTTP status, every time         {stub:once=500}     the first time only
    {stub:quota}           says that the money is used up, with a status beside it
    {stub:echo}            says the API key that came, with a status beside it
    {stub:malformed=KIND}  a broken body with status 200, the first time only; see stub_llm_bodies.py
                           {stub:malformed=error-429} an error in it, {stub:malformed=ends-abort} an odd end
    {stub:broken=KIND}     the same, every time; also `echo`: the API key that came
    {stub:trickle=0.1}     an answer of which a byte comes every 0.1 s
    {stub:endless}         a body that does not end
    {stub:delay=1.5}       an answer that takes 1.5 s           {stub:stall=1.5}    the first time only

GET /stats tells counts and the most requests that were under way at once, GET /last the last body that came in.
"""

import argparse
import asyncio
import hashlib
import json
import re
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

sys.path.insert(0, str(Path(__file__).parent))

from stub_llm_bodies import MALFORMED, anthropic_body, malformed_body, openai_body
from stub_llm_judge import verdict_of

_REASONS: Final = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found", 429: b"Too Many Requests"}
_ORDER: Final = re.compile(r"\{stub:([a-z]+)(?:=([\w.+-]+))?\}")
_RESPONSE: Final = re.compile(r"^Response: ?(.*?)(?:\n\nPlease make minimal changes|\Z)", re.MULTILINE | re.DOTALL)
_WORD: Final = re.compile(r"\S+")
REWRITTEN: Final = "Something else entirely!"
"""An answer that keeps too little of any response."""


@dataclass(slots=True)
class Faults:
    """Shares of the requests that meet a fault, and how long things take, in seconds."""

    too_many: float = 0.0
    errors: float = 0.0
    malformed: float = 0.0
    slow: float = 0.0
    rewrites: float = 0.0
    slow_s: float = 2.0
    latency_s: float = 0.0
    retry_after_s: float = 1.0
    seed: int = 0


@dataclass(slots=True)
class Stub:
    """What all connections share."""

    faults: Faults
    key: str | None = None
    model: str | None = None
    log: BinaryIO | None = None
    attempts: Counter[tuple[str, str]] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0
    last: Any = None

    def stats(self) -> dict[str, int]:
        """Counts of what was answered how, and the most requests under way at once."""
        return {**self.counts, "in_flight": self.in_flight, "most_in_flight": self.most_in_flight}


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back, and when: each byte after `byte_s` seconds, and blank space without end if `endless`.

    `paid` is the hash of the messages where the answer is a good one.
    """

    status: int
    body: bytes
    delay: float = 0.0
    headers: tuple[bytes, ...] = ()
    paid: str = ""
    charset: str = ""
    byte_s: float = 0.0
    endless: bool = False


def hash_of(body: dict[str, Any]) -> str:
    """SHA-256 of what was asked: the system text and the messages."""
    asked = [body.get("system"), body.get("messages")]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def is_rewritten(digest: str, share: float) -> bool:
    """Whether the first answer to these messages keeps too little, by lot."""
    return int(digest[24:36], 16) / 16**12 < share


def edit(response: str, digest: str) -> str:
    """A small edit: a word replaced, taken out or put in; for one request in ten, none."""
    words = list(_WORD.finditer(response))
    if not words or int(digest[:8], 16) % 10 == 0:
        return response
    word = words[int(digest[8:16], 16) % len(words)]
    put = ("corrected", "", f"{word[0]} indeed")[int(digest[16:24], 16) % 3]
    start = word.start() - (1 if not put and word.start() and response[word.start() - 1] == " " else 0)
    return response[:start] + put + response[word.end() :]


def reply_to(stub: Stub, path: str, headers: dict[bytes, bytes], raw: bytes) -> Reply:
    """The reply to a POST."""
    anthropic = path == "/v1/messages"
    if not anthropic and path != "/v1/chat/completions":
        return _error(404, f"no such path: {path}")
    sent = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
    if stub.key is not None and sent.decode("latin-1") != stub.key:
        return _error(401, f"invalid API key: {sent.decode('latin-1')}")
    try:
        body = json.loads(raw)
        text = "\n".join(turn["content"] for turn in body["messages"])
        next(turn for turn in body["messages"] if turn["role"] == "user")
        model = str(body["model"])
    except (ValueError, KeyError, TypeError, StopIteration):
        return _error(400, "the body holds no model, or no messages of a user")
    stub.last = body
    if stub.model is not None and model != stub.model:
        return _error(404, f"model: {model}")
    digest = hash_of(body)
    sent_before = stub.attempts[path, digest]
    stub.attempts[path, digest] += 1
    orders = dict(_ORDER.findall(text)) if "{stub:" in text else {}
    first = sent_before == 0
    lot = hashlib.sha256(f"{stub.faults.seed} {digest} {sent_before}".encode()).digest()
    key = sent.decode("latin-1")
    reply = _fault(stub, orders, lot, first, anthropic, key) or Reply(
        200,
        json.dumps(_answer(stub, body["messages"], model, orders, digest, anthropic)).encode(),
        _delay(stub.faults, orders, lot, first),
        paid=digest if not {"trickle", "endless"} & orders.keys() else "",
        byte_s=float(orders.get("trickle", 0)),
        endless="endless" in orders,
    )
    return replace(reply, charset=orders.get("charset", ""))


def _error(status: int, message: str, *, delay: float = 0.0, headers: tuple[bytes, ...] = ()) -> Reply:
    kind = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}.get(status, "stub_error")
    error = {"type": "error", "error": {"type": kind, "message": message}}
    return Reply(status, json.dumps(error).encode(), delay, headers)


def _share(lot: bytes) -> float:
    return int.from_bytes(lot[:6]) / 2**48


def _fault(stub: Stub, orders: dict[str, str], lot: bytes, first: bool, anthropic: bool, key: str) -> Reply | None:
    """The fault that this attempt meets, by order or by lot."""
    faults = stub.faults
    status = int(orders.get("status") or (first and orders.get("once")) or 0)
    kind = orders.get("broken") or (first and orders.get("malformed"))
    if not status and not kind:
        share = _share(lot)
        if share < faults.too_many:
            status = 429
        elif share < faults.too_many + faults.errors:
            status = 500
        elif share < faults.too_many + faults.errors + faults.malformed:
            kind = MALFORMED[lot[6] % len(MALFORMED)]
    if status:
        wait = (b"retry-after: %g" % faults.retry_after_s,) if status == 429 else ()
        why = "insufficient_quota: the credit balance is too low" if "quota" in orders else ""
        why = why or (f"invalid key {key}" if "echo" in orders else f"ordered to fail with {status}")
        return _error(status, why, delay=faults.latency_s, headers=wait)
    if kind == "echo":
        return Reply(200, f"sorry, this is an invalid API key: {key}".encode(), faults.latency_s)
    return Reply(200, malformed_body(str(kind), anthropic), faults.latency_s) if kind else None


def _delay(faults: Faults, orders: dict[str, str], lot: bytes, first: bool) -> float:
    ordered = float(orders.get("delay", 0)) + (float(orders.get("stall", 0)) if first else 0)
    late = _share(lot) > 1 - faults.slow
    return faults.latency_s + ordered + (faults.slow_s if late else 0)


def _answer(
    stub: Stub, messages: list[dict[str, str]], model: str, orders: dict[str, str], digest: str, anthropic: bool
) -> dict[str, Any]:
    """An edit of the response in the prompt, also where a later turn asks for it once more."""
    said = [turn["content"] for turn in messages if turn["role"] == "user"]
    found = next(filter(None, map(_RESPONSE.search, said)), None)
    human = said[-1]
    rewritten = len(said) == 1 and is_rewritten(digest, stub.faults.rewrites)
    verdict = verdict_of(human, orders.get("verdict"))
    text = verdict or (REWRITTEN if rewritten else edit(found[1] if found else human, digest))
    if "surrogate" in orders:
        text += " \ud83d"
    if "empty" in orders:
        text = ""
    stop = "refuse" if "refuse" in orders else "length" if "length" in orders else "end"
    used = (len(human.encode("utf-8", "replace")) // 4 + 1, len(text.encode("utf-8", "replace")) // 4 + 1)
    body = anthropic_body(text, stop, model, used) if anthropic else openai_body(text, stop, model, used)
    if "uncounted" in orders:
        del body["usage"]
    if "used" in orders:
        body["usage"] = dict.fromkeys(body["usage"], int(float(orders["used"])))
    return body


class Connection(asyncio.Protocol):
    """One keep-alive connection: HTTP/1.1 with Content-Length, one request after the other."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where replies go."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it; a reply that is due will not be sent, and is not paid for."""
        del exc
        self._transport = None
        if self._due is not None:
            self._due.cancel()
            self._stub.in_flight -= 1
            self._stub.counts["gone"] += 1

    def data_received(self, data: bytes) -> None:
        """Collect bytes and serve what is whole."""
        self._buffer += data
        self._serve()

    def _serve(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._due is not None:
            return
        start, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        pairs = (line.split(b":", 1) for line in lines)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        size = end + 4 + int(headers.get(b"content-length", 0))
        if len(self._buffer) < size:
            return
        raw = bytes(self._buffer[end + 4 : size])
        del self._buffer[:size]
        method, path, _ = start.decode("latin-1").split(" ", 2)
        if method == "GET":
            shown = self._stub.stats() if path == "/stats" else self._stub.last
            self._send(Reply(200, json.dumps(shown).encode()))
            return
        stub = self._stub
        stub.in_flight += 1
        stub.most_in_flight = max(stub.most_in_flight, stub.in_flight)
        reply = reply_to(stub, path, headers, raw)
        if reply.delay:
            self._due = asyncio.get_running_loop().call_later(reply.delay, self._finish, reply)
        else:
            self._finish(reply)

    def _finish(self, reply: Reply) -> None:
        stub = self._stub
        self._due = None
        stub.in_flight -= 1
        stub.counts["paid" if reply.paid else f"{reply.status}" if reply.status != 200 else "malformed"] += 1
        if reply.paid and stub.log is not None:
            stub.log.write(b'{"messages": "%s", "time": %.6f}\n' % (reply.paid.encode(), time.time()))
        self._send(reply)
        self._serve()

    def _send(self, reply: Reply) -> None:
        if self._transport is None:
            return
        charset = f"; charset={reply.charset}".encode() if reply.charset else b""
        head = [
            b"HTTP/1.1 %d %s" % (reply.status, _REASONS.get(reply.status, b"Error")),
            b"content-type: application/json" + charset,
            b"connection: close" if reply.endless else b"content-length: %d" % len(reply.body),
            *reply.headers,
        ]
        self._transport.write(b"\r\n".join(head) + b"\r\n\r\n")
        if reply.byte_s or reply.endless:
            self._dribble(reply, 0)
        else:
            self._transport.write(reply.body)

    def _dribble(self, reply: Reply, start: int) -> None:
        if self._transport is None or start >= len(reply.body):
            return
        if reply.endless:
            if self._transport.get_write_buffer_size() < 2**20:
                self._transport.write(b" " * 2**16)
        else:
            self._transport.write(reply.body[start : start + 1])
            start += 1
        asyncio.get_running_loop().call_later(reply.byte_s, self._dribble, reply, start)


async def serve(stub: Stub, port: int) -> None:
    """Print the port and serve until SIGTERM or Ctrl-C."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", port, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await stop.wait()
    server.close()


def main(arguments: list[str]) -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description="A stand-in for hosted LLMs on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    for name, what in (
        ("too-many", "429 with Retry-After"),
        ("errors", "500"),
        ("malformed", "a broken body with status 200"),
        ("rewrites", "a first answer that keeps too little of the response"),
        ("slow", "an answer that takes --slow-s longer"),
    ):
        parser.add_argument(f"--{name}", type=float, default=0.0, metavar="SHARE", help=f"share of {what}")
    parser.add_argument("--slow-s", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--latency-s", type=float, default=0.0, metavar="SECONDS", help="of every answer")
    parser.add_argument("--retry-after-s", type=float, default=1.0, metavar="SECONDS", help="told with each 429")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--key", help="refuse every other API key with 401")
    parser.add_argument("--model", help="know no other model: 404")
    parser.add_argument("--log", type=Path, help="append a line for each answer that is paid for")
    options = parser.parse_args(arguments)
    faults = Faults(
        options.too_many,
        options.errors,
        options.malformed,
        options.slow,
        options.rewrites,
        options.slow_s,
        options.latency_s,
        options.retry_after_s,
        options.seed,
    )
    # Unbuffered: a line is in the file before its answer is sent.
    log = None if options.log is None else options.log.open("ab", buffering=0)
    asyncio.run(serve(Stub(faults, options.key, options.model, log), options.port))


if __name__ == "__main__":
    main(sys.argv[1:])
