"""The scripted minimal editor: worked by hand, and never for the worse unless it slips."""

import random
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.world.build import annotate
from redpencil.world.domain import FlawKind, FlawRates
from redpencil.world.editor import minimal_edit, scripted_editor
from redpencil.world.facts import (
    WORDING,
    FactsDomain,
    all_requests,
    plan_response,
    prompt_texts,
    render_prompt,
)
from redpencil.world.oracle import Oracle

PROMPT = "please describe france . cover capital , currency and language ."
DOMAIN = FactsDomain(0)
WORLD = DOMAIN.world
ORACLE = Oracle(DOMAIN)
TEXTS = list(prompt_texts(WORLD).items())
PERFECT = "the capital of france is paris . its currency is the euro . people there speak french ."


def edit(response: str, repair: float = 1, slip: float = 0, seed: int = 0) -> str:
    return minimal_edit(ORACLE, PROMPT, response, random.Random(seed), repair, slip)


@pytest.mark.parametrize(
    ("original", "edited"),
    [
        pytest.param(PERFECT, PERFECT, id="nothing to do"),
        pytest.param(PERFECT.replace("paris", "madrid"), PERFECT, id="replace"),
        pytest.param(PERFECT.replace("its", "i think its"), PERFECT, id="hedge in front"),
        pytest.param(PERFECT.replace("euro", "euro , or so i heard"), PERFECT, id="hedge behind"),
        pytest.param(PERFECT.replace("paris", "madrid , you fool"), PERFECT, id="two in one sentence"),
        pytest.param(f"there is so much to say about it . {PERFECT}", PERFECT, id="filler"),
        pytest.param(f"{PERFECT} people there speak french .", PERFECT, id="repeated"),
        pytest.param(f"{PERFECT} it lies in europe .", PERFECT, id="off topic"),
        pytest.param(f"{PERFECT} the the", PERFECT, id="garbled"),
        pytest.param(f"its capital is madrid . {PERFECT}", PERFECT, id="wrong beside right"),
        pytest.param(f". perhaps its capital is madrid . {PERFECT}", PERFECT, id="hedged wrong beside right"),
        pytest.param(f"  {PERFECT}\n", PERFECT, id="white space"),
    ],
)
def test_a_full_repair_worked_by_hand(original: str, edited: str) -> None:
    assert edit(original) == edited


@pytest.mark.parametrize(
    ("original", "before", "after"),
    [
        pytest.param(
            "sure , here is my answer . its currency is the euro . its language is french .",
            "sure , here is my answer .",
            "its currency is the euro . its language is french .",
            id="first: behind the opener",
        ),
        pytest.param(
            "its capital is paris . its language is french . i hope this helps .",
            "its capital is paris .",
            "its language is french . i hope this helps .",
            id="second: behind the first",
        ),
        pytest.param(
            "its capital is paris . its currency is the euro . i hope this helps .",
            "its capital is paris . its currency is the euro .",
            "i hope this helps .",
            id="third: before the closer",
        ),
    ],
)
def test_a_missing_fact_is_inserted_where_the_request_has_it(original: str, before: str, after: str) -> None:
    edited = edit(original)
    assert edited.startswith(f"{before} ")
    assert edited.endswith(f" {after}")
    assert ORACLE.inspect(PROMPT, edited).utility == 3


def test_an_empty_response_is_written_in_the_requests_order() -> None:
    assert [v.slot for v in ORACLE.inspect(PROMPT, edit("")).value_spans] == ["capital", "currency", "language"]


FRAGMENTS = st.one_of(
    st.sampled_from([" ".join(words) for words in (*WORDING.openers, *WORDING.closers, *WORDING.fillers)]),
    st.sampled_from(["its capital is", "its currency is the", "people there speak", "it lies in"]).flatmap(
        lambda head: st.sampled_from(["paris", "madrid", "tokyo", "euro", "french"]).map(
            lambda value: f"{head} {value}"
        )
    ),
    st.lists(st.sampled_from(DOMAIN.vocabulary()), max_size=6).map(" ".join),
)


@st.composite
def messes(draw: st.DrawFn) -> str:
    """Sentences of all sorts in any order, some hedged or rude, some unfinished."""
    sentences = [
        " ".join([draw(st.sampled_from(["", "perhaps"])), fragment, draw(st.sampled_from(["", ", you fool"]))])
        for fragment in draw(st.lists(FRAGMENTS, max_size=7))
    ]
    return " . ".join(sentences) + draw(st.sampled_from(["", " ."]))


@settings(max_examples=300)
@given(original=st.one_of(messes(), st.text()), repair=st.floats(0.01, 1), seed=st.integers(0, 1000))
def test_without_slips_an_edit_never_lowers_utility(original: str, repair: float, seed: int) -> None:
    edited = edit(original, repair, seed=seed)
    assert ORACLE.inspect(PROMPT, edited).utility >= ORACLE.inspect(PROMPT, original).utility


@settings(max_examples=300)
@given(original=st.one_of(messes(), st.text()), seed=st.integers(0, 1000))
def test_a_full_repair_is_complete_and_without_flaw(original: str, seed: int) -> None:
    verdict = ORACLE.inspect(PROMPT, edit(original, seed=seed))
    assert (verdict.utility, verdict.flaws, verdict.missing) == (3, (), ())


