"""Ablations: a base recipe and its variants, with every seed, as run folders that share what does not differ."""

import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from redpencil.config import Recipe
from redpencil.errors import RedpencilError
from redpencil.evaluation.statistics import Estimate, mean_interval, paired_difference, scores_of
from redpencil.files import partial_of, whole_file
from redpencil.pipeline.execute import Listener, StageSpec, default_jobs, execute
from redpencil.pipeline.inputs import check_files, check_reward_models
from redpencil.pipeline.plan import plan_run
from redpencil.pipeline.run import LOCK, finish_seed, locked_folder, write_recipe
from redpencil.recipe import Ablations
from redpencil.records import Comparison, read_jsonl
from redpencil.report.run_page import write_report
from redpencil.runs import check_layout, environment, fingerprint, finite, hash_input, write_json, written_by

NORMAL_95 = 1.959963984540054
"""Standard errors on either side of a 95 % interval, where a single seed says nothing of the spread over seeds."""

Measured = dict[str, Estimate]
"""By measure; a standard error that is not known, and one over prompts or pairs where it is, of one seed."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The runs of one variant: folder and results by seed. `same_as` is the variant with whose runs they are one."""

    recipe: Recipe
    roots: Mapping[int, Path]
    results: Mapping[int, Mapping[str, Any]]
    same_as: str | None = None


def compare(ablations: Ablations, groups: Sequence[str], runs: Mapping[str, Finished]) -> dict[str, Any]:
    """The content of `ablations.json`.

    Args:
        ablations: what was run.
        groups: those of its groups that were.
        runs: by label, `<group>/<variant>`.

    Returns:
        `name`, `arm`, `seeds`; `sft`: win rate of the policy before the arm's training, in the first variant; `groups`
        by group and variant: rows with `keys` (what was set), `folder`, `same_as` (a variant whose runs they are),
        `compared_with` (the group's first variant; null for itself), `measures`, `differences` from that variant, and
        `alarms` (the seeds in which each went off). A measure has `value`, `low`, `high` (a 95 % t-interval over the
        seeds; of a single seed a normal one over prompts or pairs, where that is known) and `per_seed`. The difference
        in win rate is paired over prompts too, and has a `standard_error` over prompts.
    """
    arm = ablations.config.arm
    rows: dict[str, dict[str, Any]] = {}
    for group in groups:
        variants = ablations.config.groups[group]
        first = next(iter(variants))
        reference = runs[f"{group}/{first}"]
        rows[group] = {}
        for name, keys in variants.items():
            run = runs[f"{group}/{name}"]
            rows[group][name] = {
                "keys": keys,
                "folder": f"{group}/{name}",
                "same_as": run.same_as,
                "compared_with": None if name == first else first,
                "measures": _over_seeds(_measured(run, arm)),
                "differences": {} if name == first else _differences(run, reference, arm),
                "alarms": _alarms(run.results),
            }
    a_run = next(iter(runs.values()))
    return {
        "name": ablations.config.name,
        "arm": arm,
        "seeds": list(ablations.base.seeds),
        "sft": over_seeds([_estimate(results["win_rate"]["sft"]) for results in a_run.results.values()]),
        "groups": rows,
    }


def _measured(run: Finished, arm: str) -> dict[int, Measured]:
    model = run.recipe.arms[arm].reward_model
    return {seed: measures(results, arm, model) for seed, results in run.results.items()}


def _over_seeds(measured: Mapping[int, Measured]) -> dict[str, Any]:
    """What every seed measured."""
    return {name: over_seeds([of_seed[name] for of_seed in measured.values()]) for name in _common(measured)}


def _differences(run: Finished, reference: Finished, arm: str) -> dict[str, Any]:
    """Of all that both measured, seed by seed. Errors over pairs are not independent, and so not known."""
    ours, theirs = _measured(run, arm), _measured(reference, arm)
    names = [name for name in _common(ours) if name in _common(theirs)]
    gaps = {
        seed: {name: Estimate(ours[seed][name].value - theirs[seed][name].value, math.nan, 1) for name in names}
        for seed in ours
    }
    for seed, root in run.roots.items():
        gaps[seed]["win_rate"] = win_rate_difference(root, reference.roots[seed], arm)
    return _over_seeds(gaps)


