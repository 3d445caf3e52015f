"""`import` and `export`: data of other formats as records, and records in formats that other tools read."""

import enum
from collections.abc import Sequence
from dataclasses import asdict, fields
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from redpencil.alignment.spacing import respaced_note
from redpencil.cli.options import NORMALISE_HELP, JsonOption, examples, option
from redpencil.cli.output import check_out_file, print_json, say, say_skipped, watched, working
from redpencil.config.training import AlignConfig
from redpencil.errors import RedpencilError, naming
from redpencil.formats.base import RECORDS, Format, Kind
from redpencil.formats.datasets import HUB, Dialect, open_source
from redpencil.formats.figa import Weights, load_cutter
from redpencil.formats.labels import label_key
from redpencil.formats.prompt_template import check_template
from redpencil.formats.reading import Imported, Wanted, guess_source, import_rows
from redpencil.formats.registry import FORMATS, find_format
from redpencil.formats.streams import ENCODINGS
from redpencil.formats.text_files import Quoting
from redpencil.formats.writing import Format as ExportFormat
from redpencil.formats.writing import check_format, export, skipped_file
from redpencil.records import Pair, Preference

app = typer.Typer()


class OnError(enum.StrEnum):
    """Treatment of a bad row."""

    STOP = "stop"
    SKIP = "skip"


DEFAULT: Final = "the first kind is the default; of several that the columns allow, the first that fits"


def _kinds(format_: Format) -> str:
    """List the kinds of record that rows can be read as, the default first."""
    return ", ".join(dict.fromkeys([*(kind for _, kind in format_.natural), *format_.readers]))


def _about(format_: Format) -> str:
    return f"{format_.name}: {format_.about}. As {_kinds(format_)}."


def _list_formats(asked: bool) -> None:
    if asked:
        wide = max(map(len, FORMATS)) + 2
        for format_ in FORMATS.values():
            print(f"{format_.name:<{wide}}{format_.about}\n{'':<{wide}}as {_kinds(format_)}")
        print(f"\n--as KIND: {DEFAULT}.")
        raise typer.Exit


HELP = "\n\n".join(
    (
        "Turn data of other formats into redpencil's JSONL.",
        "SOURCE is JSONL, a JSON array, CSV or TSV (also with gzip, xz, bzip2 or zstd), Parquet, a folder that the "
        "library datasets can "
        f"open, or {HUB}OWNER/NAME for a data set of the Hugging Face Hub, the only case that uses the network. "
        "Columns without a field of their own are kept in meta. --as responses takes the less preferred side of a "
        "pair. Rows that give no record are counted, and listed in OUT.skipped.jsonl.",
        f"Formats ({DEFAULT}):",
        *(_about(format_).replace("[", "\\[") for format_ in FORMATS.values()),
    )
)


