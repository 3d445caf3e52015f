"""Ablations: run folders of a base recipe and its variants, for every seed, that share stages where they can."""

import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from redpencil.config.recipe import Recipe
from redpencil.digests import hash_input
from redpencil.errors import RedpencilError
from redpencil.evaluation.edits_needed import MEASURES
from redpencil.evaluation.statistics import Estimate, mean_interval, paired_difference, scores_of
from redpencil.pipeline.execute import Listener, StageSpec, default_jobs, execute, is_done
from redpencil.pipeline.inputs import check_inputs
from redpencil.pipeline.plan import plan_run
from redpencil.pipeline.run import check_folder, finish_seed, locked_folder, verify_stages, write_marked, write_recipe
from redpencil.recipe import Ablations
from redpencil.records import Comparison, Preference, read_jsonl
from redpencil.report.run_page import write_report
from redpencil.results import NORMAL_95, AblationResults, Measure, Ranged, RunResults, write_results
from redpencil.results import Estimate as SeedEstimate
from redpencil.results import Variant as VariantResults
from redpencil.rounds import last_round, unrolled
from redpencil.runs import environment, fingerprint
from redpencil.text import read_json

Measured = dict[str, Estimate]
"""Estimates of one seed by measure; the standard error, over prompts or pairs, is nan where it is not known."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The runs of one variant: folder and results by seed. `same_as` is the variant whose runs they are, if any."""

    recipe: Recipe
    roots: Mapping[int, Path]
    results: Mapping[int, RunResults]
    same_as: str | None = None


def compare(ablations: Ablations, groups: Sequence[str], runs: Mapping[str, Finished]) -> AblationResults:
    """Compare each variant with the first of its group; `runs` are by label, `<group>/<variant>`."""
    arm = ablations.config.arm
    rows: dict[str, dict[str, VariantResults]] = {}
    for group in groups:
        variants = ablations.config.groups[group]
        first = next(iter(variants))
        reference = runs[f"{group}/{first}"]
        rows[group] = {}
        for name, keys in variants.items():
            run = runs[f"{group}/{name}"]
            rows[group][name] = VariantResults(
                keys=keys,
                folder=f"{group}/{name}",
                same_as=run.same_as,
                compared_with=None if name == first else first,
                measures=_over_seeds(_measured(run, arm)),
                differences={} if name == first else _differences(run, reference, arm),
                diagnostics=_diagnostics(run.results),
            )
    a_run = next(iter(runs.values()))
    return AblationResults(
        name=ablations.config.name,
        arm=arm,
        seeds=ablations.base.seeds,
        sft=over_seeds([_estimate(results.win_rate["sft"]) for results in a_run.results.values()]),
        groups=rows,
        environment=environment(),
    )


def _measured(run: Finished, arm: str) -> dict[int, Measured]:
    name = last_round(run.recipe, arm)
    model = unrolled(run.recipe).arms[name].reward_model
    return {seed: measures(results, name, model) for seed, results in run.results.items()}


def _over_seeds(measured: Mapping[int, Measured]) -> dict[str, Measure]:
    """Means of the measures that every seed has."""
    seeds = list(measured.values())
    common = [name for name in seeds[0] if all(name in of_seed for of_seed in seeds)]
    return {name: over_seeds([of_seed[name] for of_seed in seeds]) for name in common}


def _differences(run: Finished, reference: Finished, arm: str) -> dict[str, Measure]:
    """Means of seed-by-seed differences of the measures that both have.

    The win rate is paired over prompts too. Errors of the other measures over pairs are not independent, so the
    errors of their differences are not known.
    """
    first, second = _measured(run, arm), _measured(reference, arm)
    gaps: dict[int, Measured] = {}
    for seed, root in run.roots.items():
        both = {name: (row, second[seed][name]) for name, row in first[seed].items() if name in second[seed]}
        gaps[seed] = {name: Estimate(own.value - other.value, math.nan, 1) for name, (own, other) in both.items()}
        names = (last_round(run.recipe, arm), last_round(reference.recipe, arm))
        gaps[seed]["win_rate"] = win_rate_difference(root, reference.roots[seed], *names)
    return _over_seeds(gaps)


