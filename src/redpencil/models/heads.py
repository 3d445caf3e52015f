"""The heads of reward and value models, and how much of a backbone they keep and train."""

from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from redpencil.errors import RedpencilError
from redpencil.models.parallel import whole

HEADS: Final = {1: {0: "LABEL_0"}, 2: {0: "within", 1: "overall"}}
"""`id2label` of a reward model by the number of its heads; `redpencil.maths.reward_losses.join_heads` says what the
two of a token model mean. LABEL_0 is what transformers calls a single label."""


BACKBONE: Final = "frozen_backbone"
"""A key of a reward model's config.json that names the backbone, if the head alone was trained."""


def head_of(model: nn.Module) -> nn.Linear:
    """Return the last linear layer, which turns hidden states into rewards or values.

    Raises:
        RedpencilError: if the architecture keeps it under an unknown name.
    """
    for name in ("score", "classifier"):
        head = getattr(model, name, None)
        if isinstance(head, nn.Linear) and head.out_features in HEADS:
            return head
    raise RedpencilError(
        f"{type(model).__name__} has no linear head called score or classifier",
        hint="use an architecture such as Llama, Qwen, Mistral, Gemma, GPT-2 or BERT",
    )


class StandardisedLinear(nn.Linear):
    """A head that learns on standardised inputs, and is saved as a plain one on inputs as they are.

    Hidden states have a few very large dimensions, which keep a head on raw ones from learning the others.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, head: nn.Linear, mean: Tensor, spread: Tensor) -> None:
        """Start from the weights of `head`; mean and spread of its inputs are [H]. One without bias is not centred."""
        super().__init__(head.in_features, head.out_features, bias=head.bias is not None)
        state = {name: whole(value) for name, value in head.state_dict().items()}
        weight = state["weight"]
        self.mean = mean.to(weight) if head.bias is not None else torch.zeros_like(weight[0])
        self.spread = spread.to(weight)
        self.to(weight.device)
        self.load_state_dict(state)

    def forward(self, input: Tensor) -> Tensor:
        """Give the numbers of inputs [..., H] that the saved head gives."""
        return nn.functional.linear((input - self.mean) / self.spread, self.weight, self.bias)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the weights of a head on inputs as they are."""
        state, prefix = super().state_dict(*args, **kwargs), kwargs.get("prefix", "")
        weight = state[f"{prefix}weight"] = state[f"{prefix}weight"] / self.spread
        if self.bias is not None:
            state[f"{prefix}bias"] = state[f"{prefix}bias"] - weight @ self.mean
        return state

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        weight = state_dict[f"{prefix}weight"]
        own = {f"{prefix}weight": weight * self.spread}
        if self.bias is not None:
            own[f"{prefix}bias"] = state_dict[f"{prefix}bias"] + weight @ self.mean
        super()._load_from_state_dict(own, prefix, *args)


def standardise_head(model: nn.Module, mean: Tensor, spread: Tensor) -> None:
    """Let the head of a model learn on standardised inputs; see `StandardisedLinear`."""
    head = head_of(model)
    name = next(name for name, module in model.named_children() if module is head)
    setattr(model, name, StandardisedLinear(head, mean, spread))


def keep_layers(model: nn.Module, layers: int) -> None:
    """Cut a backbone behind its first `layers` layers; its configuration says so.

    Raises:
        RedpencilError: if it has fewer.
    """
    config: Any = model.config
    stack = _layers(model, layers, "reward.layers")
    del stack[layers:]
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]


def freeze_layers(model: nn.Module, layers: int | Literal["all"]) -> None:
    """Take the embeddings and the first `layers` layers of a backbone out of training, or all but the head.

    Raises:
        RedpencilError: if it has fewer layers.
    """
    if layers == "all":
        model.requires_grad_(requires_grad=False)
        head_of(model).requires_grad_(requires_grad=True)
        return
    frozen = _layers(model, layers, "reward.frozen_layers")[:layers]
    backbone: Any = model.base_model
    for name, parameter in backbone.named_parameters():
        if "embed" in name or name.startswith(("wte.", "wpe.")):
            parameter.requires_grad_(requires_grad=False)
    frozen.requires_grad_(requires_grad=False)


def _layers(model: nn.Module, needed: int, field: str) -> nn.ModuleList:
    """The layers of a backbone, of which `needed` are asked for."""
    config: Any = model.config
    total: int = config.num_hidden_layers
    stack = next((m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == total), None)
    if stack is None:
        raise RedpencilError(
            f"{type(model).__name__} does not keep its layers in one list",
            field=field,
            hint="leave the key out, or use an architecture such as Llama, Qwen, Mistral, Gemma, GPT-2 or BERT",
        )
    if needed > total:
        raise RedpencilError(f"{needed} layers are asked for, the backbone has {total}", field=field, hint="lower it")
    return stack
