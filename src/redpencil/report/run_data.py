"""A run folder, of one seed or of several, in one shape for every form of report."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from redpencil.digests import MANIFEST, check_outputs, hash_input, recorded_fingerprint
from redpencil.errors import RedpencilError
from redpencil.evaluation.edits_needed import MEASURES
from redpencil.records import Edit, read_jsonl
from redpencil.report.paper import in_paper_order
from redpencil.results import (
    ArmCosts,
    Diagnostic,
    EditsNeeded,
    Efficiency,
    Figure,
    Heatmap,
    Needed,
    NeedsDifference,
    PooledResults,
    ReportData,
    RunResults,
    SeedMean,
    Split,
    StudyResults,
    WinRate,
    Within,
    parse_results,
    read_results,
    recipe_digest,
)
from redpencil.runs import check_layout, read_metrics
from redpencil.sections import load_yaml, read_text
from redpencil.text import read_json

Rows = list[dict[str, float]]
MICROSCOPE = "reward_models.html"
"""The page of the evaluation of reward models, in the folder of a run's last stage."""
SAMPLED = ("kl", "length", "reward")
"""Metrics of the responses that a training step samples and then learns from."""


@dataclass(frozen=True, slots=True)
class SeenDiagnostic:
    """A diagnostic and the seeds in which it was raised, for a run of several; the message is the first seed's."""

    diagnostic: Diagnostic
    seeds: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        name = self.diagnostic.name
        return "KL" if name == "kl" else name.replace("_", " ").capitalize()

    @property
    def occasion(self) -> str:
        """Seeds and step, with a comma before each; empty where neither is known."""
        several = len(self.seeds) > 1
        seeds = f"seed{'s' if several else ''} {', '.join(map(str, self.seeds))}" if self.seeds else ""
        if several:
            seeds += " (the first one's numbers)"
        step = "" if self.diagnostic.step is None else f"step {self.diagnostic.step}"
        return "".join(f", {part}" for part in (seeds, step) if part)

    @property
    def advice(self) -> str:
        return f"{self.diagnostic.advice[:1].upper()}{self.diagnostic.advice[1:]}."

    @property
    def sentence(self) -> str:
        """Everything in one line, for a page without columns."""
        return f"{self.title}: {self.diagnostic.where}{self.occasion}: {self.diagnostic.message}. {self.advice}"


@dataclass(frozen=True, slots=True)
class PolicyWinRate:
    """A row of Table 1; `counts` are None for a mean over seeds."""

    share: Figure
    mean_length: float | None
    counts: WinRate | None = None


@dataclass(frozen=True, slots=True)
class Speed:
    """A row of Table 3: when a sequence arm was at its best, and when the token arm first was as good.

    For several seeds these are medians. A `ratio` or a `token_step` of None means that the token arm never was as
    good. `seconds_ratio` is of time as `ratio` is of steps: for several seeds the median of their ratios, not the
    ratio of medians, which no seed may have had.
    """

    sequence_step: float | None
    token_step: float | None
    sequence_seconds: float | None
    token_seconds: float | None
    ratio: float | None
    seconds_ratio: float | None
    ratios: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """All that a report says. What a run did not produce is an empty mapping or sequence.

    Args:
        speeds: by the arm that `first_arm` is compared with.
        first_arm: the first arm that samples as it trains, whose speed is measured; the token arm in the paper.
        localisation: areas under the curve, from 0 to 1.
        by_seed: the runs of several seeds.
        curves: metrics by arm and seed, of the arms that sample as they train; all of a row are of the policy after its
            step.
        costs: of each arm; for several seeds numbers are means.
        within: by reward model and kind of token, with that of the place alone; for several seeds there are means in
            `within_means`, with `_later` behind the kind for the place alone.
        pooled: of a cross-validation.
        splits: how held-out rows were chosen, by seed.
        microscopes: pages of the reward models, relative to the folder.
        needed: edits still needed, as each seed's results have them.
        needs: by policy, what its answers need: `accepted`, `edits` and `words`; and by pair of policies in
            `needs_differences`.
        gleu: by policy, and by pair of policies in `gleu_differences`.
    """

    folder: str
    name: str
    seeds: tuple[int, ...]
    of_several: bool
    recipe_sha256: str
    world: bool
    win_rates: Mapping[str, PolicyWinRate]
    differences: Mapping[str, Figure]
    accuracy: Mapping[str, Mapping[str, Figure]]
    speeds: Mapping[str, Speed]
    first_arm: str
    localisation: Mapping[str, Mapping[str, Figure]]
    flaws: Mapping[str, Mapping[str, float]]
    stages: Mapping[str, float]
    warnings: tuple[str, ...]
    diagnostics: tuple[SeenDiagnostic, ...]
    by_seed: Mapping[int, "Run"]
    curves: Mapping[str, Mapping[int, Rows]]
    edits: tuple[Edit, ...]
    heatmaps: tuple[Heatmap, ...]
    environment: Mapping[str, Any]
    costs: Mapping[str, ArmCosts]
    within: Mapping[str, Mapping[str, Within]] = field(default_factory=dict)
    within_means: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    pooled: PooledResults | None = None
    splits: Mapping[int, Split] = field(default_factory=dict)
    microscopes: tuple[str, ...] = ()
    needed: tuple[Needed, ...] = ()
    needs: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    needs_differences: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    gleu: Mapping[str, Figure] = field(default_factory=dict)
    gleu_differences: Mapping[str, Figure] = field(default_factory=dict)


