"""Which checkpoint is kept, and what is measured on the way."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from redpencil.config import SamplingConfig
from redpencil.maths.masked import masked_sum
from redpencil.models.codec import Codec
from redpencil.models.forward import collate, response_logprobs
from redpencil.models.checkpoints import load_policy
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import encode_prompts, sample_responses
from redpencil.records import Prompt, Response
from redpencil.runs import Stage, derive_seed
from redpencil.training.validation import BestPolicy, Validation

PROMPTS = [Prompt(str(i), f"topic{i}") for i in range(8)]


@pytest.fixture
def watching(
    trained: Any, codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> Callable[..., tuple[BestPolicy, list[Sequence[Response]]]]:
    """`watching(rates)`: a watcher whose judge gives these win rates in turn, and the responses that it was shown."""

    def make(rates: list[float] | None, eval_steps: int = 2) -> tuple[BestPolicy, list[Sequence[Response]]]:
        shown: list[Sequence[Response]] = []

        def evaluate(responses: Sequence[Response]) -> dict[str, float]:
            shown.append(responses)
            assert rates is not None
            return {"win_rate": rates[len(shown) - 1]}

        validation = Validation(
            encode_prompts(PROMPTS, codec, 8), SamplingConfig(response_length=8), evaluate, eval_steps
        )
        policy, reference = (load_policy(trained.sft, runtime, trained=flag) for flag in (True, False))
        given = None if rates is None else validation
        return BestPolicy(policy, reference, given, codec, runtime, new_stage(5)), shown

    return make


def mark(best: BestPolicy, value: float) -> None:
    """Write a number into the policy's weights, by which its checkpoint is known again."""
    with torch.no_grad():
        best.policy.get_input_embeddings().weight[0, 0] = value  # type: ignore[union-attr,operator]


def kept(best: BestPolicy, runtime: Runtime) -> float:
    policy = load_policy(best.stage.folder / "checkpoint", runtime, trained=False)
    return float(policy.get_input_embeddings().weight[0, 0])  # type: ignore[union-attr,index,arg-type]


def test_the_checkpoint_of_the_best_win_rate_is_kept(watching: Any, runtime: Runtime) -> None:
    best, shown = watching([30.0, 45.0, 60.0, 50.0])
    looks = {}
    for step in range(6):
        mark(best, float(step))
        looks[step] = best.look(step, last_step=5)
    best.finish()
    # Every second step and the last: 0, 2, 4, 5.
    assert [step for step, look in looks.items() if look] == [0, 2, 4, 5]
    assert [looks[step]["eval/win_rate"] for step in (0, 2, 4, 5)] == [30, 45, 60, 50]
    assert kept(best, runtime) == 4
    assert best.stage.notes["best"]["step"] == 4
    assert best.stage.notes["best"]["value"] == 60
    assert [row.id for row in shown[0]] == [prompt.id for prompt in PROMPTS]


def test_of_equals_the_earlier_is_kept(watching: Any, runtime: Runtime) -> None:
    best, _ = watching([50.0, 50.0], eval_steps=1)
    for step in range(2):
        mark(best, float(step))
        best.look(step, last_step=1)
    assert kept(best, runtime) == 0


def test_without_validation_the_last_policy_is_kept(watching: Any, runtime: Runtime) -> None:
    best, _ = watching(None)
    for step in range(1, 4):
        mark(best, float(step))
        assert best.look(step, last_step=3) == {}
    best.finish()
    assert kept(best, runtime) == 3
    assert best.stage.notes == {}


def test_the_divergence_is_the_mean_log_ratio_of_its_own_answers(watching: Any, codec: Codec, runtime: Runtime) -> None:
    best, _ = watching([30.0, 40.0], eval_steps=1)
    assert best.look(0, 1)["eval/kl"] == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for parameter in best.policy.parameters():
            parameter.mul_(1.2)
    found = best.look(1, 1)["eval/kl"]
    ids = codec.encode_prompts([prompt.prompt for prompt in PROMPTS])
    torch.manual_seed(derive_seed(5, "validation"))
    samples = sample_responses(best.policy, codec, ids, SamplingConfig(response_length=8), runtime)
    ratios = []
    for prompt, sample in zip(ids, samples, strict=True):  # one row at a time, so without padding
        batch = collate([prompt], [sample.ids], codec.pad_id, runtime.device)
        ours, theirs = (response_logprobs(model, batch) for model in (best.policy, best.reference))
        ratios.append(float(masked_sum(ours - theirs, batch.response_mask).detach()))
    assert found == pytest.approx(sum(ratios) / len(ratios), rel=1e-4)
    assert abs(found) > 1e-3


def test_looking_leaves_the_randomness_of_training_alone(watching: Any) -> None:
    best, _ = watching([30.0], eval_steps=1)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    best.look(0, 1)
    assert torch.equal(torch.rand(3), expected)