def measures(results: RunResults, arm: str, model: str | None) -> Measured:
    """Measures of an arm and its reward model in the results of one seed; those that are not known are left out."""
    plain = {
        "mean_length": results.win_rate[arm].mean_length,
        "kl": results.methods[arm].kl,
        **(results.localisation.get(model or "") or {}),
    }
    accuracies = results.reward_accuracy.get(model or "") or {}
    ranged = {} if results.gleu is None else {"gleu": results.gleu.policies[arm]}
    if results.edits_needed is not None:
        needs = results.edits_needed.policies[arm]
        ranged |= {f"needed_{name}": row for name in MEASURES if (row := getattr(needs, name)) is not None}
    return {
        "win_rate": _estimate(results.win_rate[arm]),
        **{name: _of_interval(row) for name, row in ranged.items()},
        **{f"accuracy_{kind}": _estimate(row) for kind, row in accuracies.items()},
        **{name: Estimate(value, math.nan, 1) for name, value in plain.items() if value is not None},
    }


def _estimate(row: SeedEstimate) -> Estimate:
    return Estimate(row.value, math.nan if row.standard_error is None else row.standard_error, row.n or 1)


def _of_interval(row: Ranged) -> Estimate:
    """An estimate whose standard error is as large as its 95 % interval says."""
    error = math.nan if row.interval is None else (row.interval[1] - row.interval[0]) / (2 * NORMAL_95)
    return Estimate(row.value, error, 1)


def win_rate_difference(root: Path, reference: Path, arm: str, other: str | None = None) -> Estimate:
    """Win rate of an arm in the run folder `root` less that of `other`, or its own, in `reference`, in points.

    It is paired over prompts if these are the same.
    """
    files = (root / "judge" / f"{arm}.jsonl", reference / "judge" / f"{other or arm}.jsonl")
    first, second = (list(read_jsonl(file, Comparison)) for file in files)
    unknown = {row.id for row in (*first, *second) if row.preference is Preference.NONE}
    first, second = ([row for row in rows if row.id not in unknown] for rows in (first, second))
    scores = [scores_of([row.preference for row in rows]) for rows in (first, second)]
    if [(row.id, row.prompt) for row in first] == [(row.id, row.prompt) for row in second]:
        return paired_difference(*scores)
    means = [math.fsum(of_run) / len(of_run) for of_run in scores]
    return Estimate(100 * (means[0] - means[1]), math.nan, min(map(len, scores)))


def over_seeds(estimates: Sequence[Estimate]) -> Measure:
    """Mean of one estimate a seed, with its 95 % interval; `standard_error` is that over prompts or pairs."""
    values = [estimate.value for estimate in estimates]
    error = math.sqrt(math.fsum(estimate.standard_error**2 for estimate in estimates)) / len(estimates)
    mean, low, high = mean_interval(values)
    if len(values) == 1:
        low, high = mean - NORMAL_95 * error, mean + NORMAL_95 * error
    return Measure(value=mean, low=low, high=high, per_seed=tuple(values), standard_error=error)


def _diagnostics(results: Mapping[int, RunResults]) -> dict[str, tuple[int, ...]]:
    """The seeds in which each diagnostic was raised, by name."""
    seeds: dict[str, list[int]] = {}
    for seed, of_seed in results.items():
        for name in dict.fromkeys(row.name for row in of_seed.diagnostics):
            seeds.setdefault(name, []).append(seed)
    return {name: tuple(raised) for name, raised in seeds.items()}


def share(stages: Sequence[StageSpec]) -> dict[str, StageSpec]:
    """Map the key of each stage to the stage that is computed for it: the first that must write the same.

    Two stages are the same if name, seed, configuration and inputs are equal. Inputs that other `stages` write are
    equal if those stages are the same; other inputs must exist, and are equal if their content is. This gives the
    answer of the executor's fingerprint before the inputs are written. `stages` are of any number of runs, each after
    those it reads from; folders are unique.
    """
    hashed = cache(hash_input)
    writers = {stage.folder: stage for stage in stages}
    identities: dict[str, str] = {}
    owners: dict[str, StageSpec] = {}
    first: dict[str, StageSpec] = {}
    for stage in stages:
        inputs = {}
        for name, path in stage.inputs.items():
            writer = next((writers[place] for place in (path, *path.parents) if place in writers), None)
            if writer is None:
                inputs[name] = hashed(path.resolve())
            else:
                inputs[name] = f"{identities[writer.key]} {path.relative_to(writer.folder).as_posix()}"
        identity = fingerprint(stage.name, stage.seed, stage.config, inputs)
        identities[stage.key] = identity
        owners[stage.key] = first.setdefault(identity, stage)
    return owners


