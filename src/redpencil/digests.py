"""Digests of the files that a stage wrote, in the manifest beside them, by which a file that changed is found.

The folder of a stage is known by its manifest. `check_outputs` looks at all of its files, and `check_written` at what
a command is about to read.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from redpencil.adapters import base_of, is_adapter
from redpencil.digest_cache import lookup, remember, wait_for_tick
from redpencil.errors import RedpencilError
from redpencil.text import finite, read_json

SAMPLES: Final = 64
SAMPLE_BYTES: Final = 65_536
SMALL: Final = SAMPLES * SAMPLE_BYTES
"""Bytes of a file that is read as a whole at every check; of a larger one only samples are, if its time is the same."""
MANIFEST: Final = "manifest.json"
OUTPUTS: Final = "outputs"
"""The key of a stage's manifest with the digests of the files that it wrote."""
_SEAL: Final = "manifest_sha256"
"""The key of a stage's manifest with a digest of the rest of it."""
_NAMED: Final = 5
"""Files that an error about changed ones names."""
_DEPTH: Final = 2
"""Folders between a file that a stage wrote and the stage's own folder, at most."""
_UNHASHED: Final = ("metrics.jsonl", MANIFEST)

_AT_ONCE: Final = 1 << 20
Read = Callable[[int], object]
"""Called with numbers of bytes that were read, or need not be."""

reading_whole: ContextVar[bool] = ContextVar("reading_whole", default=False)
"""Whether large files of stages are read as a whole by this process, as `--verify` asks."""


def digest_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Digest every file of a folder, by its path in it: size, time of the last change, SHA-256, and that of samples."""
    return {path.relative_to(folder).as_posix(): _digest(path) for path in _files(folder)}


def changed_files(
    folder: Path, digests: Mapping[str, Mapping[str, Any]], *, under: str = "", whole: bool = False, ignored: str = ""
) -> Iterator[str]:
    """Say which files of a folder are not those that `digest_files` has seen, each in a few words.

    A file of up to `SMALL` bytes is read as a whole, and so is a larger one whose time differs, as after a copy. Of
    another one its size and 64 samples are compared.

    Args:
        folder: where the files are.
        digests: what `digest_files` returned.
        under: only this file, or the files of this folder; by its path in `folder`.
        whole: read large files as a whole too.
        ignored: the name of a file that does not count.
    """
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    for name in sorted({*digests, *found}):
        if name == ignored or (under and name != under and not name.startswith(f"{under}/")):
            continue
        if name not in found:
            yield f"{name} is missing"
        elif name not in digests:
            yield f"{name} was added"
        elif _differs(found[name], digests[name], whole=whole):
            yield f"{name} has changed"


def _files(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """List the files of a folder, in order; what begins with a dot does not count.

    Links are followed to folders too, as when a checkpoint was moved to a larger disk, but not in a circle.
    """
    real = os.path.realpath(folder)
    for path in sorted(folder.iterdir()) if real not in above else ():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files(path, (*above, real))
        elif path.is_file():
            yield path


def _digest(path: Path) -> dict[str, Any]:
    stat = path.stat()
    digest = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": known_sha256(path)}
    return digest if stat.st_size <= SMALL else {**digest, "sampled": _sampled(path)}


def _differs(path: Path, digest: Mapping[str, Any], *, whole: bool) -> bool:
    stat = path.stat()
    if stat.st_size != digest["size"]:
        return True
    if whole or stat.st_size <= SMALL or stat.st_mtime_ns != digest["mtime_ns"]:
        return bool((sha256 if whole else known_sha256)(path) != digest["sha256"])
    return bool(_sampled(path) != digest.get("sampled"))


def sha256(path: Path, read: Read = lambda _: None) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest, buffer = hashlib.sha256(), bytearray(_AT_ONCE)
    with path.open("rb", buffering=0) as content:
        while count := content.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
            read(count)
    return digest.hexdigest()


def known_sha256(path: Path, read: Read = lambda _: None) -> str:
    """SHA-256 of a file, which is read only if it was not read before as it is now, or if `reading_whole` asks for it.

    Args:
        path: the file.
        read: hears of its bytes.
    """
    before = path.stat()
    if before.st_size <= SMALL:
        return sha256(path, read)
    known = None if reading_whole.get() else lookup(before)
    if known is not None:
        read(before.st_size)
        return known
    wait_for_tick(before)
    began = time.time_ns()
    digest = sha256(path, read)
    if _identity(path.stat()) == _identity(before):
        remember(before, digest, began=began)
    return digest


def _identity(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _sampled(path: Path) -> str:
    digest = hashlib.sha256()
    update_with_samples(digest, path)
    return digest.hexdigest()


def update_with_samples(digest: Any, path: Path) -> None:
    """Feed a digest with 64 evenly spaced stretches of a file, its ends among them; all of a file of up to `SMALL`."""
    last = max(path.stat().st_size - SAMPLE_BYTES, 0)
    with path.open("rb") as content:
        for start in sorted({last * number // (SAMPLES - 1) for number in range(SAMPLES)}):
            content.seek(start)
            digest.update(content.read(SAMPLE_BYTES))


def input_files(path: Path) -> list[Path]:
    """List the files that `hash_input` reads of a file or folder."""
    return [file for file in _files(path) if file.name not in _UNHASHED] if path.is_dir() else [path]


def hash_input(path: Path, read: Read = lambda _: None) -> str:
    """SHA-256 of a file, or of a folder's file names and contents. Logs, manifests and hidden files do not count.

    An adapter counts with its base model. Large files are read as `known_sha256` does; `read` hears of all bytes.
    """
    if path.is_dir():
        parts = input_files(path)
        text = "\n".join(f"{file.relative_to(path).as_posix()} {known_sha256(file, read)}" for file in parts)
        if is_adapter(path):
            text += f"\n{hash_input(base_of(path), read)}"
        return hashlib.sha256(text.encode()).hexdigest()
    if not path.is_file():
        raise RedpencilError(
            "no such file or folder", file=path, hint="check the path, or run the stage that writes it"
        )
    return known_sha256(path, read)


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with a digest of itself, by which `check_outputs` sees that it was changed."""
    content: dict[str, Any] = json.loads(json.dumps(finite(manifest), default=str))
    return {**content, _SEAL: _seal(content)}


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def recorded(folder: Path) -> Mapping[str, Any]:
    """The manifest in a folder; empty where there is none.

    Raises:
        RedpencilError: if it cannot be read.
    """
    manifest = folder / MANIFEST
    try:
        content = read_json(manifest) if manifest.is_file() else None
    except RedpencilError as error:
        error.hint = "restore it; if a stage wrote it, you can also delete its folder and run the stage again"
        raise
    return content if isinstance(content, dict) else {}


