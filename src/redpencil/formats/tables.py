"""Rows of Parquet files and of what the library `datasets` opens: saved folders, folders of files, the Hub."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.formats.places import Place, Rows, Source, SourceRow

HUB: Final = "hf://"
"""How a data set of the Hub is named; nothing else ever uses the network."""
_BATCH: Final = 64
_BUFFER: Final = 1 << 20
MEND: Final = "write the file again"


@contextmanager
def open_parquet(path: Path) -> Iterator[Source]:
    """A Parquet file, open for as long as the block lasts.

    Raises:
        RedpencilError: if pyarrow is missing or the file is damaged.
    """
    parquet = _library("pyarrow.parquet", "Parquet")
    try:
        table = parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
    except Exception as error:  # pyarrow raises OSError and its own classes alike
        raise _library_error(path, "not a whole Parquet file", error, MEND) from None
    seen = [0]
    with table:
        yield Source(
            path.name.split(".")[0] or path.name,
            str(path),
            _parquet_rows(table, path, seen),
            lambda: (seen[0], table.metadata.num_rows),
        )


def _parquet_rows(table: Any, path: Path, seen: list[int]) -> Rows:
    batches = table.iter_batches(batch_size=_BATCH)
    while True:
        try:
            batch = next(batches, None)
        except Exception as error:  # as above
            raise _library_error(path, f"damaged after row {seen[0]}", error, MEND) from None
        if batch is None:
            return
        yield from _batch_rows(batch, path, seen)


def _batch_rows(batch: Any, path: Path, seen: list[int]) -> Rows:
    for at in range(batch.num_rows):
        seen[0] += 1
        place = Place(str(path), seen[0])
        row: dict[str, Any] = {}
        problem = None
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                row[name] = column[at].as_py()
            except (
                ValueError,
                OverflowError,
            ) as error:  # bytes in a text column that are no UTF-8; a date out of range
                problem = place.error(
                    f"a value that cannot be read ({error})", field=name, way_out="mend the value, or convert the file"
                )
                row[name] = None
        yield SourceRow(place, row if problem is None else {}, problem, row)


def open_folder(path: Path, split: str | None, config: str | None) -> Source:
    """A folder that `datasets` has saved, or one of files that it opens.

    Raises:
        RedpencilError: if `datasets` is missing, or cannot open it.
    """
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved(path, split)
    return _streamed(str(path), path.name, split or "train", config, "check the folder, --split and --name")


def open_hub(given: str, split: str, config: str | None) -> Source:
    """A data set of the Hub; nothing of it is run, and nothing is kept but the library's own cache.

    Raises:
        RedpencilError: if `datasets` is missing, or cannot open it.
    """
    name = given.removeprefix(HUB).removeprefix("datasets/").strip("/")
    way_out = "check the name, --split and --name, and the network; log in with `hf auth login` where it asks for that"
    return _streamed(name, f"{name.split('/')[-1]}-{split}", split, config, way_out, shown=given)


def _saved(path: Path, split: str | None) -> Source:
    datasets = _library("datasets", "a saved data set")
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # the library raises many classes
        raise _library_error(path, "cannot open the saved data set", error, "save it again") from None
    if isinstance(found, dict):
        wanted = split or ("train" if "train" in found or len(found) != 1 else next(iter(found)))
        if wanted not in found:
            raise RedpencilError(
                f"no split called {wanted!r}", file=path, way_out=f"use --split with one of: {', '.join(found)}"
            )
        found = found[wanted]
    elif split is not None:
        raise RedpencilError("the saved data set has no splits", file=path, way_out="leave --split out")
    return _source(found, path.name, str(path), len(found))


def _streamed(opened: str, name: str, split: str, config: str | None, way_out: str, shown: str | None = None) -> Source:
    datasets = _library("datasets", "a data set")
    place = shown or opened
    try:
        found = datasets.load_dataset(opened, config, split=split, streaming=True)
    except Exception as error:  # the library raises many classes
        raise _library_error(place, "cannot open the data set", error, way_out) from None
    return _source(found, name, place, 0)


def _source(found: Iterable[Any], name: str, place: str, total: int) -> Source:
    seen = [0]
    return Source(name, place, _data_set_rows(found, place, seen), lambda: (seen[0], total))


def _data_set_rows(found: Iterable[Any], file: str, seen: list[int]) -> Rows:
    rows = iter(found)
    while True:
        try:
            row = next(rows, None)
        except Exception as error:  # the library raises many classes
            raise _library_error(file, f"cannot go on after row {seen[0]}", error, "mend the data set") from None
        if row is None:
            return
        seen[0] += 1
        yield SourceRow(Place(file, seen[0]), dict(row))


def _library(module: str, what: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        name = module.split(".")[0]
        raise RedpencilError(f"{what} needs {name}", way_out="pip install 'redpencil[data]'") from None


def _library_error(file: str | Path, problem: str, error: Exception, way_out: str) -> RedpencilError:
    said = next(iter(str(error).splitlines()), "") or type(error).__name__
    return RedpencilError(f"{problem} ({said})", file=file, way_out=way_out)
