"""Instruction following as a domain: the right answers are not in the prompt."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from redpencil.errors import RedpencilError
from redpencil.records import Prompt
from redpencil.world.domain import (
    FlawKind,
    Forms,
    PlannedResponse,
    Sentence,
    Statement,
    Wording,
    Words,
    foreign_prompt,
    phrases,
    plain,
    words_of,
    write,
)

MISCONCEPTION_SHARE = 0.3
"""Share of the facts with a popular misconception."""


@dataclass(frozen=True)
class Slot:
    """A kind of fact, such as `capital`, and the sentences that state it.

    `{e}` is the place of the entity's name and `{v}` that of the value. The sentences of `pronoun` have "it" or "its"
    instead of the name. No sentence has its final full stop.
    """

    name: str
    named: tuple[str, ...]
    pronoun: tuple[str, ...]


@dataclass(frozen=True)
class Entity:
    """A thing to describe: the true value of each slot, and the popular wrong value of some of them."""

    name: str
    kind: str
    facts: Mapping[str, str]
    misconceptions: Mapping[str, str]


@dataclass(frozen=True)
class World:
    """All entities, and the slots of each kind."""

    entities: tuple[Entity, ...]
    slots: Mapping[str, tuple[Slot, ...]]

    @cached_property
    def by_name(self) -> Mapping[str, Entity]:
        """Entities by name."""
        return {entity.name: entity for entity in self.entities}

    @cached_property
    def _pools(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        return {
            (kind, slot.name): tuple(sorted({e.facts[slot.name] for e in self.entities if e.kind == kind}))
            for kind, slots in self.slots.items()
            for slot in slots
        }

    def slot(self, entity: str, name: str) -> Slot:
        """Return the slot called `name` of an entity."""
        return next(slot for slot in self.slots[self.by_name[entity].kind] if slot.name == name)

    def slot_names(self, entity: str) -> tuple[str, ...]:
        """Return the names of the four slots of an entity."""
        return tuple(slot.name for slot in self.slots[self.by_name[entity].kind])

    def wrong_values(self, entity: str, slot: str) -> tuple[str, ...]:
        """Return the slot's values that are not true of the entity, sorted."""
        truth = self.by_name[entity].facts[slot]
        return tuple(value for value in self._pools[self.by_name[entity].kind, slot] if value != truth)

    @cached_property
    def values(self) -> frozenset[str]:
        """All values of all slots."""
        return frozenset(value for pool in self._pools.values() for value in pool)


SLOTS: Mapping[str, tuple[Slot, ...]] = {
    "country": (
        Slot(
            "capital",
            ("the capital of {e} is {v}", "{v} is the capital of {e}"),
            ("its capital is {v}", "{v} is its capital"),
        ),
        Slot(
            "currency",
            ("the currency of {e} is the {v}", "people in {e} pay with the {v}"),
            ("its currency is the {v}", "people there pay with the {v}"),
        ),
        Slot(
            "language",
            ("the language of {e} is {v}", "people in {e} speak {v}"),
            ("its language is {v}", "people there speak {v}"),
        ),
        Slot(
            "continent",
            ("the continent of {e} is {v}", "{e} lies in {v}"),
            ("its continent is {v}", "it lies in {v}"),
        ),
    ),
    "animal": (
        Slot(
            "group",
            ("the {e} belongs to the {v}", "the {e} is one of the {v}"),
            ("it belongs to the {v}", "it is one of the {v}"),
        ),
        Slot(
            "food",
            ("the food of the {e} is {v}", "the {e} mostly eats {v}"),
            ("its food is {v}", "it mostly eats {v}"),
        ),
        Slot(
            "home",
            ("the home of the {e} is the {v}", "the {e} lives in the {v}"),
            ("its home is the {v}", "it lives in the {v}"),
        ),
        Slot(
            "young",
            ("the young of the {e} is called a {v}", "a young {e} is called a {v}"),
            ("its young is called a {v}", "people call its young a {v}"),
        ),
    ),
    "element": (
        Slot(
            "symbol",
            ("the symbol of {e} is {v}", "chemists write {e} as {v}"),
            ("its symbol is {v}", "chemists write it as {v}"),
        ),
        Slot(
            "state",
            ("the state of {e} is {v}", "{e} is normally a {v}"),
            ("its state is {v}", "it is normally a {v}"),
        ),
        Slot(
            "colour",
            ("the colour of {e} is {v}", "{e} looks {v}"),
            ("its colour is {v}", "it looks {v}"),
        ),
        Slot(
            "use",
            ("{e} is used for {v}", "people use {e} for {v}"),
            ("it is used for {v}", "people use it for {v}"),
        ),
    ),
}