def read_run(run_folder: Path) -> Run:
    """Read what a report needs of a run folder.

    Raises:
        RedpencilError: if results.json is missing, does not fit, was written by another version of redpencil, or is not
            of the stages in the folder; or if a stage is not what was written.
    """
    check_layout(run_folder)
    file = run_folder / "results.json"
    if not file.is_file():
        raise RedpencilError(
            "no results.json in this folder, so there is nothing to report",
            file=run_folder,
            hint="give the folder of a finished run, or finish it with `redpencil run RECIPE`",
        )
    check_current(run_folder)
    results = read_results(file)
    return _several(run_folder, results) if isinstance(results, StudyResults) else _single(run_folder, results)


def check_current(folder: Path, *, hint: str | None = None) -> None:
    """Refuse a run folder whose results are not those of the stages in it, as after a change that was interrupted.

    Args:
        folder: the run folder.
        hint: how the run is finished; by default by `redpencil run`.

    Raises:
        RedpencilError: naming the stages that have been run again since, are missing or were changed.
    """
    manifest = folder / "manifest.json"
    written = read_json(manifest) if manifest.is_file() else {}
    stages = written.get("stages", {}) if isinstance(written, Mapping) else {}
    hint = hint or f"finish the run with `redpencil run {folder / 'recipe.yaml'} --out {folder}`"
    old = [name for name, digest in stages.items() if recorded_fingerprint(folder / name) != digest]
    if old:
        raise RedpencilError(
            f"its results are older than its stages: {', '.join(old)} changed after results.json was written",
            file=folder,
            hint=hint,
        )
    # A run whose manifest was lost still has stages.
    lost = [path.parent for where in ("*", "seed-*/*") for path in folder.glob(f"{where}/{MANIFEST}")]
    for stage in [folder / name for name in stages] or lost:
        check_outputs(stage)
    results = folder / "results.json"
    if stages and hash_input(results) != written.get("results"):
        raise RedpencilError("it is not what the run wrote", file=results, hint=hint)


def _changed_recipe(folder: Path, results: RunResults | StudyResults) -> tuple[str, ...]:
    """Say that the recipe of a run folder has changed since its results were written, if it has."""
    file = folder / "recipe.yaml"
    try:
        keys = load_yaml(read_text(file, "the recipe")) if file.is_file() else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return ("recipe.yaml is no longer YAML: these are the results of what it said before.",)
    if not isinstance(keys, Mapping) or recipe_digest(keys) == results.recipe_sha256:
        return ()
    return ("recipe.yaml has changed since: these are the results of what it said before.",)


def _old_split(folder: Path, results: RunResults) -> tuple[str, ...]:
    """Say that held-out rows were split one by one, as in runs on a user's files before the split went by prompt."""
    if results.split is not None or (folder / "world").is_dir() or not (folder / "annotations").is_dir():
        return ()
    return (
        "Held-out rows were split row by row, so their prompts may be in training too, and accuracies may flatter. Run "
        "the recipe again for a split by prompt.",
    )


