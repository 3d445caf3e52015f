"""Reads a run folder, of one seed or of several, into one shape for every form of report."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redpencil.config import METHODS
from redpencil.errors import RedpencilError
from redpencil.records import Edit, read_jsonl
from redpencil.report.paper import in_paper_order
from redpencil.runs import check_layout, read_json, read_metrics


@dataclass(frozen=True, slots=True)
class ShownAlarm:
    """An alarm as the report shows it.

    Args:
        name: of the alarm.
        where: the stage, arm or reward model that it is about.
        message: what was met.
        advice: what to do about it.
        step: when it went off in training; None where it is about the results.
        seeds: in which it went off, for a run of several.
    """

    name: str
    where: str
    message: str
    advice: str
    step: int | None = None
    seeds: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """The name in words."""
        return "KL" if self.name == "kl" else self.name.replace("_", " ").capitalize()

    @property
    def occasion(self) -> str:
        """In which seeds it went off and at which step, which is the first seed's; empty where neither is known."""
        seeds = f"seed{'s' if len(self.seeds) > 1 else ''} {', '.join(map(str, self.seeds))}" if self.seeds else ""
        step = f"step {self.step}" if self.step is not None else ""
        of_first = " (the first's are shown)" if len(self.seeds) > 1 else ""
        return "".join(f", {part}" for part in (seeds + of_first, step) if part)

    @property
    def sentence(self) -> str:
        """All of it, for a page without columns."""
        return f"{self.title}: {self.where}{self.occasion}: {self.message}. {self.advice[:1].upper()}{self.advice[1:]}."


def read_alarms(results: Mapping[str, Any]) -> tuple[ShownAlarm, ...]:
    """The alarms of one seed's results; what is not as redpencil writes it is passed over."""
    given = results.get("alarms")
    found = []
    for row in given if isinstance(given, list) else ():
        if isinstance(row, dict) and all(isinstance(row.get(key), str) for key in ("name", "where", "message")):
            step = row.get("step")
            found.append(
                ShownAlarm(
                    name=row["name"],
                    where=row["where"],
                    message=row["message"],
                    advice=str(row.get("advice") or ""),
                    step=step if isinstance(step, int) else None,
                )
            )
    return tuple(found)


def merged_alarms(of_seeds: Mapping[int, tuple[ShownAlarm, ...]]) -> tuple[ShownAlarm, ...]:
    """Alarms of several seeds: each name and place once, with the first seed's message and all its seeds."""
    found: dict[tuple[str, str], ShownAlarm] = {}
    for seed, alarms in of_seeds.items():
        for alarm in alarms:
            known = found.get((alarm.name, alarm.where), alarm)
            found[alarm.name, alarm.where] = replace(known, seeds=(*known.seeds, seed))
    return tuple(found.values())


NORMAL_95 = statistics.NormalDist().inv_cdf(0.975)
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval; win rates and accuracies in percent, differences in points.

    `low` and `high` are None where the spread is not known. `per_seed` has a value for each seed of a run.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    per_seed: tuple[float | None, ...] = ()

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above 0; False where there is no interval."""
        return self.low is not None and self.low > 0

    @property
    def covers_zero(self) -> bool:
        """Whether 0 lies in the interval; True where there is no interval, since nothing then excludes it."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


