"""Findings: what is said of which figures, and what comes first."""

import dataclasses
from typing import Any

import pytest

from redpencil.audit.audit import audit_edits
from redpencil.audit.findings import Finding, counted, findings, share_text
from redpencil.records import Edit, EditOutcome


def row(number: int, original: str, edited: str, editor: str = "e", **fields: Any) -> Edit:
    return Edit(str(number), f"prompt {number}", original, edited, editor=editor, **fields)


def corrected(number: int, editor: str = "e") -> Edit:
    return row(number, f"item{number} is red and round today", f"item{number} is blue and round today", editor)


def appended(number: int, editor: str = "e") -> Edit:
    return row(number, f"item{number} is red.", f"item{number} is red. I hope this helps.", editor)


def found(*rows: Edit, **options: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings(audit_edits(lambda: rows, **options))}


def test_good_edits_give_no_finding() -> None:
    assert found(*map(corrected, range(10))) == {}


def test_edits_that_only_append() -> None:
    few = found(*map(corrected, range(9)), appended(9))["only_append"]
    assert (few.attention, few.share) == (False, 0.1)
    many = found(*map(corrected, range(8)), appended(8), appended(9))["only_append"]
    assert (many.attention, many.share) == (True, 0.2)
    assert many.sentence.startswith("20 % of the edits only append")


def test_growth_in_either_direction() -> None:
    # 4 words become 8
    assert "100 % of the edits are longer" in found(appended(1), appended(2))["growth"].sentence
    shorter = [row(n, f"it{n} is one two three four", f"it{n} is one") for n in range(3)]
    assert "shorter; together they are 50 % shorter" in found(*shorter)["growth"].sentence


def test_no_edits() -> None:
    said = found(row(1, "a", "a", outcome=EditOutcome.FAILED), row(2, "a", "a", outcome=EditOutcome.REFUSED))
    assert said["no edits"].attention
    assert said["failed"].sentence == "50 % of the rows (1) have no edit: failed."
    assert "redpencil edit" in said["failed"].advice
    assert said["refused"].attention
    assert found()["no edits"].sentence == "None of 0 rows holds an edit."


def test_rows_that_cannot_be_learned_from() -> None:
    said = found(row(1, "a", "a"), row(2, "a b", ""), row(3, "a b c d", "a b x d", meta={"retry": {"kept": [0, 1]}}))
    assert said["unusable"].sentence == "1 row said to be edited cannot be learned from (1 no change)."
    assert said["blank"].sentence.startswith("1 edit left nothing")
    assert said["retried"].sentence == "33 % of the rows (1) were asked for twice."


def test_contradictions_and_duplicates() -> None:
    first = Edit("1", "p", "The sky is red today.", "The sky is blue today.")
    second = Edit("1", "p", "The sky is blue today.", "The sky is red today.")
    left = Edit("2", "p", "The sky is red today.", "The sky is red today.", outcome=EditOutcome.UNCHANGED)
    other = Edit("3", "p", "The sky is red today.", "The sky is green today.")
    said = found(first, second, left, other, first)
    assert {name for name, finding in said.items() if finding.attention} == {
        *("edited_differently", "edited_or_left", "reversed", "swapped", "ids", "edits")
    }
    assert said["ids"].sentence == "1 id on more than one row of one editor (3 rows)."
    assert said["reversed"].sentence.startswith("1 pair of texts was edited in both directions")


def test_an_announcement_always_needs_attention() -> None:
    said = found(*map(corrected, range(99)), row(99, "It is so.", "Revised response: It is not so."))
    assert said["wrapped"].attention
    assert said["wrapped"].sentence.startswith("1 % of the edits (1) are wrapped")


def test_the_limit_stands_in_the_sentence() -> None:
    rows = [row(n, f"one{n} two three four", f"one{n} 2 3 4") for n in range(5)]
    assert "keeps less than 50 % of the words" in found(*rows, min_kept=0.5)["rewritten"].sentence
    assert "rewritten" not in found(*rows, min_kept=0.2)


def test_an_editor_unlike_the_others() -> None:
    rows = [*(corrected(n, "ann") for n in range(30)), *(appended(n, "<bob>") for n in range(30, 50))]
    said = found(*rows)["editor only_append"]
    assert said.sentence.endswith("than those of others: <bob> (100 %, others 0 %).")
    assert said.advice == "Look at this editor's edits, or at its template, before you use them."
    # nineteen edits are too few to say so
    assert "editor only_append" not in found(*rows[:49])


