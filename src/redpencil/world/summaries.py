"""Grounded summaries as a domain: the right answers are in the prompt and nowhere else."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache

from redpencil.records import Prompt
from redpencil.world.domain import (
    NAMED_SHARE,
    STOP,
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
    plain,
    plan_sentences,
    sentences,
    words_of,
)

TOLD = (5, 6)
"""Numbers of slots, of the seven of its kind, that a passage states."""


@dataclass(frozen=True)
class Slot:
    """A kind of detail, such as `host`, the pool of its values, and the sentences that state it.

    `{e}` is the place of the subject's name and `{v}` that of the value; `short` has a pronoun instead of the name. The
    sentences are without their full stop.
    """

    name: str
    pool: str
    named: str
    short: str


@dataclass(frozen=True)
class Passage:
    """The content of a passage: its subject, its facts by slot in their order, and a remark without content."""

    subject: str
    facts: Mapping[str, str]
    remark: str


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


POOLS: Mapping[str, tuple[str, ...]] = {
    "name": _words("anna boris clara david emma felix gina hugo irma jonas karla louis maria nils olga peter"),
    "city": _words("arles basel cadiz derby essen fargo ghent izmir jaffa kyoto leeds milan oslo parma quito riga"),
    "number": _words("six seven eight nine ten eleven twelve thirteen twenty thirty forty fifty sixty seventy eighty"),
    "day": _words("monday tuesday wednesday thursday friday saturday sunday"),
    "month": _words("january february march april may june july august september october november december"),
    "colour": _words("black blue brown gray green orange pink red white yellow"),
    "material": _words("brick clay glass marble steel stone straw timber"),
    "dish": _words("bread cake cheese fish fruit pasta pizza rice salad soup"),
    "instrument": _words("banjo cello drum flute guitar harp organ piano trumpet violin"),
    "pet": _words("cat cow dog duck goat hen horse parrot rabbit sheep"),
    "job": _words("baker barber butcher clerk cook doctor driver farmer judge lawyer miner nurse painter tailor"),
}

SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "event": _words("auction concert contest dance dinner fair festival lecture market parade play race"),
    "building": _words("barn castle chapel factory hall hotel library mill palace school theatre tower"),
    "person": _words("alan bella carlo diana erik flora greta henry ida julia kevin laura"),
}

KEY_SLOTS: Mapping[str, tuple[str, str]] = {
    "event": ("city", "day"),
    "building": ("place", "builder"),
    "person": ("job", "home"),
}
"""The slots of a summary in two sentences, for each kind of subject."""

SLOTS: Mapping[str, tuple[Slot, ...]] = {
    "event": (
        Slot("city", "city", "the {e} took place in {v}", "it took place in {v}"),
        Slot("day", "day", "the {e} fell on a {v}", "it fell on a {v}"),
        Slot("host", "name", "the {e} was planned by {v}", "it was planned by {v}"),
        Slot("opener", "name", "the {e} was opened by {v}", "it was opened by {v}"),
        Slot("guests", "number", "the {e} drew {v} guests", "it drew {v} guests"),
        Slot("food", "dish", "the {e} was famous for its {v}", "it was famous for its {v}"),
        Slot("music", "instrument", "the {e} began with a {v}", "it began with a {v}"),
    ),
    "building": (
        Slot("place", "city", "the {e} stands in {v}", "it stands in {v}"),
        Slot("colour", "colour", "the {e} is painted {v}", "it is painted {v}"),
        Slot("builder", "name", "the {e} was built by {v}", "it was built by {v}"),
        Slot("owner", "name", "the {e} belongs to {v}", "it belongs to {v}"),
        Slot("rooms", "number", "the {e} has {v} rooms", "it has {v} rooms"),
        Slot("material", "material", "the {e} is made of {v}", "it is made of {v}"),
        Slot("month", "month", "the {e} closes in {v}", "it closes in {v}"),
    ),
    "person": (
        Slot("job", "job", "{e} works as a {v}", "they work as a {v}"),
        Slot("home", "city", "{e} lives in {v}", "they live in {v}"),
        Slot("birthplace", "city", "{e} was born in {v}", "they were born in {v}"),
        Slot("friend", "name", "{e} is close to {v}", "they are close to {v}"),
        Slot("age", "number", "{e} is now {v} years old", "they are now {v} years old"),
        Slot("pet", "pet", "{e} has a tame {v}", "they have a tame {v}"),
        Slot("hobby", "instrument", "{e} plays the {v}", "they play the {v}"),
    ),
}

REMARKS = (
    "the weather was fine that week",
    "the road was very busy",
    "someone took a few pictures",
    "nobody was in a hurry",
    "the birds sang all morning",
)
"""Sentences of a passage that no summary needs."""

SLOT_OF: Mapping[str, Slot] = {slot.name: slot for slots in SLOTS.values() for slot in slots}
KIND_OF_SLOT: Mapping[str, str] = {slot.name: kind for kind, slots in SLOTS.items() for slot in slots}
KIND_OF_SUBJECT: Mapping[str, str] = {name: kind for kind, names in SUBJECTS.items() for name in names}


def make_passage(kind: str, asked: tuple[str, ...], rng: random.Random) -> Passage:
    """Make a passage about a subject of a kind that states all slots in `asked`; its values are all different."""
    others = [slot.name for slot in SLOTS[kind] if slot.name not in asked]
    stated = [*asked, *rng.sample(others, rng.choice(TOLD) - len(asked))]
    rng.shuffle(stated)
    facts: dict[str, str] = {}
    for slot in stated:
        facts[slot] = rng.choice([value for value in POOLS[SLOT_OF[slot].pool] if value not in facts.values()])
    return Passage(rng.choice(SUBJECTS[kind]), facts, rng.choice(REMARKS))


def sentence_parts(subject: str, slot: str, *, named: bool) -> tuple[str, str]:
    """Return the parts of a sentence about a slot before and behind its value, without the full stop."""
    forms = SLOT_OF[slot]
    return around_value(forms.named if named else forms.short, subject)


def passage_text(passage: Passage, rng: random.Random) -> str:
    """Write the passage in sentences, the first of which names the subject; the remark is anywhere behind it."""
    sentences: list[str] = []
    for slot, value in passage.facts.items():
        before, after = sentence_parts(passage.subject, slot, named=not sentences)
        sentences.append(f"{before}{value}{after} .")
    sentences.insert(rng.randint(1, len(sentences)), f"{passage.remark} .")
    return " ".join(sentences)


HEAD = "text :"
NAMED = (
    "please sum it up with the {a} , the {b} and the {c} .",
    "write a summary that tells the {a} , the {b} and the {c} .",
    "what are the {a} , the {b} and the {c} ? answer in full .",
)
SHORT = ("please sum it up in two sentences .", "write two sentences about it .")
SHORT_SHARE = 0.25
"""Share of the prompts that request two sentences instead of naming slots."""

FORMS = Forms(
    ((slot.name, text) for slot in SLOT_OF.values() for text in (slot.named, slot.short)),
    KIND_OF_SUBJECT,
    frozenset(value for pool in POOLS.values() for value in pool),
)
"""Every sentence that states a detail, in passages and in summaries."""
_NAMED = tuple(re.compile(r"(\w+)".join(map(re.escape, re.split(r"\{\w\}", text)))) for text in NAMED)


@dataclass(frozen=True)
class Brief:
    """A passage and the slots that its summary should state, in the order of the request."""

    passage: Passage
    slots: tuple[str, ...]


def make_prompt(rng: random.Random) -> str:
    """Write a passage on a random subject and a request to sum it up."""
    kind = rng.choice(sorted(SLOTS))
    asked: tuple[str, ...]
    if rng.random() < SHORT_SHARE:
        asked, request = KEY_SLOTS[kind], rng.choice(SHORT)
    else:
        a, b, c = asked = tuple(rng.sample([slot.name for slot in SLOTS[kind]], 3))
        request = rng.choice(NAMED).format(a=a, b=b, c=c)
    return f"{HEAD} {passage_text(make_passage(kind, asked, rng), rng)} {request}"


def make_prompts(rng: random.Random, counts: Sequence[int]) -> list[list[Prompt]]:
    """Make sets of prompts, one for each count, without equal prompts; ids are unique over all sets."""
    texts: dict[str, None] = {}
    while len(texts) < sum(counts):
        texts[make_prompt(rng)] = None
    prompts = iter([Prompt(f"prompt-{i:05d}", text) for i, text in enumerate(texts)])
    return [[next(prompts) for _ in range(count)] for count in counts]


def read_prompt(prompt: str) -> Brief | None:
    """Parse a prompt; None if it is not a prompt of this domain."""
    head, _, request = " ".join(prompt.split()).rpartition(f" {STOP} ")
    if not head.startswith(f"{HEAD} "):
        return None
    passage = _read_passage(tuple(f"{head.removeprefix(HEAD)} {STOP}".split()))
    if passage is None:
        return None
    slots = KEY_SLOTS[KIND_OF_SUBJECT[passage.subject]] if request in SHORT else _asked(request)
    return Brief(passage, slots) if slots and set(slots) <= set(passage.facts) else None


_read_prompt = lru_cache(maxsize=20_000)(read_prompt)


def _asked(request: str) -> tuple[str, ...]:
    """The three slots that a request names; none if it is not a request."""
    slots = next((match.groups() for form in _NAMED if (match := form.fullmatch(request))), ())
    return slots if len(set(slots)) == len(slots) else ()


def _read_passage(words: Words) -> Passage | None:
    """Parse a passage: a sentence that names its subject, others that do not, each on its own slot, and one remark."""
    cores = [words[first : stop - 1] for first, stop in sentences(words)]
    remarks = [" ".join(core) for core in cores if " ".join(core) in REMARKS]
    stated = [FORMS.read(core) for core in cores if " ".join(core) not in REMARKS]
    facts = {fact.slot: fact.value for fact in stated if fact is not None}
    subject = stated[0].entity if stated and stated[0] is not None else None
    readable = subject is not None and len(facts) == len(stated) and len(remarks) == 1
    if not readable or any(fact is None or fact.entity is not None for fact in stated[1:]):
        return None
    assert subject is not None
    in_kind = {KIND_OF_SLOT[slot] for slot in facts} == {KIND_OF_SUBJECT[subject]}
    return Passage(subject, facts, remarks[0]) if in_kind else None


WORDING = Wording(
    openers=phrases("here is the summary", "in short , this is the text"),
    closers=phrases("that is all", "please read the text for more"),
    fillers=phrases("the text is quite long", "a lot could be said here", "one should read all of it"),
    hedge_heads=phrases("it seems that", "maybe", "as far as i see"),
    hedge_tails=phrases(", more or less", ", or something like that"),
    rude_tails=phrases(", as you could have read", ", you lazy reader", ", so read it yourself"),
)


SWAP_SHARE = 0.7
"""Share of the wrong values taken from a different slot of the passage, where one fits; the others are made up."""


@dataclass(frozen=True)
class SummaryRates(FlawRates):
    """The rates of summaries, where `mistaken` is for the slots that writers mix up.

    Each summary may also have `unsupported` (a detail that is not in the passage), `trivial` (its remark copied) and
    `off_topic` (a detail that was not requested).
    """

    wrong: float = 0.1
    mistaken: float = 0.5
    rude: float = 0.1
    filler: float = 0.2
    repeated: float = 0.15
    unsupported: float = 0.2
    trivial: float = 0.2
    off_topic: float = 0.2


def plan_response(brief: Brief, confused: Set[str], rng: random.Random, rates: SummaryRates) -> PlannedResponse:
    """Write a summary with known flaws. At least one detail is stated.

    `confused` are the slots that writers mix up.
    """
    passage = brief.passage

    def state(slot: str, first: bool) -> Sentence:
        wrong = rng.random() < (rates.mistaken if slot in confused else rates.wrong)
        value = wrong_value(passage, slot, rng) if wrong else passage.facts[slot]
        form = sentence_parts(passage.subject, slot, named=first or rng.random() < NAMED_SHARE)
        return flawed_sentence(form, value, wrong, rng, rates, WORDING)

    return plan_sentences(brief.slots, state, rng, rates, WORDING, lambda: _extras(brief, rng, rates))


def _extras(brief: Brief, rng: random.Random, rates: SummaryRates) -> Iterator[Sentence]:
    """Sentences that do not belong in the summary."""
    passage = brief.passage
    unstated = [slot.name for slot in SLOTS[KIND_OF_SUBJECT[passage.subject]] if slot.name not in passage.facts]
    unasked = [slot for slot in passage.facts if slot not in brief.slots]
    if rng.random() < rates.unsupported:
        slot = rng.choice(unstated)
        yield _stated(passage, slot, rng.choice(POOLS[SLOT_OF[slot].pool]), rng, FlawKind.UNSUPPORTED)
    if rng.random() < rates.off_topic:
        slot = rng.choice(unasked)
        yield _stated(passage, slot, passage.facts[slot], rng, FlawKind.OFF_TOPIC)
    if rng.random() < rates.trivial:
        yield plain(passage.remark.split(), FlawKind.TRIVIAL)


def _stated(passage: Passage, slot: str, value: str, rng: random.Random, whole: FlawKind) -> Sentence:
    before, after = sentence_parts(passage.subject, slot, named=rng.random() < NAMED_SHARE)
    return plain(f"{before}{value}{after}".split(), whole)


def wrong_value(passage: Passage, slot: str, rng: random.Random) -> str:
    """Choose a value that contradicts the passage: that of a different slot, or one that is not in the passage."""
    pool = POOLS[SLOT_OF[slot].pool]
    others = [value for name, value in passage.facts.items() if name != slot and value in pool]
    if others and rng.random() < SWAP_SHARE:
        return rng.choice(others)
    return rng.choice([value for value in pool if value not in passage.facts.values()])


CONFUSED = 6
"""Number of the 21 slots that writers often get wrong."""
REMARK = "remark"
"""The slot of a sentence without content."""


@dataclass(frozen=True)
class SummaryTask:
    """A passage and the requested slots."""

    brief: Brief

    @property
    def slots(self) -> tuple[str, ...]:
        return self.brief.slots

    def truth(self, slot: str) -> str:
        return self.brief.passage.facts[slot]

    def wrong_values(self, slot: str) -> tuple[str, ...]:
        return tuple(sorted(value for value in POOLS[SLOT_OF[slot].pool] if value != self.truth(slot)))

    def fault(self, statement: Statement) -> FlawKind | None:
        """Return UNSUPPORTED if it is not in the passage, TRIVIAL if it is the remark, OFF_TOPIC if not requested."""
        passage = self.brief.passage
        if statement.slot == REMARK:
            return FlawKind.TRIVIAL if statement.value == passage.remark else FlawKind.UNSUPPORTED
        if statement.entity not in (None, passage.subject) or statement.slot not in passage.facts:
            return FlawKind.UNSUPPORTED
        return None if statement.slot in self.slots else FlawKind.OFF_TOPIC

    def sentence(self, slot: str, rng: random.Random, *, named: bool) -> str:  # noqa: ARG002 - one form, no draw
        before, after = sentence_parts(self.brief.passage.subject, slot, named=named)
        return before + self.truth(slot) + after


class SummariesDomain:
    """Summaries of short passages; `facts_seed` chooses the slots that writers mix up."""

    wording = WORDING
    flaw_kinds = tuple(FlawKind)

    def __init__(self, facts_seed: int = 0) -> None:
        self.confused = frozenset(random.Random(facts_seed).sample(sorted(SLOT_OF), CONFUSED))

    def vocabulary(self) -> list[str]:
        forms = [form for slot in SLOT_OF.values() for form in (slot.named, slot.short)]
        groups = (*self.wording.phrases, tuple(SLOT_OF), *POOLS.values(), *SUBJECTS.values())
        return sorted(words_of((*forms, *REMARKS, HEAD, *NAMED, *SHORT), groups))

    def make_prompts(self, rng: random.Random, counts: Sequence[int]) -> list[list[Prompt]]:
        return make_prompts(rng, counts)

    def task(self, prompt: str) -> SummaryTask:
        brief = _read_prompt(prompt)
        if brief is None:
            raise foreign_prompt(prompt)
        return SummaryTask(brief)

    def statement(self, core: Words) -> Statement | None:
        text = " ".join(core)
        return Statement(None, REMARK, text, 0) if text in REMARKS else FORMS.read(core)

    def plan(self, prompt: str, rng: random.Random, *, halved: bool) -> PlannedResponse:
        rates = SummaryRates().halved() if halved else SummaryRates()
        return plan_response(self.task(prompt).brief, self.confused, rng, rates)