def mapping(value: object, field: str, file: Path | None = None) -> Mapping[str, Any]:
    """`value` as a mapping; an absent one is empty.

    Raises:
        RedpencilError: naming `file` and `field`, if it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RedpencilError(
            f"expected a mapping, found {type(value).__name__}",
            file=file,
            field=field,
            hint="write the file anew with `redpencil evaluate`",
        )
    return value


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def numbers(values: object) -> tuple[float | None, ...]:
    """A list of numbers; what is none becomes None."""
    return tuple(number(value) for value in values) if isinstance(values, list) else ()


def estimate(entry: object, field: str, *, whole: float | None = 100.0) -> Estimate | None:
    """An entry of results.json, or None where it has no value.

    The interval is `low` to `high`, or else the value -+ 1.96 standard errors. It is kept within 0 and `whole`, beyond
    which a share cannot lie; None is for what is no share.
    """
    row = mapping(entry, field)
    value = number(row.get("value"))
    if value is None:
        return None
    low, high, error = (number(row.get(key)) for key in ("low", "high", "standard_error"))
    if low is None or high is None:
        low, high = (None, None) if error is None else (value - NORMAL_95 * error, value + NORMAL_95 * error)
    if whole is not None and low is not None and high is not None:
        low, high = max(0.0, low), min(whole, high)
    count = number(row.get("n"))
    return Estimate(value, low, high, None if count is None else int(count), numbers(row.get("per_seed")))


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the numbers that there are; None if there are none."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None


def signed(value: float, digits: int = 1) -> str:
    """With its sign: a plus, or a true minus; thousands apart. What rounds to 0 has none."""
    text = f"{value:+,.{digits}f}"
    return text[1:] if not text.strip("+-0.") else text.replace("-", MINUS)


def plain(value: float | None, digits: int = 1) -> str:
    """With a true minus, thousands apart; a dash for None."""
    return DASH if value is None else f"{value:,.{digits}f}".replace("-", MINUS)


def percent(estimate: Estimate) -> str:
    """A value in percent, without the sign."""
    return plain(estimate.value)


def percent_interval(estimate: Estimate) -> str:
    """`48.5 to 56.5`; empty where there is no interval."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{plain(estimate.low)} to {plain(estimate.high)}"


def points(estimate: Estimate) -> str:
    """A difference in points, with its sign."""
    return signed(estimate.value)


def points_interval(estimate: Estimate) -> str:
    """`+2.1 to +11.3`; empty where there is no interval."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{signed(estimate.low)} to {signed(estimate.high)}"


def duration(seconds: float | None) -> str:
    """`4.1 s`, `3 min 20 s`, `2 h 05 min`; a dash for None."""
    if seconds is None:
        return DASH
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


@dataclass(frozen=True, slots=True)
class Arm:
    """The method of an arm, and its costs; what a run does not say is None. For several seeds numbers are means.

    `pairs` names the kind it learned from, itself or through its reward model; `train_pairs` counts them.
    `training_seconds` are of the policy, `reward_seconds` of the reward models it needs. `sampled_in_training` counts
    responses. `responses_per_prompt` and `answer_seconds` are of answering the evaluation prompts. `kl` is per response
    to the SFT policy, in nats, for the checkpoint that was kept; best-of-n has `kl_bound` in its place.
    """

    method: str
    pairs: str
    train_pairs: float | None
    training_seconds: float | None
    reward_seconds: float | None
    sampled_in_training: float | None
    responses_per_prompt: float | None
    answer_seconds: float | None
    validation_win_rate: float | None
    step: float | None
    kl: float | None
    kl_bound: float | None

    @property
    def by_ppo(self) -> bool:
        """Whether it learned from rollouts, so that it has learning curves of reward and KL."""
        return self.method in METHODS and METHODS[self.method].samples

    @property
    def label(self) -> str:
        """The method in words; best-of-n with its n."""
        if self.method == "best_of_n" and self.responses_per_prompt is not None:
            return f"best of {self.responses_per_prompt:g}"
        return METHODS[self.method].label if self.method in METHODS else self.method


NUMBERS = tuple(name for name in Arm.__dataclass_fields__ if name not in ("method", "pairs"))


def read_arms(entries: object) -> dict[str, Arm]:
    """The entry `methods` of results.json; a run of before it had one gives none."""
    return {name: _arm(mapping(row, f"methods.{name}")) for name, row in mapping(entries, "methods").items()}


def _arm(row: Mapping[str, Any]) -> Arm:
    values = {name: number(row.get(name)) for name in NUMBERS}
    return Arm(str(row.get("method") or "ppo"), str(row.get("pairs") or ""), **values)


def mean_arms(runs: Sequence[Mapping[str, Arm]]) -> dict[str, Arm]:
    """Over the seeds of a run, each number's mean."""
    found: dict[str, Arm] = {}
    for name in dict.fromkeys(name for arms in runs for name in arms):
        of_arm = [arms[name] for arms in runs if name in arms]
        values = {key: mean(getattr(arm, key) for arm in of_arm) for key in NUMBERS}
        found[name] = Arm(of_arm[0].method, of_arm[0].pairs, **values)
    return found


