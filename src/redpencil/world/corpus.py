"""The flawed corpus: responses as a mediocre writer would give them."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from redpencil.errors import RedpencilError
from redpencil.records import Example, Prompt
from redpencil.world.facts import World, fact_form
from redpencil.world.oracle import Flaw, FlawKind, Oracle
from redpencil.world.prompts import Request
from redpencil.world.wording import CLOSERS, FILLERS, HEDGE_HEADS, HEDGE_TAILS, OPENERS, RUDE_TAILS

NAMED_SHARE = 0.2
"""Share of the facts behind the first that name the entity again instead of saying "it"."""


@dataclass(frozen=True)
class FlawRates:
    """How often each flaw occurs.

    For each fact: `wrong`, or `misconception` in its place where there is a popular one; `hedge`, `rude`, `missing`.
    For each response: `filler`, `repeated`, and the harmless `opener` and `closer`.
    """

    wrong: float = 0.15
    misconception: float = 0.6
    hedge: float = 0.15
    rude: float = 0.15
    missing: float = 0.15
    filler: float = 0.35
    repeated: float = 0.2
    opener: float = 0.3
    closer: float = 0.3

    def halved(self) -> "FlawRates":
        """Half of each flaw; openers and closers stay as frequent."""
        return replace(
            self,
            wrong=self.wrong / 2,
            misconception=self.misconception / 2,
            hedge=self.hedge / 2,
            rude=self.rude / 2,
            missing=self.missing / 2,
            filler=self.filler / 2,
            repeated=self.repeated / 2,
        )


@dataclass(frozen=True)
class PlannedResponse:
    """A response and what was put into it: the flaws by their characters, and the slots that were left out."""

    text: str
    flaws: tuple[Flaw, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class _Sentence:
    """A sentence in parts; each part is a flaw or harmless (None). `whole` marks the sentence as one flaw."""

    parts: tuple[tuple[str, FlawKind | None], ...]
    whole: FlawKind | None = None


def flawed_response(world: World, request: Request, rng: random.Random, rates: FlawRates) -> str:
    """A response to `request`: words with single spaces between them, each sentence ended by " ."."""
    return plan_response(world, request, rng, rates).text


def plan_response(world: World, request: Request, rng: random.Random, rates: FlawRates) -> PlannedResponse:
    """A response to `request` together with the flaws that were put into it. At least one fact is stated."""
    told = [slot for slot in request.slots if rng.random() >= rates.missing] or [rng.choice(request.slots)]
    sentences = [_fact(world, request.entity, slot, rng, rates, first=i == 0) for i, slot in enumerate(told)]
    if rng.random() < rates.repeated:
        again = rng.randrange(len(sentences))
        sentences.insert(again + 1, _Sentence(sentences[again].parts, FlawKind.REPEATED))
    if rng.random() < rates.filler:
        filler = _Sentence(((" ".join(rng.choice(FILLERS)), None),), FlawKind.FILLER)
        sentences.insert(rng.randrange(len(sentences) + 1), filler)
    if rng.random() < rates.opener:
        sentences.insert(0, _Sentence(((" ".join(rng.choice(OPENERS)), None),)))
    if rng.random() < rates.closer:
        sentences.append(_Sentence(((" ".join(rng.choice(CLOSERS)), None),)))
    text, flaws = _write(sentences)
    return PlannedResponse(text, flaws, tuple(slot for slot in request.slots if slot not in told))


def _fact(world: World, entity: str, slot: str, rng: random.Random, rates: FlawRates, *, first: bool) -> _Sentence:
    believed = world.by_name[entity].misconceptions.get(slot)
    value = world.by_name[entity].facts[slot]
    wrong = rng.random() < (rates.wrong if believed is None else rates.misconception)
    if wrong:
        value = believed or rng.choice(world.wrong_values(entity, slot))
    before, after = fact_form(world, entity, slot, rng, named=first or rng.random() < NAMED_SHARE)
    parts = [(before.strip(), None), (value, FlawKind.WRONG if wrong else None), (after.strip(), None)]
    if rng.random() < rates.hedge:
        hedge = rng.choice((*HEDGE_HEADS, *HEDGE_TAILS))
        parts.insert(0 if hedge in HEDGE_HEADS else len(parts), (" ".join(hedge), FlawKind.HEDGE))
    if rng.random() < rates.rude:
        parts.append((" ".join(rng.choice(RUDE_TAILS)), FlawKind.RUDE))
    return _Sentence(tuple((text, kind) for text, kind in parts if text))


def _write(sentences: Sequence[_Sentence]) -> tuple[str, tuple[Flaw, ...]]:
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


def make_examples(
    world: World, prompts: Sequence[Prompt], rng: random.Random, n: int, rates: FlawRates
) -> Iterator[Example]:
    """`n` demonstrations on prompts drawn with replacement.

    Raises:
        RedpencilError: if there are no prompts or one of them is no prompt of this world.
    """
    if not prompts:
        raise RedpencilError("no prompts to write examples for", way_out="give at least one prompt")
    oracle = Oracle(world)
    for index in range(n):
        prompt = rng.choice(prompts).prompt
        response = flawed_response(world, oracle.request(prompt), rng, rates)
        yield Example(f"example-{index:05d}", prompt, response)
