"""The audit: hand-counted figures, the same in any order, hostile rows, and human edits."""

import dataclasses
import json
import random
import re
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.alignment.spacing import normalise_spacing
from redpencil.audit.audit import (
    GAP,
    LONGEST_CHANGE,
    QUANTILES,
    Audit,
    Distribution,
    GrowthBin,
    Sample,
    SpanAgreement,
    SpanTally,
    audit_edits,
    distribution,
    excerpt,
    growth_bins,
    histogram,
    shorten,
)
from redpencil.audit.rules import Words
from redpencil.records import Edit, EditOutcome

QA_FEEDBACK = Path(__file__).parents[2] / ".." / "shared" / "data" / "qa_feedback" / "feedback.json"


def edit(original: str, edited: str, editor: str = "e", id: str = "1", prompt: str = "p", **fields: Any) -> Edit:
    return Edit(id, prompt, original, edited, editor=editor, **fields)


def audit(*rows: Edit, **options: Any) -> Audit:
    return audit_edits(lambda: rows, **options)


ROWS = (
    # replaces 1 of 4 words, the second: tenth 10 * 1 // 4 = 2
    edit("one two three four", "one 2 three four", id="a", editor="ann"),
    # appends 2 words behind 2
    edit("one two", "one two three four", id="b", editor="bob"),
    # deletes the last 2 of 4 words: tenths 5 and 7
    edit("five six seven eight", "five six", id="c", editor="ann", meta={"retry": {"kept": [0.1, 0.5]}}),
    edit("nine", "nine", id="d", editor="bob", outcome=EditOutcome.UNCHANGED),
    edit("ten", "ten", id="e", editor="bob", outcome=EditOutcome.REFUSED),
    edit("same", "same", id="f", editor="bob"),
    edit(" ", "new", id="g", editor="bob"),
    edit("gone", "", id="h", editor="cec"),
)


def test_by_hand() -> None:
    found = audit(*ROWS)
    assert found.rows == 8
    assert found.outcomes == {
        "edited": 6,
        "unchanged": 1,
        "empty": 0,
        "truncated": 0,
        "refused": 1,
        "uncertain": 0,
        "failed": 0,
    }
    assert (found.edits, found.unusable, found.blank_edits) == (4, {"no change": 1, "blank original": 1}, 1)
    assert found.retried == 1
    # kept: 3/4, 1, 2/4, 0
    assert found.kept.mean == 0.5625
    assert found.kept_histogram == (1, 0, 0, 0, 0, 1, 0, 1, 0, 1)
    assert dataclasses.astuple(found.kinds["insert"]) == (1, 0, 2, 1, 1)
    assert dataclasses.astuple(found.kinds["delete"]) == (2, 3, 0, 2, 2)
    assert dataclasses.astuple(found.kinds["replace"]) == (1, 1, 1, 1, 1)
    length = found.length
    # words: 0, +2, -2, -1
    assert (length.words_before, length.words_after, length.words.mean, length.words.median) == (11, 10, -0.25, -0.5)
    # characters: two -> 2, " three four", " seven eight", gone
    assert (length.characters.least, length.characters.most, length.characters.mean) == (
        -12,
        11,
        (-2 + 11 - 12 - 4) / 4,
    )
    assert (length.longer, length.equal, length.shorter) == (1, 1, 2)
    assert (length.only_append, length.only_cut_the_end) == (1, 1)
    assert (length.words_added, length.added_at_the_end) == (3, 2)
    # words by tenth: of four words 0 2 5 7, twice; of two 0 5; of one 0
    assert found.places.words == (4, 0, 2, 0, 0, 3, 0, 2, 0, 0)
    assert found.places.removed == (1, 0, 1, 0, 0, 1, 0, 1, 0, 0)
    assert found.places.added == (0, 0, 1, 0, 0, 0, 0, 0, 0, 2)
    assert found.broken_rules["rewritten"] == found.not_minimal == 1
    assert found.spans is None


