"""Summaries as a domain: flaws and edits worked by hand, and an editor that never makes it worse unless it slips."""

import random
from collections import Counter
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.records import Preference
from redpencil.world.domain import STOP, FlawKind, ValueSpan, sentences
from redpencil.world.editor import minimal_edit, scripted_editor
from redpencil.world.oracle import Oracle
from redpencil.world.summaries import (
    FORMS,
    KEY_SLOTS,
    KIND_OF_SUBJECT,
    POOLS,
    REMARKS,
    SHORT,
    SLOT_OF,
    SLOTS,
    SUBJECTS,
    SWAP_SHARE,
    Brief,
    Passage,
    SummariesDomain,
    SummaryRates,
    make_passage,
    make_prompt,
    make_prompts,
    passage_text,
    plan_response,
    read_prompt,
    sentence_parts,
    wrong_value,
)

PROMPT = (
    "text : the race fell on a sunday . it drew ten guests . it took place in oslo . it was planned by anna . "
    "the road was very busy . it was opened by boris . please sum it up with the host , the city and the guests ."
)
PERFECT = "the race was planned by anna . it took place in oslo . it drew ten guests ."
DOMAIN = SummariesDomain(0)
ORACLE = Oracle(DOMAIN)


def edit(response: str, repair: float = 1, slip: float = 0, seed: int = 0) -> str:
    return minimal_edit(ORACLE, PROMPT, response, random.Random(seed), repair, slip)


def test_a_perfect_summary_is_worth_three() -> None:
    verdict = ORACLE.inspect(PROMPT, PERFECT)
    assert (verdict.utility, verdict.flaws, verdict.missing) == (3, (), ())
    # "the race was planned by " has 24 characters; "anna . it took place in " 24; "oslo . it drew " 15
    assert verdict.value_spans == (
        ValueSpan("host", 24, 28, True),
        ValueSpan("city", 48, 52, True),
        ValueSpan("guests", 63, 66, True),
    )


@pytest.mark.parametrize(
    ("response", "flaws", "utility"),
    [
        pytest.param("it was planned by boris .", [("wrong", "boris")], -1, id="a value of another detail"),
        pytest.param("it was planned by olga .", [("wrong", "olga")], -1, id="a value from nowhere"),
        pytest.param("it fell on a sunday .", [("off_topic", "it fell on a sunday .")], -1, id="not asked for"),
        pytest.param("it fell on a monday .", [("off_topic", "it fell on a monday .")], -1, id="nor that, and wrong"),
        pytest.param(
            "it was famous for its cake .", [("unsupported", "it was famous for its cake .")], -1, id="not in the text"
        ),
        pytest.param("it has ten rooms .", [("unsupported", "it has ten rooms .")], -1, id="of another kind"),
        pytest.param(
            "the play took place in oslo .",
            [("unsupported", "the play took place in oslo .")],
            -1,
            id="of another event",
        ),
        pytest.param("the road was very busy .", [("trivial", "the road was very busy .")], -1, id="its remark"),
        pytest.param(
            "nobody was in a hurry .", [("unsupported", "nobody was in a hurry .")], -1, id="the remark of another text"
        ),
        pytest.param("a lot could be said here .", [("filler", "a lot could be said here .")], -1, id="filler"),
        pytest.param(
            "it seems that it took place in oslo , more or less , you lazy reader .",
            [("hedge", "it seems that"), ("hedge", ", more or less"), ("rude", ", you lazy reader")],
            1 - 3,
            id="vague and rude",
        ),
        pytest.param(
            "it drew ten guests . the race drew ten guests .",
            [("repeated", "the race drew ten guests .")],
            0,
            id="repeated in other words",
        ),
        pytest.param("it took place in", [("garbled", "it took place in")], -1, id="unfinished"),
        pytest.param("here is the summary . that is all .", [], 0, id="courtesies"),
    ],
)
def test_single_cases(response: str, flaws: list[tuple[str, str]], utility: float) -> None:
    verdict = ORACLE.inspect(PROMPT, response)
    assert [(flaw.kind.value, response[flaw.start : flaw.end]) for flaw in verdict.flaws] == flaws
    assert verdict.utility == utility


