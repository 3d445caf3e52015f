"""Sources of rows: text files, Parquet files, and what the library `datasets` opens (folders and the Hub)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final

from redpencil.digests import check_written
from redpencil.errors import RedpencilError
from redpencil.formats import text_files
from redpencil.formats.streams import open_text
from redpencil.formats.text_files import Place, Quoting, Rows, Source, SourceRow
from redpencil.sections import load_yaml
from redpencil.signatures import PARQUET

HUB: Final = "hf://"
"""The prefix of a data set of the Hub; nothing else ever uses the network."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_DELIMITERS: Final = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|", ".txt": "\t"}
"""Delimiters of tables by the file's name; Excel calls a table in UTF-16 that tabs divide .txt."""
_PACKED: Final = (".gz", ".xz", ".bz2", ".zst", ".zstd")
_BATCH: Final = 64
_BUFFER: Final = 1 << 20
_WRITE_AGAIN: Final = "write the file again"


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form of a text file: its encoding, and the meaning of quotes in a table; None guesses."""

    encoding: str | None = None
    quoting: Quoting | None = None


_GUESS: Final = Dialect()


@contextmanager
def open_source(
    address: str, *, split: str | None = None, config: str | None = None, dialect: Dialect = _GUESS
) -> Iterator[Source]:
    """Open a file, a folder or a data set of the Hub for as long as the block lasts.

    Args:
        address: a path, or `hf://OWNER/NAME`.
        split: the split of a data set; None takes `train`, or the only one.
        config: the configuration of a data set.
        dialect: the form of a text file.

    Raises:
        RedpencilError: if it does not exist or cannot be read. A row that cannot be read is returned with its error.
    """
    with ExitStack() as held:
        source = _opened(address, split, config, dialect, held)
        held.callback(source.rows.close)
        yield source


def _opened(address: str, split: str | None, config: str | None, dialect: Dialect, held: ExitStack) -> Source:
    path = Path(address)
    if address.startswith(HUB) or path.is_dir():
        _refuse_dialect(dialect, address)
        return open_hub(address, split, config) if address.startswith(HUB) else open_folder(path, split, config)
    if not path.exists():
        raise RedpencilError(
            "no such file or folder", file=address, hint=f"check the path; a data set of the Hub is `{HUB}OWNER/NAME`"
        )
    if not path.is_file():
        raise RedpencilError(
            "it is not a plain file", file=path, hint="write the rows into a file and give that; a pipe does not work"
        )
    if split is not None or config is not None:
        raise RedpencilError(
            "a single file has no splits or configurations", file=path, hint="leave --split and --name out"
        )
    check_written(path)
    try:
        raw = held.enter_context(path.open("rb"))
    except OSError as error:
        raise RedpencilError(f"cannot read it ({error.strerror})", file=path, hint="give a readable file") from None
    magic = raw.read(len(PARQUET))
    raw.seek(0)
    if magic == PARQUET:
        _refuse_dialect(dialect, address)
        return held.enter_context(open_parquet(path))
    return _text(path, raw, dialect, held)


def _refuse_dialect(dialect: Dialect, file: str) -> None:
    for name, value in (("--encoding", dialect.encoding), ("--quoting", dialect.quoting)):
        if value is not None:
            raise RedpencilError("it is no text file", file=file, field=name, hint=f"leave {name} out")


def _text(path: Path, raw: BinaryIO, dialect: Dialect, held: ExitStack) -> Source:
    text = open_text(raw, path, dialect.encoding)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED and text.compression is not None:
        del suffixes[-1]
    notes = list(text.notes)
    delimiter = _DELIMITERS.get(suffixes[-1]) if suffixes else None
    head = text.head.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if delimiter is not None and (suffixes[-1] != ".txt" or _is_table(head)):
        quoting = dialect.quoting or _quoting(path, dialect, delimiter, held)
        if quoting is not Quoting.STANDARD and dialect.quoting is None:
            meaning = "part of the texts" if quoting is Quoting.NONE else "escaped by backslashes"
            notes.append(
                f"a table whose quotation marks are {meaning} (--quoting {quoting} guessed; or give --quoting standard)"
            )
        rows = text_files.csv_rows(text.stream, path, delimiter, quoting)
    elif dialect.quoting is not None:
        raise RedpencilError(
            "only tables have a quoting",
            file=path,
            field="--quoting",
            hint="leave it out, or name the table .csv or .tsv",
        )
    else:
        rows = (text_files.array_rows if head[:1] == b"[" else text_files.json_rows)(text.stream, path)
    total = max(1, path.stat().st_size // 1000)
    return Source(str(path), rows, lambda: (min(raw.tell() // 1000, total), total), notes=tuple(notes))


def _is_table(head: bytes) -> bool:
    return head[:1] not in (b"[", b"{") and b"\t" in head.partition(b"\n")[0]


def _quoting(path: Path, dialect: Dialect, delimiter: str, held: ExitStack) -> Quoting:
    def again() -> BinaryIO:
        return open_text(held.enter_context(path.open("rb")), path, dialect.encoding).stream

    return text_files.guess_quoting(again, path, delimiter)


@contextmanager
def open_parquet(path: Path) -> Iterator[Source]:
    """Open a Parquet file for as long as the block lasts.

    Raises:
        RedpencilError: if pyarrow is missing, the file is damaged, or two columns have one name.
    """
    parquet = library("pyarrow.parquet", "Parquet")
    with _library_errors(path, "not a whole Parquet file", _WRITE_AGAIN):
        table = parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
    seen = [0]
    with table:
        twice = [name for name, count in Counter(table.schema_arrow.names).items() if count > 1]
        if twice:
            raise RedpencilError("two columns have one name", file=path, field=twice[0], hint="rename one of them")
        rows = _parquet_rows(table, path, seen)
        yield Source(str(path), rows, lambda: (seen[0], table.metadata.num_rows))


def _parquet_rows(table: Any, path: Path, seen: list[int]) -> Rows:
    batches = table.iter_batches(batch_size=_BATCH)
    while True:
        with _library_errors(path, f"damaged after row {seen[0]}", _WRITE_AGAIN):
            batch = next(batches, None)
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
            except (ValueError, OverflowError) as error:  # such as bytes that are not UTF-8, or a date out of range
                problem = place.error(
                    f"a value that cannot be read ({error})", field=name, hint="correct the value, or convert the file"
                )
                row[name] = None
        yield SourceRow(place, row if problem is None else {}, problem, row)


def open_folder(path: Path, split: str | None, config: str | None) -> Source:
    """Open a folder that `datasets` saved, or one of files that it can read.

    Raises:
        RedpencilError: if `datasets` is missing, or cannot open it.
    """
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved(path, split)
    library("datasets", "a folder of data")
    _refuse_addresses(path)
    # The library takes a relative path such as `json` for the name of one of its own readers.
    return _streamed(str(path.absolute()), split, config, str(path), "check the folder and --name")


def open_hub(address: str, split: str | None, config: str | None) -> Source:
    """Open a data set of the Hub; none of its code is run, and nothing is kept but the library's own cache.

    Raises:
        RedpencilError: if the name is malformed, `datasets` is missing, or cannot open it.
    """
    name = address.removeprefix(HUB).removeprefix("datasets/").strip("/")
    if name.count("/") != 1:
        raise RedpencilError("not the name of a data set", file=address, hint=f"write {HUB}OWNER/NAME")
    hint = "check the name, --name and the network; log in with `hf auth login` where it asks for that"
    # With its prefix, so that the library does not open a folder of that name on this machine instead.
    return _streamed(f"{HUB}datasets/{name}", split, config, address, hint)


def _refuse_addresses(folder: Path) -> None:
    """Refuse a folder whose README names data elsewhere, which the library would fetch."""
    for name, read in (("README.md", import_module("huggingface_hub").metadata_load), (".huggingface.yaml", _yaml)):
        file = folder / name
        with _library_errors(file, "cannot read how it describes the data", "correct or remove it"):
            about = read(file) if file.is_file() else None
        configs = about.get("configs") if isinstance(about, dict) else None
        if "://" in str(configs):
            raise RedpencilError(
                "it names data at another address, and a folder never uses the network",
                file=file,
                field="configs",
                hint=f"name files of the folder there; a data set of the Hub is `{HUB}OWNER/NAME`",
            )


def _yaml(path: Path) -> Any:
    return load_yaml(path.read_text(encoding="utf-8"))


def _saved(path: Path, split: str | None) -> Source:
    datasets = library("datasets", "a saved data set")
    with _library_errors(path, "cannot open the saved data set", "save it again"):
        data = datasets.load_from_disk(str(path))
    unread: tuple[str, ...] = ()
    if isinstance(data, dict):
        chosen, unread = _chosen(data, split, str(path))
        data = data[chosen]
    elif split is not None:
        raise RedpencilError("the saved data set has no splits", file=path, hint="leave --split out")
    return _source(data.to_iterable_dataset(), str(path), len(data), unread)


def _streamed(opened: str, split: str | None, config: str | None, place: str, hint: str) -> Source:
    """Open a split of a data set without reading any rows."""
    datasets = library("datasets", "a data set")
    with _library_errors(place, "cannot open the data set", hint):
        splits: Mapping[str, Any] = datasets.load_dataset(opened, config, streaming=True)
    chosen, unread = _chosen(splits, split, place)
    return _source(splits[chosen], place, unread=unread)


def _chosen(splits: Mapping[str, Any], split: str | None, place: str) -> tuple[str, tuple[str, ...]]:
    """Choose the requested split, else `train` or the only one; returns it with the splits left out by default."""
    chosen = split or ("train" if "train" in splits or len(splits) != 1 else next(iter(splits)))
    if chosen not in splits:
        raise RedpencilError(
            f"no split called {chosen!r}", file=place, hint=f"use --split with one of: {', '.join(splits)}"
        )
    return chosen, () if split else tuple(name for name in splits if name != chosen)


def _source(data: Any, place: str, total: int = 0, unread: tuple[str, ...] = ()) -> Source:
    seen = [0]
    # Pictures and sounds stay undecoded: decoding would fetch those that are addresses.
    plain = data.decode(False) if data.features else data
    return Source(place, _data_set_rows(plain, place, seen), lambda: (seen[0], total), unread)


def _data_set_rows(data: Iterable[Any], file: str, seen: list[int]) -> Rows:
    rows = iter(data)
    while True:
        with _library_errors(file, f"cannot read past row {seen[0]}", "correct the data set"):
            row = next(rows, None)
        if row is None:
            return
        seen[0] += 1
        yield SourceRow(Place(file, seen[0]), dict(row))


def library(module: str, what: str) -> Any:
    """Import a module of the extra `data`, for which there is a hint where it is missing.

    Raises:
        RedpencilError: if it is missing.
    """
    try:
        return import_module(module)
    except ImportError:
        name = module.split(".")[0]
        raise RedpencilError(f"{what} needs {name}", hint="pip install 'redpencil[data]'") from None


@contextmanager
def _library_errors(file: str | Path, problem: str, hint: str) -> Iterator[None]:
    """Turn whatever a library raises, of many classes, into an error that begins with `problem`."""
    try:
        yield
    except Exception as error:
        message = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise RedpencilError(f"{problem} ({message})", file=file, hint=hint) from None
