"""Evaluation of reward models on held-out edits and preferences: texts to pairs, to rewards, to measures."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from redpencil.config import AlignConfig
from redpencil.errors import RedpencilError, naming
from redpencil.evaluation.reward_bench_2 import AnswerPair
from redpencil.evaluation.reward_eval import (
    ModelEvals,
    RewardEval,
    RewardEvals,
    Scores,
    TestKind,
    TestSet,
    TestSummary,
    all_features,
    evaluate_rewards,
    labelled_tokens,
    summarise_test,
)
from redpencil.formats.rewardbench import ANSWERS
from redpencil.models.checkpoints import RewardModel
from redpencil.models.codec import Codec
from redpencil.records import Comparison, Edit, Pair
from redpencil.runs import Progress, no_progress
from redpencil.training.pairs import check_pairs, pairs_of_comparisons, pairs_of_edits
from redpencil.training.scoring import BATCH_SIZE, check_finite, score_ids, score_tokens

EXAMPLES: Final = 5
SUBSET: Final = "subset"
"""Key of a comparison's `meta` that names its subset of RewardBench."""
Floats = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Held:
    """A held-out set as it was read from `file`, before it is encoded; all `rows` are of one kind."""

    name: str
    kind: TestKind
    rows: Sequence[Edit] | Sequence[Comparison] | Sequence[Pair]
    file: Path | None = None


def examine(
    models: Mapping[str, Callable[[], RewardModel]],
    held: Sequence[Held],
    config: AlignConfig,
    *,
    examples: int = EXAMPLES,
    progress: Progress = no_progress,
) -> RewardEvals:
    """Read every model on every held-out set. One model at a time is in memory.

    Args:
        models: a function that loads each, by name.
        held: the held-out sets, of different names.
        config: how edits are aligned and how long rows may be.
        examples: number of worst pairs to show of each type of edit.
        progress: called with the number of responses scored so far, that of all, and the model's name.

    Raises:
        RedpencilError: if a set gives a model no pairs, a model cannot read one, or a reward is not a number.
    """
    evaluated: dict[str, ModelEvals] = {}
    tests: dict[str, TestSummary] = {}
    for number, (name, load) in enumerate(models.items()):
        loaded = load()
        sets = [encode(one, loaded, config) for one in held]
        tests = tests or {one.name: summarise_test(one) for one in sets}
        readings: dict[str, RewardEval] = {}
        rows = 2 * sum(len(one.pairs) for one in sets)
        done, total = number * rows, len(models) * rows
        for one, source in zip(sets, held, strict=True):
            scores = score_pairs(one.pairs, loaded, partial(_step, progress, done, total, name))
            check_finite(loaded, [*scores.chosen, *scores.rejected], f"a response of {one.name}")
            with naming(source.file or Path(one.name)):
                readings[one.name] = evaluate_rewards(one, scores, examples=examples)
            done += 2 * len(one.pairs)
        evaluated[name] = ModelEvals(loaded.card.level, loaded.card.trained_on, readings)
    return RewardEvals(evaluated, tests)


def _step(progress: Progress, before: int, total: int, name: str, done: int) -> None:
    progress(before + done, total, name)


def encode(held: Held, loaded: RewardModel, config: AlignConfig) -> TestSet:
    """Encode a held-out set in a model's tokens.

    Raises:
        RedpencilError: if no pair is left, or the model cannot read one.
    """
    codec = loaded.model.codec
    test = _encoded(held, codec, config)
    if not test.pairs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in (test.skipped or {}).items())
        raise RedpencilError(
            "it holds no pair to score" + (f" ({reasons})" if reasons else ""),
            file=held.file or held.name,
            hint="give other rows, or raise align.max_length",
        )
    try:
        check_pairs(test.pairs, len(codec.tokenizer), codec.context)
    except RedpencilError as error:
        raise RedpencilError(error.problem, file=held.file or held.name, hint=error.hint) from None
    return test


