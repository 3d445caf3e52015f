"""The last stages of a run: judge and evaluate, and the results of one seed and of several."""

import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from redpencil.audit.trivial_rules import Texts
from redpencil.config.data import PairKind
from redpencil.config.training import AlignConfig
from redpencil.errors import RedpencilError
from redpencil.evaluation.edits_needed import MEASURED, MEASURES, edits_needed, needs_difference
from redpencil.evaluation.gleu import gleu, resampled_gleu
from redpencil.evaluation.judges import gleu_counts, judge_pairings, pair_outputs
from redpencil.evaluation.localisation import FAULTS, auroc
from redpencil.evaluation.reward_eval import (
    ModelEvals,
    RewardEvals,
    Scores,
    TestSet,
    evaluate_rewards,
    margins_of_rules,
    summarise_test,
)
from redpencil.evaluation.statistics import (
    mean_interval,
    paired_difference,
    percentile_interval,
    scores_of,
    win_rate,
)
from redpencil.evaluation.win_rate import time_to_reach
from redpencil.models.checkpoints import RewardModel, load_reward_model
from redpencil.models.codec import Codec
from redpencil.pipeline.context import Context
from redpencil.pipeline.editing import edit_answers
from redpencil.pipeline.folds import ITEMS, count_items
from redpencil.pipeline.judging import make_judge
from redpencil.pipeline.llm_judging import judge_by_llm
from redpencil.pipeline.reward_eval import EXAMPLES, Held, encode_with, score_pairs, texts_of
from redpencil.records import Comparison, Edit, Pair, Preference, Response, read_jsonl, source_of, write_jsonl
from redpencil.report.reward_eval import write_reward_eval
from redpencil.report.run_data import MICROSCOPE
from redpencil.results import (
    ArmCosts,
    EditsNeeded,
    Efficiency,
    EfficiencySummary,
    Estimate,
    Evaluation,
    Figure,
    GleuResults,
    Heatmap,
    Needed,
    NeedsDifference,
    PooledResults,
    Ranged,
    ReportData,
    RunResults,
    SeedMean,
    StageCost,
    Summary,
    WinRate,
    Within,
    parse_results,
    write_results,
)
from redpencil.runs import Stage, read_metrics
from redpencil.text import read_json
from redpencil.world.build import make_oracle
from redpencil.world.oracle import Oracle

NEEDED, GLEU = "needed.json", "gleu.json"
SOURCE: Final = "source"
"""The unchanged source of each prompt, which stands among the policies where references edit or judge."""
HEATMAPS = 8
"""Heat-maps in the report: this many of bad responses and as many of good ones."""


def judge(context: Context, stage: Stage) -> None:
    """Compare every policy's outputs with the reference's; what has no verdict is counted and told.

    Raises:
        RedpencilError: if a policy has no verdict at all.
    """
    paths = context.paths
    reference = list(read_jsonl(paths.reference_outputs("evaluation"), Response))
    pairings = {name: pair_outputs(read_jsonl(paths.outputs(name), Response), reference) for name in context.policies}
    if context.recipe.who_judges.provider is not None:
        judged = judge_by_llm(context, stage, pairings)
    else:
        judging = make_judge(context)
        judged = {name: judge_pairings(judging, rows) for name, rows in pairings.items()}
    for name, rows in judged.items():
        write_jsonl(stage.folder / f"{name}.jsonl", rows)
        missing = sum(row.preference is Preference.NONE for row in rows)
        if missing == len(rows):
            raise RedpencilError(
                f"none of the {len(rows):,} answers of {name} has a verdict",
                file=context.recipe.who_judges.verdicts,
                field="judge",
                hint=f"have {paths.outputs(name)} compared with {paths.reference_outputs('evaluation')}",
            )
        if missing:
            stage.remark(f"{missing:,} of the {len(rows):,} answers of {name} have no verdict and count in no win rate")
    if context.recipe.who_judges.rule == "references":
        write_results(stage.folder / GLEU, _measure_gleu(context, stage))


