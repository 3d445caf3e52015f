"""Stage folders: complete or absent, run again only when something changed, never in place of somebody's files."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import redpencil
from redpencil import runs
from redpencil.digests import check_outputs, check_written, hash_input
from redpencil.errors import DivergedError, RedpencilError
from redpencil.runs import (
    check_layout,
    derive_seed,
    environment,
    fingerprint,
    hash_inputs,
    is_complete,
    open_stage,
    read_metrics,
    saved_states,
    scratch_stage,
    write_json,
    written_by,
)
from redpencil.text import read_json


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("one\n")
    return path


def attempt(
    folder: Path, data: Path, *, seed: int = 0, config: dict[str, Any] | None = None, text: str = "new"
) -> bool:
    """Run a small stage; whether it had to work."""
    with open_stage(
        folder, "toy", seed=seed, config={"rate": 0.1} if config is None else config, inputs={"data": data}
    ) as stage:
        if stage is None:
            return False
        (stage.folder / "out.txt").write_text(text)
        return True


def test_a_stage_leaves_its_folder_and_a_manifest_that_says_how_it_came_about(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "run" / "toy"
    with open_stage(folder, "toy", seed=3, config={"rate": 0.1}, inputs={"data": data}) as stage:
        assert stage is not None
        assert (stage.name, stage.seed) == ("toy", 3)
        assert not folder.exists()
        (stage.folder / "out.txt").write_text("new")
        stage.log(1, loss=0.5, kl=math.nan)
        stage.log(2, loss=0.25)
        stage.notes["skipped"] = 4
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "metrics.jsonl", "out.txt"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["toy"]
    manifest = read_json(folder / "manifest.json")
    assert manifest["stage"] == "toy"
    assert manifest["seed"] == 3
    assert manifest["config"] == {"rate": 0.1}
    # printf 'one\n' | sha256sum
    digest = "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806"
    assert manifest["inputs"] == {"data": {"path": str(data), "sha256": digest}}
    assert manifest["notes"] == {"skipped": 4}
    assert manifest["seconds"] >= 0
    assert manifest["versions"]["redpencil"] == redpencil.__version__
    assert manifest["versions"]["torch"]
    assert {"git_commit", "platform", "cpus", "command", "started"} <= manifest.keys()
    first, second = read_metrics(folder)
    assert (first["step"], first["loss"]) == (1, 0.5)
    assert math.isnan(first["kl"])
    assert (second["step"], second["loss"]) == (2, 0.25)
    assert 0 <= first["seconds"] <= second["seconds"]


def test_a_remark_is_warned_of_once_and_noted(tmp_path: Path, data: Path) -> None:
    warned: list[str] = []
    with open_stage(tmp_path / "toy", "toy", seed=0, config={}, inputs={"data": data}) as stage:
        assert stage is not None
        stage.notes["remarks"] = ["noted before"]
        stage.warn = warned.append
        for sentence in ("it has not learned", "few pairs", "it has not learned"):
            stage.remark(sentence)
    assert warned == ["it has not learned", "few pairs"]
    assert read_json(tmp_path / "toy" / "manifest.json")["notes"]["remarks"] == ["noted before", *warned]


def test_a_complete_stage_is_not_run_again(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "toy"
    assert attempt(folder, data, text="first")
    before = (folder / "manifest.json").read_bytes()
    assert not attempt(folder, data, text="second")
    assert (folder / "out.txt").read_text() == "first"
    assert (folder / "manifest.json").read_bytes() == before


def test_a_touched_but_equal_input_does_not_count_as_changed(tmp_path: Path, data: Path) -> None:
    assert attempt(tmp_path / "toy", data)
    moved = data.rename(tmp_path / "moved.jsonl")
    os.utime(moved, (1, 1))
    assert not attempt(tmp_path / "toy", moved)


@pytest.mark.parametrize("change", ["input", "seed", "config", "version"])
def test_a_change_runs_the_stage_again_and_replaces_all_of_it(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    folder = tmp_path / "toy"
    assert attempt(folder, data, text="first")
    (folder / "left over").write_text("")
    if change == "input":
        data.write_text("two\n")
    if change == "version":
        monkeypatch.setattr(redpencil, "__version__", "99")
    options: dict[str, Any] = {"seed": {"seed": 1}, "config": {"config": {"rate": 0.2}}}.get(change, {})
    assert attempt(folder, data, text="second", **options)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "out.txt"]
    assert (folder / "out.txt").read_text() == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "toy"]


KILLED = """
import os, signal, sys
from pathlib import Path
from redpencil import runs
folder, data, when = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def kill(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

if when == "deleting":  # the kill comes when the new folder is in place and the old one is half deleted
    def half(path, **_kwargs):
        if path.name == ".toy.replaced" and path.exists():
            (path / "manifest.json").unlink()
            kill()
    runs.shutil.rmtree = half
with runs.open_stage(folder, "toy", seed=1, config={"rate": 0.1}, inputs={"data": data}) as stage:
    (stage.folder / "out.txt").write_text("half")
    stage.log(1, loss=0.5)
    if when == "working":
        kill()
    (stage.folder / "out.txt").write_text("whole")
    if when == "manifest":
        runs.environment = kill
    if when == "swapping":  # between the two renames
        replace = runs.Path.replace
        def once(self, target):
            replace(self, target)
            if Path(target).name == ".toy.replaced":
                kill()
        runs.Path.replace = once
"""


def kill_in_the_middle(folder: Path, data: Path, when: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, folder, data, when], check=False)
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.parametrize("when", ["working", "manifest"])
def test_a_killed_stage_leaves_no_folder_and_the_next_attempt_works(tmp_path: Path, data: Path, when: str) -> None:
    folder = tmp_path / "toy"
    kill_in_the_middle(folder, data, when)
    assert not folder.exists()
    assert attempt(folder, data, seed=1, text="again")
    assert (folder / "out.txt").read_text() == "again"
    assert read_metrics(folder) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "toy"]


@pytest.mark.parametrize(("when", "left"), [("working", "first"), ("manifest", "first"), ("deleting", "whole")])
def test_a_kill_leaves_the_old_folder_or_the_new_one_whole(tmp_path: Path, data: Path, when: str, left: str) -> None:
    folder = tmp_path / "toy"
    assert attempt(folder, data, seed=0, text="first")
    kill_in_the_middle(folder, data, when)
    assert (folder / "out.txt").read_text() == left
    assert not attempt(folder, data, seed=0 if left == "first" else 1)
    assert attempt(folder, data, seed=2, text="again")
    assert (folder / "out.txt").read_text() == "again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "toy"]


def test_a_kill_between_the_two_renames_only_costs_a_repetition(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "toy"
    assert attempt(folder, data, seed=0, text="first")
    kill_in_the_middle(folder, data, "swapping")
    assert not folder.exists()
    assert attempt(folder, data, seed=1, text="again")
    assert (folder / "out.txt").read_text() == "again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "toy"]


def test_an_error_in_a_stage_keeps_the_old_folder_and_what_was_written(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "toy"
    assert attempt(folder, data, text="first")

    def fail() -> None:
        with open_stage(folder, "toy", seed=1, config={}, inputs={"data": data}) as stage:
            assert stage is not None
            (stage.folder / "out.txt").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (folder / "out.txt").read_text() == "first"
    assert (tmp_path / "toy.partial" / "out.txt").read_text() == "half"


@pytest.mark.parametrize("manifest", [None, '{"manifest_version": 3}', "[]"])
def test_a_folder_that_is_not_a_stage_is_never_replaced(tmp_path: Path, data: Path, manifest: str | None) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years")
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    with pytest.raises(RedpencilError, match=r"thesis: the output folder exists and was not written by redpencil"):
        attempt(folder, data)
    assert (folder / "thesis.tex").read_text() == "years"


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_users_own_partial_folder_is_never_deleted(tmp_path: Path, data: Path, kind: str) -> None:
    mine, away = tmp_path / "toy.partial", tmp_path / "away"
    (away if kind == "link" else mine).mkdir() if kind != "file" else mine.write_text("years")
    if kind == "link":
        mine.symlink_to(away)
    thesis = mine if kind == "file" else mine / "thesis.tex"
    thesis.write_text("years")
    with pytest.raises(RedpencilError, match="redpencil did not write what is here") as caught:
        attempt(tmp_path / "toy", data)
    assert (caught.value.file, caught.value.hint) == (str(mine), "rename it, or choose another --out")
    assert thesis.read_text() == "years"
    mine.rename(tmp_path / "renamed")
    assert attempt(tmp_path / "toy", data)
    assert sorted(path.name for path in (tmp_path / "toy").iterdir()) == ["manifest.json", "out.txt"]


def test_an_empty_partial_folder_is_one_that_a_killed_stage_left(tmp_path: Path, data: Path) -> None:
    (tmp_path / "toy.partial").mkdir()
    assert attempt(tmp_path / "toy", data)


def test_a_file_in_the_place_of_the_folder_is_an_error(data: Path) -> None:
    with pytest.raises(RedpencilError, match=r"data\.jsonl: the output folder exists"):
        attempt(data, data)
    assert data.read_text() == "one\n"
    with pytest.raises(RedpencilError, match="cannot make the folder"):
        attempt(data / "toy", data)


def test_an_empty_folder_and_the_working_directory_may_be_filled(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert attempt(Path(), data)
    assert (tmp_path / "empty" / "out.txt").read_text() == "new"


def test_a_missing_input_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"nowhere\.jsonl: no such file or folder"):
        attempt(tmp_path / "toy", tmp_path / "nowhere.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_the_hash_of_a_folder_sees_names_and_contents_but_not_logs(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("1")
    (folder / "sub" / "b").write_text("2")
    before = hash_input(folder)
    (folder / "metrics.jsonl").write_text("{}")
    (folder / "manifest.json").write_text("{}")
    assert hash_input(folder) == before
    (folder / "a").write_text("2")
    changed = hash_input(folder)
    assert changed != before
    (folder / "a").rename(folder / "c")
    assert hash_input(folder) not in (before, changed)


def test_the_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint("s", 0, {"a": 1, "b": 2}, {}) == fingerprint("s", 0, {"b": 2, "a": 1}, {})
    assert fingerprint("s", 0, {"a": 1, "b": 2}, {}) != fingerprint("s", 0, {"a": 2, "b": 1}, {})


def test_a_broken_manifest_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RedpencilError, match=r"manifest\.json: not valid JSON"):
        is_complete(tmp_path, "digest")
    with pytest.raises(RedpencilError, match=r"nowhere\.json: cannot read it \(No such file or directory\)"):
        read_json(tmp_path / "nowhere.json")


def test_a_broken_line_of_metrics_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    with pytest.raises(RedpencilError, match=r"metrics\.jsonl:2: not valid JSON"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    assert read_metrics(tmp_path) == []


def test_json_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "results.json"
    content = {"text": "é 😀 \u2028", "half": "\ud83d", "none": None}
    write_json(path, content)
    assert read_json(path) == content
    assert "é 😀" in path.read_text(encoding="utf-8")

    def full(*_: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_json(path, {"other": 1})
    assert read_json(path) == content


def test_json_that_is_written_knows_no_nan(tmp_path: Path) -> None:
    path, nan = tmp_path / "x.json", float("nan")
    write_json(path, {"a": nan, "b": [1.5, float("inf"), (nan, "nan")], "c": {"d": -float("inf"), "e": True}})
    assert read_json(path) == {"a": None, "b": [1.5, None, [None, "nan"]], "c": {"d": None, "e": True}}


def test_the_environment_knows_the_commit_only_inside_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment()["git_commit"] is None

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "--quiet", "--message", "first")
    commit = git("rev-parse", "HEAD")
    assert runs.git_commit() == commit
    (tmp_path / "file").write_text("2")
    assert runs.git_commit() == commit + "+"


def test_seeds_of_different_uses_are_independent_and_fixed() -> None:
    seeds = [derive_seed(0, "sft"), derive_seed(1, "sft"), derive_seed(0, "ppo", "token"), derive_seed(0, "ppo")]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)
    # printf 0:sft | sha256sum begins with d8e697b1; its lowest bit is dropped
    assert seeds[0] == 0xD8E697B1 // 2


def test_metrics_are_json_lines(tmp_path: Path, data: Path) -> None:
    with open_stage(tmp_path / "toy", "toy", seed=0, config={}, inputs={"data": data}) as stage:
        assert stage is not None
        stage.log(7, loss=1.5)
    (line,) = (tmp_path / "toy" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line) == {"step": 7, "seconds": pytest.approx(0, abs=5), "loss": 1.5}


@pytest.mark.parametrize("place", ["out/data.jsonl", "out.partial/data.jsonl"])
def test_a_stage_never_replaces_what_it_reads(tmp_path: Path, place: str) -> None:
    data, out = tmp_path / place, tmp_path / "out"
    (tmp_path / "rows").write_text("rows")
    with open_stage(out, "sft", seed=0, config={}, inputs={"data": tmp_path / "rows"}):
        pass
    data.parent.mkdir(exist_ok=True)
    data.write_text("rows")
    with (
        pytest.raises(RedpencilError, match="would delete the input"),
        open_stage(out, "sft", seed=1, config={}, inputs={"data": data}),
    ):
        pass
    assert data.read_text() == "rows"


def test_a_stage_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("rows")
    with open_stage(tmp_path / "out", "evaluate", seed=0, config={}, inputs={}):
        pass
    with (
        pytest.raises(RedpencilError, match="holds the stage 'evaluate', not 'sft'"),
        open_stage(tmp_path / "out", "sft", seed=0, config={}, inputs={"data": tmp_path / "rows"}),
    ):
        pass


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "1" * 5000 + "}"])
def test_json_that_python_cannot_read_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(RedpencilError, match="not valid JSON") as error:
        read_json(path)
    assert error.value.file == str(path)


def test_a_row_of_metrics_that_is_not_an_object_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n5\n')
    with pytest.raises(RedpencilError, match="not a JSON object but int") as error:
        read_metrics(tmp_path)
    assert error.value.line == 2


@pytest.mark.parametrize(
    ("name", "text", "version"),
    [
        ("manifest.json", '{"versions": {"redpencil": "0.1.0"}}', "0.1.0"),
        ("recipe.yaml", "# The recipe of this run, written by redpencil.\nname: x\n", "0.1.0"),
        ("ablations.yaml", "# The ablations of this folder, written by redpencil.\n", "0.1.0"),
        ("recipe.yaml", written_by("# The recipe of this run, written by redpencil") + "\nname: x\n", None),
        ("manifest.json", '{"versions": {"redpencil": "10.0.1"}}', None),
        ("recipe.yaml", "name: a recipe of a user\n", None),
        ("notes.txt", "nothing", None),
    ],
)
def test_a_folder_of_an_earlier_layout_is_refused(name: str, text: str, version: str | None, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    if version is None:
        check_layout(tmp_path)
        return
    with pytest.raises(RedpencilError, match=f"redpencil {version} wrote this folder") as caught:
        check_layout(tmp_path)
    assert caught.value.file == str(tmp_path)


def test_the_folder_of_a_process_that_does_not_write_goes_and_it_sees_the_states_of_the_one_that_does(
    tmp_path: Path, data: Path
) -> None:
    seen: list[list[str]] = []

    def begin() -> None:
        with open_stage(tmp_path / "toy", "toy", seed=0, config={}, inputs={"data": data}) as stage:
            assert stage is not None
            with scratch_stage(stage.folder, "toy", seed=0) as other:
                assert other.shared_folder == stage.shared_folder == stage.folder
                seen.append([path.name for path in saved_states(other.shared_folder)])
                (other.shared_folder / "state" / "step-2").mkdir(parents=True, exist_ok=True)
                other.go_back_to(2, seconds=4.0)
                before = len(read_metrics(other.folder))
                other.log(3, loss=0.5)
                write_json(other.folder / "out.json", {})
                assert len(read_metrics(other.folder)) == before + 1
            assert not other.folder.exists()
            assert not (stage.folder / "out.json").exists()
            stage.log(len(seen), loss=0.25)
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            begin()
    assert seen == [[], ["step-2"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [data.name, "toy.partial"]
    assert [row["step"] for row in read_metrics(tmp_path / "toy.partial")] == [1, 2]


def two_files(folder: Path, data: Path, *, seed: int = 0) -> None:
    with open_stage(folder, "toy", seed=seed, config={}, inputs={"data": data}) as stage:
        if stage is not None:
            (stage.folder / "rows.jsonl").write_text("one\ntwo\n")
            (stage.folder / "checkpoint").mkdir()
            (stage.folder / "checkpoint" / "weights").write_bytes(b"\1" * 10_000)
            stage.log(1, loss=0.5)
            stage.log(2, loss=0.25)


def zeros(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + bytes(4096) + path.read_bytes()[8192:])


DAMAGES = {
    "checkpoint/weights has changed": lambda at: zeros(at / "checkpoint" / "weights"),
    "rows.jsonl has changed": lambda at: (at / "rows.jsonl").write_text("one\n"),
    "metrics.jsonl has changed": lambda at: (at / "metrics.jsonl").write_text('{"step": 1}\n'),
    "rows.jsonl is missing": lambda at: (at / "rows.jsonl").unlink(),
    "more.jsonl was added": lambda at: (at / "more.jsonl").write_text(""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_complete_stage_whose_files_are_others_now_is_refused_and_left(
    tmp_path: Path, data: Path, damage: str
) -> None:
    folder = tmp_path / "toy"
    two_files(folder, data)
    two_files(folder, data)
    DAMAGES[damage](folder)
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RedpencilError, match=f"not what the stage 'toy' wrote: {damage}") as caught:
        two_files(folder, data)
    assert caught.value.file == str(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files
    two_files(folder, data, seed=1)  # what is replaced anyway may be anything
    two_files(folder, data, seed=1)


def test_many_changed_files_are_named_in_part(tmp_path: Path, data: Path) -> None:
    two_files(tmp_path / "toy", data)
    for number in range(8):
        (tmp_path / "toy" / f"{number}.txt").write_text("")
    with pytest.raises(RedpencilError, match=r"0\.txt was added, .*4\.txt was added, and 3 more"):
        check_outputs(tmp_path / "toy")


@pytest.mark.parametrize("part", ["checkpoint", "checkpoint/weights", ""])
def test_a_stage_does_not_read_what_another_stage_did_not_write(tmp_path: Path, data: Path, part: str) -> None:
    first = tmp_path / "first"
    two_files(first, data)
    (tmp_path / "link").symlink_to(first)
    assert attempt(tmp_path / "second", tmp_path / "link" / part)
    zeros(first / "checkpoint" / "weights")
    with pytest.raises(RedpencilError, match="checkpoint/weights has changed"):
        attempt(tmp_path / "second", tmp_path / "link" / part)
    check_written(first / "rows.jsonl")  # the other files are as they were
    check_written(data)
    check_written(tmp_path / "nowhere")


def test_a_stage_without_digests_is_done_again(tmp_path: Path, data: Path) -> None:
    two_files(tmp_path / "toy", data)
    manifest = read_json(tmp_path / "toy" / "manifest.json")
    assert sorted(manifest.pop("outputs")) == ["checkpoint/weights", "metrics.jsonl", "rows.jsonl"]
    del manifest["manifest_sha256"]
    write_json(tmp_path / "toy" / "manifest.json", manifest)
    assert not is_complete(tmp_path / "toy", manifest["fingerprint"])
    check_outputs(tmp_path / "toy")


AT_WORK = """
import sys
from pathlib import Path
from redpencil.runs import open_stage
with open_stage(Path(sys.argv[1]), "toy", seed=0, config={}, inputs={}) as stage:
    (stage.folder / "out.txt").write_text("theirs")
    print("open", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["finishes", "is killed"])
def test_two_processes_cannot_work_in_one_folder(tmp_path: Path, data: Path, end: str) -> None:
    folder = tmp_path / "toy"
    with subprocess.Popen(
        [sys.executable, "-c", AT_WORK, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(RedpencilError, match="another process is at work on this stage") as caught:
            attempt(folder, data)
        assert caught.value.file == str(folder)
        assert (tmp_path / "toy.partial" / "out.txt").read_text() == "theirs"
        if end == "is killed":
            other.kill()
        other.communicate("\n")
    assert folder.exists() == (end == "finishes")
    assert attempt(folder, data, text="ours")
    assert (folder / "out.txt").read_text() == "ours"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.jsonl", "toy"]


def test_a_link_to_a_folder_is_followed(tmp_path: Path, data: Path) -> None:
    (tmp_path / "here").symlink_to("there")
    assert attempt(tmp_path / "here", data, text="first")
    assert attempt(tmp_path / "here", data, seed=1, text="second")
    assert (tmp_path / "here").is_symlink()
    assert (tmp_path / "there" / "out.txt").read_text() == "second"


def diverge(folder: Path, data: Path, seed: int) -> None:
    with open_stage(folder, "toy", seed=seed, config={}, inputs={"data": data}) as stage:
        assert stage is not None
        (stage.folder / "last-good").mkdir()
        (stage.folder / "last-good" / "good.txt").write_text(str(seed))
        raise DivergedError("step 3: loss nan", hint="lower the learning rate")


def test_what_was_good_before_training_diverged_outlives_the_next_attempts(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "toy"
    assert attempt(folder, data, text="old")
    for seed in (1, 2):
        with pytest.raises(DivergedError, match="step 3: loss nan") as caught:
            diverge(folder, data, seed)
        kept = tmp_path / f"toy.diverged-{seed}"
        assert caught.value.hint == f"lower the learning rate; the last good weights are in {kept / 'last-good'}"
        assert (folder / "out.txt").read_text() == "old"
    assert attempt(folder, data, seed=3)
    assert [(tmp_path / f"toy.diverged-{seed}" / "last-good" / "good.txt").read_text() for seed in (1, 2)] == ["1", "2"]


def test_all_is_on_the_disk_before_the_folder_gets_its_name(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def fsync(descriptor: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    replace = Path.replace

    def renamed(path: Path, target: Path) -> Path:
        done.append(f"{path.name} -> {Path(target).name}")
        return replace(path, target)

    two_files(tmp_path / "toy", data)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    two_files(tmp_path / "toy", data, seed=1)
    swap = done.index("toy.partial -> toy")
    partial = tmp_path / "toy.partial"
    names = ("", "rows.jsonl", "metrics.jsonl", "checkpoint", "checkpoint/weights", "manifest.json")
    assert {str(partial / name) for name in names} <= set(done[:swap])
    assert done[swap + 1 :] == [str(tmp_path)]


def test_the_root_folder_holds_no_stage(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("")
    with (
        pytest.raises(RedpencilError, match="needs a folder of its own") as caught,
        open_stage(Path("/"), "sft", seed=0, config={}, inputs={"data": tmp_path / "rows"}),
    ):
        pass
    assert (caught.value.file, caught.value.hint) == ("/", "choose another --out")


def test_reading_large_inputs_shows_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redpencil.runs._GB", 3_000_000)  # so that the files of this test are large
    (tmp_path / "model").mkdir()
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / "model" / name).write_bytes(bytes(5_000_000))
    (tmp_path / "rows.jsonl").write_text("{}\n")
    told: list[tuple[int, int, str]] = []
    inputs = {"model": tmp_path / "model", "rows": tmp_path / "rows.jsonl"}
    first = hash_inputs(inputs, lambda done, total, note: told.append((done, total, note)))
    assert told == [(number, 3, f"reading inputs: {number} of 3 GB") for number in (1, 2, 3)]
    assert hash_inputs(inputs) == first == {key: hash_input(path) for key, path in inputs.items()}
