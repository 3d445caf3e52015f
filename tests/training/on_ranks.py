"""Trains and scores with every method, on as many processes as the environment names: a script of `test_ranks.py`.

    python on_ranks.py FOLDER MODE... [CASE...]

FOLDER holds `given.pkl`. For each mode (`whole`, `fsdp`, ...) the first process writes what came out to
`<mode>-<processes>.json`, and checkpoints beside it. Steps are those of plain gradient descent, since Adam turns
rounding errors of tiny gradients into steps.
"""

import json
import math
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from redpencil.config.methods import DistillConfig, DPOConfig, FIGAConfig, GRPOConfig, PPOConfig, SamplingConfig
from redpencil.config.training import LoraConfig, RewardConfig, SFTConfig
from redpencil.models.checkpoints import load_policy, load_reward_model
from redpencil.models.parallel import local
from redpencil.models.runtime import Runtime, make_runtime
from redpencil.models.sampling import HFSampler, encode_prompts
from redpencil.models.sidecar import codec_of_checkpoint
from redpencil.records import Prompt
from redpencil.runs import Stage, is_time, read_metrics
from redpencil.training import sft as sft_module
from redpencil.training.distill import train_distill
from redpencil.training.dpo import train_dpo
from redpencil.training.figa import train_figa
from redpencil.training.grpo import run_grpo
from redpencil.training.ppo import run_ppo
from redpencil.training.reward import train_reward
from redpencil.training.rollout import load_actors, sampling_of
from redpencil.training.scoring import score_ids, score_sequences, score_tokens
from redpencil.training.sft import train_sft
from redpencil.training.validation import Validation

ADAM = torch.optim.AdamW


def descend(groups: Any, lr: float, **_: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=lr)


@dataclass
class Case:
    """One mode on so many processes."""

    given: dict[str, Any]
    runtime: Runtime
    folder: Path
    lora: LoraConfig | None = None

    def checkpoint(self, name: str) -> Path:
        """One of the given checkpoints; with `lora` the adapters."""
        folder: Path = self.given[name if self.lora is None else f"lora-{name}"]
        return folder

    @property
    def codec(self) -> Any:
        return codec_of_checkpoint(self.given["sft"])

    def trained(self, name: str, train: Callable[[Stage], None]) -> dict[str, Any]:
        """The metrics of a training; its checkpoint stays in the folder."""
        name = name if self.lora is None else f"lora-{name}"
        stage = Stage(name, self.folder / name / str(self.runtime.rank), 3)
        stage.folder.mkdir(parents=True)
        train(stage)
        rows = [{k: v for k, v in row.items() if not is_time(k)} for row in read_metrics(stage.folder)]
        notes = {k: v for k, v in stage.notes.items() if k in ("reference", "best")}
        # Which rows were broken goes by which process had them.
        notes["left out"] = [text.split("; rows")[0] for text in stage.notes.get("left out", ())]
        return {"rows": rows, "notes": notes}


BASIC: dict[str, Any] = {
    "lr_scheduler_type": "constant",
    "warmup_ratio": 0,
    "batch_size": 7,
    "max_steps": 3,
    "micro_batch_size": 2,
}


def sft(case: Case) -> Any:
    config = SFTConfig(learning_rate=0.5, lora=case.lora, **BASIC)
    arguments = {"model": case.given["sft"], "examples": case.given["examples"]}
    return case.trained(
        "sft", lambda stage: train_sft(config, codec=case.codec, runtime=case.runtime, stage=stage, **arguments)
    )


REWARDS: dict[str, dict[str, Any]] = {
    "eq3": {"loss": "eq3"},
    "eq4": {"loss": "eq4", "zero_penalty": 0.1, "consistency": 0.2},
    "blame": {"loss": "blame", "edited_weight": 0.5},
    "contrast": {"loss": "contrast", "ranking": 0.3},
    "sequence": {"level": "sequence"},
    "some-frozen": {"loss": "eq3", "frozen_layers": 1},
    "head-alone": {"loss": "eq3", "frozen_layers": "all"},
    "shallow": {"loss": "eq3", "layers": 1},
    "twice": {"loss": "eq3", "read_twice": True},
}


