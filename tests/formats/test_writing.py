"""Exports: what goes where, what is skipped and said, and that a file is whole or not there."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from redpencil.errors import RedpencilError
from redpencil.files import whole_file
from redpencil.formats import writing
from redpencil.formats.base import Unfit
from redpencil.formats.figa import Weights
from redpencil.formats.values import read_meta
from redpencil.formats.writing import (
    HOLDS,
    Format,
    Written,
    conversational_row,
    export,
    parquet_row,
    parquet_rows,
    skipped_file,
    trl_row,
)
from redpencil.records import (
    Comparison,
    Edit,
    EditOutcome,
    Example,
    Pair,
    Preference,
    Prompt,
    Response,
    parse_record,
    read_jsonl,
)

ONE = Edit("1", "Who?", "It was Ann.", "It was Bob.", editor="ed", meta={"n": [1, {"deep": None}]})
EDITS = [
    ONE,
    Edit("2", "Who?", "same", "same", outcome=EditOutcome.UNCHANGED),
    Edit("3", "Who?", "same", "same"),
    Edit("4", "Who?", "a", "", outcome=EditOutcome.REFUSED, meta={"answer": "I cannot"}),
    Edit("5", "Who?", "a", "", outcome=EditOutcome.FAILED),
    Edit("6", "", "", "\n😀"),
]
PREFERENCE = (Format.TRL, Format.TRL_CONVERSATIONAL, Format.FIGA)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_our_own_formats_hold_every_edit(tmp_path: Path) -> None:
    assert export(EDITS, Edit, Format.REDPENCIL, tmp_path / "e.jsonl") == Written(6, {}, None)
    assert list(read_jsonl(tmp_path / "e.jsonl", Edit)) == EDITS
    assert export(EDITS, Edit, Format.PARQUET, tmp_path / "e.parquet").rows == 6
    assert pq.read_table(tmp_path / "e.parquet").column("id").to_pylist() == [edit.id for edit in EDITS]
    assert len(list(tmp_path.iterdir())) == 2, "nothing was skipped, so there is no side file"


@pytest.mark.parametrize("format_", PREFERENCE)
def test_what_is_no_correction_is_counted_and_listed_whole(format_: Format, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    done = export(EDITS, Edit, format_, out)
    assert done == Written(2, {"unchanged": 2, "refused": 1, "failed": 1}, tmp_path / "rows.jsonl.skipped.jsonl")
    assert [row["id"] for row in lines(out)] == ["1", "6"]
    listed = lines(skipped_file(out))
    assert [(row["reason"], row["record"]["id"]) for row in listed] == [
        ("unchanged", "2"),
        ("unchanged", "3"),
        ("refused", "4"),
        ("failed", "5"),
    ]
    assert [Edit(**row["record"]) for row in listed] == EDITS[1:5]


def test_ties_are_no_preference(tmp_path: Path) -> None:
    rows = [Comparison(str(i), "p", "a", "b", preference) for i, preference in enumerate(Preference)]
    done = export(rows, Comparison, Format.TRL, tmp_path / "rows")
    assert (done.rows, done.skipped) == (2, {"tie": 1, "no verdict": 1})
    assert [(row["chosen"], row["rejected"]) for row in lines(tmp_path / "rows")] == [("a", "b"), ("b", "a")]


def test_weights_reach_the_rows(tmp_path: Path) -> None:
    export([ONE], Edit, Format.FIGA, tmp_path / "rows", weights=Weights(alpha=4, beta=2, kept=1))
    (row,) = lines(tmp_path / "rows")
    assert (set(row["original_weights"]), set(row["revised_weights"])) == ({0, -2}, {4, 1})


@pytest.mark.parametrize("format_", Format)
def test_a_format_takes_the_kinds_that_it_holds_and_no_other(format_: Format, tmp_path: Path) -> None:
    records = {
        Edit: ONE,
        Comparison: Comparison("1", "p", "a", "b", Preference.FIRST),
        Prompt: Prompt("1", "p"),
        Example: Example("1", "p", "r"),
        Response: Response("1", "p", "r"),
        Pair: Pair("1", (1,), (2,), (3,)),
    }
    for kind, record in records.items():
        out = tmp_path / kind.__name__
        if kind in HOLDS[format_]:
            assert export([record], kind, format_, out).rows == 1
            assert out.is_file()
        else:
            with pytest.raises(RedpencilError, match=f"holds no {kind.__name__} rows") as caught:
                export([record], kind, format_, out)
            assert caught.value.hint
            assert not out.exists()


@pytest.mark.parametrize("format_", Format)
def test_an_error_on_the_way_leaves_what_stood_there(format_: Format, tmp_path: Path) -> None:
    def broken() -> Iterator[Edit]:
        yield from EDITS
        raise RedpencilError("row 7 is broken")

    out = tmp_path / "rows"
    out.write_text("old")
    skipped_file(out).write_text("old too")
    with pytest.raises(RedpencilError, match="row 7"):
        export(broken(), Edit, format_, out)
    assert (out.read_text(), skipped_file(out).read_text()) == ("old", "old too")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("format_", Format)
def test_half_a_character_is_refused(format_: Format, tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="half of a surrogate pair"):
        export([ONE, Edit("2", "p", "a", "b", meta={"x": "\ud83d"})], Edit, format_, tmp_path / "rows")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format_", PREFERENCE)
def test_an_export_that_could_hold_nothing_is_a_mistake(format_: Format, tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"none of the rows \(2 unchanged, 1 refused, 1 failed\)"):
        export(EDITS[1:5], Edit, format_, tmp_path / "rows")
    assert list(tmp_path.iterdir()) == []


def test_an_old_side_file_does_not_outlive_its_export(tmp_path: Path) -> None:
    out = tmp_path / "rows"
    export(EDITS, Edit, Format.TRL, out)
    assert skipped_file(out).is_file()
    export([ONE], Edit, Format.TRL, out)
    assert not skipped_file(out).exists()


MANY = """
import random, sys, time
from pathlib import Path
from redpencil.formats.figa import load_cutter
from redpencil.formats.writing import Format, export
from redpencil.records import Edit, EditOutcome

