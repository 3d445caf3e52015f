"""FIGA-style fine-tuning: which token of a pair weighs what, and that good words take the place of bad ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from redpencil.config.methods import FIGAConfig, SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import load_policy
from redpencil.models.codec import Codec
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import HFSampler, respond
from redpencil.models.sidecar import template_of
from redpencil.records import Pair, Prompt
from redpencil.runs import Stage, read_metrics
from redpencil.training.figa import figa_objective, train_figa, weights_of
from redpencil.training.pairs import collate_pairs
from redpencil.training.update import micro_batches_of, optimization_of, update

QUICK = {"learning_rate": 3e-3, "batch_size": 32, "warmup_ratio": 0}
SAMPLING = SamplingConfig(response_length=8, max_prompt_length=8, batch_size=64)


def bad_share(folder: Path, codec: Codec, runtime: Runtime) -> float:
    prompts = [Prompt(str(i), f"topic{i % 8}") for i in range(160)]
    sampler = HFSampler(load_policy(folder, runtime, trained=False, codec=codec))
    answers, _ = respond(sampler, prompts, config=SAMPLING, seed=0, model_name="x")
    words = [word for answer in answers for word in answer.response.split()]
    return sum(word in ("mud", "rot") for word in words) / len(words)


def test_each_token_of_a_pair_has_its_weight(codec: Codec, runtime: Runtime) -> None:
    words = codec.tokenizer.get_vocab()
    sun, sea, mud = (words[word] for word in ("sun", "sea", "mud"))
    # original: sun mud </s>, edited: sun sea </s>; then an original that was cut off, and an edit that only deletes.
    pairs = [
        Pair("a", (2,), (sun, mud, 3), (sun, sea, 3), (False, True, False), (False, True, False), ((0, 0), (2, 2))),
        Pair("b", (2,), (sun, mud, sun, sun), (sun, 3), (False, True, True, True), (False, False), ((0, 0),)),
    ]
    item = collate_pairs(pairs, codec.pad_id, runtime.device)
    weights = weights_of(item, FIGAConfig(alpha=1, beta=0.5, kept=0.25), codec.eos_id)
    assert weights.tolist() == [
        [0.25, 1, 1, 0],
        [0.25, 1, 0, 0],
        [0, -0.5, 0, 0],
        [0, -0.5, -0.5, -0.5],
    ]


def test_one_batch_and_its_micro_batches_give_the_same_step(
    trained: Any, pairs: list[Pair], codec: Codec, runtime: Runtime
) -> None:
    config = FIGAConfig(**QUICK, kept=0.1)
    logged, after = [], []
    for size in (None, 3):
        policy = load_policy(trained.sft, runtime, trained=True).module
        items = [
            collate_pairs([pairs[i] for i in part], codec.pad_id, runtime.device)
            for part in micro_batches_of(range(16), size)
        ]
        objective = figa_objective(policy, config, codec.eos_id)
        logged.append(update(optimization_of(policy, config, 10), items, objective, runtime))
        after.append(next(policy.parameters()).detach())
    assert logged[0] == pytest.approx(logged[1], rel=1e-4)
    torch.testing.assert_close(after[0], after[1], atol=1e-4, rtol=1e-3)


def test_originals_of_which_nothing_is_learned_are_not_read(
    trained: Any, pairs: list[Pair], codec: Codec, runtime: Runtime
) -> None:
    policy = load_policy(trained.sft, runtime, trained=True).module
    item = collate_pairs(pairs[:16], codec.pad_id, runtime.device)
    rows: list[int] = []
    policy.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(kwargs["input_ids"] if "input_ids" in kwargs else args[0])),
        with_kwargs=True,
    )
    objectives = [
        figa_objective(policy, FIGAConfig(**QUICK, kept=1, beta=beta), codec.eos_id)
        for beta in (0, 1e-30)  # the second one counts tokens of the originals and weighs them next to nothing
    ]
    alone, read_alone = objectives[0].terms(item), rows[-1]
    both, read_both = objectives[1].terms(item), rows[-1]
    assert (read_alone, read_both) == (16, 32)
    sums = [
        objective.counts(item)["figa"] * terms["figa"]
        for objective, terms in zip(objectives, (alone, both), strict=True)
    ]
    assert sums[0].item() == pytest.approx(sums[1].item(), rel=1e-5)
    assert alone["imitated_nll"].item() == pytest.approx(both["imitated_nll"].item(), rel=1e-5)


def test_bad_words_become_rare(
    trained: Any, pairs: list[Pair], codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> None:
    stage = new_stage()
    config = FIGAConfig(**QUICK, max_steps=30)
    train_figa(config, policy=trained.sft, pairs=pairs, validation=None, codec=codec, runtime=runtime, stage=stage)
    assert bad_share(stage.folder / "checkpoint", codec, runtime) < 0.5 * bad_share(trained.sft, codec, runtime)
    rows = read_metrics(stage.folder)
    assert [row["step"] for row in rows] == list(range(1, 31))
    assert rows[-1]["imitated_nll"] < rows[0]["imitated_nll"]
    assert all(0 <= row["spared"] <= 1 for row in rows)
    assert template_of(stage.folder / "checkpoint") == codec.template


def test_pairs_without_masks_are_refused(
    trained: Any, pairs: list[Pair], codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> None:
    bare = [Pair(pair.id, pair.prompt_ids, pair.rejected_ids, pair.chosen_ids) for pair in pairs[:4]]
    with pytest.raises(RedpencilError, match="these are not edits"):
        train_figa(
            FIGAConfig(), policy=trained.sft, pairs=bare, validation=None, codec=codec, runtime=runtime,
            stage=new_stage(),
        )  # fmt: skip
