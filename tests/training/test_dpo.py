"""DPO: its losses and gradients are those of TRL and of hand-written formulas, and it makes bad words rare."""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import logsigmoid

from redpencil.config.methods import DPOConfig, SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import LanguageModel, load_policy
from redpencil.models.codec import Codec
from redpencil.models.forward import collate, response_logprobs
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import HFSampler, respond
from redpencil.models.sharing import APART
from redpencil.models.sidecar import template_of
from redpencil.records import Pair, Prompt
from redpencil.runs import Stage, read_metrics
from redpencil.training.dpo import dpo_objective, train_dpo
from redpencil.training.pairs import collate_pairs
from redpencil.training.update import micro_batches_of, optimization_of, update

BETA = 0.5
QUICK = {"beta": BETA, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "warmup_ratio": 0, "batch_size": 8}
LOSSES = ("sigmoid", "hinge", "ipo", "robust", "sigmoid_norm", "apo_zero", "apo_down")


@pytest.fixture(scope="module")
def rows(pairs: list[Pair]) -> list[Pair]:
    """The edits of the toy, of which the second original was cut off: it has no end, and must not get one."""
    cut = Pair("cut", pairs[0].prompt_ids, pairs[0].rejected_ids[:-1], pairs[0].chosen_ids)
    return [pairs[0], cut, *pairs[1:]]


