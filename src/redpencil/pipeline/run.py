"""A recipe from start to results: one run folder, or one for each seed and their summary."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from redpencil.config.data import ROWS_OF
from redpencil.config.recipe import Recipe
from redpencil.digests import check_outputs, hash_input
from redpencil.errors import RedpencilError
from redpencil.evaluation.diagnostics import result_alarms, training_alarms
from redpencil.files import PRIVATE, partial_of, whole_file
from redpencil.pipeline.context import Context
from redpencil.pipeline.execute import Listener, StageSpec, default_jobs, execute
from redpencil.pipeline.group import group
from redpencil.pipeline.plan import plan_run
from redpencil.report.run_page import write_report
from redpencil.results import (
    Evaluation,
    PooledResults,
    RunResults,
    StudyResults,
    parse_results,
    recipe_digest,
    write_results,
)
from redpencil.rounds import unrolled
from redpencil.runs import check_layout, environment, locked, read_metrics, write_json, written_by
from redpencil.text import read_json

RECIPE = "recipe.yaml"
WRITTEN_HERE = "# The recipe of this run with every default spelled out, written by redpencil"
"""How a run folder's recipe begins; it tells a run folder from any other."""
LOCK = ".lock"


def run_recipe(recipe: Recipe, out: Path, *, jobs: int | None, listener: Listener, verify: bool = False) -> Path:
    """Run every stage that is not complete yet, write `results.json`, `manifest.json` and `report.html`.

    With `verify` all files of complete stages are read first, the large ones as a whole too. Returns the path of the
    report.

    Of several processes that run it together the first one checks, writes and decides; all work on the stages.

    Raises:
        RedpencilError: if a file of the recipe is missing or does not fit, `out` holds something else or is in use by
            another run, a complete stage is not what was written, a stage fails, or not all processes see `out`.
        Stopped: if it was asked to stop.
    """
    group().on_first(lambda: _check(recipe, out))
    roots, plans = plan_seeds(recipe, out)
    every_stage = [spec for plan in plans.values() for spec in plan]
    with ExitStack() as held:

        def begin() -> None:
            held.enter_context(locked_folder(out))
            write_recipe(recipe, out)
            if recipe.editor is not None and recipe.editor.project is not None:
                from redpencil.pipeline.people import withdraw_old

                withdraw_old(recipe.editor, out, (spec.folder for spec in every_stage))
            if verify:
                verify_stages(every_stage)

        group().on_first(begin)
        group().check_shared(out)
        execute(every_stage, jobs=jobs or default_jobs(recipe.compute), listener=listener)
        return Path(group().on_first(lambda: str(_finish(recipe, out, roots, plans))))


def _check(recipe: Recipe, out: Path) -> None:
    """Refuse files that do not fit and an output folder of something else, before anything is written."""
    ready_made = any(model.folder is not None for model in recipe.reward_models.values())
    if recipe.files is not None or recipe.judge is not None or recipe.editor is not None or ready_made:
        # It loads torch, which most runs need in workers alone.
        from redpencil.pipeline.inputs import check_inputs

        check_inputs([recipe])
    check_folder(out / RECIPE, WRITTEN_HERE, "the output folder exists and is not a run of redpencil")


def _finish(recipe: Recipe, out: Path, roots: Mapping[int, Path], plans: Mapping[int, list[StageSpec]]) -> Path:
    """Write results, manifests and the report of a run whose stages are all complete; returns the report's path."""
    runs = {seed: finish_seed(recipe, roots[seed], plan) for seed, plan in plans.items()}
    if len(recipe.seeds) > 1:
        from redpencil.pipeline.results import summarise

        results = StudyResults(
            name=recipe.name,
            seeds=recipe.seeds,
            recipe_sha256=recipe_sha256(recipe),
            summary=summarise(list(runs.values()), _pooled(recipe, roots)),
            runs=runs,
        )
        write_results(out / "results.json", results)
        _write_manifest(recipe, out, [spec for plan in plans.values() for spec in plan])
    return write_report(out)


def plan_seeds(recipe: Recipe, out: Path) -> tuple[dict[int, Path], dict[int, list[StageSpec]]]:
    """Return the folder and the stages of each seed."""
    several = len(recipe.seeds) > 1
    roots = {seed: out / f"seed-{seed}" if several else out for seed in recipe.seeds}
    return roots, {seed: plan_run(recipe, roots[seed], seed, f"seed-{seed}/" if several else "") for seed in roots}


def _pooled(recipe: Recipe, roots: Mapping[int, Path]) -> PooledResults | None:
    if recipe.files is None or recipe.files.folds is None:
        return None
    from redpencil.pipeline.folds import pool_folds  # it loads torch

    return pool_folds(roots, recipe.files.folds)


def verify_stages(stages: Iterable[StageSpec]) -> None:
    """Read all files of the stages that are complete.

    Raises:
        RedpencilError: as `check_outputs`.
    """
    for folder in {spec.folder.resolve() for spec in stages}:
        check_outputs(folder, whole=True)


def recipe_sha256(recipe: Recipe) -> str:
    """Digest of what decides a recipe's results; see `recipe_digest`."""
    return recipe_digest(recipe.model_dump(mode="json"))