def test_two_sentences_must_tell_the_two_key_slots() -> None:
    prompt = PROMPT.replace("with the host , the city and the guests", "in two sentences")
    assert ORACLE.inspect(prompt, PERFECT).missing == ("day",)
    assert ORACLE.inspect(prompt, "it took place in oslo . it fell on a sunday .").utility == 2


def test_what_is_true_depends_on_the_passage_alone() -> None:
    other = PROMPT.replace("oslo", "riga")
    assert ORACLE.inspect(other, PERFECT).utility == 3 - 1 - 1  # a right one less, and a flaw
    assert ORACLE.prefers(other, PERFECT.replace("oslo", "riga"), PERFECT) is Preference.FIRST


@pytest.mark.parametrize(
    ("original", "edited"),
    [
        pytest.param(PERFECT, PERFECT, id="nothing to do"),
        pytest.param(PERFECT.replace("anna", "boris"), PERFECT, id="replace"),
        pytest.param(PERFECT.replace("it took", "maybe it took"), PERFECT, id="hedge"),
        pytest.param(f"{PERFECT} it was famous for its cake .", PERFECT, id="unsupported"),
        pytest.param(f"the road was very busy . {PERFECT}", PERFECT, id="trivial"),
        pytest.param(f"{PERFECT} it fell on a sunday .", PERFECT, id="off topic"),
        pytest.param(PERFECT.replace(" it took place in oslo .", ""), PERFECT, id="missing"),
        pytest.param(PERFECT.replace(" it drew ten guests .", ""), PERFECT, id="missing at the end"),
    ],
)
def test_a_full_repair_worked_by_hand(original: str, edited: str) -> None:
    assert edit(original) == edited


WORDS = st.lists(st.sampled_from([*DOMAIN.vocabulary(), ".", "."]), max_size=30).map(" ".join)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, str]:
    """A prompt and a response: of the corpus, with some babble in front or behind, or any text."""
    rng = random.Random(draw(st.integers(0, 2**31)))
    prompt = DOMAIN.make_prompts(rng, (1,))[0][0].prompt
    planned = DOMAIN.plan(prompt, rng, halved=False).text
    return prompt, draw(st.one_of(st.just(planned), WORDS.map(lambda babble: f"{babble} . {planned}"), st.text()))


@settings(max_examples=300)
@given(case=cases(), seed=st.integers(0, 1000))
def test_a_full_repair_is_complete_and_without_flaw(case: tuple[str, str], seed: int) -> None:
    prompt, response = case
    verdict = ORACLE.inspect(prompt, minimal_edit(ORACLE, prompt, response, random.Random(seed), 1, 0))
    assert (verdict.flaws, verdict.missing) == ((), ())
    assert verdict.utility == len(DOMAIN.task(prompt).slots)


@settings(max_examples=300)
@given(case=cases(), repair=st.floats(0.01, 1), seed=st.integers(0, 1000))
def test_without_slips_an_edit_never_lowers_utility(case: tuple[str, str], repair: float, seed: int) -> None:
    prompt, response = case
    edited = minimal_edit(ORACLE, prompt, response, random.Random(seed), repair, 0)
    assert ORACLE.inspect(prompt, edited).utility >= ORACLE.inspect(prompt, response).utility


def test_slips_harm_or_change_the_opener_for_nothing() -> None:
    utilities = [ORACLE.inspect(PROMPT, edit(PERFECT, slip=1, seed=seed)).utility for seed in range(400)]
    assert set(utilities) == {3, 1}  # 2 right - 1 wrong
    assert utilities.count(1) / 400 == pytest.approx(0.5, abs=0.1)  # s.e. .025


def test_the_scripted_editor_answers_figure_2() -> None:
    original = PERFECT.replace("anna", "boris")
    text = f"Question: {PROMPT}\n\nResponse: {original}\n\nPlease make minimal changes to the above response."
    assert scripted_editor(ORACLE, seed=0, repair=1, slip=0)(text) == PERFECT


def test_a_foreign_prompt_is_an_error_with_a_hint() -> None:
    with pytest.raises(RedpencilError, match=r"'please describe france' is not a prompt of the world\n  hint: "):
        DOMAIN.task("please describe france")