def recorded_fingerprint(folder: Path) -> str | None:
    """The fingerprint in the manifest of a stage's folder; None in any other folder."""
    return recorded(folder).get("fingerprint")


def stage_of(path: Path) -> tuple[Path, str] | None:
    """The folder of the finished stage to which a file or folder belongs, and its path in there; None if to none.

    The path need not exist. It may lead there by links, and out of there by a link in the stage's folder.
    """
    for place in dict.fromkeys((path.absolute(), Path(os.path.realpath(path)))):
        for folder in (place, *place.parents[:_DEPTH]):
            if is_finished(recorded(folder)):
                return folder, place.relative_to(folder).as_posix()
    return None


def is_finished(manifest: Mapping[str, Any]) -> bool:
    """Tell a finished stage's manifest from that of another program, or of a version without digests."""
    return "fingerprint" in manifest and (OUTPUTS in manifest or _SEAL in manifest)


def _is_intact(manifest: Mapping[str, Any]) -> bool:
    """Whether a finished stage's manifest is as it was written; earlier builds of this version gave it no seal."""
    digests, rest = manifest.get(OUTPUTS), {key: value for key, value in manifest.items() if key != _SEAL}
    shaped = isinstance(digests, dict) and all(isinstance(digest, dict) for digest in digests.values())
    return shaped and manifest.get(_SEAL) in (None, _seal(rest))


def check_outputs(folder: Path, *, under: str = "", whole: bool = False) -> None:
    """Refuse the folder of a stage whose files are not those that the stage wrote; let any other folder pass.

    Args:
        folder: the stage's folder.
        under: look only at this file, or the files of this folder; by its path in `folder`.
        whole: read large files as a whole; see `changed_files`.

    Raises:
        RedpencilError: naming the files that are missing, were changed or were added.
    """
    manifest = recorded(folder)
    if not is_finished(manifest):
        return
    found = [f"{MANIFEST} has changed"]
    if _is_intact(manifest):
        whole = whole or reading_whole.get()
        found = list(changed_files(folder, manifest[OUTPUTS], under=under, whole=whole, ignored=MANIFEST))
    if found:
        more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise RedpencilError(
            f"it is not what the stage {manifest.get('stage')!r} wrote: {', '.join(found[:_NAMED])}{more}",
            file=folder,
            hint="put the files back, or delete the folder and run the stage again; a copy elsewhere may be changed",
        )


def check_outside(path: Path) -> None:
    """Refuse to write a file or folder into the folder of a finished stage, which would not be what it wrote any more.

    Raises:
        RedpencilError: naming the stage's folder.
    """
    found = stage_of(path)
    if found is not None and found[1] != ".":
        raise RedpencilError(
            f"it would change the finished stage in {found[0]}", file=path, hint="choose a path outside of that folder"
        )


def check_written(path: Path) -> None:
    """Refuse a file or folder in the folder of a stage that is not what the stage wrote; let any other path pass.

    Raises:
        RedpencilError: as `check_outputs`.
    """
    found = stage_of(path)
    if found is not None:
        folder, name = found
        check_outputs(folder, under="" if name == "." else name)
