"""A recipe from start to results: one run folder, or one for each seed and their summary."""

from pathlib import Path
from typing import Any

import yaml

from redpencil.config import Recipe
from redpencil.pipeline.execute import Listener, default_jobs, execute
from redpencil.pipeline.plan import StageSpec, plan_run
from redpencil.pipeline.results import stage_seconds
from redpencil.pipeline.study import summarise
from redpencil.report.page import write_report
from redpencil.runs import environment, hash_input, read_json, write_json


def run_recipe(recipe: Recipe, out: Path, *, jobs: int | None, listener: Listener) -> Path:
    """Run every stage that is not complete yet, write `results.json`, `manifest.json` and `report.html`.

    Returns the path of the report.
    """
    out.mkdir(parents=True, exist_ok=True)
    several = len(recipe.seeds) > 1
    roots = {seed: out / f"seed-{seed}" if several else out for seed in recipe.seeds}
    plans = {seed: plan_run(recipe, root, seed, f"seed-{seed}/" if several else "") for seed, root in roots.items()}
    (out / "recipe.yaml").write_text(
        yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True), sort_keys=False), encoding="utf-8"
    )
    every_stage = [spec for plan in plans.values() for spec in plan]
    execute(every_stage, jobs=jobs or recipe.jobs or default_jobs(recipe.device), listener=listener)
    runs = {seed: _finish(recipe, roots[seed], plan) for seed, plan in plans.items()}
    if several:
        summary = {"name": recipe.name, "seeds": list(recipe.seeds), "summary": summarise(list(runs.values()))}
        write_json(out / "results.json", {**summary, "runs": {str(seed): results for seed, results in runs.items()}})
        _write_manifest(recipe, out, every_stage)
    return write_report(out)


def _finish(recipe: Recipe, root: Path, plan: list[StageSpec]) -> dict[str, Any]:
    results: dict[str, Any] = read_json(root / "evaluate" / "results.json")
    results["stages"] = stage_seconds(root, [spec.name for spec in plan], read_json)
    write_json(root / "results.json", results)
    _write_manifest(recipe, root, plan)
    return results


def _write_manifest(recipe: Recipe, root: Path, plan: list[StageSpec]) -> None:
    """The manifest of a run: its recipe, seeds, versions, commit, hashes of outside inputs, and cost."""
    inside = [spec.folder for spec in plan]
    outside = {
        str(path): hash_input(path)
        for spec in plan
        for path in spec.inputs.values()
        if not any(path.is_relative_to(folder) for folder in inside)
    }
    seconds = [read_json(spec.folder / "manifest.json")["seconds"] for spec in plan]
    write_json(
        root / "manifest.json",
        {
            "recipe": recipe.model_dump(mode="json", exclude_none=True),
            "seeds": list(recipe.seeds),
            "inputs": outside,
            "stage_seconds": round(sum(seconds), 1),
            **environment(),
        },
    )
