"""Saved training states: a stage that was stopped anywhere ends as if it had not been."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from redpencil.config.methods import DPOConfig, PPOConfig, SamplingConfig
from redpencil.config.training import LoraConfig
from redpencil.errors import RedpencilError
from redpencil.models.codec import Codec
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import encode_prompts
from redpencil.records import Pair, Prompt
from redpencil.runs import Stage, is_time, open_stage, read_metrics
from redpencil.training.dpo import train_dpo
from redpencil.training.ppo import run_ppo
from redpencil.training.rollout import load_actors, sampling_of
from redpencil.training.saved_tensors import sizes_in
from redpencil.training.state import TrainState
from redpencil.training.validation import Validation

LORA = LoraConfig(r=4, alpha=8)
PROMPTS = [Prompt(str(i), f"topic{i % 8}") for i in range(16)]


class StoppedError(Exception):
    """Stands for whatever ends a process in the middle of a stage."""


def weights(folder: Path) -> bytes:
    return (folder / "checkpoint" / "model.safetensors").read_bytes()


def rows(folder: Path) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if not is_time(name)} for row in read_metrics(folder)]


def stop_at(stage: Stage, step: int | None) -> None:
    def progress(done: int, _total: int, _note: str) -> None:
        if done == step:
            raise StoppedError

    stage.progress = progress


Run = Callable[[Stage], None]


@pytest.fixture
def dpo(trained: Any, pairs: list[Pair], codec: Codec, runtime: Runtime) -> Run:
    """DPO for seven steps, saved every second one, judged by how many words a response has."""
    rates = [50.0, 40.0, 70.0, 60.0, 90.0, 20.0, 30.0, 10.0]
    config = DPOConfig(
        learning_rate=1e-3, batch_size=8, max_steps=7, eval_steps=1, save_every=2, lr_scheduler_type="linear"
    )

    def run(stage: Stage) -> None:
        def evaluate(_: object) -> dict[str, float]:
            step = max((row["step"] for row in read_metrics(stage.folder)), default=-1) + 1
            return {"win_rate": rates[int(step)]}

        prompts = encode_prompts(PROMPTS, codec, 8)
        validation = Validation(prompts, SamplingConfig(response_length=8), evaluate, 1)
        train_dpo(
            config,
            policy=trained.sft,
            pairs=pairs[:40],
            validation=validation,
            codec=codec,
            runtime=runtime,
            stage=stage,
        )

    return run


@pytest.fixture
def ppo(trained: Any, codec: Codec, runtime: Runtime) -> Run:
    """PPO for seven steps with an adaptive KL coefficient, saved every second one."""
    config = PPOConfig(
        response_length=8,
        rollout_batch_size=16,
        batch_size=8,
        learning_rate=3e-3,
        warmup_steps=2,
        total_steps=7,
        eval_steps=2,
        value_init="policy",
        kl_target=0.01,
        kl_horizon=64,
        save_every=2,
    )

    def run(stage: Stage) -> None:
        actors = load_actors(config, trained.sft, trained.token, None, runtime, codec)
        prompts = encode_prompts(PROMPTS, codec, 8)
        validation = Validation(prompts, sampling_of(config), lambda _: {}, config.eval_steps)
        run_ppo(config, actors=actors, prompts=prompts, validation=validation, stage=stage)

    return run


@pytest.fixture(params=["dpo", "ppo"])
def method(request: pytest.FixtureRequest) -> Run:
    """Each kind of loop."""
    run: Run = request.getfixturevalue(request.param)
    return run


def attempt(folder: Path, run: Run, stop: int | None = None) -> None:
    """Run the method as a stage of `folder`; `stop` is the step at whose end it is stopped."""
    with open_stage(folder, "method", seed=3, config={}, inputs={}) as stage:
        assert stage is not None
        stop_at(stage, stop)
        run(stage)


@pytest.fixture
def whole(tmp_path: Path, method: Run) -> Iterator[Path]:
    """The folder of a run that was not stopped."""
    attempt(tmp_path / "whole", method)
    return tmp_path / "whole"


@pytest.mark.parametrize("stops", [[5], [2], [3, 6], [7], [1]])
def test_a_stopped_training_ends_as_one_that_was_not(
    tmp_path: Path, method: Run, whole: Path, stops: list[int]
) -> None:
    folder = tmp_path / "stopped"
    for stop in stops:
        with pytest.raises(StoppedError):
            attempt(folder, method, stop)
        assert not folder.exists()
    attempt(folder, method)
    assert weights(folder) == weights(whole)
    assert rows(folder) == rows(whole)
    notes = [json.loads((each / "manifest.json").read_text())["notes"] for each in (folder, whole)]
    assert notes[0] == notes[1]
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


def test_work_before_the_last_saved_state_is_not_done_again(tmp_path: Path, dpo: Run) -> None:
    steps: list[int] = []

    def watched(stage: Stage) -> None:
        inner = stage.progress

        def progress(done: int, total: int, note: str) -> None:
            steps.append(done)
            inner(done, total, note)

        stage.progress = progress
        dpo(stage)

    with pytest.raises(StoppedError):
        attempt(tmp_path / "stage", watched, 5)
    attempt(tmp_path / "stage", watched)
    assert steps == [1, 2, 3, 4, 5, 5, 6, 7]
    assert [row["step"] for row in rows(tmp_path / "stage")] == list(range(8))


def test_a_checkpoint_that_came_after_the_saved_state_does_not_outlive_it(
    tmp_path: Path, trained: Any, pairs: list[Pair], codec: Codec, runtime: Runtime
) -> None:
    """Another machine or micro-batch does not repeat a step to the bit: what was best then may not be best again."""
    config = DPOConfig(learning_rate=1e-3, batch_size=8, max_steps=7, eval_steps=1, save_every=2)
    prompts = encode_prompts(PROMPTS, codec, 8)

    def run(stage: Stage, rates: list[float]) -> None:
        def evaluate(_: object) -> dict[str, float]:
            return {"win_rate": rates[int(max((row["step"] for row in read_metrics(stage.folder)), default=-1)) + 1]}

        validation = Validation(prompts, SamplingConfig(response_length=8), evaluate, 1)
        train_dpo(config, policy=trained.sft, pairs=pairs[:40], validation=validation, codec=codec, runtime=runtime,
                  stage=stage)  # fmt: skip

    whole, stopped = [40.0, 50, 30, 30, 30, 30, 30, 30], [40.0, 50, 30, 30, 30, 90, 30, 30]
    attempt(tmp_path / "whole", lambda stage: run(stage, whole))
    with pytest.raises(StoppedError):
        attempt(tmp_path / "stage", lambda stage: run(stage, stopped), 5)
    attempt(tmp_path / "stage", lambda stage: run(stage, whole))
    assert weights(tmp_path / "stage") == weights(tmp_path / "whole")  # both are those of step 1


def test_two_states_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path, dpo: Run) -> None:
    attempt(tmp_path / "whole", dpo)
    with pytest.raises(StoppedError):
        attempt(tmp_path / "stage", dpo, 7)
    saved = tmp_path / "stage.partial" / "state"
    assert sorted(path.name for path in saved.iterdir()) == ["step-4", "step-6"]
    (saved / "step-6" / "tensors" / "__0_0.distcp").write_bytes(b"\0" * 100)
    attempt(tmp_path / "stage", dpo)
    assert weights(tmp_path / "stage") == weights(tmp_path / "whole")


def test_states_that_cannot_be_read_are_named(tmp_path: Path, dpo: Run) -> None:
    with pytest.raises(StoppedError):
        attempt(tmp_path / "stage", dpo, 3)
    for state in (tmp_path / "stage.partial" / "state").rglob("*.distcp"):
        state.write_bytes(b"x")
    with pytest.raises(RedpencilError, match="none of the saved training states can be read") as raised:
        attempt(tmp_path / "stage", dpo)
    assert str(raised.value.file).endswith("stage.partial")
    assert "delete this folder" in str(raised.value.hint)


@pytest.mark.parametrize("left", ["step-1.new", "step-2.new/tensors/__0_0.distcp"])
def test_a_state_that_was_never_completed_is_thrown_away(tmp_path: Path, dpo: Run, left: str) -> None:
    attempt(tmp_path / "whole", dpo)
    with pytest.raises(StoppedError):
        attempt(tmp_path / "stage", dpo, 1)
    broken = tmp_path / "stage.partial" / "state" / left
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(b"x")
    attempt(tmp_path / "stage", dpo)
    assert rows(tmp_path / "stage") == rows(tmp_path / "whole")


def test_a_state_of_another_configuration_is_not_taken_up(tmp_path: Path, dpo: Run) -> None:
    with pytest.raises(StoppedError):
        attempt(tmp_path / "stage", dpo, 5)
    with open_stage(tmp_path / "stage", "method", seed=3, config={"changed": 1}, inputs={}) as stage:
        assert stage is not None
        assert list(stage.folder.iterdir()) == [stage.folder / ".fingerprint"]


def test_without_save_every_nothing_is_saved(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    state = TrainState(stage, {}, {}, None)
    assert not state.resume()
    assert list(state.steps(3)) == [1, 2, 3]
    assert not (stage.folder / "state").exists()


def test_the_step_and_plain_values_are_put_back(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    state = TrainState(stage, {}, {}, 1, {"kl_coef": 0.1, "best": {"step": 4}})
    steps = state.steps(3)
    next(steps), next(steps)
    best: dict[str, Any] = {}
    other = TrainState(stage, {}, {}, 1, {"kl_coef": 0.5, "best": best})
    assert other.resume()
    assert (other.step, other.extra["kl_coef"]) == (1, 0.1)
    assert best == {"step": 4}  # the mapping that was handed in, so that whoever holds it sees what was saved


def test_training_draws_nothing_from_the_global_generator(tmp_path: Path, method: Run) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    attempt(tmp_path / "one", method)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    attempt(tmp_path / "other", method)
    assert weights(tmp_path / "one") == weights(tmp_path / "other")


KILLED = """
import sys
from pathlib import Path
from redpencil.config.training import SFTConfig
from redpencil.models.codec import load_codec
from redpencil.models.runtime import make_runtime
from redpencil.records import Example
from redpencil.runs import open_stage
from redpencil.training.sft import train_sft