def test_editors_by_hand() -> None:
    bob, ann, cec = audit(*ROWS).editors
    assert (bob.name, bob.rows, bob.edits, bob.kept, bob.growth, bob.only_append) == ("bob", 5, 1, 1.0, 2.0, 1)
    assert {name: n for name, n in bob.outcomes.items() if n} == {"edited": 3, "unchanged": 1, "refused": 1}
    assert (ann.name, ann.rows, ann.edits, ann.kept, ann.growth, ann.not_minimal) == ("ann", 2, 2, 0.625, -1.0, 0)
    assert (cec.name, cec.not_minimal) == ("cec", 1)


def test_an_edit_of_two_kinds_has_neither_alone() -> None:
    found = audit(edit("one two three", "one 2 three four"))
    assert [(kind.edits_with, kind.edits_with_nothing_else) for kind in found.kinds.values()] == [
        (1, 0),
        (0, 0),
        (1, 0),
    ]


def test_a_refusal_says_nothing_about_the_response() -> None:
    refused = edit("one two", "one two", outcome=EditOutcome.REFUSED)
    assert audit(*ROWS, refused).repeats.edited_or_left.groups == 0
    assert audit(*ROWS, edit("one two", "one two", editor="bob")).repeats.edited_or_left.groups == 1


def test_the_limit_of_what_is_kept_can_be_set() -> None:
    assert audit(*ROWS, min_kept=0.6).broken_rules["rewritten"] == 2
    assert audit(*ROWS, min_kept=0.0).broken_rules["rewritten"] == 0


def test_examples_show_what_they_are_examples_of() -> None:
    examples = audit(*ROWS).examples
    assert [case[0].id for case in examples["only_append"]] == ["b"]
    assert [case[0].id for case in examples["rewritten"]] == ["h"]
    assert {case[0].id for case in examples["edits"]} < {"a", "b", "c", "h"}
    left = edit("one two", "one two", "bob", id="z", outcome=EditOutcome.UNCHANGED)
    ((first, second),) = audit(*ROWS, left).examples["edited_or_left"]
    assert (first.id, first.outcome, second.id, second.outcome) == ("b", "edited", "z", "unchanged")


def test_rows_are_read_twice_where_there_are_edits() -> None:
    for rows, expected in ((ROWS, 2), (ROWS[3:6], 1)):
        passes = []

        def read(rows: tuple[Edit, ...] = rows, passes: list[int] = passes) -> tuple[Edit, ...]:
            passes.append(1)
            return rows

        assert not any(audit_edits(read, examples=0).examples.values())
        assert len(passes) == expected


def test_progress_is_told_now_and_then() -> None:
    told: list[tuple[int, int, str]] = []
    rows = [ROWS[0]] * 1200
    audit_edits(lambda: rows, total=1200, progress=lambda *seen: told.append(seen))
    assert told == [(500, 1200, ""), (1000, 1200, "")]


texts = st.lists(st.sampled_from(["the", "cat", "sat", "dog", ".", ","]), max_size=8).map(" ".join)
rows_of_edits = st.lists(
    st.builds(
        Edit,
        id=st.sampled_from("1234"),
        prompt=st.sampled_from(["p", "q"]),
        original=texts,
        edited=texts,
        editor=st.sampled_from(["", "ann", "bob"]),
        outcome=st.sampled_from(EditOutcome),
        meta=st.sampled_from([{}, {"spans": [{"start": 0, "end": 0}]}]),
    ),
    max_size=12,
)


def figures(found: Audit) -> dict[str, Any]:
    """All but the rows of examples, which name places in the file."""
    whole = json.loads(json.dumps(dataclasses.asdict(found)))
    del whole["examples"]
    for group in whole["repeats"].values():
        del group["examples"]
    return whole


@given(rows_of_edits, st.randoms())
def test_the_order_of_rows_does_not_matter(rows: list[Edit], rng: random.Random) -> None:
    shuffled = list(rows)
    rng.shuffle(shuffled)
    assert figures(audit(*rows)) == figures(audit(*shuffled))