format_, out, model, many = Format(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
pad = "x" * (16_000_000 // many)
words = [f"word{i}" for i in range(500)] + ["日本語", "😀", "naïve"]

def edits(count):
    draw = random.Random(0)
    for i in range(count):
        text = draw.choices(words, k=60)
        edited = [*text[:20], *draw.choices(words, k=3), *text[22:]]
        outcome = EditOutcome.REFUSED if i % 10 == 0 else EditOutcome.EDITED
        meta = {"number": [i] * (i % 4), "pad": f"{i}{pad}"}
        yield Edit(str(i), "Why?", " ".join(text), " ".join(edited), meta=meta, outcome=outcome)

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

cutter = load_cutter(model) if format_ is Format.FIGA else None
export(edits(many // 10), Edit, format_, out, cutter=cutter)
before, start = peak(), time.perf_counter()
done = export(edits(many), Edit, format_, out, cutter=cutter)
print(done.rows, done.skipped.total(), peak() - before, time.perf_counter() - start)
"""


@pytest.mark.slow
@pytest.mark.parametrize("format_", Format)
def test_many_edits_take_no_more_memory_than_a_tenth_of_them(format_: Format, tmp_path: Path) -> None:
    """They are 16 MB and more, so that less than 8 MB more at the peak means that they are not held."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of memory is read from /proc, which only Linux has")
    cuts = Tokenizer(WordLevel({"<eos>": 0, "<unk>": 1}, unk_token="<unk>"))
    cuts.pre_tokenizer = WhitespaceSplit()
    cuts.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<eos>"}')
    # A group of Parquet holds 2,000 rows, which a tenth must fill; elsewhere fewer and larger rows take less time.
    many = 20_000 if format_ is Format.PARQUET else 2_000
    command = [sys.executable, "-c", MANY, format_.value, str(tmp_path / "rows"), str(tmp_path), str(many)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    rows, skipped, grown_kb, seconds = run.stdout.split()
    print(f"{format_}: {many:,} edits in {float(seconds):.1f} s, {grown_kb} kB more at the peak")
    assert int(rows) + int(skipped) == many
    assert int(skipped) == (many // 10 if format_ in PREFERENCE else 0)
    assert int(grown_kb) < 8_000


EDIT = Edit("1", "Who?", "It was Ann.", "It was Bob.", editor="ed", meta={"n": 1})
TRL_COLUMNS = {"prompt", "chosen", "rejected", "completion", "messages", "text", "label"}
"""The columns that give a row its type in TRL."""
TYPES: dict[type[Any], set[str]] = {
    Edit: {"prompt", "chosen", "rejected"},
    Comparison: {"prompt", "chosen", "rejected"},
    Prompt: {"prompt"},
    Example: {"prompt", "completion"},
    Response: {"prompt", "completion"},
}

texts = st.text(max_size=20)
records = st.one_of(
    st.builds(Edit, texts, texts, texts, texts, texts, st.sampled_from(EditOutcome)),
    st.builds(Comparison, texts, texts, texts, texts, st.sampled_from(Preference), texts),
    st.builds(Prompt, texts, texts),
    st.builds(Example, texts, texts, texts),
    st.builds(Response, texts, texts, texts, texts, st.booleans()),
)


def test_the_edit_is_chosen_and_its_original_rejected() -> None:
    assert trl_row(EDIT) == {
        "id": "1",
        "prompt": "Who?",
        "chosen": "It was Bob.",
        "rejected": "It was Ann.",
        "editor": "ed",
        "outcome": "edited",
        "meta": '{"n": 1}',
    }


def test_the_same_as_messages() -> None:
    assert conversational_row(EDIT) == {
        "id": "1",
        "prompt": [{"role": "user", "content": "Who?"}],
        "chosen": [{"role": "assistant", "content": "It was Bob."}],
        "rejected": [{"role": "assistant", "content": "It was Ann."}],
        "editor": "ed",
        "outcome": "edited",
        "meta": '{"n": 1}',
    }


TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]


def test_a_conversation_that_the_prompt_came_from_is_the_prompt_again() -> None:
    row = conversational_row(Prompt("1", "System: Be brief.\n\nUser: Who?", {"messages": TURNS}))
    assert isinstance(row, dict)
    assert row["prompt"] == TURNS
    assert json.loads(row["meta"]) == {"messages": TURNS}


def test_a_conversation_with_more_than_texts_is_one_message_so_that_it_loads_and_comes_back() -> None:
    named = [TURNS[0], {**TURNS[1], "name": "ann"}]
    row = conversational_row(Prompt("1", "System: Be brief.\n\nUser: Who?", {"messages": named}))
    assert isinstance(row, dict)
    assert row["prompt"] == [{"role": "user", "content": "System: Be brief.\n\nUser: Who?"}]
    assert json.loads(row["meta"]) == {"messages": named}


@pytest.mark.parametrize(
    "messages",
    [
        *([], None, "hi", [1], [{"role": "user"}], [{"role": "user", "content": "hi"}, {"role": 1}]),
        TURNS,
        [{"role": "user", "content": "Who?", "name": "ann"}],
        [{"role": "user", "content": [{"text": "Who?"}]}],
    ],
)
def test_messages_that_are_not_the_prompt_stay_in_meta(messages: Any) -> None:
    row = conversational_row(Prompt("1", "Who?", {"messages": messages}))
    assert isinstance(row, dict)
    assert row["prompt"] == [{"role": "user", "content": "Who?"}]
    assert json.loads(row["meta"]) == {"messages": messages}


def test_a_comparison_by_who_won() -> None:
    for preference, chosen, rejected in ((Preference.FIRST, "a", "b"), (Preference.SECOND, "b", "a")):
        row = trl_row(Comparison("1", "p", "a", "b", preference, "ann"))
        assert not isinstance(row, Unfit)
        assert (row["chosen"], row["rejected"], row["preference"]) == (chosen, rejected, preference.value)
    assert trl_row(Comparison("1", "p", "a", "b", Preference.TIE)) == Unfit("tie")
    assert trl_row(Comparison("1", "p", "a", "b", Preference.NONE)) == Unfit("no verdict")


def test_responses_and_examples_are_completions() -> None:
    assert trl_row(Response("1", "p", "r", "m", finished=False)) == {
        "id": "1",
        "prompt": "p",
        "completion": "r",
        "model": "m",
        "finished": False,
        "meta": "{}",
    }
    assert trl_row(Example("1", "p", "r")) == {"id": "1", "prompt": "p", "completion": "r", "meta": "{}"}
    assert trl_row(Prompt("1", "p")) == {"id": "1", "prompt": "p", "meta": "{}"}


@given(record=records)
def test_each_row_has_the_columns_of_its_type_and_texts_or_messages_in_them(record: Any) -> None:
    plain, messages = trl_row(record), conversational_row(record)
    if isinstance(plain, Unfit):
        assert messages == plain
        return
    assert isinstance(messages, dict)
    assert plain.keys() == messages.keys()
    assert plain.keys() & TRL_COLUMNS == TYPES[type(record)]
    for column in TYPES[type(record)]:
        assert isinstance(plain[column], str)
        role = "user" if column == "prompt" else "assistant"
        assert messages[column] == [{"role": role, "content": plain[column]}]


def test_two_sides_that_are_the_same_prefer_nothing() -> None:
    assert trl_row(Comparison("1", "p", "a", "a", Preference.FIRST)) == Unfit("both sides the same")
    assert trl_row(Comparison("1", "p", "a", "a", Preference.TIE)) == Unfit("tie")


def test_token_pairs_have_no_type() -> None:
    with pytest.raises(RedpencilError, match="no type for token pairs"):
        trl_row(Pair("1", (1,), (2,), (3,)))


plain_texts = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\n\t\u2028\ufeff😀\x00")), max_size=20
)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)  # JSON has no others
plain = st.one_of(st.none(), st.booleans(), numbers, plain_texts)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_texts, inner, max_size=3)
)
metas = st.dictionaries(plain_texts, values, max_size=3)
ids = st.lists(st.integers(0, 300_000), max_size=5).map(tuple)
flags = st.lists(st.booleans(), max_size=5).map(tuple)
steps = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=5).map(tuple)
KINDS: dict[type[Any], st.SearchStrategy[Any]] = {
    Prompt: st.builds(Prompt, plain_texts, plain_texts, metas),
    Example: st.builds(Example, plain_texts, plain_texts, plain_texts, metas),
    Response: st.builds(Response, plain_texts, plain_texts, plain_texts, plain_texts, st.booleans(), metas),
    Comparison: st.builds(
        Comparison, plain_texts, plain_texts, plain_texts, plain_texts, st.sampled_from(Preference), plain_texts, metas
    ),
    Edit: st.builds(
        Edit, plain_texts, plain_texts, plain_texts, plain_texts, plain_texts, st.sampled_from(EditOutcome), metas
    ),
    Pair: st.builds(Pair, plain_texts, ids, ids, ids, flags, flags, steps, metas),
}


