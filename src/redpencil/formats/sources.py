"""Where rows come from: files of text and tables, saved data sets and the Hub, all as one stream with places.

JSONL, a JSON array, CSV, TSV     also compressed with gzip; told by what the file holds, CSV and TSV by their name
Parquet                           a file
a folder                          saved by the library `datasets`, or of files that `datasets.load_dataset` opens;
                                  one whose README names files elsewhere is refused
hf://OWNER/NAME                   a data set of the Hugging Face Hub; nothing else ever uses the network
"""

import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from redpencil.errors import RedpencilError
from redpencil.formats import arrays, lines, tables
from redpencil.formats.places import Source
from redpencil.formats.tables import HUB

_GZIP: Final = b"\x1f\x8b"
_PARQUET: Final = b"PAR1"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
_HEAD: Final = 1 << 16


@contextmanager
def open_source(given: str, *, split: str | None = None, config: str | None = None) -> Iterator[Source]:
    """Open a file, a folder or a data set of the Hub for as long as the block lasts.

    Args:
        given: a path, or `hf://OWNER/NAME`.
        split: the split of a data set; None takes `train`, or the only one.
        config: the configuration of a data set.

    Raises:
        RedpencilError: if it does not exist or cannot be read. A row that cannot be read comes as one with an error.
    """
    with ExitStack() as held:
        source = _opened(given, split, config, held)
        held.callback(source.rows.close)
        yield source


def _opened(given: str, split: str | None, config: str | None, held: ExitStack) -> Source:
    if given.startswith(HUB):
        return tables.open_hub(given, split, config)
    path = Path(given)
    if not path.exists():
        raise RedpencilError(
            "no such file or folder",
            file=given,
            way_out=f"check the path; a data set of the Hub is `{HUB}OWNER/NAME`",
        )
    if path.is_dir():
        return tables.open_folder(path, split, config)
    if not path.is_file():
        raise RedpencilError(
            "it is no plain file", file=path, way_out="write the rows into a file and give that; a pipe will not do"
        )
    if split is not None or config is not None:
        raise RedpencilError(
            "a single file has no splits or configurations", file=path, way_out="leave --split and --name out"
        )
    try:
        raw = held.enter_context(path.open("rb"))
    except OSError as error:
        raise RedpencilError(f"cannot read it ({error.strerror})", file=path, way_out="give a readable file") from None
    magic = raw.read(4)
    raw.seek(0)
    return held.enter_context(tables.open_parquet(path)) if magic == _PARQUET else _text(path, raw, magic[:2] == _GZIP)


def _text(path: Path, raw: BinaryIO, zipped: bool) -> Source:
    stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
    suffixes = [suffix.lower() for suffix in path.suffixes if not zipped or suffix.lower() != ".gz"]
    delimiter = _DELIMITERS.get(suffixes[-1]) if suffixes else None
    if delimiter is not None:
        rows = lines.csv_rows(stream, path, delimiter)
    else:
        head = lines.first_bytes(stream, path, _HEAD).removeprefix(_BYTE_ORDER_MARK).lstrip()
        rows = (arrays.array_rows if head[:1] == b"[" else lines.json_rows)(stream, path)
    total = max(1, path.stat().st_size // 1000)
    return Source(
        path.name.split(".")[0] or path.name, str(path), rows, lambda: (min(raw.tell() // 1000, total), total)
    )
