"""The results of ablations as tables for the terminal, as a Markdown page and as an HTML page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from redpencil.files import whole_file
from redpencil.report.markdown import bullets, escaped, table_lines
from redpencil.report.markup import interval_text, plain, points_interval, signed
from redpencil.report.run_page import machine_rows, render_page
from redpencil.report.tables import Cell, Table, spread_text
from redpencil.results import AblationResults, Measure, Variant

POLICY: Final = {
    "win_rate": ("Win rate, %", 1),
    "mean_length": ("Mean length, words", 1),
    "kl": ("KL to start, nats", 2),
}
ANSWERS: Final = {
    "gleu": ("GLEU", 1),
    "needed_accepted": ("Accepted as they are, %", 1),
    "needed_edits": ("Edits in 100 words", 1),
    "needed_words": ("Words changed in 100", 1),
}
REWARD: Final = {
    "accuracy_edits": ("Accuracy on edits, %", 1),
    "accuracy_comparisons": ("On preferences, %", 1),
    "accuracy_comparisons_clean": ("On clean preferences, %", 1),
    "auroc": ("AUROC: flawed tokens", 3),
    "values_auroc": ("wrong words in the same place", 3),
    "eos_missing_auroc": ("last token, something missing", 3),
    "edited_auroc": ("edited tokens", 3),
}
_SHARES: Final = re.compile(r"win_rate|accuracy_|gleu|needed_accepted")
_ENTRY: Final = re.compile(r"^(?:reward_models|arms)\.[^.]+\.(?=.*\.)")
"""The start of a key of an arm or a reward model, which the page leaves out."""


@dataclass(frozen=True, slots=True)
class Group:
    """The tables of one group: of its policies, what their answers still need, and their reward models, as far as these
    are known.
    """

    name: str
    findings: tuple[str, ...]
    policies: Table
    answers: Table | None
    rewards: Table | None

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(table for table in (self.policies, self.answers, self.rewards) if table is not None)


def groups(results: AblationResults) -> list[Group]:
    """The tables of each group."""
    return [
        Group(
            *(name, _findings(rows), _policies(name, rows)),
            _marked(f"{name}: what its answers still need", rows, ANSWERS),
            _marked(f"{name}: its reward model", rows, REWARD),
        )
        for name, rows in results.groups.items()
    ]


def lead(results: AblationResults) -> str:
    """Say in a sentence or two what was compared."""
    count = sum(len(group) for group in results.groups.values())
    seeds = f"seed{'s' if len(results.seeds) > 1 else ''} {', '.join(map(str, results.seeds))}"
    interval = interval_text(results.sft)
    return (
        f"{count} variants in {len(results.groups)} group{'s' if len(results.groups) > 1 else ''}, "
        f"{seeds}. Policy: {results.arm}. The SFT policy wins "
        f"{plain(results.sft.value)} %{f' ({interval})' if interval else ''}."
    )


def notes(results: AblationResults) -> list[str]:
    """Explain how to read the tables."""
    compared = sum(row.compared_with is not None for group in results.groups.values() for row in group.values())
    spread = spread_text(len(results.seeds), "prompts or pairs")
    return [
        "Win rate: share of prompts on which the judge prefers the policy to the reference; a tie counts one half.",
        f"Differences are from the group's first variant, paired over seeds and prompts. {spread} A marked difference "
        f"has an interval without 0. Of {compared} comparisons about one in twenty is marked by chance.",
        "What an editor still changes in the answers: the share that stands as it is, and places and words to change "
        "in 100 words. KL: to the policy from which the arm's training started.",
        "Accuracy on edits and AUROC of edited tokens are measured on a variant's own held-out edits, so they do not "
        "compare where edits or their alignment differ. Accuracy on clean preferences (no label noise) does.",
        "AUROC: the chance that such a token gets a lower reward than a different one; .5 is guessing.",
        "Diagnostics: the number of runs in which each was raised; advice is in each run's report.",
    ]


def _findings(rows: Mapping[str, Variant]) -> tuple[str, ...]:
    """Name the differences in win rate whose interval does not cover 0, or say that there are none."""
    gaps = {name: gap for name, row in rows.items() if (gap := row.differences.get("win_rate")) is not None}
    clear = tuple(
        f"{name} against {rows[name].compared_with}: {signed(gap.value)} points ({points_interval(gap)})."
        for name, gap in gaps.items()
        if not gap.covers_zero
    )
    return clear or (f"No difference in win rate from {next(iter(rows))!r} is clear of 0.",)


def _policies(group: str, rows: Mapping[str, Variant]) -> Table:
    names = [name for name in POLICY if any(name in row.measures for row in rows.values())]
    body = []
    for name, row in rows.items():
        gap = row.differences.get("win_rate")
        difference = None if gap is None else Cell(signed(gap.value), points_interval(gap), _mark(gap))
        rate, *others = _cells(row, names, POLICY)
        body.append((_name(name, row), rate, difference, *others, _diagnostics(row)))
    rate_title, *titles = (POLICY[name][0] for name in names)
    return Table.of(f"{group}: the policy", ("Variant", rate_title, "Difference, points", *titles, "Diagnostics"), body)


def _marked(title: str, rows: Mapping[str, Variant], titles: Mapping[str, tuple[str, int]]) -> Table | None:
    """The measures of `titles` that are known; those that differ clearly from the first variant's are marked."""
    names = [name for name in titles if any(name in row.measures for row in rows.values())]
    if "accuracy_comparisons_clean" in names:
        names.remove("accuracy_comparisons")
    if not names:
        return None
    body = [(_name(name, row, keys=False), *_cells(row, names, titles)) for name, row in rows.items()]
    return Table.of(title, ("Variant", *(titles[name][0] for name in names)), body)


