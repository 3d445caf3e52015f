"""DPO on pairs (Rafailov et al., "Direct Preference Optimization", 2023); the losses are in `maths.pair_losses`.

It trains on the token ids of the pairs as they are: a prompt and a response are tokenised apart, as the policy is
sampled, and an original that was cut off has no end. TRL, which tokenises text itself and ends every response with an
end-of-sequence token, is the oracle of its test, on rows where the two agree.
"""

from typing import Unpack

import torch
from torch import Tensor, nn

from redpencil.config.methods import DPOConfig
from redpencil.maths.masked import masked_sum
from redpencil.maths.pair_losses import dpo_loss
from redpencil.models.forward import response_logprobs
from redpencil.training.loop import PairsTraining, train_on_pairs
from redpencil.training.pairs import PairBatch
from redpencil.training.update import Objective


def dpo_objective(policy: nn.Module, reference: nn.Module, config: DPOConfig) -> Objective[PairBatch]:
    """Return DPO's loss over pairs.

    Logged with it: `accuracy`, the share of pairs with a positive margin of implicit rewards, their mean `margin`, and
    the mean log-probability of each side.
    """
    names = ("dpo", "accuracy", "margin", "chosen_logprob", "rejected_logprob")

    def counts(item: PairBatch) -> dict[str, float]:
        return dict.fromkeys(names, float(len(item)))

    def terms(item: PairBatch) -> dict[str, Tensor]:
        logprobs = response_logprobs(policy, item.batch)
        with torch.no_grad():
            ref_logprobs = response_logprobs(reference, item.batch)
        masks = item.batch.response_mask.chunk(2)
        loss, margin = dpo_loss(
            *(logprobs - ref_logprobs).chunk(2),
            *masks,
            beta=config.beta,
            loss_type=config.loss_type,
            label_smoothing=config.label_smoothing,
        )
        chosen, rejected = masked_sum(logprobs.detach(), item.batch.response_mask, dim=-1).chunk(2)
        return {
            "dpo": loss,
            "accuracy": (margin > 0).float().mean(),
            "margin": margin.detach().mean(),
            "chosen_logprob": chosen.mean(),
            "rejected_logprob": rejected.mean(),
        }

    return Objective({"dpo": 1.0}, counts, terms)


def train_dpo(config: DPOConfig, **training: Unpack[PairsTraining]) -> None:
    """Train the SFT policy on pairs and write `checkpoint/` into the stage's folder.

    Raises:
        RedpencilError: if there are no pairs, or the model cannot read one.
    """
    train_on_pairs(config, lambda model, reference: dpo_objective(model.module, reference.module, config), **training)