def _encoded(held: Held, codec: Codec, config: AlignConfig) -> TestSet:
    # Ids need not be unique, as when several people edit one response, so rows are known by number.
    if held.kind == "edits":
        edits = {str(n): row for n, row in enumerate(held.rows) if isinstance(row, Edit)}
        numbered: Iterable[Any] = (replace(row, id=number) for number, row in edits.items())
        pairs, skipped = pairs_of_edits(numbered, codec, config.whole)
        kept = [edits[pair.id] for pair in pairs]
        features, labels = all_features(kept, pairs), _labels(kept, pairs, codec)
        return TestSet(held.name, "edits", pairs, edits=kept, features=features, labels=labels, skipped=skipped)
    if held.kind == "pairs":
        return TestSet(held.name, "pairs", [row for row in held.rows if isinstance(row, Pair)])
    rows = {str(n): row for n, row in enumerate(held.rows) if isinstance(row, Comparison)}
    pairs, counted = pairs_of_comparisons((replace(row, id=n) for n, row in rows.items()), codec, config)
    if held.kind != "rewardbench":
        return TestSet(held.name, held.kind, pairs, skipped=Counter(counted))
    metas = [rows[pair.id].meta for pair in pairs]
    subsets = [str(meta.get(SUBSET, "")) for meta in metas]
    if not any(ANSWERS in meta for meta in metas):
        return TestSet(held.name, held.kind, pairs, subsets=subsets, skipped=Counter(counted))
    names = [rows[pair.id].id.rpartition("-")[0] for pair in pairs]
    answers = [
        AnswerPair(row=name, subset=subset, **meta[ANSWERS])
        for name, subset, meta in zip(names, subsets, metas, strict=True)
    ]
    return TestSet(held.name, held.kind, pairs, answers=answers, skipped=Counter(counted))


def _labels(edits: Sequence[Edit], pairs: Sequence[Pair], codec: Codec) -> list[npt.NDArray[np.bool_] | None]:
    """Flags of the tokens that people marked as errors, for each original that has such marks."""
    marked = [i for i, edit in enumerate(edits) if edit.meta.get("spans") is not None]
    labels: list[npt.NDArray[np.bool_] | None] = [None] * len(edits)
    if not marked:
        return labels
    for i, tokens in zip(marked, codec.encode_responses([edits[i].original for i in marked]), strict=True):
        offsets = tokens.offsets[: len(pairs[i].rejected_ids)]
        labels[i] = labelled_tokens(edits[i].meta, offsets, len(edits[i].original))
    return labels


def score_pairs(pairs: Sequence[Pair], loaded: RewardModel, progress: Callable[[int], None] | None = None) -> Scores:
    """Rewards of both sides of each pair.

    Responses of similar length share a batch, and a response that occurs several times is scored once, so that equal
    responses get equal rewards to the last bit.
    """
    keys = [(pair.prompt_ids, side) for pair in pairs for side in (pair.chosen_ids, pair.rejected_ids)]
    place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    distinct = sorted(place, key=lambda key: len(key[0]) + len(key[1]))
    rewards, tokens = np.zeros(len(distinct)), [np.zeros(0)] * len(distinct)
    share = len(keys) / max(len(distinct), 1)
    for start in range(0, len(distinct), BATCH_SIZE):
        part = distinct[start : start + BATCH_SIZE]
        for key, (reward, row) in zip(part, score_rows(part, loaded), strict=True):
            rewards[place[key]], tokens[place[key]] = reward, row
        if progress is not None:
            progress(round((start + len(part)) * share))
    index = [place[key] for key in keys]
    chosen, rejected = index[0::2], index[1::2]
    if loaded.card.level == "sequence":
        return Scores(rewards[chosen], rewards[rejected])
    return Scores(rewards[chosen], rewards[rejected], [tokens[i] for i in chosen], [tokens[i] for i in rejected])


def score_rows(rows: Sequence[tuple[Sequence[int], Sequence[int]]], reward: RewardModel) -> list[tuple[float, Floats]]:
    """The reward of each response and those of its tokens, of which a sequence model gives none."""
    prompts, responses = [row[0] for row in rows], [row[1] for row in rows]
    if reward.card.level == "sequence":
        return [(score, np.zeros(0)) for score in score_ids(reward, prompts, responses)]
    scored = score_tokens(reward.model, prompts, responses)
    return [(float(row.mean()) if len(row) else 0.0, row.double().numpy()) for row in scored]
