"""`report`: a run folder as a page."""

from pathlib import Path
from typing import Annotated

import typer

from redpencil.cli.options import examples
from redpencil.cli.output import check_out_file, console

app = typer.Typer(rich_markup_mode="rich")


@app.command(
    rich_help_panel="The whole paper",
    epilog=examples("redpencil report runs/quickstart", "redpencil report runs/study --markdown docs/results.md"),
)
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="Folder of a finished run.")],
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the results as Markdown.")] = None,
) -> None:
    """Write report.html into a run folder anew, from its results."""
    from redpencil.report.headline import headline
    from redpencil.report.markdown import write_markdown
    from redpencil.report.run_data import read_run
    from redpencil.report.run_page import write_report

    if markdown is not None:
        check_out_file(markdown, run_folder / "results.json")
    page = write_report(run_folder)
    console.print(headline(read_run(run_folder)).lead)
    console.print(f"report:   {page}")
    if markdown is not None:
        console.print(f"markdown: {write_markdown(run_folder, markdown)}")
