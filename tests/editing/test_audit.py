"""The audit: hand-counted figures, the same in any order, hostile rows, and human edits."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.editing.audit import Audit, audit_edits
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
    assert found.outcomes == {"edited": 6, "unchanged": 1, "empty": 0, "truncated": 0, "refused": 1, "failed": 0}
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


def test_no_examples_need_no_second_pass() -> None:
    passes = []

    def read() -> tuple[Edit, ...]:
        passes.append(1)
        return ROWS

    assert not any(audit_edits(read, examples=0).examples.values())
    assert len(passes) == 1


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


def test_the_default_limit_leaves_most_human_edits_alone() -> None:
    """Half of these edits keep less than half of the words; at a quarter one in ten is called rewritten."""
    found = audit(*(edit for edit in human_edits() if edit.edited.strip()))
    assert found.kept.median == pytest.approx(0.5, abs=0.01)
    assert found.broken_rules["rewritten"] / found.edits == pytest.approx(0.096, abs=0.01)
    assert found.broken_rules["rewritten"] > 0.85 * found.not_minimal