def compared_policies(context: Context, policies: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of policies of which a report shows a difference besides that of win rates: with SFT, of two arms, and with
    the unchanged source, if it is one of `policies`.
    """
    pairs = [*((arm, "sft") for arm in context.recipe.arms), *combinations(context.recipe.arms, 2)]
    return pairs + [(policy, SOURCE) for policy in context.policies if SOURCE in policies]


def _unchanged(responses: Sequence[Response], stage: Stage) -> dict[str, list[Response]]:
    """The texts that the prompts ask to improve, as if they were the responses: what doing nothing is worth.

    Nothing where a prompt has no such text: one that is a conversation without a source or an input, or whose source is
    no text, which is remarked on.
    """
    if any("messages" in row.meta and not (row.meta.get("source") or row.meta.get("input")) for row in responses):
        return {}
    try:
        texts = [source_of(row.id, row.prompt, row.meta) for row in responses]
    except RedpencilError as error:
        stage.remark(f"the unchanged source does not stand among the policies: {error.problem}")
        return {}
    return {SOURCE: [replace(row, response=text, finished=True) for row, text in zip(responses, texts, strict=True)]}


def _measure_gleu(context: Context, stage: Stage) -> GleuResults:
    """GLEU of all policies on the prompts that all answered; intervals are over sentences and draws of a reference."""
    answers = {
        name: {row.id: row for row in read_jsonl(context.paths.outputs(name), Response)} for name in context.policies
    }
    shared = [one for one in answers["sft"] if all(one in rows for rows in answers.values())]
    answered = {name: [rows[one] for one in shared] for name, rows in answers.items()}
    answered |= _unchanged(answered["sft"], stage)
    counts = {name: gleu_counts(rows) for name, rows in answered.items()}
    values = {name: gleu(of_policy) for name, of_policy in counts.items()}
    drawn = dict(zip(counts, resampled_gleu(list(counts.values())).T, strict=True))
    return GleuResults(
        n=len(shared),
        policies={name: _ranged(values[name], drawn[name]) for name in counts},
        differences={
            f"{first}-{second}": _ranged(values[first] - values[second], drawn[first] - drawn[second])
            for first, second in compared_policies(context, answered)
        },
    )


def _ranged(value: float, drawn: npt.NDArray[np.float64]) -> Ranged:
    low, high = percentile_interval(drawn)
    return Ranged(value=value, low=low, high=high)


def needed(context: Context, stage: Stage) -> None:
    """Write what the recipe's editor makes of each policy's answers, and `needed.json`, which measures these edits.

    A policy of which no answer has an edit is not in it; `edit_answers` remarks on it.

    Raises:
        RedpencilError: as `edit_answers`.
    """
    answers = {name: list(read_jsonl(context.paths.outputs(name), Response)) for name in context.policies}
    if context.editor is not None and context.editor.rule == "references":
        answers |= _unchanged(answers["sft"], stage)
    edits = edit_answers(context, stage, answers, measuring=True)
    for name, rows in edits.items():
        write_jsonl(stage.folder / f"{name}.jsonl", rows)
    spacing = not context.recipe.align.restore_spacing
    policies = {
        name: edits_needed(rows, spacing=spacing)
        for name, rows in edits.items()
        if any(row.outcome in MEASURED for row in rows)
    }
    differences = {}
    for first, second in compared_policies(context, edits):
        difference = needs_difference(edits[first], edits[second], spacing=spacing)
        if difference is not None:
            differences[f"{first}-{second}"] = asdict(difference)
    editors = dict.fromkeys(row.editor for rows in edits.values() for row in rows if row.editor)
    measured = {"editors": list(editors), "policies": {name: asdict(row) for name, row in policies.items()}}
    write_results(stage.folder / NEEDED, Needed.model_validate({**measured, "differences": differences}))


def measured_beside(context: Context) -> dict[str, Any]:
    """Read what the stages `judge` and `needed` measured besides verdicts and edits, by its key in the results."""
    found: dict[str, Any] = {}
    if context.policies and context.recipe.who_judges.rule == "references":
        file = context.root / "judge" / GLEU
        found["gleu"] = parse_results(read_json(file), GleuResults, file)
    if context.measures_needs:
        file = context.root / "needed" / NEEDED
        found["edits_needed"] = parse_results(read_json(file), Needed, file)
    return found


def evaluate(context: Context, stage: Stage) -> None:
    """Write `results.json` and `report_data.json`."""
    models = {
        name: load_reward_model(context.paths.reward_model(name), context.runtime, policy_codec=context.codec)
        for name in context.recipe.reward_models
    }
    win_rates, differences = _win_rates(context)
    examined = _examine(context, models)
    localisation, heatmaps = _token_rewards(context, models, examined)
    evaluation = Evaluation(
        name=context.recipe.name,
        seed=context.seed,
        win_rate=win_rates,
        win_rate_difference=differences,
        reward_accuracy=_accuracies(examined),
        localisation=localisation,
        within=_within(examined),
        flaws=_flaws(context),
        **by_compared_arm(_efficiencies(context)),
    )
    write_results(stage.folder / "results.json", evaluation)
    write_results(stage.folder / "report_data.json", ReportData(heatmaps=tuple(heatmaps)))
    if context.recipe.reward_models:
        write_reward_eval(examined.evals, stage.folder / MICROSCOPE)
    if context.recipe.files is not None and context.recipe.files.folds is not None:
        write_results(stage.folder / ITEMS, count_items(examined.tests, examined.rules, examined.scored))


def _win_rates(context: Context) -> tuple[dict[str, WinRate], dict[str, Estimate]]:
    """Win rate of each policy, and differences between arms and of each from SFT, paired over prompts."""
    rates: dict[str, WinRate] = {}
    scores: dict[str, dict[str, float]] = {}
    for name in context.policies:
        verdicts = list(read_jsonl(context.root / "judge" / f"{name}.jsonl", Comparison))
        preferences = [verdict.preference for verdict in verdicts]
        rate = win_rate(preferences, [len(verdict.first.split()) for verdict in verdicts])
        rates[name] = WinRate.model_validate(rate, from_attributes=True)
        decided = [verdict for verdict in verdicts if verdict.preference is not Preference.NONE]
        names = [verdict.id for verdict in decided]
        scores[name] = dict(zip(names, scores_of([verdict.preference for verdict in decided]), strict=True))
    differences = {}
    for first, second in (*combinations(context.recipe.arms, 2), *((arm, "sft") for arm in context.recipe.arms)):
        both = [name for name in scores[first] if name in scores[second]]
        if both:
            pairs = [[scores[policy][name] for name in both] for policy in (first, second)]
            differences[f"{first}-{second}"] = _estimate(paired_difference(*pairs))
    return rates, differences


def _estimate(measured: object) -> Estimate:
    return Estimate.model_validate(measured, from_attributes=True)


@dataclass(frozen=True, slots=True)
class Examined:
    """Reward models on all held-out sets: these in the policy's tokens, with the margins of trivial rules; evaluations;
    sets and scores by model.
    """

    tests: Mapping[str, TestSet]
    rules: Mapping[str, Mapping[str, Sequence[float]]]
    evals: RewardEvals
    scored: Mapping[str, Mapping[str, tuple[TestSet, Scores]]]


def _examine(context: Context, models: Mapping[str, RewardModel]) -> Examined:
    files = sorted(context.paths.annotations.glob("*_test.jsonl"))
    held = [_held_out(path) for path in files]
    tests = _encoded(context, held, context.codec)
    rules = {one.name: margins_of_rules(tests[one.name], _training_texts(context, one)) for one in held}
    scored: dict[str, dict[str, tuple[TestSet, Scores]]] = {}
    readings: dict[str, ModelEvals] = {}
    for name, model in models.items():
        # Another tokenizer, or template, makes other tokens of the texts.
        own = tests if model.same_encoding else _encoded(context, held, model.model.codec)
        scored[name] = {
            kind: (test, score_pairs(test.pairs, model, store=context.features)) for kind, test in own.items()
        }
        evals = {kind: evaluate_rewards(*one, examples=EXAMPLES) for kind, one in scored[name].items()}
        readings[name] = ModelEvals(model.card.level, model.card.trained_on, evals)
    summaries = {kind: summarise_test(test, rules[kind]) for kind, test in tests.items()}
    return Examined(tests, rules, RewardEvals(readings, summaries), scored)


def _training_texts(context: Context, held: Held) -> Texts:
    record: Any = Edit if held.kind == "edits" else Comparison
    path = context.paths.annotations / f"{held.kind}_train.jsonl"
    return texts_of(read_jsonl(path, record), context.recipe.align)


def _held_out(path: Path) -> Held:
    name = path.name.removesuffix("_test.jsonl")
    if name == "edits":
        return Held(name, "edits", list(read_jsonl(path, Edit)), path)
    return Held(name, "comparisons", list(read_jsonl(path, Comparison)), path)


def _encoded(context: Context, held: Sequence[Held], codec: Codec) -> dict[str, TestSet]:
    return {one.name: encode_with(one, codec, _align_config(context, codec)) for one in held}


def _accuracies(examined: Examined) -> dict[str, dict[str, Estimate]]:
    """Accuracy of each model on every held-out set, and of the rules that read nothing."""
    models = examined.evals.models.items()
    matrix = {name: {kind: _estimate(one.accuracy) for kind, one in row.readings.items()} for name, row in models}
    for kind, test in examined.evals.tests.items():
        for rule, share in test.rules.items():
            matrix.setdefault(rule, {})[kind] = _estimate(share)
    return matrix


def _within(examined: Examined) -> dict[str, dict[str, Within]]:
    """Localisation within a response by model and kind of token, with that of the place alone."""
    found: dict[str, dict[str, Within]] = {}
    for name, model in examined.evals.models.items():
        reading = model.readings.get("edits")
        kinds = {} if reading is None else {kind: getattr(reading, kind) for kind in FAULTS}
        for kind, one in {**kinds, **((reading and reading.error_types) or {})}.items():
            if one is not None:
                ends = {
                    key: getattr(one, key) for key in ("low", "high", "later", "later_low", "later_high", "responses")
                }
                found.setdefault(name, {})[kind] = Within(value=one.within_auroc, **ends)
    return found


def _align_config(context: Context, codec: Codec) -> AlignConfig:
    """The recipe's alignment options; for another tokenizer the model's context is the limit, since `max_length` counts
    the policy's tokens.
    """
    config = context.recipe.align
    if codec is context.codec:
        return config
    return config.model_copy(update={"max_length": codec.context or sys.maxsize})


def _efficiencies(context: Context) -> dict[str, Efficiency]:
    """By arm: when the first online arm reaches the best win rate of each other one, in steps and seconds (Table 3)."""
    curves = {}
    for arm in context.sampling_arms:
        if context.recipe.arms[arm].start is not None:  # its steps come on top of another arm's
            continue
        rows = read_metrics(context.paths.training(arm))
        curves[arm] = [
            (int(row["step"]), row["seconds"], row["eval/win_rate"]) for row in rows if "eval/win_rate" in row
        ]
    if not curves or not all(curves.values()):  # as where nobody judged while they trained
        return {}
    first, *others = curves
    measured = {other: time_to_reach(curves[first], curves[other]) for other in others}
    return {other: Efficiency.model_validate({"arm": other, **asdict(row)}) for other, row in measured.items()}


def by_compared_arm(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Give rows by arm their keys in the results: `efficiency` for the first one, `efficiency_<arm>` for others."""
    return {f"efficiency_{arm}" if place else "efficiency": row for place, (arm, row) in enumerate(rows.items())}


def _oracle(context: Context) -> Oracle | None:
    world = context.recipe.world
    return None if world is None else make_oracle(world)


def _flaws(context: Context) -> dict[str, dict[str, float]] | None:
    """Flaws of each kind, and missing facts, per 100 responses of each policy."""
    oracle = _oracle(context)
    if oracle is None or not context.policies:
        return None
    paths = {name: context.paths.outputs(name) for name in context.policies}
    paths["reference"] = context.paths.reference_outputs("evaluation")
    return {name: _flaw_rates(oracle, read_jsonl(path, Response)) for name, path in paths.items()}


def _flaw_rates(oracle: Oracle, responses: Iterable[Response]) -> dict[str, float]:
    counts: Counter[str] = Counter({kind.value: 0 for kind in oracle.domain.flaw_kinds})
    counts["missing"] = 0
    total = 0
    for response in responses:
        verdict = oracle.inspect(response.prompt, response.response)
        counts.update(flaw.kind.value for flaw in verdict.flaws)
        counts["missing"] += len(verdict.missing)
        total += 1
    return {kind: 100 * count / total for kind, count in counts.items()}


@dataclass(frozen=True, slots=True)
class HeldOutEdit:
    """A held-out edit, as text and as a pair of token ids."""

    pair: Pair
    edit: Edit


def _token_rewards(
    context: Context, models: Mapping[str, RewardModel], examined: Examined
) -> tuple[dict[str, dict[str, float | None]], list[Heatmap]]:
    """Localisation of every token-level model on held-out originals, and heat-maps of some of them."""
    oracle = _oracle(context)
    localisation: dict[str, dict[str, float | None]] = {}
    heatmaps: list[Heatmap] = []
    for name, model in models.items():
        test, scores = examined.scored[name]["edits"]
        edited = examined.evals.models[name].readings["edits"].edited
        if scores.rejected_tokens is None or edited is None:
            continue
        rows = [HeldOutEdit(pair, edit) for pair, edit in zip(test.pairs, test.edits, strict=True)]
        rewards = [row.tolist() for row in scores.rejected_tokens]
        codec = model.model.codec
        localisation[name] = {"edited_auroc": edited.auroc}
        if oracle is not None:
            localisation[name] |= _against_oracle(codec, oracle, rows, rewards)
        center = model.card.center if context.pays_centred(name) else 0.0
        heatmaps += _heatmaps(codec, name, oracle, rows, rewards, center)
    return localisation, heatmaps


def _against_oracle(
    codec: Codec, oracle: Oracle, rows: Sequence[HeldOutEdit], rewards: Sequence[Sequence[float]]
) -> dict[str, float | None]:
    """AUROC of -r_t for the oracle's flaws: over all tokens, among words that fill the same slot (trap 15), and at the
    end of sequence where a requested fact is missing (trap 14).
    """
    scores: list[float] = []
    labels: list[bool] = []
    values: list[tuple[float, bool, str]] = []
    ends: list[tuple[float, bool]] = []
    offsets = codec.encode_responses([row.edit.original for row in rows])
    for row, tokens, token_rewards in zip(rows, offsets, rewards, strict=True):
        verdict = oracle.inspect(row.edit.prompt, row.edit.original)
        for (start, end), reward in zip(tokens.offsets, token_rewards, strict=False):
            if start == end:
                ends.append((-reward, bool(verdict.missing)))
                continue
            scores.append(-reward)
            labels.append(verdict.flaw_at(start, end) is not None)
            spans = (span for span in verdict.value_spans if span.start < end and start < span.end)
            values += [(-reward, not span.correct, span.slot) for span in spans]
    return {
        "auroc": auroc(scores, labels),
        "values_auroc": auroc([v[0] for v in values], [v[1] for v in values], [v[2] for v in values]),
        "eos_missing_auroc": auroc([e[0] for e in ends], [e[1] for e in ends]),
    }


def _heatmaps(
    codec: Codec,
    name: str,
    oracle: Oracle | None,
    rows: Sequence[HeldOutEdit],
    rewards: Sequence[Sequence[float]],
    center: float,
) -> list[Heatmap]:
    """Token rewards minus `center` of the worst and the best responses, by the oracle or by the share of edits."""
    order = sorted(range(len(rows)), key=lambda i: _fault(oracle, rows[i]))
    better, worse = order[: len(order) // 2], order[len(order) // 2 :]
    chosen = [(i, "bad") for i in worse[-HEATMAPS:]] + [(i, "good") for i in better[:HEATMAPS]]
    return [
        Heatmap(
            model=name,
            label=label,
            prompt=rows[i].edit.prompt,
            tokens=tuple(codec.token_texts(rows[i].pair.rejected_ids)),
            rewards=tuple(reward - center for reward in rewards[i]),
            flaws=tuple(_token_flaws(codec, oracle, rows[i])),
        )
        for i, label in chosen
    ]


def _fault(oracle: Oracle | None, row: HeldOutEdit) -> float:
    if oracle is None:
        return sum(row.pair.rejected_changed) / len(row.pair.rejected_changed)
    return -oracle.inspect(row.edit.prompt, row.edit.original).utility


def _token_flaws(codec: Codec, oracle: Oracle | None, row: HeldOutEdit) -> list[str | None]:
    if oracle is None:
        return ["edited" if changed else None for changed in row.pair.rejected_changed]
    verdict = oracle.inspect(row.edit.prompt, row.edit.original)
    tokens = codec.encode_responses([row.edit.original])[0]
    kinds = [verdict.flaw_at(start, end) if start < end else None for start, end in tokens.offsets]
    return [None if kind is None else kind.value for kind in kinds[: len(row.pair.rejected_ids)]]


def stage_costs(root: Path, names: Iterable[str]) -> dict[str, StageCost]:
    """Time of each stage, from its manifest."""
    return {name: StageCost(seconds=_manifest(root, name)["seconds"]) for name in names}


def skipped_rows(root: Path, names: Iterable[str]) -> list[str]:
    """Write a sentence for each stage that skipped rows, with the counts from its manifest, and its `remarks`."""
    notes = {name: _manifest(root, name)["notes"] for name in names}
    counted = {name: list(_counts(of_stage)) for name, of_stage in notes.items()}
    skipped = [f"{name} skipped {', '.join(counts)}." for name, counts in counted.items() if counts]
    return skipped + [f"{name}: {remark}." for name in notes for remark in notes[name].get("remarks", ())]


def _counts(notes: Mapping[str, Any]) -> Iterator[str]:
    """Write the counts of a stage's `skipped`, which are by reason, or by file and reason."""
    for key, counted in notes.get("skipped", {}).items():
        if isinstance(counted, Mapping):
            yield from (f"{count} of {key} ({reason})" for reason, count in counted.items() if count)
        elif counted:
            yield f"{counted} ({key})"
    if notes.get("skipped prompts"):
        yield f"{notes['skipped prompts']} (prompt empty or too long)"


def arm_costs(context: Context) -> dict[str, ArmCosts]:
    """Costs of each arm, from the manifests and metrics of its stages."""
    return {arm: _costs(context, arm) for arm in context.recipe.arms}


def _costs(context: Context, arm: str) -> ArmCosts:
    recipe, config = context.recipe, context.recipe.arms[arm]
    models = [recipe.reward_models[name] for name in config.reward_model_names]
    kinds = [model.pairs for model in models]
    common = {
        "method": config.method,
        "start": config.start,
        "on": next((arm for arm in (config.on, *(model.on for model in models)) if arm is not None), None),
        "pairs": " and ".join(dict.fromkeys([config.learns_from] if config.learns_from else kinds)),
        "train_pairs": _train_pairs(context, arm),
        "reward_seconds": sum(_reward_seconds(context, name) for name in config.reward_model_names),
    }
    options = recipe.options(arm)
    common["label"] = config.row.label.format(options)
    if not config.row.trains:
        return ArmCosts.model_validate(common | _costs_of_choice(context, arm))
    stage = context.paths.training(arm).name
    trained = _manifest(context.root, stage)
    best = trained["notes"].get("best", {})
    by_win_rate = recipe.who_judges.judges_training and "gleu" not in best
    return ArmCosts.model_validate(
        common
        | {
            "stage": stage,
            "training_seconds": trained["seconds"],
            "sampled_in_training": int(options.rollouts) if config.row.samples else trained["notes"].get("sampled", 0),
            "responses_per_prompt": 1,
            "answer_seconds": _manifest(context.root, f"outputs-{arm}")["seconds"],
            "step": best.get("step"),
            # With references the value is the GLEU by which the checkpoint was chosen.
            "validation_win_rate": best.get("value") if by_win_rate else None,
            "validation_gleu": best.get("gleu"),
            "kl": best.get("kl"),
            "kl_bound": None,
        }
    )


def _reward_seconds(context: Context, name: str) -> float:
    """What a reward model took, with the policy that it is made of."""
    policy = context.recipe.reward_models[name].policy
    stages = [f"reward-{name}", *([] if policy is None else [context.paths.training(policy).name])]
    return sum(float(_manifest(context.root, stage)["seconds"]) for stage in stages)


def _costs_of_choice(context: Context, arm: str) -> dict[str, Any]:
    """Costs of a method that trains nothing and chooses among several answers to a prompt."""
    counts = _manifest(context.root, f"outputs-{arm}")["notes"][context.recipe.arms[arm].method]
    return {
        "stage": None,
        "training_seconds": 0.0,
        "sampled_in_training": 0,
        "responses_per_prompt": counts["evaluation"]["sampled"] // counts["evaluation"]["responses"],
        "answer_seconds": counts["evaluation"]["seconds"],
        "step": None,
        "validation_win_rate": counts["validation"].get("win_rate"),
        "kl": None,
        "kl_bound": counts["evaluation"]["kl_bound"],
    }


def _manifest(root: Path, stage: str) -> Mapping[str, Any]:
    content: Mapping[str, Any] = read_json(root / stage / "manifest.json")
    return content


def _train_pairs(context: Context, arm: str) -> int | None:
    """Number of pairs that the arm's models were trained on, each kind once; None for ready-made models."""
    recipe, config = context.recipe, context.recipe.arms[arm]
    models = [recipe.reward_models[name] for name in config.reward_model_names]
    learned: set[tuple[PairKind, str | None]] = set()
    for model in models:
        learned |= {(model.pairs, source) for source in recipe.sources(model) if model.trains}
    for learner in (config, *(recipe.arms[model.policy] for model in models if model.policy is not None)):
        if learner.learns_from is not None:
            learned |= {(learner.learns_from, source) for source in recipe.sources(learner)}
    if not learned:
        return None
    aligned = {source: _manifest(context.root, context.paths.aligned(source).name) for _, source in learned}
    return sum(int(aligned[source]["notes"]["pairs"][f"{kind}_train"]) for kind, source in learned)


def summarise(runs: Sequence[RunResults], pooled: PooledResults | None = None) -> Summary:
    """Means over the results of several seeds of one recipe; the seed is the unit of every interval.

    `pooled` are the measures of a cross-validation, whose unit is the prompt.
    """
    first = runs[0]
    return Summary(
        win_rate=_means([run.win_rate for run in runs]),
        win_rate_difference=_means([run.win_rate_difference for run in runs]),
        mean_length={arm: _mean(run.win_rate[arm].mean_length for run in runs) for arm in first.win_rate},
        edits_needed=_mean_needs([run.edits_needed.policies if run.edits_needed else {} for run in runs]),
        edits_needed_difference=_mean_needs([run.edits_needed.differences if run.edits_needed else {} for run in runs]),
        gleu=_means([run.gleu.policies if run.gleu else {} for run in runs]),
        gleu_difference=_means([run.gleu.differences if run.gleu else {} for run in runs]),
        reward_accuracy={
            trained: _means([run.reward_accuracy[trained] for run in runs]) for trained in first.reward_accuracy
        },
        localisation={
            model: {name: _mean(run.localisation[model][name] for run in runs) for name in row}
            for model, row in first.localisation.items()
        },
        within={
            model: {
                name: _mean(getattr(rows[kind], field) if kind in rows else None for rows in of_runs)
                for kind in first.within[model]
                for name, field in ((kind, "value"), (f"{kind}_later", "later"))
            }
            for model in first.within
            for of_runs in [[run.within.get(model, {}) for run in runs]]
        },
        pooled=pooled,
        **by_compared_arm({arm: _ratios([run.efficiencies[arm] for run in runs]) for arm in first.efficiencies}),
    )


def _mean_needs(
    runs: Sequence[Mapping[str, EditsNeeded] | Mapping[str, NeedsDifference]],
) -> dict[str, dict[str, SeedMean | None]]:
    """Means of the measures that an entry has in all seeds."""
    names = dict.fromkeys(name for run in runs for name in run)
    rows = {name: [run.get(name) for run in runs] for name in names}
    return {
        name: {
            measure: _mean(
                None if one is None else one.value for one in (getattr(row, measure, None) for row in of_runs)
            )
            for measure in MEASURES
        }
        for name, of_runs in rows.items()
    }


def _means(rows: Sequence[Mapping[str, Figure]]) -> dict[str, SeedMean | None]:
    return {name: _mean(row[name].value if name in row else None for row in rows) for name in rows[0]}


def _mean(numbers: Iterable[float | None]) -> SeedMean | None:
    """Mean and interval of one number a seed; None if a seed does not have it."""
    values = list(numbers)
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    mean, low, high = mean_interval(known)
    return SeedMean(value=mean, low=low, high=high, per_seed=tuple(known))


def _ratios(rows: Sequence[Efficiency]) -> EfficiencySummary:
    median = statistics.median(float("inf") if row.ratio is None else row.ratio for row in rows)
    return EfficiencySummary(
        arm=rows[0].arm,
        ratio_median=median,
        ratios=tuple(row.ratio for row in rows),
        token_steps=tuple(row.token_step for row in rows),
        sequence_steps=tuple(row.sequence_step for row in rows),
    )