def measures(results: Mapping[str, Any], arm: str, model: str | None) -> Measured:
    """What one seed's results say of an arm and its reward model; what they do not say is left out."""
    plain = {
        "mean_length": results["win_rate"][arm]["mean_length"],
        "kl": results.get("methods", {}).get(arm, {}).get("kl"),
        **(results["localisation"].get(model) or {}),
    }
    accuracies = results["reward_accuracy"].get(model) or {}
    return {
        "win_rate": _estimate(results["win_rate"][arm]),
        **{f"accuracy_{kind}": _estimate(row) for kind, row in accuracies.items()},
        **{name: Estimate(value, math.nan, 1) for name, value in plain.items() if value is not None},
    }


def _estimate(row: Mapping[str, Any]) -> Estimate:
    error = row["standard_error"]
    return Estimate(row["value"], math.nan if error is None else error, row["n"])


def _common(measured: Mapping[int, Measured]) -> list[str]:
    """Measures that every seed has."""
    first, *others = measured.values()
    return [name for name in first if all(name in other for other in others)]


def win_rate_difference(ours: Path, theirs: Path, arm: str) -> Estimate:
    """Difference of an arm's win rates in two runs of one seed, in points; paired over prompts if they share them.

    Args:
        ours, theirs: run folders.
        arm: its name in both.
    """
    first, second = (list(read_jsonl(root / "judge" / f"{arm}.jsonl", Comparison)) for root in (ours, theirs))
    scores = [scores_of([row.preference for row in rows]) for rows in (first, second)]
    if [(row.id, row.prompt) for row in first] == [(row.id, row.prompt) for row in second]:
        return paired_difference(*scores)
    means = [math.fsum(of_run) / len(of_run) for of_run in scores]
    return Estimate(100 * (means[0] - means[1]), math.nan, min(map(len, scores)))


