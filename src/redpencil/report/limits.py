"""What a run does not show, computed from what is and is not in it."""

from redpencil.report.paper import ARMS
from redpencil.report.sources import Run


def limits(run: Run) -> list[str]:
    """Sentences on scale, spread and doubt, then the warnings of the run."""
    found = []
    if run.of_several:
        found.append(
            f"{len(run.seeds)} seeds: intervals are over the mean results of seeds and assume that these scatter "
            "normally."
        )
    else:
        found.append("One seed: intervals are over prompts only. Another seed may order the arms differently.")
    if run.world:
        found.append(
            "The data are of the small world that ships with redpencil: a few dozen entities, a scripted editor, "
            "annotator and judge, and a model of under a million weights. It shows the method at work, not its effect "
            "on large models."
        )
    found.append(
        "The paper's figures stand beside these for their shape. Model, data, judge and hardware differ, so the values "
        "themselves are not comparable."
    )
    found += [text for arm in run.efficiency if (text := _no_gain(run, arm))]
    return found + list(run.warnings)


def _no_gain(run: Run, arm: str) -> str | None:
    """Whether an arm, whose best is the goal of Table 3, ever beat the policy that it started from."""
    seeds = []
    for seed, rows in run.curves.get(arm, {}).items():
        rates = [(row["step"], row["eval/win_rate"]) for row in rows if "eval/win_rate" in row]
        start = [rate for step, rate in rates if step == 0]
        if start and max((rate for step, rate in rates if step > 0), default=start[0]) <= start[0]:
            seeds.append(str(seed))
    if not seeds:
        return None
    where = f" in seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}" if run.of_several else ""
    return f"The {arm} arm never beat its own start on the validation prompts{where}: the speed against it says little."


def absences(run: Run) -> list[str]:
    """What the report would show and this run does not have, with the reason."""
    missing = ", ".join(arm for arm in ARMS if arm not in run.win_rates)
    checks = (
        (not missing, f"Table 1 lacks a row of the paper: {missing} was not run or not judged."),
        (run.differences, "No paired differences of win rates: they need two arms judged on the same prompts."),
        (run.accuracy, "No reward accuracy: no held-out pairs were scored."),
        (run.efficiency, "No training efficiency: it needs the token arm and a sequence arm, evaluated as they train."),
        (run.localisation, "No localisation: it needs flaws that are known token by token, as in the world."),
        (run.flaws, "No flaw counts: they need an oracle, as in the world."),
        (run.curves, "No learning curves: no PPO stage of this folder has metrics."),
        (run.edits, "No redlines: the folder holds no held-out edits (annotations/edits_test.jsonl)."),
        (run.heatmaps, "No token heat-maps: the folder holds none (evaluate/report_data.json)."),
        (run.stages, "No stage times: results.json has none."),
    )
    return [sentence for present, sentence in checks if not present]
