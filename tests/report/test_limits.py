"""What a run does not show."""

import json
from pathlib import Path

from redpencil.report.limits import limits
from redpencil.report.sources import read_run


def write_rates(folder: Path, rates: list[float]) -> None:
    rows = [{"step": 10 * index, "seconds": index, "eval/win_rate": rate} for index, rate in enumerate(rates)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_an_arm_that_never_beat_its_start_is_named(run_folder: Path) -> None:
    write_rates(run_folder / "ppo-edits", [33.0, 32.0, 33.0])
    write_rates(run_folder / "ppo-preference", [33.0, 32.0, 33.5])
    found = [text for text in limits(read_run(run_folder)) if "never beat" in text]
    assert found == [
        "The edits arm never beat its own start on the validation prompts: the speed against it says little."
    ]


def test_the_seeds_in_which_it_did_not_are_named(study_folder: Path) -> None:
    for seed in (12, 14):
        write_rates(study_folder / f"seed-{seed}" / "ppo-preference", [33.0, 32.0])
    found = [text for text in limits(read_run(study_folder)) if "never beat" in text]
    assert found == [
        "The preference arm never beat its own start on the validation prompts in seeds 12, 14: "
        "the speed against it says little."
    ]


def test_the_world_is_named_only_where_there_is_one(run_folder: Path) -> None:
    assert any("small world" in text for text in limits(read_run(run_folder)))
    (run_folder / "world").rmdir()
    assert not any("small world" in text for text in limits(read_run(run_folder)))


def test_warnings_of_the_run_come_last(run_folder: Path) -> None:
    assert limits(read_run(run_folder))[-1] == "edits: 12 rows skipped, their text did not change"
