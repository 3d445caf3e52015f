"""Krippendorff's alpha against hand-worked cases, the reference package, and a database of known edits."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import krippendorff
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, insert, select

from redpencil.alignment.words import split_words
from redpencil.web import agreement as agreement_module
from redpencil.web import work
from redpencil.web.agreement import (
    Tally,
    agreement,
    alpha,
    bits_changed,
    bits_of,
    changed_places,
    place_counts,
    places_of,
    tally,
    tally_places,
)
from redpencil.web.database import open_database, reading, writing
from redpencil.web.schema import assignment, item, person, submission

Units = list[list[str | None]]

UNITS = st.lists(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=2, max_size=4), min_size=1, max_size=12)


def alpha_of(units: Units) -> float | None:
    return alpha(tally([value for value in unit if value is not None]) for unit in units).value


def test_a_case_worked_out_by_hand() -> None:
    # aa, ab, bb, bb: 8 values, 3 of them a. Observed: one unit of four disagrees, 2 of 8 values, D_o = 1/4.
    # Expected: 2 * 3 * 5 / (8 * 7) = 30/56. Alpha = 1 - (1/4) / (30/56) = 1 - 14/30 = 8/15.
    result = alpha([tally("aa"), tally("ab"), tally("bb"), tally("bb")])
    assert result.value == pytest.approx(8 / 15)
    assert result.same == pytest.approx(3 / 4)
    assert (result.units, result.items) == (4, 4)


def test_three_judges_and_a_missing_value() -> None:
    # aab and bb (one judge missing): 5 values, 2 a and 3 b. D_o * n = (2*1 + 1*2)/2 = 2. Expected: 25 - 4 - 9 = 12.
    # Alpha = 1 - (5 - 1) * 2 / 12 = 1/3.
    assert alpha_of([["a", "a", "b"], ["b", "b", None]]) == pytest.approx(1 / 3)


def test_a_value_without_another_one_beside_it_counts_nowhere() -> None:
    assert tally(["a"]) == Tally()
    assert alpha_of([["a", "a"], ["b", "b"], ["c", None]]) == alpha_of([["a", "a"], ["b", "b"]])


@pytest.mark.parametrize("units", [[], [["a", None]], [["a", "a"], ["a", "a"]]])
def test_alpha_is_undefined_without_two_different_values(units: Units) -> None:
    assert alpha_of(units) is None


@given(UNITS)
def test_like_the_reference_package(units: Units) -> None:
    width = max(len(unit) for unit in units)
    codes = {"a": 0.0, "b": 1.0, "c": 2.0, None: math.nan}
    table = [[codes[unit[row]] if row < len(unit) else math.nan for unit in units] for row in range(width)]
    pairable = [[value for value in unit if value is not None] for unit in units]
    values = {value for unit in pairable if len(unit) > 1 for value in unit}
    if len(values) > 1:
        expected = krippendorff.alpha(reliability_data=table, level_of_measurement="nominal")
        assert alpha_of(units) == pytest.approx(float(expected))
    else:
        assert alpha_of(units) is None


@given(UNITS, st.randoms())
def test_the_order_of_units_and_of_judges_does_not_matter(units: Units, random: Random) -> None:
    before = alpha_of(units)
    shuffled = [random.sample(unit, len(unit)) for unit in random.sample(units, len(units))]
    assert alpha_of(shuffled) == before


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(2, 5)), min_size=2))
def test_full_agreement_is_one(units: list[tuple[str, int]]) -> None:
    if len({value for value, _ in units}) > 1:
        assert alpha_of([[value] * judges for value, judges in units]) == 1.0


@given(
    st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.sets(st.integers(0, n - 1)), max_size=4)))
)
def test_places_are_units_like_others(case: tuple[int, list[set[int]]]) -> None:
    places, changed = case
    quick = alpha([tally_places([bits_of(each) for each in changed], places)])
    slow = alpha(tally([place in each for each in changed]) for place in range(places))
    assert quick.value == pytest.approx(slow.value) if slow.value is not None else quick.value is None
    assert quick.units == slow.units


def test_the_interval_is_the_jackknife_of_items() -> None:
    tallies = [tally("aa")] * 6 + [tally("bb")] * 4 + [tally("ab")] * 2
    whole = alpha(tallies)
    without = [alpha(tallies[:i] + tallies[i + 1 :]).value or 0.0 for i in range(len(tallies))]
    mean = sum(without) / 12
    error = 1.959964 * math.sqrt(11 / 12 * sum((each - mean) ** 2 for each in without))
    assert whole.value is not None
    assert whole.low == pytest.approx(whole.value - error)
    assert whole.high == pytest.approx(min(whole.value + error, 1.0))
    assert alpha(tallies[:9]).low is None


Row = tuple[str, str, str, str | None, float]
"""Item, person, outcome, edited text, when."""


def fill(engine: Engine, rows: Sequence[Row], response: str = "one two three", kind: str = "edit") -> None:
    items = {name: n for n, name in enumerate(sorted({row[0] for row in rows}), start=1)}
    people = {name: n for n, name in enumerate(sorted({row[1] for row in rows}), start=1)}
    with writing(engine) as connection:
        for name, n in people.items():
            connection.execute(insert(person).values(id=n, name=name, role="editor", created=0))
        for name, n in items.items():
            connection.execute(
                insert(item).values(
                    id=n, external_id=name, position=n, kind=kind, prompt="p", response=response, meta={}, added=0
                )
            )
        for n, (name, who, outcome, edited, at) in enumerate(rows, start=1):
            key = {"item_id": items[name], "person_id": people[who]}
            connection.execute(insert(assignment).values(id=n, state="done", lease_until=0, opened=0, **key))
            connection.execute(
                insert(submission).values(
                    assignment_id=n, version=1, outcome=outcome, edited=edited, tags=[], kept=1, distance=0, seconds=1,
                    submitted=at, **key
                )
            )  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(tmp_path / "edits.db")


def moment(day: int, month: int = 3) -> float:
    return datetime(2026, month, day, 12, tzinfo=UTC).timestamp()


def test_agreement_of_a_database(engine: Engine) -> None:
    fill(
        engine,
        [
            ("i1", "ann", "edited", "one 2 three", moment(2)),
            ("i1", "bob", "edited", "one 2 three", moment(3)),
            ("i2", "ann", "edited", "one 2 three", moment(4)),
            ("i2", "bob", "no_edit_needed", None, moment(4)),
            ("i3", "ann", "cannot_be_fixed", None, moment(4)),
            ("i3", "bob", "skipped", None, moment(4)),
            ("i4", "ann", "edited", "one two", moment(4)),
        ],
    )
    with reading(engine) as connection:
        result = agreement(connection)
    # Words: i1 has 4 places that agree (1 changed), i2 4 of which 1 differs: 8 units, 16 values, 3 changed, 13 not.
    # Alpha = 1 - 15 * 2 / (256 - 9 - 169) = 1 - 30/78.
    assert result.overall.words.value == pytest.approx(1 - 30 / 78)
    assert (result.overall.words.units, result.overall.words.items) == (8, 2)
    # Outcomes: i1 and i2 only, one of two agrees; 3 edited, 1 not. Alpha = 1 - 3 * 2 / (16 - 9 - 1) = 0.
    assert result.overall.outcome.value == pytest.approx(0)
    assert result.overall.outcome.items == 2
    assert [(pair.first, pair.second) for pair in result.pairs] == [("ann", "bob")]
    assert result.pairs[0].measures == result.overall
    assert result.span == "day"
    assert [period.start for period in result.periods] == ["2026-03-03", "2026-03-04"]


def test_longer_projects_are_shown_by_week(engine: Engine) -> None:
    fill(
        engine,
        [
            (f"i{n}", who, "no_edit_needed", None, moment(day, month))
            for n, (day, month) in enumerate([(1, 3), (2, 3), (8, 3), (1, 4)])
            for who in ("ann", "bob")
        ],
    )
    with reading(engine) as connection:
        result = agreement(connection)
    assert result.span == "week"
    # 1 March 2026 is a Sunday, so it belongs to the week of 23 February.
    assert [(period.start, period.measures.outcome.items) for period in result.periods] == [
        ("2026-02-23", 1),
        ("2026-03-02", 2),
        ("2026-03-30", 1),
    ]


def test_preferences_are_apart_from_outcomes(engine: Engine) -> None:
    choices = [("i1", "first", "first"), ("i2", "second", "second"), ("i3", "first", "tie")]
    fill(engine, [(n, who, each, None, 0) for n, a, b in choices for who, each in (("x", a), ("y", b))], kind="compare")
    with reading(engine) as connection:
        overall = agreement(connection).overall
    # first 3, second 2, tie 1: 1 - 5 * 2 / (36 - 9 - 4 - 1) = 1 - 10/22.
    assert overall.preference.value == pytest.approx(1 - 10 / 22)
    assert (overall.outcome.items, overall.words.items) == (0, 0)


def test_texts_are_compared_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Row] = [("i1", who, "edited", f"one {n} three", 0.0) for n, who in enumerate("ab")]
    fill(engine, rows)
    with reading(engine) as connection:
        first = agreement(connection)
        monkeypatch.setattr("redpencil.web.agreement.diff_words", None)
        assert agreement(connection) == first
        # Both changed the second word of three, and the place at the end is untouched: 4 places, all alike.
        assert (first.overall.words.value, first.overall.words.units) == (1.0, 4)


def test_nothing_done_is_no_agreement(engine: Engine) -> None:
    with reading(engine) as connection:
        result = agreement(connection)
    assert result.overall.words.value is None
    assert (result.pairs, result.periods) == ((), ())


def test_a_submission_that_was_taken_back_does_not_count(engine: Engine) -> None:
    fill(engine, [("i1", who, "no_edit_needed", None, 0) for who in ("ann", "bob")])
    with writing(engine) as connection:
        connection.execute(submission.update().where(submission.c.id == 1).values(undone=1.0))
        assert agreement(connection).overall.outcome.items == 0


def test_items_with_a_known_answer_are_left_out(engine: Engine) -> None:
    fill(
        engine,
        [
            ("i1", "ann", "edited", "one 2 three", moment(2)),
            ("i1", "bob", "no_edit_needed", None, moment(2)),
            ("i2", "ann", "edited", "one 2 three", moment(2)),
            ("i2", "bob", "edited", "one 2 three", moment(2)),
            ("i3", "ann", "no_edit_needed", None, moment(9)),
            ("i3", "cid", "no_edit_needed", None, moment(9)),
        ],
    )
    with writing(engine) as connection:
        known = {"outcome": "edited", "edited": "one 2 three"}
        connection.execute(item.update().where(item.c.external_id != "i1").values(known_answer=known))
        result = agreement(connection)
    # i1 alone: an edit and none. Outcome: 1 - 1 * 2 / (4 - 1 - 1) = 0. Words: 4 places, of 8 values 1 is a change, and
    # 2 disagree: 1 - 7 * 2 / (64 - 1 - 49) = 0.
    assert (result.overall.outcome.value, result.overall.outcome.items) == (pytest.approx(0), 1)
    assert (result.overall.words.value, result.overall.words.units) == (pytest.approx(0), 4)
    assert [(pair.first, pair.second) for pair in result.pairs] == [("ann", "bob")]
    assert [period.start for period in result.periods] == ["2026-03-02"]


MISSING = math.nan
OUTCOME_CODES = {"edited": 0.0, "no_edit_needed": 1.0, "cannot_be_fixed": 2.0, "skipped": MISSING}


@given(
    st.lists(
        st.lists(
            st.sampled_from(
                ["", "skipped", "cannot_be_fixed", "no_edit_needed", "1 two three", "1 2 three", "one two 3"]
            ),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=8,
    )
)
def test_a_whole_database_with_gaps_is_like_the_reference_package(
    tmp_path_factory: pytest.TempPathFactory, given: list[list[str]]
) -> None:
    """Three editors; an empty text means that the editor did not get the item."""
    rows: list[Row] = []
    outcomes: list[list[float]] = [[], [], []]
    words: list[list[float]] = [[], [], []]
    for number, of_item in enumerate(given):
        for editor, text in enumerate(of_item):
            outcome = text if text in OUTCOME_CODES else "edited"
            if text:
                rows.append((f"i{number}", "abc"[editor], outcome, text if outcome == "edited" else None, 0.0))
            outcomes[editor].append(OUTCOME_CODES[outcome] if text else MISSING)
            after = text.split() if outcome == "edited" else ["one", "two", "three"]
            silent = not text or outcome in ("skipped", "cannot_be_fixed")
            pairs = zip(["one", "two", "three"], after, strict=not silent)
            # The fourth place is the end of the text, where nobody here adds anything.
            words[editor] += [MISSING] * 4 if silent else [*(float(a != b) for a, b in pairs), 0.0]
    if not rows:
        return
    engine = open_database(tmp_path_factory.mktemp("gaps") / "edits.db")
    fill(engine, rows)
    with reading(engine) as connection:
        overall = agreement(connection).overall
    engine.dispose()
    for found, table in ((overall.outcome.value, outcomes), (overall.words.value, words)):
        assert found == (None if (expected := reference(table)) is None else pytest.approx(expected))


def reference(table: list[list[float]]) -> float | None:
    """Alpha by the package, where it is defined."""
    paired = [values for unit in zip(*table, strict=True) if len(values := [v for v in unit if v == v]) > 1]
    if len({value for values in paired for value in values}) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement="nominal"))


@pytest.mark.parametrize(
    ("original", "edited", "places"),
    [
        ("one two three", "one two three", set()),
        ("one two three", "one 2 three", {1}),
        ("one two three", "one three", {1}),
        ("one two three", "one two and three", {2}),
        ("one two three", "one two three four", {3}),
        ("one two three", "zero one two three", {0}),
        ("one two  three", "one two three", {2}),
        ("one two\n", "one two", {2}),
        ("Well one two", "one two", {0}),
        ("", "one", {0}),
        ("a b c d", "", {0, 1, 2, 3}),
    ],
)
def test_which_words_an_edit_touches(original: str, edited: str, places: set[int]) -> None:
    assert changed_places(original, edited) == places


@given(st.text("ab \n.", max_size=20), st.text("ab \n.", max_size=20))
def test_places_stay_within_the_text(original: str, edited: str) -> None:
    places = changed_places(original, edited)
    assert all(0 <= place < places_of(original) for place in places)
    assert bool(places) == (original != edited)
    assert places_of(original) == len(split_words(original)) + 1


@given(st.sets(st.integers(0, 100)))
def test_bits_stand_for_places(places: set[int]) -> None:
    assert bits_of(places) == sum(2**place for place in places)


@pytest.fixture
def submissions(engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]) -> list[int]:
    """Five edits of "The answer to it is <n>", each of which changes the last of six words."""
    add_responses(engine, 5)
    (ada,) = add_people(engine, "Ada")
    for n in range(5):
        task = work.next_task(engine, ada, now=n)
        assert task is not None
        sent = work.Submission("edited", f"The answer to it is {n}{n}", active_s=1.0)
        work.submit(engine, ada, task.assignment_id, task.version, sent, now=n)
    with reading(engine) as connection:
        return list(connection.scalars(select(submission.c.id)))


def test_each_text_is_read_once(engine: Engine, submissions: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement_module, "_BATCH", 2)
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    with reading(engine) as connection:
        for _ in range(2):
            assert bits_changed(connection, submissions) == dict.fromkeys(submissions, 1 << 5)
            assert set(place_counts(connection, [1, 2, 3]).values()) == {7}
    assert len([each for each in asked if each.startswith("SELECT")]) == 3 + 2  # five and three, by twos


def test_memory_is_bounded(engine: Engine, submissions: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement_module, "MOST_BYTES", 400)  # two entries of some 160 bytes
    for _ in range(2):
        with reading(engine) as connection:
            assert bits_changed(connection, submissions) == dict.fromkeys(submissions, 1 << 5)
            assert len(agreement_module._cache(connection).entries) == 2
