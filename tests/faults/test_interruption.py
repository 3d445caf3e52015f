"""Two processes on one folder, a full disk, and a change of the recipe that is interrupted."""

import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def sft(finished: Path, tiny: Path, out: Path, steps: int) -> tuple[str | Path, ...]:
    world = finished / "world"
    rest = ("--recipe", tiny, "--out", out, "--set", f"sft.max_steps={steps}", "--set", "compute.save_every=1")
    return ("sft", "--model", world / "model", "--data", world / "sft.jsonl", *rest)


def test_two_commands_on_one_folder(
    finished: Path, tmp_path: Path, tiny: Path, start: Callable[..., Any], refused: Callable[..., str]
) -> None:
    out = tmp_path / "sft"
    with start(*sft(finished, tiny, out, 100_000)) as first:
        metrics = tmp_path / "sft.partial" / "metrics.jsonl"
        while not metrics.is_file():
            assert first.poll() is None, first.stdout.read()
        said = refused(*sft(finished, tiny, out, 2))
        assert f"{out}: another process is at work on this stage" in said
        assert metrics.is_file()
        first.send_signal(signal.SIGKILL)
    assert "checkpoint" not in [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("limit", [20_000, 60_000, 100_000])
def test_a_full_disk(
    finished: Path,
    tmp_path: Path,
    tiny: Path,
    start: Callable[..., Any],
    redpencil: Any,
    contents: Callable[[Path], dict[str, bytes]],
    limit: int,
) -> None:
    out = tmp_path / "sft"
    assert redpencil(*sft(finished, tiny, out, 2)).code == 0
    before = contents(out)
    full = start(
        *sft(finished, tiny, out, 3), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    said = full.communicate(timeout=300)[0]
    assert full.returncode == 1, said
    assert "error: " in said
    assert "Traceback" not in said
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
