"""Rows become records: ids, meta, bad rows, and whatever else a file may hold."""

import json
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.formats.base import Kind
from redpencil.formats.datasets import open_source
from redpencil.formats.reading import Imported, Skipped, Tally, Wanted, import_rows, read_records
from redpencil.formats.registry import FORMATS
from redpencil.formats.text_files import Place, Source, SourceRow
from redpencil.records import Prompt, Response, read_jsonl, to_row


@pytest.mark.parametrize(
    ("own", "found"), [("a", "a"), (7, "7"), (7.0, "7"), (None, "made"), ("", "made"), (float("nan"), "made")]
)
def test_ids_are_the_rows_own_or_made_of_its_prompt(one: Callable[..., Any], own: object, found: str) -> None:
    assert one({"id": own, "prompt": "p"}, "columns") == Prompt(found, "p")


def test_ids_do_not_depend_on_the_name_of_the_file_nor_on_rows_with_other_prompts(tmp_path: Path) -> None:
    def ids(name: str, *prompts: Any) -> list[str]:
        path = tmp_path / name
        path.write_text("".join(json.dumps({"prompt": prompt, "n": n}) + "\n" for n, prompt in enumerate(prompts)))
        with open_source(str(path)) as source:
            return [row.id for row in read_records(source, Wanted(FORMATS["trl-prompt"]), Tally(), lambda _: None)]

    ours = ids("ours.jsonl", "a", "b", "a", "c")
    assert ids("theirs.1.jsonl", "c", "a", "b", "a") == [ours[3], ours[0], ours[1], ours[2]]
    assert ours[2] == f"{ours[0]}-2"
    # One message of the user is its text; messages that render alike are told apart.
    turn = {"role": "user", "content": "a"}
    system = {"role": "system", "content": "s"}
    told = ids("m.jsonl", [turn], [system, turn], [system, {**turn, "name": "Ann"}], "System: s\n\nUser: a")
    assert told[0] == ours[0]
    assert len(set(told)) == 4


def test_a_made_id_keeps_clear_of_the_rows_own(read: Callable[..., Any], made_id: Callable[[str], str]) -> None:
    rows = [
        {"id": made_id("p"), "prompt": "q"},
        {"prompt": "p"},
        {"id": f"{made_id('p')}-3", "prompt": "r"},
        {"prompt": "p"},
    ]
    found = [row.id for row in read(rows, "columns").records]
    assert found == [made_id("p"), f"{made_id('p')}-2", f"{made_id('p')}-3", f"{made_id('p')}-4"]


@pytest.mark.parametrize("own", [True, 1.5, [1], {}])
def test_other_ids_are_refused(refused: Callable[..., Any], own: object) -> None:
    assert refused({"id": own, "prompt": "p"}, "columns").field == "id"


def test_an_id_that_occurs_twice_names_both_rows(read: Callable[..., Any], made_id: Callable[[str], str]) -> None:
    rows = [{"id": "a", "prompt": "p"}, {"prompt": "q"}, {"id": "a", "prompt": "r"}, {"id": "a", "prompt": "s"}]
    with pytest.raises(RedpencilError, match="'a' is already on line 1") as caught:
        read(rows, "columns")
    assert (caught.value.line, caught.value.field) == (3, "id")
    found = read(rows, "columns", on_error_skip=True)
    assert ([row.id for row in found.records], found.tally.bad) == (["a", made_id("q")], 2)
    assert [(row.place.line, row.field, row.row) for row in found.skipped] == [(3, "id", rows[2]), (4, "id", rows[3])]
    assert len(read(rows, "columns", drop=frozenset({"id"})).records) == 4


def test_a_bad_row_stops_or_is_passed_over(read: Callable[..., Any]) -> None:
    rows = [{"prompt": "p"}, {"prompt": 3}, {"other": 1}, {"prompt": "q"}]
    with pytest.raises(RedpencilError, match="text or a list of messages, found a number") as caught:
        read(rows, "columns", "prompts")
    assert (caught.value.file, caught.value.line, caught.value.field) == ("data.jsonl", 2, "prompt")
    found = read(rows, "columns", "prompts", on_error_skip=True)
    assert [row.prompt for row in found.records] == ["p", "q"]
    assert (found.tally.rows, found.tally.records, found.tally.bad) == (4, 2, 2)


