"""What holds in every domain: the protocol's own words."""

import random

import pytest

from redpencil.errors import RedpencilError
from redpencil.world.domain import (
    Domain,
    Flaw,
    FlawKind,
    Forms,
    Sentence,
    Statement,
    Verdict,
    Wording,
    foreign_prompt,
    phrases,
    plain,
    sentences,
    words_of,
    write,
)
from redpencil.world.oracle import Oracle

PROMPTS = 60


def prompts_of(domain: Domain, count: int = PROMPTS, seed: int = 0) -> list[str]:
    (prompts,) = domain.make_prompts(random.Random(seed), (count,))
    return [prompt.prompt for prompt in prompts]


def test_wrong_values_are_sorted_and_none_is_true(domain: Domain) -> None:
    for prompt in prompts_of(domain):
        task = domain.task(prompt)
        for slot in task.slots:
            wrong = task.wrong_values(slot)
            assert len(wrong) > 1
            assert list(wrong) == sorted(set(wrong))
            assert task.truth(slot) not in wrong


def test_vocabulary_is_sorted_and_has_all_that_is_written(domain: Domain) -> None:
    words, rng = domain.vocabulary(), random.Random(1)
    assert words == sorted(set(words))
    for prompt in prompts_of(domain):
        written = f"{prompt} {domain.plan(prompt, rng, halved=False).text}"
        assert set(written.split()) <= set(words)


def test_sets_of_prompts_are_disjoint_and_ids_unique(domain: Domain) -> None:
    sets = domain.make_prompts(random.Random(2), (20, 30, 10))
    assert [len(prompts) for prompts in sets] == [20, 30, 10]
    rows = [prompt for prompts in sets for prompt in prompts]
    assert len({row.id for row in rows}) == len({row.prompt for row in rows}) == 60
    assert domain.make_prompts(random.Random(2), (20, 30, 10)) == sets


def test_a_true_sentence_about_what_was_asked_has_no_fault(domain: Domain) -> None:
    oracle, rng = Oracle(domain), random.Random(3)
    for prompt in prompts_of(domain):
        task = domain.task(prompt)
        for named in (True, False):
            sentences = [task.sentence(slot, rng, named=named) for slot in task.slots]
            assert oracle.inspect(prompt, " . ".join(sentences) + " .").utility == len(task.slots)


def test_a_foreign_prompt_is_refused_by_every_way_in(domain: Domain) -> None:
    with pytest.raises(RedpencilError, match="'tell me a joke' is not a prompt of the world"):
        domain.task("tell me a joke")
    with pytest.raises(RedpencilError, match="is not a prompt of the world"):
        domain.plan("tell me a joke", random.Random(0), halved=False)
    assert foreign_prompt("x" * 200).problem == f"'{'x' * 80}' is not a prompt of the world"


WORDING = Wording(
    openers=phrases("hello"),
    closers=phrases("bye"),
    fillers=phrases("well well"),
    hedge_heads=phrases("i think", "maybe"),
    hedge_tails=phrases(", or so"),
    rude_tails=phrases(", you fool"),
)
FORMS = Forms([("colour", "the {e} is {v}"), ("colour", "it is {v}")], {"sky", "sea"}, {"blue", "red"})


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("", []),
        (".", [(0, 1)]),
        ("a b . c .", [(0, 3), (3, 5)]),
        ("a . b", [(0, 2), (2, 3)]),
        (". . a", [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_sentences_end_behind_their_stop(text: str, ranges: list[tuple[int, int]]) -> None:
    assert list(sentences(text.split())) == ranges


def test_hedges_and_insults_come_off_both_ends_in_the_order_of_the_text() -> None:
    words = ("maybe", "i", "think", "it", "is", "red", ",", "you", "fool", ",", "or", "so", ".")
    assert WORDING.strip(words, 0, 12) == (
        3,
        6,
        [(FlawKind.HEDGE, 0, 1), (FlawKind.HEDGE, 1, 3), (FlawKind.RUDE, 6, 9), (FlawKind.HEDGE, 9, 12)],
    )


def test_a_hedge_alone_is_taken_once() -> None:
    assert WORDING.strip(("maybe",), 0, 1) == (1, 1, [(FlawKind.HEDGE, 0, 1)])


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("the sky is blue", Statement("sky", "colour", "blue", 3)),
        ("it is red", Statement(None, "colour", "red", 2)),
        ("the roof is blue", None),
        ("it is green", None),
        ("it was red", None),
        ("the sky is blue blue", None),
    ],
)
def test_a_form_takes_any_entity_and_any_value(text: str, stated: Statement | None) -> None:
    assert FORMS.read(tuple(text.split())) == stated


def test_places_are_no_words() -> None:
    assert words_of(["the {e} is {v} ?"], phrases("well well")) == {"the", "is", "?", "well", "."}
    assert set(WORDING.phrases) == {
        *phrases("hello", "bye", "well well", "i think", "maybe", ", or so", ", you fool"),
    }


VERDICT = Verdict(0.0, (), (Flaw(FlawKind.WRONG, 4, 8), Flaw(FlawKind.RUDE, 8, 12)), (), ())


@pytest.mark.parametrize(
    ("start", "end", "kind"),
    [(0, 4, None), (0, 5, "wrong"), (4, 8, "wrong"), (7, 9, "wrong"), (8, 9, "rude"), (11, 20, "rude"), (12, 20, None)],
)
def test_a_token_takes_part_where_characters_overlap(start: int, end: int, kind: str | None) -> None:
    assert VERDICT.flaw_at(start, end) == kind


def test_parts_and_whole_sentences_get_their_spans() -> None:
    sentences = [
        Sentence((("it is", None), ("red", FlawKind.WRONG), (", or so", FlawKind.HEDGE))),
        plain(("well", "well"), FlawKind.FILLER),
        Sentence((("it is", None), ("red", FlawKind.WRONG)), FlawKind.REPEATED),
        plain(("bye",)),
    ]
    text, flaws = write(sentences)
    assert text == "it is red , or so . well well . it is red . bye ."
    assert flaws == (
        Flaw(FlawKind.WRONG, 6, 9),
        Flaw(FlawKind.HEDGE, 10, 17),
        Flaw(FlawKind.FILLER, 20, 31),
        Flaw(FlawKind.REPEATED, 32, 43),
    )
    assert [text[flaw.start : flaw.end] for flaw in flaws] == ["red", ", or so", "well well .", "it is red ."]


def test_nothing_is_written_of_nothing() -> None:
    assert write([]) == ("", ())
