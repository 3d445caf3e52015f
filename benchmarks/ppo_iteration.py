# ruff: noqa: E402
"""Iterations of PPO against those of TRL's experimental PPOTrainer, on one thread in float32.

    python benchmarks/ppo_iteration.py
    python benchmarks/ppo_iteration.py --pairs 9

Policy, reference, value and reward model are Llamas of width 512 with 8 layers. An iteration answers 32 prompts, scores
the responses by all models, and takes 4 optimiser steps (2 epochs in batches of 16). Prompts and responses have 8 to 64
tokens; the policy is that of `sampling.py`, so that both sample the same responses to the same prompts. The learning
rate is too small to change that. TRL 1.12, the last with PPO, is installed into a folder of its own beside this script.
Results go into `benchmarks/results/ppo_mixed.json`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

TRL: Final = "trl==1.12.0"
PEER: Final = Path(__file__).parent / ".peers" / TRL
if not PEER.is_dir():
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(PEER), TRL]
    subprocess.run(command, check=True)
sys.path.insert(0, str(PEER))

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaForSequenceClassification,
    PrinterCallback,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig as TRLConfig
from trl.experimental.ppo import PPOTrainer

from interleaved import summary, write
from redpencil.config.methods import PPOConfig
from redpencil.models.codec import load_codec
from redpencil.models.runtime import Runtime
from redpencil.records import Prompt
from redpencil.training.ppo import compute_advantages, ppo_update
from redpencil.training.rollout import load_actors, optimization_for, sample_rollouts
from sampling import LONGEST, config_of, make_policy, make_prompts, save_tokenizer

ROLLOUTS: Final = 32
EPOCHS: Final = 2
STEPS: Final = 2
RATE: Final = 1e-9


class Ours:
    """Iterations of redpencil's PPO."""

    def __init__(self, policy: Path, reward: Path, prompts: Sequence[list[int]]) -> None:
        self.config = PPOConfig(
            reward="sequence",
            rollout_batch_size=ROLLOUTS,
            batch_size=ROLLOUTS // STEPS,
            ppo_epochs=EPOCHS,
            response_length=LONGEST,
            learning_rate=RATE,
            total_steps=1000,
            value_init="policy",
        )
        runtime = Runtime(torch.device("cpu"), torch.float32)
        self.actors = load_actors(self.config, policy, None, reward, runtime, load_codec(policy))
        assert self.actors.value is not None
        self.optimizations = {
            "policy": optimization_for(self.actors.policy, RATE, self.config),
            "value": optimization_for(self.actors.value, RATE, self.config),
        }
        self.prompts, self.number = prompts, 0
        self.asked = [Prompt(str(i), "") for i in range(len(prompts))]

    def __call__(self) -> float:
        """Do an iteration; returns processor seconds."""
        self.number += 1
        start = time.process_time()
        sampled = sample_rollouts(self.actors, self.prompts, self.asked, self.config, self.number)
        sample = time.process_time()
        rollouts, _ = compute_advantages(self.actors, sampled, self.config, 0.05)
        score = time.process_time()
        ppo_update(self.actors, rollouts, self.config, self.optimizations, self.number)
        end = time.process_time()
        if sorted(map(len, (each.ids for each in sampled.samples))) != sorted(prompt[-1] for prompt in self.prompts):
            raise SystemExit("the policy does not count down")
        print(f"  ours: sample {sample - start:.1f}, score {score - sample:.1f}, update {end - score:.1f}", flush=True)
        return end - start


class Theirs:
    """Iterations of TRL's trainer, which goes on by itself: each call is one, in the middle of its loop."""

    def __init__(self, policy: Path, reward: Path, prompts: Sequence[list[int]], scratch: Path, count: int) -> None:
        tokenizer = AutoTokenizer.from_pretrained(policy, padding_side="left")
        options = TRLConfig(
            output_dir=str(scratch / "trl"),
            per_device_train_batch_size=ROLLOUTS,
            gradient_accumulation_steps=1,
            num_mini_batches=STEPS,
            num_ppo_epochs=EPOCHS,
            total_episodes=ROLLOUTS * count,
            local_rollout_forward_batch_size=ROLLOUTS,
            response_length=LONGEST,
            stop_token="eos",
            temperature=1.0,
            learning_rate=RATE,
            num_sample_generations=0,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            gradient_checkpointing=False,
            disable_tqdm=True,
        )
        self.trainer = PPOTrainer(
            args=options,
            processing_class=tokenizer,
            model=AutoModelForCausalLM.from_pretrained(policy),
            ref_model=AutoModelForCausalLM.from_pretrained(policy),
            reward_model=AutoModelForSequenceClassification.from_pretrained(reward),
            value_model=AutoModelForSequenceClassification.from_pretrained(reward),
            train_dataset=Dataset.from_dict({"input_ids": list(prompts)}),
            callbacks=[],
        )
        self.trainer.remove_callback(PrinterCallback)

    def run(self, between: "Between") -> None:
        """Train, and let others have their turn between the iterations."""
        self.trainer.add_callback(between)
        self.trainer.train()


class Between(TrainerCallback):
    """Gets the seconds of TRL's iterations, and does ours between them."""

    def __init__(self, ours: Ours) -> None:
        self.ours, self.pairs, self.start = ours, [], time.process_time()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.start = time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop the clock for our iteration."""
        theirs = time.process_time() - self.start
        self.pairs.append((self.ours(), theirs))
        print(f"  pair {len(self.pairs)}: {self.pairs[-1][0]:.1f} s, TRL {theirs:.1f} s", flush=True)
        self.start = time.process_time()


def main() -> None:
    """Compare, after a first iteration of each that does not count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder, prompts = Path(name), make_prompts(ROLLOUTS)
        policy, reward = folder / "policy", folder / "reward"
        make_policy(policy)
        torch.manual_seed(1)
        LlamaForSequenceClassification(config_of(num_labels=1)).save_pretrained(reward)
        save_tokenizer(reward)
        between = Between(Ours(policy, reward, prompts))
        Theirs(policy, reward, prompts, folder, args.pairs + 1).run(between)
    results = summary(between.pairs[1:])
    print(results)
    print(write("ppo_mixed", results, "torch", "transformers"))


if __name__ == "__main__":
    main()
