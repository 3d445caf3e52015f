"""Several processes on one stage: one is killed, or asked to stop, and the same command ends with the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from redpencil.runs import saved_states
from redpencil.stopping import RESUME
from redpencil.text import read_json

SMALL: dict[str, Any] = {
    "name": "small",
    "seeds": [3],
    "prompt_template": "<bos> {prompt} <answer>",
    "compute": {"device": "cpu", "save_every": 1},
    "world": {
        "sft_examples": 60,
        "train_prompts": 20,
        "validation_prompts": 4,
        "evaluation_prompts": 4,
        "comparisons": 10,
        "test_comparisons": 8,
        "reference_steps": 2,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "sft": {"max_steps": 12, "batch_size": 8, "learning_rate": 0.01, "max_length": 128},
    "align": {"max_length": 128},
    "reward": {"max_steps": 6, "batch_size": 8, "learning_rate": 0.001, "reference_samples": 8},
    "reward_models": {"token_edits": {"pairs": "edits", "reward": {"level": "token"}}},
    "arms": {"token": {"reward_model": "token_edits"}},
    "sampling": {"response_length": 16, "batch_size": 32},
    "ppo": {
        "total_steps": 4,
        "rollout_batch_size": 6,
        "batch_size": 3,
        "ppo_epochs": 1,
        "learning_rate": 0.001,
        "response_length": 16,
        "eval_steps": 1,
    },
}
"""A run of every kind of stage, in seconds; batches that two processes cannot halve."""
LONG = pytest.mark.long
PATIENCE = 1200.0


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that two processes did and nothing disturbed."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    with begin(folder / "small.yaml", folder / "run") as run:
        said = run.communicate(timeout=PATIENCE)[0]
    assert run.returncode == 0, said
    return folder / "run"


def begin(recipe: Path, out: Path, *more: str, torchrun: bool = False) -> "subprocess.Popen[str]":
    """Start a run by two processes, of which this one is not."""
    command = ["-m", "redpencil", "run", str(recipe), "--out", str(out), "--jobs", "1", *more]
    if torchrun:
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *command]
    else:
        command += ["--set", "compute.processes=2"]
    return subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=out.parent
    )


def ranks_of(process: "subprocess.Popen[str]") -> dict[int, int]:
    """The pid of each rank among the children of a process."""
    found = {}
    children = Path(f"/proc/{process.pid}/task").glob("*/children")
    for pid in {int(pid) for file in children for pid in file.read_text().split()}:
        variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        found.update({int(one.removeprefix("RANK=")): pid for one in variables if one.startswith("RANK=")})
    return found


def wait_for(process: "subprocess.Popen[str]", ready: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.005)


def outputs(run: Path) -> dict[str, str]:
    """The digest of every file that a stage wrote, but for metrics, which have times."""
    return {
        f"{path.parent.name}/{name}": digest["sha256"]
        for path in run.glob("*/manifest.json")
        for name, digest in read_json(path)["outputs"].items()
        if name != "metrics.jsonl" and path.parent.name != "evaluate"
    }


def without_stage(run: Path, out: Path, stage: str) -> Path:
    """A copy of a run in which a stage is still to be done."""
    shutil.copytree(run, out)
    shutil.rmtree(out / stage)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "rank"),
    [pytest.param("sft", 0, marks=LONG), pytest.param("reward-token_edits", 1, marks=LONG), ("ppo-token", 1)],
)
def test_a_rank_that_is_killed_in_a_training_ends_the_run_in_seconds_and_the_same_command_continues_it(
    of_two: Path, small: Path, tmp_path: Path, stage: str, rank: int
) -> None:
    out = without_stage(of_two, tmp_path / "run", stage)
    with begin(small, out) as run:
        wait_for(run, lambda: len(list((out / f"{stage}.partial" / "state").glob("step-[0-9]"))) == 2)
        os.kill(ranks_of(run)[rank], signal.SIGKILL)
        killed = time.monotonic()
        said = " ".join(run.communicate(timeout=PATIENCE)[0].split())
        assert time.monotonic() - killed < 60
    assert run.returncode == 1
    assert f"error: rank {rank} of 2 of the stage {stage} died (signal SIGKILL)" in said
    assert "the same command continues the run" in said
    assert "Traceback" not in said
    with begin(small, out) as run:
        said = run.communicate(timeout=PATIENCE)[0]
    assert run.returncode == 0, said
    assert outputs(out) == outputs(of_two)
    assert len(outputs(out)) > 30


@pytest.mark.slow
def test_an_error_under_torchrun_is_told_once(small: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with begin(small, tmp_path / "run", torchrun=True) as run:
        said = run.communicate(timeout=PATIENCE)[0]
    assert run.returncode == 1
    assert said.count("the output folder exists and is not a run of redpencil") == 1
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


@pytest.mark.slow
@pytest.mark.parametrize("torchrun", [pytest.param(False, marks=LONG), True])
def test_sigterm_saves_a_training_at_its_next_step_and_the_same_command_continues_it(
    of_two: Path, tmp_path: Path, torchrun: bool
) -> None:
    """Without `save_every`, so that the only state is the one that SIGTERM has saved.

    Under torchrun it is the whole run, which gives what processes of our own give, and rank 0 alone speaks.
    """
    recipe = tmp_path / "small.yaml"
    recipe.write_text(yaml.safe_dump(SMALL | {"compute": {"device": "cpu"}}))
    out = tmp_path / "run" if torchrun else without_stage(of_two, tmp_path / "run", "sft")
    metrics = out / "sft.partial" / "metrics.jsonl"
    with begin(recipe, out, torchrun=torchrun) as run:
        wait_for(run, lambda: metrics.is_file() and metrics.read_bytes().count(b"\n") >= 2)
        run.terminate()
        said = run.communicate(timeout=PATIENCE)[0]
    assert run.returncode == (RESUME if not torchrun else 1), said
    assert said.count("sft: started") == 1
    assert "sft has stopped after step" in " ".join(said.split())
    if not torchrun:
        assert said.splitlines()[-1].endswith("the same command continues (exit code 75)")
    assert len(list((out / "sft.partial" / "state").iterdir())) == 1
    with begin(recipe, out, torchrun=torchrun) as run:
        said = run.communicate(timeout=PATIENCE)[0]
    assert run.returncode == 0, said
    assert outputs(out) == outputs(of_two)
    assert said.count(" sft: started") == said.count("report:") == 1
    if torchrun:
        assert said.count("ppo-token: done") == 1
    assert not [path.name for path in out.iterdir() if path.suffix == ".partial" or path.name == ".shared"]


def sft_arguments(run: Path, out: Path, *overrides: str) -> list[str]:
    command = ["sft", "--model", str(run / "world" / "model"), "--data", str(run / "world" / "sft.jsonl")]
    command += ["--recipe", str(run.parent / "small.yaml"), "--out", str(out)]
    return [*command, *(word for override in overrides for word in ("--set", override))]


def sft_of(run: Path, out: Path, processes: int, *overrides: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "redpencil", *sft_arguments(run, out, f"compute.processes={processes}", *overrides)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=out.parent,
    )


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=LONG)])
def test_sigterm_to_a_command_that_trains(of_two: Path, tmp_path: Path, redpencil: Any, processes: int) -> None:
    # One process does a step in milliseconds, so it gets more of them than two that are compared with the run.
    expected, options = of_two / "sft", ["compute.save_every=null"]
    if processes == 1:
        expected = tmp_path / "whole"
        options.append("sft.max_steps=400")
        assert redpencil(*sft_arguments(of_two, expected, *options)).code == 0
    metrics = tmp_path / "sft.partial" / "metrics.jsonl"
    with sft_of(of_two, tmp_path / "sft", processes, *options) as command:
        wait_for(command, lambda: metrics.is_file() and metrics.read_bytes().count(b"\n") >= 2)
        command.terminate()
        said = command.communicate(timeout=PATIENCE)[0]
    assert command.returncode == RESUME, said
    assert said.splitlines()[-1].startswith("sft has stopped after step")
    assert said.count("has stopped") == 1
    with sft_of(of_two, tmp_path / "sft", processes, *options) as command:
        said = command.communicate(timeout=PATIENCE)[0]
    assert command.returncode == 0, said
    assert said.count("checkpoint: ") == 1
    weights = [folder / "checkpoint" / "model.safetensors" for folder in (tmp_path / "sft", expected)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("states", [pytest.param(0.3, marks=LONG), 1.5, pytest.param(2.7, marks=LONG)])
def test_a_disk_that_is_full_while_two_ranks_save_a_state(
    of_two: Path, small_disk: Callable[[int], Path], states: float
) -> None:
    """Room for so many states. Two are kept, so there must be room for a third while it is written."""
    disk = small_disk(8192)
    with sft_of(of_two, disk / "sft", 2, "sft.max_steps=400") as command:
        wait_for(command, lambda: saved_states(disk / "sft.partial"))
        command.terminate()
        assert command.wait(timeout=PATIENCE) == RESUME
    size = sum(path.stat().st_blocks * 512 for path in saved_states(disk / "sft.partial")[-1].rglob("*"))
    shutil.rmtree(disk / "sft.partial")
    (disk / "filler").write_bytes(bytes(int(shutil.disk_usage(disk).free - states * size)))
    with sft_of(of_two, disk / "sft", 2) as command:
        said = " ".join(command.communicate(timeout=PATIENCE)[0].split())
    assert command.returncode == 1, said
    assert said.count("error: ") == 1
    assert "hint: make room on the disk" in said
    assert "Traceback" not in said
    assert len(saved_states(disk / "sft.partial")) == int(states)
    (disk / "filler").unlink()
    with sft_of(of_two, disk / "sft", 2) as command:
        said = command.communicate(timeout=PATIENCE)[0]
    assert command.returncode == 0, said
    whole = of_two / "sft" / "checkpoint" / "model.safetensors"
    assert (disk / "sft" / "checkpoint" / "model.safetensors").read_bytes() == whole.read_bytes()


@pytest.mark.slow
@LONG
def test_ranks_that_are_killed_at_any_moment_lose_nothing(
    of_two: Path, small: Path, tmp_path: Path, rng: Any, rounds: int
) -> None:
    out, kills = tmp_path / "run", 0
    while kills < max(2, rounds * 5 // 2):
        with begin(small, out) as run:
            wait_for(run, lambda run=run: len(ranks_of(run)) == 2)
            try:
                run.wait(rng.uniform(0, 12))
                assert run.returncode == 0, run.communicate()[0]
                shutil.rmtree(out)
                continue
            except subprocess.TimeoutExpired:
                victims = ranks_of(run)
                if victims:  # the run may just have written its report
                    os.kill(victims[rng.randrange(2)], signal.SIGKILL)
                    kills += 1
            said = run.communicate(timeout=PATIENCE)[0]
        assert run.returncode == 0 or "died (signal SIGKILL)" in " ".join(said.split()), said
        assert "Traceback" not in said
    with begin(small, out) as run:
        said = run.communicate(timeout=PATIENCE)[0]
    assert run.returncode == 0, said
    assert outputs(out) == outputs(of_two)


@pytest.fixture
def two_hosts() -> Iterator[list[str]]:
    """Two network namespaces that reach each other at 10.77.0.1 and 10.77.0.2, as two machines with one disk do."""
    names = [f"rp{os.getpid()}{end}" for end in "ab"]
    setup = [
        *(f"ip netns add {name}" for name in names),
        f"ip link add {names[0]} netns {names[0]} type veth peer name {names[1]} netns {names[1]}",
        *(
            f"ip -n {name} addr add 10.77.0.{number}/24 dev {name} && ip -n {name} link set {name} up && "
            f"ip -n {name} link set lo up"
            for number, name in enumerate(names, start=1)
        ),
    ]
    try:
        for line in setup:
            done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"this machine does not let a test make network namespaces: {done.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@pytest.mark.slow
@LONG
def test_two_machines_with_one_disk_give_what_two_processes_give(
    of_two: Path, two_hosts: list[str], small: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    hosts = []
    for number, name in enumerate(two_hosts):
        command = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run"]
        command += ["--nnodes", "2", "--node_rank", str(number), "--nproc_per_node", "1"]
        command += ["--master_addr", "10.77.0.1", "--master_port", "29511"]
        command += ["-m", "redpencil", "run", str(small), "--out", str(out)]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": name}
        hosts.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=tmp_path
            )
        )
    said = [host.communicate(timeout=PATIENCE)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], said
    assert outputs(out) == outputs(of_two)
    assert [text.count("reference: started") for text in said] == [1, 0]