@given(rows_of_edits)
def test_totals_tile(rows: list[Edit]) -> None:
    found = audit(*rows)
    length = found.length
    assert found.rows == sum(found.outcomes.values()) == sum(editor.rows for editor in found.editors)
    assert found.outcomes["edited"] == found.edits + sum(found.unusable.values())
    assert found.edits == sum(found.kept_histogram) == length.longer + length.equal + length.shorter
    assert found.edits == sum(editor.edits for editor in found.editors) == sum(row.edits for row in length.bins)
    removed = sum(kind.words_removed for kind in found.kinds.values())
    added = sum(kind.words_added for kind in found.kinds.values())
    assert sum(found.places.words) == length.words_before
    assert (sum(found.places.removed), sum(found.places.added)) == (removed, added)
    assert length.words_before - removed + added == length.words_after
    assert length.added_at_the_end <= length.words_added == added
    assert found.not_minimal <= sum(found.broken_rules.values())
    assert found.not_minimal == sum(editor.not_minimal for editor in found.editors)
    assert length.only_append == sum(editor.only_append for editor in found.editors)


@pytest.mark.parametrize(
    "rows",
    [
        (),
        (edit("", ""),),
        (edit("", "new"),),
        (edit(" \n", "\t"),),
        (edit("a", "a", outcome=EditOutcome.FAILED),),
        (edit("...", "!!!"),),
        (edit("a\ud800", "b\ud800"),),
        (edit("a", "b", meta={"spans": 3, "retry": None}),),
    ],
)
def test_odd_rows(rows: tuple[Edit, ...]) -> None:
    found = audit(*rows)
    assert found.rows == len(rows)
    json.dumps(dataclasses.asdict(found))


def test_a_response_of_a_megabyte() -> None:
    text = "".join(f"the red cat {n} sat down. " for n in range(37_000))
    rows = (
        edit(text, text.replace("red", "blue", 100) + "It slept."),
        edit(text, ""),
        edit("x" * 10**6, "y"),
    )
    found = audit(*rows)
    assert found.edits == 3
    # a hundred reds, the blank end that becomes a sentence, and the long word
    assert found.kinds["replace"].blocks == 102
    assert len(json.dumps(dataclasses.asdict(found))) < 50_000


def human_edits() -> list[Edit]:
    if not QA_FEEDBACK.is_file():
        pytest.skip("../shared/data/qa_feedback/feedback.json is missing")
    rows = []
    for number, item in enumerate(json.loads(QA_FEEDBACK.read_text(encoding="utf-8"))):
        original, feedback = item["prediction 1"], item["feedback"]
        edited = feedback["corrected-prediction"]
        outcome = EditOutcome.UNCHANGED if edited == original else EditOutcome.EDITED
        meta = {"spans": feedback["errors"]}
        rows.append(edit(original, edited, id=str(number), prompt=item["question"], outcome=outcome, meta=meta))
    return rows


def test_human_edits_find_human_error_spans() -> None:
    """As tests/alignment/test_words.py computes it word by word: 10,062 hits, 10,924 changed, 10,728 labelled words."""
    found = audit(*human_edits())
    assert found.spans is not None
    assert (found.spans.edits, found.spans.unreadable) == (250, 0)
    assert found.spans.f1 is not None
    assert found.spans.f1 == pytest.approx(2 * found.spans.hits / (found.spans.changed + found.spans.labelled))
    assert 0.925 < found.spans.f1 < 0.935
    assert found.spans.f1_low is not None
    assert found.spans.f1_high is not None
    assert 0.90 < found.spans.f1_low < found.spans.f1 < found.spans.f1_high < 0.95
    assert found.outcomes["unchanged"] == 3
    assert found.blank_edits == 8


def test_white_space_alone_gives_human_edits_away() -> None:
    """Counted here with regular expressions: 39 % of the edits end in white space or hold a double space."""
    rows = [row for row in human_edits() if row.edited.strip() and row.edited != row.original]
    found = audit(*rows).artefacts
    assert found is not None
    stray = [bool(re.search(r"\s$|\S  ", row.edited)) for row in rows]
    assert not any(re.search(r"\s$|\S  ", row.original) for row in rows)
    assert (found.pairs, found.stray_original) == (239, 0)
    assert found.stray_edited == sum(stray)
    assert 100 * sum(stray) / 239 == pytest.approx(38.9, abs=0.05)
    assert found.rules["white_space_wins"].value == pytest.approx(50 + 50 * sum(stray) / 239)
    assert found.rules["white_space_wins"].value == pytest.approx(69.5, abs=0.05)
    shorter = [(len(row.edited) < len(row.original)) + (len(row.edited) == len(row.original)) / 2 for row in rows]
    then = [1 if white else length for white, length in zip(stray, shorter, strict=True)]
    assert found.rules["white_space_wins_then_shorter"].value == pytest.approx(100 * sum(then) / 239)
    assert found.rules["shorter_wins"].value == pytest.approx(100 * sum(shorter) / 239)
    assert found.accuracy is not None
    assert found.accuracy.low > 70
    plain = audit(*(dataclasses.replace(row, edited=normalise_spacing(row.edited)) for row in rows)).artefacts
    assert plain is not None
    assert plain.accuracy is not None
    assert plain.stray_edited == 0
    assert list(plain.rules) == ["shorter_wins", "longer_wins"]
    assert plain.accuracy.value < found.accuracy.value


