"""Records through Parquet: nothing lost, one type a column, memory that does not grow, clear mistakes."""

import dataclasses
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.files import whole_file
from redpencil.formats import parquet
from redpencil.formats.parquet import parquet_row, parquet_rows
from redpencil.formats.rows import read_meta
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
)

texts = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("\n\t\u2028\ufeff😀\x00")), max_size=20
)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)  # JSON has no others
plain = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
metas = st.dictionaries(texts, values, max_size=3)
ids = st.lists(st.integers(0, 300_000), max_size=5).map(tuple)
flags = st.lists(st.booleans(), max_size=5).map(tuple)
steps = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=5).map(tuple)
KINDS: dict[type[Any], st.SearchStrategy[Any]] = {
    Prompt: st.builds(Prompt, texts, texts, metas),
    Example: st.builds(Example, texts, texts, texts, metas),
    Response: st.builds(Response, texts, texts, texts, texts, st.booleans(), metas),
    Comparison: st.builds(Comparison, texts, texts, texts, texts, st.sampled_from(Preference), texts, metas),
    Edit: st.builds(Edit, texts, texts, texts, texts, texts, st.sampled_from(EditOutcome), metas),
    Pair: st.builds(Pair, texts, ids, ids, ids, flags, flags, steps, metas),
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
    monkeypatch.setattr(parquet, "GROUP_ROWS", 3)
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