def test_wrong_values_are_the_rest_of_the_pool() -> None:
    wrong = DOMAIN.task(PROMPT).wrong_values("host")
    assert len(wrong) == 15
    assert "anna" not in wrong
    assert "boris" in wrong


def test_each_value_and_subject_is_one_lower_case_word_of_one_pool() -> None:
    words = [word for pool in (*POOLS.values(), *SUBJECTS.values()) for word in pool]
    assert all(word.isalpha() and word == word.lower() for word in words)
    assert Counter(words).most_common(1)[0][1] == 1


def test_three_kinds_have_seven_slots_each_and_two_of_them_are_key() -> None:
    assert {kind: len(slots) for kind, slots in SLOTS.items()} == {"event": 7, "building": 7, "person": 7}
    assert len(SLOT_OF) == 21  # no name serves two kinds
    for kind, keys in KEY_SLOTS.items():
        assert set(keys) < {slot.name for slot in SLOTS[kind]}


def test_each_kind_has_slots_that_share_a_pool_so_that_values_can_be_swapped() -> None:
    for slots in SLOTS.values():
        assert Counter(slot.pool for slot in slots).most_common(1)[0][1] == 2


def test_every_sentence_is_read_back_as_its_own_slot() -> None:
    for subject, kind in KIND_OF_SUBJECT.items():
        for slot in SLOTS[kind]:
            for named in (True, False):
                before, after = sentence_parts(subject, slot.name, named=named)
                for value in POOLS[slot.pool]:
                    words = tuple(f"{before}{value}{after}".split())
                    stated = FORMS.read(words)
                    assert stated is not None
                    assert (stated.entity, stated.slot, stated.value) == (subject if named else None, slot.name, value)
                    assert words[stated.value_at] == value


def test_a_passage_tells_what_will_be_asked_in_six_or_seven_short_sentences() -> None:
    rng = random.Random(0)
    for kind, slots in SLOTS.items():
        for _ in range(300):
            asked = tuple(rng.sample([slot.name for slot in slots], 3))
            passage = make_passage(kind, asked, rng)
            assert KIND_OF_SUBJECT[passage.subject] == kind
            assert set(asked) <= set(passage.facts)
            assert all(value in POOLS[SLOT_OF[slot].pool] for slot, value in passage.facts.items())
            assert len(set(passage.facts.values())) == len(passage.facts) in (5, 6)
            words = passage_text(passage, rng).split()
            assert len(words) < 60
            cores = [" ".join(words[first : stop - 1]) for first, stop in sentences(words)]
            assert len(cores) == len(passage.facts) + 1
            assert passage.subject in cores[0].split()
            assert [core for core in cores if core in REMARKS] == [passage.remark]
            assert cores[0] != passage.remark


def test_values_are_drawn_anew_so_that_no_passage_helps_with_another() -> None:
    rng = random.Random(0)
    towns = Counter(make_passage("event", ("city", "day", "host"), rng).facts["city"] for _ in range(3200))
    # 16 cities: 200 each, standard deviation sqrt(3200 * 1/16 * 15/16) = 13.7
    assert set(towns) == set(POOLS["city"])
    assert all(abs(count - 200) < 70 for count in towns.values())


FACTS = "the race fell on a sunday . it drew ten guests . it took place in oslo . the road was very busy ."
SUMMARY_PROMPT = f"text : {FACTS} please sum it up with the city , the day and the guests ."


