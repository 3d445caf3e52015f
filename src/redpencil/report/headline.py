"""Sentences on what a run shows and on what it does not show, computed from its numbers."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from redpencil.config.arms import RESERVED
from redpencil.evaluation.localisation import by_place, fault_name, weakness
from redpencil.report.markup import in_brackets, plain, points_interval, signed
from redpencil.report.paper import ARMS, MODEL_LABELS, NO_ARMS, TABLE_1, TABLE_2, TEST_LABELS, in_order, label, sides
from redpencil.report.run_data import Run, Speed
from redpencil.results import Figure, SeedMean

Verdict = Literal["holds", "uncertain", "broken", "unknown"]
PAIRS = (("token", "edits"), ("token", "preference"), ("edits", "preference"))
LONGER = 1.25
"""Factor by which responses may be longer than the SFT policy's before that is mentioned (traps 13 and 17)."""


@dataclass(frozen=True, slots=True)
class Point:
    """A few sentences on one topic."""

    topic: str
    text: str


@dataclass(frozen=True, slots=True)
class Headline:
    """One sentence on the order of Table 1, and points on the rest.

    `verdict` is `holds` if the win rates are in the paper's order and the interval of each gap lies above 0,
    `uncertain` if they are in that order only, `broken` if they are not, and `unknown` if an arm is missing.
    """

    verdict: Verdict
    lead: str
    points: tuple[Point, ...]


def headline(run: Run) -> Headline:
    """Sum up a run."""
    verdict = verdict_of(run)
    points = (
        _evidence(run),
        _gaps(run),
        _too_few(run),
        _gleu(run),
        _needs(run),
        _methods(run),
        _accuracy(run),
        _speed(run),
        _flaws(run),
        _length(run),
    )
    return Headline(verdict, _lead(run, verdict), tuple(point for point in points if point is not None))


def verdict_of(run: Run) -> Verdict:
    """Compare the order of the win rates with the paper's, as `Headline` describes it."""
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
    rates = ", ".join(f"{arm} {plain(run.win_rates[arm].share.value)} %" for arm in best_first)
    if not run.win_rates and run.accuracy:
        return _of_models(run)
    if verdict == "unknown":
        absent = ", ".join(arm for arm in ARMS if arm not in run.win_rates)
        return f"Win rates: {rates or 'none'}. The paper's order cannot be judged without: {absent}."
    if verdict == "broken":
        return f"The paper's order of win rates does not come out. Here it is {rates}."
    if verdict == "uncertain":
        return f"The paper's order of win rates comes out, but not every gap is clear of chance: {rates}."
    of_what = "" if run.of_several else " over prompts"
    return f"The paper's order of win rates comes out, and every gap is clear of chance{of_what}: {rates}."


def _evidence(run: Run) -> Point | None:
    """Say on how many prompts the policies were judged, and give each win rate with its interval."""
    rates = {arm: row for arm, row in run.win_rates.items() if arm != "reference"}
    if not rates:
        return None
    seeds = list(run.by_seed.values()) or [run]
    judged = sorted({row.counts.n for one in seeds for row in one.win_rates.values() if row.counts and row.counts.n})
    if not judged:
        return None
    prompts = f"{judged[0]:,}" if len(judged) == 1 else f"{judged[0]:,} to {judged[-1]:,}"
    how = f"Means over {len(run.seeds)} seeds of {prompts} prompts each" if run.of_several else f"{prompts} prompts"
    shares = ", ".join(f"{arm} {_share(row.share)}" for arm, row in rates.items())
    silent = sum(row.counts.unparsed for one in seeds for row in one.win_rates.values() if row.counts)
    without = f" {silent:,} comparisons have no verdict and count nowhere." if silent else ""
    return Point("Win rates over the reference", f"{how}: {shares}.{without}")


def _share(share: Figure) -> str:
    return f"{plain(share.value)} %{in_brackets(share) or ' (interval unknown)'}"


MANY_ARMS: Final = 6
"""Of more arms than this, a table of differences does not show all pairs."""


def shown_pairs(run: Run, pairs: Iterable[str], policies: Collection[str]) -> tuple[list[str], list[str]]:
    """Choose the differences between `policies` that a table shows, and say which it leaves out.

    Of many arms these are the ones from SFT and the unchanged source, and from the arm that was best on the validation
    prompts, of which nothing of the evaluation is known.
    """
    pairs = list(pairs)
    arms = [name for name in policies if name not in NO_ARMS]
    if len(arms) <= MANY_ARMS:
        return pairs, []
    best = _best_by_validation(run, arms)
    others = {*NO_ARMS, *([] if best is None else [best])}
    shown = [pair for pair in pairs if others.intersection(sides(pair, policies))]
    by = "" if best is None else f" and from {best}, the best of them on the validation prompts"
    return shown, [f"Of {len(arms)} arms, these are the differences from SFT{by}; results.json has those of all pairs."]