def write(path: Path, records: Iterable[Any], kind: type[Any]) -> Path:
    with whole_file(path) as out, parquet_rows(out, kind) as add:
        for record in records:
            add(parquet_row(record))
    return path


def read(path: Path, kind: type[Any]) -> list[Any]:
    rows = pq.read_table(path).to_pylist()
    return [parse_record({**row, "meta": read_meta(row["meta"])}, kind) for row in rows]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=30)
@given(data=st.data())
def test_round_trip(kind: type[Any], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    written = data.draw(st.lists(KINDS[kind], min_size=1, max_size=4))
    path = write(tmp_path_factory.mktemp("round") / "rows.parquet", written, kind)
    assert read(path, kind) == written


def test_the_columns_of_an_edit_are_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", [Edit("1", "p", "a", "b", meta={"n": 1}), Edit("2", "p", "a", "b")], Edit)
    table = pq.read_table(path)
    assert table.schema.names == [f.name for f in dataclasses.fields(Edit)]
    assert set(table.schema.types) == {pa.string()}
    assert table.column("meta").to_pylist() == ['{"n": 1}', "{}"]
    assert table.column("outcome").to_pylist() == ["edited", "edited"]


def test_rows_are_written_and_read_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "GROUP_ROWS", 3)
    prompts = [Prompt(str(i), "p") for i in range(7)]
    path = write(tmp_path / "p.parquet", prompts, Prompt)
    source = pq.ParquetFile(path)
    assert [source.metadata.row_group(i).num_rows for i in range(source.num_row_groups)] == [3, 3, 1]
    assert read(path, Prompt) == prompts


