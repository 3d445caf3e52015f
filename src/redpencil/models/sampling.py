"""Sampling responses from a policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from redpencil.config import SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.models.codec import Codec
from redpencil.models.forward import collate
from redpencil.models.loading import context_of, load_policy
from redpencil.models.runtime import Runtime, set_seed
from redpencil.records import Prompt, Response
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
            hint="correct the file, or delete it",
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
            hint="lower response_length or max_prompt_length of the recipe's sampling (in PPO also of ppo), such as "
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
            hint="put the tokenizer that the model was trained with beside it",
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
            hint="its weights are damaged, or training broke down: take another checkpoint or a lower learning rate",
        ) from error
    answers: list[list[int]] = output[:, width:].tolist()
    return answers


def cut_at_end(ids: Sequence[int], ends: frozenset[int]) -> Sample:
    """Keep what comes up to and including the first end token. What follows is padding, whatever its id."""
    for index, token in enumerate(ids):
        if token in ends:
            return Sample(tuple(ids[: index + 1]), finished=True)
    return Sample(tuple(ids), finished=False)


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
            hint="raise max_prompt_length or give shorter prompts",
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


REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What bytes decode to that are no whole character."""

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """The text of a response, and the span of each of its tokens in characters, end excluded.

    The end token of a finished response has the empty span at the end, `(len(text), len(text))`. A token that decodes
    to nothing, such as a special one, has an empty span where it stands. The pieces of one character share its span.
    """

    text: str
    offsets: Spans


def place(codec: Codec, samples: Sequence[Sample]) -> list[Placed]:
    """Text and spans of sampled responses, in their order."""
    if not samples:
        return []
    special = frozenset(i for i, token in codec.tokenizer.added_tokens_decoder.items() if token.special)
    bodies = [sample.ids[: len(sample.ids) - sample.finished] for sample in samples]
    spoken = [tuple(i for i in body if i not in special) for body in bodies]
    texts = codec.decode(spoken)
    canonical = codec.encode_responses(texts, finished=False)
    placed = []
    for sample, body, ids, text, tokens in zip(samples, bodies, spoken, texts, canonical, strict=True):
        spans = tokens.offsets if tokens.ids == ids else _spans_by_decoding(codec, ids, text)
        if len(ids) < len(body):
            spans = _with_empty(spans, [i in special for i in body])
        placed.append(Placed(text, (*spans, (len(text), len(text))) if sample.finished else spans))
    return placed


def _spans_by_decoding(codec: Codec, ids: Sequence[int], text: str) -> Spans:
    """Spans of any tokens without special ones, from the texts of all their beginnings.

    A beginning that ends inside a character decodes to a replacement character there. The character's pieces are then
    known by their beginnings, which agree with the text up to that character and go on otherwise.
    """
    beginnings = codec.decode([ids[:end] for end in range(1, len(ids) + 1)])
    spans: list[tuple[int, int]] = []
    reached = 0
    for beginning in beginnings:
        agreed = reached + _agreement(beginning[reached:], text[reached:])
        end = min(agreed + (len(beginning) > agreed), len(text))
        start = reached
        if end == start > 0 and beginning.endswith(REPLACEMENT):  # one more byte of what is no character at all
            start -= 1
        spans.append((start, end))
        reached = agreed
    return tuple(spans)


def _agreement(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _with_empty(spans: Spans, empty: Sequence[bool]) -> Spans:
    """The spans with an empty one put in wherever `empty` says so."""
    given, found, reached = iter(spans), [], 0
    for nothing in empty:
        span = (reached, reached) if nothing else next(given)
        reached = max(reached, span[1])
        found.append(span)
    return tuple(found)
