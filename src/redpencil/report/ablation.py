"""What ablations found: tables for the terminal, a Markdown page and an HTML page, from `ablations.json`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

import redpencil
from redpencil.files import whole_file
from redpencil.report.markdown import escaped, table_lines
from redpencil.report.run_data import Estimate, estimate, mapping, plain, points_interval, signed
from redpencil.report.run_page import TEMPLATES, template
from redpencil.report.tables import ABSENT, Cell, Table

POLICY: Final = {"win_rate": ("Win rate, %", 1), "mean_length": ("Mean length, words", 1), "kl": ("KL to SFT, nats", 2)}
REWARD: Final = {
    "accuracy_edits": ("Accuracy on edits, %", 1),
    "accuracy_comparisons": ("On preferences, %", 1),
    "accuracy_comparisons_clean": ("On clean preferences, %", 1),
    "auroc": ("AUROC: flawed tokens", 3),
    "values_auroc": ("wrong words of one slot", 3),
    "eos_missing_auroc": ("last token, something missing", 3),
    "edited_auroc": ("edited tokens", 3),
}
_SHARES: Final = re.compile(r"win_rate|accuracy_")
_ENTRY: Final = re.compile(r"^(?:reward_models|arms)\.[^.]+\.(?=.*\.)")
"""The start of a key of an arm or a reward model; there is one of each."""


@dataclass(frozen=True, slots=True)
class Group:
    """The tables of one group: of its policies, and of their reward models where the arm has one."""

    name: str
    findings: tuple[str, ...]
    policies: Table
    rewards: Table | None

    @property
    def tables(self) -> tuple[Table, ...]:
        """Those that there are."""
        return (self.policies,) if self.rewards is None else (self.policies, self.rewards)


def groups(results: Mapping[str, Any]) -> list[Group]:
    """The tables of each group of `ablations.json`."""
    return [
        Group(name, _findings(rows), _policies(name, rows), _rewards(name, rows))
        for name, rows in results["groups"].items()
    ]


def lead(results: Mapping[str, Any]) -> str:
    """What was compared, in a sentence or two."""
    rows = [row for group in results["groups"].values() for row in group.values()]
    several = len(results["seeds"]) > 1
    seeds = ", ".join(str(seed) for seed in results["seeds"])
    text = (
        f"{len(rows)} variants in {len(results['groups'])} group{'s' if len(results['groups']) > 1 else ''}, "
        f"{'seeds' if several else 'seed'} {seeds}. Arm: {results['arm']}."
    )
    before = estimate(results["sft"], "sft")
    if before is not None:
        text += f" The SFT policy, where they start, wins {_value(before, 1)} %{_in_brackets(before, 1)}."
    return text


def notes(results: Mapping[str, Any]) -> list[str]:
    """How to read the tables."""
    several = len(results["seeds"]) > 1
    compared = sum(row["compared_with"] is not None for group in results["groups"].values() for row in group.values())
    spread = (
        f"Intervals are 95 % t-intervals of the mean over {len(results['seeds'])} seeds."
        if several
        else "Intervals are 95 % and over prompts or pairs only: one seed says nothing of the spread between seeds."
    )
    return [
        "Win rate: share of prompts on which the judge prefers the policy to the reference; a draw counts one half.",
        f"Differences are from the group's first variant, paired over seeds and prompts. {spread} A marked difference "
        f"has an interval without 0. Of {compared} comparisons about one in twenty is marked by chance.",
        "Accuracy on edits and AUROC of edited tokens are measured on a variant's own held-out edits, so they do not "
        "compare where edits or their alignment differ. Accuracy on clean preferences (no label noise) does.",
        "AUROC: the chance that such a token gets a lower reward than another; .5 is guessing.",
        "Alarms: how often each went off among the runs; what to do about them is in each run's report.",
    ]


def _findings(rows: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The differences in win rate that are told from 0, or that there are none."""
    told = []
    for name, row in rows.items():
        gap = estimate(row["differences"].get("win_rate"), "win_rate", whole=None)
        if gap is not None and not gap.covers_zero:
            told.append(f"{name} against {row['compared_with']}: {signed(gap.value)} points ({points_interval(gap)}).")
    first = next(iter(rows))
    return tuple(told) or (f"No difference in win rate from {first!r} is told from 0.",)


