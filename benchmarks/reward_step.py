"""Steps of training a reward model on edits against those of TRL's RewardTrainer, on one thread in float32.

    python benchmarks/reward_step.py
    python benchmarks/reward_step.py --pairs 9 --only half

Both train the same model (a Llama of width 512 with 8 layers, made from its configuration) on the same pairs in the
same batches by the same Bradley-Terry loss. Prompts have 32 to 96 tokens and responses 64 to 256; a batch holds pairs
of similar length, as both can be told to draw them. `edit20` changes a fifth of the tokens in three places, `half` the
second half, `shared90` the last tenth. Each measurement is a step on other pairs, and the losses of both must agree.
Results go into `benchmarks/results/reward_step.json`.
"""

import argparse
import copy
import os
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForSequenceClassification,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
)
from trl import RewardConfig as TRLConfig
from trl import RewardTrainer

from interleaved import ratios, write
from redpencil.config.training import RewardConfig
from redpencil.models.checkpoints import LanguageModel
from redpencil.models.codec import Codec
from redpencil.models.runtime import Runtime
from redpencil.records import Pair
from redpencil.runs import Stage
from redpencil.training.loop import train_supervised
from redpencil.training.pairs import collate_pairs, pair_width
from redpencil.training.reward import sequence_objective
from redpencil.training.reward_defaults import fit, size_of

VOCABULARY: Final = 8192
BATCH: Final = 4
DRAWN: Final = 16
"""Batches of an epoch, of which one is measured."""
RATE: Final = 1e-4

Edit = Callable[[list[int], random.Random], list[int]]