model, out = map(Path, sys.argv[1:])
examples = [Example(str(i), f"topic{i % 8}", "sun sea mud sky") for i in range(64)]
config = SFTConfig(batch_size=8, max_steps=40, save_every=1, learning_rate=1e-2)
def progress(done, total, note):
    print(done, flush=True)
with open_stage(out, "sft", seed=1, config={}, inputs={}, progress=progress) as stage:
    train_sft(config, model=model, examples=examples, codec=load_codec(model, "<s> {prompt}"),
              runtime=make_runtime("cpu"), stage=stage)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_loses_at_most_a_step(base: Path, tmp_path: Path) -> None:
    def start(out: Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", KILLED, str(base), str(out)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def finish(out: Path) -> list[int]:
        process = start(out)
        text, _ = process.communicate(timeout=300)
        assert process.returncode == 0
        return [int(line) for line in text.split()]

    assert finish(tmp_path / "whole") == list(range(1, 41))
    reached = 0
    for kill_after in (7, 23):
        with start(tmp_path / "killed") as process:
            assert process.stdout is not None
            for line in process.stdout:
                reached = int(line)
                if reached >= kill_after:
                    break
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    steps = finish(tmp_path / "killed")
    assert steps[-1] == 40
    assert steps[0] > reached - 2  # the step under way at the kill, and the one whose state was being written
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


@pytest.fixture
def lora_ppo(adapted: Any, codec: Codec, runtime: Runtime) -> Run:
    """PPO of adapters for five steps, saved every second one; all roles share one base."""
    config = PPOConfig(
        response_length=8,
        rollout_batch_size=8,
        batch_size=8,
        learning_rate=3e-3,
        total_steps=5,
        eval_steps=2,
        save_every=2,
        lora=LORA,
    )

    def run(stage: Stage) -> None:
        actors = load_actors(config, adapted.sft, adapted.token, None, runtime, codec, seed=1)
        prompts = encode_prompts(PROMPTS, codec, 8)
        validation = Validation(prompts, sampling_of(config), lambda _: {}, config.eval_steps)
        run_ppo(config, actors=actors, prompts=prompts, validation=validation, stage=stage)

    return run


def test_with_adapters_they_alone_are_saved_and_a_stopped_training_ends_alike(
    tmp_path: Path, lora_ppo: Run, trained: Any
) -> None:
    attempt(tmp_path / "whole", lora_ppo)
    with pytest.raises(StoppedError):
        attempt(tmp_path / "stopped", lora_ppo, 3)
    state = tmp_path / "stopped.partial" / "state" / "step-2"
    numbers = sum(size.numel() for name, size in sizes_in(state / "tensors").items() if not name.endswith(".step"))
    # Two adapters of 4,352 numbers and a head of 33, each with two moments of Adam, and no base of 21,792.
    assert numbers == 3 * (2 * 4352 + 33)
    assert (trained.sft / "model.safetensors").stat().st_size > 21_792 * 4
    attempt(tmp_path / "stopped", lora_ppo)
    ends = [
        (tmp_path / name / "checkpoint" / "adapter_model.safetensors").read_bytes() for name in ("whole", "stopped")
    ]
    assert ends[0] == ends[1]
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")
