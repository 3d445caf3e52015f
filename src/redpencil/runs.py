"""Stage folders: where a stage writes its artefacts, its manifest and its metrics.

A stage works in `<folder>.partial`, which becomes `<folder>` when all is written, so a folder that exists is
complete. A killed stage leaves only the `.partial` folder. The next attempt continues from its last saved training
state, or throws it away if there is none, but for responses that it has sampled. The manifest holds a fingerprint of
configuration, seed, inputs and version;
a stage whose folder has the same fingerprint is not run again. It also holds digests of all files that the stage wrote:
a stage whose files are others now is neither reused nor read.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

import redpencil
from redpencil.digests import (
    MANIFEST,
    OUTPUTS,
    check_outputs,
    check_outside,
    check_written,
    digest_files,
    hash_input,
    input_files,
    is_finished,
    recorded,
    recorded_fingerprint,
    sealed,
)
from redpencil.errors import DivergedError, RedpencilError
from redpencil.files import followed, sync_names, sync_tree, whole_file
from redpencil.text import escape_half_pairs, finite, parse_json

Progress = Callable[[int, int, str], None]
"""Called with (done, total, note) while a stage works."""

STATE_FOLDER = "state"
"""Folder of an unfinished stage that holds its saved training states; it goes when the stage is finished."""
WORK_FOLDER = "work"
"""Folder of an unfinished stage with parts of its work that the next attempt need not do again, such as responses."""
_FINGERPRINT = ".fingerprint"
PHASE = "time/"
"""What the names of metrics begin with that are seconds of a part of a step."""
TIMES = ("seconds", "step_time", "tokens_per_second")
PEAK_MEMORY = "memory/peak"
"""GiB, see `models.runtime.peak_memory`."""
LAST_GOOD = "last-good"
"""Checkpoint of a stage that diverged: the weights of before."""
_GB = 10**9
FIRST_OF_LAYOUT = (0, 2)
"""The first version, major and minor, with the present files in a run folder."""
VERSIONED = ("torch", "transformers", "tokenizers", "rapidfuzz", "numpy", "scipy")


def no_progress(done: int, total: int, note: str) -> None:
    """Ignore the progress."""


def no_watch(row: Mapping[str, float]) -> None:
    """Ignore the metrics."""


def no_words(text: str) -> None:
    """Ignore the sentence."""


@dataclass(slots=True)
class Stage:
    """An open stage folder. Write artefacts into `folder`."""

    name: str
    folder: Path
    seed: int
    progress: Progress = no_progress
    notes: dict[str, Any] = field(default_factory=dict)
    """Further entries of the manifest, such as counts of skipped rows."""
    watch: Callable[[Mapping[str, float]], None] = no_watch
    """Called with each line of metrics that is logged."""
    warn: Callable[[str], None] = no_words
    """Called with a warning, in a sentence, for whoever watches the run."""
    tell: Callable[[str], None] = no_words
    """Called with a sentence on what was decided, such as a learning rate that the recipe leaves open."""
    shared: Path | None = None
    """The folder of the process that writes, where this one is another of those that work on the stage together."""
    _start: float = field(default_factory=time.perf_counter)

    @property
    def shared_folder(self) -> Path:
        """The folder that all processes see, in which training states are."""
        return self.shared or self.folder

    @property
    def work(self) -> Path:
        """Where parts of the work go that outlive a killed attempt, but not the stage."""
        return self.shared_folder / WORK_FOLDER

    @property
    def seconds(self) -> float:
        """Wall-clock time since the stage began."""
        return time.perf_counter() - self._start

    def go_back_to(self, step: int, *, seconds: float) -> None:
        """Continue a stage after `step`: drop the metrics of later steps, and add `seconds` of earlier attempts."""
        rows = [row for row in read_metrics(self.shared_folder, torn=True) if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        with whole_file(self.folder / "metrics.jsonl") as out:
            out.write(text.encode())
        for row in rows:
            self.watch(row)
        self._start = time.perf_counter() - seconds

    def remark(self, sentence: str) -> None:
        """Warn, once, of what the results should be read with, and note it for the report."""
        remarks = self.notes.setdefault("remarks", [])
        if sentence not in remarks:
            self.warn(sentence)
            remarks.append(sentence)

    def log(self, step: int, **values: float) -> None:
        """Append one line to `metrics.jsonl`: the step, the seconds since the start and the values."""
        row = {"step": step, "seconds": round(self.seconds, 3), **values}
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")
        self.watch(row)


def fingerprint(name: str, seed: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """A digest of all that decides what a stage writes."""
    text = json.dumps([redpencil.__version__, name, seed, config, inputs], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def written_by(line: str) -> str:
    """A first line that ends in the version of redpencil, by which `check_layout` knows who wrote a run folder."""
    return f"{line} {redpencil.__version__}."


def check_layout(folder: Path) -> None:
    """Refuse a run folder of a version with another layout, before any of it is read or replaced.

    Raises:
        RedpencilError: if a version before 0.2 wrote it.
    """
    version = _version_of(folder)
    numbers = re.match(r"(\d+)\.(\d+)", version or "")
    if numbers is not None and (int(numbers[1]), int(numbers[2])) < FIRST_OF_LAYOUT:
        raise RedpencilError(
            f"redpencil {version} wrote this folder, and {redpencil.__version__} does not read its files",
            file=folder,
            hint="run its recipe.yaml into another --out, or install redpencil<0.2 to read it",
        )


def _version_of(folder: Path) -> str | None:
    """The version that wrote a run folder; None if there is no sign of one."""
    for recipe in (folder / "recipe.yaml", folder / "ablations.yaml"):
        if recipe.is_file():
            first = recipe.read_bytes().split(b"\n")[0].decode(errors="replace")
            found = re.search(r"written by redpencil ?(.*)\.$", first)
            if found is not None:
                return found[1] or "0.1.0"  # which did not say its version
    versions = recorded(folder).get("versions")
    return str(versions.get("redpencil")) if isinstance(versions, dict) else None


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that the file is never half-written. JSON has no NaN and no infinity: they become null."""
    text = json.dumps(finite(content), indent=2, ensure_ascii=False, default=str, allow_nan=False) + "\n"
    # Half of a surrogate pair is written as its escape rather than the whole file lost.
    with whole_file(path) as out:
        out.write(escape_half_pairs(text).encode("utf-8"))


