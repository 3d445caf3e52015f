"""The oracle, worked by hand on concrete responses, and total on arbitrary text."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.records import Preference
from redpencil.world.domain import Flaw, FlawKind, ValueSpan
from redpencil.world.facts import FactsDomain, Request
from redpencil.world.oracle import Oracle

PROMPT = "please describe france . cover capital , currency and language ."
DOMAIN = FactsDomain(0)
ORACLE = Oracle(DOMAIN)
PERFECT = "the capital of france is paris . its currency is the euro . people there speak french ."


def found(response: str) -> list[tuple[str, str]]:
    """Flaws as (kind, the text they span)."""
    return [(flaw.kind.value, response[flaw.start : flaw.end]) for flaw in ORACLE.inspect(PROMPT, response).flaws]


def test_a_request_is_read_from_its_prompt() -> None:
    assert DOMAIN.request(PROMPT) == Request("france", ("capital", "currency", "language"))
    assert DOMAIN.request(PROMPT.replace(" ", "  ")) == DOMAIN.request(PROMPT)


def test_a_foreign_prompt_is_an_error_with_a_hint() -> None:
    with pytest.raises(RedpencilError, match=r"'describe atlantis' is not a prompt of the world\n  hint: "):
        DOMAIN.request("describe atlantis")


def test_a_perfect_response_is_worth_three() -> None:
    verdict = ORACLE.inspect(PROMPT, PERFECT)
    assert (verdict.utility, verdict.flaws, verdict.missing) == (3, (), ())
    assert verdict.correct == ("capital", "currency", "language")
    # "the capital of france is " has 25 characters; "paris . its currency is the " 28; "euro . people there speak " 26
    assert verdict.value_spans == (
        ValueSpan("capital", 25, 30, True),
        ValueSpan("currency", 53, 57, True),
        ValueSpan("language", 79, 85, True),
    )


def test_every_flaw_of_a_bad_response_has_its_span() -> None:
    response = (
        "here is what you asked for . this is a very interesting topic . i think its capital is madrid , you fool . "
        "i think its capital is madrid , you fool . people there pay with the euro , or so i heard . "
        "it lies in europe . the the . i hope this helps ."
    )
    assert found(response) == [
        ("filler", "this is a very interesting topic ."),
        ("hedge", "i think"),
        ("wrong", "madrid"),
        ("rude", ", you fool"),
        ("repeated", "i think its capital is madrid , you fool ."),
        ("hedge", ", or so i heard"),
        ("off_topic", "it lies in europe ."),  # true, but not asked for
        ("garbled", "the the ."),
    ]
    verdict = ORACLE.inspect(PROMPT, response)
    assert verdict.utility == 1 - 8  # the euro is right; 8 flaws
    assert verdict.correct == ("currency",)
    assert verdict.missing == ("language",)  # the capital is wrong, not missing
    assert [(v.slot, v.correct) for v in verdict.value_spans] == [("capital", False), ("currency", True)]


@pytest.mark.parametrize(
    ("response", "flaws", "utility"),
    [
        pytest.param("", [], 0, id="empty"),
        pytest.param(".", [("garbled", ".")], -1, id="a lone stop"),
        pytest.param("its capital is paris", [("garbled", "its capital is paris")], -1, id="unfinished"),
        pytest.param(
            "its capital is paris paris", [("garbled", "its capital is paris paris")], -1, id="another word is no stop"
        ),
        pytest.param("its capital is paris . its", [("garbled", "its")], 0, id="unfinished end"),
        pytest.param("its capital is tokyo .", [("wrong", "tokyo")], -1, id="wrong"),
        pytest.param("its capital is bamboo .", [("garbled", "its capital is bamboo .")], -1, id="no value at all"),
        pytest.param("its capital is yen .", [("wrong", "yen")], -1, id="a value of another slot"),
        pytest.param("its capital is madrid . its capital is paris .", [("wrong", "madrid")], 0, id="corrects itself"),
        pytest.param(
            "its capital is paris . its capital is madrid .", [("wrong", "madrid")], 0, id="contradicts itself"
        ),
        pytest.param(
            "its capital is paris . paris is its capital .",
            [("repeated", "paris is its capital .")],
            0,
            id="repeated in other words",
        ),
        pytest.param(
            "the capital of spain is paris .", [("off_topic", "the capital of spain is paris .")], -1, id="other entity"
        ),
        pytest.param("it looks gray .", [("off_topic", "it looks gray .")], -1, id="slot of another kind"),
        pytest.param(
            "i think perhaps its capital is paris , you fool , as any child knows .",
            [("hedge", "i think"), ("hedge", "perhaps"), ("rude", ", you fool"), ("rude", ", as any child knows")],
            1 - 4,
            id="piled up",
        ),
        pytest.param(
            "i hope this helps . " * 3, [("filler", "i hope this helps .")] * 2, -2, id="only the last closes"
        ),
        pytest.param(
            "here is what you asked for . " * 2, [("filler", "here is what you asked for .")], -1, id="one opener"
        ),
        pytest.param(
            "i hope this helps , you fool .", [("filler", "i hope this helps , you fool .")], -1, id="rude closer"
        ),
        pytest.param("perhaps .", [("garbled", "perhaps .")], -1, id="a hedge of nothing"),
        pytest.param(", you fool .", [("garbled", ", you fool .")], -1, id="an insult alone"),
    ],
)
def test_single_cases(response: str, flaws: list[tuple[str, str]], utility: float) -> None:
    response = response.strip()
    assert found(response) == flaws
    assert ORACLE.inspect(PROMPT, response).utility == utility


def test_spans_are_of_the_response_as_it_is() -> None:
    assert found("  its capital\n is  madrid .") == [("wrong", "madrid")]


def test_the_flaw_of_a_token() -> None:
    verdict = ORACLE.inspect(PROMPT, "i think its capital is madrid .")
    assert verdict.flaws == (Flaw(FlawKind.HEDGE, 0, 7), Flaw(FlawKind.WRONG, 23, 29))
    assert verdict.flaw_at(2, 7) is FlawKind.HEDGE
    assert verdict.flaw_at(7, 8) is None  # the space behind the hedge
    assert verdict.flaw_at(23, 29) is FlawKind.WRONG
    assert verdict.flaw_at(30, 31) is None


def test_preferences_follow_utility() -> None:
    worse = PERFECT.replace("paris", "madrid")
    assert ORACLE.prefers(PROMPT, PERFECT, worse) is Preference.FIRST
    assert ORACLE.prefers(PROMPT, worse, PERFECT) is Preference.SECOND
    assert ORACLE.prefers(PROMPT, PERFECT, PERFECT + " i hope this helps .") is Preference.TIE


BABBLE = st.lists(st.sampled_from([*DOMAIN.vocabulary(), ".", ".", ".", "<eos>"]), max_size=60).map(" ".join)


@given(response=st.one_of(st.text(), BABBLE))
@example(response="\u2028.\x00 . ")
def test_any_text_can_be_read(response: str) -> None:
    verdict = ORACLE.inspect(PROMPT, response)
    assert verdict.utility == len(verdict.correct) - len(verdict.flaws)
    assert len(verdict.correct) + len(verdict.missing) <= 3
    ends = [0, *(flaw.end for flaw in verdict.flaws)]
    starts = [*(flaw.start for flaw in verdict.flaws), len(response)]
    assert all(end <= start for end, start in zip(ends, starts, strict=True))  # in order, no overlap
    assert all(flaw.start < flaw.end for flaw in verdict.flaws)


@given(babble=BABBLE)
def test_babble_after_a_perfect_response_never_helps(babble: str) -> None:
    assert ORACLE.inspect(PROMPT, f"{PERFECT} {babble}").utility <= 3


def test_a_thousand_responses_take_well_under_a_second() -> None:
    start = time.process_time()
    for _ in range(1000):
        ORACLE.inspect(PROMPT, PERFECT)
    assert time.process_time() - start < 1  # some 0.04 s on one core