Rows = list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class WinRate:
    """A row of Table 1. Counts are None for a mean over seeds."""

    share: Estimate
    mean_length: float | None
    wins: int | None
    losses: int | None
    draws: int | None


@dataclass(frozen=True, slots=True)
class Efficiency:
    """A comparison of Table 3: where a sequence arm was at its best, and where the token arm first got there.

    For several seeds these are medians. A `ratio` or a `token_step` of None, where there is a `sequence_step`, means
    that the token arm never got there. `seconds_ratio` is of time as `ratio` is of steps: for several seeds the median
    of their ratios, not the ratio of medians, which no seed may have had.
    """

    sequence_step: float | None
    token_step: float | None
    sequence_seconds: float | None
    token_seconds: float | None
    ratio: float | None
    seconds_ratio: float | None = None
    ratios: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Heatmap:
    """The token rewards of one response."""

    model: str
    prompt: str
    label: str
    tokens: tuple[str, ...]
    rewards: tuple[float, ...]
    flaws: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """All that a report says. What a run did not produce is an empty mapping or sequence."""

    folder: str
    name: str
    seeds: tuple[int, ...]
    of_several: bool
    recipe_sha256: str
    world: bool
    win_rates: Mapping[str, WinRate]
    differences: Mapping[str, Estimate]
    accuracy: Mapping[str, Mapping[str, Estimate]]
    efficiency: Mapping[str, Efficiency]
    """By the arm that `first_arm` is compared with."""
    first_arm: str
    """The arm whose speed is measured: the recipe's first, which is the token arm in the paper's setting."""
    localisation: Mapping[str, Mapping[str, Estimate]]
    """Areas under the curve, from 0 to 1."""
    flaws: Mapping[str, Mapping[str, float]]
    stages: Mapping[str, float]
    warnings: tuple[str, ...]
    alarms: tuple[ShownAlarm, ...]
    by_seed: Mapping[int, "Run"]
    curves: Mapping[str, Mapping[int, Rows]]
    edits: tuple[Edit, ...]
    heatmaps: tuple[Heatmap, ...]
    environment: Mapping[str, Any]
    arms: Mapping[str, Arm]


def read_run(run_folder: Path) -> Run:
    """Everything a report needs of a run folder.

    Raises:
        RedpencilError: if a version with another layout wrote it, or results.json is missing or is not what `redpencil
            evaluate` writes.
    """
    check_layout(run_folder)
    file = run_folder / "results.json"
    if not file.is_file():
        raise RedpencilError(
            "no results.json in this folder, so there is nothing to report",
            file=run_folder,
            hint="give the folder of a finished run, or finish it with `redpencil run RECIPE`",
        )
    try:
        results = mapping(read_json(file), "results")
        seeds = results.get("seeds")
        if isinstance(seeds, list):
            return _several(run_folder, results, tuple(_seed(seed) for seed in seeds))
        return _single(run_folder, results)
    except RedpencilError as error:
        if error.file is not None:
            raise
        raise RedpencilError(error.problem, file=file, field=error.field, hint=error.hint) from None