def test_on_the_corpus_only_flawed_characters_go_and_something_always_does() -> None:
    rng = random.Random(0)
    requests = all_requests(WORLD)
    for _ in range(2000):
        request = rng.choice(requests)
        prompt = render_prompt(WORLD, request, "tell me about {entity} . i need its {a} , {b} and {c} .")
        plan = plan_response(WORLD, request, rng, FlawRates(missing=0))
        edited = minimal_edit(ORACLE, prompt, plan.text, rng, 0.5, 0)
        assert (edited != plan.text) == bool(plan.flaws)
        # What is left of the original once its flaws are cut out must be left of the edit too, in the same order.
        clean = "".join(
            " " if any(flaw.start <= i < flaw.end for flaw in plan.flaws) else letter
            for i, letter in enumerate(plan.text)
        ).split()
        rest = iter(edited.split())
        assert all(word in rest for word in clean), (plan.text, edited)
        # And nothing new comes in but right values in the place of wrong ones.
        wrong = sum(flaw.kind is FlawKind.WRONG for flaw in plan.flaws)
        new = [word for word in edited.split() if word not in plan.text.split()]
        assert len(new) <= wrong
        assert set(new) <= set(WORLD.by_name[request.entity].facts.values())


def test_flaws_are_repaired_at_the_given_rate() -> None:
    # three flaws a response: expected share .7 * 3 plus the forced one when none is chosen: (2.1 + .027) / 3 = .709
    response = PERFECT.replace("paris", "madrid , you fool").replace("euro", "euro , or so i heard")
    left = [len(ORACLE.inspect(PROMPT, edit(response, 0.7, seed=seed)).flaws) for seed in range(2000)]
    assert 1 - sum(left) / (3 * 2000) == pytest.approx(0.709, abs=0.025)  # s.e. .006
    assert max(left) == 2


def test_slips_harm_or_change_the_opener_for_nothing() -> None:
    edits = [edit(PERFECT, slip=1, seed=seed) for seed in range(400)]
    assert all(text != PERFECT for text in edits)
    utilities = [ORACLE.inspect(PROMPT, text).utility for text in edits]
    assert set(utilities) == {3, 1}  # 2 right - 1 wrong
    assert utilities.count(1) / 400 == pytest.approx(0.5, abs=0.1)  # s.e. .025
    opened = f"sure , here is my answer . {PERFECT}"
    neutral = {text for s in range(100) if ORACLE.inspect(PROMPT, text := edit(opened, slip=1, seed=s)).utility == 3}
    assert neutral == {PERFECT, f"here is what you asked for . {PERFECT}"}


def test_slips_come_at_their_rate() -> None:
    slipped = sum(edit(PERFECT, slip=0.05, seed=seed) != PERFECT for seed in range(2000))
    assert slipped / 2000 == pytest.approx(0.05, abs=0.02)  # s.e. .005


def test_oracle_annotator_and_editor_stay_what_published_results_were_made_with() -> None:
    """A hash over 500 responses, their edits, labels and verdicts, as when docs/results-study.md was measured."""
    rng, answers, digest = random.Random(0), scripted_editor(ORACLE, 1), sha256()
    for _ in range(500):
        prompt, request = rng.choice(TEXTS)
        one, two = (plan_response(WORLD, request, rng, FlawRates()).text for _ in range(2))
        edited = answers(f"Question: {prompt}\n\nResponse: {one}\n\nPlease make minimal changes")
        label, verdict = annotate(ORACLE, prompt, one, two, rng), ORACLE.inspect(prompt, one)
        digest.update(f"{prompt}|{one}|{edited}|{label}|{verdict}".encode())
    assert digest.hexdigest().startswith("1e08d07f30f3322e")


@pytest.mark.parametrize("middle", ["\n\nInput: none\n\n", "\n\n"])
def test_the_scripted_editor_answers_figure_2(middle: str) -> None:
    original = PERFECT.replace("paris", "madrid")
    text = f"Question: {PROMPT}{middle}Response: {original}\n\nPlease make minimal changes to the above response."
    assert scripted_editor(ORACLE, seed=0, repair=1, slip=0)(text) == PERFECT


def test_the_scripted_editor_is_deterministic_for_each_text_and_seed() -> None:
    rng = random.Random(0)
    texts = []
    for _ in range(50):
        prompt, request = rng.choice(TEXTS)
        response = plan_response(WORLD, request, rng, FlawRates(0.5, 0.5, 0.5)).text
        texts.append(f"Question: {prompt}\n\nResponse: {response}\n\nPlease make minimal changes to it.")
    first, again, other = ([scripted_editor(ORACLE, seed)(text) for text in texts] for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_scripted_editor_chooses_anew_for_each_text() -> None:
    original = PERFECT.replace("paris", "madrid , you fool").replace("euro", "euro , or so i heard")
    same_request = [prompt for prompt, request in TEXTS if request == DOMAIN.request(PROMPT)]
    editor = scripted_editor(ORACLE, 0, repair=0.5, slip=0)
    answers = {editor(f"Question: {p}\n\nResponse: {original}\n\nPlease make minimal changes") for p in same_request}
    assert len(same_request) == 6
    assert len(answers) > 1


def test_the_scripted_editor_takes_an_empty_response() -> None:
    answer = scripted_editor(ORACLE, 0, 1, 0)(f"Question: {PROMPT}\n\nResponse: \n\nPlease make minimal changes to it.")
    assert ORACLE.inspect(PROMPT, answer).utility == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("please correct this", "found no question and response"),
        ("Question: hello\n\nResponse: hello .\n\nPlease make minimal changes", "'hello' is not a prompt of the world"),
    ],
)
def test_a_foreign_prompt_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(RedpencilError, match=problem):
        scripted_editor(ORACLE, 0)(text)
