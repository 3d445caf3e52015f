"""Fine-tuning with token weights, after FIGA: imitate what an edit put in, unlearn what it took out (`maths.figa`).

It departs from FIGA's released code in three ways. Which tokens changed is said by our own alignment, where FIGA takes
Levenshtein operations on token ids. The end-of-sequence token of the original is unlearned where the alignment calls it
changed (`align.eos_in_changed`). And tokens outside the window of unlearning still count in the mean.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from redpencil.config import FIGAConfig
from redpencil.errors import RedpencilError
from redpencil.maths.figa import figa_loss, figa_weights, in_window
from redpencil.maths.masked import masked_mean
from redpencil.models.codec import Codec
from redpencil.models.forward import length_grouped, response_logprobs
from redpencil.models.loading import context_of, load_policy
from redpencil.models.runtime import Runtime, set_seed
from redpencil.records import Pair
from redpencil.runs import Stage
from redpencil.training.evaluation import BestPolicy, Validation
from redpencil.training.pairs import check_pairs
from redpencil.training.reward import PairBatch, collate_pairs
from redpencil.training.update import Objective, epochs_of, micro_batches_of, optimization_of, steps_in, update


def weights_of(item: PairBatch, config: FIGAConfig, eos_id: int) -> Tensor:
    """The weight of each token of a batch of pairs, [2B, T]: the edited texts first, then the originals."""
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
    """FIGA's loss. Logged beside it: the mean -log p of imitated tokens, and of blamed tokens the share outside the
    window of unlearning.
    """

    def counts(item: PairBatch) -> dict[str, float]:
        weights = weights_of(item, config, eos_id)
        imitated, blamed = float((weights > 0).sum()), float((weights < 0).sum())
        return {"figa": imitated + blamed, "imitated_nll": imitated, "spared": blamed}

    def terms(item: PairBatch) -> dict[str, Tensor]:
        weights = weights_of(item, config, eos_id)
        logprobs = response_logprobs(policy, item.batch)
        window = in_window(logprobs, config.min_nll, config.max_nll)
        return {
            "figa": figa_loss(logprobs, weights, window),
            "imitated_nll": -masked_mean(logprobs.detach(), weights > 0),
            "spared": masked_mean((~window).float(), weights < 0),
        }

    return Objective({"figa": 1.0}, counts, terms)


def train_figa(
    config: FIGAConfig,
    *,
    policy: Path,
    pairs: Sequence[Pair],
    validation: Validation | None,
    codec: Codec,
    runtime: Runtime,
    stage: Stage,
) -> None:
    """Fine-tune the SFT policy on edit pairs and write `checkpoint/` into the stage's folder.

    Raises:
        RedpencilError: if the pairs are no edits, or the model cannot read them.
    """
    set_seed(stage.seed)
    if not any(any(pair.chosen_changed) or any(pair.rejected_changed) for pair in pairs):
        raise RedpencilError(
            "no pair marks a changed token: these are not edits",
            hint="train on pairs that `redpencil align` made of edits",
        )
    model = load_policy(policy, runtime, trained=True)
    check_pairs(pairs, model.config.vocab_size, context_of(model))
    total = steps_in(config.num_train_epochs, len(pairs), config.batch_size, config.max_steps)
    optimization = optimization_of(model, config, total)
    objective = figa_objective(model, config, codec.eos_id)
    best = BestPolicy(model, load_policy(policy, runtime, trained=False), validation, codec, runtime, stage)
    if validation is not None:
        stage.log(0, **best.look(0, total))
    lengths = [len(pair.prompt_ids) + len(pair.rejected_ids) + len(pair.chosen_ids) for pair in pairs]
    generator = torch.Generator().manual_seed(stage.seed)
    batches = epochs_of(lambda: length_grouped(lengths, config.batch_size, generator), total)
    for step, batch in enumerate(batches, start=1):
        items = [
            collate_pairs([pairs[i] for i in part], codec.pad_id, runtime.device)
            for part in micro_batches_of(batch, config.micro_batch_size)
        ]
        logged = update(optimization, items, objective, runtime)
        stage.log(step, **logged, **best.look(step, total))
        stage.progress(step, total, f"loss {logged['loss']:.3f}{best.note}")
    best.finish()
