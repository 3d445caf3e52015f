"""Supervised fine-tuning on prompt and response; the loss counts response tokens only."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from torch import Tensor, nn

from redpencil.config.training import SFTConfig
from redpencil.errors import RedpencilError
from redpencil.maths.masked import masked_mean
from redpencil.models.checkpoints import load_policy
from redpencil.models.codec import Codec
from redpencil.models.forward import Batch, response_logprobs
from redpencil.models.lora import role_of
from redpencil.models.runtime import Runtime
from redpencil.models.saving import export
from redpencil.records import Example, says_finished
from redpencil.rows import IntRows
from redpencil.runs import Stage, derive_seed
from redpencil.training.loop import train_supervised
from redpencil.training.update import Objective, steps_in

ENCODE_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Rows:
    """Token ids of the examples that can be trained on, with the examples' ids; and the counts of those skipped."""

    prompts: IntRows
    responses: IntRows
    skipped: Counter[str]
    ids: list[str]


def encode_examples(examples: Iterable[Example], codec: Codec, max_length: int) -> Rows:
    """Tokenise examples in batches; one whose `meta` has `finished: false` gets no end-of-sequence token.

    Rows that are empty, longer than `max_length` or longer than the model's context are counted and skipped.

    Raises:
        RedpencilError: if no row is left.
    """
    rows = Rows(IntRows(), IntRows(), Counter(), [])
    source = iter(examples)
    while part := list(islice(source, ENCODE_AT_ONCE)):
        full = [example for example in part if example.response.strip()]
        if len(full) < len(part):
            rows.skipped["empty response"] += len(part) - len(full)
        if not full:
            continue
        prompts = codec.encode_prompts(full)
        finished = [says_finished(example) for example in full]
        responses = codec.encode_responses([example.response for example in full], finished=finished)
        for example, prompt, response in zip(full, prompts, responses, strict=True):
            reason = codec.unfit(prompt, response.ids, max_length)
            if reason is not None:
                rows.skipped[reason] += 1
            else:
                rows.ids.append(example.id)
                rows.prompts.append(prompt)
                rows.responses.append(response.ids)
    if not rows.prompts:
        raise RedpencilError(
            f"no example is left to train on (skipped: {dict(rows.skipped)})",
            field="sft.max_length",
            hint="raise sft.max_length or check the data",
        )
    return rows


def sft_objective(policy: nn.Module) -> Objective[Batch]:
    """Return the mean negative log-likelihood over response tokens."""

    def counts(batch: Batch) -> dict[str, float]:
        return {"nll": float(batch.response_mask.sum())}

    def terms(batch: Batch) -> dict[str, Tensor]:
        return {"nll": -masked_mean(response_logprobs(policy, batch), batch.response_mask)}

    return Objective({"nll": 1.0}, counts, terms)


def train_sft(
    config: SFTConfig, *, model: Path, examples: Iterable[Example], codec: Codec, runtime: Runtime, stage: Stage
) -> None:
    """Fine-tune the model of folder `model` and write `checkpoint/` into the stage's folder."""
    rows = encode_examples(examples, codec, config.max_length)
    stage.notes["skipped"] = dict(rows.skipped)
    policy = load_policy(
        model,
        runtime,
        trained=True,
        codec=codec,
        seed=derive_seed(stage.seed, "weights"),
        fresh=True,
        lora=config.lora,
    )
    if config.lora is not None and role_of(policy.module) is None:
        stage.tell("the model has no weights that an adapter could be for: all of them are trained")

    def collate_rows(part: Sequence[int]) -> Batch:
        prompts, responses = [rows.prompts[i] for i in part], [rows.responses[i] for i in part]
        return policy.collate(prompts, responses)

    lengths = [len(prompt) + len(response) for prompt, response in zip(rows.prompts, rows.responses, strict=True)]
    train_supervised(
        policy,
        range(len(rows.ids)),
        names=rows.ids,
        lengths=lengths,
        width=lambda i: lengths[i],
        collate=collate_rows,
        objective=sft_objective(policy.module),
        config=config,
        total_steps=steps_in(config.num_train_epochs, len(rows.ids), config.batch_size, config.max_steps),
        stage=stage,
    )
    export(policy, stage.folder / "checkpoint")