@app.command(
    "import",
    help=HELP,
    short_help="Turn data of other formats into redpencil's JSONL.",
    epilog=examples(
        "redpencil import pairs.json --format alpaca-farm --as responses --out responses.jsonl",
        "redpencil import feedback.json --format qa-feedback --out edits.jsonl",
        "redpencil import feedback.json --prompt-template '{passages}\\n\\n{question}' --out edits.jsonl",
        "redpencil import answers.csv --format columns --column prompt=question --column response=answer --out r.jsonl",
        "redpencil import hf://nvidia/HelpSteer3 --name edit --format helpsteer3 --limit 1000 --out edits.jsonl",
    ),
)
def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="File, folder, or data set of the Hub.")],
    out: Annotated[Path, option("JSONL", "Where the records go.")],
    format_: Annotated[
        str | None,
        option(
            "NAME", "The format, one of those above. Default: what the first row fits, if that is clear.", "--format"
        ),
    ] = None,
    as_: Annotated[
        Kind | None,
        typer.Option("--as", help="Kind of record to read the rows as. Default: the first that the format lists."),
    ] = None,
    column: Annotated[
        list[str] | None, option("NAME=YOURS", "The format's column NAME is called YOURS. Repeatable.")
    ] = None,
    value: Annotated[
        list[str] | None,
        option(
            "LABEL=MEANING",
            "The label LABEL of a preference means first, second, tie or none (no preference). Repeatable.",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None, option("YOURS", "Ignore this column, as if the rows had none. Repeatable.")
    ] = None,
    prompt_template: Annotated[
        str | None,
        option(
            "TEXT",
            "Make prompts of columns, as in '{passages}\\n\\n{question}'; {prompt} is what the format takes. Texts in "
            "a list get a line each, lists in a list a paragraph each.",
        ),
    ] = None,
    split: Annotated[str | None, option("NAME", "Split of a data set. Default: train, or the only one.")] = None,
    name: Annotated[str | None, option("NAME", "Configuration of a data set, for those with several.")] = None,
    encoding: Annotated[
        str | None,
        option("NAME", f"Encoding of a text file, {ENCODINGS}. Default: UTF-8, or what its first bytes say."),
    ] = None,
    quoting: Annotated[
        Quoting | None,
        typer.Option(
            help="Quotation marks in a table: standard doubles them inside a quoted field, backslash escapes them, "
            "none takes them as part of the texts. Default: what fits all rows."
        ),
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="On a bad row: stop ends the import, skip lists the row and continues.")
    ] = OnError.STOP,
    limit: Annotated[int | None, option("N", "Stop after N records; later rows are not read.", min=1)] = None,
    keep_spacing: Annotated[
        bool,
        typer.Option("--keep-spacing", help=f"Turn off: {AlignConfig.model_fields['restore_spacing'].description}"),
    ] = False,
    normalise_spacing: Annotated[bool, typer.Option("--normalise-spacing", help=NORMALISE_HELP)] = False,
    as_json: JsonOption = False,
    _list: Annotated[
        bool, typer.Option("--list", callback=_list_formats, is_eager=True, help="List the formats and exit.")
    ] = False,
) -> None:
    """Turn data of other formats into redpencil's JSONL."""
    if keep_spacing and normalise_spacing:
        raise typer.BadParameter("give --keep-spacing or --normalise-spacing")
    named = None if format_ is None else find_format(format_)
    columns, dropped, values = _columns(column or ()), frozenset(drop or ()), _values(value or ())
    template = None if prompt_template is None else check_template(prompt_template)
    _check_paths(source, out)
    with (
        working("import") as progress,
        open_source(source, split=split, config=name, dialect=Dialect(encoding, quoting)) as opened,
    ):
        chosen, opened_again = (named, opened) if named else guess_source(opened, as_, columns, dropped)
        request = Wanted(
            chosen,
            as_,
            columns,
            dropped,
            on_error_skip=on_error is OnError.SKIP,
            values=values,
            restore_spacing=not keep_spacing,
            normalise_spacing=normalise_spacing,
            prompt_template=template,
        )
        done = import_rows(opened_again, request, out, limit=limit, progress=progress)
    if named is None:
        say(f"taken for the format {chosen.name}; --format names another")
    _say_imported(done, out)
    if opened.notes:
        say(f"the source was read as: {'; '.join(opened.notes)}")
    if opened.unread:
        say(f"not read: the splits {', '.join(opened.unread)}; name one with --split")
    if as_json:
        about = {"source": source, "format": chosen.name, "out": str(out)}
        print_json({**about, **asdict(done), "skipped_file": _name(done.skipped_file)})


def _check_paths(source: str, out: Path) -> None:
    """Refuse a source without a name, files that cannot be written, and to write into the folder that is read: the next
    import would read the records as data.
    """
    if not source.strip():
        raise RedpencilError("no source is named", field="SOURCE", hint="name a file, a folder or a data set")
    if source.startswith(HUB):
        return
    path = Path(source)
    check_out_file(out, path)
    check_out_file(skipped_file(out), path)
    if path.is_dir() and path.resolve() in out.resolve().parents:
        raise RedpencilError("it is in the folder that is read", file=out, hint="choose another folder")


