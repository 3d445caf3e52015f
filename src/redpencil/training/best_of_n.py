"""Best-of-n: sample n responses to each prompt and keep the one that a reward model likes best. Nothing is trained."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redpencil.config.methods import BestOfNConfig, SamplingConfig
from redpencil.errors import naming
from redpencil.maths.ppo import best_of_n_kl_bound
from redpencil.models.checkpoints import RewardModel
from redpencil.models.codec import Codec
from redpencil.models.sampling import Sample, Sampler, check_context, encode_prompts, responses_of
from redpencil.records import Prompt, Response
from redpencil.runs import Progress, no_progress
from redpencil.training.scoring import check_reads, check_rewards, encode_samples, score_ids, score_tokens


@dataclass(frozen=True, slots=True)
class BestOfN:
    """The responses that were picked, and figures of the choice.

    best_score, mean_score: means over the prompts of the picked response's score and of all its rivals' mean.
    kl_bound: the most that the KL to the policy can be, in nats per response.
    """

    responses: list[Response]
    sampled: int
    skipped: int
    best_score: float
    mean_score: float
    kl_bound: float


def best_of_n(
    config: BestOfNConfig,
    *,
    sampler: Sampler,
    reward: RewardModel,
    prompts: Sequence[Prompt],
    sampling: SamplingConfig,
    seed: int,
    model_name: str,
    progress: Progress = no_progress,
) -> BestOfN:
    """Pick the best of n responses to each prompt; of equals the one that was sampled first.

    The same seed gives the same n responses whichever reward model picks. One with another tokenizer or prompt template
    than the policy's reads prompts and responses as text.

    Raises:
        RedpencilError: if the reward model cannot read a prompt and its responses, or gives one a reward that is not a
            finite number, or no prompt is short enough.
    """
    encoded = encode_prompts(prompts, sampler.codec, sampling.max_prompt_length)
    check_reads(reward, encoded.records)
    if reward.same_encoding:
        with naming(Path(reward.model.name)):
            check_context(reward.model.context, encoded.ids, reward.model.readings * sampling.response_length)
    ids = [row for row in encoded.ids for _ in range(config.n)]
    options = sampling.model_copy(update={"temperature": config.temperature})
    samples = sampler.sample(ids, options, seed=seed, progress=progress)
    asked = [prompt for prompt in encoded.records for _ in range(config.n)]
    scores = score_samples(config, reward, asked, ids, samples, sampler.codec)
    check_rewards(reward, scores)
    groups = [scores[start : start + config.n] for start in range(0, len(scores), config.n)]
    picked = [samples[config.n * row + best_index(group)] for row, group in enumerate(groups)]
    responses = responses_of(encoded.records, picked, sampler.codec, model_name)
    best, mean = statistics.fmean(map(max, groups)), statistics.fmean(scores)
    return BestOfN(responses, len(samples), encoded.skipped, best, mean, best_of_n_kl_bound(config.n))


def best_index(scores: Sequence[float]) -> int:
    """Return the index of the highest score; of equals the first."""
    return max(range(len(scores)), key=lambda index: scores[index])


def score_samples(
    config: BestOfNConfig,
    reward: RewardModel,
    prompts: Sequence[Prompt],
    prompt_ids: Sequence[Sequence[int]],
    samples: Sequence[Sample],
    codec: Codec,
) -> list[float]:
    """Score each response: by a sequence model's reward, or the mean (Eq. 1) or sum of a token model's rewards."""
    responses: list[Sequence[int]] = [sample.ids for sample in samples]
    if not reward.same_encoding:
        rows = encode_samples(responses_of(prompts, samples, codec, ""), reward.model.codec)
        prompt_ids, responses = [row[0] for row in rows], [row[1] for row in rows]
    if reward.card.level == "sequence" or config.token_score == "mean":
        return score_ids(reward, prompt_ids, responses)
    center = reward.card.center if config.center_rewards else 0.0
    return [float((row - center).sum()) for row in score_tokens(reward.model, prompt_ids, responses)]
