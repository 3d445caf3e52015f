"""Which models can read sequences that begin alike in one row (`models.shared_rows`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import nn

from redpencil.models.forward import collate, hidden_states, reads_twice
from redpencil.models.shared_rows import Row, fold


@dataclass(frozen=True, slots=True)
class Sharing:
    """Whether a model reads what sequences share once.

    work: what a token costs it outside of attention, in units of what attention to one column costs; None if it cannot.
    reason: why it cannot.
    """

    work: int | None
    reason: str = ""

    def rows(self, sequences: Sequence[Sequence[int]], groups: Iterable[Sequence[int]]) -> list[Row]:
        """Put sequences into rows, those of a group together where that pays; none if each is read by itself."""
        return [] if self.work is None else fold(sequences, groups, self.work)


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
        work = 6 * int(_config(model).hidden_size) if not reason else None
        _known[model] = Sharing(work, reason and f"each text is read in a row of its own: {reason}")
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


@torch.no_grad()
def _trial(model: nn.Module, device: torch.device) -> str:
    """Read two short texts that begin alike in one row and in two, and say what speaks against it."""
    vocabulary = int(_config(model).vocab_size)
    ids = [(7 * i + 1) % vocabulary for i in range(12)]
    prompts, responses = [ids[:3], ids[:3]], [ids[3:7], [*ids[3:5], *ids[7:]]]
    training = model.training
    model.train(False)
    try:
        together, apart = (
            hidden_states(model, batch)[batch.response_mask]
            for batch in (collate(prompts, responses, 0, device, rows) for rows in ([Row((0, 1), 5, 12)], []))
        )
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        return f"the model does not take a mask of columns ({type(error).__name__})"
    finally:
        model.train(training)
    apart_by, size = float((together - apart).abs().max()), float(apart.abs().max())
    return "" if apart_by <= torch.finfo(apart.dtype).eps ** 0.5 * size else "the model reads other texts of its row"
