"""The oracle, which reads a response sentence by sentence and finds right facts and flaws with their spans.

A response is a sequence of sentences, each ended by the word ".". A sentence is a statement, an opener, a closer, a
filler, or garbled. Around its core it may have hedges and rude tails. Any string can be read.

- A statement about a requested slot counts once if it is right; otherwise its value is a WRONG flaw.
- A statement made before with the same value is REPEATED, one that does not belong in the response has the flaw that
  the task names (such as OFF_TOPIC), and a sentence that cannot be read or has no end is GARBLED. These and FILLER
  span the whole sentence with its full stop, and other flaws inside it are not counted.
- One opener at the start and one closer at the end are harmless; anywhere else, or with a hedge or an insult, they
  are FILLER.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from redpencil.records import Preference
from redpencil.world.domain import (
    STOP,
    WORD,
    Domain,
    Flaw,
    FlawKind,
    Task,
    ValueSpan,
    Verdict,
    WordFlaw,
    Words,
    sentences,
)


@dataclass
class _Reading:
    """The state after the sentences read so far."""

    flaws: list[Flaw]
    values: list[ValueSpan]
    stated: set[tuple[str, str]]


class Oracle:
    """A reader of prompts and responses of a domain."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    def prefers(self, prompt: str, first: str, second: str) -> Preference:
        """Return the response with the higher utility; TIE if they are equal."""
        difference = self.inspect(prompt, first).utility - self.inspect(prompt, second).utility
        if difference == 0:
            return Preference.TIE
        return Preference.FIRST if difference > 0 else Preference.SECOND

    def inspect(self, prompt: str, response: str) -> Verdict:
        """Read a response, whatever string it is.

        Raises:
            RedpencilError: if `prompt` is not a prompt of this domain.
        """
        task = self.domain.task(prompt)
        spans = [match.span() for match in WORD.finditer(response)]
        words = tuple(response[start:end] for start, end in spans)
        reading = _Reading([], [], set())
        for first, stop in sentences(words):
            flaws = self._read_sentence(words, first, stop, task, reading, spans)
            reading.flaws += [Flaw(kind, spans[a][0], spans[b - 1][1]) for kind, a, b in flaws]
        right = {value.slot for value in reading.values if value.correct}
        stated = {value.slot for value in reading.values}
        return Verdict(
            utility=float(len(right) - len(reading.flaws)),
            correct=tuple(slot for slot in task.slots if slot in right),
            flaws=tuple(reading.flaws),
            missing=tuple(slot for slot in task.slots if slot not in stated),
            value_spans=tuple(reading.values),
        )

    def _read_sentence(
        self, words: Words, first: int, stop: int, task: Task, reading: _Reading, spans: Sequence[tuple[int, int]]
    ) -> list[WordFlaw]:
        """Return the flaws of the sentence `words[first:stop]` as word ranges, and add its statement to `reading`."""
        if words[stop - 1] != STOP:
            return [(FlawKind.GARBLED, first, stop)]
        wording = self.domain.wording
        start, end, flaws = wording.strip(words, first, stop - 1)
        core = words[start:end]
        if not flaws and ((core in wording.openers and first == 0) or (core in wording.closers and stop == len(words))):
            return []
        if core in wording.openers or core in wording.closers or core in wording.fillers:
            return [(FlawKind.FILLER, first, stop)]
        statement = self.domain.statement(core)
        fault = FlawKind.GARBLED if statement is None else task.fault(statement)
        if statement is None or fault is not None:
            return [(fault or FlawKind.GARBLED, first, stop)]
        if (statement.slot, statement.value) in reading.stated:
            return [(FlawKind.REPEATED, first, stop)]
        reading.stated.add((statement.slot, statement.value))
        correct = task.truth(statement.slot) == statement.value
        at = start + statement.value_at
        reading.values.append(ValueSpan(statement.slot, *spans[at], correct))
        if not correct:
            flaws.append((FlawKind.WRONG, at, at + 1))
        return sorted(flaws, key=lambda flaw: flaw[1])
