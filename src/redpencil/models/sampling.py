"""Sample responses from a policy, and find where their tokens lie in the text that they spell.

A tokenizer gives offsets for the tokens that it cuts a text into. A policy may write the same text with other tokens
("un" + "believ" + "able" where the tokenizer has "unbelievable"), begin a character with some of its bytes and never
end it, or put a control token into the text. So its tokens are decoded, and offsets of the tokenizer are taken only
where it cuts that text into the very same tokens (`place`).
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from transformers import GenerationConfig, PreTrainedModel

from redpencil.config.methods import SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import LanguageModel
from redpencil.models.codec import Codec
from redpencil.models.decoding import Decoder, cast_cache, not_finite, why_not
from redpencil.models.end_tokens import GENERATION_CONFIG, end_ids
from redpencil.models.forward import collate
from redpencil.models.kept_samples import KeptSamples, key_of
from redpencil.models.packed import packed_weights
from redpencil.models.parallel import whole_weights
from redpencil.models.runtime import seeded
from redpencil.records import Prompt, Response
from redpencil.rows import IntRows
from redpencil.runs import Progress, derive_seed, no_progress

log = logging.getLogger("redpencil.models")


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids of a response, its EOS included where it has one; `finished` tells whether it has.

    `staleness` counts the updates of the policy that the weights which drew it lack.
    """

    ids: tuple[int, ...]
    finished: bool
    staleness: int = field(default=0, compare=False)

    @property
    def body(self) -> tuple[int, ...]:
        """The ids before the EOS."""
        return self.ids[: len(self.ids) - self.finished]


def end_tokens(policy: LanguageModel) -> frozenset[int]:
    """Return every token that ends a response: those of the codec and of the checkpoint's generation config."""
    named: Any = getattr(policy.module.generation_config, "eos_token_id", None)
    codec = policy.codec
    return codec.ends | {codec.eos_id, *end_ids(named, Path(policy.name) / GENERATION_CONFIG)}


class Sampler(Protocol):
    """Answers prompts with a policy, wherever that runs."""

    @property
    def codec(self) -> Codec:
        """The tokenizer and prompt template of the policy."""

    def check(self, prompt_ids: Sequence[Sequence[int]], response_length: int) -> None:
        """Refuse prompts that leave no room for a response, or that the policy does not know a token of.

        Raises:
            RedpencilError: naming the longest prompt, or the token.
        """

    def sample(
        self,
        prompt_ids: Sequence[Sequence[int]],
        config: SamplingConfig,
        *,
        seed: int,
        progress: Progress = no_progress,
    ) -> list[Sample]:
        """Sample one response to each prompt, in the prompts' order.

        The draws depend on the prompts, the configuration, the policy and the seed alone.

        Raises:
            RedpencilError: as `check` does.
        """

    def sync(self, policy: LanguageModel, *, exact: bool = False) -> None:
        """Take over the weights of a policy that training has changed.

        Args:
            policy: the policy.
            exact: the next responses must be from these very weights, whatever bound on staleness there is.
        """


PORTION: Final = 8
"""Batches of prompts that the decode loop answers one after the other, as places in it become free."""


@cache
def _say(kind: str, reason: str) -> None:
    log.warning("%s is sampled by transformers' generate: %s", kind, reason)


