"""The interface of a domain of the small world (prompts, corpus, statements) and the parts that domains share."""

import enum
import random
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, Self

from redpencil.errors import RedpencilError
from redpencil.records import Prompt


class FlawKind(enum.StrEnum):
    """The kinds of flaws of a part of a response."""

    WRONG = "wrong"
    HEDGE = "hedge"
    RUDE = "rude"
    FILLER = "filler"
    REPEATED = "repeated"
    UNSUPPORTED = "unsupported"
    TRIVIAL = "trivial"
    OFF_TOPIC = "off_topic"
    GARBLED = "garbled"


@dataclass(frozen=True)
class Flaw:
    """A flaw and its characters in the response, end excluded."""

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
    """An oracle's verdict on a response.

    `utility` is the number of requested facts that are right minus the number of flaws. `correct` names the requested
    slots with a right value, `missing` those without any; both in the order of the request. `value_spans` are the
    values of requested facts, right or wrong, without repetitions.
    """

    utility: float
    correct: tuple[str, ...]
    flaws: tuple[Flaw, ...]
    missing: tuple[str, ...]
    value_spans: tuple[ValueSpan, ...]

    def flaw_at(self, start: int, end: int) -> FlawKind | None:
        """Return the flaw that overlaps the characters from `start` to `end`, such as a token."""
        return next((flaw.kind for flaw in self.flaws if flaw.start < end and start < flaw.end), None)


Words = tuple[str, ...]
WordFlaw = tuple[FlawKind, int, int]
"""A flaw and its range of words."""
WORD = re.compile(r"\S+")
STOP = "."


def phrases(*texts: str) -> tuple[Words, ...]:
    """Split each text into its words."""
    return tuple(tuple(text.split()) for text in texts)


def words_of(texts: Iterable[str], groups: Iterable[Words]) -> set[str]:
    """Collect the words of texts, without their `{places}`, and of groups of words; always includes the full stop."""
    words = {STOP}
    for text in texts:
        words.update(re.sub(r"\{\w+\}", " ", text).split())
    for group in groups:
        words.update(group)
    return words


@dataclass(frozen=True)
class Wording:
    """Phrases around the statements of a domain: whole sentences, and additions to a sentence."""

    openers: tuple[Words, ...]
    closers: tuple[Words, ...]
    fillers: tuple[Words, ...]
    hedge_heads: tuple[Words, ...]
    hedge_tails: tuple[Words, ...]
    rude_tails: tuple[Words, ...]

    @property
    def phrases(self) -> tuple[Words, ...]:
        return tuple(phrase for field in fields(self) for phrase in getattr(self, field.name))

    def strip(self, words: Words, start: int, end: int) -> tuple[int, int, list[WordFlaw]]:
        """Strip hedges and rude tails off `words[start:end]`; returns the remaining range and the flaws."""
        tails = [(FlawKind.HEDGE, tail) for tail in self.hedge_tails]
        tails += [(FlawKind.RUDE, tail) for tail in self.rude_tails]
        flaws: list[WordFlaw] = []
        while head := next((h for h in self.hedge_heads if words[start : min(end, start + len(h))] == h), None):
            flaws.append((FlawKind.HEDGE, start, start + len(head)))
            start += len(head)
        while tail := next((t for t in tails if words[max(start, end - len(t[1])) : end] == t[1]), None):
            flaws.append((tail[0], end - len(tail[1]), end))
            end -= len(tail[1])
        return start, end, sorted(flaws, key=lambda flaw: flaw[1])


@dataclass(frozen=True)
class Statement:
    """A stated fact; `entity` is None for "it", `value_at` is the index of the value's word in the core."""

    entity: str | None
    slot: str
    value: str
    value_at: int


@dataclass(frozen=True)
class _Form:
    """The words of a sentence that states a fact; `entity_at` is None where a pronoun replaces the entity."""

    slot: str
    words: Words
    entity_at: int | None
    value_at: int

    def matches(self, words: Words) -> bool:
        open_places = (self.entity_at, self.value_at)
        return all(a == b for i, (a, b) in enumerate(zip(self.words, words, strict=True)) if i not in open_places)