def read_metrics(folder: Path, *, torn: bool = False) -> list[dict[str, float]]:
    """Read the rows of a stage's `metrics.jsonl`, oldest first; none if the stage logged nothing.

    With `torn` a broken last line, such as a killed stage leaves, is left out.

    Raises:
        RedpencilError: naming the line, if one is not JSON; or if the file is not what the stage wrote.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    check_written(path)
    rows = []
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line)
            problem = None if isinstance(row, dict) else f"not a JSON object but {type(row).__name__}"
        except (ValueError, RecursionError) as error:
            problem = f"not valid JSON ({error})"
        if problem is not None and torn and number == len(lines):
            break
        if problem is not None:
            raise RedpencilError(
                problem, file=path, line=number, hint="run the stage again, or delete the line"
            ) from None
        rows.append(row)
    return rows


def is_time(metric: str) -> bool:
    """Whether a metric is a time, a speed or a memory, which two runs of one recipe never have in common."""
    return metric in (*TIMES, PEAK_MEMORY) or metric.startswith(PHASE)


def is_complete(folder: Path, digest: str) -> bool:
    """Whether `folder` was finished by a stage with this fingerprint.

    Raises:
        RedpencilError: if it was, and its files are not those that the stage wrote.
    """
    manifest = recorded(folder)
    complete = manifest.get("fingerprint") == digest and is_finished(manifest)
    if complete:
        check_outputs(folder)
    return complete


def hash_inputs(inputs: Mapping[str, Path], progress: Progress = no_progress) -> dict[str, str]:
    """Hash the inputs of a stage; `progress` hears of the gigabytes, if there are several.

    Raises:
        RedpencilError: if an input is missing.
    """
    files = [file for path in inputs.values() for file in input_files(path) if file.is_file()]
    total, done = sum(file.stat().st_size for file in files) // _GB, 0

    def read(count: int) -> None:
        nonlocal done
        done += count
        if total > 1 and (done - count) // _GB < done // _GB:
            progress(done // _GB, total, f"reading inputs: {done // _GB} of {total} GB")

    return {key: hash_input(path, read) for key, path in inputs.items()}


@contextmanager
def open_stage(
    folder: Path,
    name: str,
    *,
    seed: int,
    config: Mapping[str, Any],
    inputs: Mapping[str, Path],
    progress: Progress = no_progress,
) -> Iterator[Stage | None]:
    """Open a stage folder; yields None where the folder is already complete with the same inputs.

    On success the manifest is written and the folder appears under its name. On an error the partial folder is left
    for inspection. The next attempt continues it if it holds a saved training state and configuration, seed,
    inputs and version are the same; else it starts afresh. Where training diverged and left its last good weights, the
    partial folder is kept aside as `<folder>.diverged-<n>`, which no attempt deletes. A folder that holds something
    else than a stage is never replaced. While a process works in a folder, another one is refused.

    Raises:
        RedpencilError: if an input is missing or was changed after a stage wrote it, or `folder` cannot be made, holds
            something else than a stage, is in use, or is complete but was changed.
    """
    folder = Path(os.path.realpath(followed(folder)))
    check_outside(folder)
    for path in inputs.values():
        _keep_input(Path(os.path.realpath(path)), folder)
        check_written(path)
        check_finished(path)
    hashes = hash_inputs(inputs, progress)
    digest = fingerprint(name, seed, config, hashes)
    if is_complete(folder, digest):
        shutil.rmtree(_replaced_of(folder), ignore_errors=True)  # of a process that was killed before it had done so
        yield None
        return
    with _open_partial(folder, name, digest) as partial:
        stage = Stage(name, partial, seed, progress)
        started = datetime.now(UTC)
        try:
            yield stage
        except DivergedError as error:
            if not (partial / LAST_GOOD).is_dir():
                raise
            raise _kept_aside(error, partial, folder) from error
        # The mark is emptied first, so that a folder whose states are half deleted is not taken up again.
        (partial / _FINGERPRINT).write_text("", encoding="utf-8")
        for passing in (STATE_FOLDER, WORK_FOLDER):
            shutil.rmtree(partial / passing, ignore_errors=True)
        written = {
            "stage": name,
            "fingerprint": digest,
            "seed": seed,
            "config": dict(config),
            "inputs": {key: {"path": str(path), "sha256": hashes[key]} for key, path in inputs.items()},
            "notes": stage.notes,
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(stage.seconds, 3),
            **environment(),
            OUTPUTS: digest_files(partial),
        }
        write_json(partial / MANIFEST, sealed(written))
        (partial / _FINGERPRINT).unlink()
        _put_in_place(partial, folder)


@contextmanager
def scratch_stage(shared: Path, name: str, *, seed: int) -> Iterator[Stage]:
    """Open a stage for a process that works on it with the one that has opened `shared`; its folder is deleted after.

    It sees the training states that are saved in `shared`, so that the stage does the same in all processes.
    """
    with tempfile.TemporaryDirectory(prefix="redpencil-") as folder:
        yield Stage(name, Path(folder), seed, shared=shared)


def _kept_aside(error: DivergedError, partial: Path, folder: Path) -> DivergedError:
    """Rename the folder of a stage that diverged to a name that no attempt deletes, and say it in the error."""
    names = (folder.with_name(f"{folder.name}.diverged-{number}") for number in count(1))
    kept = next(name for name in names if not name.exists())
    partial.replace(kept)
    sync_names(kept.parent)
    hint = f"{error.hint}; the last good weights are in {kept / LAST_GOOD}"
    return DivergedError(error.problem, file=error.file or folder, field=error.field, hint=hint)


def check_finished(path: Path) -> None:
    """Refuse a file or folder in the folder of a stage that is not finished: it may be half of it, and change.

    Raises:
        RedpencilError: naming the path.
    """
    place = Path(os.path.realpath(path))
    if any((folder / _FINGERPRINT).is_file() for folder in (place, *place.parents[:2])):
        raise RedpencilError(
            "the stage that writes it is not finished", file=path, hint="finish the stage, or copy this elsewhere"
        )


def _keep_input(path: Path, folder: Path) -> None:
    """Refuse to replace a folder that holds what the stage reads, as when a stage is run on its own output."""
    for replaced in (folder, _partial_of(folder)):
        if replaced.is_dir() and path.is_relative_to(replaced):
            raise RedpencilError(f"writing it would delete the input {path}", file=folder, hint="choose another --out")


def _partial_of(folder: Path) -> Path:
    if not folder.name:
        raise RedpencilError("a stage needs a folder of its own", file=folder, hint="choose another --out")
    return folder.with_name(folder.name + ".partial")


@contextmanager
def _open_partial(folder: Path, name: str, digest: str) -> Iterator[Path]:
    """Make the folder in which a stage works and hold it; what another attempt left there goes or is continued."""
    foreign = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if foreign and recorded_fingerprint(folder) is None:
        raise RedpencilError(
            "the output folder exists and was not written by redpencil",
            file=folder,
            hint="choose another --out, or move it away",
        )
    held = recorded(folder).get("stage", name)
    if held != name:
        raise RedpencilError(
            f"the output folder holds the stage {held!r}, not {name!r}", file=folder, hint="choose another --out"
        )
    partial = _partial_of(folder)
    mark = partial / _FINGERPRINT
    with ExitStack() as lock:
        try:
            ours = mark.is_file() or recorded_fingerprint(partial) is not None
            if not ours and partial.exists() and (not partial.is_dir() or any(partial.iterdir())):
                raise RedpencilError(
                    "the stage would be written here, and redpencil did not write what is here now",
                    file=partial,
                    hint="rename it, or choose another --out",
                )
            lock.enter_context(_held(partial, folder))
            if not _continues(partial, digest):
                _empty(partial, kept=WORK_FOLDER if _is_marked(partial, digest) else "")
                mark.write_text(digest, encoding="utf-8")
        except OSError as error:
            raise RedpencilError(
                f"cannot make the folder ({error.strerror})", file=partial, hint="choose another --out"
            ) from None
        yield partial


@contextmanager
def _held(partial: Path, folder: Path) -> Iterator[None]:
    """Make the folder in which a stage works, and lock it; the system lets go of the lock when the process ends."""
    while True:
        partial.mkdir(parents=True, exist_ok=True)
        if os.name == "nt":  # Windows opens no folders.
            yield
            return
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            if not locked(descriptor):
                raise RedpencilError(
                    "another process is at work on this stage", file=folder, hint="wait for it, or choose another --out"
                )
            # The process that had the lock before may have finished: then this is not the partial folder any more.
            if partial.exists() and os.path.samestat(os.fstat(descriptor), partial.stat()):
                yield
                return
        finally:
            os.close(descriptor)


def locked(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; False if another process has it."""
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:
        return True  # A network file system may have no locks; that is not a reason not to run.