def test_large_texts_close_a_group_early(tmp_path: Path) -> None:
    """16 MiB a group: sixteen texts of a megabyte and their other columns are more, fifteen are not."""
    prompts = [Prompt(str(i), chr(97 + i) * (1 << 20)) for i in range(20)]
    source = pq.ParquetFile(write(tmp_path / "p.parquet", prompts, Prompt))
    assert [source.metadata.row_group(i).num_rows for i in range(source.num_row_groups)] == [16, 4]


def test_half_a_character_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"half of a surrogate pair.*'2'") as caught:
        write(tmp_path / "p.parquet", [Prompt("1", "fine"), Prompt("2", "a\ud83d")], Prompt)
    assert caught.value.field == "prompt"
    assert list(tmp_path.iterdir()) == []


def test_without_pyarrow_the_hint_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RedpencilError) as caught:
        write(tmp_path / "p.parquet", [], Prompt)
    assert caught.value.hint == "pip install 'redpencil[data]'"
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_64_bits_cannot_hold_are_refused(tmp_path: Path) -> None:
    pairs = [Pair("1", (1,), (2,), (2**63 - 1,)), Pair("2", (1,), (2**63,), (3,))]
    with pytest.raises(RedpencilError, match=r"more than 64 bits in the row with the id '2'") as caught:
        write(tmp_path / "p.parquet", pairs, Pair)
    assert caught.value.field == "rejected_ids"
    with pytest.raises(RedpencilError, match="more than 64 bits"):
        write(tmp_path / "p.parquet", [Pair("1", (1,), (2,), (3,), unchanged=((1, -(10**30)),))], Pair)
    assert list(tmp_path.iterdir()) == []
