"""The command itself: help, exit codes, and no traceback for a user's mistake."""

import errno
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

import redpencil as package
from redpencil.cli.main import COMMANDS, QUIET, Group, LazyGroup, app, load_command
from redpencil.errors import RedpencilError
from redpencil.files import partial_of
from redpencil.pipeline.group import Group as Processes


def test_help_lists_every_command(redpencil: Callable[..., Any]) -> None:
    text = redpencil("--help").out
    assert all(f" {name} " in text for name in COMMANDS)


def test_the_help_page_says_of_each_command_what_it_says_itself() -> None:
    for name, entry in COMMANDS.items():
        command = load_command(name)
        first = (command.short_help or command.help).split("\n\n")[0]
        assert entry.help == " ".join(first.split()), name


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in COMMANDS if name != "evaluate"),
        *(f"evaluate {name}" for name in load_command("evaluate").commands),
    ],
)
def test_every_command_explains_itself_with_examples(redpencil: Callable[..., Any], name: str) -> None:
    for flag in ("-h", "--help"):
        outcome = redpencil(*name.split(), flag)
        assert outcome.code == 0
        assert f"$ redpencil {name}" in outcome.out
        assert not re.search("<bool>|<list", outcome.out)


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("redpencil an", {"annotate"}),
        ("redpencil evaluate win", {"win-rate"}),
        ("redpencil export --form", {"--format"}),
    ],
)
def test_shells_complete_commands_and_options(
    real_command: Callable[..., list[str]], words: str, completions: set[str]
) -> None:
    environment = {**os.environ, "_REDPENCIL_COMPLETE": "complete_bash", "COMP_WORDS": words,
                   "COMP_CWORD": str(words.count(" "))}  # fmt: skip
    done = subprocess.run(real_command(), env=environment, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == completions, done


def test_the_version(redpencil: Callable[..., Any]) -> None:
    assert redpencil("--version").out == f"redpencil {package.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["run"], ["align", "--tokenizer", "t"], ["align", "--tokenizer", "t", "--edits", "e"],
     ["align", "--tokenizer", "t", "--comparisons", "c", "--show", "1"], ["run", "r.yaml", "--jobs", "0"],
     ["score", "--model", "m"], ["score", "--model", "m", "--prompt", "p"],
     ["score", "--model", "m", "--prompt", "p", "--responses", "r"],
     ["ppo", "--policy", "p", "--reward-model", "r", "--prompts", "p", "--validation-prompts", "v", "--out", "o",
      "--judge", "world"]],
)  # fmt: skip
def test_wrong_usage_exits_with_2(redpencil: Callable[..., Any], arguments: list[str]) -> None:
    outcome = redpencil(*arguments)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err


def failing(error: BaseException, command: str = "fail") -> Any:
    broken = typer.Typer(cls=Group)

    @broken.callback()
    def nothing() -> None: ...

    @broken.command(command)
    def fail() -> None:
        raise error

    return CliRunner().invoke(broken, [command])


def test_a_users_mistake_is_one_message_on_stderr() -> None:
    mistake = RedpencilError("no such file", file="a.jsonl", line=3, field="prompt", hint="check [the] path")
    result = failing(mistake)
    assert result.exit_code == 1
    assert result.stderr == "error: a.jsonl:3 [prompt]: no such file\n  hint: check [the] path\n"
    assert result.stdout == ""


