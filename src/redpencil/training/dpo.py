"""DPO on pairs, by TRL's trainer (Rafailov et al., "Direct Preference Optimization", 2023; extra `trl`).

TRL tokenises text itself: prompt and response in one string, with an end-of-sequence token behind every response. That
is not how our policies are sampled (`models.text`), and an original that was cut off has no end. So the trainer gets
the token ids of the pairs as they are, and the optimiser, schedule and choice of checkpoint of the other methods.
"""

import copy
import importlib.util
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from redpencil.config import DPOConfig
from redpencil.errors import RedpencilError
from redpencil.models.codec import Codec
from redpencil.models.loading import context_of, load_policy
from redpencil.models.runtime import Runtime, set_seed
from redpencil.records import Pair
from redpencil.runs import Stage
from redpencil.training.evaluation import BestPolicy, Validation
from redpencil.training.pairs import check_pairs
from redpencil.training.update import optimization_of, steps_in

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl.trainer.dpo_config import DPOConfig as Arguments
    from trl.trainer.dpo_trainer import DPOTrainer

LOGGED: Final = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "logps/chosen": "chosen_logprob",
    "logps/rejected": "rejected_logprob",
}
"""TRL's names of what it logs at each step, and ours."""


def check_trl() -> None:
    """Refuse to go on without TRL.

    Raises:
        RedpencilError: if it is not installed.
    """
    if importlib.util.find_spec("trl") is None:
        raise RedpencilError("DPO needs TRL", hint="pip install 'redpencil[trl]'")


def train_dpo(
    config: DPOConfig,
    *,
    policy: Path,
    pairs: Sequence[Pair],
    validation: Validation | None,
    codec: Codec,
    runtime: Runtime,
    stage: Stage,
) -> None:
    """Train the SFT policy on pairs and write `checkpoint/` into the stage's folder.

    Raises:
        RedpencilError: if TRL is not installed, there are no pairs, or the model cannot read them.
    """
    check_trl()
    set_seed(stage.seed)
    if not pairs:
        raise RedpencilError("there are no pairs to train on", hint="check the counts of skipped rows of `align`")
    model, reference = (load_policy(policy, runtime, trained=trained) for trained in (True, False))
    check_pairs(pairs, model.config.vocab_size, context_of(model))
    total = steps_in(config.num_train_epochs, len(pairs), config.batch_size, config.max_steps)
    best = BestPolicy(model, reference, validation, codec, runtime, stage)
    if validation is not None:
        stage.log(0, **best.look(0, total))
    trainer = make_trainer(
        config, model=model, reference=reference, pairs=pairs, total=total, codec=codec, runtime=runtime, stage=stage
    )
    trainer.add_callback(_watching(best, total, stage))
    with _old_names():
        trainer.train()
    shutil.rmtree(trainer.args.output_dir, ignore_errors=True)  # type: ignore[arg-type]
    best.finish()


def make_trainer(
    config: DPOConfig,
    *,
    model: "PreTrainedModel",
    reference: "PreTrainedModel",
    pairs: Sequence[Pair],
    total: int,
    codec: Codec,
    runtime: Runtime,
    stage: Stage,
) -> "DPOTrainer":
    """TRL's trainer over the token ids of the pairs; `total` are its optimiser steps. It reports to nobody."""
    from datasets import Dataset  # type: ignore[import-untyped]
    from transformers import PrinterCallback

    micro_batch_size = config.micro_batch_size or config.batch_size
    if config.batch_size % micro_batch_size:
        raise RedpencilError(
            f"batch_size {config.batch_size} is no multiple of micro_batch_size {micro_batch_size}",
            field="dpo.micro_batch_size",
            hint="choose one that divides dpo.batch_size",
        )
    if runtime.device.type == "cuda" and torch.cuda.device_count() > 1:
        raise RedpencilError(
            "TRL trains in one process on one GPU, and this process sees several",
            field="device",
            hint="show it one, such as with CUDA_VISIBLE_DEVICES=0",
        )
    arguments = _arguments(config, micro_batch_size, total, runtime, stage)
    optimization = optimization_of(model, config, total)
    rows = [
        {"prompt_ids": list(p.prompt_ids), "chosen_ids": list(p.chosen_ids), "rejected_ids": list(p.rejected_ids)}
        for p in pairs
    ]
    trainer = _trainer_class()(
        model=model,
        ref_model=reference,
        args=arguments,
        data_collator=_collator(codec.pad_id),
        train_dataset=Dataset.from_list(rows),
        processing_class=copy.deepcopy(codec.tokenizer),  # TRL gives one without a padding token its own
        optimizers=(optimization.optimizer, optimization.scheduler),  # type: ignore[arg-type]
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(config: DPOConfig, micro_batch_size: int, total: int, runtime: Runtime, stage: Stage) -> "Arguments":
    from trl.trainer.dpo_config import DPOConfig as Arguments

    with _old_names():
        return Arguments(
            output_dir=str(stage.folder / "trainer"),
            beta=config.beta,
            loss_type=[config.loss_type],
            label_smoothing=config.label_smoothing,
            max_steps=total,
            per_device_train_batch_size=micro_batch_size,
            gradient_accumulation_steps=config.batch_size // micro_batch_size,
            max_grad_norm=config.max_grad_norm,
            max_length=None,
            gradient_checkpointing=False,
            bf16=runtime.dtype == torch.bfloat16,
            use_cpu=runtime.device.type == "cpu",
            seed=stage.seed % 2**32,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )


@contextmanager
def _old_names() -> Iterator[None]:
    """Transformers renamed an option of its own, and TRL still uses the old name, which is no matter of the user's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing\w*` is deprecated", FutureWarning)
        yield


def _trainer_class() -> type["DPOTrainer"]:
    """TRL's trainer for pairs that are token ids already, and without its report of use to huggingface.co."""
    from trl.trainer.dpo_trainer import DPOTrainer

    class TokenIdTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _send_telemetry(self) -> None:
            pass

    return TokenIdTrainer


def _collator(pad_id: int) -> Any:
    """TRL's own collator, which carries padding in masks."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    return DataCollatorForPreference(pad_token_id=pad_id)


def _watching(best: BestPolicy, total: int, stage: Stage) -> Any:
    """A callback that writes each step into the stage's metrics and has the policy looked at."""
    from transformers import TrainerCallback

    class Watching(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
            if not logs or "loss" not in logs:
                return
            row = {ours: float(logs[theirs]) for theirs, ours in LOGGED.items() if theirs in logs}
            stage.log(state.global_step, **row, **best.look(state.global_step, total))
            stage.progress(state.global_step, total, f"loss {row['loss']:.3f}{best.note}")

    return Watching()
