"""What a run shows, in sentences computed from its numbers."""

from dataclasses import dataclass
from typing import Literal

from redpencil.report.paper import ARMS, TABLE_1, TABLE_2
from redpencil.report.run_data import Efficiency, Estimate, Run, percent, plain, points, points_interval

Verdict = Literal["holds", "uncertain", "broken", "unknown"]
PAIRS = (("token", "edits"), ("token", "preference"), ("edits", "preference"))
LONGER = 1.25
"""Responses longer than the SFT policy's by this factor are worth a word (traps 13 and 17)."""


@dataclass(frozen=True, slots=True)
class Point:
    """A few sentences on one topic."""

    topic: str
    text: str


@dataclass(frozen=True, slots=True)
class Headline:
    """One sentence on the order of Table 1, and points on the rest.

    `verdict`: `holds` if the win rates stand in the paper's order and each gap's interval lies above 0; `uncertain`
    if only the order does; `broken` if it does not; `unknown` if an arm is absent.
    """

    verdict: Verdict
    lead: str
    points: tuple[Point, ...]


def headline(run: Run) -> Headline:
    """The headline of a run."""
    verdict = _verdict(run)
    found = (_gaps(run), _methods(run), _accuracy(run), _speed(run), _flaws(run), _length(run))
    return Headline(verdict, _lead(run, verdict), tuple(point for point in found if point is not None))


def _verdict(run: Run) -> Verdict:
    if any(arm not in run.win_rates for arm in ARMS):
        return "unknown"
    token, edits, preference = (run.win_rates[arm].share.value for arm in ARMS)
    if not token > edits > preference:
        return "broken"
    gaps = [run.differences.get(f"{better}-{worse}") for better, worse in PAIRS]
    return "holds" if all(gap is not None and gap.above_zero for gap in gaps) else "uncertain"


def _lead(run: Run, verdict: Verdict) -> str:
    best_first = sorted(
        (arm for arm in run.win_rates if arm not in ("sft", "reference")),
        key=lambda arm: -run.win_rates[arm].share.value,
    )
    rates = ", ".join(f"{arm} {percent(run.win_rates[arm].share)} %" for arm in best_first)
    if verdict == "unknown":
        absent = ", ".join(arm for arm in ARMS if arm not in run.win_rates)
        return f"Win rates: {rates or 'none'}. The paper's order cannot be judged without: {absent}."
    if verdict == "broken":
        return f"The paper's order of win rates does not come out. Here it is {rates}."
    if verdict == "uncertain":
        return f"The paper's order of win rates comes out, but not every gap is clear of chance: {rates}."
    of_what = "" if run.of_several else " over prompts"
    return f"The paper's order of win rates comes out, and every gap is clear of chance{of_what}: {rates}."


def _gaps(run: Run) -> Point | None:
    parts = [
        f"{better} over {worse} {_gap(run.differences[f'{better}-{worse}'])}"
        for better, worse in PAIRS
        if f"{better}-{worse}" in run.differences
    ]
    if not parts:
        return None
    paper = ", ".join(f"{TABLE_1[better].value - TABLE_1[worse].value:+.1f}" for better, worse in PAIRS)
    return Point("Gaps in points", _sentence(f"{'; '.join(parts)}. The paper's: {paper}."))


def _methods(run: Run) -> Point | None:
    """How the first arm of PPO stands to arms of other methods, whichever way it comes out."""
    others = [name for name, arm in run.arms.items() if not arm.by_ppo]
    gaps = {name: gap for name in others if (gap := _difference(run, run.first_arm, name)) is not None}
    if not gaps:
        return None
    ahead = [f"{name} {_gap(gap)}" for name, gap in gaps.items() if gap.above_zero]
    behind = [f"{name} {_gap(gap)}" for name, gap in gaps.items() if not (gap.above_zero or gap.covers_zero)]
    unclear = [f"{name} {_gap(gap)}" for name, gap in gaps.items() if gap.covers_zero]
    parts = (("is ahead of", ahead), ("is behind", behind), ("is not clearly apart from", unclear))
    text = "; it ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names)
    return Point("Other methods", f"The {run.first_arm} arm {text}.")