def test_meta_of_the_row_is_joined_and_may_be_text(one: Callable[..., Any]) -> None:
    for meta in ({"a": 1}, '{"a": 1}'):
        assert one({"prompt": "p", "meta": meta, "b": 2}, "columns").meta == {"a": 1, "b": 2}
    assert one({"prompt": "p", "meta": None}, "columns").meta == {}
    assert one({"prompt": "p", "meta": "free text"}, "columns").meta == {"meta": "free text"}


def test_a_key_in_the_row_and_in_its_meta_is_refused(refused: Callable[..., Any]) -> None:
    assert refused({"prompt": "p", "meta": {"a": 1}, "a": 2}, "columns").field == "a"


def test_a_column_in_the_way_of_what_is_added_is_kept(one: Callable[..., Any]) -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    found = one({"prompt": turns, "messages": "mine"}, "trl-prompt")
    assert found.meta == {"messages": turns, "messages_column": "mine"}
    assert one({"prompt": turns, "meta": {"messages": turns}}, "trl-prompt").meta == {"messages": turns}


def test_messages_beside_a_prompt_that_are_not_its_own_get_another_name(one: Callable[..., Any]) -> None:
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    row = {"prompt": "u", "chosen": "a", "rejected": "b", "messages": turns}
    assert one(row, "trl-preference").meta == {"messages_column": turns}
    system = [{"role": "system", "content": "s"}, turns[0]]
    assert one({"prompt": "System: s\n\nUser: u", "messages": system}, "columns").meta == {"messages": system}
    assert one({"prompt": "u", "meta": {"messages": "mine"}}, "columns").meta == {"messages": "mine"}


def test_columns_can_be_dropped(one: Callable[..., Any]) -> None:
    assert one({"prompt": "p", "image": b"\xff"}, "columns", drop=frozenset({"image"})) == Prompt("made", "p")


def test_no_rows_are_a_mistake(read: Callable[..., Any]) -> None:
    with pytest.raises(RedpencilError, match="it has no rows"):
        read([], "columns")


def test_ids_are_held_as_hashes() -> None:
    rows = (SourceRow(Place("f", n), {"id": f"{n:04000d}", "prompt": "p"}) for n in range(1, 5_001))
    source = Source("f", rows, lambda: (0, 0))
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_records(source, Wanted(FORMATS["columns"]), Tally(), lambda _: None))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 5_000
    assert peak < 5_000_000  # the ids alone are 20 million characters


COLUMNS = sorted(
    {"id", "meta", "model", "finished", "editor", "outcome", "annotator", "generator_1", "input", "extra"}
    | {
        name
        for format_ in FORMATS.values()
        for reader in format_.readers.values()
        for names in reader.needs
        for name in names
    }
)
# Words that can be found again wherever they end up.
words = st.integers(0, 10_000).map(lambda number: f"w{number:05d}")
scalars = st.none() | st.booleans() | st.integers(-4, 4) | st.floats() | words
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": words}), max_size=4
)
sharegpt = st.lists(
    st.fixed_dictionaries(
        {"from": st.sampled_from(["human", "gpt", "tool", "function_call"]), "value": words | st.none()},
        optional={"weight": scalars},
    ),
    max_size=4,
)
winners = st.sampled_from(["model_a", "model_b", "tie", "tie (bothbad)", "A", "first", 0, 1, 2, "1", True])
dialogues = st.tuples(words, words).map(lambda pair: f"\n\nHuman: {pair[0]}\n\nAssistant: {pair[1]}")
ratings = st.lists(
    st.fixed_dictionaries(
        {"response": words | st.none(), "overall_score": scalars}, optional={"model": scalars, "annotations": scalars}
    ),
    max_size=3,
)
feedback = st.fixed_dictionaries(
    {
        "corrected-prediction": words,
        "errors": st.lists(st.fixed_dictionaries({"start": st.integers(0, 6), "end": st.integers(0, 6)}), max_size=2),
    }
)
anything = st.one_of(
    words, words, messages, messages, dialogues, ratings, feedback, scalars, sharegpt, winners,
    st.lists(words, max_size=3), st.lists(words, max_size=3).map(json.dumps), messages.map(json.dumps),
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
    st.dictionaries(words, scalars, max_size=2),
)  # fmt: skip