def _seed(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise RedpencilError(f"{value!r} is no seed", field="seeds", hint="write the file anew with `redpencil run`")
    return value


def _listed(value: object, field: str, file: Path | None = None) -> list[Any]:
    """`value` as a list; an absent one is empty."""
    if value is not None and not isinstance(value, list):
        raise RedpencilError(
            f"expected a list, found {type(value).__name__}",
            file=file,
            field=field,
            hint="write the file anew with `redpencil run`",
        )
    return value or []


def _single(folder: Path, results: Mapping[str, Any]) -> Run:
    seed = int(number(results.get("seed")) or 0)
    rates = mapping(results.get("win_rate"), "win_rate")
    win_rates = {arm: _win_rate(rates[arm], f"win_rate.{arm}") for arm in in_paper_order(rates)}
    arms = read_arms(results.get("methods"))
    by_ppo = [name for name in rates if name not in ("sft", "reference") and (name not in arms or arms[name].by_ppo)]
    return Run(
        folder=folder.name,
        name=str(results.get("name") or folder.name),
        seeds=(seed,),
        of_several=False,
        recipe_sha256=str(results.get("recipe_sha256") or ""),
        world=(folder / "world").is_dir(),
        win_rates={arm: row for arm, row in win_rates.items() if row is not None},
        differences=_estimates(results.get("win_rate_difference"), "win_rate_difference", whole=None),
        accuracy=_nested(results.get("reward_accuracy"), "reward_accuracy"),
        efficiency=_efficiencies(results, by_ppo[1] if len(by_ppo) > 1 else "edits"),
        first_arm=by_ppo[0] if by_ppo else "token",
        localisation=_localisation(results.get("localisation")),
        flaws=_numbers_by_name(results.get("flaws"), "flaws"),
        stages=_stage_seconds(results.get("stages")),
        warnings=tuple(str(warning) for warning in _listed(results.get("warnings"), "warnings")),
        alarms=read_alarms(results),
        by_seed={},
        curves={arm: {seed: rows} for arm, rows in _read_curves(folder, rates).items()},
        edits=_read_edits(folder),
        heatmaps=_read_heatmaps(folder),
        environment=_read_environment(folder),
        arms=arms,
    )


def _several(folder: Path, results: Mapping[str, Any], seeds: tuple[int, ...]) -> Run:
    given = mapping(results.get("runs"), "runs")
    by_seed = {}
    for seed in seeds:
        seed_folder = folder / f"seed-{seed}"
        if str(seed) in given:
            by_seed[seed] = _single(seed_folder, mapping(given[str(seed)], f"runs.{seed}"))
        elif (seed_folder / "results.json").is_file():
            by_seed[seed] = read_run(seed_folder)
    runs = list(by_seed.values())
    summary = mapping(results.get("summary"), "summary")
    first = runs[0] if runs else _single(folder, {})
    arms = in_paper_order(_union(run.curves for run in runs))
    return Run(
        folder=folder.name,
        name=str(results.get("name") or folder.name),
        seeds=seeds,
        of_several=True,
        recipe_sha256=str(results.get("recipe_sha256") or first.recipe_sha256),
        world=any(run.world for run in runs),
        win_rates=_mean_win_rates(_estimates(summary.get("win_rate"), "summary.win_rate"), runs),
        differences=_estimates(summary.get("win_rate_difference"), "summary.win_rate_difference", whole=None),
        accuracy=_nested(summary.get("reward_accuracy"), "summary.reward_accuracy"),
        efficiency={
            arm: _median_efficiency([run.efficiency[arm] for run in runs if arm in run.efficiency])
            for arm in _union(run.efficiency for run in runs)
        },
        first_arm=first.first_arm,
        localisation=_localisation(summary.get("localisation")),
        flaws=_mean_of_tables([run.flaws for run in runs]),
        stages=_mean_by_name([run.stages for run in runs]),
        warnings=tuple(_warnings(results, by_seed)),
        alarms=merged_alarms({seed: run.alarms for seed, run in by_seed.items()}),
        by_seed=by_seed,
        curves={
            arm: {seed: run.curves[arm][seed] for seed, run in by_seed.items() if seed in run.curves.get(arm, {})}
            for arm in arms
        },
        edits=first.edits,
        heatmaps=first.heatmaps,
        environment=_read_environment(folder) or first.environment,
        arms=mean_arms([run.arms for run in runs]),
    )


def _warnings(results: Mapping[str, Any], by_seed: Mapping[int, Run]) -> Iterable[str]:
    yield from (str(warning) for warning in _listed(results.get("warnings"), "warnings"))
    warned: dict[str, list[str]] = {}
    for seed, run in by_seed.items():
        for warning in run.warnings:
            warned.setdefault(warning, []).append(str(seed))
    for warning, seeds in warned.items():
        yield f"{warning} (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})"


def _win_rate(entry: object, field: str) -> WinRate | None:
    share = estimate(entry, field)
    row = mapping(entry, field)
    if share is None:
        return None
    wins, losses, draws = (number(row.get(key)) for key in ("wins", "losses", "draws"))
    counts = [None if count is None else int(count) for count in (wins, losses, draws)]
    return WinRate(share, number(row.get("mean_length")), counts[0], counts[1], counts[2])


def _mean_win_rates(summary: Mapping[str, Estimate], runs: list[Run]) -> dict[str, WinRate]:
    """The summary's intervals over seeds, with mean lengths; a policy the summary lacks gets a mean alone."""
    rows = {}
    for arm in in_paper_order({*summary, *_union(run.win_rates for run in runs)}):
        of_arm = [run.win_rates[arm] for run in runs if arm in run.win_rates]
        share = summary.get(arm) or Estimate(statistics.fmean(row.share.value for row in of_arm))
        rows[arm] = WinRate(share, mean(row.mean_length for row in of_arm), None, None, None)
    return rows


def _efficiencies(results: Mapping[str, Any], second_arm: str) -> dict[str, Efficiency]:
    """By the arm compared with: the key `efficiency` is the recipe's second arm, `efficiency_<arm>` any other."""
    keys = {key: key.removeprefix("efficiency_") for key in results if key.startswith("efficiency_")}
    keys = {"efficiency": second_arm, **keys}
    return {arm: _efficiency(mapping(results[key], key)) for key, arm in keys.items() if results.get(key)}


def _efficiency(row: Mapping[str, Any]) -> Efficiency:
    sequence, token = number(row.get("sequence_seconds")), number(row.get("token_seconds"))
    return Efficiency(
        sequence_step=number(row.get("sequence_step")),
        token_step=number(row.get("token_step")),
        sequence_seconds=sequence,
        token_seconds=token,
        ratio=number(row.get("ratio")),
        seconds_ratio=token / sequence if sequence and token is not None else None,
    )


def _median(values: Iterable[float | None]) -> float | None:
    """None counts as later than any number: the token arm that never got there."""
    finite_or_never = [math.inf if value is None else value for value in values]
    return number(statistics.median(finite_or_never)) if finite_or_never else None


def _median_efficiency(rows: list[Efficiency]) -> Efficiency:
    measured = [row for row in rows if row.sequence_step is not None]
    return Efficiency(
        _median(row.sequence_step for row in measured),
        _median(row.token_step for row in measured),
        _median(row.sequence_seconds for row in measured),
        _median(row.token_seconds for row in measured),
        _median(row.ratio for row in measured),
        _median(row.seconds_ratio for row in measured if row.sequence_seconds),
        tuple(row.ratio for row in rows),
    )


def _estimates(entries: object, field: str, *, whole: float | None = 100.0) -> dict[str, Estimate]:
    found = {name: estimate(entry, f"{field}.{name}", whole=whole) for name, entry in mapping(entries, field).items()}
    return {name: value for name, value in found.items() if value is not None}


def _nested(entries: object, field: str) -> dict[str, dict[str, Estimate]]:
    rows = {name: _estimates(row, f"{field}.{name}") for name, row in mapping(entries, field).items()}
    return {name: row for name, row in rows.items() if row}


def _localisation(entries: object) -> dict[str, dict[str, Estimate]]:
    """By model and measure; a measure is a bare number or an estimate."""
    found: dict[str, dict[str, Estimate]] = {}
    for model, row in mapping(entries, "localisation").items():
        for measure, entry in mapping(row, f"localisation.{model}").items():
            bare = number(entry)
            value = Estimate(bare) if bare is not None else None
            if isinstance(entry, dict):
                value = estimate(entry, f"localisation.{model}.{measure}", whole=1.0)
            if value is not None:
                found.setdefault(model, {})[measure] = value
    return found


def _numbers_by_name(entries: object, field: str) -> dict[str, dict[str, float]]:
    rows = {
        name: {key: value for key, raw in mapping(row, f"{field}.{name}").items() if (value := number(raw)) is not None}
        for name, row in mapping(entries, field).items()
    }
    return {name: row for name, row in rows.items() if row}


def _stage_seconds(entries: object) -> dict[str, float]:
    stages = mapping(entries, "stages")
    seconds = {name: number(mapping(row, f"stages.{name}").get("seconds")) for name, row in stages.items()}
    return {name: value for name, value in seconds.items() if value is not None}


def _union(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table))


