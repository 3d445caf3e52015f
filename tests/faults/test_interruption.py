"""Two processes on one folder, a full disk, kills, and a change of the recipe that is interrupted."""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from redpencil.runs import read_metrics, saved_states
from redpencil.stopping import RESUME
from redpencil.text import read_json
from redpencil.training.state import TrainState

LONG = pytest.mark.long


def sft(finished: Path, tiny: Path, out: Path, steps: int) -> tuple[str | Path, ...]:
    world = finished / "world"
    rest = ("--recipe", tiny, "--out", out, "--set", f"sft.max_steps={steps}", "--set", "compute.save_every=1")
    return ("sft", "--model", world / "model", "--data", world / "sft.jsonl", *rest)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file that is written here grow beyond so many bytes, as on a disk that is full."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.parametrize("limit", [20_000, 60_000, 100_000])
def test_a_full_disk(
    finished: Path,
    tmp_path: Path,
    tiny: Path,
    redpencil: Any,
    refused: Callable[..., str],
    contents: Callable[[Path], dict[str, bytes]],
    limit: int,
) -> None:
    out = tmp_path / "sft"
    assert redpencil(*sft(finished, tiny, out, 2)).code == 0
    before = contents(out)
    with files_of_at_most(limit):
        refused(*sft(finished, tiny, out, 3))
    assert contents(out) == before
    assert redpencil(*sft(finished, tiny, out, 3)).code == 0


def test_a_change_that_is_interrupted_leaves_no_page_of_two_runs(
    copied: Path, tiny: Path, redpencil: Any, refused: Callable[..., str], recipe: Callable[..., Any]
) -> None:
    from redpencil.pipeline.run import run_recipe

    page = (copied / "report.html").read_bytes()

    def stop(event: Any) -> None:
        if event.stage == "ppo-token" and event.happening == "done":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe("ppo.kl_coef=1"), copied, jobs=1, listener=stop)
    said = refused("report", copied)
    assert "its results are older than its stages: ppo-token changed" in said
    assert (copied / "report.html").read_bytes() == page
    changed = ("run", tiny, "--out", copied, "--jobs", "1", "--set", "ppo.kl_coef=1")
    assert redpencil(*changed).code == 0
    assert redpencil("report", copied).code == 0


def test_a_recipe_that_changed_before_any_stage_did_is_said_on_the_page(
    copied: Path, redpencil: Any, recipe: Callable[..., Any]
) -> None:
    from redpencil.pipeline.run import run_recipe

    def stop(event: Any) -> None:
        if event.happening == "started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe("ppo.kl_coef=1"), copied, jobs=1, listener=stop)
    assert redpencil("report", copied).code == 0
    assert "recipe.yaml has changed since" in (copied / "report.html").read_text()