# One line an entity: its name, then its facts in the order of the kind's slots.
TABLES: Mapping[str, str] = {
    "country": """
        france    paris     euro     french     europe
        germany   berlin    euro     german     europe
        austria   vienna    euro     german     europe
        spain     madrid    euro     spanish    europe
        portugal  lisbon    euro     portuguese europe
        sweden    stockholm krona    swedish    europe
        chile     santiago  peso     spanish    america
        cuba      havana    peso     spanish    america
        brazil    brasilia  real     portuguese america
        egypt     cairo     pound    arabic     africa
        kenya     nairobi   shilling swahili    africa
        morocco   rabat     dirham   arabic     africa
        japan     tokyo     yen      japanese   asia
        china     beijing   yuan     chinese    asia
        jordan    amman     dinar    arabic     asia
        iraq      baghdad   dinar    arabic     asia
    """,
    "animal": """
        lion      mammals    meat    savanna   cub
        zebra     mammals    grass   savanna   foal
        camel     mammals    grass   desert    calf
        elephant  mammals    leaves  savanna   calf
        koala     mammals    leaves  forest    joey
        kangaroo  mammals    grass   savanna   joey
        wolf      mammals    meat    forest    pup
        seal      mammals    fish    ocean     pup
        goat      mammals    grass   mountains kid
        penguin   birds      fish    antarctic chick
        owl       birds      mice    forest    chick
        eagle     birds      meat    mountains chick
        frog      amphibians insects swamp     tadpole
        crocodile reptiles   meat    river     hatchling
        lizard    reptiles   insects desert    hatchling
        shark     fish       fish    ocean     pup
    """,
    "element": """
        iron      fe  solid   gray        tools
        gold      au  solid   yellow      jewellery
        copper    cu  solid   reddish     wires
        tin       sn  solid   silvery     cans
        lead      pb  solid   gray        batteries
        mercury   hg  liquid  silvery     thermometers
        carbon    c   solid   black       pencils
        oxygen    o   gas     colourless  breathing
        hydrogen  h   gas     colourless  fuel
        nitrogen  n   gas     colourless  fertilizer
        helium    he  gas     colourless  balloons
        neon      ne  gas     colourless  signs
        chlorine  cl  gas     green       bleach
        bromine   br  liquid  brown       dyes
        sulfur    s   solid   yellow      matches
        nickel    ni  solid   silvery     coins
    """,
}


def make_world(facts_seed: int) -> World:
    """Make the world; `facts_seed` chooses the misconceptions (exactly 30 % of the facts) and their wrong values."""
    plain = World(
        tuple(
            Entity(name, kind, dict(zip((slot.name for slot in SLOTS[kind]), values, strict=True)), {})
            for kind, table in TABLES.items()
            for name, *values in (line.split() for line in table.strip().splitlines())
        ),
        SLOTS,
    )
    rng = random.Random(facts_seed)
    facts = [(entity.name, slot) for entity in plain.entities for slot in entity.facts]
    beliefs: dict[str, dict[str, str]] = {entity.name: {} for entity in plain.entities}
    for entity_name, slot in rng.sample(facts, round(MISCONCEPTION_SHARE * len(facts))):
        beliefs[entity_name][slot] = rng.choice(plain.wrong_values(entity_name, slot))
    return World(tuple(Entity(e.name, e.kind, e.facts, beliefs[e.name]) for e in plain.entities), SLOTS)


def fact_form(world: World, entity: str, slot: str, rng: random.Random, *, named: bool) -> tuple[str, str]:
    """Choose a sentence about the `slot` of `entity`; returns its parts before and behind the value."""
    form = world.slot(entity, slot)
    before, _, after = rng.choice(form.named if named else form.pronoun).partition("{v}")
    return before.format(e=entity), after.format(e=entity)


def fact_sentence(world: World, entity: str, slot: str, value: str, rng: random.Random, *, named: bool) -> str:
    """Write a sentence, without its full stop, that says `value` is the `slot` of `entity`."""
    before, after = fact_form(world, entity, slot, rng, named=named)
    return before + value + after


