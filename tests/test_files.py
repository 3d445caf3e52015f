"""Files appear whole or not at all, whatever goes wrong on the way."""

import errno
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from redpencil.errors import RedpencilError
from redpencil.files import PRIVATE, make_private, others_may, partial_of, sync_tree, whole_file


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask that takes no rights away, as some shared machines have it."""
    before = os.umask(0)
    yield
    os.umask(before)


def rights(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in sorted(folder.iterdir())}


def test_the_file_gets_its_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "rows.jsonl"
    with whole_file(path) as out:
        out.write(b"one\n")
        assert not path.exists()
    assert path.read_bytes() == b"one\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError(errno.ENOSPC, "no space left")])
def test_an_error_leaves_what_stood_there(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"old")
    with pytest.raises(BaseException), whole_file(path) as out:  # noqa: B017, PT011, PT012
        out.write(b"new")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, problem in (
        (tmp_path, "there is a folder of this name"),
        (tmp_path / "file" / "rows", "cannot write it"),
    ):
        with pytest.raises(RedpencilError, match=problem) as caught, whole_file(path):
            pass
        assert caught.value.hint


def test_a_users_own_partial_file_is_left_alone(tmp_path: Path) -> None:
    mine, folder = tmp_path / "rows.partial", tmp_path / "other.partial"
    mine.write_bytes(b"mine")
    folder.mkdir()
    for path in (tmp_path / "rows", tmp_path / "other"):
        with whole_file(path) as out:
            out.write(b"new")
        assert path.read_bytes() == b"new"
    assert mine.read_bytes() == b"mine"
    assert folder.is_dir()


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    partial_of(path).write_bytes(b"half of something long")
    with whole_file(path) as out:
        out.write(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import sys
from pathlib import Path
from redpencil.files import whole_file
with whole_file(Path(sys.argv[1])) as out:
    out.write(b"theirs")
    out.flush()
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_two_processes_cannot_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(RedpencilError, match="another process is writing this file"), whole_file(path):
            pass
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.wait() == 0
    assert path.read_bytes() == b"theirs"
    with whole_file(path) as out:
        out.write(b"ours")
    assert path.read_bytes() == b"ours"


def test_a_link_in_the_place_of_the_partial_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    partial_of(tmp_path / "rows").symlink_to(victim)
    with pytest.raises(RedpencilError, match="cannot write it"), whole_file(tmp_path / "rows"):
        pass
    assert victim.read_text() == "kept"


FULL = """
import resource, sys
from pathlib import Path
from redpencil.files import whole_file
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with whole_file(Path(sys.argv[1])) as out:
        out.write(b"x" * int(sys.argv[2]))
except OSError as error:
    print(error.errno, error.filename)
"""


@pytest.mark.parametrize("size", [5_000, 500_000])
def test_a_file_that_finds_no_room_names_itself_and_leaves_the_old_one(tmp_path: Path, size: int) -> None:
    path = tmp_path / "rows"
    path.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(size)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(errno.EFBIG), str(path)]
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])


def test_a_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "old").write_bytes(b"old")
    links = {"present": "store/old", "absent": "store/new", "twice": "present"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
        with whole_file(tmp_path / name) as out:
            out.write(name.encode())
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == name.encode()
    assert (tmp_path / "store" / "old").read_bytes() == b"twice"
    assert (tmp_path / "store" / "new").read_bytes() == b"absent"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["absent", "new", "old", "present", "store", "twice"]


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(RedpencilError, match="leads in a circle"), whole_file(tmp_path / "a"):
        pass
    assert (tmp_path / "a").is_symlink()


def test_a_pipe_and_a_device_are_written_to_and_stay(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        with whole_file(pipe) as out:
            out.write(b"rows")
        assert reader.communicate(timeout=60)[0] == b"rows"
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    with whole_file(Path("/dev/null")) as out:
        out.write(b"rows")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OSError, match="No space left"), whole_file(Path("/dev/full")) as out:
        out.write(b"rows")


def test_a_file_in_memory_is_no_device() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "rows"
        path.write_bytes(b"old")
        with whole_file(path) as out:
            out.write(b"new")
            assert path.read_bytes() == b"old"
        assert path.read_bytes() == b"new"


def test_standard_output_by_name(tmp_path: Path) -> None:
    code = "from pathlib import Path; from redpencil.files import whole_file\n"
    code += "with whole_file(Path('/dev/stdout')) as out: out.write(b'rows')"
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_bytes() == b"rows"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"rows"


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("redirection", [">", ">>"])
def test_what_a_script_wrote_before_stays_in_the_file_behind_standard_output(
    tmp_path: Path, name: str, redirection: str
) -> None:
    code = f"from pathlib import Path; from redpencil.files import whole_file\nwith whole_file(Path({name!r})) as out: "
    (tmp_path / "code.py").write_text(f"{code}out.write(b'rows\\n')")
    script = f"echo before; {sys.executable} code.py; echo after"
    subprocess.run(["bash", "-c", f"({script}) {redirection} log"], cwd=tmp_path, check=True)
    assert (tmp_path / "log").read_text() == "before\nrows\nafter\n"


def test_content_and_name_reach_the_disk_before_and_after_the_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    path = tmp_path / "rows"
    with whole_file(path) as out:
        out.write(b"new")
    assert synced == [str(partial_of(path)), str(tmp_path)]
    synced.clear()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_text("")
    sync_tree(tmp_path)
    assert sorted(synced) == sorted(str(place) for place in (path, tmp_path / "sub", tmp_path / "sub/file", tmp_path))


@pytest.mark.usefixtures("open_umask")
def test_a_private_file_is_private_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "chmod", lambda *_: pytest.fail("it was open to others before"))
    assert not make_private(tmp_path / "edits.db")
    with closing(sqlite3.connect(tmp_path / "edits.db")) as connection, whole_file(tmp_path / "out", rights=PRIVATE):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE secret (key)")
        assert rights(tmp_path) == dict.fromkeys(
            [".out.redpencil-partial", "edits.db", "edits.db-shm", "edits.db-wal"], 0o600
        )
    assert rights(tmp_path)["out"] == 0o600


def test_what_a_killed_process_left_open_to_others_is_private_again(tmp_path: Path) -> None:
    partial_of(tmp_path / "out").touch(0o666)
    partial_of(tmp_path / "out").chmod(0o666)
    with whole_file(tmp_path / "out", rights=PRIVATE) as out:
        assert rights(tmp_path) == {".out.redpencil-partial": 0o600}
        out.write(b"what people wrote")
    assert rights(tmp_path) == {"out": 0o600}


@pytest.mark.parametrize("open_one", ["edits.db", "edits.db-wal", "edits.db-shm", "edits.db-journal"])
@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o620])
def test_rights_of_others_are_taken_from_a_file_and_what_sqlite_keeps_beside_it(
    tmp_path: Path, open_one: str, mode: int
) -> None:
    make_private(tmp_path / "edits.db")
    (tmp_path / open_one).touch()
    (tmp_path / open_one).chmod(mode)
    (tmp_path / "link").symlink_to(tmp_path / "edits.db")
    assert others_may(tmp_path / open_one)
    assert make_private(tmp_path / "link")
    assert not make_private(tmp_path / "edits.db")
    assert set(rights(tmp_path).values()) == {0o600}