@pytest.fixture
def train(
    trained: Any, rows: list[Pair], codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> Callable[..., Stage]:
    """`train(count, **options)`: DPO on the first `count` rows; returns its stage."""

    def run(count: int = 8, **options: Any) -> Stage:
        stage = new_stage(1)
        config = DPOConfig.model_validate({**QUICK, **options})
        train_dpo(
            config, policy=trained.sft, pairs=rows[:count], validation=None, codec=codec, runtime=runtime, stage=stage
        )
        return stage

    return run


def moved_policy(folder: Path, runtime: Runtime, codec: Codec) -> LanguageModel:
    """The policy of a folder with noise in all its weights, so that no margin is 0."""
    policy = load_policy(folder, runtime, trained=True, codec=codec)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return policy


def gradients(module: nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    module.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def trl_trainer(
    policy: LanguageModel, reference: LanguageModel, pairs: Sequence[Pair], config: DPOConfig, folder: Path
) -> Any:
    """TRL's trainer over the token ids of the pairs, all of them in one batch."""
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig as Arguments
    from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

    class TokenIdTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _send_telemetry(self) -> None:
            pass

    arguments = Arguments(
        output_dir=str(folder),
        beta=config.beta,
        loss_type=[config.loss_type],
        label_smoothing=config.label_smoothing,
        max_steps=1,
        per_device_train_batch_size=len(pairs),
        max_length=None,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return TokenIdTrainer(
        model=policy.module,
        ref_model=reference.module,
        args=arguments,
        data_collator=DataCollatorForPreference(pad_token_id=policy.codec.pad_id),
        train_dataset=Dataset.from_list(
            [
                {
                    "prompt_ids": list(pair.prompt_ids),
                    "chosen_ids": list(pair.chosen_ids),
                    "rejected_ids": list(pair.rejected_ids),
                }
                for pair in pairs
            ]
        ),
        processing_class=copy.deepcopy(policy.codec.tokenizer),  # TRL gives one without a padding token its own
    )


# Transformers renamed one of its options, and TRL uses the old name still.
@pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing.*` is deprecated:FutureWarning")
@pytest.mark.parametrize("loss_type", LOSSES)
def test_loss_and_gradient_are_those_of_trl(
    trained: Any, rows: list[Pair], codec: Codec, runtime: Runtime, tmp_path: Path, loss_type: str
) -> None:
    smoothing = 0.1 if loss_type == "robust" else 0.0
    config = DPOConfig(beta=BETA, loss_type=loss_type, label_smoothing=smoothing)
    policy = moved_policy(trained.sft, runtime, codec)
    reference = load_policy(trained.sft, runtime, trained=False, codec=codec)
    pairs = rows[:12]
    assert len({len(pair.chosen_ids) - len(pair.rejected_ids) for pair in pairs}) > 1  # the means differ from the sums

    terms = dpo_objective(policy.module, reference.module, config).terms(
        collate_pairs(pairs, codec.pad_id, runtime.device)
    )
    own = gradients(policy.module, terms["dpo"])

    trainer = trl_trainer(policy, reference, pairs, config, tmp_path)
    (batch,) = trainer.get_train_dataloader()
    loss = trainer.compute_loss(policy.module, batch)
    oracle = gradients(policy.module, loss)

    assert abs(float(terms["margin"])) > 0.01
    assert float(terms["dpo"].detach()) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert own.keys() == oracle.keys() == dict(policy.module.named_parameters()).keys()
    for name, gradient in oracle.items():
        torch.testing.assert_close(own[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert max(float(gradient.abs().max()) for gradient in own.values()) > 1e-2
    # TRL's metrics are those of the objective as well
    for own_name, trl_name in (
        ("accuracy", "rewards/accuracies"),
        ("margin", "rewards/margins"),
        ("chosen_logprob", "logps/chosen"),
        ("rejected_logprob", "logps/rejected"),
    ):
        [metric] = trainer._metrics["train"][trl_name]
        assert float(terms[own_name]) == pytest.approx(metric, rel=1e-4), own_name


def logprob(model: LanguageModel, prompt: tuple[int, ...], response: tuple[int, ...]) -> float:
    """log p(response | prompt), one row alone, without padding."""
    batch = collate([prompt], [response], 0, model.runtime.device)
    return float(response_logprobs(model.module, batch).sum().detach())


def loss_by_hand(policy: Path, reference: Path, pairs: list[Pair], runtime: Runtime) -> float:
    """The mean over the pairs of -log sigmoid(beta * (log ratio of the chosen - log ratio of the rejected))."""
    model, ref_model = (load_policy(folder, runtime, trained=False) for folder in (policy, reference))
    total = 0.0
    for pair in pairs:
        chosen, rejected = (
            logprob(model, pair.prompt_ids, ids) - logprob(ref_model, pair.prompt_ids, ids)
            for ids in (pair.chosen_ids, pair.rejected_ids)
        )
        total -= float(logsigmoid(torch.tensor(BETA * (chosen - rejected))))
    return total / len(pairs)


def test_the_first_loss_is_log_2_and_the_second_is_as_worked_out_here(
    train: Callable[..., Stage], trained: Any, rows: list[Pair], runtime: Runtime
) -> None:
    # At the first step the policy is the reference, so every margin is 0. One step later it is the checkpoint that a
    # run of one step leaves.
    one, two = train(max_steps=1), train(max_steps=2)
    metrics = read_metrics(two.folder)
    assert [row["step"] for row in metrics] == [1, 2]
    assert metrics[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert metrics[0]["margin"] == 0
    expected = loss_by_hand(one.folder / "checkpoint", trained.sft, rows[:8], runtime)
    assert abs(expected - math.log(2)) > 0.01
    assert metrics[1]["loss"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [2, 3])  # 3 does not divide the batch of 8
def test_one_batch_and_its_micro_batches_learn_alike(train: Callable[..., Stage], size: int) -> None:
    whole, parts = (read_metrics(train(max_steps=3, micro_batch_size=part).folder) for part in (None, size))
    for row, parted in zip(whole, parts, strict=True):
        assert row.keys() == parted.keys()
        assert row["loss"] == pytest.approx(parted["loss"], abs=1e-5)
        assert row["margin"] == pytest.approx(parted["margin"], abs=1e-5)


@pytest.mark.parametrize("loss_type", LOSSES)
def test_one_batch_and_its_micro_batches_take_the_same_step(
    trained: Any, rows: list[Pair], codec: Codec, runtime: Runtime, loss_type: str
) -> None:
    config = DPOConfig.model_validate({**QUICK, "loss_type": loss_type})
    reference = load_policy(trained.sft, runtime, trained=False, codec=codec)
    logged, after = [], []
    for size in (None, 3):
        policy = moved_policy(trained.sft, runtime, codec)
        items = [
            collate_pairs([rows[i] for i in part], codec.pad_id, runtime.device)
            for part in micro_batches_of(range(16), size)
        ]
        objective = dpo_objective(policy.module, reference.module, config)
        logged.append(update(optimization_of(policy.module, config, 10), items, objective, runtime))
        after.append([p.detach() for p in policy.module.parameters()])
    assert logged[0] == pytest.approx(logged[1], rel=1e-5, abs=1e-5)
    for one, other in zip(*after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loss_type", LOSSES)
def test_what_the_sides_share_is_read_once_with_the_same_gradient(
    trained: Any, rows: list[Pair], codec: Codec, runtime: Runtime, loss_type: str
) -> None:
    config = DPOConfig.model_validate({**QUICK, "loss_type": loss_type})
    reference, policy = (
        load_policy(trained.sft, runtime, trained=False, codec=codec),
        moved_policy(trained.sft, runtime, codec),
    )
    objective = dpo_objective(policy.module, reference.module, config)
    apart, shared = (collate_pairs(rows, codec.pad_id, runtime.device, sharing) for sharing in (APART, policy.sharing))
    assert shared.batch.shared is not None
    terms = [objective.terms(item) for item in (apart, shared)]
    for name, term in terms[0].items():
        torch.testing.assert_close(terms[1][name], term, rtol=1e-5, atol=1e-5)
    one, other = (gradients(policy.module, each["dpo"]) for each in terms)
    for name, gradient in one.items():
        torch.testing.assert_close(other[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_plain_checkpoint_with_the_codecs_own_tokenizer_is_left(train: Callable[..., Stage], codec: Codec) -> None:
    before = codec.tokenizer.special_tokens_map
    stage = train(max_steps=1)
    names = {path.name for path in (stage.folder / "checkpoint").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "redpencil.json"} <= names
    assert {path.name for path in stage.folder.iterdir()} == {"checkpoint", "metrics.jsonl"}
    assert template_of(stage.folder / "checkpoint") == codec.template
    assert codec.tokenizer.special_tokens_map == before


def test_the_same_seed_gives_the_same_weights(train: Callable[..., Stage]) -> None:
    first, second = (train(32, max_steps=3).folder / "checkpoint" / "model.safetensors" for _ in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_bad_words_become_rare(train: Callable[..., Stage], trained: Any, codec: Codec, runtime: Runtime) -> None:
    def bad_share(folder: Path) -> float:
        prompts = [Prompt(str(i), f"topic{i % 8}") for i in range(160)]
        sampling = SamplingConfig(response_length=8, max_prompt_length=8)
        sampler = HFSampler(load_policy(folder, runtime, trained=False, codec=codec))
        answers, _ = respond(sampler, prompts, config=sampling, seed=0, model_name="x")
        words = [word for answer in answers for word in answer.response.split()]
        return sum(word in ("mud", "rot") for word in words) / len(words)

    stage = train(400, max_steps=30, batch_size=32)
    assert bad_share(stage.folder / "checkpoint") < 0.5 * bad_share(trained.sft)
    metrics = read_metrics(stage.folder)
    assert metrics[-1]["accuracy"] > 0.8
    assert metrics[-1]["margin"] > metrics[1]["margin"]


def test_no_pairs_are_refused(train: Callable[..., Stage]) -> None:
    with pytest.raises(RedpencilError, match="no pairs to train on"):
        train(0)


def test_a_policy_that_has_not_moved_has_no_margin_in_bfloat16(
    trained: Any, rows: list[Pair], codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    half, stage = Runtime(torch.device("cpu"), torch.bfloat16), new_stage(1)
    config = DPOConfig.model_validate({**QUICK, "max_steps": 1})
    train_dpo(config, policy=trained.sft, pairs=rows[:8], validation=None, codec=codec, runtime=half, stage=stage)
    [metrics] = read_metrics(stage.folder)
    assert metrics["margin"] == 0
    assert metrics["loss"] == pytest.approx(math.log(2), abs=1e-6)
