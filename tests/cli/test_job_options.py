"""The options of a provider job, and the files that it may not overwrite."""

import os
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from redpencil.cli.job_options import (
    JobOptions,
    Setup,
    check_files,
    default_cache,
    given_flag,
    parse_extra,
    prepare,
)
from redpencil.cli.options import with_options
from redpencil.errors import RedpencilError


def run_with(*arguments: str) -> tuple[JobOptions, str, str | None]:
    """The options that a command with one option of its own gets, that option, and the first flag of two."""
    app, calls = typer.Typer(), []

    @app.command()
    @with_options
    def command(
        context: typer.Context, own: Annotated[str, typer.Option(metavar="X")] = "default", *, options: JobOptions
    ) -> None:
        calls.append((options, own, given_flag(context, ("own", "requests_per_minute"))))

    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    (call,) = calls
    return call


def test_a_command_gets_the_shared_options_after_its_own() -> None:
    assert run_with() == (JobOptions(), "default", None)
    options, own, flag = run_with("--own", "mine", "--batch-in", "a", "--batch-in", "b", "--max-cost", "2", "--json")
    assert (own, flag) == ("mine", "--own")
    assert options == JobOptions(batch_in=[Path("a"), Path("b")], max_cost=2.0, as_json=True)
    assert run_with("--requests-per-minute", "3")[2] == "--requests-per-minute"


def test_the_cache_has_its_old_name_too() -> None:
    assert run_with("--journal", "j")[0].cache == run_with("--cache", "j")[0].cache == Path("j")


def setup(folder: Path, **options: Any) -> Setup:
    """What `prepare` makes of options to the scripted editor."""
    made: list[Setup] = []
    app = typer.Typer()

    @app.command()
    def command(context: typer.Context) -> None:
        given = JobOptions(**{"cache": folder / "cache", **options})
        made.append(prepare(context, "world", given, out=folder / "out", inputs=[], template=None))

    outcome = CliRunner().invoke(app, [])
    if outcome.exception is not None:
        raise outcome.exception
    (only,) = made
    return only


def test_one_thing_at_a_time(tmp_path: Path) -> None:
    batches: tuple[dict[str, Any], ...] = ({"batch_out": tmp_path / "b"}, {"batch_in": [tmp_path / "b"]})
    for options in ({"dry_run": True, **batches[0]}, {"dry_run": True, **batches[1]}, {**batches[0], **batches[1]}):
        with pytest.raises(RedpencilError, match="exclude each other"):
            setup(tmp_path, **options)


def test_a_dry_run_makes_no_cache_but_reads_one(tmp_path: Path) -> None:
    with setup(tmp_path, dry_run=True).open_cache() as cache:
        assert len(cache) == 0
        assert not (tmp_path / "cache").exists()
    with setup(tmp_path).open_cache() as cache:
        cache.mark_sent("00" * 32, "m")
    with setup(tmp_path, dry_run=True).open_cache() as cache:
        assert cache.get("00" * 32).pending


def test_files_that_would_be_lost_are_refused(tmp_path: Path) -> None:
    rows, out, cache = tmp_path / "rows", tmp_path / "out", tmp_path / "cache"
    rows.write_text("")
    check_files(JobOptions(), out, cache, [rows], None)
    with pytest.raises(RedpencilError, match="it is also the response cache"):
        check_files(JobOptions(), out, out, [rows], None)
    with pytest.raises(RedpencilError, match="it is also an input"):
        check_files(JobOptions(batch_out=rows), out, cache, [rows], None)
    with pytest.raises(RedpencilError, match="it is also an input"):
        check_files(JobOptions(), out, cache, [rows], out)
    with pytest.raises(RedpencilError, match="it is also an input"):
        check_files(JobOptions(prices=out), out, cache, [rows], None)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RedpencilError, match="not a plain file"):
        check_files(JobOptions(), out, cache, [tmp_path / "pipe"], None)


@pytest.mark.parametrize("out", [".", "/", ""])
def test_a_folder_without_a_name_has_no_default_cache(out: str) -> None:
    with pytest.raises(RedpencilError, match="cannot be written to a folder"):
        default_cache(Path(out))


def test_the_default_cache_is_that_of_an_older_version_if_there_is_one(tmp_path: Path) -> None:
    assert default_cache(tmp_path / "out") == tmp_path / "out.cache"
    (tmp_path / "out.journal").touch()
    assert default_cache(tmp_path / "out") == tmp_path / "out.journal"


def test_extra_parameters_are_json_or_text() -> None:
    extra = parse_extra(["effort=low", "seed=7", 'only=["x"]', "a=b=c", "big=NaN"])
    assert extra == {"effort": "low", "seed": 7, "only": ["x"], "a": "b=c", "big": "NaN"}
    with pytest.raises(RedpencilError, match="redpencil sets messages itself"):
        parse_extra(["messages=[]"])