def to_compute(owners: Mapping[str, StageSpec], selected: Iterable[StageSpec]) -> list[StageSpec]:
    """List the stages to compute for those `selected`, in order, each with the owners of its inputs as its needs.

    Needs that are not among the shared stages are taken to be complete.
    """
    stages = {owners[stage.key].key: owners[stage.key] for stage in selected}
    in_order = [owner for key, owner in owners.items() if key == owner.key and key in stages]
    return [
        replace(stage, needs=tuple(dict.fromkeys(owners[need].key for need in stage.needs if need in owners)))
        for stage in in_order
    ]


def link(stages: Iterable[StageSpec], owners: Mapping[str, StageSpec]) -> None:
    """Make every stage that another one is computed for a link to its owner's folder, and no owner's folder a link.

    So nothing is written through a link. A link may point to a folder that is still to be written.

    Raises:
        RedpencilError: if a folder is in the way that redpencil did not write, or links cannot be made.
    """
    for stage in stages:
        owner = owners[stage.key]
        if owner.folder == stage.folder:
            if stage.folder.is_symlink():
                stage.folder.unlink()
            continue
        target = os.path.relpath(owner.folder, stage.folder.parent)
        if stage.folder.is_symlink() and str(stage.folder.readlink()) == target:
            continue
        _clear(stage.folder)
        try:
            stage.folder.parent.mkdir(parents=True, exist_ok=True)
            stage.folder.symlink_to(target, target_is_directory=True)
        except OSError as error:
            raise RedpencilError(
                f"cannot link it to {owner.folder} ({error.strerror})",
                file=stage.folder,
                hint="choose an --out on a file system that has symbolic links",
            ) from None


def _clear(folder: Path) -> None:
    """Remove a link, or the folder that this stage wrote when it was not shared."""
    if folder.is_symlink():
        folder.unlink()
    elif (folder / "manifest.json").is_file():
        shutil.rmtree(folder)
    elif folder.exists():
        raise RedpencilError("it was not written by redpencil", file=folder, hint="choose another --out")


BASE = "base"
RESULTS = "ablations.json"
RECIPE = "ablations.yaml"
WRITTEN_HERE = "# The ablations of this folder with their base spelled out, written by redpencil"
"""Start of the recipe in the folder; it marks a folder of ablations."""

Listening = Callable[[int], AbstractContextManager[Listener]]
"""Makes a listener for a number of stages."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A recipe with all its seeds; `label` is its folder within the folder of the ablations."""

    label: str
    recipe: Recipe
    out: Path

    @property
    def group(self) -> str:
        return self.label.split("/")[0]

    def root(self, seed: int) -> Path:
        return self.out / self.label / f"seed-{seed}"

    def plan(self, seed: int) -> list[StageSpec]:
        return plan_run(self.recipe, self.root(seed), seed, f"{self.label}/seed-{seed}/")

    @property
    def stages(self) -> list[StageSpec]:
        return [stage for seed in self.recipe.seeds for stage in self.plan(seed)]


