"""The error a user reads."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from redpencil.errors import RedpencilError, from_system, naming


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RedpencilError("it broke"), "it broke"),
        (RedpencilError("it broke", file=Path("a.jsonl")), "a.jsonl: it broke"),
        (RedpencilError("it broke", file="a.jsonl", line=3), "a.jsonl:3: it broke"),
        (RedpencilError("it broke", file="a.jsonl", line=3, field="id"), "a.jsonl:3 [id]: it broke"),
        (RedpencilError("it broke", field="ppo.gamma"), "[ppo.gamma]: it broke"),
        (RedpencilError("it broke", file="a", hint="mend it"), "a: it broke\n  hint: mend it"),
    ],
)
def test_text_names_place_problem_and_hint(error: RedpencilError, text: str) -> None:
    assert str(error) == text


def test_an_error_about_a_files_content_gets_the_files_name() -> None:
    with pytest.raises(RedpencilError) as caught, naming(Path("a.jsonl")):
        raise RedpencilError("it broke", field="id", hint="mend it")
    assert vars(caught.value) == vars(RedpencilError("it broke", file="a.jsonl", field="id", hint="mend it"))


def test_an_error_that_names_its_file_keeps_it() -> None:
    with pytest.raises(RedpencilError) as caught, naming(Path("a.jsonl")):
        raise RedpencilError("it broke", file="b.jsonl", line=2)
    assert (caught.value.file, caught.value.line) == ("b.jsonl", 2)


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EFBIG, "make room"),
        (errno.EIO, "look at the disk"),
        (errno.ESTALE, "look at the disk"),
        (errno.EROFS, "another place"),
        (errno.EACCES, "another place"),
        (errno.EMFILE, "ulimit"),
        (errno.ENOMEM, "memory"),
    ],
)
def test_an_error_of_the_system_gets_a_hint(number: int, hint: str) -> None:
    told = from_system(OSError(number, "said", "/data/model"))
    assert told is not None
    assert told.file == "/data/model"
    assert hint in str(told.hint)


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError("x"), OSError(errno.ECONNRESET, "x"), FileNotFoundError(2, "x")]
)
def test_a_mistake_of_ours_gets_none(error: Exception) -> None:
    assert from_system(error) is None


WRITERS = {
    "torch": "torch.save({'weights': torch.zeros(100_000)}, path)",
    "torch at its end": "torch.save({'weights': torch.zeros(4_900)}, path)",
    "safetensors": "from safetensors.torch import save_file; save_file({'weights': torch.zeros(100_000)}, path)",
    "python": "open(path, 'wb').write(bytes(100_000))",
    "text": "open(path, 'w').write('x' * 100_000)",
}


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_of_a_checkpoint_says_so_when_no_more_can_be_written(tmp_path: Path, writer: str) -> None:
    script = (
        "import resource, signal, sys, torch\nfrom redpencil.errors import from_system\npath = sys.argv[1]\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"try:\n    {WRITERS[writer]}\nexcept Exception as error:\n    print(from_system(error))"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "file"], capture_output=True, text=True, check=True)
    assert "hint: make room on the disk, and run the same command again" in done.stdout
