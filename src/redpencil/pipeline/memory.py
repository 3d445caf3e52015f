"""What a forward and a backward pass of a model take in memory, from its configuration alone.

The pass runs on tensors without numbers (`FakeTensorMode`), through the code that trains, and what is alive is counted.
It runs at two small depths, from which that of the model follows, since layers are alike.
"""

import json
import weakref
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from redpencil.models.checkpoints import checkpoint_activations, disable_dropout
from redpencil.models.heads import head_of
from redpencil.models.logprobs import in_chunks, in_place_of, score_logits

Role = Literal["policy", "token", "sequence"]
Targets = Literal["all-linear"] | tuple[str, ...]
CLASSES: Final = {
    "policy": AutoModelForCausalLM,
    "token": AutoModelForTokenClassification,
    "sequence": AutoModelForSequenceClassification,
}
DEPTHS: Final = (2, 4)


@dataclass(frozen=True, slots=True)
class Form:
    """How a model is loaded.

    half: it computes in bfloat16.
    stored_half: its weights, or with `lora` those of its base, are stored in it.
    lora: rank of its adapters, and the modules that have one; None for a model without.
    """

    role: Role
    trained: bool
    half: bool
    stored_half: bool
    checkpointing: bool = False
    attention: str | None = None
    lora: tuple[int, Targets] | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass over `rows` of `width` tokens, of which a policy scores the last `responses`.

    `cached` is the first pass of sampling, which fills the cache of keys and values.
    """

    form: Form
    rows: int
    width: int
    responses: int = 0
    cached: bool = False


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that operations make, as long as they are there."""

    def __init__(self, *ignored: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}
        self._kept = [weight.untyped_storage() for module in ignored for weight in module.state_dict().values()]
        self._sizes |= {id(storage): 0 for storage in self._kept}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and id(tensor.untyped_storage()) not in self._sizes:
                self._see(tensor.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        self._sizes[id(storage)] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, id(storage))

    def _gone(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def bytes_of(config: PreTrainedConfig, one: Pass) -> float:
    """The most bytes that a pass takes beside weights and the gradients of weights."""
    layers, text = layers_of(config), config.to_json_string(use_diff=False)
    if layers <= max(DEPTHS):
        return _measure(text, layers, one)
    low, high = (_measure(text, depth, one) for depth in DEPTHS)
    return low + (layers - DEPTHS[0]) * (high - low) / (DEPTHS[1] - DEPTHS[0])


@lru_cache(maxsize=1024)
def _measure(config: str, layers: int, one: Pass) -> float:
    form = one.form
    half: AbstractContextManager[object] = (
        torch.autocast("cpu", torch.bfloat16, cache_enabled=one.cached) if form.half else nullcontext()
    )
    model = make_model(config, form, layers)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.set_grad_enabled(form.trained):
        _put_on_cpu(model)
        ids = torch.zeros(one.rows, one.width, dtype=torch.long)
        with Live(model) as live:
            with half:
                loss = _loss(model, ids, one)
            if form.trained:
                loss.backward()  # type: ignore[no-untyped-call]
        return float(live.peak)


def _loss(model: PreTrainedModel, ids: Tensor, one: Pass) -> Tensor:
    if one.form.role == "sequence":
        backbone: Any = model.base_model
        states: Tensor = backbone(input_ids=ids, use_cache=False).last_hidden_state
        rewards: Tensor = head_of(model)(states[:, -1])
        return rewards.float().sum()
    if one.form.role == "token":
        logits: Tensor = _forward(model, ids).logits
        return logits.float().sum()
    if one.cached:
        logits = model(input_ids=ids, use_cache=True, logits_to_keep=1).logits
        return logits.float().sum()
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    own, scored = head.forward, ids[:, -one.responses :].flatten()

    def score(states: Tensor, of: Tensor) -> Tensor:
        return score_logits(own(states), of, 1.0, entropy=not one.form.trained)

    def chunked(states: Tensor) -> Tensor:
        return in_chunks(states[:, :-1].flatten(0, 1), scored, score, model.config.vocab_size)

    with in_place_of(head, chunked):
        scores: Tensor = _forward(model, ids, one.responses + 1).logits
    return scores.sum()


def _forward(model: PreTrainedModel, ids: Tensor, kept: int | None = None) -> Any:
    last = {} if kept is None else {"logits_to_keep": kept}
    return model(input_ids=ids, use_cache=False, **last)


def _put_on_cpu(model: nn.Module) -> None:
    """Give a model weights without numbers on the CPU, where all operations are as they are in training.

    Their gradients are dropped when they are complete, since they are counted apart.
    """
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) not in made:
                made[id(weight)] = nn.Parameter(torch.empty_like(weight, device="cpu"), weight.requires_grad)
                if weight.requires_grad:
                    made[id(weight)].register_post_accumulate_grad_hook(_drop_gradient)  # type: ignore[no-untyped-call]
            setattr(module, name, made[id(weight)])
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty_like(buffer, device="cpu"))