def reward(case: Case, name: str) -> Any:
    options = {"level": "token", "lora": case.lora, **BASIC, **REWARDS[name]}
    config = RewardConfig(learning_rate=0.1, scale=2.0, reference_samples=21, **options)

    def train(stage: Stage) -> None:
        train_reward(
            config,
            backbone=case.checkpoint("sft"),
            pairs=case.given["pairs"],
            samples=case.given["samples"],
            codec=case.codec,
            trained_on="edits",
            runtime=case.runtime,
            stage=stage,
        )

    return case.trained(f"reward-{name}", train)


def validation(case: Case) -> Validation:
    prompts = encode_prompts([Prompt(str(i), f"topic{i}") for i in range(5)], case.codec, 8)
    return Validation(prompts, SamplingConfig(response_length=6, temperature=0.7), lambda _: {}, 2)


TAUGHT: dict[str, Any] = {
    "distill": {"guidance": 0.5, "kept_weight": 0.2},
    "distill-own": {"responses": "own", "response_length": 6},
}


def pairs(case: Case, name: str) -> Any:
    template = {"teacher_template": "{prompt} {original} {edited}"}
    method, config = {
        "dpo": (train_dpo, DPOConfig(learning_rate=0.3, eval_steps=2, lora=case.lora, **BASIC)),
        "figa": (train_figa, FIGAConfig(learning_rate=0.3, eval_steps=2, lora=case.lora, **BASIC)),
        **{
            distilled: (
                train_distill,
                DistillConfig(learning_rate=0.1, eval_steps=2, lora=case.lora, **template, **options, **BASIC),
            )
            for distilled, options in TAUGHT.items()
        },
    }[name]

    def train(stage: Stage) -> None:
        judged = replace(validation(case), evaluate=lambda rows: {"win_rate": float(len(rows[0].response))})
        arguments = {"validation": judged, "codec": case.codec, "runtime": case.runtime, "stage": stage}
        learned = case.given["taught" if name in TAUGHT else "pairs"]
        method(config, policy=case.checkpoint("sft"), pairs=learned, **arguments)

    with the_same_samples():
        return case.trained(name, train)


@contextmanager
def the_same_samples() -> Iterator[None]:
    """Let every process sample all responses, as one alone would: draws depend on how they are shared out."""
    sample = HFSampler.sample

    def alone(self: HFSampler, *args: Any, **options: Any) -> Any:
        one = Runtime(self.policy.runtime.device, self.policy.runtime.dtype)
        return sample(HFSampler(replace(self.policy, runtime=one)), *args, **options)

    HFSampler.sample = alone  # type: ignore[method-assign]
    try:
        yield
    finally:
        HFSampler.sample = sample  # type: ignore[method-assign]


def rollouts(case: Case, name: str, folder: str | None = None, **more: Any) -> Any:
    common: dict[str, Any] = {
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "batch_size": 6,
        "total_steps": 2,
        "micro_batch_size": 2,
        "response_length": 6,
        "max_prompt_length": 8,
        "reward": "both",
        "lora": case.lora,
        **more,
    }
    if name == "ppo":
        config: Any = PPOConfig(rollout_batch_size=11, ppo_epochs=2, whiten_advantages=True, **common)
    else:
        config = GRPOConfig(rollout_batch_size=3, group_size=4, **common)

    def train(stage: Stage) -> None:
        models = [case.checkpoint(name) for name in ("sft", "token", "sequence")]
        actors = load_actors(config, *models, case.runtime, case.codec)
        prompts = encode_prompts([Prompt(str(i), f"topic{i % 8}") for i in range(16)], case.codec, 8)
        watched = replace(validation(case), sampling=sampling_of(config))
        run = run_ppo if name == "ppo" else run_grpo
        if config.skip_nonfinite:
            poison(case, stage, next(actors.scorers[0].reward.model.module.parameters()))
        run(config, actors=actors, prompts=prompts, validation=watched, stage=stage)

    with the_same_samples():
        return case.trained(folder or name, train)


