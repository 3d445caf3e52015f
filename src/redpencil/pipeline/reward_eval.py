"""Evaluation of reward models on held-out edits and preferences: texts to pairs, to rewards, to measures."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from redpencil.audit.trivial_rules import Texts
from redpencil.config.training import AlignConfig
from redpencil.errors import RedpencilError, naming
from redpencil.evaluation.edit_features import all_features
from redpencil.evaluation.reward_bench_2 import AnswerPair
from redpencil.evaluation.reward_eval import (
    Marks,
    ModelEvals,
    RewardEval,
    RewardEvals,
    Scores,
    TestKind,
    TestSet,
    TestSummary,
    evaluate_rewards,
    localisations,
    margins_of_rules,
    marked_tokens,
    summarise_test,
    token_cautions,
)
from redpencil.formats.rewardbench import ANSWERS
from redpencil.models.checkpoints import RewardModel
from redpencil.models.codec import Codec
from redpencil.records import Comparison, Edit, Pair, Preference
from redpencil.runs import Progress, no_progress
from redpencil.text import prompt_key
from redpencil.training.batches import neighbours
from redpencil.training.pairs import check_pairs, pairs_of_comparisons, pairs_of_edits, spaced
from redpencil.training.scoring import BATCH_SIZE, check_rewards, score_sequences, score_tokens

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
    training: Sequence[Edit] = (),
    examples: int = EXAMPLES,
    progress: Progress = no_progress,
) -> RewardEvals:
    """Read every model on every held-out set. One model at a time is in memory.

    Args:
        models: a function that loads each, by name.
        held: the held-out sets, of different names.
        config: how edits are aligned and how long rows may be.
        training: the edits that the models were trained on, if they are known, for the classifier of artefacts.
        examples: number of worst pairs to show of each type of edit.
        progress: called with the number of responses scored so far, that of all, and the model's name.

    Raises:
        RedpencilError: if a set gives a model no pairs, a model cannot read one, or a reward is not a number.
    """
    evaluated: dict[str, ModelEvals] = {}
    tests: dict[str, TestSummary] = {}
    learned = texts_of(training, config)
    for number, (name, load) in enumerate(models.items()):
        loaded = load()
        sets = [encode(one, loaded, config) for one in held]
        tests = tests or {one.name: summarise_test(one, margins_of_rules(one, learned)) for one in sets}
        readings: dict[str, RewardEval] = {}
        rows = 2 * sum(len(one.pairs) for one in sets)
        done, total = number * rows, len(models) * rows
        for one, source in zip(sets, held, strict=True):
            scores = score_pairs(one.pairs, loaded, partial(_step, progress, done, total, name))
            check_rewards(loaded, [*scores.chosen, *scores.rejected], f"a response of {one.name}")
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
    test = encode_with(held, codec, config)
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


def cautions_of_scores(
    edits: Sequence[Edit], rewards: Sequence[Sequence[float]], codec: Codec, config: AlignConfig
) -> list[str]:
    """Say what speaks against the token rewards of N originals, as far as their edits and marks show it.

    Args:
        edits: N rows; those that give no pair are left out.
        rewards: of the tokens of the N originals, in the tokens of `codec`.
        codec: the reward model's.
        config: how edits are aligned.
    """
    test = encode_with(Held("edits", "edits", edits), codec, config)
    if not test.pairs:
        return []
    rows = [np.array(rewards[int(pair.id)]) for pair in test.pairs]
    return [message for _, message in token_cautions(localisations(test, rows))]


def encode_with(held: Held, codec: Codec, config: AlignConfig) -> TestSet:
    """Encode a held-out set in the tokens of a codec; it may be left without a pair."""
    # Ids need not be unique, as when several people edit one response, so rows are known by number.
    if held.kind == "edits":
        edits = {str(n): row for n, row in enumerate(held.rows) if isinstance(row, Edit)}
        numbered: Iterable[Any] = (replace(row, id=number) for number, row in edits.items())
        pairs, skipped = pairs_of_edits(numbered, codec, config)
        kept = [edits[pair.id] for pair in pairs]
        features, labels = all_features(kept, pairs), _labels(kept, pairs, codec)
        return TestSet(
            held.name,
            "edits",
            pairs,
            edits=kept,
            features=features,
            labels=labels,
            texts=[_sides(edit, config) for edit in kept],
            prompts=[prompt_key(edit.prompt) for edit in kept],
            skipped=skipped,
        )
    if held.kind == "pairs":
        return TestSet(held.name, "pairs", [row for row in held.rows if isinstance(row, Pair)])
    rows = {str(n): row for n, row in enumerate(held.rows) if isinstance(row, Comparison)}
    pairs, counted = pairs_of_comparisons((replace(row, id=n) for n, row in rows.items()), codec, config)
    kept_rows = [rows[pair.id] for pair in pairs]
    test = TestSet(
        held.name,
        held.kind,
        pairs,
        texts=[_sides(row, config) for row in kept_rows],
        prompts=[prompt_key(row.prompt) for row in kept_rows],
        skipped=Counter(counted),
    )
    if held.kind != "rewardbench":
        return test
    metas = [row.meta for row in kept_rows]
    subsets = [str(meta.get(SUBSET, "")) for meta in metas]
    if not any(ANSWERS in meta for meta in metas):
        return replace(test, subsets=subsets)
    names = [row.id.rpartition("-")[0] for row in kept_rows]
    answers = [
        AnswerPair(row=name, subset=subset, **meta[ANSWERS])
        for name, subset, meta in zip(names, subsets, metas, strict=True)
    ]
    return replace(test, answers=answers)


def texts_of(rows: Iterable[Edit | Comparison], config: AlignConfig) -> Texts:
    """The better and the worse text of each row that has two, as a model reads them."""
    decided = (row for row in rows if isinstance(row, Edit) or row.preference in (Preference.FIRST, Preference.SECOND))
    sides = (_sides(row, config) for row in decided)
    return [(better, worse) for better, worse in sides if better != worse and better.strip() and worse.strip()]


def _sides(row: Edit | Comparison, config: AlignConfig) -> tuple[str, str]:
    if isinstance(row, Edit):
        return spaced(row, config), row.original
    return (row.first, row.second) if row.preference is Preference.FIRST else (row.second, row.first)


def _labels(edits: Sequence[Edit], pairs: Sequence[Pair], codec: Codec) -> list[Marks | None]:
    """Marks on the tokens that people marked as errors, for each original that has such marks."""
    marked = [i for i, edit in enumerate(edits) if edit.meta.get("spans") is not None]
    labels: list[Marks | None] = [None] * len(edits)
    if not marked:
        return labels
    for i, tokens in zip(marked, codec.encode_responses([edits[i].original for i in marked]), strict=True):
        offsets = tokens.offsets[: len(pairs[i].rejected_ids)]
        labels[i] = marked_tokens(edits[i].meta, offsets, len(edits[i].original))
    return labels


def score_pairs(
    pairs: Sequence[Pair],
    loaded: RewardModel,
    progress: Callable[[int], None] | None = None,
    store: Path | None = None,
) -> Scores:
    """Rewards of both sides of each pair; `store` is a folder of hidden states, see `score_tokens`.

    Responses of similar length, and those to one prompt, share a batch, and a response that occurs several times is
    scored once, so that equal responses get equal rewards to the last bit.
    """
    keys = [(pair.prompt_ids, side) for pair in pairs for side in (pair.chosen_ids, pair.rejected_ids)]
    place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    known = list(place)
    order = neighbours([key[0] for key in known], [len(key[0]) + len(key[1]) for key in known])
    distinct = [known[i] for i in order]
    rewards, tokens = np.zeros(len(distinct)), [np.zeros(0)] * len(distinct)
    share = len(keys) / max(len(distinct), 1)
    for start in range(0, len(distinct), BATCH_SIZE):
        part = distinct[start : start + BATCH_SIZE]
        for key, (reward, row) in zip(part, score_rows(part, loaded, store), strict=True):
            rewards[place[key]], tokens[place[key]] = reward, row
        if progress is not None:
            progress(round((start + len(part)) * share))
    index = [place[key] for key in keys]
    chosen, rejected = index[0::2], index[1::2]
    if loaded.card.level == "sequence":
        return Scores(rewards[chosen], rewards[rejected])
    return Scores(rewards[chosen], rewards[rejected], [tokens[i] for i in chosen], [tokens[i] for i in rejected])


def score_rows(
    rows: Sequence[tuple[Sequence[int], Sequence[int]]], reward: RewardModel, store: Path | None = None
) -> list[tuple[float, Floats]]:
    """The reward of each response and those of its tokens, of which a sequence model gives none."""
    prompts, responses = [row[0] for row in rows], [row[1] for row in rows]
    if reward.card.level == "sequence":
        return [(float(score), np.zeros(0)) for score in score_sequences(reward.model, prompts, responses, store)]
    scored = score_tokens(reward.model, prompts, responses, store)
    return [(float(row.mean()) if len(row) else 0.0, row.double().numpy()) for row in scored]