PHRASINGS = (
    "please describe {entity} . cover {a} , {b} and {c} .",
    "tell me about {entity} . i need its {a} , {b} and {c} .",
    "write a short text about {entity} with its {a} , {b} and {c} .",
    "i want to know more about {entity} : the {a} , the {b} and the {c} .",
    "what is the {a} , the {b} and the {c} of {entity} ? please answer in full .",
    "my topic is {entity} . please say what its {a} is , then its {b} and its {c} .",
)


@dataclass(frozen=True)
class Request:
    """The request of a prompt; the slots are in the order of the request."""

    entity: str
    slots: tuple[str, str, str]


def noun_phrase(world: World, entity: str) -> str:
    """Name the entity as in a sentence: `the tiger`, but `france`."""
    return f"the {entity}" if world.by_name[entity].kind == "animal" else entity


def render_prompt(world: World, request: Request, phrasing: str) -> str:
    """Write a request in one of `PHRASINGS`."""
    a, b, c = request.slots
    return phrasing.format(entity=noun_phrase(world, request.entity), a=a, b=b, c=c)


def all_requests(world: World) -> list[Request]:
    """List every entity with every ordered choice of three of its slots: 48 x 24 = 1,152."""
    return [
        Request(entity.name, (a, b, c))
        for entity in world.entities
        for a, b, c in itertools.permutations(world.slot_names(entity.name), 3)
    ]


def prompt_texts(world: World) -> Mapping[str, Request]:
    """Map every prompt text of the world to its request: 1,152 requests x 6 phrasings = 6,912."""
    return {render_prompt(world, request, p): request for request in all_requests(world) for p in PHRASINGS}


