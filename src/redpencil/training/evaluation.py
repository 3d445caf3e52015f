"""Watching a policy learn without rollouts: answer the validation prompts now and then, and keep the best policy.

PPO does the same with its own rollouts (`training.ppo.Watcher`); DPO and FIGA share this one, so that all methods
choose their checkpoint in the same way.
"""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from redpencil.config import SamplingConfig
from redpencil.maths.masked import masked_sum
from redpencil.models.codec import Codec
from redpencil.models.forward import collate, response_logprobs
from redpencil.models.loading import save_model
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import EncodedPrompts, Sample, check_context, sample_responses
from redpencil.records import Response
from redpencil.runs import Stage, derive_seed

AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Validation:
    """Prompts on which training is watched, how they are answered, and who judges; every `eval_steps` steps.

    `evaluate` gives the entry `win_rate`, which chooses the best policy.
    """

    prompts: EncodedPrompts
    sampling: SamplingConfig
    evaluate: Callable[[Sequence[Response]], dict[str, float]]
    eval_steps: int


class BestPolicy:
    """Keeps the policy of the highest win rate in `checkpoint/`, or the last one if there is no validation."""

    def __init__(
        self,
        policy: PreTrainedModel,
        reference: PreTrainedModel,
        validation: Validation | None,
        codec: Codec,
        runtime: Runtime,
        stage: Stage,
    ) -> None:
        self.policy, self.reference, self.validation = policy, reference, validation
        self.codec, self.runtime, self.stage = codec, runtime, stage
        self.best, self.best_step, self.note = -math.inf, 0, ""
        self.kl: float | None = None
        if validation is not None:
            check_context(policy, validation.prompts.ids, validation.sampling.response_length)

    def look(self, step: int, last_step: int) -> dict[str, float]:
        """Metrics named `eval/...` where it is time to look, else none; saves the policy if it is the best so far."""
        watched = self.validation
        if watched is None:
            if step == last_step:
                self._save()
            return {}
        if step % watched.eval_steps and step != last_step:
            return {}
        samples = self._sample(watched)
        texts = self.codec.decode([sample.ids for sample in samples])
        judged = watched.evaluate(
            [
                Response(prompt.id, prompt.prompt, text, self.stage.name, sample.finished)
                for prompt, text, sample in zip(watched.prompts.records, texts, samples, strict=True)
            ]
        )
        kl = self._kl(watched.prompts.ids, samples, watched.sampling.temperature)
        if judged["win_rate"] > self.best:
            self.best, self.best_step, self.kl = judged["win_rate"], step, kl
            self._save()
        self.note = f"  win rate {judged['win_rate']:.1f}"
        found = {"length": sum(len(sample.ids) for sample in samples) / len(samples), **judged}
        if kl is not None:
            found["kl"] = kl
        return {f"eval/{name}": number for name, number in found.items()}

    def finish(self) -> None:
        """Write into the stage's notes which step was kept."""
        if self.validation is not None:
            self.stage.notes["best"] = {"step": self.best_step, "value": self.best, "kl": self.kl}

    def _save(self) -> None:
        folder = self.stage.folder / "checkpoint"
        shutil.rmtree(folder, ignore_errors=True)
        save_model(self.policy, self.codec, folder)

    def _sample(self, watched: Validation) -> list[Sample]:
        """Every look draws with the same seed, and leaves the randomness of training as it was."""
        device = self.runtime.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(self.stage.seed, "validation"))
            return sample_responses(self.policy, self.codec, watched.prompts.ids, watched.sampling, self.runtime)

    @torch.no_grad()
    def _kl(self, prompts: Sequence[Sequence[int]], samples: Sequence[Sample], temperature: float) -> float | None:
        """KL to the SFT policy per response, in nats: the mean of the log ratio (k1). None for greedy answers."""
        if temperature == 0:
            return None
        total = 0.0
        for start in range(0, len(samples), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            batch = collate(prompts[part], [s.ids for s in samples[part]], self.codec.pad_id, self.runtime.device)
            with self.runtime.autocast():
                ours = response_logprobs(self.policy, batch, temperature)
                theirs = response_logprobs(self.reference, batch, temperature)
            total += float(masked_sum(ours - theirs, batch.response_mask))
        return total / len(samples)
