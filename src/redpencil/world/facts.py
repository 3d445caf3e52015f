"""Instruction following as a domain: the right answers are not in the prompt."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from redpencil.errors import RedpencilError
from redpencil.records import Prompt
from redpencil.world.domain import (
    NAMED_SHARE,
    FlawKind,
    FlawRates,
    Forms,
    PlannedResponse,
    Sentence,
    Statement,
    Wording,
    Words,
    around_value,
    flawed_sentence,
    foreign_prompt,
    phrases,
    plan_sentences,
    words_of,
)

MISCONCEPTION_SHARE = 0.3
"""Share of the facts with a popular misconception."""


@dataclass(frozen=True)
class Entity:
    """A thing to describe: the true value of each slot, and the popular wrong value of some of them."""

    name: str
    kind: str
    facts: Mapping[str, str]
    misconceptions: Mapping[str, str]


@dataclass(frozen=True)
class World:
    """All entities."""

    entities: tuple[Entity, ...]

    @cached_property
    def by_name(self) -> Mapping[str, Entity]:
        return {entity.name: entity for entity in self.entities}

    @cached_property
    def _pools(self) -> Mapping[str, tuple[str, ...]]:
        """The values of each slot, sorted."""
        return {
            slot: tuple(sorted({entity.facts[slot] for entity in self.entities if slot in entity.facts}))
            for slot in NAMED
        }

    def wrong_values(self, entity: str, slot: str) -> tuple[str, ...]:
        """Return the slot's values that are not true of the entity, sorted."""
        truth = self.by_name[entity].facts[slot]
        return tuple(value for value in self._pools[slot] if value != truth)

    @cached_property
    def values(self) -> frozenset[str]:
        return frozenset(value for pool in self._pools.values() for value in pool)


SLOTS: Mapping[str, tuple[str, ...]] = {
    "country": ("capital", "currency", "language", "continent"),
    "animal": ("group", "food", "home", "young"),
    "element": ("symbol", "state", "colour", "use"),
}
"""The kinds of facts of each kind of entity; no name is used by two kinds."""

NAMED: Mapping[str, tuple[str, str]] = {
    "capital": ("the capital of {e} is {v}", "{v} is the capital of {e}"),
    "currency": ("the currency of {e} is the {v}", "people in {e} pay with the {v}"),
    "language": ("the language of {e} is {v}", "people in {e} speak {v}"),
    "continent": ("the continent of {e} is {v}", "{e} lies in {v}"),
    "group": ("the {e} belongs to the {v}", "the {e} is one of the {v}"),
    "food": ("the food of the {e} is {v}", "the {e} mostly eats {v}"),
    "home": ("the home of the {e} is the {v}", "the {e} lives in the {v}"),
    "young": ("the young of the {e} is called a {v}", "a young {e} is called a {v}"),
    "symbol": ("the symbol of {e} is {v}", "chemists write {e} as {v}"),
    "state": ("the state of {e} is {v}", "{e} is normally a {v}"),
    "colour": ("the colour of {e} is {v}", "{e} looks {v}"),
    "use": ("{e} is used for {v}", "people use {e} for {v}"),
}
"""Sentences for each slot, without a full stop; `{e}` is the place of the entity's name and `{v}` that of the value."""

PRONOUN: Mapping[str, tuple[str, str]] = {
    "capital": ("its capital is {v}", "{v} is its capital"),
    "currency": ("its currency is the {v}", "people there pay with the {v}"),
    "language": ("its language is {v}", "people there speak {v}"),
    "continent": ("its continent is {v}", "it lies in {v}"),
    "group": ("it belongs to the {v}", "it is one of the {v}"),
    "food": ("its food is {v}", "it mostly eats {v}"),
    "home": ("its home is the {v}", "it lives in the {v}"),
    "young": ("its young is called a {v}", "people call its young a {v}"),
    "symbol": ("its symbol is {v}", "chemists write it as {v}"),
    "state": ("its state is {v}", "it is normally a {v}"),
    "colour": ("its colour is {v}", "it looks {v}"),
    "use": ("it is used for {v}", "people use it for {v}"),
}
"""The same with "it" or "its" instead of the name."""

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
            Entity(name, kind, dict(zip(SLOTS[kind], values, strict=True)), {})
            for kind, table in TABLES.items()
            for name, *values in (line.split() for line in table.strip().splitlines())
        )
    )
    rng = random.Random(facts_seed)
    facts = [(entity.name, slot) for entity in plain.entities for slot in entity.facts]
    beliefs: dict[str, dict[str, str]] = {entity.name: {} for entity in plain.entities}
    for entity_name, slot in rng.sample(facts, round(MISCONCEPTION_SHARE * len(facts))):
        beliefs[entity_name][slot] = rng.choice(plain.wrong_values(entity_name, slot))
    return World(tuple(replace(entity, misconceptions=beliefs[entity.name]) for entity in plain.entities))


