"""Sampling responses from a policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from redpencil.config import SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.models.batches import collate
from redpencil.models.loading import context_of
from redpencil.models.runtime import Runtime
from redpencil.models.text import Codec
from redpencil.runs import Progress, no_progress


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids of a response, its EOS included where it has one; `finished` tells whether it has."""

    ids: tuple[int, ...]
    finished: bool


def end_tokens(model: PreTrainedModel, codec: Codec) -> frozenset[int]:
    """Every token that ends a response: the tokenizer's EOS and those that the checkpoint's generation names."""
    named: Any = getattr(model.generation_config, "eos_token_id", None)
    ids = named if isinstance(named, list) else [] if named is None else [named]
    if not all(isinstance(token, int) for token in ids):
        raise RedpencilError(
            f"eos_token_id is {named!r}, not a token id or a list of them",
            file=f"{model.name_or_path}/generation_config.json",
            field="eos_token_id",
            way_out="correct the file, or delete it",
        )
    return frozenset([codec.eos_id, *ids])


@torch.no_grad()
def sample_responses(
    model: PreTrainedModel,
    codec: Codec,
    prompt_ids: Sequence[Sequence[int]],
    config: SamplingConfig,
    runtime: Runtime,
    progress: Progress = no_progress,
) -> list[Sample]:
    """One response to each prompt, in the prompts' order. Randomness comes from torch's global generator.

    Nothing but `config` shapes the distribution: what a checkpoint's generation_config.json says beyond its end tokens
    (such as a repetition penalty) would make the samples other than the log-probabilities that PPO trains on.

    Raises:
        RedpencilError: if prompt and response can be longer than the model's context.
    """
    check_context(model, prompt_ids, config.response_length)
    _check_vocabulary(model, prompt_ids)
    ends = end_tokens(model, codec)
    training, generation_config = model.training, model.generation_config
    model.train(False)
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    order = sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
    samples: dict[int, Sample] = {}
    for start in range(0, len(order), config.batch_size):
        rows = order[start : start + config.batch_size]
        answers = _generate(model, codec, [prompt_ids[i] for i in rows], config, runtime, sorted(ends))
        samples.update({row: cut_at_end(answer, ends) for row, answer in zip(rows, answers, strict=True)})
        progress(len(samples), len(prompt_ids), "responses")
    model.train(training)
    model.generation_config = generation_config
    return [samples[i] for i in range(len(prompt_ids))]


def check_context(model: PreTrainedModel, prompt_ids: Sequence[Sequence[int]], response_length: int) -> None:
    """Refuse prompts that leave no room for a response of `response_length` tokens.

    Raises:
        RedpencilError: naming the longest prompt.
    """
    context = context_of(model)
    longest = max(map(len, prompt_ids))
    if context is not None and longest + response_length > context:
        raise RedpencilError(
            f"a prompt of {longest} tokens and a response of up to {response_length} exceed the model's context of "
            f"{context}",
            field="response_length",
            way_out="lower response_length or max_prompt_length of the recipe's sampling (in PPO also of ppo), such as "
            "--set sampling.response_length=80",
        )


def _check_vocabulary(model: PreTrainedModel, prompt_ids: Sequence[Sequence[int]]) -> None:
    """Refuse prompts with tokens that the model does not know, as when it lies beside another's tokenizer."""
    embeddings: Any = model.get_input_embeddings()
    known: int = embeddings.num_embeddings
    largest = max(map(max, prompt_ids))
    if largest >= known:
        raise RedpencilError(
            f"the tokenizer gives token {largest}, the model knows {known} tokens",
            file=model.name_or_path,
            field="vocab_size",
            way_out="put the tokenizer that the model was trained with beside it",
        )


def _generate(
    model: PreTrainedModel,
    codec: Codec,
    prompt_ids: Sequence[Sequence[int]],
    config: SamplingConfig,
    runtime: Runtime,
    ends: list[int],
) -> list[list[int]]:
    batch = collate(prompt_ids, [()] * len(prompt_ids), codec.pad_id, runtime.device)
    width = batch.prompt_width
    greedy: dict[str, Any] = {"do_sample": False}
    sampled = {"do_sample": True, "temperature": config.temperature, "top_p": config.top_p, "top_k": 0}
    generate: Any = model.generate
    try:
        with runtime.autocast():
            output = generate(
                input_ids=batch.input_ids[:, :width],
                attention_mask=batch.attention_mask[:, :width],
                max_new_tokens=config.response_length,
                pad_token_id=codec.pad_id,
                eos_token_id=ends,
                **(greedy if config.temperature == 0 else sampled),
            )
    except RuntimeError as error:
        if "probability tensor" not in str(error):
            raise
        raise RedpencilError(
            "the model's probabilities are not finite numbers",
            file=model.name_or_path,
            way_out="its weights are damaged, or training broke down: take another checkpoint or a lower learning rate",
        ) from error
    answers: list[list[int]] = output[:, width:].tolist()
    return answers


def cut_at_end(ids: Sequence[int], ends: frozenset[int]) -> Sample:
    """Keep what comes up to and including the first end token. What follows is padding, whatever its id."""
    for index, token in enumerate(ids):
        if token in ends:
            return Sample(tuple(ids[: index + 1]), finished=True)
    return Sample(tuple(ids), finished=False)
