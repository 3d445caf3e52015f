"""The loops of training: which rows and prompts a step sees, and what is logged."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from redpencil.config import PPOConfig, SFTConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import LanguageModel
from redpencil.models.codec import Codec
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import encode_prompts
from redpencil.records import Prompt
from redpencil.runs import Stage, read_metrics
from redpencil.training.dpo import train_dpo
from redpencil.training.loop import train_on_rollouts, train_supervised
from redpencil.training.rollout import load_actors, optimization_for, sampling_of
from redpencil.training.scoring import SampledBatch
from redpencil.training.update import Objective
from redpencil.training.validation import Validation
from redpencil.turns import Asked, prompt_text


class Line(torch.nn.Module):
    """y = w x, to be trained towards y = 3 x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1, 1))


@pytest.fixture
def line(codec: Codec, runtime: Runtime) -> LanguageModel:
    return LanguageModel(Line(), codec, runtime)  # type: ignore[arg-type]


def train(line: LanguageModel, stage: Stage, rows: Sequence[int], total_steps: int, **options: Any) -> list[list[int]]:
    """Train the line on x = 1 for each row; returns the rows of each micro-batch."""
    seen: list[list[int]] = []

    def collate(part: Sequence[int]) -> int:
        seen.append(list(part))
        return len(part)

    def terms(_: int) -> dict[str, Tensor]:
        return {"error": (line.module.w - 3).square().sum()}  # type: ignore[operator]

    config = SFTConfig(**{"learning_rate": 0.1, "lr_scheduler_type": "constant", "warmup_ratio": 0, **options})
    train_supervised(
        line,
        rows,
        names=list(map(str, rows)),
        lengths=[1] * len(rows),
        collate=collate,
        objective=Objective({"error": 1.0}, lambda size: {"error": float(size)}, terms),
        config=config,
        total_steps=total_steps,
        stage=stage,
    )
    return seen


def test_every_row_is_seen_once_an_epoch(line: LanguageModel, new_stage: Callable[..., Stage]) -> None:
    seen = train(line, new_stage(), range(100, 110), 8, batch_size=3, micro_batch_size=2)
    # batches of 3, 3, 3 and 1 rows, in parts of at most 2
    assert sorted(map(len, seen[:7])) == [1, 1, 1, 1, 2, 2, 2]
    assert Counter(itertools.chain(*seen)) == dict.fromkeys(range(100, 110), 2)


def test_the_model_learns_and_every_step_is_logged(line: LanguageModel, new_stage: Callable[..., Stage]) -> None:
    stage, shown = new_stage(), []
    stage.progress = lambda done, total, note: shown.append((done, total, note))
    train(line, stage, range(4), 100, batch_size=4)
    rows = read_metrics(stage.folder)
    assert [row["step"] for row in rows] == list(range(1, 101))
    assert rows[0]["loss"] == rows[0]["error"] == 9
    assert rows[-1]["loss"] < 0.05
    assert shown[0] == (1, 100, "loss 9.000")
    assert shown[-1][:2] == (100, 100)


def test_the_seed_decides_the_batches(line: LanguageModel, new_stage: Callable[..., Stage]) -> None:
    one, same, other = (train(line, new_stage(seed), range(50), 5, batch_size=10) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_no_pairs_are_refused(trained: Any, codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]) -> None:
    from redpencil.config import DPOConfig

    with pytest.raises(RedpencilError, match="no pairs to train on"):
        train_dpo(
            DPOConfig(), policy=trained.sft, pairs=[], validation=None, codec=codec, runtime=runtime, stage=new_stage()
        )


def test_rollouts_go_through_all_prompts_and_adapt_the_coefficient(
    trained: Any, codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> None:
    config = PPOConfig(
        response_length=4,
        rollout_batch_size=4,
        batch_size=4,
        total_steps=4,
        eval_steps=2,
        kl_coef=0.1,
        value_init="policy",
    )
    actors, stage = load_actors(config, trained.sft, trained.token, None, runtime, codec), new_stage()
    prompts = encode_prompts([Prompt(str(i), f"topic{i}") for i in range(8)], codec, 8)
    steps: list[tuple[int, float]] = []
    asked: list[Asked] = []

    def learn(sampled: SampledBatch, step: int, kl_coef: float) -> dict[str, float]:
        steps.append((step, kl_coef))
        asked.extend(sampled.prompts)
        return {"reward": 0.0, "kl": 5.0, "length": 4.0}

    train_on_rollouts(
        config,
        learn,
        actors=actors,
        optimizations={"policy": optimization_for(actors.policy, 1e-3, config)},
        prompts=prompts,
        validation=Validation(prompts, sampling_of(config), lambda _: {"win_rate": 50.0}, config.eval_steps),
        stage=stage,
        next_kl_coef=lambda kl_coef, kl: kl_coef * kl,
    )
    assert steps == [(1, 0.1), (2, 0.5), (3, 2.5), (4, 12.5)]
    assert Counter(map(prompt_text, asked)) == dict.fromkeys((f"topic{i}" for i in range(8)), 2)
    rows = read_metrics(stage.folder)
    assert [row["step"] for row in rows if "eval/win_rate" in row] == [0, 2, 4]
    assert [row["kl_coef"] for row in rows[1:]] == [0.1, 0.5, 2.5, 12.5]
    assert stage.notes["best"] == {"step": 0, "value": 50.0, "kl": 0.0}
    assert stage.notes["skipped prompts"] == 0
