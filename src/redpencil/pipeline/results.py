"""The last stages of a run: judgements, and every number of the report."""

import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Any

from redpencil.config import AlignConfig, Recipe
from redpencil.evaluation.judges import judge_outputs
from redpencil.evaluation.localisation import auroc, pooled_within_groups
from redpencil.evaluation.statistics import accuracy, mean_interval, paired_difference, scores_of, win_rate
from redpencil.evaluation.win_rate import time_to_reach
from redpencil.maths.ppo import best_of_n_kl_bound
from redpencil.models.checkpoints import RewardModel, load_reward_model
from redpencil.models.codec import Codec
from redpencil.pipeline.context import Context
from redpencil.pipeline.stages import make_judge
from redpencil.records import Comparison, Edit, Pair, Response, read_jsonl, write_jsonl
from redpencil.runs import Stage, read_json, read_metrics, write_json
from redpencil.training.pairs import pairs_of_comparisons, pairs_of_edits
from redpencil.training.scoring import pair_margins, score_tokens
from redpencil.world.build import make_oracle
from redpencil.world.domain import Verdict
from redpencil.world.oracle import Oracle

SHOWN = 8
"""Heat-maps in the report: this many bad responses and as many good ones."""


def judge(context: Context, stage: Stage) -> None:
    """Compare every policy's outputs with the reference's."""
    verdict = make_judge(context)
    reference = list(read_jsonl(context.paths.reference_outputs("evaluation"), Response))
    for name in ("sft", *context.recipe.arms):
        ours = list(read_jsonl(context.paths.outputs(name), Response))
        write_jsonl(stage.folder / f"{name}.jsonl", judge_outputs(verdict, ours, reference))


def evaluate(context: Context, stage: Stage) -> None:
    """Write `results.json` and `report_data.json`."""
    models = {
        name: load_reward_model(context.paths.reward_model(name), context.runtime, policy_codec=context.codec)
        for name in context.recipe.reward_models
    }
    localised, heatmaps = _look_inside(context, models)
    results = {
        "name": context.recipe.name,
        "seed": context.seed,
        **_win_rates(context),
        "reward_accuracy": _accuracies(context, models),
        **_efficiencies(context),
        "localisation": localised,
        "flaws": _flaws(context),
    }
    write_json(stage.folder / "results.json", results)
    write_json(stage.folder / "report_data.json", {"heatmaps": heatmaps})


def _win_rates(context: Context) -> dict[str, Any]:
    rates, scores = {}, {}
    for name in ("sft", *context.recipe.arms):
        verdicts = list(read_jsonl(context.root / "judge" / f"{name}.jsonl", Comparison))
        preferences = [verdict.preference for verdict in verdicts]
        rates[name] = asdict(win_rate(preferences, [len(verdict.first.split()) for verdict in verdicts]))
        scores[name] = scores_of(preferences)
    differences = {
        f"{first}-{second}": asdict(paired_difference(scores[first], scores[second]))
        for first, second in combinations(context.recipe.arms, 2)
    }
    return {"win_rate": rates, "win_rate_difference": differences}


def _accuracies(context: Context, models: Mapping[str, RewardModel]) -> dict[str, Any]:
    """Trained on x tested on: each model's accuracy on every held-out set, beside the rule that the shorter wins."""
    tests = {}
    for path in sorted((context.root / "align").glob("*_test.jsonl")):
        tests[path.name.removesuffix("_test.jsonl")] = list(read_jsonl(path, Pair))
    matrix: dict[str, Any] = {}
    for name, model in models.items():
        codec = model.model.codec
        own = tests if model.same_encoding else {kind: _own_pairs(context, kind, codec) for kind in tests}
        matrix[name] = {kind: asdict(accuracy(pair_margins(model, pairs))) for kind, pairs in own.items()}
    matrix["shorter_wins"] = {
        kind: asdict(accuracy([float(len(p.rejected_ids) - len(p.chosen_ids)) for p in pairs]))
        for kind, pairs in tests.items()
    }
    return matrix


def _own_pairs(context: Context, kind: str, codec: Codec) -> list[Pair]:
    """A held-out set in the tokens of a reward model that has others than the policy."""
    path, config = context.paths.annotations / f"{kind}_test.jsonl", _align_config(context, codec)
    if kind == "edits":
        return pairs_of_edits(read_jsonl(path, Edit), codec, config)[0]
    return pairs_of_comparisons(read_jsonl(path, Comparison), codec, config)[0]


