"""Write the table of all ways from edits to a policy into docs/results.md, from the results of finished runs.

What a run lacks is left out; the text around the table stays as it is.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from redpencil.errors import RedpencilError
from redpencil.files import whole_file
from redpencil.report.markdown import table_lines
from redpencil.report.markup import interval_text, plain
from redpencil.report.run_data import Run, read_run
from redpencil.report.tables import Cell, Table
from redpencil.results import Figure

BEGIN: Final = "<!-- table: `make results-page` -->"
END: Final = "<!-- /table -->"


class Way(NamedTuple):
    """A row: what it is called, how many lots of edits it learns from, and its arm in each run."""

    title: str
    lots: str
    arm: str


WAYS: Final = (
    Way("Before: SFT", "0", "sft"),
    Way("Text left as it is", "0", "source"),
    Way("PPO, a reward from preferences (the paper's PPO-RLHF)", "0", "preference"),
    Way("PPO, a reward from edits for a response", "1", "edits"),
    Way("PPO, a reward from edits for each token (the paper's way)", "1", "token"),
    Way("GRPO, token rewards", "1", "grpo"),
    Way("PPO, increments of the reward for a response (RED)", "1", "red"),
    Way("PPO, DPO's policy as the reward (RTO)", "1", "rto"),
    Way("Best of 16, the reward for a response", "1", "best_of_n_sequence"),
    Way("Best of 16, token rewards", "1", "best_of_n_token"),
    Way("DPO on preferences", "0", "dpo_comparisons"),
    Way("DPO on edits", "1", "dpo_edits"),
    Way("DPO on single changes", "1", "dpo_hunks"),
    Way("APO-zero on edits", "1", "apo_zero"),
    Way("APO-down on edits", "1", "apo_down"),
    Way("Self-distillation with the edit in view", "1", "distill"),
    Way("Fine-tuning on the edited texts", "1", "sft_on_edits"),
    Way("FIGA on edits", "1", "figa"),
    Way("FIGA on single changes", "1", "figa_hunks"),
    Way("FIGA, then token PPO", "1", "figa_ppo"),
    Way("FIGA, then token GRPO", "1", "figa_grpo"),
    Way("FIGA, then APO-zero", "1", "figa_apo"),
    Way("FIGA, then FIGA on own answers", "2", "own_figa"),
    Way("FIGA, then DPO on own answers", "2", "own_dpo"),
    Way("FIGA, then APO-zero on own answers", "2", "own_apo"),
    Way("FIGA, then token PPO, model refreshed on own answers", "2", "own_ppo"),
    Way("FIGA, then token GRPO, model refreshed on own answers", "2", "own_grpo"),
)


def amount(figure: Figure | None) -> Cell | None:
    """Write a figure with its interval."""
    return None if figure is None else Cell(plain(figure.value), interval_text(figure, 1, None))


def repeated(run: Run, arm: str) -> str | None:
    """Sentences that repeat another, in 100 responses."""
    flaws = run.flaws.get(arm)
    return None if flaws is None or "repeated" not in flaws else plain(flaws["repeated"])


def table(runs: Mapping[str, Run]) -> Table:
    """Make the table of the runs that there are."""
    world, summaries, jfleg = (runs.get(name) for name in ("methods", "summaries", "jfleg"))
    columns = ["Way", "Lots of edits"]
    columns += ["World: win rate, %", "accepted as they are, %", "words changed in 100", "repeated"] if world else []
    columns += ["Summaries: win rate, %"] if summaries else []
    columns += ["JFLEG: GLEU", "words changed in 100"] if jfleg else []
    rows: list[list[Cell | str | None]] = []
    for title, lots, arm in WAYS:
        cells: list[Cell | str | None] = []
        if world:
            rate, needs = world.win_rates.get(arm), world.needs.get(arm, {})
            cells += [amount(rate.share if rate else None), amount(needs.get("accepted")), amount(needs.get("words"))]
            cells.append(repeated(world, arm))
        if summaries:
            rate = summaries.win_rates.get(arm)
            cells.append(amount(rate.share if rate else None))
        if jfleg:
            cells += [amount(jfleg.gleu.get(arm)), amount(jfleg.needs.get(arm, {}).get("words"))]
        if any(cell is not None for cell in cells):
            rows.append([title, lots, *cells])
    seeds = ", ".join(f"{name} {len(run.seeds)}" for name, run in runs.items())
    note = f"Means and 95 % t-intervals over seeds ({seeds}). Repeated: sentences in 100 responses."
    return Table.of("Every way on the same edits", columns, rows, [note])


def main() -> None:
    """Put the table between the marks of the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"))
    chosen = parser.parse_args()
    names = [name for name in ("methods", "summaries", "jfleg") if (chosen.runs / name / "results.json").is_file()]
    if not names:
        raise RedpencilError("no finished run to report", file=chosen.runs, hint="`make methods` makes the first")
    made = "\n\n".join(table_lines(table({name: read_run(chosen.runs / name) for name in names})))
    text = chosen.page.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    with whole_file(chosen.page) as file:
        file.write(f"{before}{BEGIN}\n{made}\n{END}{after}".encode())


if __name__ == "__main__":
    main()