def _empty(folder: Path, kept: str) -> None:
    for path in folder.iterdir():
        if path.name == kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _continues(partial: Path, digest: str) -> bool:
    """Whether an attempt at the stage with this fingerprint has saved training states in `partial`."""
    return _is_marked(partial, digest) and bool(saved_states(partial))


def _is_marked(partial: Path, digest: str) -> bool:
    """Whether an attempt at the stage with this fingerprint has left what is in `partial`."""
    mark = partial / _FINGERPRINT
    return mark.is_file() and mark.read_text(encoding="utf-8") == digest


def saved_states(folder: Path) -> list[Path]:
    """List the complete training states that an unfinished stage has saved, oldest first."""
    numbers = [path.name.removeprefix("step-") for path in (folder / STATE_FOLDER).glob("step-*")]
    return [folder / STATE_FOLDER / f"step-{number}" for number in sorted(int(n) for n in numbers if n.isdecimal())]


def _replaced_of(folder: Path) -> Path:
    """Where the folder that a stage replaces is until it is deleted."""
    return folder.with_name(f".{folder.name}.replaced")


def _put_in_place(partial: Path, folder: Path) -> None:
    # Renames come first and deletion last, so that a kill leaves the old folder, the new one or none, but never a part.
    replaced = _replaced_of(folder)
    shutil.rmtree(replaced, ignore_errors=True)
    sync_tree(partial)
    if folder.exists():
        folder.replace(replaced)
    partial.replace(folder)
    sync_names(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def environment() -> dict[str, Any]:
    """Versions, platform and git commit, for a manifest."""
    versions = {"redpencil": redpencil.__version__, "python": platform.python_version()}
    for package in VERSIONED:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "git_commit": git_commit(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def git_commit() -> str | None:
    """Commit of the working directory, with `+` behind it where files are changed; None outside a checkout."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def derive_seed(seed: int, *names: str | int) -> int:
    """An independent 31-bit seed for each use of a run's seed."""
    digest = hashlib.sha256(":".join(map(str, (seed, *names))).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
