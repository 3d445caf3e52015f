"""Facts as a domain: what its tasks call right, wrong and out of place."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.world.domain import FlawKind, FlawRates, Statement
from redpencil.world.facts import (
    PHRASINGS,
    SLOTS,
    FactsDomain,
    Request,
    World,
    all_requests,
    fact_form,
    fact_sentence,
    make_prompts,
    make_world,
    plan_response,
    prompt_texts,
    render_prompt,
)
from redpencil.world.oracle import Oracle

PROMPT = "please describe france . cover capital , currency and language ."


def test_a_task_knows_what_is_right(facts: FactsDomain) -> None:
    task = facts.task(PROMPT)
    assert task.slots == ("capital", "currency", "language")
    assert [task.truth(slot) for slot in task.slots] == ["paris", "euro", "french"]
    assert "paris" not in task.wrong_values("capital")
    assert "madrid" in task.wrong_values("capital")
    sentences = {task.sentence("capital", random.Random(seed), named=True) for seed in range(20)}
    assert sentences == {"the capital of france is paris", "paris is the capital of france"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("its capital is madrid", None),
        ("the capital of spain is madrid", FlawKind.OFF_TOPIC),
        ("it lies in europe", FlawKind.OFF_TOPIC),
        ("it looks gray", FlawKind.OFF_TOPIC),
    ],
)
def test_only_what_was_asked_for_belongs_into_a_response(text: str, fault: FlawKind | None, facts: FactsDomain) -> None:
    stated = facts.statement(tuple(text.split()))
    assert isinstance(stated, Statement)
    assert facts.task(PROMPT).fault(stated) is fault


def test_tables_show_the_flaws_that_facts_can_have(facts: FactsDomain) -> None:
    shown = [kind.value for kind in facts.flaw_kinds]
    assert shown == ["wrong", "hedge", "rude", "filler", "repeated", "off_topic", "garbled"]


def test_there_are_48_entities_with_four_facts_each(world: World) -> None:
    assert len(world.entities) == len(world.by_name) == 48
    assert {e.kind for e in world.entities} == {"country", "animal", "element"}
    assert all(tuple(e.facts) == SLOTS[e.kind] and len(e.facts) == 4 for e in world.entities)


def test_every_name_and_value_is_one_lower_case_word(world: World) -> None:
    for word in (*world.by_name, *world.values):
        assert word.isalpha()
        assert word == word.lower()


def test_some_facts_checked_by_hand(world: World) -> None:
    assert world.by_name["japan"].facts == {
        "capital": "tokyo",
        "currency": "yen",
        "language": "japanese",
        "continent": "asia",
    }
    assert world.by_name["kangaroo"].facts["young"] == "joey"
    assert world.by_name["mercury"].facts["state"] == "liquid"


def test_30_percent_of_the_facts_have_a_misconception_from_the_same_slot(world: World) -> None:
    # 48 entities x 4 slots = 192 facts; 0.3 x 192 = 57.6, rounded 58
    assert sum(len(entity.misconceptions) for entity in world.entities) == 58
    for entity in world.entities:
        for slot, value in entity.misconceptions.items():
            assert value in world.wrong_values(entity.name, slot)
            assert value != entity.facts[slot]


def test_wrong_values_are_the_slots_other_values(world: World) -> None:
    assert world.wrong_values("france", "continent") == ("africa", "america", "asia")
    assert world.wrong_values("iron", "state") == ("gas", "liquid")


def test_the_seed_decides_the_misconceptions_and_nothing_else(world: World) -> None:
    assert make_world(0) == world
    other = make_world(1)
    assert [e.facts for e in other.entities] == [e.facts for e in world.entities]
    assert [e.misconceptions for e in other.entities] != [e.misconceptions for e in world.entities]


def test_a_fact_sentence_states_the_value_in_one_of_its_forms() -> None:
    rng = random.Random(0)
    seen = {fact_sentence("spain", "capital", "rabat", rng, named=named) for named in (True, False) * 20}
    assert seen == {
        "the capital of spain is rabat",
        "rabat is the capital of spain",
        "its capital is rabat",
        "rabat is its capital",
    }
    # "h" stands inside "hydrogen" too: the form knows where the value belongs
    forms = {fact_form("hydrogen", "symbol", rng, named=True) for _ in range(20)}
    assert forms == {("the symbol of hydrogen is ", ""), ("chemists write hydrogen as ", "")}


DOMAIN = FactsDomain(0)
WORLD = DOMAIN.world


def test_a_prompt_names_its_facts_in_order(world: World) -> None:
    request = Request("france", ("capital", "currency", "language"))
    expected = "please describe france . cover capital , currency and language ."
    assert render_prompt(world, request, PHRASINGS[0]) == expected
    animal = render_prompt(world, Request("lion", ("home", "food", "young")), PHRASINGS[0])
    assert animal == "please describe the lion . cover home , food and young ."


def test_every_text_is_canonical_and_is_for_one_request(world: World) -> None:
    # 48 entities x (4 x 3 x 2 = 24 ordered choices) = 1152 requests, x 6 phrasings = 6912 different texts
    assert len(all_requests(world)) == len(set(all_requests(world))) == 1152
    texts = prompt_texts(world)
    assert len(texts) == 6912
    assert all(text == " ".join(text.split()) and text.endswith(" .") for text in texts)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), counts=st.lists(st.integers(0, 1500), min_size=1, max_size=4))
def test_sets_have_their_sizes_and_share_neither_text_nor_request(seed: int, counts: list[int]) -> None:
    sets = make_prompts(WORLD, random.Random(seed), counts)
    assert [len(prompts) for prompts in sets] == counts
    everything = [prompt for prompts in sets for prompt in prompts]
    assert len({p.prompt for p in everything}) == len({p.id for p in everything}) == sum(counts)
    requests = [{DOMAIN.request(p.prompt) for p in prompts} for prompts in sets]
    assert sum(len(r) for r in requests) == len(set().union(*requests))


def test_the_issues_sizes_fit(world: World) -> None:
    assert [len(s) for s in make_prompts(world, random.Random(0), (2500, 300, 600))] == [2500, 300, 600]


def test_prompts_depend_on_the_seed_alone(world: World) -> None:
    first, again, other = (make_prompts(world, random.Random(seed), (50, 20)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_too_many_prompts_are_refused_with_the_number_there_is(world: World) -> None:
    assert len(make_prompts(world, random.Random(0), (6912,))[0]) == 6912
    with pytest.raises(RedpencilError, match=r"6913 prompts were asked for; the world has 6912"):
        make_prompts(world, random.Random(0), (6913,))


NONE = FlawRates(0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_the_oracle_finds_exactly_what_was_planted(world: World, oracle: Oracle) -> None:
    rng = random.Random(0)
    texts = list(prompt_texts(world).items())
    kinds: Counter[FlawKind] = Counter()
    for rates in (FlawRates(), FlawRates(0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)):
        for _ in range(4000):
            prompt, request = rng.choice(texts)
            planned = plan_response(world, request, rng, rates)
            verdict = oracle.inspect(prompt, planned.text)
            assert (verdict.flaws, verdict.missing) == (planned.flaws, planned.missing), planned.text
            assert planned.text == " ".join(planned.text.split())
            kinds.update(flaw.kind for flaw in planned.flaws)
    assert set(kinds) == {FlawKind.WRONG, FlawKind.HEDGE, FlawKind.RUDE, FlawKind.FILLER, FlawKind.REPEATED}


def test_without_flaws_each_fact_is_told_in_order(world: World, oracle: Oracle) -> None:
    rng = random.Random(0)
    for request in all_requests(world):
        prompt = render_prompt(world, request, PHRASINGS[0])
        verdict = oracle.inspect(prompt, plan_response(world, request, rng, NONE).text)
        assert verdict.utility == 3
        assert verdict.correct == request.slots
        assert [value.slot for value in verdict.value_spans] == list(request.slots)


def test_flaws_come_at_their_rates(world: World) -> None:
    rng = random.Random(0)
    requests = all_requests(world)
    n = 6000
    plans = [(r := rng.choice(requests), plan_response(world, r, rng, FlawRates(repeated=0))) for _ in range(n)]
    kinds = Counter(flaw.kind for _, plan in plans for flaw in plan.flaws)
    # standard errors at n = 6000: sqrt(.15 * .85 / 18000) = .0027 a fact, sqrt(.35 * .65 / 6000) = .006 a response
    told = sum(3 - len(plan.missing) for _, plan in plans)
    assert 1 - told / (3 * n) == pytest.approx(0.15, abs=0.011)
    assert kinds[FlawKind.HEDGE] / told == pytest.approx(0.15, abs=0.012)
    assert kinds[FlawKind.RUDE] / told == pytest.approx(0.15, abs=0.012)
    assert kinds[FlawKind.FILLER] / n == pytest.approx(0.35, abs=0.025)
    believed = sum(
        slot in world.by_name[r.entity].misconceptions for r, p in plans for slot in r.slots if slot not in p.missing
    )
    expected = 0.6 * believed + 0.15 * (told - believed)
    assert kinds[FlawKind.WRONG] == pytest.approx(expected, rel=0.06)


def test_a_misconception_is_always_the_same_wrong_value(world: World, oracle: Oracle) -> None:
    entity = next(e for e in world.entities if e.misconceptions)
    slot, believed = next(iter(entity.misconceptions.items()))
    others = [name for name in entity.facts if name != slot]
    request = Request(entity.name, (slot, others[0], others[1]))
    prompt = render_prompt(world, request, PHRASINGS[1])
    stated: Counter[str] = Counter()
    rng = random.Random(0)
    for _ in range(500):
        response = plan_response(world, request, rng, FlawRates(missing=0)).text
        value = next(v for v in oracle.inspect(prompt, response).value_spans if v.slot == slot)
        stated[response[value.start : value.end]] += 1
    assert set(stated) == {believed, entity.facts[slot]}
    assert stated[believed] / 500 == pytest.approx(0.6, abs=0.09)  # s.e. sqrt(.6 * .4 / 500) = .022


def test_a_repetition_is_the_sentence_before_verbatim(world: World) -> None:
    request = Request("iron", ("symbol", "state", "use"))
    rng = random.Random(0)
    for _ in range(200):
        plan = plan_response(world, request, rng, FlawRates(repeated=1, hedge=0.5, rude=0.5, filler=0))
        (again,) = (flaw for flaw in plan.flaws if flaw.kind is FlawKind.REPEATED)
        sentence = plan.text[again.start : again.end]
        assert sentence.endswith(" .")
        assert plan.text[: again.start - 1].endswith(sentence)


def test_halved_halves_every_flaw_and_no_courtesy() -> None:
    assert FlawRates().halved() == FlawRates(0.075, 0.3, 0.075, 0.075, 0.075, 0.175, 0.1, 0.3, 0.3)


def test_a_response_always_states_a_fact(world: World) -> None:
    request = Request("iron", ("symbol", "state", "use"))
    plan = plan_response(world, request, random.Random(0), FlawRates(missing=1))
    assert len(plan.missing) == 2
