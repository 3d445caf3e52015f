"""Fine-tuning with token weights, after FIGA: imitate what an edit put in, unlearn what it took out.

The loss is in `maths.pair_losses`. It departs from FIGA's released code in three ways. The alignment of words decides
which tokens changed, where FIGA takes Levenshtein operations on token ids. The end-of-sequence token of the original is
unlearned where the alignment calls it changed (`align.eos_in_changed`). And tokens outside the window of unlearning
still count in the mean.
"""

from typing import Unpack

import torch
from torch import Tensor, nn

from redpencil.config.methods import FIGAConfig
from redpencil.errors import RedpencilError
from redpencil.maths.masked import masked_mean
from redpencil.maths.pair_losses import figa_loss, figa_weights, in_window
from redpencil.models.forward import response_logprobs
from redpencil.training.loop import PairsTraining, train_on_pairs
from redpencil.training.pairs import PairBatch
from redpencil.training.scoring import micro_batches
from redpencil.training.update import Objective


def weights_of(item: PairBatch, config: FIGAConfig, eos_id: int) -> Tensor:
    """Weigh each token of a batch of pairs, [2B, T]: the edited texts first, then the originals."""
    chosen_mask = item.batch.response_mask.chunk(2)[0]
    chosen_changed, rejected_changed = item.changed_mask.chunk(2)
    columns = torch.arange(chosen_mask.shape[1], device=chosen_mask.device)
    last = columns == chosen_mask.sum(dim=1, keepdim=True) - 1
    chosen_eos = last & (item.batch.response_ids.chunk(2)[0] == eos_id)
    weights = figa_weights(
        chosen_changed,
        rejected_changed,
        chosen_mask,
        chosen_eos,
        alpha=config.alpha,
        beta=config.beta,
        kept=config.kept,
    )
    return torch.cat(weights)


def figa_objective(policy: nn.Module, config: FIGAConfig, eos_id: int) -> Objective[PairBatch]:
    """Return FIGA's loss.

    Logged with it: the mean -log p of imitated tokens, and the share of blamed tokens outside the window of unlearning.
    """

    def counts(item: PairBatch) -> dict[str, float]:
        weights = weights_of(item, config, eos_id)
        imitated, blamed = float((weights > 0).sum()), float((weights < 0).sum())
        return {"figa": imitated + blamed, "imitated_nll": imitated, "spared": blamed}

    def terms(item: PairBatch) -> dict[str, Tensor]:
        batch, weights = item.batch, weights_of(item, config, eos_id)
        if not config.beta:  # nothing is learned from the originals, the second half
            batch, weights = next(micro_batches(batch, len(item))), weights[: len(item)]
        logprobs = response_logprobs(policy, batch)
        window = in_window(logprobs, config.min_nll, config.max_nll)
        return {
            "figa": figa_loss(logprobs, weights, window),
            "imitated_nll": -masked_mean(logprobs.detach(), weights > 0),
            "spared": masked_mean((~window).float(), weights < 0),
        }

    return Objective({"figa": 1.0}, counts, terms)


def train_figa(config: FIGAConfig, **training: Unpack[PairsTraining]) -> None:
    """Fine-tune the SFT policy on edit pairs and write `checkpoint/` into the stage's folder.

    Raises:
        RedpencilError: if the pairs are not edits, or the model cannot read them.
    """
    pairs = training["pairs"]
    if pairs and not any(any(pair.chosen_changed) or any(pair.rejected_changed) for pair in pairs):
        raise RedpencilError(
            "no pair marks a changed token: these are not edits",
            hint="train on pairs that `redpencil align` made of edits",
        )
    train_on_pairs(config, lambda model, _: figa_objective(model.module, config, training["codec"].eos_id), **training)
