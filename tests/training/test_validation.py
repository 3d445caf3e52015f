"""Which checkpoint is kept, and what is measured on the way."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from redpencil.config.methods import SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.maths.masked import masked_sum
from redpencil.models.checkpoints import load_policy
from redpencil.models.codec import Codec
from redpencil.models.forward import collate, response_logprobs
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import HFSampler, Sample, encode_prompts
from redpencil.records import Prompt, Response
from redpencil.runs import Stage, derive_seed
from redpencil.training.validation import BestCheckpoint, Validation

PROMPTS = [Prompt(str(i), f"topic{i}") for i in range(8)]


@pytest.fixture
def validating(
    trained: Any, codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> Callable[..., tuple[BestCheckpoint, list[Sequence[Response]]]]:
    """`validating(rates)`: a BestCheckpoint whose judge gives these win rates in turn, and the responses it judged."""

    def make(rates: list[float] | None, eval_steps: int = 2) -> tuple[BestCheckpoint, list[Sequence[Response]]]:
        judged: list[Sequence[Response]] = []

        def evaluate(responses: Sequence[Response]) -> dict[str, float]:
            judged.append(responses)
            assert rates is not None
            return {"win_rate": rates[len(judged) - 1]}

        validation = Validation(
            encode_prompts(PROMPTS, codec, 8), SamplingConfig(response_length=8), evaluate, eval_steps
        )
        policy, reference = (load_policy(trained.sft, runtime, trained=flag, codec=codec) for flag in (True, False))
        chosen = None if rates is None else validation
        return BestCheckpoint(policy, HFSampler(policy), chosen, new_stage(5), reference=reference), judged

    return make


def mark(best: BestCheckpoint, value: float) -> None:
    """Write a number into the policy's weights, by which its checkpoint is known again."""
    with torch.no_grad():
        best.policy.module.get_input_embeddings().weight[0, 0] = value  # type: ignore[union-attr,operator]


def kept(best: BestCheckpoint, runtime: Runtime) -> float:
    policy = load_policy(best.stage.folder / "checkpoint", runtime, trained=False).module
    return float(policy.get_input_embeddings().weight[0, 0])  # type: ignore[union-attr,index,arg-type]


def test_the_checkpoint_of_the_best_win_rate_is_kept(validating: Any, runtime: Runtime) -> None:
    best, judged = validating([30.0, 45.0, 60.0, 50.0])
    metrics = {}
    for step in range(6):
        mark(best, float(step))
        metrics[step] = best.evaluate_if_due(step, last_step=5)
    best.finish()
    # Every second step and the last: 0, 2, 4, 5.
    assert [step for step, row in metrics.items() if row] == [0, 2, 4, 5]
    assert [metrics[step]["eval/win_rate"] for step in (0, 2, 4, 5)] == [30, 45, 60, 50]
    assert kept(best, runtime) == 4
    assert best.stage.notes["best"]["step"] == 4
    assert best.stage.notes["best"]["value"] == 60
    assert best.stage.notes["best"]["kl"] == metrics[4]["eval/kl"]
    assert best.record == best.stage.notes["best"]
    assert [row.id for row in judged[0]] == [prompt.id for prompt in PROMPTS]


def test_the_checkpoint_of_the_best_gleu_is_kept_where_there_is_one(validating: Any, runtime: Runtime) -> None:
    best, _ = validating([30.0, 45.0, 60.0])
    by_win_rate, scores = best.validation.evaluate, iter([20.0, 41.5, 40.0])
    both = replace(best.validation, evaluate=lambda rows: {**by_win_rate(rows), "gleu": next(scores)}, eval_steps=1)
    best.validation = both
    for step in range(3):
        mark(best, float(step))
        assert "eval/gleu" in best.evaluate_if_due(step, last_step=2)
    best.finish()
    assert kept(best, runtime) == 1
    assert {key: best.stage.notes["best"][key] for key in ("step", "value", "gleu")} == {
        "step": 1, "value": 41.5, "gleu": 41.5
    }  # fmt: skip


def test_of_equal_checkpoints_the_earlier_is_kept(validating: Any, runtime: Runtime) -> None:
    best, _ = validating([50.0, 50.0], eval_steps=1)
    for step in range(2):
        mark(best, float(step))
        best.evaluate_if_due(step, last_step=1)
    assert kept(best, runtime) == 0


def test_without_validation_the_last_policy_is_kept(validating: Any, runtime: Runtime) -> None:
    best, _ = validating(None)
    for step in range(1, 4):
        mark(best, float(step))
        assert best.evaluate_if_due(step, last_step=3) == {}
    best.finish()
    assert kept(best, runtime) == 3
    assert best.stage.notes == {}


def test_the_divergence_is_the_mean_log_ratio_of_its_own_answers(
    validating: Any, codec: Codec, runtime: Runtime
) -> None:
    best, _ = validating([30.0, 40.0], eval_steps=1)
    assert best.evaluate(0)["eval/kl"] == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for parameter in best.policy.module.parameters():
            parameter.mul_(1.2)
    kl = best.evaluate(1)["eval/kl"]
    ids = codec.encode_prompts([prompt.prompt for prompt in PROMPTS])
    seed = derive_seed(5, "validation")
    samples = HFSampler(best.policy).sample(ids, SamplingConfig(response_length=8), seed=seed)
    ratios = []
    for prompt, sample in zip(ids, samples, strict=True):  # one row at a time, so without padding
        batch = collate([prompt], [sample.ids], codec.pad_id, runtime.device)
        logprobs, ref_logprobs = (response_logprobs(m.module, batch) for m in (best.policy, best.reference))
        ratios.append(float(masked_sum(logprobs - ref_logprobs, batch.response_mask).detach()))
    assert kl == pytest.approx(sum(ratios) / len(ratios), rel=1e-4)
    assert abs(kl) > 1e-3


def test_evaluation_leaves_the_randomness_of_training_alone(validating: Any) -> None:
    best, _ = validating([30.0], eval_steps=1)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    best.evaluate(0)
    assert torch.equal(torch.rand(3), expected)


def test_without_a_judge_the_highest_reward_is_kept(
    trained: Any, codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> None:
    policy = load_policy(trained.sft, runtime, trained=True, codec=codec)
    rewards, scored = iter([1.0, 3.0, 2.0]), []

    def reward(samples: Sequence[Sample]) -> float:
        scored.append(len(samples))
        return next(rewards)

    sampling = SamplingConfig(response_length=8)
    validation = Validation(encode_prompts(PROMPTS, codec, 8), sampling, lambda _: {}, eval_steps=1)
    best = BestCheckpoint(policy, HFSampler(policy), validation, new_stage(5), reward=reward)
    metrics = []
    for step in range(3):
        mark(best, float(step))
        metrics.append(best.evaluate(step))
    best.finish()
    assert [row["eval/reward"] for row in metrics] == [1, 3, 2]
    assert scored == [len(PROMPTS)] * 3
    assert kept(best, runtime) == 1
    # without a reference there is no divergence from it
    assert best.stage.notes["best"] == {"step": 1, "value": 3}


def test_prompts_that_do_not_fit_are_refused_before_training(
    trained: Any, codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> None:
    policy = load_policy(trained.sft, runtime, trained=True, codec=codec)
    prompts = encode_prompts(PROMPTS, codec, 8)
    validation = Validation(prompts, SamplingConfig(response_length=31), lambda _: {}, eval_steps=1)
    with pytest.raises(RedpencilError, match="exceed the model's context of 32"):
        BestCheckpoint(policy, HFSampler(policy), validation, new_stage())
