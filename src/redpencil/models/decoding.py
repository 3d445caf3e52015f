"""A decode loop: rows leave the batch as they end, and prompts that wait take their places.

transformers' `generate` carries a row that has ended until the longest one has, and copies the whole cache of keys and
values at each token. Here a row has a slot in buffers that stay where they are. All rows write their next token to the
same column, so that a row of n tokens lies in the n columns before it; positions are its own.

A row's random numbers are its own too: one for each token, at which the cumulative distribution is read. So what is
drawn depends neither on what else is in the batch nor on who left it when, up to the rounding of the number format.
"""

import inspect
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer
from transformers.generation.logits_process import TopPLogitsWarper

from redpencil.config.methods import SamplingConfig
from redpencil.errors import DivergedError
from redpencil.models.checkpoints import LanguageModel
from redpencil.models.forward import collate

BLOCK: Final = 64
"""Columns that are there ahead of those in use."""
_UNREAD: Final = {"cpu": 1}
"""Steps between looks at what was drawn: a GPU would wait for each look."""
_UNREAD_ON_GPU: Final = 8
_REFILL: Final = 8
"""Prompts that wait are read when one slot in so many is free: a few at a time are read faster than one by one."""
_MOVING: Final = frozenset(("dynamic", "longrope"))
"""Rotary embeddings that depend on the longest row of a batch."""


def why_not(module: PreTrainedModel) -> str | None:
    """Say what keeps a model from being decoded by this loop; None if nothing does."""
    kind: Any = type(module)
    cached: Any = getattr(module, "_supports_default_dynamic_cache", None)
    config: Any = module.config.get_text_config(decoder=True)
    rotary = getattr(config, "rope_parameters", None) or {}
    if cached is None or not cached() or module.config.is_encoder_decoder:
        return "it has a cache of its own"
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=config).layers):
        return "not all of its layers attend to all that came before"
    if any(
        getattr(kind, name) is not getattr(GenerationMixin, name)
        for name in ("prepare_inputs_for_generation", "_update_model_kwargs_for_generation")
    ):
        return "it prepares its inputs in a way of its own"
    if "position_ids" not in inspect.signature(kind.forward).parameters:
        return "it takes no positions"
    if rotary.get("rope_type") in _MOVING:
        return "its rotary embeddings depend on the longest row of a batch"
    return None


class _CastCache(DynamicCache):
    """A cache of keys and values in one number format, the one in which attention reads them."""

    def __init__(self, config: Any, dtype: torch.dtype) -> None:
        super().__init__(config=config)
        self.dtype = dtype

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return super().update(key_states.to(self.dtype), value_states.to(self.dtype), *args, **kwargs)


def cast_cache(policy: LanguageModel) -> DynamicCache | None:
    """Make the cache of a policy with float32 weights that computes in another format, as while it is trained.

    Rotary embeddings are float32 then and promote what they turn, so that the cache would take twice the memory, and
    be cast for each token. None for other policies.
    """
    module, dtype = policy.module, policy.runtime.dtype
    # Models with caches of their own, and no others, do not say yes to this.
    dynamic: Any = getattr(module, "_supports_default_dynamic_cache", None)
    if dtype == torch.float32 or module.dtype == dtype or dynamic is None or not dynamic():
        return None
    return _CastCache(module.config.get_text_config(decoder=True), dtype)


@dataclass(slots=True)
class _Window:
    """The part of the buffers that is in use: the first `rows` slots, columns `start` to `end`."""

    rows: int = 0
    start: int = 0
    end: int = 0


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of a layer, [slots, heads, columns, size], of which a window is in use."""

    def __init__(self, window: _Window, slots: int, columns: int, read: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.window = window
        self.is_initialized = True
        self.parts = [part.new_zeros(slots, part.shape[1], columns, part.shape[3]) for part in (read.keys, read.values)]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the next token of each row; returns what the rows attend to."""
        window = self.window
        rows, columns = slice(window.rows), slice(window.start, window.end)
        for part, states in zip(self.parts, (key_states, value_states), strict=True):
            part[rows, :, window.end - 1 : window.end] = states
        keys, values = self.parts
        return keys[rows, :, columns], values[rows, :, columns]

    def get_seq_length(self) -> int:
        """Count the columns before the next token."""
        return self.window.end - self.window.start - 1

    def put(self, read: Any, picked: Tensor, slots: Tensor) -> None:
        """Take over the keys and values of prompts, `picked` from those that were `read`, before the next column."""
        for part, states in zip(self.parts, (read.keys, read.values), strict=True):
            width = states.shape[2]
            place = part.narrow(2, self.window.end - width, width)
            place.index_copy_(0, slots, states.index_select(0, picked))

    def move(self, source: Tensor, target: Tensor) -> None:
        """Copy rows to other slots."""
        start, width = self.window.start, self.window.end - self.window.start
        for part in self.parts:
            used = part.narrow(2, start, width)
            used.index_copy_(0, target, used.index_select(0, source))

    def slide(self, used: int, columns: int) -> None:
        """Bring the last `used` columns to the front, of new buffers if these have another number of columns."""
        for number, part in enumerate(self.parts):
            self.parts[number] = _slid(part, self.window.end, used, columns)