def _policies(group: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    shown = [name for name in POLICY if any(name in row["measures"] for row in rows.values())]
    body = []
    for name, row in rows.items():
        gap = estimate(row["differences"].get("win_rate"), "win_rate", whole=None)
        difference = ABSENT if gap is None else Cell(signed(gap.value), points_interval(gap), _mark(gap))
        rate, *others = _cells(row, shown, POLICY)
        body.append((_name(name, row), rate, difference, *others, _alarms(row)))
    header = (
        "Variant",
        POLICY["win_rate"][0],
        "Difference, points",
        *(POLICY[name][0] for name in shown[1:]),
        "Alarms",
    )
    return Table(f"{group}: the policy", header, tuple(body))


def _rewards(group: str, rows: Mapping[str, Mapping[str, Any]]) -> Table | None:
    shown = [name for name in REWARD if any(name in row["measures"] for row in rows.values())]
    if "accuracy_comparisons_clean" in shown:
        shown.remove("accuracy_comparisons")
    if not shown:
        return None
    body = tuple((_name(name, row, keys=False), *_cells(row, shown, REWARD)) for name, row in rows.items())
    return Table(f"{group}: its reward model", ("Variant", *(REWARD[name][0] for name in shown)), body)


def _cells(row: Mapping[str, Any], shown: list[str], titles: Mapping[str, tuple[str, int]]) -> list[Cell]:
    cells = []
    for name in shown:
        whole = 100.0 if _SHARES.match(name) else 1.0 if name.endswith("auroc") else None
        found = estimate(row["measures"].get(name), name, whole=whole)
        digits = titles[name][1]
        gap = estimate(row["differences"].get(name), name, whole=None)
        kind = _mark(gap) if titles is REWARD else ""
        cells.append(ABSENT if found is None else Cell(_value(found, digits), _interval(found, digits), kind))
    return cells


def _name(name: str, row: Mapping[str, Any], *, keys: bool = True) -> Cell:
    """A variant, with what was set for it, or with that it is another one."""
    same = row["same_as"]
    about = [f"the same runs as {same}" if same != "base" else "the base"] if same else []
    if keys:
        about += [f"{_ENTRY.sub('', key)}={_short(value)}" for key, value in mapping(row["keys"], "keys").items()]
    return Cell(name, ", ".join(about))


def _short(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mark(gap: Estimate | None) -> str:
    return "" if gap is None or gap.covers_zero else "own"


def _value(found: Estimate, digits: int) -> str:
    return plain(found.value, digits)


def _interval(found: Estimate, digits: int) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"{plain(found.low, digits)} to {plain(found.high, digits)}"


def _in_brackets(found: Estimate, digits: int) -> str:
    interval = _interval(found, digits)
    return f" ({interval})" if interval else ""


def _alarms(row: Mapping[str, Any]) -> Cell:
    text = ", ".join(f"{name.replace('_', ' ')} {len(seeds)}" for name, seeds in row["alarms"].items())
    return Cell(text) if text else ABSENT


def render_markdown(results: Mapping[str, Any], command: str) -> str:
    """The page as Markdown; `command` made it."""
    parts = [f"# Ablations: {escaped(results['name'])}", f"**{escaped(lead(results))}**"]
    parts.append("\n".join(f"- {escaped(note)}" for note in notes(results)))
    for group in groups(results):
        parts.append(f"## {escaped(group.name[:1].upper() + group.name[1:])}")
        parts.append(" ".join(escaped(finding) for finding in group.findings))
        for table in group.tables:
            parts += table_lines(table)
    parts += ["## Each seed", *table_lines(seeds(results))]
    parts += ["## How it was made", "\n".join(f"- {key}: {escaped(text)}" for key, text in _provenance(results))]
    parts.append(f"```\n{command}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def seeds(results: Mapping[str, Any]) -> Table:
    """The win rate of every variant in every seed."""
    rows = []
    for group, variants in results["groups"].items():
        for name, row in variants.items():
            values = row["measures"]["win_rate"]["per_seed"]
            rows.append((Cell(f"{group}: {name}"), *(Cell(plain(value)) for value in values)))
    header = ("Variant", *(f"seed {seed}" for seed in results["seeds"]))
    return Table("Win rate of each seed, in percent", header, tuple(rows))


def _provenance(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    about = mapping(results.get("environment"), "environment")
    versions = mapping(about.get("versions"), "versions")
    rows = [
        ("Machine", f"{about['cpus']} CPU cores, {about['platform']}" if about else ""),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Commit", str(about.get("git_commit") or "")),
    ]
    return [(name, text) for name, text in rows if text]


def write_markdown(results: Mapping[str, Any], out: Path, command: str) -> None:
    """Write the Markdown page."""
    with whole_file(out) as file:
        file.write(render_markdown(results, command).encode("utf-8"))


def render_html(results: Mapping[str, Any]) -> str:
    """The page as HTML, in one file that asks nothing of any host."""
    return template("ablations.html.j2").render(
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        name=results["name"],
        lead=lead(results),
        notes=notes(results),
        groups=groups(results),
        seeds=seeds(results),
        provenance=_provenance(results),
        version=redpencil.__version__,
    )


def write_html(results: Mapping[str, Any], out: Path) -> None:
    """Write the HTML page."""
    with whole_file(out) as file:
        file.write(render_html(results).encode("utf-8"))