def test_labelled_spans() -> None:
    spans = {"spans": [{"start": 3, "end": 6}]}
    good = row(1, "my red cat", "my blue cat", meta=spans)
    assert "F1 1.000" in found(good)["spans"].sentence
    assert not found(good)["spans"].attention
    assert found(row(1, "my red cat", "my red dog", meta=spans))["spans"].attention
    assert found(row(1, "a b", "a c", meta={"spans": "x"}))["unreadable spans"].attention


def test_attention_comes_first() -> None:
    failed = row(20, "a", "a", outcome=EditOutcome.FAILED)
    rows = [*map(corrected, range(20)), failed, row(21, "It is so.", "Revised response: It is not so.")]
    order = [finding.attention for finding in findings(audit_edits(lambda: rows))]
    assert order == sorted(order, reverse=True)
    assert set(order) == {True, False}


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "0 %"), (0, 9, "0 %"), (1, 1000, "under 1 %"), (1, 3, "33 %"), (999, 1000, "over 99 %"), (7, 7, "100 %")],
)
def test_shares(part: int, whole: int, text: str) -> None:
    assert share_text(part, whole) == text


def test_counts() -> None:
    assert (counted(1, "edit"), counted(1200, "edit")) == ("1 edit", "1,200 edits")


def test_two_editors_of_the_same_responses_raise_no_alarm() -> None:
    rows = [row(n, f"item{n} is red and round", f"item{n} is {colour} and round", editor)
            for editor, colour in (("ann", "blue"), ("bob", "green")) for n in range(30)]  # fmt: skip
    said = found(*rows)
    assert said.pop("artefacts").attention  # each edit is longer than its original
    assert {name: finding.attention for name, finding in said.items()} == {
        "others_edited_differently": False,
        "responses": False,
    }
    assert said["others_edited_differently"].sentence == (
        "30 responses edited in different ways by different editors (60 rows)."
    )


def test_answers_that_nobody_made_from_each_other() -> None:
    apart = [row(n, f"item{n} is one two three", f"item{n} says four five six seven") for n in range(20)]
    said = found(*apart)["kept"]
    assert said.attention
    assert said.sentence.startswith("The edits keep 20 % of the words on average: these look like independent answers")
    assert "kept" not in found(*apart[:19]), "too few to say so"
    assert "kept" not in found(*apart, *map(corrected, range(20, 50)))


def test_what_is_rare_gets_milder_advice() -> None:
    few, many = found(*map(corrected, range(9)), appended(9)), found(appended(1), appended(2))
    assert few["only_append"].advice == "Few enough to leave in. Look at an example before you decide."
    assert many["only_append"].advice.startswith("They teach a length bias")


def test_changes_of_white_space() -> None:
    rows = [corrected(number) for number in range(17)]
    found_ = found(*rows, row(17, "One is  two.", "One is two."), row(18, "A b.\r\nC d.\r\n", "A b.\nC e."))
    only, also = found_["only_spacing"], found_["also_spacing"]
    assert only.sentence == "5 % of the edits (1) change white space or line ends alone."
    assert also.sentence == "5 % of the edits (1) also change white space or line ends beside kept words."
    assert (only.share, also.share, only.attention, also.attention) == (1 / 19, 1 / 19, True, True)
    # a space that comes with a word, or where there was none, is the edit itself
    for original, edited in (("A b.", "A new b."), ("A b ,c d", "A b, c e"), ("A b.", "Well , A b.")):
        assert not {"only_spacing", "also_spacing"} & found(row(1, original, edited)).keys()


def test_changes_of_white_space_have_examples() -> None:
    audit = audit_edits(lambda: [row(1, "One is  two.", "One is two."), row(2, "A  b c", "A b d")], examples=1)
    assert [[one.id for one in case] for case in audit.examples["only_spacing"]] == [["1"]]
    assert [[one.id for one in case] for case in audit.examples["also_spacing"]] == [["2"]]
    assert (audit.only_spacing, audit.also_spacing) == (1, 1)


def test_what_gives_edits_away() -> None:
    rows = [row(n, f"word{n} is red here now", f"word{n} is blue here now ") for n in range(40)]
    told = found(*rows)
    assert told["artefacts"].attention
    text = "Artefacts alone tell 100 % of the edits from their originals (95 % interval 91"
    assert told["artefacts"].sentence.startswith(text)
    text = "is in 100 % of the edits and in 0 % of the originals: the rule that stray white space wins"
    assert text in told["stray"].sentence
    assert told["stray"].attention
    assert "stray" not in found(*(dataclasses.replace(one, edited=one.edited.strip()) for one in rows))
    # Half of them longer, half of them shorter: nothing tells them apart.
    texts = ("one two", "one two six")
    assert not found(*(row(n, *texts[:: 1 if n % 2 else -1]) for n in range(40))).keys() & {"artefacts", "stray"}
