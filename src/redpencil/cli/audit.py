"""`audit`: what a set of edits is like, in the terminal, as JSON and as a page."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table as RichTable
from rich.text import Text

from redpencil.cli.options import JsonOption, examples
from redpencil.cli.output import check_out_file, console, print_json, say
from redpencil.cli.progress import working
from redpencil.errors import RedpencilError
from redpencil.records import Edit, count_lines, read_jsonl

if TYPE_CHECKING:
    from redpencil.audit.audit import Audit, Example
    from redpencil.report.tables import Cell, Table

DASH: Final = "\N{EN DASH}"
"""What stands in a table where there is no figure."""

app = typer.Typer(rich_markup_mode="rich")


@app.command(
    rich_help_panel="Data",
    epilog=examples(
        "redpencil audit edits.jsonl",
        "redpencil audit first.jsonl second.jsonl --html audit.html",
        "redpencil audit edits.jsonl --json --examples 0 > audit.json",
    ),
)
def audit(
    edits: Annotated[list[Path], typer.Argument(metavar="EDITS...", help="Files of edits, taken together.")],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the audit as a page.")] = None,
    json: JsonOption = False,
    min_kept: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="SHARE", help="Call an edit rewritten that keeps less of the words. Default: 0.25."
        ),
    ] = None,
    shown: Annotated[
        int,
        typer.Option("--examples", min=0, max=100, metavar="N", help="Examples to show of each finding; 0 shows none."),
    ] = 2,
) -> None:
    """Say what edits are like before a model learns from them.

    What they keep, where they change responses, how these grow, which contradict each other, what each editor does.
    """
    from redpencil.audit.audit import audit_edits
    from redpencil.audit.findings import findings
    from redpencil.audit.rules import MIN_KEPT

    for path in edits:
        _check_file(path)
    if html is not None:
        check_out_file(html, *edits)
    limit = MIN_KEPT if min_kept is None else min_kept
    with working("audit") as progress:
        found = audit_edits(
            lambda: _rows(edits), min_kept=limit, examples=shown, total=sum(map(count_lines, edits)), progress=progress
        )
    if html is not None:
        from redpencil.report.audit import write_audit

        write_audit(found, html, [path.name for path in edits])
        say(f"the page: {html}")
    if json:
        print_json({"findings": [asdict(finding) for finding in findings(found)], **asdict(found)})
    else:
        _print(found)


def _check_file(path: Path) -> None:
    """Rows are read twice, so a pipe will not do."""
    if path.exists() and not path.is_file():
        raise RedpencilError("it is no plain file", file=path, hint="write the edits into a file and give that")


def _rows(paths: Sequence[Path]) -> Iterator[Edit]:
    for path in paths:
        yield from read_jsonl(path, Edit)


def _print(found: "Audit") -> None:
    from redpencil.audit.findings import findings
    from redpencil.report.audit import EXAMPLE_TITLES, audit_tables, lead, summary

    said = findings(found)
    console.print(summary(found))
    console.print(lead(said), style="bold")
    for finding in said:
        console.print(Text.assemble(("! ", "bold yellow") if finding.attention else "- ", finding.sentence))
        if finding.attention:
            console.print(Text(f"  {finding.advice}", style="dim"))
    for table in audit_tables(found).values():
        if table is not None and any(map(_says_something, table.rows)):
            console.print()
            console.print(table.caption, style="bold")
            console.print(_table(table), soft_wrap=False)
    for name, title in EXAMPLE_TITLES.items():
        for number, case in enumerate(found.examples.get(name, ())):
            if not number:
                console.print()
                console.print(title, style="bold")
            for example in case:
                _print_example(example)


def _says_something(row: "Sequence[Cell]") -> bool:
    """Whether there is any figure in a row but zeros."""
    return any(cell.text.strip("0.% ") not in ("", DASH) for cell in row[1:])


def _table(table: "Table") -> RichTable:
    shown = RichTable(box=None, pad_edge=False)
    for number, name in enumerate(table.header):
        shown.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in filter(_says_something, table.rows):
        first, *others = row
        name = f"{first.text} ({first.small})" if first.small else first.text
        shown.add_row(Text(name), *(Text(cell.text) for cell in others))
    return shown


def _print_example(example: "Example") -> None:
    from redpencil.alignment.words import diff_words
    from redpencil.report.terminal import redline, redline_plain

    drawn = redline if console.is_terminal else redline_plain
    blocks = diff_words(example.original, example.edited)
    by = f", {example.editor}" if example.editor else ""
    console.print(Text(f"{example.id} ({example.outcome}{by})  {example.prompt}", style="dim"))
    console.print(drawn(example.original, example.edited, blocks))