def _slid(part: Tensor, end: int, used: int, columns: int, dim: int = 2) -> Tensor:
    kept = part.narrow(dim, end - used, used)
    if part.shape[dim] == columns:
        kept = kept.clone()  # They overlap.
    else:
        shape = list(part.shape)
        shape[dim] = columns
        part = part.new_zeros(shape)
    part.narrow(dim, 0, used).copy_(kept)
    return part


@dataclass(slots=True)
class _Row:
    """A prompt that is being answered: its place among the prompts, the tokens read, and those that may follow."""

    place: int
    length: int
    left: int


class Decoder:
    """Answers prompts, `config.batch_size` side by side.

    Args:
        policy: a model of which `why_not` has nothing to say, in evaluation mode.
        prompt_ids: the prompts, each of one token at least.
        config: temperature, nucleus and lengths.
        ends: the tokens that end a response.
        seeds: of each prompt's random numbers.
    """

    def __init__(
        self,
        policy: LanguageModel,
        prompt_ids: Sequence[Sequence[int]],
        config: SamplingConfig,
        ends: frozenset[int],
        seeds: Sequence[int],
    ) -> None:
        self.policy, self.prompt_ids, self.config, self.ends, self.seeds = policy, prompt_ids, config, ends, seeds
        self.answers: list[list[int]] = [[] for _ in prompt_ids]
        self._device = policy.runtime.device
        self._waiting = deque(sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i])))
        self._slots = min(config.batch_size, len(prompt_ids))
        self._rows: list[_Row] = []
        self._widest = max(map(len, prompt_ids))
        self._window = _Window(end=self._widest)
        self._columns = self._widest + min(config.response_length, BLOCK)
        self._layers: list[Any] = []
        self._mask = torch.zeros(self._slots, self._columns, dtype=torch.long, device=self._device)
        self._tokens, self._lengths, self._drawn = torch.zeros(3, self._slots, dtype=torch.long, device=self._device)
        numbers = (self._slots, config.response_length if config.temperature else 0)
        self._numbers = torch.zeros(numbers, dtype=torch.float64, device=self._device)

    @torch.no_grad()
    def run(self, progress: Callable[[int], None] = lambda _: None) -> list[list[int]]:
        """Answer all prompts, in their order; what follows an end token is left out.

        `progress` hears how many have their answer.

        Raises:
            DivergedError: if the probabilities are no finite numbers.
        """
        unread = _UNREAD.get(self._device.type, _UNREAD_ON_GPU)
        ended: list[int] = []
        while self._waiting or self._rows:
            free = self._slots - len(self._rows) + len(ended)
            if self._waiting and (free * _REFILL >= self._slots or free >= len(self._waiting)):
                ended = self._admit(ended, free)
            else:
                self._compact(ended)
                steps = min(unread, *(row.left for row in self._rows))
                ended = self._read(range(len(self._rows)), [self._step() for _ in range(steps)])
            if not self._waiting and len(ended) == len(self._rows):
                return self.answers
            if ended:
                progress(len(self.answers) - len(self._waiting) - len(self._rows) + len(ended))
        return self.answers

    def _admit(self, ended: list[int], free: int) -> list[int]:
        """Read prompts into free slots, first those of rows that have ended; returns the slots of such rows then."""
        places = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
        prompts = [tuple(self.prompt_ids[place]) for place in places]
        rows = [_Row(place, len(self.prompt_ids[place]), self.config.response_length) for place in places]
        slots = ended[: len(places)]
        for slot, row in zip(slots, rows, strict=False):
            self._rows[slot] = row
        slots += range(len(self._rows), len(self._rows) + len(rows) - len(slots))
        self._rows += rows[len(ended) :]
        index, lengths = torch.tensor([slots, [row.length for row in rows]], device=self._device)
        columns = torch.arange(self._columns, device=self._device)
        end = self._window.end
        self._mask[index] = ((columns >= end - lengths[:, None]) & (columns < end)).long()
        self._lengths[index], self._drawn[index] = lengths, 0
        if self.config.temperature:
            self._numbers[index] = torch.stack([self._own_numbers(place) for place in places]).to(self._device)
        logits = self._prefill(prompts, index)
        return sorted([*ended[len(places) :], *self._read(slots, [self._draw(logits, index)])])

    def _own_numbers(self, place: int) -> Tensor:
        """The random numbers of a prompt, one for each token of its response."""
        generator = torch.Generator().manual_seed(self.seeds[place])
        return torch.rand(self.config.response_length, dtype=torch.float64, generator=generator)

    def _prefill(self, prompts: Sequence[tuple[int, ...]], slots: Tensor) -> Tensor:
        """Read prompts into the slots, each text once; returns the logits of their first tokens."""
        unique = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
        policy, picked = self.policy, torch.tensor([unique[prompt] for prompt in prompts], device=self._device)
        batch = collate(list(unique), [()] * len(unique), policy.codec.pad_id, self._device)
        width = batch.prompt_width
        cache = cast_cache(policy) or DynamicCache(config=policy.module.config.get_text_config(decoder=True))
        output = policy.module(
            input_ids=batch.input_ids[:, :width],
            attention_mask=batch.attention_mask[:, :width],
            position_ids=batch.position_ids[:, :width],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        read: Any = cache.layers
        if not self._layers:
            self._layers = [_Layer(self._window, self._slots, self._columns, layer) for layer in read]
        for layer, filled in zip(self._layers, read, strict=True):
            layer.put(filled, picked, slots)
        logits: Tensor = output.logits[:, -1]
        return logits.index_select(0, picked)

    def _step(self) -> Tensor:
        """Read the last token of each row and draw its next one."""
        rows, window = len(self._rows), self._window
        longest = max(row.length for row in self._rows)
        if window.end == self._columns:
            self._make_room(max(longest, self._widest))
        window.rows, window.start, window.end = rows, window.end - longest, window.end + 1
        self._mask[:rows, window.end - 1] = 1
        output = self.policy.module(
            input_ids=self._tokens[:rows, None],
            attention_mask=self._mask[:rows, window.start : window.end],
            position_ids=self._lengths[:rows, None],
            past_key_values=Cache(layers=self._layers),
            use_cache=True,
        )
        self._lengths[:rows] += 1
        for row in self._rows:
            row.length += 1
        return self._draw(output.logits[:, -1], slice(rows))

    def _draw(self, logits: Tensor, slots: Tensor | slice) -> Tensor:
        """Draw the next tokens of rows from logits [n, V]; -1 where there are no finite probabilities."""
        if self.config.temperature == 0:
            drawn = greedy(logits)
        else:
            numbers = self._numbers[slots].gather(1, self._drawn[slots, None])
            drawn = draw(logits, numbers, self.config.temperature, self.config.top_p)
        self._tokens[slots] = drawn.clamp(min=0)
        self._drawn[slots] += 1
        return drawn

    def _read(self, slots: Sequence[int], drawn: Sequence[Tensor]) -> list[int]:
        """Append what was drawn at some steps to the answers; returns the slots of rows that have ended."""
        ended = []
        for slot, tokens in zip(slots, torch.stack(list(drawn), dim=1).tolist(), strict=True):
            row = self._rows[slot]
            answer = self.answers[row.place]
            for token in tokens:
                if token < 0:
                    raise not_finite(self.policy)
                answer.append(token)
                if token in self.ends:
                    row.left = 0
                    break
                row.left -= 1
            if row.left == 0:
                ended.append(slot)
        return ended

    def _compact(self, ended: Sequence[int]) -> None:
        """Bring the rows of the last slots to those of rows that have ended."""
        if not ended:
            return
        gone, rows = set(ended), len(self._rows) - len(ended)
        source = [slot for slot in range(rows, len(self._rows)) if slot not in gone]
        target = [slot for slot in ended if slot < rows]
        for slot, free in zip(source, target, strict=True):
            self._rows[free] = self._rows[slot]
        del self._rows[rows:]
        if source:
            old, new = torch.tensor([source, target], device=self._device)
            for layer in self._layers:
                layer.move(old, new)
            for state in (self._mask, self._tokens, self._lengths, self._drawn, self._numbers):
                state[new] = state[old]

    def _make_room(self, used: int) -> None:
        """Let there be columns behind the last `used` ones."""
        if self._columns - used < BLOCK:
            most = self._widest + self.config.response_length + BLOCK
            self._columns = min(most, max(used + BLOCK, self._columns * 3 // 2))
        for layer in self._layers:
            layer.slide(used, self._columns)
        self._mask = _slid(self._mask, self._window.end, used, self._columns, dim=1)
        self._window.end = used


def greedy(logits: Tensor) -> Tensor:
    """Take the likeliest token of each row of logits [n, V]; -1 where they are not finite."""
    logits = logits.float()
    best = logits.argmax(dim=-1)
    return torch.where(logits.gather(1, best[:, None])[:, 0].isfinite(), best, -1)


def draw(logits: Tensor, numbers: Tensor, temperature: float, top_p: float) -> Tensor:
    """Draw a token for each row of logits [n, V]: where the cumulative distribution goes above its number in [0, 1).

    Returns:
        [n]; -1 where there are no finite probabilities.
    """
    logits = logits.float()
    logits = logits if temperature == 1 else logits / temperature
    if top_p < 1:
        logits = TopPLogitsWarper(top_p)(None, logits)
    sums = (logits - logits.amax(dim=-1, keepdim=True)).exp_().cumsum(dim=-1, dtype=torch.float64)
    total = sums[:, -1:]
    # A number just below 1 must not be rounded up to the total, behind which there is no token.
    below = torch.minimum(numbers * total, total.nextafter(torch.zeros_like(total)))
    tokens = torch.searchsorted(sums, below, right=True)
    return torch.where(total.isfinite(), tokens, -1)[:, 0]


def not_finite(policy: LanguageModel) -> DivergedError:
    """Make the error about a model whose probabilities are no numbers."""
    return DivergedError(
        "the model's probabilities are not finite numbers",
        file=policy.name,
        hint="its weights are damaged, or training broke down: take another checkpoint or a lower learning rate",
    )