def _columns(options: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for text in options:
        name, equals, own = text.partition("=")
        if not (name and equals and own):
            raise RedpencilError(f"cannot read {text!r}", field="--column", hint="write --column prompt=question")
        if name in columns:
            raise RedpencilError(f"{name} is given twice", field="--column", hint="name one column for it")
        columns[name] = own
    return columns


def _values(options: Sequence[str]) -> dict[str, Preference]:
    meanings: dict[str, Preference] = {}
    for text in options:
        label, equals, meaning = text.rpartition("=")
        if not equals or meaning.strip().lower() not in list(Preference):
            raise RedpencilError(
                f"cannot read {text!r}",
                field="--value",
                hint=f"write --value 0=first, with one of {', '.join(Preference)}",
            )
        if label_key(label) in meanings:
            raise RedpencilError(f"{label} is given twice", field="--value", hint="give one meaning for each label")
        meanings[label_key(label)] = Preference(meaning.strip().lower())
    return meanings


def _say_imported(done: Imported, out: Path) -> None:
    say(f"{done.records:,} {done.kind} in {out}, from {done.rows:,} rows")
    if any(label != meaning for label, meaning in done.labels.items()):
        say(f"labels read as: {', '.join(f'{label} = {meaning}' for label, meaning in done.labels.items())}")
    say_skipped({**done.nothing, "bad rows": done.bad})
    nothing_else = f"; {done.emptied:,} of them changed nothing else" if done.emptied else ""
    if done.normalised:
        say(f"{done.normalised:,} {done.kind} got plain white space{'' if done.respaced else nothing_else}")
    if done.respaced:
        say(f"{respaced_note(done.respaced)} (--keep-spacing leaves it){nothing_else}")
    if done.skipped_file is not None:
        say(f"each of them is listed in {done.skipped_file}")
    for name in done.undropped:
        advice = "; give one --drop for each column" if "," in name else ""
        say(f"warning: --drop {name}: no row has such a column{advice}")


class RowKind(enum.StrEnum):
    """Kind of the rows to export."""

    EDITS = "edits"
    COMPARISONS = "comparisons"
    RESPONSES = "responses"
    PROMPTS = "prompts"
    EXAMPLES = "examples"
    PAIRS = "pairs"


@app.command(
    "export",
    epilog=examples(
        "redpencil export edits.jsonl --format trl --out preferences.jsonl",
        "redpencil export edits.jsonl --format figa --tokenizer runs/q/sft/checkpoint --out figa.jsonl",
        "redpencil export comparisons.jsonl --kind comparisons --format parquet --out comparisons.parquet",
    ),
)
def export_command(
    rows: Annotated[Path, typer.Argument(metavar="JSONL", help="Rows that redpencil wrote, such as edits.jsonl.")],
    format_: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="redpencil: redpencil's JSONL. trl, trl-conversational: preference rows for TRL, as texts or as "
            "messages; an edited text is chosen, its original rejected. figa: a weight for each token. parquet: one "
            "column for each field.",
        ),
    ],
    out: Annotated[Path, option("FILE", "Where the rows go.")],
    kind: Annotated[RowKind, typer.Option(help="Kind of the rows.")] = RowKind.EDITS,
    tokenizer: Annotated[
        Path | None, option("FOLDER", "figa: checkpoint whose tokenizer is used. Default: words.")
    ] = None,
    template: Annotated[
        str | None, option("TEXT", "figa: text around a prompt, with {prompt} in it, for its token ids.")
    ] = None,
    weights: Annotated[
        str | None,
        option(
            "NAME=NUMBER,...",
            "figa: weights of the tokens that an edit put in (alpha), took out (minus beta) and kept. "
            "Default: alpha=1,beta=0.5,kept=0.",
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Write rows in a format that other tools read.

    Rows that the format cannot hold are counted, and listed in OUT.skipped.jsonl.
    """
    if format_ is not ExportFormat.FIGA and (tokenizer, template, weights) != (None, None, None):
        raise typer.BadParameter("--tokenizer, --template and --weights go with --format figa")
    if template is not None and tokenizer is None:
        raise typer.BadParameter("--template needs --tokenizer")
    weights_of = None if weights is None else _weights(weights)
    record: type[Any] = Pair if kind is RowKind.PAIRS else RECORDS[Kind(kind)]
    check_format(format_, record)
    check_out_file(out, rows)
    check_out_file(skipped_file(out), rows)
    cutter = None if tokenizer is None else load_cutter(tokenizer, template or "{prompt}")
    with working("export") as progress, naming(rows):
        done = export(watched(rows, record, progress), record, format_, out, weights=weights_of, cutter=cutter)
    say(f"{done.rows:,} {kind} in {out}")
    if done.skipped_file is not None:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in done.skipped.items())
        say(f"not in it: {reasons}; listed in {done.skipped_file}")
    if json_:
        skipped = {"skipped": dict(done.skipped), "skipped_file": _name(done.skipped_file)}
        print_json({"format": str(format_), "kind": str(kind), "out": str(out), "rows": done.rows, **skipped})


def _name(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _weights(text: str) -> Weights:
    names = [f.name for f in fields(Weights)]
    numbers: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if name.strip() not in names:
            raise typer.BadParameter(f"--weights has no {name.strip()!r}; it has {', '.join(names)}")
        try:
            numbers[name.strip()] = float(number)
        except ValueError:
            raise typer.BadParameter(f"--weights: {number!r} is not a number") from None
        if not isfinite(numbers[name.strip()]):
            raise typer.BadParameter(f"--weights: {number} is not finite")
    return Weights(**numbers)
