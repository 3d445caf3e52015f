"""The values of `reward` that go by the amount of data and the size of the model where the recipe does not say them.

AlpacaFarm's values suit its own setting: 7 billion parameters, of hidden size 4,096, and 10,000 pairs. With a few
hundred pairs they take a dozen steps of 3e-6 and leave a reward model where it started. What is chosen here passes
through AlpacaFarm's learning rate and its one pass at that size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redpencil.config.training import FittedRewardConfig, RewardConfig
from redpencil.records import Pair

_PAPER_RATE: Final = 3e-6
_PAPER_WIDTH: Final = 4096
_HIGHEST_RATE: Final = 1e-3
_ADAPTERS: Final = 10
"""How much higher the rate of adapters is than that of all weights (Schulman et al., "LoRA Without Regret", 2025)."""
_STEPS: Final = 150
"""Optimiser steps that a reward model gets at least, unless that takes more than `_MOST_EPOCHS`."""
_MOST_EPOCHS: Final = 5
"""More passes over a few hundred pairs learn these pairs by heart."""


CHOSEN: Final = ("learning_rate", "num_train_epochs", "scale")
"""The keys of `reward` that are chosen where the recipe leaves them open."""


@dataclass(frozen=True, slots=True)
class DataSize:
    """What the choice goes by: how many pairs, the mean tokens of their responses, and the backbone's hidden size."""

    pairs: int
    mean_length: float
    hidden_size: int


def size_of(pairs: Sequence[Pair], hidden_size: int) -> DataSize:
    """Measure pairs, of which there is at least one."""
    tokens = sum(len(pair.chosen_ids) + len(pair.rejected_ids) for pair in pairs)
    return DataSize(len(pairs), tokens / (2 * len(pairs)), hidden_size)


def fit(config: RewardConfig, size: DataSize) -> FittedRewardConfig:
    """Choose what the recipe leaves open: learning rate, passes and scale. What it says is kept.

    - The learning rate falls with the hidden size to the power 1.5, which leads from AlpacaFarm's 3e-6 at 4,096 to
      rates at which small models learned: 1e-4 at 384, 8e-4 at 96. A head on a frozen backbone has 1e-3 at any size.
      Adapters learn at ten times the rate of all weights.
    - Passes: as many as make 150 steps, 5 at most.
    - The scale makes up for 1/T of Eq. 3 and 4, so that the margin is about a sum over the tokens that count.
    """
    rate = min(_PAPER_RATE * (_PAPER_WIDTH / size.hidden_size) ** 1.5, _HIGHEST_RATE)
    if config.frozen_layers == "all":
        rate = _HIGHEST_RATE
    elif config.lora is not None:
        rate *= _ADAPTERS
    epochs = math.ceil(_STEPS / math.ceil(size.pairs / config.batch_size))
    chosen = {
        "learning_rate": float(f"{rate:.2g}"),
        "num_train_epochs": float(min(epochs, _MOST_EPOCHS)),
        "scale": max(1.0, float(round(size.mean_length))) if _by_length(config) else 1.0,
    }
    said = {name: getattr(config, name) for name in chosen}
    kept = {name: value for name, value in said.items() if value is not None}
    # Fields that are no part of dumps, such as micro_batch_size, come along too.
    every = {name: getattr(config, name) for name in type(config).model_fields}
    return FittedRewardConfig.model_validate({**every, **chosen, **kept})


def _by_length(config: RewardConfig) -> bool:
    """Whether the margin is a mean over tokens, whose 1/T the scale makes up for."""
    return config.level == "token" and config.loss in ("eq3", "eq4")


def in_words(config: RewardConfig, fitted: FittedRewardConfig, size: DataSize) -> str | None:
    """Say what was chosen and by what; None if the recipe says everything."""
    decided = {"num_train_epochs": config.max_steps is not None, "scale": not _by_length(config)}
    chosen = [name for name in CHOSEN if getattr(config, name) is None and not decided.get(name)]
    if not chosen:
        return None
    values = ", ".join(f"reward.{name}={getattr(fitted, name):g}" for name in chosen)
    return (
        f"{values}, chosen for {size.pairs:,} pairs of {size.mean_length:.0f} tokens a response and a model of hidden "
        f"size {size.hidden_size:,}"
    )
