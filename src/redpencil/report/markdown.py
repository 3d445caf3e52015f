"""The results of a run as a Markdown page, such as `docs/results.md`."""

import re
from collections.abc import Iterable
from pathlib import Path

from redpencil.files import whole_file
from redpencil.report import tables
from redpencil.report.headline import absences, headline, limits
from redpencil.report.run_data import Run, read_run
from redpencil.report.run_page import provenance
from redpencil.report.tables import Cell, Table


def write_markdown(run_folder: Path, out: Path) -> Path:
    """Write the results of a run folder, of one seed or of several, as Markdown to `out`; returns `out`.

    Raises:
        RedpencilError: if the folder has no results.json, or a file in it does not fit.
    """
    text = render_markdown(read_run(run_folder), out.name)
    with whole_file(out) as file:
        file.write(text.encode("utf-8"))
    return out


def render_markdown(run: Run, name: str = "results.md") -> str:
    """Write the page as text; `name` is the file that the command at its foot writes."""
    summary = headline(run)
    parts = [f"# Results: {escaped(run.name)}", f"**{escaped(summary.lead)}**"]
    parts.append(bullets(f"{point.topic}: {point.text}" for point in summary.points))
    for title, make in tables.OF_RUN.values():
        table = make(run)
        if table is not None:
            parts += [f"## {title}", *table_lines(table)]
    if run.diagnostics:
        parts += ["## Diagnostics", bullets(row.sentence for row in run.diagnostics)]
    parts += ["## Limits", bullets([*limits(run), *absences(run)])]
    parts += ["## How it was made", bullets(f"{key}: {text}" for key, text in provenance(run))]
    parts.append(f"```\n{_commands(run, name)}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def bullets(texts: Iterable[str]) -> str:
    """Write a list, one text a line."""
    return "\n".join(f"- {escaped(text)}" for text in texts)


def table_lines(table: Table) -> list[str]:
    """Write caption, table and notes as blocks of a Markdown page."""
    aligned = ["---", *["---:"] * (len(table.header) - 1)]
    lines = [_row([escaped(text) for text in table.header]), _row(aligned)]
    lines += [_row([_cell(cell) for cell in row]) for row in table.rows]
    return [f"{escaped(table.caption)}.", "\n".join(lines), " ".join(escaped(note) for note in table.notes)]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    text = escaped(cell.text)
    if cell.kind in ("own", "total"):
        text = f"**{text}**"
    return f"{text} ({escaped(cell.small)})" if cell.small else text


def escaped(text: str) -> str:
    """Escape a text so that Markdown shows it as it is, on one line."""
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", " ".join(text.split()))


def _commands(run: Run, name: str) -> str:
    """Write the commands that make the run and the page again, without the paths of the machine."""
    words = str(run.environment.get("command") or "").split()
    run_command = " ".join(re.sub(r"^(.*=)?/.*/", r"\1", word) for word in words)
    report = f"redpencil report runs/{run.folder} --markdown {name if name != 'results.md' else 'docs/results.md'}"
    return f"{run_command}\n{report}" if run_command else report