def test_links_and_devices_are_not_replaced(finished: Path, tmp_path: Path, tiny: Path, redpencil: Any) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "rows.jsonl").symlink_to("store/rows.jsonl")
    (tmp_path / "stage").symlink_to("store/stage")
    few = tmp_path / "few.jsonl"
    lines = (finished / "world" / "prompts.jsonl").read_text().splitlines(keepends=True)
    few.write_text("".join(lines[:2]))
    policy = finished / "sft" / "checkpoint"
    respond = ("respond", "--policy", policy, "--prompts", few, "--recipe", tiny, "--out")
    assert redpencil(*respond, tmp_path / "rows.jsonl").code == 0
    assert redpencil(*respond, "/dev/null").code == 0
    assert redpencil(*sft(finished, tiny, tmp_path / "stage", 1)).code == 0
    assert (tmp_path / "rows.jsonl").is_symlink()
    assert (tmp_path / "stage").is_symlink()
    assert len((tmp_path / "store" / "rows.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "store" / "stage" / "checkpoint" / "model.safetensors").is_file()
    assert Path("/dev/null").is_char_device()
    shutil.rmtree(tmp_path / "store")


def room(disk: Path) -> None:
    """Take away the file that fills the disk."""
    (disk / "filler").unlink()


@pytest.mark.parametrize("free", [4, pytest.param(40, marks=LONG), 80, pytest.param(120, marks=LONG), 200, 320])
def test_a_disk_that_is_really_full(
    finished: Path,
    small_disk: Callable[[int], Path],
    tiny: Path,
    redpencil: Any,
    refused: Callable[..., str],
    contents: Callable[[Path], dict[str, bytes]],
    free: int,
) -> None:
    disk = small_disk(4096)
    assert redpencil(*sft(finished, tiny, disk / "sft", 2)).code == 0
    before = contents(disk / "sft")
    left = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(left - free * 1024))
    said = refused(*sft(finished, tiny, disk / "sft", 3))
    assert "disk" in said or "No space left" in said
    assert contents(disk / "sft") == before
    room(disk)
    assert redpencil(*sft(finished, tiny, disk / "sft", 3)).code == 0


@pytest.mark.parametrize("free", [pytest.param(8, marks=LONG), pytest.param(100, marks=LONG), 260])
def test_a_run_on_a_disk_that_is_full(
    finished: Path,
    small_disk: Callable[[int], Path],
    tiny: Path,
    redpencil: Any,
    refused: Callable[..., str],
    free: int,
) -> None:
    disk = small_disk(8192)
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - free * 1024))
    refused("run", tiny, "--out", disk / "run", "--jobs", "1")
    room(disk)
    assert redpencil("run", tiny, "--out", disk / "run", "--jobs", "1").code == 0
    assert same_numbers(disk / "run", finished)
    # What is not a stage: a page, rows, a device that is always full.
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))
    page = (disk / "run" / "report.html").read_bytes()
    refused("report", disk / "run")
    assert (disk / "run" / "report.html").read_bytes() == page
    policy, prompts = disk / "run" / "sft" / "checkpoint", disk / "run" / "world" / "prompts.jsonl"
    respond = ("respond", "--policy", policy, "--prompts", prompts, "--recipe", tiny, "--out")
    refused(*respond, disk / "rows.jsonl")
    refused(*respond, "/dev/full")
    assert sorted(path.name for path in disk.iterdir()) == ["filler", "run"]


def same_numbers(run: Path, other: Path) -> bool:
    """Whether all stages of two runs wrote the same, but for times."""
    digests = []
    for root in (run, other):
        manifests = {path.parent.name: read_json(path) for path in root.glob("*/manifest.json")}
        digests.append(
            {
                f"{stage}/{name}": digest["sha256"]
                for stage, manifest in manifests.items()
                for name, digest in manifest["outputs"].items()
                if name != "metrics.jsonl" and stage != "evaluate"
            }
        )
    return digests[0] == digests[1] and len(digests[0]) > 50


def test_a_run_that_is_killed_at_any_moment_ends_as_one_that_was_not(
    finished: Path, tmp_path: Path, tiny: Path, start: Callable[..., Any], redpencil: Any, rng: Any, rounds: int
) -> None:
    run = tmp_path / "run"
    command = ("run", tiny, "--out", run, "--jobs", "1", "--set", "compute.save_every=1")
    for _ in range(rounds):
        with start(*command) as process:
            begun = run / ".lock"
            while not begun.is_file():
                assert process.poll() is None, process.stdout.read()
                time.sleep(0.01)
            try:
                process.wait(rng.uniform(0, 2))
                assert process.returncode == 0
                shutil.rmtree(run)
            except subprocess.TimeoutExpired:
                process.kill()
    assert redpencil(*command).code == 0
    assert same_numbers(run, finished)
    assert not [path.name for path in run.iterdir() if path.name.endswith((".partial", ".replaced"))]