def _best_by_validation(run: Run, arms: Iterable[str]) -> str | None:
    """The arm with the highest GLEU or else win rate on the validation prompts; None where that was not measured."""
    for name in ("validation_gleu", "validation_win_rate"):
        measured = {
            arm: value for arm in arms if arm in run.costs and (value := getattr(run.costs[arm], name)) is not None
        }
        if measured:
            return max(measured, key=measured.__getitem__)
    return None


def _too_few(run: Run) -> Point | None:
    """Say which differences are smaller than chance, and how many prompts or seeds would show them."""
    shown, _ = shown_pairs(run, run.differences, run.win_rates)
    named = {pair: sides(pair, run.win_rates) for pair in shown}
    gaps = {" and ".join(both): run.differences[pair] for pair, both in named.items() if "sft" not in both}
    if not gaps:  # A single arm is weighed against the reference, which is at 50 %.
        alone = {arm: row.share for arm, row in run.win_rates.items() if arm not in NO_ARMS}
        gaps = {
            f"{arm} and the reference": share.model_copy(update={"value": share.value - 50} | _shifted(share, -50))
            for arm, share in alone.items()
        }
    what = "seeds" if run.of_several else "prompts"
    unclear = []
    for names, gap in gaps.items():
        if gap.covers_zero and gap.repeats:
            needed = gap.repeats_needed
            few = needed is None or needed <= gap.repeats
            more = "" if few else f" would need about {_rounded(needed or 0)} {what} in place of {gap.repeats:,}"
            unclear.append(f"{names} ({signed(gap.value)}){more}")
    if not unclear:
        return None
    return Point(
        "Too few to tell",
        f"{'; '.join(unclear)}. These differences are within chance here; the {what} named are those at which one of "
        "that size is found four times in five.",
    )


def _shifted(share: Figure, by: float) -> dict[str, object]:
    """What else moves with the value of a mean over seeds."""
    if not isinstance(share, SeedMean) or share.interval is None:
        return {}
    low, high = share.interval
    return {"low": low + by, "high": high + by, "per_seed": tuple(value + by for value in share.per_seed)}


def _rounded(count: int) -> str:
    """Write a number with its first two digits, since no more of it is known."""
    digits = max(0, len(str(count)) - 2)
    return f"{round(count, -digits):,}"


def _of_models(run: Run) -> str:
    """Sum up a run of reward models alone: the best on each test, beside the best rule that reads nothing."""
    table: Mapping[str, Mapping[str, Figure]] = run.accuracy if run.pooled is None else run.pooled.accuracy
    sentences = []
    for test in in_order((test for row in table.values() for test in row), TEST_LABELS):
        shares = {name: row[test] for name, row in table.items() if test in row}
        models = {name: share for name, share in shares.items() if name not in RESERVED["reward_models"]}
        rules = {name: share for name, share in shares.items() if name not in models}
        if models and rules:
            best, rule = (max(of, key=lambda name: of[name].value) for of in (models, rules))
            share, pairs = models[best], label(test, TEST_LABELS).lower()
            sentences.append(
                f"{label(best, MODEL_LABELS)} ranks {plain(share.value)} % of {pairs} right{in_brackets(share)}; "
                f"a rule that reads nothing {plain(rules[rule].value)} %."
            )
    return " ".join(sentences)


def _gleu(run: Run) -> Point | None:
    scores = [
        f"{policy} {plain(score.value)}{in_brackets(score)}"
        + (f", {_gap(gap)} over SFT" if (gap := run.gleu_differences.get(f"{policy}-sft")) is not None else "")
        for policy, score in run.gleu.items()
    ]
    return Point("GLEU against the references", f"{'; '.join(scores)}.") if scores else None


def _needs(run: Run) -> Point | None:
    """Say what an editor still changes in the answers of each policy, SFT first."""
    rows = {policy: run.needs[policy] for policy in in_order(run.needs, ["sft"])}
    if not rows:
        return None
    changed = ", ".join(
        f"{policy} {plain(row['words'].value)}{in_brackets(row['words'], 1, None)}"
        for policy, row in rows.items()
        if "words" in row
    )
    accepted = ", ".join(f"{policy} {_share(row['accepted'])}" for policy, row in rows.items() if "accepted" in row)
    words = f"Words changed in 100: {changed}." if changed else "No answer has a word."
    return Point("Edits still needed", f"{words} Answers that stand as they are: {accepted}.")


