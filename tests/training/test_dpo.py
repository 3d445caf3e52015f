"""DPO through TRL: it reads the very token ids of our pairs, and its losses are those worked out here."""

import importlib.util
import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import logsigmoid

from redpencil.config import DPOConfig, SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.models.codec import Codec
from redpencil.models.forward import collate, response_logprobs
from redpencil.models.checkpoints import load_policy, template_of
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import respond
from redpencil.records import Pair, Prompt
from redpencil.runs import Stage, read_metrics
from redpencil.training.dpo import make_trainer, train_dpo

pytest.importorskip("trl", reason="TRL is not installed: pip install 'redpencil[trl]'")

BETA = 0.5
QUICK = {"beta": BETA, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "warmup_ratio": 0, "batch_size": 8}


@pytest.fixture
def train(
    trained: Any, pairs: list[Pair], codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> Callable[..., Stage]:
    """`train(count, **options)`: DPO on the first `count` edits; returns its stage."""

    def run(count: int = 8, **options: Any) -> Stage:
        stage = new_stage(1)
        config = DPOConfig.model_validate({**QUICK, **options})
        train_dpo(
            config, policy=trained.sft, pairs=pairs[:count], validation=None, codec=codec, runtime=runtime, stage=stage
        )
        return stage

    return run


def logprob(model: Any, prompt: tuple[int, ...], response: tuple[int, ...], runtime: Runtime) -> float:
    """log p(response | prompt), one row alone, without padding."""
    batch = collate([prompt], [response], 0, runtime.device)
    return float(response_logprobs(model, batch).sum().detach())


def loss_by_hand(policy: Path, reference: Path, pairs: list[Pair], runtime: Runtime) -> float:
    """The mean over the pairs of -log sigmoid(beta * (log ratio of the chosen - log ratio of the rejected))."""
    ours, theirs = (load_policy(folder, runtime, trained=False) for folder in (policy, reference))
    total = 0.0
    for pair in pairs:
        chosen, rejected = (
            logprob(ours, pair.prompt_ids, ids, runtime) - logprob(theirs, pair.prompt_ids, ids, runtime)
            for ids in (pair.chosen_ids, pair.rejected_ids)
        )
        total -= float(logsigmoid(torch.tensor(BETA * (chosen - rejected))))
    return total / len(pairs)


def test_the_trainer_sees_the_very_token_ids_of_the_pairs(
    trained: Any, pairs: list[Pair], codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> None:
    # The second original was cut off at the length limit: it has no end, and must not get one.
    cut = Pair("cut", pairs[0].prompt_ids, pairs[0].rejected_ids[:-1], pairs[0].chosen_ids)
    given = [pairs[0], cut, *pairs[1:6]]
    model, reference = (load_policy(trained.sft, runtime, trained=flag) for flag in (True, False))
    trainer = make_trainer(
        DPOConfig(batch_size=len(given)),
        model=model,
        reference=reference,
        pairs=given,
        total=1,
        codec=codec,
        runtime=runtime,
        stage=new_stage(),
    )
    (batch,) = trainer.get_train_dataloader()
    seen = []
    for ids, real, counts in zip(
        batch["input_ids"].tolist(), batch["attention_mask"].tolist(), batch["completion_mask"].tolist(), strict=True
    ):
        row = [token for token, flag in zip(ids, real, strict=True) if flag]
        response = [token for token, flag in zip(ids, counts, strict=True) if flag]
        assert row[len(row) - len(response) :] == response
        seen.append((tuple(row[: len(row) - len(response)]), tuple(response)))
    chosen, rejected = seen[: len(given)], seen[len(given) :]
    wanted = {((p.prompt_ids, p.chosen_ids), (p.prompt_ids, p.rejected_ids)) for p in given}
    assert set(zip(chosen, rejected, strict=True)) == wanted
    assert all(response[-1] == codec.eos_id for _, response in chosen)
    assert sum(response[-1] != codec.eos_id for _, response in rejected) == 1


def test_the_first_loss_is_log_2_and_the_second_is_as_worked_out_here(
    train: Callable[..., Stage], trained: Any, pairs: list[Pair], runtime: Runtime
) -> None:
    # At the first step the policy is the reference, so every margin is 0. One step later it is the checkpoint that a
    # run of one step leaves.
    one, two = train(max_steps=1), train(max_steps=2)
    rows = read_metrics(two.folder)
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert rows[0]["margin"] == 0
    expected = loss_by_hand(one.folder / "checkpoint", trained.sft, pairs[:8], runtime)
    assert abs(expected - math.log(2)) > 0.01
    assert rows[1]["loss"] == pytest.approx(expected, abs=1e-5)


def test_one_batch_and_its_micro_batches_learn_alike(train: Callable[..., Stage]) -> None:
    whole, parts = (read_metrics(train(max_steps=3, micro_batch_size=size).folder) for size in (None, 2))
    for ours, theirs in zip(whole, parts, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-3)


def test_what_is_left_is_a_plain_checkpoint_with_the_codecs_own_tokenizer(
    train: Callable[..., Stage], codec: Codec
) -> None:
    before = codec.tokenizer.special_tokens_map
    stage = train(max_steps=1)
    names = {path.name for path in (stage.folder / "checkpoint").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "redpencil.json"} <= names
    assert {path.name for path in stage.folder.iterdir()} == {"checkpoint", "metrics.jsonl"}
    assert template_of(stage.folder / "checkpoint") == codec.template
    assert codec.tokenizer.special_tokens_map == before


def test_the_same_seed_gives_the_same_weights(train: Callable[..., Stage]) -> None:
    first, second = (train(32, max_steps=3).folder / "checkpoint" / "model.safetensors" for _ in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_bad_words_become_rare(train: Callable[..., Stage], trained: Any, codec: Codec, runtime: Runtime) -> None:
    def bad_share(folder: Path) -> float:
        prompts = [Prompt(str(i), f"topic{i % 8}") for i in range(160)]
        sampling = SamplingConfig(response_length=8, max_prompt_length=8)
        answers, _ = respond(folder, prompts, config=sampling, codec=codec, runtime=runtime, seed=0, model_name="x")
        words = [word for answer in answers for word in answer.response.split()]
        return sum(word in ("mud", "rot") for word in words) / len(words)

    stage = train(400, max_steps=30, batch_size=32)
    assert bad_share(stage.folder / "checkpoint") < 0.5 * bad_share(trained.sft)
    rows = read_metrics(stage.folder)
    assert rows[-1]["accuracy"] > 0.8
    assert rows[-1]["margin"] > rows[1]["margin"]


def test_nothing_is_told_to_anyone(train: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *a, **k: told.append((a, k)))
    monkeypatch.setattr(socket.socket, "connect", lambda *a: told.append(a))
    train(max_steps=1)
    assert told == []


def test_without_trl_the_way_to_it_is_told(train: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "trl" else object())
    with pytest.raises(RedpencilError, match="DPO needs TRL") as caught:
        train(max_steps=1)
    assert caught.value.hint == "pip install 'redpencil[trl]'"


def test_a_batch_that_cannot_be_cut_is_refused(train: Callable[..., Stage]) -> None:
    with pytest.raises(RedpencilError, match="no multiple of micro_batch_size 3"):
        train(max_steps=1, micro_batch_size=3)


def test_no_pairs_are_refused(train: Callable[..., Stage]) -> None:
    with pytest.raises(RedpencilError, match="no pairs to train on"):
        train(0)