def test_edits_that_leave_nothing_give_nothing_away() -> None:
    found = audit(*ROWS).artefacts
    assert found is not None
    assert (found.pairs, found.prompts, found.accuracy) == (3, 1, None)
    assert audit(ROWS[3]).artefacts is None


def test_the_default_limit_leaves_most_human_edits_alone() -> None:
    """Half of these edits keep less than half of the words; at a quarter one in ten is called rewritten."""
    found = audit(*(edit for edit in human_edits() if edit.edited.strip()))
    assert found.kept.median == pytest.approx(0.5, abs=0.01)
    assert found.broken_rules["rewritten"] / found.edits == pytest.approx(0.096, abs=0.01)
    assert found.broken_rules["rewritten"] > 0.85 * found.not_minimal


FILL = " ".join(f"w{n}" for n in range(300))


def test_a_short_edit_stays_as_it_is() -> None:
    assert excerpt("The red cat sat.", "The blue cat sat.") == ("The red cat sat.", "The blue cat sat.")


def test_equal_stretches_are_cut_between_words() -> None:
    original, edited = excerpt(f"{FILL} red cat {FILL} one {FILL}", f"{FILL} blue cat {FILL} two {FILL}")
    assert original.replace("red", "blue").replace("one", "two") == edited
    assert original.startswith(GAP.lstrip())
    assert original.count(GAP.strip()) == 3
    assert len(original) < 700
    for word in original.replace(GAP.strip(), "").split():
        assert word in {*FILL.split(), "red", "cat", "one"}


def test_a_long_change_is_cut() -> None:
    original, edited = excerpt(FILL, "x")
    assert len(original) <= LONGEST_CHANGE + len(GAP)
    assert edited == "x"


def test_a_megabyte() -> None:
    text = "red cat " * 130_000
    assert sum(map(len, excerpt(text, text.replace("red", "blue")))) < 3_000
    assert sum(map(len, excerpt("x" * 1_000_000, "y" * 1_000_000))) < 3_000
    assert len(shorten("x" * 1_000_000)) < 400


def test_a_prompt_is_shortened_between_words() -> None:
    assert shorten("as it is") == "as it is"
    assert shorten("one two three", 9) == "one two […]"


@given(st.text(max_size=60), st.text(max_size=60))
def test_short_texts_are_never_touched(original: str, edited: str) -> None:
    assert excerpt(original, edited) == (original, edited)


def labelled(*spans: tuple[int, int]) -> dict[str, Any]:
    return {"spans": [{"start": start, "end": end, "error type": "Irrelevant"} for start, end in spans]}


def test_by_hand_spans() -> None:
    tally = SpanTally()
    # "the red cat sat", words at 0-3, 3-7, 7-11, 11-15. Changed: red, cat. Labelled: "cat sat".
    tally.add(Words("the red cat sat"), [(1, 3)], labelled((8, 15)))
    # two labels on one word count it once; nothing was changed
    tally.add(Words("a dog"), [], labelled((2, 4), (3, 5)))
    # labelled as free of errors
    tally.add(Words("fine"), [(0, 1)], labelled())
    # not labelled
    tally.add(Words("other"), [(0, 1)], {})
    found = tally.result()
    assert found is not None
    # hits: cat. changed: red, cat, fine. labelled: cat, sat, dog.
    assert (found.edits, found.words, found.changed, found.labelled, found.hits) == (3, 7, 3, 3, 1)
    assert (found.precision, found.recall, found.f1) == (1 / 3, 1 / 3, pytest.approx(1 / 3))
    assert found.f1_low is not None
    assert found.f1_high is not None
    assert 0 <= found.f1_low <= 1 / 3 <= found.f1_high <= 1