def _align_config(context: Context, codec: Codec) -> AlignConfig:
    """The recipe's, whose `max_length` counts the policy's tokens; another model reads as far as its context goes."""
    config = context.recipe.align
    if codec is context.codec:
        return config
    return config.model_copy(update={"max_length": codec.context or sys.maxsize})


def _efficiencies(context: Context) -> dict[str, Any]:
    """The first sampling arm against each other one: step and second at which it reaches the best win rate of that."""
    curves = {}
    for arm in context.sampling_arms:
        rows = read_metrics(context.paths.training(arm))
        curves[arm] = [
            (int(row["step"]), row["seconds"], row["eval/win_rate"]) for row in rows if "eval/win_rate" in row
        ]
    if not curves:
        return {}
    first, *others = curves
    names = ["efficiency", *(f"efficiency_{other}" for other in others[1:])]
    return {
        name: asdict(time_to_reach(curves[first], curves[other])) for name, other in zip(names, others, strict=False)
    }


def _oracle(context: Context) -> Oracle | None:
    world = context.recipe.world
    return None if world is None else make_oracle(world)


def _flaws(context: Context) -> dict[str, dict[str, float]] | None:
    """Flaws of each kind, and missing facts, per 100 responses of each policy."""
    oracle = _oracle(context)
    if oracle is None:
        return None
    paths = {name: context.paths.outputs(name) for name in ("sft", *context.recipe.arms)}
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