@st.composite
def rows(draw: st.DrawFn) -> tuple[str, Kind, dict[str, Any]]:
    """A format, a kind that it gives, and a row with at least the columns for it."""
    format_ = FORMATS[draw(st.sampled_from(sorted(FORMATS)))]
    kind = draw(st.sampled_from(sorted(format_.readers)))
    needs = draw(st.sampled_from(format_.readers[kind].needs))
    more = draw(st.lists(st.sampled_from(COLUMNS), max_size=3))
    texts = draw(st.booleans())
    row = {name: draw(words if texts else anything) for name in needs}
    return format_.name, kind, {**row, **{name: draw(anything) for name in more if name not in row}}


def words_of(value: object) -> set[str]:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return set(re.findall(r"w\d{5}", text))


@settings(max_examples=1_000)
@given(rows())
def test_any_row_gives_records_with_all_of_it_or_one_clear_message(drawn: tuple[str, Kind, dict[str, Any]]) -> None:
    name, kind, row = drawn
    placed = (SourceRow(Place("data.jsonl", 1, 1), each) for each in [row])
    source = Source("data.jsonl", placed, lambda: (0, 0))
    tally, skipped = Tally(), list[Skipped]()
    try:
        found = list(read_records(source, Wanted(FORMATS[name], kind), tally, skipped.append))
    except RedpencilError as error:
        # Labels that may mean several things are known only at the end.
        line = None if "differs from one data set" in error.problem else 1
        assert (error.file, error.line) == ("data.jsonl", line)  # noqa: PT017
        assert error.problem  # noqa: PT017
        assert error.hint  # noqa: PT017
        return
    assert len(found) + len(skipped) >= 1
    for record in found:
        missing = words_of(row) - words_of(to_row(record))
        # What each of several records of a row holds is found in all of them together.
        assert len(found) > 1 or not missing
    together = words_of([to_row(record) for record in found]) | words_of([one.row for one in skipped])
    assert words_of(row) <= together
    for record in found:
        json.dumps(to_row(record), allow_nan=False).encode()


def test_a_column_that_cannot_be_kept_is_refused(refused: Callable[..., Any]) -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    row = {"prompt": turns, "messages": "mine", "messages_column": "too"}
    assert refused(row, "trl-prompt").field == "messages"


def test_what_a_meta_text_cannot_hold_is_named_by_its_row(one: Callable[..., Any], refused: Callable[..., Any]) -> None:
    for name in ("columns", "redpencil"):
        error = refused({"prompt": "p", "meta": '{"a": "\\ud83d"}'}, name)
        assert (error.field, error.line, error.file is not None) == ("meta.a", 1, True)
        assert one({"prompt": "p", "meta": '{"a": NaN, "b": Infinity}'}, name).meta == {"a": None, "b": "inf"}


@pytest.mark.parametrize(
    ("name", "row", "field"),
    [
        ("columns", {"prompt": "p", "meta": '{"a": 1, "a": 2}'}, "meta"),
        ("redpencil", {"prompt": "p", "meta": '{"a": {"b": [{"c": 1, "c": 1}]}}'}, "meta"),
        ("sharegpt", {"conversations": '[{"from": "human", "value": "hi", "value": "ho"}]'}, "conversations"),
        ("sharegpt", {"conversations": ' [{"from": "human", "from": "gpt", "value": "hi"}]'}, "conversations"),
        ("trl-messages", {"messages": '[{"role": "user", "content": [{"text": "a", "text": "b"}]}]'}, "messages"),
    ],
)
def test_a_key_that_occurs_twice_in_json_as_text_is_refused(
    refused: Callable[..., Any], name: str, row: dict[str, Any], field: str
) -> None:
    error = refused(row, name)
    assert (error.field, error.line) == (field, 1)
    assert "is in an object twice" in error.problem