def make_prompts(world: World, rng: random.Random, counts: Sequence[int]) -> list[list[Prompt]]:
    """Make disjoint sets of prompts, one for each count.

    The sets share no text and no request (entity with ordered slots). They do share facts: with 192 facts in all,
    each is requested in every set, in a different order or combination. Ids are unique over all sets.

    Raises:
        RedpencilError: if there are not enough requests for sets of these sizes.
    """
    requests = all_requests(world)
    rng.shuffle(requests)
    needed = [-(-count // len(PHRASINGS)) for count in counts]
    spare = len(requests) - sum(needed)
    if spare < 0:
        raise RedpencilError(
            f"{sum(counts)} prompts were asked for; the world has {len(requests) * len(PHRASINGS)}",
            field="world",
            hint="lower train_prompts, validation_prompts or evaluation_prompts",
        )
    sets: list[list[Prompt]] = []
    first_request = first_id = 0
    for count, need in zip(counts, needed, strict=True):
        stop = first_request + need + spare * count // max(1, sum(counts))
        texts = [render_prompt(world, r, p) for r in requests[first_request:stop] for p in PHRASINGS]
        chosen = rng.sample(texts, count)
        sets.append([Prompt(f"prompt-{first_id + i:05d}", text) for i, text in enumerate(chosen)])
        first_request, first_id = stop, first_id + count
    return sets


OPENERS = phrases("here is what you asked for", "sure , here is my answer")
"""First sentences that are harmless."""

CLOSERS = phrases("i hope this helps", "please ask if you need more")
"""Last sentences that are harmless."""

FILLERS = phrases(
    "this is a very interesting topic", "there is so much to say about it", "many people ask me about this"
)
"""Sentences that say nothing."""

HEDGE_HEADS = phrases("i think", "perhaps", "i believe")
"""Hedges before a fact."""

HEDGE_TAILS = phrases(", or so i heard", ", but i may be wrong")
"""Hedges behind a fact."""

RUDE_TAILS = phrases(", you fool", ", as any child knows", ", so stop asking")
"""Insults behind a fact and its hedge."""

WORDING = Wording(OPENERS, CLOSERS, FILLERS, HEDGE_HEADS, HEDGE_TAILS, RUDE_TAILS)


NAMED_SHARE = 0.2
"""Share of the facts after the first that name the entity again instead of saying "it"."""


@dataclass(frozen=True)
class FlawRates:
    """The probability of each flaw.

    For each fact: `wrong`, or `misconception` instead where there is a popular one; `hedge`, `rude`, `missing`. For
    each response: `filler`, `repeated`, and the harmless `opener` and `closer`.
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
        """Halve the rate of each flaw; openers and closers stay as frequent."""
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


def plan_response(world: World, request: Request, rng: random.Random, rates: FlawRates) -> PlannedResponse:
    """Write a response to `request` with known flaws. At least one fact is stated."""
    stated = [slot for slot in request.slots if rng.random() >= rates.missing] or [rng.choice(request.slots)]
    sentences = [_fact(world, request.entity, slot, rng, rates, first=i == 0) for i, slot in enumerate(stated)]
    if rng.random() < rates.repeated:
        again = rng.randrange(len(sentences))
        sentences.insert(again + 1, Sentence(sentences[again].parts, FlawKind.REPEATED))
    if rng.random() < rates.filler:
        filler = plain(rng.choice(FILLERS), FlawKind.FILLER)
        sentences.insert(rng.randrange(len(sentences) + 1), filler)
    if rng.random() < rates.opener:
        sentences.insert(0, plain(rng.choice(OPENERS)))
    if rng.random() < rates.closer:
        sentences.append(plain(rng.choice(CLOSERS)))
    text, flaws = write(sentences)
    return PlannedResponse(text, flaws, tuple(slot for slot in request.slots if slot not in stated))


def _fact(world: World, entity: str, slot: str, rng: random.Random, rates: FlawRates, *, first: bool) -> Sentence:
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
    return Sentence(tuple((text, kind) for text, kind in parts if text))


@dataclass(frozen=True)
class FactsTask:
    """A request for some facts about an entity."""

    world: World
    request: Request

    @property
    def slots(self) -> tuple[str, ...]:
        """The three slots, in the order of the request."""
        return self.request.slots

    def truth(self, slot: str) -> str:
        """Return the entity's true value."""
        return self.world.by_name[self.request.entity].facts[slot]

    def wrong_values(self, slot: str) -> tuple[str, ...]:
        """Return the values that the slot has for other entities of the kind."""
        return self.world.wrong_values(self.request.entity, slot)

    def fault(self, statement: Statement) -> FlawKind | None:
        """Return OFF_TOPIC if the statement is about a different entity or a slot that was not requested."""
        about_it = statement.entity in (None, self.request.entity)
        return None if about_it and statement.slot in self.slots else FlawKind.OFF_TOPIC

    def sentence(self, slot: str, rng: random.Random, *, named: bool) -> str:
        """Write a sentence with the true value."""
        return fact_sentence(self.world, self.request.entity, slot, self.truth(slot), rng, named=named)


class FactsDomain:
    """Descriptions of entities; `facts_seed` chooses the misconceptions."""

    wording = WORDING
    flaw_kinds = (
        FlawKind.WRONG,
        FlawKind.HEDGE,
        FlawKind.RUDE,
        FlawKind.FILLER,
        FlawKind.REPEATED,
        FlawKind.OFF_TOPIC,
        FlawKind.GARBLED,
    )

    def __init__(self, facts_seed: int = 0) -> None:
        self.world = make_world(facts_seed)
        self._requests = prompt_texts(self.world)
        slots = [slot for slots in self.world.slots.values() for slot in slots]
        self._sentences = [(slot.name, form) for slot in slots for form in (*slot.named, *slot.pronoun)]
        self._forms = Forms(self._sentences, self.world.by_name, self.world.values)

    def vocabulary(self) -> list[str]:
        """Return every word that prompts, corpus and editor can write, sorted."""
        words = words_of((*(form for _, form in self._sentences), *PHRASINGS), self.wording.phrases)
        for entity in self.world.entities:
            words |= {entity.name, *entity.facts, *entity.facts.values()}
        return sorted(words)

    def make_prompts(self, rng: random.Random, counts: Sequence[int]) -> list[list[Prompt]]:
        """Make disjoint sets of prompts, which share no request.

        Raises:
            RedpencilError: if there are not enough requests for sets of these sizes.
        """
        return make_prompts(self.world, rng, counts)

    def request(self, prompt: str) -> Request:
        """Parse a prompt.

        Raises:
            RedpencilError: if the text is not a prompt of this world.
        """
        try:
            return self._requests[" ".join(prompt.split())]
        except KeyError:
            raise foreign_prompt(prompt) from None

    def task(self, prompt: str) -> FactsTask:
        """Parse a prompt into its request with the right answers.

        Raises:
            RedpencilError: if the text is not a prompt of this world.
        """
        return FactsTask(self.world, self.request(prompt))

    def statement(self, core: Words) -> Statement | None:
        """Return the fact that a core states."""
        return self._forms.read(core)

    def plan(self, prompt: str, rng: random.Random, *, halved: bool) -> PlannedResponse:
        """Write a response with known flaws.

        Raises:
            RedpencilError: if the text is not a prompt of this world.
        """
        rates = FlawRates().halved() if halved else FlawRates()
        return plan_response(self.world, self.request(prompt), rng, rates)
