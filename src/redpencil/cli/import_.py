"""`import`: the data that people already have, as records."""

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from redpencil.cli.options import JsonOption, examples
from redpencil.cli.output import check_out_file, print_json, say, say_skipped
from redpencil.cli.progress import working
from redpencil.errors import RedpencilError
from redpencil.formats.base import Format, Kind
from redpencil.formats.datasets import HUB, open_source
from redpencil.formats.reading import Imported, Wanted, import_rows
from redpencil.formats.registry import FORMATS, find_format
from redpencil.formats.writing import skipped_file

app = typer.Typer(rich_markup_mode="rich")
PANEL = "Data"


class OnError(enum.StrEnum):
    """What a bad row does."""

    STOP = "stop"
    SKIP = "skip"


DEFAULT = "the first kind is the default, where several are it by the columns the first that fits"


def _kinds(format_: Format) -> str:
    """What rows can be read as, the default first."""
    return ", ".join(dict.fromkeys([*(kind for _, kind in format_.natural), *format_.readers]))


def _about(format_: Format) -> str:
    return f"{format_.name}: {format_.about}. As {_kinds(format_)}."


def _list_formats(wanted: bool) -> None:
    if wanted:
        wide = max(map(len, FORMATS)) + 2
        for format_ in FORMATS.values():
            print(f"{format_.name:<{wide}}{format_.about}\n{'':<{wide}}as {_kinds(format_)}")
        print(f"\n--as KIND: {DEFAULT}.")
        raise typer.Exit


HELP = "\n\n".join(
    (
        "Turn data of other formats into redpencil's JSONL.",
        "SOURCE is JSONL, a JSON array, CSV or TSV (also with gzip), Parquet, a folder that the library datasets "
        f"opens, or {HUB}OWNER/NAME for a data set of the Hugging Face Hub, the only case that uses the network. "
        "Columns that no field holds are kept in meta. Of a pair, --as responses gives the less preferred side. "
        "Rows that give no record are counted, and listed in OUT.skipped.jsonl.",
        f"Formats ({DEFAULT}):",
        *(_about(format_).replace("[", "\\[") for format_ in FORMATS.values()),
    )
)


@app.command(
    "import",
    rich_help_panel=PANEL,
    help=HELP,
    short_help="Turn data of other formats into redpencil's JSONL.",
    epilog=examples(
        "redpencil import pairs.json --format alpaca-farm --as responses --out responses.jsonl",
        "redpencil import feedback.json --format qa-feedback --out edits.jsonl",
        "redpencil import answers.csv --format columns --column prompt=question --column response=answer --out r.jsonl",
        "redpencil import hf://nvidia/HelpSteer3 --name edit --format helpsteer3 --limit 1000 --out edits.jsonl",
    ),
)
def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="File, folder, or data set of the Hub.")],
    format_: Annotated[str, typer.Option("--format", metavar="NAME", help="The format, one of those above.")],
    out: Annotated[Path, typer.Option(metavar="JSONL", help="Where the records go.")],
    as_: Annotated[
        Kind | None, typer.Option("--as", help="What to read the rows as. Default: what the format is made for.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=YOURS", help="The format's column NAME is called YOURS. Repeatable."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="YOURS", help="Leave this column out, as if the rows had none. Repeatable."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Split of a data set. Default: train, or the only one.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Configuration of a data set, for those with several.")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="What a bad row does: stop ends the import, skip goes on and lists the row.")
    ] = OnError.STOP,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after N records; the rows that follow are not read.")
    ] = None,
    as_json: JsonOption = False,
    _list: Annotated[
        bool, typer.Option("--list", callback=_list_formats, is_eager=True, help="List the formats and exit.")
    ] = False,
) -> None:
    """Turn data of other formats into redpencil's JSONL."""
    wanted = Wanted(find_format(format_), as_, _columns(column or ()), frozenset(drop or ()), on_error is OnError.SKIP)
    if not source.strip():
        raise RedpencilError("no source is named", field="SOURCE", hint="name a file, a folder or a data set")
    if not source.startswith(HUB):
        check_out_file(out, Path(source))
        check_out_file(skipped_file(out), Path(source))
        _check_folder(out, Path(source))
    with working("import") as progress, open_source(source, split=split, config=name) as opened:
        done = import_rows(opened, wanted, out, limit=limit, progress=progress)
    _say(done, out)
    if opened.unread:
        say(f"not read: the splits {', '.join(opened.unread)}; name one with --split")
    if as_json:
        print_json(_summary(done, source, format_, out))


def _check_folder(out: Path, source: Path) -> None:
    """Refuse to write into the folder that is read, where the next import would take the records for data."""
    if source.is_dir() and source.resolve() in out.resolve().parents:
        raise RedpencilError("it would lie in the folder that is read", file=out, hint="choose another folder")


def _columns(given: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for each in given:
        name, equals, own = each.partition("=")
        if not (name and equals and own):
            raise RedpencilError(f"cannot read {each!r}", field="--column", hint="write --column prompt=question")
        if name in columns:
            raise RedpencilError(f"{name} is given twice", field="--column", hint="name one column for it")
        columns[name] = own
    return columns


def _say(done: Imported, out: Path) -> None:
    say(f"{done.records:,} {done.kind} in {out}, from {done.rows:,} rows")
    say_skipped({**done.nothing, "bad rows": done.bad})
    if done.skipped_file is not None:
        say(f"each of them is listed in {done.skipped_file}")
    for name in done.undropped:
        advice = "; give one --drop for each column" if "," in name else ""
        say(f"warning: --drop {name}: no row has such a column{advice}")


def _summary(done: Imported, source: str, format_: str, out: Path) -> dict[str, object]:
    return {
        "source": source,
        "format": format_,
        "kind": done.kind,
        "out": str(out),
        "rows": done.rows,
        "records": done.records,
        "nothing": done.nothing,
        "bad": done.bad,
        "undropped": done.undropped,
        "skipped_file": None if done.skipped_file is None else str(done.skipped_file),
    }
