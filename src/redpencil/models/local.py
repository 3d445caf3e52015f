"""A local Hugging Face causal language model as a provider of answers.

A conversation is written in the chat template of the tokenizer; where that has none, as plain text in the style of
Figure 2 of the paper: `Human: ...`, a blank line, `Assistant: ...`. A last turn of the assistant is continued.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

from redpencil.adapters import WEIGHTS
from redpencil.config.methods import SamplingConfig
from redpencil.digests import update_with_samples
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import LanguageModel, has_weights, load_policy
from redpencil.models.codec import Codec, load_codec
from redpencil.models.runtime import Runtime, make_runtime
from redpencil.models.sampling import HFSampler, Sample
from redpencil.models.sidecar import chat_options_of
from redpencil.providers.base import Completion, Failure, Message, Request, Result, StopReason, Usage
from redpencil.runs import derive_seed

_SPEAKERS: Final = {"user": "Human: ", "assistant": "Assistant: ", "system": ""}
_NEXT_TURN: Final = "\n\nHuman:"
"""An answer ends here: a model without a chat template would continue with the human's turn."""
_SMALL_FILES: Final = ("*.json", "*.jinja", "*.model", "*.txt")


@dataclass(slots=True)
class _Begun:
    """An unfinished answer: the request, its token ids, the tokens so far, and the room that is left."""

    request: Request
    ids: list[int]
    room: int
    sample: Sample = field(default_factory=lambda: Sample((), finished=False))

    @property
    def so_far(self) -> list[int]:
        return [*self.ids, *self.sample.ids]

    @property
    def over(self) -> bool:
        return self.sample.finished or self.room <= 0


@dataclass(frozen=True)
class LocalProvider:
    """Answers with the model of a local folder, `batch_size` conversations side by side.

    Args:
        folder: a causal language model with its tokenizer, as `save_pretrained` writes it.
        max_tokens: the most tokens of an answer; fewer where the model's context leaves less room. A conversation that
            leaves none is a `Failure`.
        temperature: 0 takes the likeliest token each time. Then, up to the rounding of the number format, an answer
            does not depend on what else is in its batch.
        top_p: nucleus sampling; 1 is off.
        batch_size: conversations in a batch.
        seed: for temperatures above 0.
        chat_options: how the chat template is filled, as options of `load_codec`; by default as the model was trained.
        runtime: device and number format; by default a GPU where there is one.

    Raises:
        RedpencilError: from `identity` and `answer`, if the folder does not hold such a model.
    """

    folder: Path
    max_tokens: int = field(default=1024, kw_only=True)
    temperature: float = field(default=0.0, kw_only=True)
    top_p: float = field(default=1.0, kw_only=True)
    batch_size: int = field(default=8, kw_only=True)
    seed: int = field(default=0, kw_only=True)
    chat_options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    runtime: Runtime = field(default_factory=lambda: make_runtime(threads=None), kw_only=True)

    @property
    def name(self) -> str:
        """The name of the model's folder."""
        return self.folder.resolve().name

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """The folder's name, a fingerprint of what is in it, and the parameters that shape an answer."""
        return {
            "provider": "local",
            "model": self.name,
            "fingerprint": fingerprint(self.folder),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "dtype": str(self.runtime.dtype).removeprefix("torch."),
            **{key: value if isinstance(value, dict) else str(value) for key, value in self.chat_options.items()},
        }

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
        """Answer batch by batch, in the order of the requests within each batch; too long ones come first.

        Raises:
            RedpencilError: if the folder does not hold a model, or its chat template does not take such conversations.
        """
        stream = iter(requests)
        while batch := list(islice(stream, self.batch_size)):
            yield from self._answer_batch(batch)

    def _answer_batch(self, batch: Sequence[Request]) -> Iterator[tuple[Request, Result]]:
        codec, context = self._policy.codec, self._policy.context
        fitting: list[_Begun] = []
        for request in batch:
            ids = _encode(request.messages, codec)
            room = self.max_tokens if context is None else min(self.max_tokens, context - len(ids))
            if room > 0:
                fitting.append(_Begun(request, ids, room))
            else:
                problem = f"a conversation of {len(ids)} tokens leaves no room for an answer in the model's context"
                yield request, Failure(f"{problem} of {context}")
        keys = [request.key for request in batch]
        for extension in count():
            if not fitting:
                break
            self._extend(fitting, derive_seed(self.seed, *keys, extension))
            for begun in fitting:
                if begun.over:
                    yield begun.request, _completion(begun.sample, len(begun.ids), codec)
            fitting = [begun for begun in fitting if not begun.over]

    def _extend(self, answers: Sequence["_Begun"], seed: int) -> None:
        """Extend answers by as many tokens as all of them have room for, so that each gets what it would get alone."""
        config = SamplingConfig(
            temperature=self.temperature,
            top_p=self.top_p,
            response_length=min(begun.room for begun in answers),
            batch_size=self.batch_size,
        )
        samples = HFSampler(self._policy).sample([begun.so_far for begun in answers], config, seed=seed)
        for begun, sample in zip(answers, samples, strict=True):
            begun.sample = Sample(begun.sample.ids + sample.ids, sample.finished)
            begun.room -= len(sample.ids)

    @cached_property
    def _policy(self) -> LanguageModel:
        if not has_weights(self.folder):
            raise RedpencilError(
                "no model to answer with: there are no weights",
                file=self.folder,
                hint="give a folder that save_pretrained wrote",
            )
        codec = load_codec(self.folder, None, **{**chat_options_of(self.folder), **self.chat_options})
        return load_policy(self.folder, self.runtime, trained=False, codec=codec)


def render_plain(messages: Sequence[Message]) -> str:
    """Write a conversation as plain text that ends where the assistant's answer continues."""
    text = "\n\n".join(_SPEAKERS[turn.role] + turn.content for turn in messages)
    return text if messages[-1].role == "assistant" else f"{text}\n\nAssistant:"


def fingerprint(folder: Path) -> str:
    """Hash a model folder (SHA-256, hexadecimal): configuration and tokenizer whole, samples of the weights.

    Of each file of weights its size, its ends and evenly spaced stretches count, because reading it all takes long and
    training moves weights everywhere.
    """
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _SMALL_FILES for path in folder.glob(pattern)}):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    for path in sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)}):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        update_with_samples(digest, path)
    return digest.hexdigest()


def _encode(messages: Sequence[Message], codec: Codec) -> list[int]:
    if codec.chat is None:
        [ids] = codec.encode_prompts([render_plain(messages)])
    else:
        [ids] = codec.encode_conversations([[{"role": turn.role, "content": turn.content} for turn in messages]])
    return ids


def _completion(sample: Sample, input_tokens: int, codec: Codec) -> Completion:
    [text] = codec.decode([sample.body])
    finished = sample.finished
    if codec.chat is None and _NEXT_TURN in text:
        text, finished = text[: text.index(_NEXT_TURN)], True
    return Completion(text, StopReason.END if finished else StopReason.LENGTH, Usage(input_tokens, len(sample.ids)))
