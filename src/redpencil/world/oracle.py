"""The oracle: reads a response sentence by sentence, and says what is right, what is wrong and where.

A response is a row of sentences, each ended by the word ".". A sentence is a fact, an opener, a closer, a filler,
or garbled. Around its core it may carry hedges and rude tails. Any string can be read.

- A fact that was asked for counts once if it is right; otherwise its value is a WRONG flaw.
- A fact that was stated before with the same value is REPEATED, a fact that was not asked for is OFF_TOPIC, and a
  sentence that cannot be read or has no end is GARBLED. These and FILLER span the whole sentence with its full
  stop, and what else is amiss inside it is not counted again.
- One opener at the start and one closer at the end are no flaws; anywhere else, or with a hedge or an insult, they
  are FILLER.
"""

import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from redpencil.errors import RedpencilError
from redpencil.records import Preference
from redpencil.world.facts import World
from redpencil.world.prompts import Request, prompt_texts
from redpencil.world.wording import CLOSERS, FILLERS, HEDGE_HEADS, HEDGE_TAILS, OPENERS, RUDE_TAILS

Words = tuple[str, ...]
WORD = re.compile(r"\S+")
STOP = "."


class FlawKind(enum.StrEnum):
    """What can be wrong with a stretch of a response."""

    WRONG = "wrong"
    HEDGE = "hedge"
    RUDE = "rude"
    FILLER = "filler"
    REPEATED = "repeated"
    OFF_TOPIC = "off_topic"
    GARBLED = "garbled"


@dataclass(frozen=True)
class Flaw:
    """A flaw and the characters of the response that it spans."""

    kind: FlawKind
    start: int
    end: int


@dataclass(frozen=True)
class ValueSpan:
    """A word that states the value of a requested slot, by its characters in the response."""

    slot: str
    start: int
    end: int
    correct: bool


@dataclass(frozen=True)
class Verdict:
    """What the oracle says about a response.

    `utility` is the number of requested facts that are right minus the number of flaws. `correct` names the requested
    slots with a right value, `missing` those of which nothing is said; both in the order of the request.
    `value_spans` are the values of requested facts, right or wrong, leaving repetitions out.
    """

    utility: float
    correct: tuple[str, ...]
    flaws: tuple[Flaw, ...]
    missing: tuple[str, ...]
    value_spans: tuple[ValueSpan, ...]

    def flaw_at(self, start: int, end: int) -> FlawKind | None:
        """The flaw that the characters from `start` to `end`, such as a token, take part in."""
        return next((flaw.kind for flaw in self.flaws if flaw.start < end and start < flaw.end), None)


@dataclass(frozen=True)
class _Form:
    """A sentence that states a fact, as words; `entity_at` is None where a pronoun stands for the entity."""

    slot: str
    words: Words
    entity_at: int | None
    value_at: int

    def matches(self, words: Words) -> bool:
        return all(a == b for i, (a, b) in enumerate(zip(self.words, words, strict=True)) if i not in self.open)

    @property
    def open(self) -> tuple[int | None, int]:
        return self.entity_at, self.value_at


@dataclass(frozen=True)
class _Fact:
    """A fact as stated; `entity` is None for "it", `value_at` counts words from the start of the core."""

    entity: str | None
    slot: str
    value: str
    value_at: int


@dataclass
class _Reading:
    """What has been read of a response so far."""

    flaws: list[Flaw]
    values: list[ValueSpan]
    stated: set[tuple[str, str]]