def _look_inside(context: Context, models: Mapping[str, RewardModel]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Localisation of every token-level model on held-out originals, and heat-maps of some of them."""
    path = context.paths.annotations / "edits_test.jsonl"
    # A user's edits may share an id, as when several people edit one response.
    edits = {str(n): replace(edit, id=str(n)) for n, edit in enumerate(read_jsonl(path, Edit))}
    rows_of_policy = _rows(context, edits, context.codec)
    oracle = _oracle(context)
    localised: dict[str, Any] = {}
    heatmaps: list[dict[str, Any]] = []
    for name, model in models.items():
        if model.card.level != "token":
            continue
        codec = model.model.codec
        rows = rows_of_policy if model.same_encoding else _rows(context, edits, codec)
        rewards = _rewards(model, [row.pair for row in rows])
        edited = [flag for row in rows for flag in row.pair.rejected_changed]
        localised[name] = {"edited_auroc": auroc([-r for row in rewards for r in row], edited)}
        if oracle is not None:
            localised[name] |= _against_oracle(codec, oracle, rows, rewards)
        center = model.card.center if context.pays_centred(name) else 0.0
        heatmaps += _heatmaps(codec, name, oracle, rows, rewards, center)
    return localised, heatmaps


class _Row:
    """A held-out original: its pair, its text."""

    def __init__(self, pair: Pair, edit: Edit) -> None:
        self.pair, self.edit = pair, edit


def _rows(context: Context, edits: Mapping[str, Edit], codec: Codec) -> list[_Row]:
    pairs, _ = pairs_of_edits(edits.values(), codec, _align_config(context, codec))
    return [_Row(pair, edits[pair.id]) for pair in pairs]


def _rewards(model: RewardModel, pairs: Sequence[Pair]) -> list[list[float]]:
    prompts, responses = [pair.prompt_ids for pair in pairs], [pair.rejected_ids for pair in pairs]
    scored = score_tokens(model.model, prompts, responses)
    return [[float(reward) for reward in row] for row in scored]


def _against_oracle(
    codec: Codec, oracle: Oracle, rows: Sequence[_Row], rewards: Sequence[Sequence[float]]
) -> dict[str, float | None]:
    """AUROC of -r_t for the oracle's flaws: over all tokens, among values of one slot (trap 15), and of the end of
    sequence where a requested fact is missing (trap 14).
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
            values += _value_at(verdict, start, end, -reward)
    return {
        "auroc": auroc(scores, labels),
        "values_auroc": pooled_within_groups([v[0] for v in values], [v[1] for v in values], [v[2] for v in values]),
        "eos_missing_auroc": auroc([e[0] for e in ends], [e[1] for e in ends]),
    }


def _value_at(verdict: Verdict, start: int, end: int, score: float) -> list[tuple[float, bool, str]]:
    return [
        (score, not span.correct, span.slot) for span in verdict.value_spans if span.start < end and start < span.end
    ]


def _heatmaps(
    codec: Codec,
    name: str,
    oracle: Oracle | None,
    rows: Sequence[_Row],
    rewards: Sequence[Sequence[float]],
    center: float,
) -> list[dict[str, Any]]:
    """Centred token rewards of the worst and of the best responses, by the oracle or by the share that was edited."""
    order = sorted(range(len(rows)), key=lambda i: _fault(oracle, rows[i]))
    better, worse = order[: len(order) // 2], order[len(order) // 2 :]
    picked = [(i, "bad") for i in worse[-SHOWN:]] + [(i, "good") for i in better[:SHOWN]]
    return [
        {
            "model": name,
            "label": label,
            "prompt": rows[i].edit.prompt,
            "tokens": codec.token_texts(rows[i].pair.rejected_ids),
            "rewards": [reward - center for reward in rewards[i]],
            "flaws": _token_flaws(codec, oracle, rows[i]),
        }
        for i, label in picked
    ]


def _fault(oracle: Oracle | None, row: _Row) -> float:
    if oracle is None:
        return sum(row.pair.rejected_changed) / len(row.pair.rejected_changed)
    return -oracle.inspect(row.edit.prompt, row.edit.original).utility


def _token_flaws(codec: Codec, oracle: Oracle | None, row: _Row) -> list[str | None]:
    if oracle is None:
        return ["edited" if changed else None for changed in row.pair.rejected_changed]
    verdict = oracle.inspect(row.edit.prompt, row.edit.original)
    tokens = codec.encode_responses([row.edit.original])[0]
    kinds = [verdict.flaw_at(start, end) if start < end else None for start, end in tokens.offsets]
    return [None if kind is None else kind.value for kind in kinds[: len(row.pair.rejected_ids)]]


def stage_seconds(root: Path, names: Iterable[str]) -> dict[str, dict[str, float]]:
    """What each stage cost, from its manifest."""
    return {name: {"seconds": read_json(root / name / "manifest.json")["seconds"]} for name in names}


def skipped_rows(root: Path, names: Iterable[str]) -> list[str]:
    """A sentence for each stage that passed over rows, with the counts from its manifest."""
    counted = {name: list(_counts(read_json(root / name / "manifest.json")["notes"])) for name in names}
    return [f"{name} skipped {', '.join(counts)}." for name, counts in counted.items() if counts]


def _counts(notes: Mapping[str, Any]) -> Iterator[str]:
    """From a stage's `skipped`, by reason, or by file and reason."""
    for key, counted in notes.get("skipped", {}).items():
        if isinstance(counted, Mapping):
            yield from (f"{count} of {key} ({reason})" for reason, count in counted.items() if count)
        elif counted:
            yield f"{counted} ({key})"
    if notes.get("skipped prompts"):
        yield f"{notes['skipped prompts']} (prompt empty or too long)"


def arm_costs(context: Context) -> dict[str, dict[str, Any]]:
    """For each arm, from its stages' manifests and metrics:

    method; pairs: which kind it learned from, itself or through its reward model; training_seconds: of the policy;
    reward_seconds: of the reward models it needs; train_pairs: how many pairs were learned from; sampled_in_training:
    responses that training drew; responses_per_prompt and answer_seconds: what answering the evaluation prompts takes;
    validation_win_rate and step: of the checkpoint that was kept; kl: per response to the SFT policy, in nats, there;
    kl_bound: for best-of-n, above which its KL cannot be.
    """
    return {arm: _costs(context, arm) for arm in context.recipe.arms}


def _costs(context: Context, arm: str) -> dict[str, Any]:
    recipe, config = context.recipe, context.recipe.arms[arm]
    kinds = [recipe.reward_models[name].pairs for name in config.reward_model_names]
    row: dict[str, Any] = {
        "method": config.method,
        "pairs": " and ".join(dict.fromkeys([config.learns_from] if config.learns_from else kinds)),
        "train_pairs": _train_pairs(context, arm),
        "reward_seconds": sum(_manifest(context, f"reward-{name}")["seconds"] for name in config.reward_model_names),
    }
    if not config.row.trains:
        return row | _of_best_of_n(context, arm)
    trained = _manifest(context, context.paths.training(arm).name)
    best = trained["notes"].get("best", {})
    return row | {
        "training_seconds": trained["seconds"],
        "sampled_in_training": _sampled(recipe, arm),
        "responses_per_prompt": 1,
        "answer_seconds": _manifest(context, f"outputs-{arm}")["seconds"],
        "step": best.get("step"),
        "validation_win_rate": best.get("value"),
        "kl": best["kl"] if "kl" in best else _kl_at(context, arm, best.get("step")),
        "kl_bound": None,
    }


def _of_best_of_n(context: Context, arm: str) -> dict[str, Any]:
    n = context.recipe.options(arm).n
    counts = _manifest(context, f"outputs-{arm}")["notes"]["best_of_n"]
    return {
        "training_seconds": 0.0,
        "sampled_in_training": 0,
        "responses_per_prompt": n,
        "answer_seconds": counts["evaluation"]["seconds"],
        "step": None,
        "validation_win_rate": counts["validation"]["win_rate"],
        "kl": None,
        "kl_bound": best_of_n_kl_bound(n),
    }


def _manifest(context: Context, stage: str) -> Mapping[str, Any]:
    content: Mapping[str, Any] = read_json(context.root / stage / "manifest.json")
    return content


def _train_pairs(context: Context, arm: str) -> int | None:
    """Pairs of each kind that the arm's models were trained on, counted once; None for ready-made ones."""
    recipe, config = context.recipe, context.recipe.arms[arm]
    models = [recipe.reward_models[name] for name in config.reward_model_names]
    kinds = {model.pairs for model in models if model.folder is None} | {config.learns_from} - {None}
    if not kinds:
        return None
    counts = _manifest(context, "align")["notes"]["pairs"]
    return sum(int(counts[f"{kind}_train"]) for kind in kinds)


def _sampled(recipe: Recipe, arm: str) -> int:
    """Responses sampled to learn from. Those to the validation prompts, which every method samples, do not count."""
    return int(recipe.options(arm).rollouts) if recipe.arms[arm].row.samples else 0


def _kl_at(context: Context, arm: str, step: int | None) -> float | None:
    """The KL of the rollouts at the step that was kept; 0 before the first."""
    if step == 0:
        return 0.0
    rows = read_metrics(context.paths.training(arm))
    return next((row["kl"] for row in rows if row["step"] == step and "kl" in row), None)


Results = dict[str, Any]


def summarise(runs: Sequence[Results]) -> dict[str, Any]:
    """Summary of the single-seed results of one recipe; the seed is the unit of every interval."""
    first = runs[0]
    arms, models = first["win_rate"], first["localisation"]
    summary: dict[str, Any] = {
        "win_rate": {arm: _interval(runs, "win_rate", arm, "value") for arm in arms},
        "win_rate_difference": {
            pair: _interval(runs, "win_rate_difference", pair, "value") for pair in first["win_rate_difference"]
        },
        "mean_length": {arm: _interval(runs, "win_rate", arm, "mean_length") for arm in arms},
        "reward_accuracy": {
            trained: {tested: _interval(runs, "reward_accuracy", trained, tested, "value") for tested in row}
            for trained, row in first["reward_accuracy"].items()
        },
        "localisation": {
            model: {name: _interval(runs, "localisation", model, name) for name in row} for model, row in models.items()
        },
    }
    for name in (key for key in first if key.startswith("efficiency")):
        summary[name] = _ratios([run[name] for run in runs])
    return summary


def _interval(runs: Sequence[Results], *path: str) -> dict[str, Any] | None:
    """Mean and interval of the number at `path`; None where a seed has no such number."""
    values: list[Any] = [reduce(lambda place, key: place[key], path, run) for run in runs]
    if any(value is None for value in values):
        return None
    mean, low, high = mean_interval(values)
    return {"value": mean, "low": low, "high": high, "per_seed": values}


def _ratios(rows: Sequence[Results]) -> dict[str, Any]:
    """A seed in which the token arm never got there counts as slower than any that did."""
    ratios = [row["ratio"] for row in rows]
    median = statistics.median(float("inf") if ratio is None else ratio for ratio in ratios)
    return {
        "ratio_median": None if median == float("inf") else median,
        "ratios": ratios,
        "token_steps": [row["token_step"] for row in rows],
        "sequence_steps": [row["sequence_step"] for row in rows],
    }