def poison(case: Case, stage: Stage, weight: torch.Tensor) -> None:
    """Let a weight of the last process alone be NaN in the third step."""
    kept = local(weight).clone()

    def progress(done: int, _total: int, _note: str) -> None:
        if case.runtime.rank == case.runtime.world_size - 1 and done in (2, 3):
            with torch.no_grad():
                if done == 2:
                    kept.copy_(local(weight))
                local(weight).copy_(torch.full_like(kept, math.nan) if done == 2 else kept)

    stage.progress = progress


def left_out(case: Case) -> Any:
    """SFT in which one process alone has a broken loss, so that all leave the update out."""
    config = SFTConfig(learning_rate=0.5, skip_nonfinite=1, **{**BASIC, "max_steps": 4})
    arguments = {"model": case.given["sft"], "examples": case.given["examples"], "codec": case.codec}

    def train(stage: Stage) -> None:
        original = sft_module.train_supervised

        def poisoned(model: Any, rows: Any, **options: Any) -> None:
            poison(case, stage, next(model.module.parameters()))
            original(model, rows, **options)

        sft_module.train_supervised = poisoned
        try:
            train_sft(config, runtime=case.runtime, stage=stage, **arguments)
        finally:
            sft_module.train_supervised = original

    return case.trained("left-out", train)


def scoring(case: Case) -> Any:
    prompts, responses = (list(column) for column in zip(*case.given["samples"], strict=True))
    token, sequence = (load_reward_model(case.checkpoint(name), case.runtime) for name in ("token", "sequence"))
    # 100 rows are two batches, 5 rows one: a process without one of its own must keep step.
    return {
        "tokens": [row.tolist() for row in score_tokens(token.model, prompts, responses)],
        "few": [row.tolist() for row in score_tokens(token.model, prompts[:5], responses[:5])],
        "none": score_ids(token, [], []),
        "sequences": score_sequences(sequence.model, prompts, responses).tolist(),
        "by Eq. 1": score_ids(token, prompts, responses),
    }


def sampling(case: Case) -> Any:
    """Greedy answers, from a model that stops at different places; and how many there are of a sampled few."""
    policy = load_policy(case.checkpoint("sft"), case.runtime, trained=False)
    ids = case.codec.encode_prompts([f"topic{i % 8}" + " sun" * (i % 3) for i in range(9)])
    greedy = SamplingConfig(response_length=8, temperature=0.0, batch_size=2)
    sampler = HFSampler(policy)
    answers = sampler.sample(ids, greedy, seed=0)
    one = sampler.sample(ids[:1], greedy, seed=0)
    drawn = sampler.sample(ids * 8, greedy.model_copy(update={"temperature": 1.0}), seed=0)
    assert case.runtime.everyone(drawn)[0] == drawn
    return {"ids": [list(row.ids) for row in answers], "one": list(one[0].ids), "distinct": len(set(drawn)) > 9}


class StoppedError(Exception):
    """Stands for whatever ends a training in its middle."""