def over_seeds(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Mean of one estimate a seed, with its 95 % interval; `standard_error` is that over prompts or pairs."""
    values = [estimate.value for estimate in estimates]
    error = math.sqrt(math.fsum(estimate.standard_error**2 for estimate in estimates)) / len(estimates)
    mean, low, high = mean_interval(values)
    if len(values) == 1:
        low, high = mean - NORMAL_95 * error, mean + NORMAL_95 * error
    return {"value": mean, "low": low, "high": high, "per_seed": values, "standard_error": error}


def _alarms(results: Mapping[int, Mapping[str, Any]]) -> dict[str, list[int]]:
    """The seeds in which each alarm went off."""
    found: dict[str, list[int]] = {}
    for seed, of_seed in results.items():
        for name in dict.fromkeys(alarm["name"] for alarm in of_seed.get("alarms", ())):
            found.setdefault(name, []).append(seed)
    return found


def share(stages: Sequence[StageSpec]) -> dict[str, StageSpec]:
    """By the key of each stage the one that is computed for it: the first that cannot but write the same.

    Two stages are one if name, seed and configuration are equal and so are their inputs: what another of `stages`
    writes is equal if it comes from stages that are one, and any other input if its content is. It must be there. So
    the inputs decide what the executor's fingerprint would, before they are written.

    Args:
        stages: of any number of runs, each after those it reads from; folders are unique.
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


def to_compute(owners: Mapping[str, StageSpec], wanted: Iterable[StageSpec]) -> list[StageSpec]:
    """The stages that are computed for those `wanted`, in order, each waiting for the owners of what it reads.

    A need that is none of the shared stages is taken to be met.
    """
    stages = {owners[stage.key].key: owners[stage.key] for stage in wanted}
    in_order = [owner for key, owner in owners.items() if key == owner.key and key in stages]
    return [
        replace(stage, needs=tuple(dict.fromkeys(owners[need].key for need in stage.needs if need in owners)))
        for stage in in_order
    ]


def link(stages: Iterable[StageSpec], owners: Mapping[str, StageSpec]) -> None:
    """Make every stage that another owns a link to the owner's folder, and no owner's folder a link.

    So nothing is written through a link: whoever writes has a folder of its own. A link may point to a folder that is
    still to be written.

    Raises:
        RedpencilError: if something stands in the way that redpencil did not write, or links cannot be made.
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
    """Take away a link, or what this stage wrote when it was nobody else's."""
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
"""First line of the recipe in the folder; it tells a folder of ablations from any other."""

Listening = Callable[[int], AbstractContextManager[Listener]]
"""Gives a listener for so many stages."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A recipe planned with all its seeds; `label` is its folder in that of the ablations."""

    label: str
    recipe: Recipe
    out: Path

    def root(self, seed: int) -> Path:
        """The run folder of one seed."""
        return self.out / self.label / f"seed-{seed}"

    def plan(self, seed: int) -> list[StageSpec]:
        """The stages of one seed."""
        return plan_run(self.recipe, self.root(seed), seed, f"{self.label}/seed-{seed}/")

    @property
    def stages(self) -> list[StageSpec]:
        """Those of all seeds."""
        return [stage for seed in self.recipe.seeds for stage in self.plan(seed)]


def run_ablations(
    ablations: Ablations,
    out: Path,
    *,
    listening: Listening,
    jobs: int | None = None,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Run every stage that is not complete yet; write and return `ablations.json`.

    Each seed of a variant has a run folder, `OUT/<group>/<variant>/seed-<n>`. What it has in common with the base, or
    with a variant before it, is there a link to the folder where it was or will be computed, such as one in
    `OUT/base/seed-<n>`. With `only`, nothing is computed but what these groups need.

    Raises:
        RedpencilError: if there is no such group, a file of a recipe is missing or does not fit, `out` holds something
            else or is in use, or a stage fails.
    """
    groups = _chosen(ablations, only)
    variants = [
        Variant(f"{group}/{name}", recipe, out)
        for group, members in ablations.groups.items()
        for name, recipe in members.items()
    ]
    every = [Variant(BASE, ablations.base, out), *variants]
    wanted = [variant for variant in variants if variant.label.split("/")[0] in groups]
    _check_inputs(variant.recipe for variant in every)
    _check_folder(out)
    with locked_folder(out):
        _write_ablations(ablations, out)
        jobs = jobs or ablations.base.compute.jobs or default_jobs(ablations.base.compute.device)
        owners = _compute(every, wanted, jobs, listening)
        runs = {variant.label: _finished(variant, owners) for variant in wanted}
        results: dict[str, Any] = finite({**compare(ablations, groups, runs), "environment": environment()})
        write_json(out / RESULTS, results)
    return results


def _chosen(ablations: Ablations, only: Sequence[str]) -> list[str]:
    for name in only:
        if name not in ablations.groups:
            known = ", ".join(ablations.groups)
            raise RedpencilError(f"there is no group called {name!r}", field="groups", hint=f"one of: {known}")
    return [name for name in ablations.groups if not only or name in only]


def _check_inputs(recipes: Iterable[Recipe]) -> None:
    """Look at what lies outside; a user's own files once for all recipes that read the same ones."""
    seen = []
    for recipe in recipes:
        outside = (recipe.files, recipe.prompt_template)
        if recipe.files is not None and outside not in seen:
            check_files(recipe.files, recipe.prompt_template)
            seen.append(outside)
        check_reward_models(recipe)


def _check_folder(out: Path) -> None:
    """Let pass a folder that is new or one of ablations; a folder with anything else in it is left alone."""
    recipe = out / RECIPE
    if recipe.is_file():
        ours = recipe.read_bytes().startswith(WRITTEN_HERE.encode())
    else:
        begun = {LOCK, partial_of(recipe).name}
        ours = not out.exists() or (out.is_dir() and {path.name for path in out.iterdir()} <= begun)
    if not ours:
        raise RedpencilError("the output folder exists and holds no ablations", file=out, hint="choose another --out")
    check_layout(out)


def _write_ablations(ablations: Ablations, out: Path) -> None:
    content = ablations.config.model_dump(mode="json", exclude={"overrides"}) | {
        "base": ablations.base.model_dump(mode="json", exclude_none=True),
        "seeds": list(ablations.base.seeds),
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    with whole_file(out / RECIPE) as file:
        file.write(f"{written_by(WRITTEN_HERE)}\n{text}".encode())


def _compute(
    every: Sequence[Variant], wanted: Sequence[Variant], jobs: int, listening: Listening
) -> dict[str, StageSpec]:
    """Run what the wanted variants need; returns by key who owns each stage of all of them.

    Stages that wait for nothing come first, such as the worlds, which take no time. Then the others know what they read
    of them by its content: two worlds that differ in the quality of edits alone write the same files.
    """
    owners: dict[str, StageSpec] = {}
    for first in (True, False):
        stages = [stage for variant in every for stage in variant.stages if first == (not stage.needs)]
        found = share(stages)
        link(stages, found)
        asked = [stage for variant in wanted for stage in variant.stages if stage.key in found]
        computed = to_compute(found, stages if first else asked)
        with listening(len(computed)) as listener:
            execute(computed, jobs=1 if first and every[0].recipe.world else jobs, listener=listener)
        owners |= found
    return owners


def _finished(variant: Variant, owners: Mapping[str, StageSpec]) -> Finished:
    """Complete the run folders of a variant. Where all stages are someone else's, it is the same run."""
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