def test_no_spans() -> None:
    assert SpanTally().result() is None


def test_nothing_to_divide_by() -> None:
    tally = SpanTally()
    tally.add(Words("a b"), [], labelled())
    assert tally.result() == SpanAgreement(1, 2, 0, 0, 0, None, None, None, None, None)


@pytest.mark.parametrize(
    "spans",
    ["text", [[0, 1]], [{"start": 0}], [{"start": 0, "end": 9}], [{"start": 2, "end": 1}], [{"start": True, "end": 1}]],
)
def test_spans_that_are_none_are_counted(spans: Any) -> None:
    tally = SpanTally()
    tally.add(Words("a b"), [(0, 1)], {"spans": spans})
    found = tally.result()
    assert found is not None
    assert (found.unreadable, found.edits, found.changed) == (1, 0, 0)


rows = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=2, max_size=8)


@given(rows)
def test_the_order_of_edits_does_not_matter(cases: list[tuple[bool, bool, bool]]) -> None:
    results = []
    for order in (cases, cases[::-1]):
        tally = SpanTally()
        for first, second, marked in order:
            changed = [(index, index + 1) for index, touched in enumerate((first, second)) if touched]
            tally.add(Words("aa bb"), changed, labelled((0, 2)) if marked else labelled())
        results.append(tally.result())
    assert results[0] == results[1]


def test_a_distribution_by_hand() -> None:
    # sorted 1 2 2 7; place of the quantile q is q * 3: .15, .75, 1.5, 2.25, 2.85
    found = distribution(Counter([2, 7, 1, 2]))
    assert found == Distribution(4, 3.0, 1.0, 7.0, (1.15, 1.75, 2, 3.25, pytest.approx(6.25)))
    assert found.median == 2


def test_nothing_has_no_distribution() -> None:
    empty: Counter[int] = Counter()
    assert distribution(empty) == Distribution(0)
    assert Distribution(0).median is None


@given(st.lists(st.integers(-1000, 1000), min_size=2))
def test_quantiles_are_those_of_the_standard_library(values: list[int]) -> None:
    found = distribution(Counter(values))
    assert found.mean == pytest.approx(statistics.fmean(values))
    twentieths = statistics.quantiles(values, n=20, method="inclusive")
    assert found.quantiles == pytest.approx([twentieths[round(20 * share) - 1] for share in QUANTILES])


def test_bins_hold_their_lower_end() -> None:
    assert histogram(Counter([0.0, 0.1, 0.3, 0.7, 0.99, 1.0, 1.0])) == (1, 1, 0, 1, 0, 0, 0, 1, 0, 3)


def test_bins_of_growth() -> None:
    found = growth_bins(Counter([-40, -39, -10, -9, -1, 0, 0, 1, 9, 10, 39, 40, 4000]))
    assert found == (
        GrowthBin(None, -40, 1),
        GrowthBin(-39, -10, 2),
        GrowthBin(-9, -1, 2),
        GrowthBin(0, 0, 2),
        GrowthBin(1, 9, 2),
        GrowthBin(10, 39, 2),
        GrowthBin(40, None, 2),
    )


@given(st.lists(st.integers(), max_size=50))
def test_bins_of_growth_tile(values: list[int]) -> None:
    assert sum(row.edits for row in growth_bins(Counter(values))) == len(values)


@given(st.lists(st.integers(0, 30)), st.integers(0, 5), st.randoms())
def test_a_sample_holds_the_smallest_keys_in_any_order(keys: list[int], size: int, random: st.DataObject) -> None:
    shuffled = list(keys)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    samples = [Sample(size), Sample(size)]
    for sample, order in zip(samples, (keys, shuffled), strict=True):
        for key in order:
            sample.offer(key, key)
    assert samples[0].rows == samples[1].rows == tuple(sorted(set(keys))[:size])


def test_the_first_row_of_equal_ones_stays() -> None:
    sample = Sample(2)
    for key, row in ((5, 0), (5, 1), (3, 2), (9, 3)):
        sample.offer(key, row)
    assert sample.rows == (2, 0)