def _mean_by_name(tables: list[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(table[name] for table in tables if name in table) for name in _union(tables)}


def _mean_of_tables(tables: list[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    return {name: _mean_by_name([table[name] for table in tables if name in table]) for name in _union(tables)}


def _read_curves(folder: Path, arms: Mapping[str, Any]) -> dict[str, Rows]:
    """Curves of `arms`, or of all if there are none; a folder that an earlier recipe left behind is not shown."""
    found = {}
    for stage in sorted(folder.glob("ppo-*")):
        if stage.is_dir() and not stage.name.endswith(".partial"):
            if arms and stage.name.removeprefix("ppo-") not in arms:
                continue
            rows = read_metrics(stage)
            if rows:
                found[stage.name.removeprefix("ppo-")] = rows
    return {arm: found[arm] for arm in in_paper_order(found)}


def _read_edits(folder: Path) -> tuple[Edit, ...]:
    file = folder / "annotations" / "edits_test.jsonl"
    return tuple(read_jsonl(file, Edit)) if file.is_file() else ()


def _read_heatmaps(folder: Path) -> tuple[Heatmap, ...]:
    file = folder / "evaluate" / "report_data.json"
    if not file.is_file():
        return ()
    rows = _listed(mapping(read_json(file), "report_data", file).get("heatmaps"), "heatmaps", file)
    return tuple(_heatmap(row, file, f"heatmaps[{index}]") for index, row in enumerate(rows))


def _heatmap(row: object, file: Path, field: str) -> Heatmap:
    row = mapping(row, field, file)
    tokens, rewards, flaws = (_listed(row.get(key), f"{field}.{key}", file) for key in ("tokens", "rewards", "flaws"))
    flaws = flaws or [None] * len(tokens)
    if not len(tokens) == len(rewards) == len(flaws):
        raise RedpencilError(
            f"{len(tokens)} tokens, {len(rewards)} rewards and {len(flaws)} flaws: they must be as many",
            file=file,
            field=field,
            hint="write the file anew with `redpencil evaluate`",
        )
    return Heatmap(
        model=str(row.get("model", "")),
        prompt=str(row.get("prompt", "")),
        label=str(row.get("label", "")),
        tokens=tuple(str(token) for token in tokens),
        rewards=tuple(number(reward) or 0.0 for reward in rewards),
        flaws=tuple(None if flaw is None else str(flaw).replace("_", " ") for flaw in flaws),
    )


def _read_environment(folder: Path) -> dict[str, Any]:
    """What the manifests say of machine and versions; that of the run first, then those of its stages."""
    for file in (
        folder / "manifest.json",
        folder / "evaluate" / "manifest.json",
        *sorted(folder.glob("*/manifest.json")),
    ):
        if file.is_file():
            return dict(mapping(read_json(file), "manifest", file))
    return {}
