"""Which models can read sequences that begin alike in one row (`models.shared_rows`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import nn

from redpencil.models.forward import collate, hidden_states, reads_twice
from redpencil.models.parallel import whole_weights
from redpencil.models.shared_rows import Plan, Row, fold


@dataclass(frozen=True, slots=True)
class Sharing:
    """Whether a model reads what sequences share once.

    width: that of its hidden states; None if it cannot.
    packs: whether rows may be put behind each other, without padding.
    reason: why it cannot.
    """

    width: int | None
    packs: bool = False
    reason: str = ""

    def plan(self, sequences: Sequence[Sequence[int]], groups: Iterable[Sequence[int]]) -> Plan | None:
        """Put sequences into rows, those of a group together where that pays; None if each is read by itself."""
        if self.width is None:
            return None
        # Beside a mask, attention to a column costs a token a sixth of the other work for each unit of the width.
        work = 6 * self.width
        rows = fold(sequences, groups, (lambda width: width) if self.packs else lambda width: width * (work + width))
        if self.packs:
            return Plan(rows, packed=sum(row.width for row in rows) > 1)
        return Plan(rows, packed=False) if len(rows) < len(sequences) else None


def alike(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Group the indices of equal prompts."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(tuple(prompt), []).append(index)
    return list(groups.values())


APART: Final = Sharing(None)
"""Each sequence is read in a row of its own."""
_known: WeakKeyDictionary[nn.Module, Sharing] = WeakKeyDictionary()


def sharing_of(model: nn.Module, device: torch.device) -> Sharing:
    """Find out, once for each model, whether it can read sequences that begin alike in one row.

    Its configuration says whether it reads all that is before a token, by an attention that takes any mask. Then it is
    tried: two texts in one row must give what they give in rows of their own.
    """
    if model not in _known:
        reason = _objection(model) or _trial(model, device)
        width = None if reason else int(_config(model).hidden_size)
        _known[model] = Sharing(width, _packs(device), reason and f"each text is read in a row of its own: {reason}")
    return _known[model]


def _config(model: nn.Module) -> Any:
    config: Any = model.config
    return config.get_text_config()


def _objection(model: nn.Module) -> str:
    """Say what in its configuration keeps a model from sharing rows."""
    if not isinstance(getattr(model, "base_model", None), nn.Module):
        return "the model is made of others"
    config = _config(model)
    if reads_twice(model):
        return "the model reads responses twice"
    attention = getattr(config, "_attn_implementation", None)
    if attention != "sdpa":
        return f"the attention {attention} takes no mask of columns"
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if kinds or (getattr(config, "layer_types", None) is None and getattr(config, "sliding_window", None)):
        return f"the model has layers with {' and '.join(sorted(kinds)) or 'sliding_attention'}"
    return ""


def _packs(device: torch.device) -> bool:
    """On a GPU many small attentions take longer than one with a mask."""
    return device.type == "cpu"


@torch.no_grad()
def _trial(model: nn.Module, device: torch.device) -> str:
    """Read short texts that begin alike in one row and in two, and say what speaks against it."""
    vocabulary = int(_config(model).vocab_size)
    ids = [(7 * i + 1) % vocabulary for i in range(16)]
    prompts, responses = [ids[:3], ids[:3], ids[:2]], [ids[3:7], [*ids[3:5], *ids[7:12]], ids[12:]]
    rows = [Row((0, 1), 5, 12), Row((2,), 6, 6)]
    training = model.training
    model.train(False)
    plans = (None, Plan(rows, packed=False), *[Plan(rows, packed=True)] * _packs(device))
    batches = [collate(prompts, responses, 0, device, plan) for plan in plans]
    try:
        with whole_weights(model):  # a forward pass leaves sharded weights gathered, and others must not find them so
            apart, *together = (hidden_states(model, batch)[batch.response_mask] for batch in batches)
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        return f"the model does not take a mask of columns ({type(error).__name__})"
    finally:
        model.train(training)
    apart_by = max(float((each - apart).abs().max()) for each in together)
    close = apart_by <= torch.finfo(apart.dtype).eps ** 0.5 * float(apart.abs().max())
    return "" if close else "beside another text the model gives other numbers"
