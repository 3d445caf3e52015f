"""A provider job: ask a provider about many rows, over a response cache, and make a result of each row.

Asking and reading are separate steps. `ProviderJob.ask` sends the requests that have no answer yet and stores what
comes; `ProviderJob.results` makes the results from what the cache holds, at any time. So a job that was stopped goes
on where it was, and its results are the same as those of a job that ran through.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Final, Generic, TypeVar

from redpencil.providers.base import Completion, Message, Provider, Request, Result, Usage, request_key
from redpencil.providers.cache import ResponseCache

NEVER_ASKED: Final = "never asked"
"""The problem of a row whose request was not sent yet."""

Conversation = Generator[Sequence[Message], Completion | None, None]
"""The requests about one row. Each `yield` gives the messages of a request and receives its answer, None where there
is none, so that a further request may depend on the answers before it."""

Row = TypeVar("Row")
Output = TypeVar("Output")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, and its answer or why it has none. `batch`: the answer came in a batch."""

    request: Request
    completion: Completion | None = None
    problem: str | None = None
    batch: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Counts of what `ProviderJob.ask` would send.

    Args:
        rows: all rows.
        skipped: rows that need no request.
        complete: rows whose requests all have an answer.
        answered: requests that have an answer, each counted once.
        to_ask: requests to send.
        interrupted: those of them that were pending when an earlier process ended.
        input_bytes: size of the requests to send, in UTF-8.
        output_bytes: estimated size of their answers.
    """

    rows: int = 0
    skipped: int = 0
    complete: int = 0
    answered: int = 0
    to_ask: int = 0
    interrupted: int = 0
    input_bytes: int = 0
    output_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens of answers that were asked for one by one, and of those that came in batches."""

    live: Usage
    batch: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderJob(Generic[Row, Output]):
    """Rows, the requests about each of them, and the result that their answers make.

    Args:
        rows: the rows; they are iterated several times.
        requests_of: the requests about a row.
        result_of: the result of a row, given its requests with their answers.
        answer_bytes: expected length of an answer about a row, in bytes.
        provider: answers the requests.
        cache: where the answers are stored.
        sent: keys of the requests that this job has sent. It sends no request twice, also none that failed.
    """

    rows: Iterable[Row]
    requests_of: Callable[[Row], Conversation]
    result_of: Callable[[Row, Sequence[Exchange]], Output]
    answer_bytes: Callable[[Row], int]
    provider: Provider
    cache: ResponseCache
    sent: set[str] = field(default_factory=set)

    def exchanges_of(self, row: Row) -> Iterator[Exchange]:
        """Yield the requests about a row that are known now, with their answers."""
        conversation = self.requests_of(row)
        messages = next(conversation, None)
        while messages is not None:
            request = Request(request_key(self.provider.identity, messages), tuple(messages))
            entry = self.cache.get(request.key)
            yield Exchange(request, entry.completion, entry.problem, entry.batch)
            try:
                messages = conversation.send(entry.completion)
            except StopIteration:
                return

    def exchanges(self) -> Iterator[Exchange]:
        """Yield the requests about all rows that are known now, with their answers.

        Raises:
            RedpencilError: if no request can be made of a row.
        """
        for row in self.rows:
            yield from self.exchanges_of(row)

    def unanswered(self) -> Iterator[Request]:
        """Yield the requests that have no answer."""
        return (exchange.request for exchange in self.exchanges() if exchange.completion is None)

    def plan(self) -> Plan:
        """Count what `ask` would send now. A request that depends on an answer is known only after that answer."""
        rows = skipped = complete = interrupted = input_bytes = output_bytes = 0
        answered, to_ask = set[str](), set[str]()
        for row in self.rows:
            rows += 1
            exchanges = list(self.exchanges_of(row))
            missing = [exchange.request for exchange in exchanges if exchange.completion is None]
            skipped += not exchanges
            complete += bool(exchanges) and not missing
            answered.update(exchange.request.key for exchange in exchanges if exchange.completion is not None)
            for request in missing:
                if request.key in to_ask or request.key in self.sent:
                    continue
                to_ask.add(request.key)
                interrupted += self.cache.get(request.key).pending
                input_bytes += sum(len(message.content.encode()) for message in request.messages)
                output_bytes += self.answer_bytes(row)
        return Plan(rows, skipped, complete, len(answered), len(to_ask), interrupted, input_bytes, output_bytes)

    def ask(self, enough: Callable[[], bool] = lambda: False) -> Iterator[Result]:
        """Send the requests that have no answer and yield each result after it is stored.

        Requests that an earlier job sent without success come last, so that they never keep others from being sent;
        for that the rows are gone through twice. Nothing more is sent once `enough` returns True. Requests that depend
        on an answer of this call are left for the next call.

        Raises:
            RedpencilError: as `exchanges`, or if no request can succeed.
        """
        for request, result in self.provider.answer(self._requests_to_send(enough)):
            self.cache.store(request.key, self.provider.name, result)
            yield result

    def _requests_to_send(self, enough: Callable[[], bool]) -> Iterator[Request]:
        for exchange in takewhile(lambda _: not enough(), self._new_before_failed()):
            request = exchange.request
            if request.key not in self.sent:
                self.sent.add(request.key)
                self.cache.mark_sent(request.key, self.provider.name)
                yield replace(request, failed_before=exchange.problem is not None)

    def _new_before_failed(self) -> Iterator[Exchange]:
        failed = False
        for exchange in self.exchanges():
            if exchange.completion is None:
                if exchange.problem is None:
                    yield exchange
                else:
                    failed = True
        if failed:
            yield from (exchange for exchange in self.exchanges() if exchange.completion is None)

    def results(self) -> Iterator[Output]:
        """Yield the result of each row, in the order of the rows."""
        for row in self.rows:
            yield self.result_of(row, list(self.exchanges_of(row)))

    def spent(self) -> Spent:
        """Sum up the tokens of all answers about the rows, each answer counted once."""
        seen = set[str]()
        totals = {False: Usage(0, 0), True: Usage(0, 0)}
        for exchange in self.exchanges():
            usage = None if exchange.completion is None else exchange.completion.usage
            if usage is not None and exchange.request.key not in seen:
                seen.add(exchange.request.key)
                total = totals[exchange.batch]
                totals[exchange.batch] = Usage(
                    total.input_tokens + usage.input_tokens, total.output_tokens + usage.output_tokens
                )
        return Spent(live=totals[False], batch=totals[True])

    def foreign_keys(self, keys: Iterable[str]) -> set[str]:
        """Return those of the keys that belong to no request about the rows."""
        return set(keys).difference(exchange.request.key for exchange in self.exchanges())