def run_ablations(
    ablations: Ablations,
    out: Path,
    *,
    listening: Listening,
    jobs: int | None = None,
    only: Sequence[str] = (),
    verify: bool = False,
) -> AblationResults:
    """Run every stage that is not complete yet; write and return `ablations.json`.

    Each seed of a variant has a run folder, `OUT/<group>/<variant>/seed-<n>`. Stages that it has in common with the
    base, or with a variant before it, are links to the folders where they were or will be computed, such as in
    `OUT/base/seed-<n>`. With `only`, nothing is computed but the stages that these groups need; results that
    `ablations.json` had of other groups are kept if the stages of these are complete. With `verify` all files of
    complete stages are read first.

    Raises:
        RedpencilError: if there is no such group, a file of a recipe is missing or does not fit, `out` holds something
            else or is in use, or a stage fails.
    """
    groups = _chosen(ablations, only)
    variants = [
        Variant(f"{group}/{name}", _with_own_cache(recipe, f"{group}-{name}"), out)
        for group, members in ablations.groups.items()
        for name, recipe in members.items()
    ]
    every = [Variant(BASE, ablations.base, out), *variants]
    selected = [variant for variant in variants if variant.group in groups]
    check_inputs(variant.recipe for variant in every)
    check_folder(out / RECIPE, WRITTEN_HERE, "the output folder exists and holds no ablations")
    with locked_folder(out):
        _write_ablations(ablations, out)
        jobs = jobs or default_jobs(ablations.base.compute)
        if verify:
            verify_stages(stage for variant in every for stage in variant.stages)
        owners = _compute(every, selected, jobs, listening)
        kept = _groups_before(out) if only else set()
        lacking = {one.group for one in variants if one.group not in kept or not all(map(is_done, one.stages))}
        groups = [name for name in ablations.groups if name in groups or name not in lacking]
        runs = {variant.label: _finished(variant, owners) for variant in variants if variant.group in groups}
        results = compare(ablations, groups, runs)
        results = results.model_copy(update={"recipe_sha256": hash_input(out / RECIPE)})
        write_results(out / RESULTS, results)
    return results


def _with_own_cache(recipe: Recipe, name: str) -> Recipe:
    """Name response caches of the variant's own: variants are judged side by side, and cannot share one."""
    own = {}
    for key, asked in (("judge", recipe.judge), ("editor", recipe.editor)):
        if asked is not None and asked.cache is not None:
            own[key] = asked.model_copy(update={"cache": asked.cache.with_name(f"{asked.cache.name}.{name}")})
    return recipe.model_copy(update=own)


def _chosen(ablations: Ablations, only: Sequence[str]) -> list[str]:
    for name in only:
        if name not in ablations.groups:
            known = ", ".join(ablations.groups)
            raise RedpencilError(f"there is no group called {name!r}", field="groups", hint=f"one of: {known}")
    return [name for name in ablations.groups if not only or name in only]


def _groups_before(out: Path) -> set[str]:
    """The groups of which `ablations.json` has results."""
    content = read_json(out / RESULTS) if (out / RESULTS).is_file() else {}
    return set(content.get("groups", ())) if isinstance(content, Mapping) else set()


def _write_ablations(ablations: Ablations, out: Path) -> None:
    content = ablations.config.model_dump(mode="json", exclude={"overrides"}) | {
        "base": ablations.base.model_dump(mode="json", exclude_none=True),
        "seeds": list(ablations.base.seeds),
    }
    write_marked(out / RECIPE, WRITTEN_HERE, content)


def _compute(
    every: Sequence[Variant], selected: Sequence[Variant], jobs: int, listening: Listening
) -> dict[str, StageSpec]:
    """Run the stages that the selected variants need; returns the owner of each stage by its key.

    Stages without needs come first, such as the worlds, which take no time. The other stages then know their inputs by
    content: two worlds that differ only in the quality of edits write the same prompts.
    """
    owners: dict[str, StageSpec] = {}
    for first in (True, False):
        stages = [stage for variant in every for stage in variant.stages if first == (not stage.needs)]
        shared = share(stages)
        link(stages, shared)
        asked = [stage for variant in selected for stage in variant.stages if stage.key in shared]
        computed = to_compute(shared, stages if first else asked)
        with listening(len(computed)) as listener:
            execute(computed, jobs=1 if first and every[0].recipe.world else jobs, listener=listener)
        owners |= shared
    return owners


def _finished(variant: Variant, owners: Mapping[str, StageSpec]) -> Finished:
    """Complete the run folders of a variant; if another variant owns all of its stages, it is the same run."""
    results, owned_by = {}, set()
    for seed in variant.recipe.seeds:
        recipe = variant.recipe.model_copy(update={"seeds": (seed,)})
        plan, root = variant.plan(seed), variant.root(seed)
        write_recipe(recipe, root)
        results[seed] = finish_seed(recipe, root, plan)
        write_report(root)
        owned_by.add(owners[plan[-1].key].folder.parents[1].relative_to(variant.out).as_posix())
    same_as = None if len(owned_by) > 1 or variant.label in owned_by else owned_by.pop()
    return Finished(variant.recipe, {seed: variant.root(seed) for seed in results}, results, same_as)