@pytest.mark.parametrize(
    "moment", ["before the old folder goes", "between the two names", "before the old one is deleted"]
)
def test_a_kill_while_a_stage_gets_its_name(
    finished: Path, tmp_path: Path, tiny: Path, redpencil: Any, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    out = tmp_path / "sft"
    assert redpencil(*sft(finished, tiny, out, 1)).code == 0
    calls = {"before the old folder goes": 0, "between the two names": 1, "before the old one is deleted": 2}[moment]
    renamed = 0
    replace = Path.replace

    def dying(self: Path, target: Path) -> Path:
        nonlocal renamed
        if "sft" in (self.name, Path(target).name):
            if renamed == calls:
                raise KeyboardInterrupt
            renamed += 1
        return replace(self, target)

    def kept(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        if calls == 2:
            patch.setattr("redpencil.runs.sync_names", kept)
        assert redpencil(*sft(finished, tiny, out, 2)).code == 130
    assert out.is_dir() == (calls != 1)
    assert redpencil(*sft(finished, tiny, out, 2)).code == 0
    assert [path.name for path in tmp_path.iterdir() if path.name != "sft"] == []
    assert len(read_metrics(out)) == 2


@pytest.mark.parametrize(
    "out", ["loop", "loop/x", "/", ".", "file", "file/x", "fifo", "/dev/null", "/proc/x", "a" * 300]
)
@pytest.mark.parametrize("name", ["sft", "run", "respond", "best-of-n"])
def test_places_that_nothing_can_be_written_to(
    finished: Path,
    tmp_path: Path,
    tiny: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    out: str,
) -> None:
    if name in ("respond", "best-of-n") and out in ("file", "fifo", "/dev/null"):
        pytest.skip("files may be written there")
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("file").write_text("mine")
    os.mkfifo("fifo")
    before = sorted(path.name for path in tmp_path.iterdir())
    policy, prompts = finished / "sft" / "checkpoint", finished / "world" / "prompts.jsonl"
    reward = finished / "reward-token_edits" / "checkpoint"
    command: tuple[str | Path, ...] = {
        "sft": sft(finished, tiny, Path(out), 1),
        "run": ("run", tiny, "--jobs", "1", "--out", out),
        "respond": ("respond", "--policy", policy, "--prompts", prompts, "--recipe", tiny, "--out", out),
        "best-of-n": (
            *("best-of-n", "--policy", policy, "--reward-model", reward, "--prompts", prompts, "--recipe", tiny),
            *("--out", out),
        ),
    }[name]
    refused(*command)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert Path("file").read_text() == "mine"


def test_commands_that_read_a_link_in_a_circle(finished: Path, tmp_path: Path, tiny: Path, refused: Any) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    policy, rest = finished / "sft" / "checkpoint", ("--recipe", tiny, "--out", tmp_path / "out")
    for command in (
        ("sft", "--model", policy, "--data", loop, *rest),
        ("sft", "--model", loop, "--data", finished / "world" / "sft.jsonl", *rest),
        ("dpo", "--policy", policy, "--pairs", loop, *rest),
        ("respond", "--policy", policy, "--prompts", loop, *rest),
        ("report", loop),
        ("run", loop),
    ):
        refused(*command)
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


@pytest.mark.parametrize(
    "name", ["ppo", *(pytest.param(name, marks=LONG) for name in ("sft", "reward", "dpo", "figa", "grpo"))]
)
def test_two_trainers_on_one_folder(
    finished: Path, tmp_path: Path, tiny: Path, start: Callable[..., Any], refused: Callable[..., str], name: str
) -> None:
    policy, prompts = finished / "sft" / "checkpoint", finished / "world" / "prompts.jsonl"
    on_pairs = ("--policy", policy, "--pairs", finished / "align" / "edits_train.jsonl")
    reward = finished / "reward-token_edits" / "checkpoint"
    rewarded = ("--policy", policy, "--reward-model", reward, "--prompts", prompts, "--validation-prompts", prompts)
    inputs: dict[str, tuple[str | Path, ...]] = {
        "sft": ("--model", policy, "--data", finished / "world" / "sft.jsonl"),
        "reward": ("--model", policy, *on_pairs[2:], "--samples", finished / "samples" / "responses.jsonl"),
        "dpo": on_pairs,
        "figa": on_pairs,
        "ppo": rewarded,
        "grpo": (*rewarded, "--set", "grpo.response_length=40"),
    }
    steps = f"{name}.{'total_steps' if name in ('ppo', 'grpo') else 'max_steps'}=100000"
    command = (name, *inputs[name], "--recipe", tiny, "--set", steps, "--out", tmp_path / "out")
    metrics = tmp_path / "out.partial" / "metrics.jsonl"
    with start(*command) as first:
        while not metrics.is_file():
            assert first.poll() is None, first.stdout.read()
            time.sleep(0.005)
        for again in ((), ("--seed", "9")):
            assert f"{tmp_path / 'out'}: another process is at work on this stage" in refused(*command, *again)
        assert metrics.is_file()
        first.kill()
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]


@pytest.mark.parametrize("name", ["respond", "score", "dpo", "sft", "best-of-n"])
def test_nothing_reads_the_model_of_a_stage_that_is_not_finished(
    finished: Path, tmp_path: Path, tiny: Path, refused: Callable[..., str], redpencil: Any, name: str
) -> None:
    for stage in ("sft", "reward-token_edits"):
        partial = tmp_path / f"{stage}.partial"
        shutil.copytree(finished / stage / "checkpoint", partial / "checkpoint")
        (partial / ".fingerprint").write_text("unfinished")
    policy, reward = tmp_path / "sft.partial" / "checkpoint", tmp_path / "reward-token_edits.partial" / "checkpoint"
    prompts, rest = finished / "world" / "prompts.jsonl", ("--recipe", tiny, "--out", tmp_path / "out")
    pairs, examples = finished / "align" / "edits_train.jsonl", finished / "world" / "sft.jsonl"
    sound = finished / "sft" / "checkpoint"
    commands: dict[str, tuple[str | Path, ...]] = {
        "respond": ("respond", "--policy", policy, "--prompts", prompts, *rest),
        "score": ("score", "--model", reward, "--prompt", "a", "--response", "b"),
        "dpo": ("dpo", "--policy", policy, "--pairs", pairs, *rest),
        "sft": ("sft", "--model", policy, "--data", examples, *rest),
        "best-of-n": ("best-of-n", "--policy", sound, "--reward-model", reward, "--prompts", prompts, *rest),
    }
    assert "is not finished" in refused(*commands[name])
    assert not (tmp_path / "out").exists()
    copy = shutil.copytree(policy, tmp_path / "copy")
    assert redpencil("respond", "--policy", copy, "--prompts", prompts, *rest).code == 0


def killed_in_the_middle(process: Any, partial: Path, states: int) -> None:
    """Kill a training as soon as it has saved so many states, of which two are kept."""
    with process:
        while len(saved_states(partial)) < states:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.005)
        process.kill()


