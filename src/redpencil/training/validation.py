"""Evaluate a policy on validation prompts while it trains, and keep its best checkpoint.

Every method uses this, so that all choose their checkpoint in the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from redpencil.config.methods import SamplingConfig
from redpencil.maths.masked import masked_sum
from redpencil.models.checkpoints import LanguageModel
from redpencil.models.forward import response_logprobs
from redpencil.models.sampling import EncodedPrompts, Sample, Sampler, responses_of
from redpencil.models.saving import export
from redpencil.records import Response
from redpencil.runs import Stage, derive_seed

BATCH_SIZE = 64

Evaluate = Callable[[Sequence[Response]], dict[str, float]]
"""Judges responses to the validation prompts; the first of `CHOOSING` among its entries chooses the checkpoint."""
CHOOSING: Final = ("gleu", "win_rate")


@dataclass(frozen=True, slots=True)
class Validation:
    """Prompts on which training is evaluated, how they are answered, and who judges; every `eval_steps` steps."""

    prompts: EncodedPrompts
    sampling: SamplingConfig
    evaluate: Evaluate
    eval_steps: int


class BestCheckpoint:
    """Keeps the best policy so far in `checkpoint/` of the stage's folder; the last one if there is no validation.

    The best policy has the highest GLEU, if there is one, else win rate, or without a judge reward. A later one that is
    equal does not replace it.

    Args:
        policy: the policy that is trained.
        sampler: answers with the policy.
        validation: the prompts; None to save the last policy.
        stage: whose folder and seed are used.
        reference: the SFT policy; if given, the KL of the responses to it is measured.
        reward: the mean reward of samples, for validation without a judge.
        micro_batch_size: responses whose KL is measured at once.
    """

    def __init__(
        self,
        policy: LanguageModel,
        sampler: Sampler,
        validation: Validation | None,
        stage: Stage,
        *,
        reference: LanguageModel | None = None,
        reward: Callable[[Sequence[Sample]], float] | None = None,
        micro_batch_size: int | None = None,
    ) -> None:
        self.policy, self.sampler, self.validation, self.stage = policy, sampler, validation, stage
        self.reference, self.reward, self.micro_batch_size = reference, reward, micro_batch_size or BATCH_SIZE
        self.record: dict[str, Any] = {}
        """Step, value and KL of the best checkpoint; part of the stage's saved state."""
        self.note = ""
        if validation is not None:
            sampler.check(validation.prompts.ids, validation.sampling.response_length)

    def is_due(self, step: int, last_step: int) -> bool:
        """Tell whether a step's policy is evaluated, or saved as the last one."""
        return step == last_step or (self.validation is not None and step % self.validation.eval_steps == 0)

    def evaluate_if_due(self, step: int, last_step: int) -> dict[str, float]:
        """Evaluate after every `eval_steps` steps and the last one; else return no metrics."""
        if not self.is_due(step, last_step):
            return {}
        if self.validation is not None:
            return self.evaluate(step)
        export(self.policy, self.stage.folder / "checkpoint")
        return {}

    def evaluate(self, step: int) -> dict[str, float]:
        """Answer and judge the validation prompts, and save the policy if it is the best so far.

        Every evaluation draws with the same seed. Returns metrics named `eval/...`.
        """
        assert self.validation is not None
        prompts, sampling = self.validation.prompts, self.validation.sampling
        self.sampler.sync(self.policy, exact=True)
        samples = self.sampler.sample(prompts.ids, sampling, seed=derive_seed(self.stage.seed, "validation"))
        metrics = {"length": sum(len(sample.ids) for sample in samples) / len(samples)}
        metrics |= self.validation.evaluate(responses_of(prompts.records, samples, self.policy.codec, self.stage.name))
        by = next((name for name in CHOOSING if name in metrics), "reward")
        if by == "reward":
            assert self.reward is not None
            metrics["reward"] = self.reward(samples)
        else:
            self.note = f"  {'GLEU' if by == 'gleu' else 'win rate'} {metrics[by]:.1f}"
        if self.reference is not None and sampling.temperature > 0:
            metrics["kl"] = self._kl(self.reference, samples, sampling.temperature)
        value = metrics[by]
        if "value" not in self.record or value > self.record["value"]:
            self.record.update(step=step, value=value, **({"gleu": value} if by == "gleu" else {}))
            if self.reference is not None:
                self.record["kl"] = metrics.get("kl")
            export(self.policy, self.stage.folder / "checkpoint")
        return {f"eval/{name}": number for name, number in metrics.items()}

    def finish(self) -> None:
        """Write into the stage's notes which step was kept."""
        if self.validation is not None:
            self.stage.notes["best"] = dict(self.record)

    @torch.no_grad()
    def _kl(self, reference: LanguageModel, samples: Sequence[Sample], temperature: float) -> float:
        """Estimate the KL to the reference per response, in nats: the mean of the log ratio (k1)."""
        assert self.validation is not None
        prompts, policy = self.validation.prompts.ids, self.policy

        def measure(start: int) -> float:
            part = slice(start, start + self.micro_batch_size)
            ids = [sample.ids for sample in samples[part]]
            batch = policy.collate(prompts[part], ids)
            with policy.runtime.autocast():
                logprobs = response_logprobs(policy.module, batch, temperature)
                ref_logprobs = response_logprobs(reference.module, batch, temperature)
            return float(masked_sum(logprobs - ref_logprobs, batch.response_mask))

        return sum(policy.runtime.spread(range(0, len(samples), self.micro_batch_size), measure)) / len(samples)