def _gaps(run: Run) -> Point | None:
    gaps = {(better, worse): run.differences.get(f"{better}-{worse}") for better, worse in PAIRS}
    text = "; ".join(f"{better} over {worse} {_gap(gap)}" for (better, worse), gap in gaps.items() if gap is not None)
    if not text:
        return None
    paper = ", ".join(f"{TABLE_1[better].value - TABLE_1[worse].value:+.1f}" for better, worse in PAIRS)
    return Point("Gaps in points", f"{text[0].upper()}{text[1:]}. The paper's: {paper}.")


def _methods(run: Run) -> Point | None:
    """Compare the first arm that samples as it trains with the arms of other methods, whichever is ahead."""
    if run.first_arm not in run.costs:
        return None
    method = run.costs[run.first_arm].method
    others = [name for name, costs in run.costs.items() if costs.method != method]
    gaps = {name: gap for name in others if (gap := _difference(run, run.first_arm, name)) is not None}
    if not gaps:
        return None
    ahead = [f"{name} {_gap(gap)}" for name, gap in gaps.items() if gap.above_zero]
    behind = [f"{name} {_gap(gap)}" for name, gap in gaps.items() if not (gap.above_zero or gap.covers_zero)]
    unclear = [f"{name} {_gap(gap)}" for name, gap in gaps.items() if gap.covers_zero]
    parts = (("is ahead of", ahead), ("is behind", behind), ("does not clearly differ from", unclear))
    text = "; it ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names)
    return Point("Other methods", f"The {run.first_arm} policy {text}.")


def _difference(run: Run, first: str, second: str) -> Figure | None:
    """Return the gap of one arm over another, whichever of the two the results name first."""
    gap, reverse = run.differences.get(f"{first}-{second}"), run.differences.get(f"{second}-{first}")
    return gap if gap is not None or reverse is None else -reverse


def _gap(gap: Figure) -> str:
    interval = points_interval(gap)
    if not interval:
        return f"{signed(gap.value)} (interval unknown)"
    return f"{signed(gap.value)} ({interval}{', which covers 0' if gap.covers_zero else ''})"


def _accuracy(run: Run) -> Point | None:
    """Compare models on their own kinds of pairs, as the paper seems to, and then on the same edits (trap 16)."""
    edits = run.accuracy.get("token_edits", {}).get("edits")
    preferences = run.accuracy.get("sequence_comparisons", {})
    own, same = preferences.get("comparisons"), preferences.get("edits")
    if edits is None or own is None:
        return None
    printed = [TABLE_2[key].value for key in (("token_edits", "edits"), ("sequence_comparisons", "comparisons"))]
    better = edits.value > own.value
    text = (
        f"{'As' if better else 'Unlike'} in the paper, the token model of edits ranks its own kind of pairs "
        f"{'better' if better else 'no better'} than the model of preferences ranks its own: "
        f"{plain(edits.value)} % against {plain(own.value)} % (the paper: {printed[0]} against {printed[1]})."
    )
    sequence = run.accuracy.get("sequence_edits", {}).get("edits")
    if sequence is not None:
        text += f" A sequence model of edits: {plain(sequence.value)} %."
    if same is not None:
        text += f" On these edits the model of preferences reaches {plain(same.value)} %."
    return Point("Reward models", text)


def _speed(run: Run) -> Point | None:
    sentences = [_pace(row, run.first_arm, arm) for arm, row in run.speeds.items() if row.sequence_step is not None]
    if not sentences:
        return None
    several = " Medians over seeds." if run.of_several else ""
    return Point("Speed", f"{' '.join(sentences)}{several} The paper reports half of the time.")


def _pace(row: Speed, first: str, arm: str) -> str:
    goal = f"the best win rate of the {arm} policy"
    at = plain(row.sequence_step, 0)
    if row.ratio is None:
        return f"The {first} policy never reaches {goal}, which that one has at step {at}."
    pace = "sooner" if row.ratio < 1 else "later" if row.ratio > 1 else "no sooner"
    steps = "" if row.token_step is None else f" (step {plain(row.token_step, 0)} against {at})"
    return f"The {first} policy reaches {goal} {pace} than that one, in {plain(row.ratio, 2)} of its steps{steps}."


