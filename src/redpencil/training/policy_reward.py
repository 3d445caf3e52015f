"""A reward model made of a trained policy and the one that it started from; see `models.log_ratio`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from redpencil.config.training import RewardConfig
from redpencil.models.checkpoints import LanguageModel, load_policy
from redpencil.models.codec import Codec
from redpencil.models.log_ratio import LogRatio, Parts
from redpencil.models.runtime import Runtime
from redpencil.models.saving import write_log_ratio
from redpencil.models.sidecar import RewardCard
from redpencil.runs import Stage
from redpencil.training.reward import measure


def make_policy_reward(
    config: RewardConfig,
    parts: Parts,
    *,
    samples: Sequence[tuple[Sequence[int], Sequence[int]]],
    codec: Codec,
    trained_on: str,
    runtime: Runtime,
    stage: Stage,
) -> None:
    """Measure centre and scale of the log-ratio on samples, and write `checkpoint/` into the stage's folder.

    Arguments as in `train_reward`.

    Raises:
        RedpencilError: if a policy cannot be loaded, or there are fewer than two samples that it can read.
    """
    policy, reference = (
        load_policy(part, runtime, trained=False, codec=codec).module for part in (parts.policy, parts.reference)
    )
    module: Any = LogRatio(policy, reference, parts.beta, stage.folder / "checkpoint")
    of_tokens = config.model_copy(update={"level": "token"})
    scales = measure(LanguageModel(module, codec, runtime), of_tokens, samples[: config.reference_samples])
    stage.notes["reference"] = asdict(scales)
    card = RewardCard("token", **asdict(scales), prompt_template=codec.template, trained_on=trained_on)
    if runtime.writes:
        write_log_ratio(stage.folder / "checkpoint", parts, codec, card)
    runtime.tell(None)