def make_model(config: str, form: Form, layers: int | None = None) -> PreTrainedModel:
    """Make a model of a config.json's content as a stage loads it, without numbers, on the meta device."""
    values = {key: value for key, value in json.loads(config).items() if key not in ("architectures", "dtype")}
    options: Any = AutoConfig.for_model(**values)
    options.num_labels = 1
    inner = options.get_text_config(decoder=True)
    if layers is not None:
        inner.num_hidden_layers = layers
        if getattr(inner, "layer_types", None) is not None:
            inner.layer_types = inner.layer_types[:layers]
    # Flash and flex attention, which run on a GPU alone, take what sdpa takes.
    attention = {"attn_implementation": "eager"} if form.attention == "eager" else {}
    dtype = torch.bfloat16 if form.stored_half else torch.float32
    with torch.device("meta"):
        model: PreTrainedModel = CLASSES[form.role].from_config(options, dtype=dtype, **attention)  # type: ignore[no-untyped-call]
        disable_dropout(model)
        model.train(form.trained)
        model.requires_grad_(form.trained)
        if form.lora is not None:
            _adapt(model, *form.lora)
            if not form.trained:
                model.requires_grad_(False)
    if form.trained and form.checkpointing:
        checkpoint_activations(model)
    return model


def _drop_gradient(weight: Tensor) -> None:
    weight.grad = None


def _adapt(model: PreTrainedModel, rank: int, targets: Targets) -> None:
    """Add adapters to the backbone; they and the head of a reward or value model are trained, in float32."""
    from peft import LoraConfig, inject_adapter_in_model

    backbone: Any = getattr(model, model.base_model_prefix)
    frozen = {id(weight) for weight in backbone.parameters()}
    if model.get_output_embeddings() is not None:  # type: ignore[no-untyped-call]
        frozen |= {id(weight) for weight in model.parameters()}
    modules = targets if isinstance(targets, str) else list(targets)
    inject_adapter_in_model(LoraConfig(r=rank, target_modules=modules), backbone)
    for weight in model.parameters():
        weight.requires_grad_(id(weight) not in frozen)
        if weight.requires_grad:
            weight.data = weight.data.float()


@lru_cache(maxsize=64)
def sizes_of(config: str, form: Form) -> tuple[int, int]:
    """Count the weights of a model, and those of them that are trained."""
    model = make_model(config, form)
    counts = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    return sum(count for count, _ in counts), sum(count for count, trained in counts if trained)


def layers_of(config: PreTrainedConfig) -> int:
    """Count the layers of a model."""
    return int(config.get_text_config(decoder=True).num_hidden_layers)


def cache_bytes(config: PreTrainedConfig, rows: int, width: int, number: int) -> float:
    """The bytes of the keys and values of `rows` texts of `width` tokens, in a format of `number` bytes."""
    inner: Any = config.get_text_config(decoder=True)
    heads = getattr(inner, "num_key_value_heads", None) or inner.num_attention_heads
    size = getattr(inner, "head_dim", None) or inner.hidden_size // inner.num_attention_heads
    return float(2 * layers_of(config) * heads * size * rows * width * number)
