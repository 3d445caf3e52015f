"""A policy's answers to prompts, as records."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redpencil.config import SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.models.loading import load_policy
from redpencil.models.runtime import Runtime, set_seed
from redpencil.models.sampling import sample_responses
from redpencil.models.text import Codec
from redpencil.records import Prompt, Response
from redpencil.runs import Progress, no_progress


@dataclass(frozen=True, slots=True)
class EncodedPrompts:
    """Prompts that fit, with their token ids, and how many did not."""

    records: list[Prompt]
    ids: list[list[int]]
    skipped: int


def encode_prompts(prompts: Sequence[Prompt], codec: Codec, max_prompt_length: int) -> EncodedPrompts:
    """Tokenise prompts in one call; empty ones and longer ones are counted and skipped.

    Raises:
        RedpencilError: if none is left.
    """
    ids = codec.encode_prompts([prompt.prompt for prompt in prompts])
    kept = [i for i, row in enumerate(ids) if 0 < len(row) <= max_prompt_length]
    if not kept:
        raise RedpencilError(
            f"none of {len(prompts)} prompts has between 1 and {max_prompt_length} tokens",
            field="max_prompt_length",
            way_out="raise max_prompt_length or give shorter prompts",
        )
    return EncodedPrompts([prompts[i] for i in kept], [ids[i] for i in kept], len(prompts) - len(kept))


def respond(
    policy: Path,
    prompts: Sequence[Prompt],
    *,
    config: SamplingConfig,
    codec: Codec,
    runtime: Runtime,
    seed: int,
    model_name: str,
    progress: Progress = no_progress,
) -> tuple[list[Response], int]:
    """Answer prompts with the policy of a folder; also returns how many prompts were skipped as too long."""
    encoded = encode_prompts(prompts, codec, config.max_prompt_length)
    model = load_policy(policy, runtime, trained=False)
    set_seed(seed)
    samples = sample_responses(model, codec, encoded.ids, config, runtime, progress)
    texts = codec.decode([sample.ids for sample in samples])
    responses = [
        Response(prompt.id, prompt.prompt, text, model_name, sample.finished, meta=prompt.meta)
        for prompt, text, sample in zip(encoded.records, texts, samples, strict=True)
    ]
    return responses, encoded.skipped
