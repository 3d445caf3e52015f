"""Records in Parquet: one column a field, of one type for good, written as a stream of row groups.

`meta` is one JSON text, enums are text, token ids and flags are lists.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib import import_module
from typing import Any, BinaryIO, Final, get_type_hints

from redpencil.errors import RedpencilError
from redpencil.formats.rows import Row, check_text, meta_text
from redpencil.records import Record, to_row

GROUP_ROWS: Final = 2_000
"""Most rows of a row group."""
GROUP_BYTES: Final = 16 << 20
"""A row group is closed once its rows are about as large as this, so that memory stays small with large texts too."""


def parquet_row(record: Record) -> Row:
    """A record as a row of the layout above."""
    return {**to_row(record), "meta": meta_text(record.meta)}


@contextmanager
def parquet_rows(out: BinaryIO, kind: type[Record]) -> Iterator[Callable[[Row], None]]:
    """A function that adds a row of `parquet_row` to a Parquet file of records of `kind`.

    Raises:
        RedpencilError: if pyarrow is missing, a text holds half of a surrogate pair, or a number more than 64 bits.
    """
    arrow, parquet = _arrow()
    schema = _schema(kind, arrow)
    held: list[Row] = []
    size = 0

    def add(row: Row) -> None:
        nonlocal size
        held.append(row)
        size += _bytes(row)
        if len(held) == GROUP_ROWS or size >= GROUP_BYTES:
            close_group()

    def close_group() -> None:
        nonlocal size
        try:
            batch = arrow.RecordBatch.from_pylist(held, schema=schema)
        except UnicodeEncodeError:
            for row in held:
                check_text(row)
            raise
        except (OverflowError, arrow.ArrowInvalid):
            for row in held:
                _check_numbers(row)
            raise
        writer.write_batch(batch)
        held.clear()
        size = 0

    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        yield add
        if held:
            close_group()


def _arrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise RedpencilError("Parquet needs pyarrow", hint="pip install 'redpencil[data]'") from None


def _schema(kind: type[Record], arrow: Any) -> Any:
    types = {
        bool: arrow.bool_(),
        tuple[int, ...]: arrow.list_(arrow.int64()),
        tuple[bool, ...]: arrow.list_(arrow.bool_()),
        tuple[tuple[int, int], ...]: arrow.list_(arrow.list_(arrow.int64())),
    }
    hints = get_type_hints(kind)
    return arrow.schema([arrow.field(f.name, types.get(hints[f.name], arrow.string())) for f in fields(kind)])


def _check_numbers(row: Row) -> None:
    """Refuse numbers that 64 bits cannot hold."""
    for name, value in row.items():
        numbers = [part for item in value for part in (item if isinstance(item, tuple | list) else (item,))
                   ] if isinstance(value, tuple | list) else []  # fmt: skip
        if any(not -(2**63) <= number < 2**63 for number in numbers):
            raise RedpencilError(
                f"a number of more than 64 bits in the row with the id {row.get('id')!a}",
                field=name,
                hint="mend the row, or export to redpencil",
            )


def _bytes(row: Row) -> int:
    """About how large a row is: characters of its texts, eight bytes for each number of its lists."""
    return sum(len(value) * (1 if isinstance(value, str) else 8) for value in row.values() if hasattr(value, "__len__"))
