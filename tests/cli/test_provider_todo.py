"""What a command can be told to do with a provider."""

import os
from pathlib import Path
from typing import Any

import pytest

from redpencil.cli.provider_todo import Todo, check_files, journal_beside
from redpencil.errors import RedpencilError


def todo(folder: Path, **options: Any) -> Todo:
    given: dict[str, Any] = {"journal": folder / "j", "dry_run": False, "batch_out": None, "batch_in": ()}
    return Todo(folder / "out", **{**given, **options}, as_json=False)


def test_one_thing_at_a_time(tmp_path: Path) -> None:
    batches: tuple[dict[str, Any], ...] = ({"batch_out": tmp_path / "b"}, {"batch_in": (tmp_path / "b",)})
    for options in ({"dry_run": True, **batches[0]}, {"dry_run": True, **batches[1]}, {**batches[0], **batches[1]}):
        with pytest.raises(RedpencilError, match="three things to do"):
            todo(tmp_path, **options)


def test_a_dry_run_makes_no_journal_but_reads_one(tmp_path: Path) -> None:
    with todo(tmp_path, dry_run=True).open_journal() as journal:
        assert len(journal) == 0
        assert not (tmp_path / "j").exists()
    with todo(tmp_path).open_journal() as journal:
        journal.ask("00" * 32, "m")
    with todo(tmp_path, dry_run=True).open_journal() as journal:
        assert journal.under_way("00" * 32)


def test_files_that_would_be_lost_are_refused(tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.write_text("")
    check_files([rows], todo(tmp_path))
    with pytest.raises(RedpencilError, match="it is also the journal"):
        check_files([rows], todo(tmp_path, journal=tmp_path / "out"))
    with pytest.raises(RedpencilError, match="it is also an input"):
        check_files([rows], todo(tmp_path, batch_out=rows))
    with pytest.raises(RedpencilError, match="it is also an input"):
        check_files([rows], todo(tmp_path), tmp_path / "out")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RedpencilError, match="plain file"):
        check_files([tmp_path / "pipe"], todo(tmp_path))


@pytest.mark.parametrize("out", [".", "/", ""])
def test_a_folder_without_a_name_has_no_journal_beside_it(out: str) -> None:
    assert journal_beside(Path("a/out")) == Path("a/out.journal")
    with pytest.raises(RedpencilError, match="a folder stands where the file should go"):
        journal_beside(Path(out))