def _single(folder: Path, results: RunResults) -> Run:
    online = [arm for arm, costs in results.methods.items() if costs.online and costs.start is None]
    return Run(
        folder=folder.name,
        name=results.name,
        seeds=(results.seed,),
        of_several=False,
        recipe_sha256=results.recipe_sha256,
        world=(folder / "world").is_dir(),
        win_rates={
            arm: PolicyWinRate(results.win_rate[arm], results.win_rate[arm].mean_length, results.win_rate[arm])
            for arm in in_paper_order(results.win_rate)
        },
        differences=results.win_rate_difference,
        accuracy=results.reward_accuracy,
        speeds={arm: _speed(row) for arm, row in results.efficiencies.items()},
        first_arm=online[0] if online else "token",
        localisation={
            model: {name: Figure(value=value) for name, value in row.items() if value is not None}
            for model, row in results.localisation.items()
        },
        flaws=results.flaws or {},
        stages={name: stage.seconds for name, stage in results.stages.items()},
        warnings=(*results.warnings, *_old_split(folder, results), *_changed_recipe(folder, results)),
        diagnostics=tuple(SeenDiagnostic(row) for row in results.diagnostics),
        by_seed={},
        curves={arm: {results.seed: rows} for arm, rows in _read_curves(folder, results.methods).items()},
        edits=_read_edits(folder),
        heatmaps=_read_heatmaps(folder),
        environment=_read_environment(folder),
        costs=results.methods,
        within=results.within,
        splits={} if results.split is None else {results.seed: results.split},
        microscopes=(f"evaluate/{MICROSCOPE}",) if (folder / "evaluate" / MICROSCOPE).is_file() else (),
        needed=() if results.edits_needed is None else (results.edits_needed,),
        needs={} if results.edits_needed is None else _measures(results.edits_needed.policies),
        needs_differences={} if results.edits_needed is None else _measures(results.edits_needed.differences),
        gleu={} if results.gleu is None else results.gleu.policies,
        gleu_differences={} if results.gleu is None else results.gleu.differences,
    )


def _measures(rows: Mapping[str, EditsNeeded] | Mapping[str, NeedsDifference]) -> dict[str, dict[str, Figure]]:
    """The measures that are known, by entry."""
    return {
        entry: {name: figure for name in MEASURES if (figure := getattr(row, name)) is not None}
        for entry, row in rows.items()
    }


def _several(folder: Path, results: StudyResults) -> Run:
    by_seed = {seed: _single(folder / f"seed-{seed}", run) for seed, run in results.runs.items()}
    runs, summary = list(by_seed.values()), results.summary
    first = runs[0]
    return Run(
        folder=folder.name,
        name=results.name,
        seeds=results.seeds,
        of_several=True,
        recipe_sha256=results.recipe_sha256,
        world=any(run.world for run in runs),
        win_rates=_mean_win_rates(results),
        differences=_known(summary.win_rate_difference),
        accuracy={model: _known(row) for model, row in summary.reward_accuracy.items()},
        speeds={
            arm: _median_speed([run.speeds[arm] for run in runs if arm in run.speeds])
            for arm in _union(run.speeds for run in runs)
        },
        first_arm=first.first_arm,
        localisation={model: _known(row) for model, row in summary.localisation.items()},
        flaws=_mean_of_tables([run.flaws for run in runs]),
        stages=_mean_by_name([run.stages for run in runs]),
        warnings=(*_warnings(by_seed), *_changed_recipe(folder, results)),
        diagnostics=gather_diagnostics({seed: run.diagnostics for seed, run in results.runs.items()}),
        by_seed=by_seed,
        curves={
            arm: {seed: run.curves[arm][seed] for seed, run in by_seed.items() if arm in run.curves}
            for arm in in_paper_order(_union(run.curves for run in runs))
        },
        edits=first.edits,
        heatmaps=first.heatmaps,
        environment=_read_environment(folder) or first.environment,
        costs=mean_costs([run.costs for run in runs]),
        within_means={model: _known(row) for model, row in summary.within.items()},
        pooled=summary.pooled,
        splits={seed: run.split for seed, run in results.runs.items() if run.split is not None},
        microscopes=tuple(f"seed-{seed}/{page}" for seed, run in by_seed.items() for page in run.microscopes),
        needed=tuple(needed for run in runs for needed in run.needed),
        needs={policy: _known(row) for policy, row in summary.edits_needed.items()},
        needs_differences={pair: _known(row) for pair, row in summary.edits_needed_difference.items()},
        gleu=_known(summary.gleu),
        gleu_differences=_known(summary.gleu_difference),
    )


def gather_diagnostics(of_seeds: Mapping[int, Sequence[Diagnostic]]) -> tuple[SeenDiagnostic, ...]:
    """List each name and place of the diagnostics of several seeds once, with all its seeds."""
    seen: dict[tuple[str, str], SeenDiagnostic] = {}
    for seed, rows in of_seeds.items():
        for row in rows:
            before = seen.get((row.name, row.where), SeenDiagnostic(row))
            seen[row.name, row.where] = replace(before, seeds=(*before.seeds, seed))
    return tuple(seen.values())