@dataclass(frozen=True, slots=True)
class HFSampler:
    """Samples in this process: by the loop of `models.decoding`, or by transformers' `generate` where that does not do.

    Nothing but the sampling configuration shapes the distribution: what a checkpoint's generation_config.json says
    beyond its end tokens (such as a repetition penalty) would make the samples other than the log-probabilities that
    PPO trains on.

    kept: a folder that keeps the portions that were sampled, for a policy with the weights of its folder; a call with
    the same prompts, configuration and seed goes on behind them, and its answers are the same.
    """

    policy: LanguageModel
    kept: Path | None = None

    @property
    def codec(self) -> Codec:
        return self.policy.codec

    def check(self, prompt_ids: Sequence[Sequence[int]], response_length: int) -> None:
        check_context(self.policy.context, prompt_ids, response_length)
        check_vocabulary(self.policy, prompt_ids)

    def sample(
        self,
        prompt_ids: Sequence[Sequence[int]],
        config: SamplingConfig,
        *,
        seed: int,
        progress: Progress = no_progress,
    ) -> list[Sample]:
        """Sample prompts of similar length together; each process answers its share.

        Each prompt has random numbers of its own in the decode loop. With `generate`, and a temperature above 0,
        another number of processes or another batch size draws other responses.
        """
        self.check(prompt_ids, config.response_length)
        policy, runtime = self.policy, self.policy.runtime
        ends, reason = end_tokens(policy), why_not(policy.module)
        if reason is not None and runtime.writes:
            _say(type(policy.module).__name__, reason)
        order = sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
        own = runtime.share(order)
        samples: list[Sample] = []
        folder = self.kept
        if runtime.tp_size > 1 and None in runtime.everyone(folder):
            folder = None  # Processes that compute one row together all have what is kept, or none.
        kept = None
        if folder is not None:
            backend = "loop" if reason is None else "generate"
            kept = KeptSamples(folder, key_of(policy, prompt_ids, config, sorted(ends), seed, backend), runtime)

        def tell(more: int = 0) -> None:
            progress(min((len(samples) + more) * runtime.data_size, len(order)), len(order), "responses")

        def decode(rows: Sequence[int]) -> list[list[int]]:
            ids = [prompt_ids[i] for i in rows]
            if reason is not None:
                return _generate(policy, ids, config, sorted(ends))
            seeds = [derive_seed(seed, i) for i in rows]
            with runtime.autocast(cached=True):
                return Decoder(policy, ids, config, ends, seeds).run(tell)

        def answer() -> None:
            portion = config.batch_size * (PORTION if reason is None else 1)
            for start in range(0, len(own), portion):
                rows = own[start : start + portion]
                answers = None if kept is None else kept.take(rows)
                if answers is None:
                    answers = decode(rows)
                    if kept is not None:
                        kept.add(rows, answers)
                samples.extend(cut_at_end(answer, ends) for answer in answers)
                tell()

        with (
            seeded(derive_seed(seed, runtime.data_rank) if runtime.data_rank else seed, runtime.device),
            _plain_generation(policy.module),
            whole_weights(policy.module),
            packed_weights(policy.module, runtime, min(config.batch_size, len(order))),
        ):
            runtime.together(answer)
        found = dict(zip(order, runtime.gather(samples), strict=True))
        return [found[i] for i in range(len(prompt_ids))]

    def sync(self, policy: LanguageModel, *, exact: bool = False) -> None:
        """Do nothing: it samples from the very model that is trained."""


@contextmanager
def _plain_generation(module: PreTrainedModel) -> Iterator[None]:
    training, generation_config = module.training, module.generation_config
    module.train(False)
    module.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        module.train(training)
        module.generation_config = generation_config


def check_context(context: int | None, prompt_ids: Sequence[Sequence[int]], response_length: int) -> None:
    """Refuse prompts that leave a model which reads `context` tokens no room for a response.

    Raises:
        RedpencilError: naming the longest prompt.
    """
    longest = max(map(len, prompt_ids))
    if context is not None and longest + response_length > context:
        raise RedpencilError(
            f"a prompt of {longest} tokens and a response of up to {response_length} exceed the model's context of "
            f"{context}",
            field="response_length",
            hint="lower response_length or max_prompt_length of the recipe's sampling (in PPO also of ppo), such as "
            "--set sampling.response_length=80, or give a model with a longer context",
        )


def check_vocabulary(model: LanguageModel, prompt_ids: Sequence[Sequence[int]]) -> None:
    """Refuse prompts with tokens that the model does not know, as when its folder has another model's tokenizer.

    Raises:
        RedpencilError: naming the model's folder and the token.
    """
    embeddings: Any = model.module.get_input_embeddings()
    known: int = embeddings.num_embeddings
    largest = max(map(max, prompt_ids))
    if largest >= known:
        raise RedpencilError(
            f"the tokenizer gives token {largest}, the model knows {known} tokens",
            file=model.name,
            field="vocab_size",
            hint="put the tokenizer that the model was trained with beside it",
        )


@torch.no_grad()
def _generate(
    policy: LanguageModel, prompt_ids: Sequence[Sequence[int]], config: SamplingConfig, ends: list[int]
) -> list[list[int]]:
    codec, runtime = policy.codec, policy.runtime
    batch = collate(prompt_ids, [()] * len(prompt_ids), codec.pad_id, runtime.device)
    width = batch.prompt_width
    cast = cast_cache(policy)
    greedy: dict[str, Any] = {"do_sample": False}
    sampled = {"do_sample": True, "temperature": config.temperature, "top_p": config.top_p, "top_k": 0}
    generate: Any = policy.module.generate
    try:
        with runtime.autocast(cached=True):
            output = generate(
                input_ids=batch.input_ids[:, :width],
                attention_mask=batch.attention_mask[:, :width],
                max_new_tokens=config.response_length,
                synced_gpus=False,  # weights are gathered before: ranks may stop at different steps
                pad_token_id=codec.pad_id,
                eos_token_id=ends,
                **({} if cast is None else {"past_key_values": cast}),
                **(greedy if config.temperature == 0 else sampled),
            )
    except RuntimeError as error:
        if "probability tensor" not in str(error):
            raise
        raise not_finite(policy) from error
    answers: list[list[int]] = output[:, width:].tolist()
    return answers