class Forms:
    """A parser for the sentences of a domain that state facts."""

    def __init__(self, forms: Iterable[tuple[str, str]], entities: Container[str], values: Container[str]) -> None:
        """Take slots with their sentences (`{v}` for the value, `{e}` for the entity), all entities and all values."""
        self._entities, self._values = entities, values
        self._forms: dict[int, list[_Form]] = {}
        for slot, text in forms:
            words = tuple(text.split())
            entity_at = words.index("{e}") if "{e}" in words else None
            self._forms.setdefault(len(words), []).append(_Form(slot, words, entity_at, words.index("{v}")))

    def read(self, core: Words) -> Statement | None:
        """Return the fact that a core states, whatever value of the domain is in the value's place."""
        for form in self._forms.get(len(core), ()):
            if core[form.value_at] not in self._values or not form.matches(core):
                continue
            entity = None if form.entity_at is None else core[form.entity_at]
            if entity is None or entity in self._entities:
                return Statement(entity, form.slot, core[form.value_at], form.value_at)
        return None


def sentences(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the word ranges of the sentences, each with its full stop if it has one."""
    first = 0
    for index, word in enumerate(words):
        if word == STOP:
            yield first, index + 1
            first = index + 1
    if first < len(words):
        yield first, len(words)


@dataclass(frozen=True)
class PlannedResponse:
    """A response with its planned flaws, by their characters, and the slots that were left out."""

    text: str
    flaws: tuple[Flaw, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Sentence:
    """A sentence in parts, each a flaw or harmless (None); `whole` marks the whole sentence as one flaw."""

    parts: tuple[tuple[str, FlawKind | None], ...]
    whole: FlawKind | None = None


def plain(words: Sequence[str], whole: FlawKind | None = None) -> Sentence:
    """Make a sentence of one part."""
    return Sentence(((" ".join(words), None),), whole)


def write(sentences: Sequence[Sentence]) -> tuple[str, tuple[Flaw, ...]]:
    """Join sentences into a text, with single spaces and " ." after each sentence; returns it with its flaws."""
    text = ""
    flaws: list[Flaw] = []
    for sentence in sentences:
        text += " " if text else ""
        first = len(text)
        for part, kind in sentence.parts:
            if kind is not None and sentence.whole is None:
                flaws.append(Flaw(kind, len(text), len(text) + len(part)))
            text += part + " "
        text += "."
        if sentence.whole is not None:
            flaws.append(Flaw(sentence.whole, first, len(text)))
    return text, tuple(flaws)


NAMED_SHARE = 0.2
"""Share of the facts after the first that name the entity again instead of using a pronoun."""


@dataclass(frozen=True)
class FlawRates:
    """The probability of each flaw.

    For each fact: `wrong`, or `mistaken` instead where writers often get it wrong; `hedge`, `rude`, `missing`. For each
    response: `filler`, `repeated`, and the harmless `opener` and `closer`.
    """

    wrong: float = 0.15
    mistaken: float = 0.6
    hedge: float = 0.15
    rude: float = 0.15
    missing: float = 0.15
    filler: float = 0.35
    repeated: float = 0.2
    opener: float = 0.3
    closer: float = 0.3

    def halved(self) -> Self:
        """Halve the rate of each flaw; openers and closers stay as frequent."""
        flaws = [field.name for field in fields(self) if field.name not in ("opener", "closer")]
        return replace(self, **{name: getattr(self, name) / 2 for name in flaws})


def around_value(form: str, entity: str) -> tuple[str, str]:
    """Return the parts of a sentence before and behind its value."""
    before, _, after = form.partition("{v}")
    return before.format(e=entity), after.format(e=entity)


def flawed_sentence(
    form: tuple[str, str], value: str, wrong: bool, rng: random.Random, rates: FlawRates, wording: Wording
) -> Sentence:
    """State a fact, `form` around `value`, with a hedge and an insult as often as their rates say."""
    parts = [(form[0].strip(), None), (value, FlawKind.WRONG if wrong else None), (form[1].strip(), None)]
    if rng.random() < rates.hedge:
        hedge = rng.choice((*wording.hedge_heads, *wording.hedge_tails))
        parts.insert(0 if hedge in wording.hedge_heads else len(parts), (" ".join(hedge), FlawKind.HEDGE))
    if rng.random() < rates.rude:
        parts.append((" ".join(rng.choice(wording.rude_tails)), FlawKind.RUDE))
    return Sentence(tuple((text, kind) for text, kind in parts if text))


def plan_sentences(
    slots: Sequence[str],
    state: Callable[[str, bool], Sentence],
    rng: random.Random,
    rates: FlawRates,
    wording: Wording,
    extras: Callable[[], Iterable[Sentence]] = tuple,
) -> PlannedResponse:
    """Plan a response that states some of the requested `slots`, at least one.

    Args:
        slots: the requested slots.
        state: writes the sentence about a slot; the second argument says whether it is the first sentence.
        rng: what is drawn from.
        rates: the probability of each flaw.
        wording: the domain's phrases.
        extras: writes sentences that do not belong in the response.
    """
    stated = [slot for slot in slots if rng.random() >= rates.missing] or [rng.choice(slots)]
    sentences = [state(slot, i == 0) for i, slot in enumerate(stated)]
    if rng.random() < rates.repeated:
        again = rng.randrange(len(sentences))
        sentences.insert(again + 1, Sentence(sentences[again].parts, FlawKind.REPEATED))
    additions = [*extras()]
    if rng.random() < rates.filler:
        additions.append(plain(rng.choice(wording.fillers), FlawKind.FILLER))
    for addition in additions:
        sentences.insert(rng.randrange(len(sentences) + 1), addition)
    if rng.random() < rates.opener:
        sentences.insert(0, plain(rng.choice(wording.openers)))
    if rng.random() < rates.closer:
        sentences.append(plain(rng.choice(wording.closers)))
    text, flaws = write(sentences)
    return PlannedResponse(text, flaws, tuple(slot for slot in slots if slot not in stated))


class Task(Protocol):
    """The request of one prompt, with its right answers."""

    @property
    def slots(self) -> tuple[str, ...]:
        """The requested slots, in the order of the request."""

    def truth(self, slot: str) -> str:
        """Return the right value of a requested slot."""

    def wrong_values(self, slot: str) -> tuple[str, ...]:
        """Return the wrong values that the slot could have, sorted."""

    def fault(self, statement: Statement) -> FlawKind | None:
        """Return the flaw of a statement as a whole; None if it is about a requested slot."""

    def sentence(self, slot: str, rng: random.Random, *, named: bool) -> str:
        """Write a sentence, without its full stop, with the right value of a slot."""


class Domain(Protocol):
    """One kind of task with its language. The rest of the world (oracle, editor, annotator, files) works with any."""

    @property
    def wording(self) -> Wording:
        """The phrases around the statements of a response."""

    @property
    def flaw_kinds(self) -> tuple[FlawKind, ...]:
        """The flaws that a response can have, in the order of tables."""

    def vocabulary(self) -> list[str]:
        """Return every word that prompts, corpus and editor can write, sorted."""

    def make_prompts(self, rng: random.Random, counts: Sequence[int]) -> list[list[Prompt]]:
        """Make disjoint sets of prompts, one for each count; ids are unique over all sets.

        Raises:
            RedpencilError: if the domain has too few prompts.
        """

    def task(self, prompt: str) -> Task:
        """Parse a prompt.

        Raises:
            RedpencilError: if the text is not a prompt of this domain.
        """

    def statement(self, core: Words) -> Statement | None:
        """Parse the words of a sentence without full stop, hedges and insults; None if they state nothing."""

    def plan(self, prompt: str, rng: random.Random, *, halved: bool) -> PlannedResponse:
        """Write a mediocre writer's response with known flaws; `halved` halves the rate of each.

        Raises:
            RedpencilError: if the text is not a prompt of this domain.
        """


def foreign_prompt(prompt: str) -> RedpencilError:
    """Return the error for a text that is not a prompt of the domain."""
    return RedpencilError(
        f"{prompt[:80]!r} is not a prompt of the world",
        field="prompt",
        hint="use prompts that the world stage wrote, and the recipe that it was run with",
    )