def test_a_prompt_is_read_as_written() -> None:
    passage = Passage("race", {"day": "sunday", "guests": "ten", "city": "oslo"}, "the road was very busy")
    assert read_prompt(SUMMARY_PROMPT) == Brief(passage, ("city", "day", "guests"))
    assert read_prompt(f"  {SUMMARY_PROMPT.replace(' ', '  ')}\n") == read_prompt(SUMMARY_PROMPT)
    short = read_prompt(f"text : {FACTS} write two sentences about it .")
    assert short == Brief(passage, ("city", "day"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("text :", "read :", id="another head"),
        pytest.param("oslo", "atlantis", id="no value"),
        pytest.param("it drew ten guests", "it drew guests ten", id="unreadable sentence"),
        pytest.param("the race fell", "it fell", id="no subject"),
        pytest.param("it drew", "the race drew", id="subject named again"),
        pytest.param("the race", "the riot", id="no such subject"),
        pytest.param("it drew ten guests", "it fell on a monday", id="a slot told twice"),
        pytest.param("it drew ten guests", "it has ten rooms", id="a slot of another kind"),
        pytest.param("the road was very busy . ", "", id="no remark"),
        pytest.param("it drew ten guests", "the weather was fine that week", id="two remarks"),
        pytest.param("the day and", "the city and", id="a slot asked for twice"),
        pytest.param("the day and", "the host and", id="a slot that is not told"),
        pytest.param("the day and", "the weather and", id="no slot"),
        pytest.param("please sum", "kindly sum", id="no request"),
        pytest.param("guests .", "guests", id="no end"),
        pytest.param(SUMMARY_PROMPT, "", id="empty"),
    ],
)
def test_whatever_is_not_a_prompt_is_none(old: str, new: str) -> None:
    assert old in SUMMARY_PROMPT
    assert read_prompt(SUMMARY_PROMPT.replace(old, new, 1)) is None


@given(st.text())
def test_any_text_can_be_tried(text: str) -> None:
    assert read_prompt(text) is None


@settings(max_examples=200)
@given(st.integers(0, 2**31))
def test_every_prompt_can_be_read_and_asks_only_for_what_the_passage_tells(seed: int) -> None:
    prompt = make_prompt(random.Random(seed))
    assert prompt == " ".join(prompt.split())
    assert prompt.endswith(f" {STOP}")
    brief = read_prompt(prompt)
    assert brief is not None
    assert set(brief.slots) <= set(brief.passage.facts)
    is_short = prompt.endswith(SHORT)
    assert brief.slots == KEY_SLOTS[KIND_OF_SUBJECT[brief.passage.subject]] if is_short else len(brief.slots) == 3
    assert len(prompt.split()) <= 64


def test_sets_have_their_sizes_and_share_neither_prompt_nor_passage() -> None:
    sets = make_prompts(random.Random(0), (1500, 0, 300, 600))
    assert [len(prompts) for prompts in sets] == [1500, 0, 300, 600]
    everything = [prompt for prompts in sets for prompt in prompts]
    assert len({p.prompt for p in everything}) == len({p.id for p in everything}) == 2400
    passages = {p.prompt.rpartition(" . ")[0] for p in everything}
    assert len(passages) == 2400


def test_a_quarter_asks_for_two_sentences() -> None:
    (prompts,) = make_prompts(random.Random(1), (2000,))
    # standard error sqrt(.25 * .75 / 2000) = .0097
    assert sum(p.prompt.endswith(SHORT) for p in prompts) / 2000 == pytest.approx(0.25, abs=0.04)