def _flaws(run: Run) -> Point | None:
    if "sft" not in run.flaws or "token" not in run.flaws:
        return None
    before, after = (sum(run.flaws[policy].values()) for policy in ("sft", "token"))
    verb = "fall" if after < before else "do not fall"
    text = f"They {verb} with the token policy: from {plain(before)} in 100 responses to {plain(after)}."
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
    text = (
        f"Responses grew: {', '.join(longer)} on average, against {plain(before)} before training. Judges favour "
        "length, so take care with the win rate."
    )
    return Point("Length", text)


def limits(run: Run) -> list[str]:
    """Sentences on scale and spread, then the warnings of the run."""
    spread = "One seed: intervals are over prompts only. A different seed may order the policies differently."
    if run.of_several:
        spread = (
            f"{len(run.seeds)} seeds: intervals are of the mean over seeds and assume that the results of seeds are "
            "normally distributed."
        )
    world = (
        "The data come from the small world that ships with redpencil: a few dozen entities, a scripted editor, "
        "annotator and judge, and a model with fewer than a million weights. It shows the method at work, not its "
        "effect on large models."
    )
    paper = (
        "The paper's figures are given to compare orders and gaps. Model, data, judge and hardware differ, so the "
        "values themselves are not comparable."
    )
    no_gains = (text for arm in run.speeds if (text := _no_gain(run, arm)))
    return [spread, *([world] if run.world else []), paper, *no_gains, *_pooled_cautions(run), *run.warnings]


def _pooled_cautions(run: Run) -> list[str]:
    """Say which models point the wrong way, or find no more than the place does, over all folds."""
    found = []
    for model, kinds in ({} if run.pooled is None else run.pooled.within).items():
        for kind, one in kinds.items():
            later = kinds.get(f"{kind}_later")
            if later is None:
                continue
            told, name, what = (
                weakness(kind, one.low, one.high, later.value),
                label(model, MODEL_LABELS),
                fault_name(kind),
            )
            figure = f"AUROC {plain(one.value, 3)}{in_brackets(one, 3, 1.0)}"
            if told == "points_wrong":
                found.append(f"{name} points the wrong way over all folds: {what} get higher rewards, {figure}.")
            elif told == "place":
                place = f"by place {plain(by_place(later.value), 3)}"
                found.append(f"{name} finds {what} no better than their place does over all folds: {figure}, {place}.")
    return found


def _no_gain(run: Run, arm: str) -> str | None:
    """Say so if an arm, whose best is the goal of Table 3, never beat the policy that it started from."""
    seeds = []
    for seed, rows in run.curves.get(arm, {}).items():
        rates = [(row["step"], row["eval/win_rate"]) for row in rows if "eval/win_rate" in row]
        start = [rate for step, rate in rates if step == 0]
        if start and max((rate for step, rate in rates if step > 0), default=start[0]) <= start[0]:
            seeds.append(str(seed))
    if not seeds:
        return None
    where = f" in seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}" if run.of_several else ""
    return (
        f"The {arm} policy never beat its own start on the validation prompts{where}: a speed against it means little."
    )


def absences(run: Run) -> list[str]:
    """Sentences on what this run does not have to show, with the reason."""
    missing = ", ".join(arm for arm in ARMS if arm not in run.win_rates)
    alone = not run.win_rates and bool(run.accuracy)
    checks = (
        (alone or not missing, f"Table 1 lacks a row of the paper: {missing} was not run or not judged."),
        (
            alone or run.differences,
            "No paired differences of win rates: they need two policies judged on the same prompts.",
        ),
        (
            alone or run.needs,
            "No edits still needed: nobody edited the policies' answers to the evaluation prompts (`editor`).",
        ),
        (run.accuracy, "No reward accuracy: no held-out pairs were scored."),
        (
            alone or run.speeds,
            "No training efficiency: it needs two policies that learn from rewards, evaluated as they train.",
        ),
        (run.localisation, "No localisation: it needs a token reward model and held-out edits."),
        (alone or run.flaws, "No flaw counts: they need an oracle, which only the small world has."),
        (alone or run.curves, "No learning curves: no policy of this folder learned from rewards."),
        (run.edits, "No redlines: the folder has no held-out edits (annotations/edits_test.jsonl)."),
        (run.heatmaps, "No token heat-maps: the folder has none (evaluate/report_data.json)."),
        (run.stages, "No stage times: results.json has none."),
    )
    return [sentence for present, sentence in checks if not present]