def check_folder(recipe: Path, mark: str, problem: str) -> None:
    """Let pass the folder of a `recipe` if it is new or the recipe starts with `mark`; else it is left alone.

    Raises:
        RedpencilError: if it holds something else, which is the `problem`, or was written by a version with another
            layout.
    """
    out = recipe.parent
    if recipe.is_file():
        ours = recipe.read_bytes().startswith(mark.encode())
    else:
        begun = {LOCK, partial_of(recipe).name}
        ours = not out.exists() or (out.is_dir() and {path.name for path in out.iterdir()} <= begun)
    if not ours:
        raise RedpencilError(problem, file=out, hint="choose another --out")
    check_layout(out)


@contextmanager
def locked_folder(out: Path) -> Iterator[None]:
    """Make the folder and hold it for as long as the block lasts.

    The system lets go of the lock when the process ends, however it ends.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = os.fdopen(os.open(out / LOCK, os.O_RDWR | os.O_CREAT | os.O_APPEND, PRIVATE), "a+")
    except OSError as error:
        raise RedpencilError(
            f"cannot make the folder ({error.strerror})", file=out, hint="choose another --out"
        ) from None
    with lock:
        if not locked(lock.fileno()):
            lock.seek(0)
            raise RedpencilError(
                f"another run is using this folder (process {lock.read().strip()})",
                file=out,
                hint="wait for it to end, or choose another --out",
            )
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def write_recipe(recipe: Recipe, out: Path) -> None:
    """Write the recipe with every default spelled out; its first line marks the folder as a run."""
    write_marked(out / RECIPE, WRITTEN_HERE, recipe.model_dump(mode="json"))


def write_marked(path: Path, mark: str, content: Mapping[str, Any]) -> None:
    """Write YAML that starts with `mark` and the version, by which the folder is known."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    with whole_file(path) as file:
        file.write(f"{written_by(mark)}\n{text}".encode())


def finish_seed(recipe: Recipe, root: Path, plan: list[StageSpec]) -> RunResults:
    """Write results and manifest of one seed, whose stages are all complete; returns its results."""
    # It loads torch, which only workers need while stages run.
    from redpencil.pipeline.results import arm_costs, measured_beside, skipped_rows, stage_costs

    context, names = plan[0].context, [spec.name for spec in plan]
    file = root / "evaluate" / "results.json"
    evaluation = parse_results(read_json(file), Evaluation, file)
    results = RunResults.model_validate(
        {
            **evaluation.model_dump(),
            "name": recipe.name,
            "recipe_sha256": recipe_sha256(recipe),
            "methods": arm_costs(context),
            **measured_beside(context),
            "split": read_json(root / "annotations" / "manifest.json")["notes"].get("split"),
            "warnings": skipped_rows(root, names),
            "stages": stage_costs(root, names),
        }
    )
    raised = run_alarms(recipe, root, results.model_dump())
    results = RunResults.model_validate({**results.model_dump(), "diagnostics": raised})
    write_results(root / "results.json", results)
    _write_manifest(recipe, root, plan)
    return results


def run_alarms(recipe: Recipe, root: Path, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All alarms of one seed's run, as `results.json` keeps them."""
    own_kind, recipe = {}, unrolled(recipe)
    for name, model in recipe.reward_models.items():
        clean = f"{model.pairs}_clean"  # without label noise
        own_kind[name] = clean if clean in results.get("reward_accuracy", {}).get(name, {}) else ROWS_OF[model.pairs]
    alarms = result_alarms(results, own_kind, recipe.alarms)
    paths = Context(recipe, root, 0).paths
    for stage in (paths.training(arm) for arm in recipe.arms):
        alarms += training_alarms(read_metrics(stage), recipe.alarms, stage.name)
    return [{**asdict(alarm), "advice": alarm.advice} for alarm in alarms]


def time_covered(spans: Iterable[tuple[datetime, datetime]]) -> timedelta:
    """Add up the time in which at least one of the spans lasts, as where stages ran side by side, or on two days."""
    total, until = timedelta(), datetime.min.replace(tzinfo=UTC)
    for start, end in sorted(spans):
        total += max(timedelta(), end - max(start, until))
        until = max(until, end)
    return total


def _write_manifest(recipe: Recipe, root: Path, plan: list[StageSpec]) -> None:
    """The manifest of a run: its recipe, seeds, versions, commit, hashes of outside inputs, and cost.

    By `stages` and `results` a report sees whether its results are of the stages in the folder.
    """
    inside = [spec.folder for spec in plan]
    outside = {
        str(path): hash_input(path)
        for spec in plan
        for path in spec.inputs.values()
        if not any(path.is_relative_to(folder) for folder in inside)
    }
    stages = {spec.folder.relative_to(root).as_posix(): read_json(spec.folder / "manifest.json") for spec in plan}
    starts = [datetime.fromisoformat(stage["started"]) for stage in stages.values()]
    ends = [start + timedelta(seconds=stage["seconds"]) for start, stage in zip(starts, stages.values(), strict=True)]
    write_json(
        root / "manifest.json",
        {
            "recipe": recipe.model_dump(mode="json", exclude_none=True),
            "seeds": list(recipe.seeds),
            "inputs": outside,
            "started": min(starts).isoformat(timespec="seconds"),
            "finished": max(ends).isoformat(timespec="seconds"),
            "wall_seconds": round(time_covered(zip(starts, ends, strict=True)).total_seconds(), 1),
            "stage_seconds": round(sum(stage["seconds"] for stage in stages.values()), 1),
            "stages": {name: stage["fingerprint"] for name, stage in stages.items()},
            "results": hash_input(root / "results.json"),
            **environment(),
        },
    )