def set_times(root: Path, ahead: float) -> None:
    """As after the clock was wrong by so many seconds while the files were written."""
    for path in root.rglob("*"):
        at = path.stat().st_mtime + ahead
        os.utime(path, (at, at))


def truncated(partial: Path) -> None:
    for path in saved_states(partial)[-1].rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)


def zeroed(partial: Path) -> None:
    largest = max(saved_states(partial)[-1].rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    with largest.open("r+b") as file:
        file.seek(largest.stat().st_size // 3)
        file.write(bytes(largest.stat().st_size // 3))


def emptied(partial: Path) -> None:
    for path in saved_states(partial)[-1].rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


@pytest.fixture(scope="module")
def killed(
    finished: Path, tiny: Path, start: Callable[..., Any], redpencil: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a training that was killed, and of the same one that was not."""
    folder = tmp_path_factory.mktemp("killed")
    assert redpencil(*sft(finished, tiny, folder / "whole", 40)).code == 0
    killed_in_the_middle(start(*sft(finished, tiny, folder / "sft", 40)), folder / "sft.partial", 2)
    return folder


@pytest.mark.parametrize(
    "fault",
    [
        lambda partial: set_times(partial, 3e8),
        lambda partial: set_times(partial, -3e8),
        truncated,
        zeroed,
        emptied,
        lambda partial: (saved_states(partial)[-1] / "more").write_text("half of the next state"),
    ],
    ids=["clock ahead", "clock behind", "truncated", "zeros", "emptied", "added"],
)
def test_a_training_that_is_killed_goes_on_after_more_has_happened(
    finished: Path, killed: Path, tmp_path: Path, tiny: Path, redpencil: Any, fault: Callable[[Path], object]
) -> None:
    """In a copy of it, so that it has moved too."""
    out = tmp_path / "sft"
    shutil.copytree(killed / "sft.partial", tmp_path / "sft.partial")
    fault(tmp_path / "sft.partial")
    before = len(read_metrics(out.with_name("sft.partial"), torn=True))
    outcome = redpencil(*sft(finished, tiny, out, 40))
    assert outcome.code == 0, outcome.said
    assert before >= 2
    weights = [folder / "checkpoint" / "model.safetensors" for folder in (out, killed / "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert [row["step"] for row in read_metrics(out)] == list(range(1, 41))


def test_a_disk_that_is_full_while_a_state_is_saved_loses_no_state_before_it(
    finished: Path, tmp_path: Path, tiny: Path, redpencil: Any, refused: Callable[..., str]
) -> None:
    assert redpencil(*sft(finished, tiny, tmp_path / "whole", 6)).code == 0
    out = tmp_path / "sft"
    kept: list[str] = []
    save = TrainState.save

    def on_a_full_disk(self: TrainState) -> None:
        if self.step < 4:
            return save(self)
        kept.extend(path.name for path in saved_states(self.stage.folder))
        with files_of_at_most(20_000):
            return save(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainState, "save", on_a_full_disk)
        said = refused(*sft(finished, tiny, out, 6))
    assert "make room on the disk" in said
    assert kept == ["step-2", "step-3"]
    assert [path.name for path in saved_states(tmp_path / "sft.partial")] == kept
    assert redpencil(*sft(finished, tiny, out, 6)).code == 0
    both = [(folder / "checkpoint" / "model.safetensors").read_bytes() for folder in (out, tmp_path / "whole")]
    assert both[0] == both[1]


@pytest.mark.parametrize("name", ["respond", "best-of-n"])
def test_sampling_that_is_killed_goes_on_behind_what_was_sampled(
    finished: Path, tmp_path: Path, tiny: Path, start: Callable[..., Any], redpencil: Any, name: str
) -> None:
    policy, prompts = finished / "sft" / "checkpoint", tmp_path / "prompts.jsonl"
    lines = (finished / "world" / "prompts.jsonl").read_text().splitlines(keepends=True)
    prompts.write_text("".join(lines[:30]))
    reward = ("--reward-model", finished / "reward-token_edits" / "checkpoint", "--set", "best_of_n.n=2")
    rest = ("--recipe", tiny, "--set", "sampling.batch_size=1", "--out")
    command = (name, "--policy", policy, "--prompts", prompts, *(reward if name == "best-of-n" else ()), *rest)
    assert redpencil(*command, tmp_path / "whole.jsonl").code == 0
    work = tmp_path / ".rows.jsonl.redpencil-work"
    with start(*command, tmp_path / "rows.jsonl") as process:
        while not list(work.glob("*.jsonl")):
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.002)
        process.kill()
    [kept] = work.glob("*.jsonl")
    assert not (tmp_path / "rows.jsonl").exists()
    first = kept.read_bytes().rpartition(b"\n")[0]
    assert redpencil(*command, tmp_path / "rows.jsonl").code == 0
    assert first
    assert (tmp_path / "rows.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not work.exists()


def test_a_head_on_hidden_states_that_is_killed_uses_those_that_were_computed_and_trains_anew(
    finished: Path, tmp_path: Path, tiny: Path, start: Callable[..., Any], redpencil: Any, rounds: int
) -> None:
    """Killed among the hidden states, and in a training of a head; asked to stop in one."""
    head = ("--jobs", "1", "--set", "reward.frozen_layers=all", "--set", "reward.max_steps=800")
    whole, run = (Path(shutil.copytree(finished, tmp_path / name)) for name in ("whole", "run"))
    assert redpencil("run", tiny, "--out", whole, *head).code == 0

    def states() -> dict[Path, int]:
        return {path: path.stat().st_ino for path in run.glob(".features/*/*.npz")}

    def steps() -> int:
        return max((path.read_bytes().count(b"\n") for path in run.glob("reward-*.partial/metrics.jsonl")), default=0)

    kept: dict[Path, int] = {}
    kills = [(lambda: len(states()) > 4, signal.SIGKILL), (lambda: steps() > 4, signal.SIGKILL)][:rounds]
    for ready, number in [*kills, (lambda: steps() > 4, signal.SIGTERM)]:
        for partial in run.glob("reward-*.partial"):
            shutil.rmtree(partial)  # so that its metrics are of this attempt
        with start("run", tiny, "--out", run, *head) as process:
            while not ready():
                assert process.poll() is None, process.stdout.read()
                time.sleep(0.002)
            kept = kept or states()
            process.send_signal(number)
            said = process.communicate()[0]
        assert process.returncode == (-number if number == signal.SIGKILL else RESUME), said
    [state] = run.glob("reward-*.partial/state/step-*")
    assert sum(path.stat().st_size for path in state.rglob("*") if path.is_file()) < 30_000, "more than the head"
    outcome = redpencil("run", tiny, "--out", run, *head)
    assert outcome.code == 0, outcome.said
    assert len(kept) > 4
    assert kept.items() <= states().items()
    assert same_numbers(run, whole)