def edit20(tokens: list[int], rng: random.Random) -> list[int]:
    """Change a fifth of the tokens in three places."""
    changed, length = list(tokens), max(1, len(tokens) // 15)
    free = len(tokens) - 3 * length
    starts = sorted(rng.randint(0, free) for _ in range(3))
    for number, start in enumerate(starts):
        place = start + number * length
        changed[place : place + length] = new_tokens(length, rng)
    return changed


def last(share: float) -> Edit:
    """Change the last tokens."""

    def edit(tokens: list[int], rng: random.Random) -> list[int]:
        kept = len(tokens) - round(share * len(tokens))
        return [*tokens[:kept], *new_tokens(len(tokens) - kept, rng)]

    return edit


EDITS: Final[dict[str, Edit]] = {"edit20": edit20, "half": last(0.5), "shared90": last(0.1)}


def new_tokens(count: int, rng: random.Random) -> list[int]:
    """Draw tokens other than padding."""
    return [rng.randrange(1, VOCABULARY) for _ in range(count)]


def made_pairs(edit: Edit, seed: int = 0) -> list[Pair]:
    """Make the pairs of one of the batches of similar length of an epoch."""
    rng = random.Random(seed)
    pairs = []
    for number in range(BATCH * DRAWN):
        prompt, original = new_tokens(rng.randint(32, 96), rng), new_tokens(rng.randint(64, 256), rng)
        pairs.append(Pair(str(number), tuple(prompt), tuple(original), tuple(edit(original, rng))))
    pairs.sort(key=lambda pair: len(pair.prompt_ids) + len(pair.rejected_ids))
    start = BATCH * rng.randrange(DRAWN)
    return pairs[start : start + BATCH]


def made_model() -> PreTrainedModel:
    """Make the model that both train."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=1024,
        pad_token_id=0,
        num_labels=1,
    )
    return cast(PreTrainedModel, AutoModelForSequenceClassification.from_config(config))


class EnoughError(Exception):
    """The step that is measured is done."""


@dataclass
class Watch:
    """The processor time of the first step, and its loss."""

    start: float = 0.0
    seconds: float = 0.0
    loss: float = 0.0

    def note(self, row: Mapping[str, Any]) -> None:
        """Take the metrics of the step."""
        self.seconds, self.loss = time.process_time() - self.start, float(row["loss"])


def ours(start: PreTrainedModel, pairs: Sequence[Pair], tokenizer: Any) -> Watch:
    """Train by redpencil."""
    module = copy.deepcopy(start).train()
    model = LanguageModel(module, Codec(tokenizer, "{prompt}", 0, 1), Runtime(torch.device("cpu"), torch.float32))
    options = {"level": "sequence", "learning_rate": RATE, "batch_size": BATCH, "lr_scheduler_type": "constant"}
    config = RewardConfig.model_validate({**options, "warmup_ratio": 0, "scale": 1})
    fitted = fit(config, size_of(pairs, 512))
    sharing, watch = model.sharing, Watch()

    def note(row: Mapping[str, float]) -> None:
        watch.note(row)
        raise EnoughError  # behind the last step of a training its weights are checked, so there is one more

    with tempfile.TemporaryDirectory() as folder, suppress(EnoughError):
        watch.start = time.process_time()
        train_supervised(
            model,
            pairs,
            names=[pair.id for pair in pairs],
            lengths=[len(pair.prompt_ids) + len(pair.rejected_ids) + len(pair.chosen_ids) for pair in pairs],
            collate=lambda part: collate_pairs(part, 0, model.runtime.device, sharing),
            objective=sequence_objective(module, fitted),
            config=fitted,
            total_steps=2,
            stage=Stage("reward", Path(folder), 0, watch=note),
            width=lambda pair: pair_width(pair, sharing),
        )
    return watch


class Noting(TrainerCallback):  # type: ignore[misc]
    """Lets TRL's trainer be watched."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Begin to measure."""
        self.watch.start = time.process_time()

    def on_log(self, *_: Any, logs: Mapping[str, Any], **__: Any) -> None:
        """Take the metrics of the step; those of the whole training have no loss."""
        if "loss" in logs:
            self.watch.note(logs)


def theirs(start: PreTrainedModel, pairs: Sequence[Pair], tokenizer: Any) -> Watch:
    """Train by TRL."""
    data = Dataset.from_dict(
        {
            "chosen_ids": [[*pair.prompt_ids, *pair.chosen_ids] for pair in pairs],
            "rejected_ids": [[*pair.prompt_ids, *pair.rejected_ids] for pair in pairs],
        }
    )
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        config = TRLConfig(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            max_steps=1,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            max_length=None,
        )
        trainer = RewardTrainer(
            copy.deepcopy(start),
            args=config,
            train_dataset=data,
            processing_class=tokenizer,
            callbacks=[Noting(watch)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return watch


def compare(edit: Edit, count: int, tokenizer: Any) -> dict[str, Any]:
    """Measure both on one kind of edits.

    Raises:
        SystemExit: if their losses differ.
    """
    start = made_model()
    losses: list[tuple[str, int, float]] = []

    def by(name: str, train: Callable[..., Watch]) -> Callable[[int], float]:
        def measured(number: int) -> float:
            watch = train(start, made_pairs(edit, number), tokenizer)
            losses.append((name, number, watch.loss))
            return watch.seconds

        return measured

    found = ratios(by("ours", ours), by("theirs", theirs), count)
    by_name = [{number: loss for who, number, loss in losses if who == name} for name in ("ours", "theirs")]
    if any(abs(by_name[0][number] - loss) > 2e-4 for number, loss in by_name[1].items()):  # TRL's is rounded
        raise SystemExit(f"they do not compute the same: {by_name}")
    return found


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each kind of edits")
    parser.add_argument("--only", choices=list(EDITS), help="measure one kind, and write nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    words = Tokenizer(models.WordLevel({"<pad>": 0, **{str(i): i for i in range(1, VOCABULARY)}}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="1")
    results = {}
    for name in [args.only] if args.only else EDITS:
        print(name, flush=True)
        results[name] = compare(EDITS[name], args.pairs, tokenizer)
        print(f"  {results[name]}", flush=True)
    if args.only is None:
        print(write("reward_step", results, "torch", "transformers", "trl"))


if __name__ == "__main__":
    main()
