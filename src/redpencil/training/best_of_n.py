"""Best-of-n: sample n responses to each prompt and keep the one that a reward model likes best. Nothing is trained."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from redpencil.config import BestOfNConfig, SamplingConfig
from redpencil.models.codec import Codec
from redpencil.models.checkpoints import RewardModel, load_policy, load_reward_model
from redpencil.models.runtime import Runtime, set_seed
from redpencil.models.sampling import Sample, encode_prompts, sample_responses
from redpencil.records import Prompt, Response
from redpencil.runs import Progress, no_progress
from redpencil.training.reward import encode_samples, score_ids, score_tokens
from redpencil.training.scoring import check_finite, check_reads


@dataclass(frozen=True, slots=True)
class BestOfN:
    """The responses that were picked, and what the choice was made from.

    best_score, mean_score: means over the prompts of the picked response's score and of all its rivals' mean.
    """

    responses: list[Response]
    sampled: int
    skipped: int
    best_score: float
    mean_score: float


def best_of_n(
    config: BestOfNConfig,
    *,
    policy: Path,
    reward_model: Path,
    prompts: Sequence[Prompt],
    sampling: SamplingConfig,
    codec: Codec,
    runtime: Runtime,
    seed: int,
    model_name: str,
    progress: Progress = no_progress,
) -> BestOfN:
    """The best of n responses to each prompt; of equals the one that was sampled first.

    The same seed gives the same n responses whichever reward model picks. One with another tokenizer or prompt template
    than the policy's reads prompts and responses as text.

    Raises:
        RedpencilError: if the reward model cannot read a prompt and its responses, or says what is no finite number of
            one, or no prompt is short enough.
    """
    encoded = encode_prompts(prompts, codec, sampling.max_prompt_length)
    reward = load_reward_model(reward_model, runtime, reads=codec)
    check_reads(reward, [prompt.prompt for prompt in encoded.records])
    model = load_policy(policy, runtime, trained=False)
    set_seed(seed)
    ids = [row for row in encoded.ids for _ in range(config.n)]
    drawn = sampling.model_copy(update={"temperature": config.temperature})
    samples = sample_responses(model, codec, ids, drawn, runtime, progress)
    rivals = [prompt for prompt in encoded.records for _ in range(config.n)]
    scores = score_samples(config, reward, rivals, ids, samples, codec, runtime)
    check_finite(reward, torch.tensor(scores, dtype=torch.float64))
    groups = [scores[start : start + config.n] for start in range(0, len(scores), config.n)]
    picked = [samples[config.n * row + best_index(group)] for row, group in enumerate(groups)]
    texts = codec.decode([sample.ids for sample in picked])
    responses = [
        Response(prompt.id, prompt.prompt, text, model_name, sample.finished, meta=prompt.meta)
        for prompt, text, sample in zip(encoded.records, texts, picked, strict=True)
    ]
    best, mean = statistics.fmean(map(max, groups)), statistics.fmean(scores)
    return BestOfN(responses, len(samples), encoded.skipped, best, mean)


def best_index(scores: Sequence[float]) -> int:
    """Index of the highest score; of equals the first."""
    return max(range(len(scores)), key=lambda index: scores[index])


def score_samples(
    config: BestOfNConfig,
    reward: RewardModel,
    prompts: Sequence[Prompt],
    prompt_ids: Sequence[Sequence[int]],
    samples: Sequence[Sample],
    codec: Codec,
    runtime: Runtime,
) -> list[float]:
    """One score for each response: of a sequence model its reward; of a token model the mean (Eq. 1) or the sum."""
    responses: list[Sequence[int]] = [sample.ids for sample in samples]
    if reward.codec is not None:
        texts = codec.decode(responses)
        read = encode_samples(
            [
                Response(prompt.id, prompt.prompt, text, finished=sample.finished)
                for prompt, text, sample in zip(prompts, texts, samples, strict=True)
            ],
            reward.codec,
        )
        prompt_ids, responses = [row[0] for row in read], [row[1] for row in read]
        codec = reward.codec
    if reward.card.level == "sequence" or config.token_score == "mean":
        return score_ids(reward, prompt_ids, responses, codec, runtime)
    center = reward.card.center if config.center_rewards else 0.0
    rows = score_tokens(reward.model, prompt_ids, responses, codec, runtime)
    return [float((row - center).sum()) for row in rows]