def cut_at_end(ids: Sequence[int], ends: frozenset[int]) -> Sample:
    """Cut a response off behind its first end token; the rest is padding, whatever its id."""
    for index, token in enumerate(ids):
        if token in ends:
            return Sample(tuple(ids[: index + 1]), finished=True)
    return Sample(tuple(ids), finished=False)


@dataclass(frozen=True, slots=True)
class EncodedPrompts:
    """Prompts that fit, with their token ids, and the number of those that did not."""

    records: list[Prompt]
    ids: Sequence[list[int]]
    skipped: int


def encode_prompts(prompts: Sequence[Prompt], codec: Codec, max_prompt_length: int) -> EncodedPrompts:
    """Tokenise prompts in one call; empty ones and longer ones are counted and skipped.

    Raises:
        RedpencilError: if none is left.
    """
    ids = codec.encode_prompts(prompts)
    kept = [i for i, row in enumerate(ids) if 0 < len(row) <= max_prompt_length]
    if not kept:
        raise RedpencilError(
            f"none of {len(prompts)} prompts has between 1 and {max_prompt_length} tokens",
            field="max_prompt_length",
            hint="raise max_prompt_length or give shorter prompts",
        )
    return EncodedPrompts([prompts[i] for i in kept], IntRows(ids[i] for i in kept), len(prompts) - len(kept))


def respond(
    sampler: Sampler,
    prompts: Sequence[Prompt],
    *,
    config: SamplingConfig,
    seed: int,
    model_name: str,
    progress: Progress = no_progress,
) -> tuple[list[Response], int]:
    """Answer prompts; also returns the number of prompts that were skipped as empty or too long."""
    codec = sampler.codec
    encoded = encode_prompts(prompts, codec, config.max_prompt_length)
    samples = sampler.sample(encoded.ids, config, seed=seed, progress=progress)
    return responses_of(encoded.records, samples, codec, model_name), encoded.skipped


def responses_of(prompts: Sequence[Prompt], samples: Sequence[Sample], codec: Codec, model_name: str) -> list[Response]:
    """Decode samples into records, one for each prompt."""
    texts = codec.decode([sample.body for sample in samples])
    return [
        Response(prompt.id, prompt.prompt, text, model_name, sample.finished, meta=prompt.meta)
        for prompt, text, sample in zip(prompts, texts, samples, strict=True)
    ]


REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""The character that incomplete bytes decode to."""

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """The text of a response, and the span of each of its tokens in characters, end excluded.

    The end token of a finished response has the empty span at the end, `(len(text), len(text))`. A token that decodes
    to nothing, such as a control token, has an empty span where it stands. The pieces of one character share its span.
    """

    text: str
    offsets: Spans


def place(codec: Codec, samples: Sequence[Sample]) -> list[Placed]:
    """Decode sampled responses into texts and spans, in their order."""
    if not samples:
        return []
    silent = codec.control_ids
    bodies = [sample.body for sample in samples]
    spoken = [tuple(i for i in body if i not in silent) for body in bodies]
    texts = codec.decode(spoken)
    canonical = codec.encode_responses(texts, finished=False)
    placed = []
    for sample, body, ids, text, tokens in zip(samples, bodies, spoken, texts, canonical, strict=True):
        spans = tokens.offsets if tokens.ids == ids else _spans_by_decoding(codec, ids, text)
        if len(ids) < len(body):
            spans = _with_empty(spans, [i in silent for i in body])
        placed.append(Placed(text, (*spans, (len(text), len(text))) if sample.finished else spans))
    return placed


def _spans_by_decoding(codec: Codec, ids: Sequence[int], text: str) -> Spans:
    """Find the spans of any tokens without control tokens, from the texts of all their beginnings.

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
    """Count the characters that two texts begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _with_empty(spans: Spans, empty: Sequence[bool]) -> Spans:
    """Put an empty span in wherever `empty` is True."""
    source, out, reached = iter(spans), [], 0
    for is_empty in empty:
        span = (reached, reached) if is_empty else next(source)
        reached = max(reached, span[1])
        out.append(span)
    return tuple(out)