class Oracle:
    """Reads prompts and responses of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._requests = prompt_texts(world)
        self._forms: dict[int, list[_Form]] = {}
        for slots in world.slots.values():
            for slot in slots:
                for text in (*slot.named, *slot.pronoun):
                    words = tuple(text.split())
                    entity_at = words.index("{e}") if "{e}" in words else None
                    form = _Form(slot.name, words, entity_at, words.index("{v}"))
                    self._forms.setdefault(len(words), []).append(form)

    def request(self, prompt: str) -> Request:
        """What a prompt asks for.

        Raises:
            RedpencilError: if the text is no prompt of this world.
        """
        try:
            return self._requests[" ".join(prompt.split())]
        except KeyError:
            raise RedpencilError(
                f"{prompt[:80]!r} is no prompt of the world",
                field="prompt",
                way_out="use prompts that the world stage wrote",
            ) from None

    def prefers(self, prompt: str, first: str, second: str) -> Preference:
        """The response with the higher utility; TIE if they are equal."""
        difference = self.inspect(prompt, first).utility - self.inspect(prompt, second).utility
        if difference == 0:
            return Preference.TIE
        return Preference.FIRST if difference > 0 else Preference.SECOND

    def inspect(self, prompt: str, response: str) -> Verdict:
        """Read a response, whatever string it is.

        Raises:
            RedpencilError: if `prompt` is no prompt of this world.
        """
        request = self.request(prompt)
        spans = [match.span() for match in WORD.finditer(response)]
        words = tuple(response[start:end] for start, end in spans)
        reading = _Reading([], [], set())
        for first, stop in _sentences(words):
            flaws = self._read_sentence(words, first, stop, request, reading, spans)
            reading.flaws += [Flaw(kind, spans[a][0], spans[b - 1][1]) for kind, a, b in flaws]
        right = {value.slot for value in reading.values if value.correct}
        told = {value.slot for value in reading.values}
        return Verdict(
            utility=float(len(right) - len(reading.flaws)),
            correct=tuple(slot for slot in request.slots if slot in right),
            flaws=tuple(reading.flaws),
            missing=tuple(slot for slot in request.slots if slot not in told),
            value_spans=tuple(reading.values),
        )

    def _read_sentence(
        self,
        words: Words,
        first: int,
        stop: int,
        request: Request,
        reading: _Reading,
        spans: Sequence[tuple[int, int]],
    ) -> list[tuple[FlawKind, int, int]]:
        """Flaws of the sentence `words[first:stop]` as word ranges; what it states goes into `reading`."""
        if words[stop - 1] != STOP:
            return [(FlawKind.GARBLED, first, stop)]
        start, end, flaws = _strip(words, first, stop - 1)
        core = words[start:end]
        if not flaws and ((core in OPENERS and first == 0) or (core in CLOSERS and stop == len(words))):
            return []
        if core in OPENERS or core in CLOSERS or core in FILLERS:
            return [(FlawKind.FILLER, first, stop)]
        fact = self._fact(core)
        if fact is None:
            return [(FlawKind.GARBLED, first, stop)]
        if fact.entity not in (None, request.entity) or fact.slot not in request.slots:
            return [(FlawKind.OFF_TOPIC, first, stop)]
        if (fact.slot, fact.value) in reading.stated:
            return [(FlawKind.REPEATED, first, stop)]
        reading.stated.add((fact.slot, fact.value))
        correct = self.world.by_name[request.entity].facts[fact.slot] == fact.value
        at = start + fact.value_at
        reading.values.append(ValueSpan(fact.slot, *spans[at], correct))
        if not correct:
            flaws.append((FlawKind.WRONG, at, at + 1))
        return sorted(flaws, key=lambda flaw: flaw[1])

    def _fact(self, core: Words) -> _Fact | None:
        """The fact that a core states; any value word of the world may stand in the value's place."""
        for form in self._forms.get(len(core), ()):
            if core[form.value_at] not in self.world.values or not form.matches(core):
                continue
            entity = None if form.entity_at is None else core[form.entity_at]
            if entity is None or entity in self.world.by_name:
                return _Fact(entity, form.slot, core[form.value_at], form.value_at)
        return None


def _sentences(words: Words) -> Iterator[tuple[int, int]]:
    """Word ranges of the sentences, each with its full stop if it has one."""
    first = 0
    for index, word in enumerate(words):
        if word == STOP:
            yield first, index + 1
            first = index + 1
    if first < len(words):
        yield first, len(words)


def _strip(words: Words, start: int, end: int) -> tuple[int, int, list[tuple[FlawKind, int, int]]]:
    """Take hedges and rude tails off `words[start:end]`: the range that is left, and what was taken."""
    taken: list[tuple[FlawKind, int, int]] = []
    while head := next((h for h in HEDGE_HEADS if words[start : min(end, start + len(h))] == h), None):
        taken.append((FlawKind.HEDGE, start, start + len(head)))
        start += len(head)
    while tail := next((t for t in _TAILS if words[max(start, end - len(t[1])) : end] == t[1]), None):
        taken.append((tail[0], end - len(tail[1]), end))
        end -= len(tail[1])
    return start, end, sorted(taken, key=lambda flaw: flaw[1])


_TAILS = (*((FlawKind.HEDGE, tail) for tail in HEDGE_TAILS), *((FlawKind.RUDE, tail) for tail in RUDE_TAILS))