def test_a_full_disk_is_not_a_bug_of_ours() -> None:
    result = failing(OSError(errno.ENOSPC, "No space left on device", "/data/model"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: /data/model: No space left on device\n  hint: make room on the disk")


@pytest.mark.slow
@pytest.mark.parametrize("most", [2_000, 50_000, 200_000])
def test_a_disk_that_fills_up_during_a_run_is_told_without_a_traceback(
    tmp_path: Path, tiny: Path, mistake: Callable[..., str], most: int
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        said = mistake("run", tiny, "--out", tmp_path / "run", "--jobs", "1", "--set", "compute.save_every=1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert "hint: make room on the disk" in said


@pytest.mark.parametrize("number", ["nan", "inf", "1e38", "-inf"])
def test_a_number_that_is_none_is_wrong_usage(redpencil: Callable[..., Any], number: str) -> None:
    outcome = redpencil("respond", "m", "--prompts", "p", "--out", "o", "--temperature", number)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err


def test_an_argument_that_is_not_utf_8_is_wrong_usage(redpencil: Callable[..., Any]) -> None:
    outcome = redpencil("annotate", "edits.db", "--invite", "a\udcff:editor", "--no-serve")
    assert (outcome.code, "is not UTF-8" in outcome.err) == (2, True)


def test_a_full_gpu_names_what_to_lower() -> None:
    result = failing(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the GPU's memory is full (CUDA out of memory)\n  hint: lower compute.mic")


@pytest.mark.parametrize("error", [KeyError("layers"), OSError(errno.ECONNRESET, "reset"), RuntimeError("shapes")])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    result = failing(error)
    assert result.exception is error
    assert result.exc_info is not None


def test_an_interrupt_says_that_finished_stages_are_kept() -> None:
    result = failing(KeyboardInterrupt(), "run")
    assert result.exit_code == 130
    assert "finished stages are kept" in result.stderr
    result = failing(KeyboardInterrupt(), "audit")  # which has none
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_a_full_memory_is_one_message() -> None:
    result = failing(MemoryError())
    assert (result.exit_code, result.stderr.startswith("error: the memory is full\n")) == (1, True)


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_ended_leaves_no_part_of_a_file(
    tmp_path: Path, real_command: Callable[..., list[str]], signal_: signal.Signals
) -> None:
    source, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b'{"prompt": "p"}\n' * 1_000_000)
    command = real_command("import", source, "--format", "columns", "--out", out)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        while not partial_of(out).exists():
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal_)
        _, said = run.communicate(timeout=30)
    assert (run.returncode, list(tmp_path.iterdir())) == (130, [source])
    assert "interrupted" in said
    assert "Traceback" not in said


def test_the_console_script_prints_a_plain_message(tmp_path: Path, real_command: Callable[..., list[str]]) -> None:
    done = subprocess.run(
        real_command("run", "nowhere.yaml"), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: nowhere.yaml: cannot read the recipe (No such file or directory)")
    assert "Traceback" not in done.stderr


def test_an_unknown_command_names_near_ones() -> None:
    result = CliRunner().invoke(app, ["rewrad"])
    assert result.exit_code == 2
    assert "Did you mean 'reward'?" in result.stderr


TAKEN_TOGETHER = {"run", "quickstart", "sft", "reward", "ppo", "grpo", "dpo", "figa", "best-of-n", "respond", "score"}
"""Commands that several processes may share."""


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_that_cannot_be_shared_are_refused_under_torchrun(
    name: str, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redpencil.cli.main.group", lambda: Processes(rank, 2))
    group = typer.main.get_command(app)
    assert isinstance(group, LazyGroup)
    if name in TAKEN_TOGETHER:
        assert group.resolve_command(typer.Context(group), [name, "--help"])[0] == name
        return
    with pytest.raises(RedpencilError, match=f"`redpencil {name}` is not for several processes") as caught:
        group.resolve_command(typer.Context(group), [name])
    assert "without torchrun" in str(caught.value.hint)


@pytest.mark.slow
def test_torchrun_of_a_command_that_cannot_be_shared_writes_nothing_and_says_it_once(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "prompt": "p", "response": "r"}\n')
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "redpencil", "edit"]
    command += ["--responses", "rows.jsonl", "--out", "edits.jsonl"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("error: `redpencil edit` is not for several processes") == 1
    assert "start it without torchrun" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.slow
def test_ctrl_c_ends_a_run_and_its_workers(tmp_path: Path, tiny: Path, start_run: Callable[..., Any]) -> None:
    run = start_run(tiny, "--jobs", "2", "--set", "sft.max_steps=100000")
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(timeout=60) == 130
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert "finished stages are kept" in said
    metrics = tmp_path / "run" / "sft.partial" / "metrics.jsonl"
    written = metrics.stat().st_size
    time.sleep(0.3)
    assert metrics.stat().st_size == written, "a worker has outlived the run"
    assert (tmp_path / "run" / "world" / "manifest.json").is_file()
    assert not (tmp_path / "run" / "sft").exists()


def commands() -> Iterator[tuple[str, Any]]:
    for name in COMMANDS:
        command = load_command(name)
        if hasattr(command, "commands"):
            yield from ((f"{name} {part}", inner) for part, inner in command.commands.items())
        else:
            yield name, command


def test_usage_lines_and_flags_are_plain(redpencil: Callable[..., Any]) -> None:
    every = dict(commands())
    assert {"import", "doctor", "evaluate win-rate"} <= every.keys()
    for name, command in every.items():
        assert not [flag for parameter in command.params for flag in parameter.secondary_opts], name
        context = command.make_context(command.name, [], resilient_parsing=True)
        usage = command.get_usage(context)
        assert "{" not in usage, usage
        assert not re.search(r"\.\.\..*\.\.\.", usage.replace(command.name, "")), usage
    assert "redpencil import [OPTIONS] SOURCE" in redpencil("import", "--help").out
    assert "redpencil audit [OPTIONS] EDITS..." in redpencil("audit", "--help").out
    assert "--no-dry-run" not in redpencil("edit", "--help").out


def test_libraries_keep_their_retries_to_themselves() -> None:
    pytest.importorskip("datasets", reason="the extra `data` is not installed")
    script = (
        "import datasets, huggingface_hub, logging\n"
        "print(*(logging.getLogger(name).isEnabledFor(logging.WARNING) for name in "
        "('huggingface_hub.utils._http', 'datasets.load')))"
    )
    environment = {**os.environ, **QUIET}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