def fact_form(entity: str, slot: str, rng: random.Random, *, named: bool) -> tuple[str, str]:
    """Choose a sentence about the `slot` of `entity`; returns its parts before and behind the value."""
    return around_value(rng.choice((NAMED if named else PRONOUN)[slot]), entity)


def fact_sentence(entity: str, slot: str, value: str, rng: random.Random, *, named: bool) -> str:
    """Write a sentence, without its full stop, that says `value` is the `slot` of `entity`."""
    before, after = fact_form(entity, slot, rng, named=named)
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


def render_prompt(world: World, request: Request, phrasing: str) -> str:
    """Write a request in one of `PHRASINGS`: about `the lion`, but about `france`."""
    article = "the " if world.by_name[request.entity].kind == "animal" else ""
    a, b, c = request.slots
    return phrasing.format(entity=article + request.entity, a=a, b=b, c=c)


def all_requests(world: World) -> list[Request]:
    """List every entity with every ordered choice of three of its slots: 48 x 24 = 1,152."""
    return [
        Request(entity.name, (a, b, c))
        for entity in world.entities
        for a, b, c in itertools.permutations(entity.facts, 3)
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


WORDING = Wording(
    openers=phrases("here is what you asked for", "sure , here is my answer"),
    closers=phrases("i hope this helps", "please ask if you need more"),
    fillers=phrases(
        "this is a very interesting topic", "there is so much to say about it", "many people ask me about this"
    ),
    hedge_heads=phrases("i think", "perhaps", "i believe"),
    hedge_tails=phrases(", or so i heard", ", but i may be wrong"),
    rude_tails=phrases(", you fool", ", as any child knows", ", so stop asking"),
)


def plan_response(world: World, request: Request, rng: random.Random, rates: FlawRates) -> PlannedResponse:
    """Write a response to `request` with known flaws. At least one fact is stated."""
    entity = world.by_name[request.entity]

    def state(slot: str, first: bool) -> Sentence:
        believed, value = entity.misconceptions.get(slot), entity.facts[slot]
        wrong = rng.random() < (rates.wrong if believed is None else rates.mistaken)
        if wrong:
            value = believed or rng.choice(world.wrong_values(entity.name, slot))
        form = fact_form(entity.name, slot, rng, named=first or rng.random() < NAMED_SHARE)
        return flawed_sentence(form, value, wrong, rng, rates, WORDING)

    return plan_sentences(request.slots, state, rng, rates, WORDING)


@dataclass(frozen=True)
class FactsTask:
    """A request for some facts about an entity."""

    world: World
    request: Request

    @property
    def slots(self) -> tuple[str, ...]:
        return self.request.slots

    def truth(self, slot: str) -> str:
        return self.world.by_name[self.request.entity].facts[slot]

    def wrong_values(self, slot: str) -> tuple[str, ...]:
        return self.world.wrong_values(self.request.entity, slot)

    def fault(self, statement: Statement) -> FlawKind | None:
        about_it = statement.entity in (None, self.request.entity)
        return None if about_it and statement.slot in self.slots else FlawKind.OFF_TOPIC

    def sentence(self, slot: str, rng: random.Random, *, named: bool) -> str:
        return fact_sentence(self.request.entity, slot, self.truth(slot), rng, named=named)


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
        self._sentences = [(slot, form) for slot in NAMED for form in (*NAMED[slot], *PRONOUN[slot])]
        self._forms = Forms(self._sentences, self.world.by_name, self.world.values)

    def vocabulary(self) -> list[str]:
        words = words_of((*(form for _, form in self._sentences), *PHRASINGS), self.wording.phrases)
        for entity in self.world.entities:
            words |= {entity.name, *entity.facts, *entity.facts.values()}
        return sorted(words)

    def make_prompts(self, rng: random.Random, counts: Sequence[int]) -> list[list[Prompt]]:
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
        return FactsTask(self.world, self.request(prompt))

    def statement(self, core: Words) -> Statement | None:
        return self._forms.read(core)

    def plan(self, prompt: str, rng: random.Random, *, halved: bool) -> PlannedResponse:
        rates = FlawRates().halved() if halved else FlawRates()
        return plan_response(self.world, self.request(prompt), rng, rates)