def _cells(row: Variant, names: list[str], titles: Mapping[str, tuple[str, int]]) -> list[Cell | None]:
    cells: list[Cell | None] = []
    for name in names:
        whole = 100.0 if _SHARES.match(name) else 1.0 if name.endswith("auroc") else None
        measure, digits = row.measures.get(name), titles[name][1]
        kind = _mark(row.differences.get(name)) if titles is not POLICY else ""
        if measure is None:
            cells.append(None)
        else:
            cells.append(Cell(plain(measure.value, digits), interval_text(measure, digits, whole), kind))
    return cells


def _name(name: str, row: Variant, *, keys: bool = True) -> Cell:
    """A variant, with the keys that it sets, or the variant that it is the same as."""
    same = row.same_as
    about = [f"the same runs as {same}" if same != "base" else "the base"] if same else []
    if keys:
        texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in row.keys.items()}
        about += [f"{_ENTRY.sub('', key)}={text}" for key, text in texts.items()]
    return Cell(name, ", ".join(about))


def _mark(gap: Measure | None) -> str:
    return "" if gap is None or gap.covers_zero else "own"


def _diagnostics(row: Variant) -> str | None:
    return ", ".join(f"{name.replace('_', ' ')} {len(seeds)}" for name, seeds in row.diagnostics.items()) or None


def render_markdown(results: AblationResults, command: str) -> str:
    """Write the page as Markdown; `command` is the command that makes it."""
    parts = [f"# Ablations: {escaped(results.name)}", f"**{escaped(lead(results))}**"]
    parts.append(bullets(notes(results)))
    for group in groups(results):
        parts.append(f"## {escaped(group.name[:1].upper() + group.name[1:])}")
        parts.append(" ".join(escaped(finding) for finding in group.findings))
        for table in group.tables:
            parts += table_lines(table)
    parts += ["## Each seed", *table_lines(seeds(results))]
    parts += ["## How it was made", bullets(f"{key}: {text}" for key, text in machine_rows(results.environment))]
    parts.append(f"```\n{command}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def seeds(results: AblationResults) -> Table:
    """The win rate of every variant in every seed."""
    rows = [
        (f"{group}: {name}", *map(plain, row.measures["win_rate"].per_seed))
        for group, variants in results.groups.items()
        for name, row in variants.items()
    ]
    return Table.of("Win rate of each seed, in percent", ("Variant", *(f"seed {n}" for n in results.seeds)), rows)


def write_markdown(results: AblationResults, out: Path, command: str) -> None:
    """Write the Markdown page."""
    with whole_file(out) as file:
        file.write(render_markdown(results, command).encode("utf-8"))


def render_html(results: AblationResults) -> str:
    """Write the page as HTML in one file, which loads nothing from anywhere."""
    return render_page(
        "ablations.html.j2",
        ("report.css",),
        name=results.name,
        lead=lead(results),
        notes=notes(results),
        groups=groups(results),
        seeds=seeds(results),
        provenance=machine_rows(results.environment),
    )


def write_html(results: AblationResults, out: Path) -> None:
    """Write the HTML page."""
    with whole_file(out) as file:
        file.write(render_html(results).encode("utf-8"))