GOOD = {"instruction": "i", "output_1": "b", "output_2": "a", "preference": 2}
TIE = {**GOOD, "preference": 1.5}
BAD = {**GOOD, "preference": "x"}


def run(folder: Path, *rows: Any, skip: bool = False, **options: Any) -> Imported:
    path = folder / "pairs.jsonl"
    path.write_bytes(b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows))
    wanted = Wanted(FORMATS["alpaca-farm"], Kind.RESPONSES, on_error_skip=skip)
    with open_source(str(path)) as source:
        return import_rows(source, wanted, folder / "out.jsonl", **options)


def side(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl.skipped.jsonl").read_text("utf-8").splitlines()]


def test_what_gives_no_record_is_counted_and_listed(tmp_path: Path, made_id: Callable[[str], str]) -> None:
    done = run(tmp_path, GOOD, TIE, BAD, b'{"instruction": "\xff"}\n', [1], GOOD, skip=True)
    (reason,) = done.nothing
    assert (done.rows, done.records, done.nothing[reason], done.bad) == (6, 2, 1, 3)
    first = made_id("i")
    assert [row.id for row in read_jsonl(tmp_path / "out.jsonl", Response)] == [first, f"{first}-2"]
    listed = side(tmp_path)
    assert [(row["line"], row["row_number"], row["field"]) for row in listed] == [
        (2, 2, None),
        (3, 3, "preference"),
        (4, 4, None),
        (5, 5, None),
    ]
    assert {row["file"] for row in listed} == {str(tmp_path / "pairs.jsonl")}
    assert [row["row"] for row in listed] == [TIE, BAD, '{"instruction": "\\xff"}', [1]]
    assert (listed[0]["problem"], "a preference" in listed[1]["problem"]) == (reason, True)
    assert done.skipped_file == tmp_path / "out.jsonl.skipped.jsonl"


def test_the_first_mistake_stops_it_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("old")
    with pytest.raises(RedpencilError) as caught:
        run(tmp_path, GOOD, TIE, BAD)
    assert (caught.value.line, caught.value.field) == (3, "preference")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "pairs.jsonl"]
    assert (tmp_path / "out.jsonl").read_text() == "old"


def test_an_old_side_file_goes_where_nothing_is_skipped(tmp_path: Path) -> None:
    run(tmp_path, GOOD, TIE)
    assert len(side(tmp_path)) == 1
    assert run(tmp_path, GOOD).skipped_file is None
    assert not (tmp_path / "out.jsonl.skipped.jsonl").exists()


def test_no_record_at_all_is_a_mistake_that_the_side_file_explains(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"no row gives a record \(1 bad rows, 1 ties"):
        run(tmp_path, TIE, BAD, skip=True)
    assert len(side(tmp_path)) == 2
    assert not (tmp_path / "out.jsonl").exists()


def test_a_limit_leaves_the_rest_unread(tmp_path: Path) -> None:
    done = run(tmp_path, GOOD, TIE, GOOD, BAD, limit=2)
    assert (done.rows, done.records) == (3, 2)


def test_a_response_of_a_megabyte_and_rows_of_all_languages(tmp_path: Path) -> None:
    long = "long text 😀 " * 100_000
    run(tmp_path, {**GOOD, "output_1": long}, {**GOOD, "output_1": "日本語 e\u0301 \u2028"})
    found = list(read_jsonl(tmp_path / "out.jsonl", Response))
    assert [row.response for row in found] == [long, "日本語 e\u0301 \u2028"]


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    run(tmp_path, *[GOOD] * 200, progress=lambda *step: told.append(step))
    assert [note for *_, note in told] == ["64 responses", "128 responses", "192 responses"]
    assert all(0 <= done <= total for done, total, _ in told)