def states(case: Case) -> Any:
    """Losses of a training that several processes began and one took up, and the other way round, with Adam.

    Alone is the first process only: the other one waits.
    """
    one, several = Runtime(case.runtime.device, case.runtime.dtype), case.runtime
    config = SFTConfig(learning_rate=0.01, save_every=2, **{**BASIC, "max_steps": 4})

    def attempt(name: str, runtime: Runtime, *, stop: bool) -> None:
        shared = case.folder / "states" / name
        own = shared if several.writes else shared.with_name(f"{name}-{several.rank}")
        own.mkdir(parents=True, exist_ok=True)

        def progress(done: int, _total: int, _note: str) -> None:
            if stop and done == 3:
                raise StoppedError

        stage = Stage("sft", own, 3, progress, shared=None if own == shared else shared)
        arguments = {"model": case.given["sft"], "examples": case.given["examples"], "codec": case.codec}
        with suppress(StoppedError):
            train_sft(config, runtime=runtime, stage=stage, **arguments)

    torch.optim.AdamW = ADAM  # type: ignore[misc]
    try:
        for name, began, ended in (("whole", one, one), ("gathered", several, one), ("spread", one, several)):
            for runtime, stop in ((began, True), (ended, False)):
                if runtime.world_size > 1 or several.writes:
                    attempt(name, runtime, stop=stop)
                several.everyone(None)
    finally:
        torch.optim.AdamW = descend  # type: ignore[assignment, misc]
    if not several.writes:
        return None
    names = ("whole", "gathered", "spread")
    rows = [[row["loss"] for row in read_metrics(case.folder / "states" / name)] for name in names]
    assert [len(row) for row in rows] == [4, 4, 4]
    return rows


def half(case: Case) -> Any:
    """PPO in bfloat16: at its beginning the policy is the reference, whatever format its weights are stored in."""
    half = replace(case, runtime=replace(case.runtime, dtype=torch.bfloat16, offload=True))
    found = rollouts(half, "ppo", folder="half")
    before = found["rows"][0]["eval/kl"]
    return {"before": before if case.runtime.fsdp_size > 1 else 0.0, "steps": len(found["rows"])}


CASES: dict[str, Callable[[Case], Any]] = {
    "sft": sft,
    **{f"reward-{name}": (lambda case, name=name: reward(case, name)) for name in REWARDS},
    "dpo": lambda case: pairs(case, "dpo"),
    "figa": lambda case: pairs(case, "figa"),
    **{name: (lambda case, name=name: pairs(case, name)) for name in TAUGHT},
    "ppo": lambda case: rollouts(case, "ppo"),
    "grpo": lambda case: rollouts(case, "grpo"),
    "left-out": left_out,
    "ppo-left-out": lambda case: rollouts(case, "ppo", "ppo-left-out", skip_nonfinite=1, total_steps=4),
    "states": states,
    "half": half,
    "scoring": scoring,
    "sampling": sampling,
}
LORA = LoraConfig(r=4, alpha=8)
ADAPTED = (
    "sft",
    "reward-eq3",
    "reward-contrast",
    "reward-sequence",
    "dpo",
    "figa",
    "ppo",
    "grpo",
    "scoring",
    "sampling",
)
CASES |= {
    f"lora-{name}": (lambda case, run=CASES[name]: run(replace(case, lora=LORA)))  # type: ignore[misc]
    for name in ADAPTED
}


MODES: dict[str, dict[str, Any]] = {
    "whole": {},
    "fsdp": {"fsdp_size": 2, "offload": True},
    "tensor": {"tp_size": 2},
    "copies": {"fsdp_size": 2},  # on four processes, as on two machines
}
TENSOR = ("sft", "reward-eq4", "reward-sequence", "dpo", "ppo", "states", "scoring", "sampling")
"""What is tried under tensor parallelism, which takes no adapters."""


def main(folder: Path, words: list[str]) -> None:
    given = pickle.loads((folder / "given.pkl").read_bytes())
    torch.optim.AdamW = descend  # type: ignore[assignment, misc]
    runtime = make_runtime("cpu", "float32")
    for mode in [word for word in words if word in MODES]:
        name = f"{mode}-{runtime.world_size}"
        case = Case(given, replace(runtime, **MODES[mode]), folder / name)
        chosen = [word for word in words if word in CASES] or (TENSOR if mode == "tensor" else CASES)
        found = {key: CASES[key](case) for key in chosen}
        if runtime.writes:
            (folder / f"{name}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