def test_prompts_depend_on_the_seed_alone() -> None:
    first, again, other = (make_prompts(random.Random(seed), (50, 20)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


NAMES = [field.name for field in fields(SummaryRates)]
NONE = SummaryRates(**dict.fromkeys(NAMES, 0.0))
MANY = SummaryRates(**dict.fromkeys(NAMES, 0.5))
PASSAGE = Passage("race", {"city": "oslo", "host": "anna", "opener": "boris", "day": "sunday", "food": "cake"}, "x")


@settings(max_examples=300)
@given(seed=st.integers(0, 2**31), rates=st.sampled_from([SummaryRates(), SummaryRates().halved(), MANY]))
def test_the_oracle_finds_exactly_what_was_planted(seed: int, rates: SummaryRates) -> None:
    rng = random.Random(seed)
    prompt = make_prompt(rng)
    planned = plan_response(DOMAIN.task(prompt).brief, DOMAIN.confused, rng, rates)
    verdict = ORACLE.inspect(prompt, planned.text)
    assert (verdict.flaws, verdict.missing) == (planned.flaws, planned.missing), planned.text
    assert planned.text == " ".join(planned.text.split())


def test_without_flaws_each_detail_is_told_in_order() -> None:
    rng = random.Random(0)
    for _ in range(500):
        prompt = make_prompt(rng)
        slots = DOMAIN.task(prompt).slots
        verdict = ORACLE.inspect(prompt, plan_response(DOMAIN.task(prompt).brief, DOMAIN.confused, rng, NONE).text)
        assert (verdict.utility, verdict.correct) == (len(slots), slots)
        assert [value.slot for value in verdict.value_spans] == list(slots)


def test_flaws_come_at_their_rates() -> None:
    rng, n = random.Random(0), 6000
    kinds: Counter[FlawKind] = Counter()
    asked = told = expected_wrong = 0.0
    rates = SummaryRates(repeated=0)
    for _ in range(n):
        brief = DOMAIN.task(make_prompt(rng)).brief
        plan = plan_response(brief, DOMAIN.confused, rng, rates)
        kinds.update(flaw.kind for flaw in plan.flaws)
        asked += len(brief.slots)
        present = [slot for slot in brief.slots if slot not in plan.missing]
        told += len(present)
        expected_wrong += sum(rates.mistaken if slot in DOMAIN.confused else rates.wrong for slot in present)
    # standard errors: some sqrt(.15 * .85 / 14000) = .003 a detail, sqrt(.2 * .8 / 6000) = .005 a summary
    assert 1 - told / asked == pytest.approx(rates.missing, abs=0.012)
    assert kinds[FlawKind.HEDGE] / told == pytest.approx(rates.hedge, abs=0.012)
    assert kinds[FlawKind.RUDE] / told == pytest.approx(rates.rude, abs=0.012)
    assert kinds[FlawKind.WRONG] == pytest.approx(expected_wrong, rel=0.06)
    for kind, rate in (
        (FlawKind.FILLER, rates.filler),
        (FlawKind.UNSUPPORTED, rates.unsupported),
        (FlawKind.TRIVIAL, rates.trivial),
        (FlawKind.OFF_TOPIC, rates.off_topic),
    ):
        assert kinds[kind] / n == pytest.approx(rate, abs=0.02)


def test_a_wrong_value_is_the_passages_other_one_or_stands_nowhere_in_it() -> None:
    rng = random.Random(0)
    hosts = [wrong_value(PASSAGE, "host", rng) for _ in range(2000)]
    assert "anna" not in hosts
    # standard error sqrt(.5 * .5 / 2000) = .011 at most
    assert hosts.count("boris") / 2000 == pytest.approx(SWAP_SHARE, abs=0.04)
    made_up = {*hosts, *(wrong_value(PASSAGE, "city", rng) for _ in range(200))} - {"boris"}
    assert not made_up & set(PASSAGE.facts.values())
    assert made_up <= {*POOLS["name"], *POOLS["city"]}


def test_a_repetition_is_the_sentence_before_verbatim() -> None:
    rng = random.Random(0)
    for _ in range(200):
        brief = DOMAIN.task(make_prompt(rng)).brief
        rates = SummaryRates(repeated=1, filler=0, unsupported=0, trivial=0, off_topic=0)
        plan = plan_response(brief, DOMAIN.confused, rng, rates)
        (again,) = (flaw for flaw in plan.flaws if flaw.kind is FlawKind.REPEATED)
        sentence = plan.text[again.start : again.end]
        assert plan.text[: again.start - 1].endswith(sentence)


def test_halved_halves_every_flaw_and_no_courtesy() -> None:
    whole, half = SummaryRates(), SummaryRates().halved()
    assert (half.opener, half.closer) == (whole.opener, whole.closer)
    assert all(getattr(half, n) == getattr(whole, n) / 2 for n in NAMES if n not in ("opener", "closer"))


def test_a_summary_always_tells_something() -> None:
    brief = DOMAIN.task(make_prompt(random.Random(0))).brief
    plan = plan_response(brief, DOMAIN.confused, random.Random(0), SummaryRates(missing=1))
    assert len(plan.missing) == len(brief.slots) - 1


def test_confused_slots_are_some_of_all() -> None:
    assert DOMAIN.confused < set(SLOT_OF)
    assert SummariesDomain(1).confused != DOMAIN.confused