def mean_costs(runs: Sequence[Mapping[str, ArmCosts]]) -> dict[str, ArmCosts]:
    """Average the numbers of each arm over the seeds that have them."""
    words = {"method", "label", "stage", "pairs", "start", "on"}
    means = {}
    for arm in _union(runs):
        rows = [costs[arm] for costs in runs if arm in costs]
        numbers = {
            name: mean(getattr(row, name) for row in rows) for name in ArmCosts.model_fields if name not in words
        }
        means[arm] = rows[0].model_copy(update=numbers)
    return means


def _warnings(by_seed: Mapping[int, Run]) -> Iterable[str]:
    warned: dict[str, list[str]] = {}
    for seed, run in by_seed.items():
        for warning in run.warnings:
            warned.setdefault(warning, []).append(str(seed))
    for warning, seeds in warned.items():
        yield f"{warning} (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})"


def _mean_win_rates(results: StudyResults) -> dict[str, PolicyWinRate]:
    shares, lengths = _known(results.summary.win_rate), _known(results.summary.mean_length)
    return {
        arm: PolicyWinRate(shares[arm], lengths[arm].value if arm in lengths else None)
        for arm in in_paper_order(shares)
    }


def _known(row: Mapping[str, SeedMean | None]) -> dict[str, SeedMean]:
    return {name: value for name, value in row.items() if value is not None}


def _speed(row: Efficiency) -> Speed:
    sequence, token = row.sequence_seconds, row.token_seconds
    ratio = token / sequence if sequence and token is not None else None
    return Speed(**row.model_dump(exclude={"arm"}), seconds_ratio=ratio)


def _median_speed(rows: Sequence[Speed]) -> Speed:
    names = ("sequence_step", "token_step", "sequence_seconds", "token_seconds", "ratio")
    return Speed(
        **{name: _median(getattr(row, name) for row in rows) for name in names},
        seconds_ratio=_median(row.seconds_ratio for row in rows if row.sequence_seconds),
        ratios=tuple(row.ratio for row in rows),
    )


def _median(values: Iterable[float | None]) -> float | None:
    """Median in which None, a token arm that never was as good, counts as later than any number."""
    finite_or_never = [math.inf if value is None else value for value in values]
    return number(statistics.median(finite_or_never)) if finite_or_never else None


def number(value: object) -> float | None:
    """Return a finite number of a stage's metrics as it is, and None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the numbers that are known; None if there are none."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None


def _union(tables: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table))


def _mean_by_name(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(table[name] for table in tables if name in table) for name in _union(tables)}


def _mean_of_tables(tables: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    return {name: _mean_by_name([table[name] for table in tables if name in table]) for name in _union(tables)}


def _read_curves(folder: Path, costs: Mapping[str, ArmCosts]) -> dict[str, Rows]:
    stages = {arm: costs[arm].stage for arm in in_paper_order(costs) if costs[arm].online}
    curves = {arm: read_metrics(folder / stage) for arm, stage in stages.items() if stage is not None}
    return {arm: _of_policies(rows) for arm, rows in curves.items() if rows}


def _of_policies(rows: Rows) -> Rows:
    """Give what a step measured on its samples to the step before, which made the policy that was sampled.

    After the last step the measures are those on the answers to the validation prompts.
    """
    of_step = {row["step"]: {name: value for name, value in row.items() if name not in SAMPLED} for row in rows}
    for row in rows:
        before = of_step.setdefault(row["step"] - 1, {"step": row["step"] - 1}) if row["step"] > 0 else {}
        before |= {name: row[name] for name in SAMPLED if name in row}
    for row in of_step.values():
        for name in SAMPLED:
            if name not in row and f"eval/{name}" in row:
                row[name] = row[f"eval/{name}"]
    return [of_step[step] for step in sorted(of_step)]


def _read_edits(folder: Path) -> tuple[Edit, ...]:
    file = folder / "annotations" / "edits_test.jsonl"
    return tuple(read_jsonl(file, Edit)) if file.is_file() else ()


def _read_heatmaps(folder: Path) -> tuple[Heatmap, ...]:
    file = folder / "evaluate" / "report_data.json"
    return parse_results(read_json(file), ReportData, file).heatmaps if file.is_file() else ()


def _read_environment(folder: Path) -> Mapping[str, Any]:
    """Machine and versions, from the first manifest there is: of the run, else of a stage."""
    of_stages = sorted(folder.glob("*/manifest.json"))
    for file in (folder / "manifest.json", folder / "evaluate" / "manifest.json", *of_stages):
        if file.is_file():
            content = read_json(file)
            if not isinstance(content, dict):
                raise RedpencilError("expected a mapping", file=file, hint="run the recipe again")
            return content
    return {}