def _difference(run: Run, first: str, second: str) -> Estimate | None:
    """The gap of one arm over another, whichever of the two the results name first."""
    gap, turned = run.differences.get(f"{first}-{second}"), run.differences.get(f"{second}-{first}")
    if gap is not None or turned is None:
        return gap
    low, high = (None if end is None else -end for end in (turned.high, turned.low))
    return Estimate(-turned.value, low, high, turned.n)


def _gap(gap: Estimate) -> str:
    interval = points_interval(gap)
    if not interval:
        return f"{points(gap)} (no interval known)"
    return f"{points(gap)} ({interval}{', which covers 0' if gap.covers_zero else ''})"


def _accuracy(run: Run) -> Point | None:
    """Own kind against own kind, as the paper seems to show it, and then both on the same edits (trap 16)."""
    edits = run.accuracy.get("token_edits", {}).get("edits")
    preferences = run.accuracy.get("sequence_comparisons", {})
    own, same = preferences.get("comparisons"), preferences.get("edits")
    if edits is None or own is None:
        return None
    printed = [TABLE_2[key].value for key in (("token_edits", "edits"), ("sequence_comparisons", "comparisons"))]
    better = edits.value > own.value
    text = (
        f"{'As' if better else 'Unlike'} in the paper, the token model of edits judges its own kind of pairs "
        f"{'better' if better else 'no better'} than the model of preferences does: "
        f"{percent(edits)} % against {percent(own)} % (the paper: {printed[0]} against {printed[1]})."
    )
    sequence = run.accuracy.get("sequence_edits", {}).get("edits")
    if sequence is not None:
        text += f" A sequence model of edits: {percent(sequence)} %."
    if same is not None:
        text += f" On the same edits the model of preferences reaches {percent(same)} %."
    return Point("Reward models", text)


def _speed(run: Run) -> Point | None:
    sentences = [
        _efficiency(row, run.first_arm, arm) for arm, row in run.efficiency.items() if row.sequence_step is not None
    ]
    if not sentences:
        return None
    several = " Medians over seeds." if run.of_several else ""
    return Point("Speed", f"{' '.join(sentences)}{several} The paper says half of the time.")


def _efficiency(row: Efficiency, first: str, arm: str) -> str:
    goal = f"the best win rate of the {arm} arm"
    at = plain(row.sequence_step, 0)
    if row.ratio is None:
        return f"The {first} arm never reaches {goal}, which that arm has at step {at}."
    pace = "sooner" if row.ratio < 1 else "later" if row.ratio > 1 else "no sooner"
    steps = "" if row.token_step is None else f" (step {plain(row.token_step, 0)} against {at})"
    return f"The {first} arm reaches {goal} {pace} than that arm, in {plain(row.ratio, 2)} of its steps{steps}."


def _flaws(run: Run) -> Point | None:
    if "sft" not in run.flaws or "token" not in run.flaws:
        return None
    before, after = (sum(run.flaws[policy].values()) for policy in ("sft", "token"))
    verb = "fall" if after < before else "do not fall"
    text = f"They {verb} with the token arm: from {plain(before)} in 100 responses to {plain(after)}."
    risen = [
        f"{kind.replace('_', ' ')} ({plain(count)} to {plain(run.flaws['token'][kind])})"
        for kind, count in run.flaws["sft"].items()
        if run.flaws["token"].get(kind, 0.0) > count
    ]
    if risen and after < before:
        text += f" But these rise: {', '.join(risen)}."
    return Point("Flaws", text)


def _length(run: Run) -> Point | None:
    before = run.win_rates["sft"].mean_length if "sft" in run.win_rates else None
    if not before:
        return None
    longer = [
        f"{arm} {plain(row.mean_length)}"
        for arm, row in run.win_rates.items()
        if arm not in ("sft", "reference") and row.mean_length is not None and row.mean_length > LONGER * before
    ]
    if not longer:
        return None
    text = f"Responses grew: {', '.join(longer)} on average, against {plain(before)} before PPO. Mind the win rate."
    return Point("Length", text)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


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
