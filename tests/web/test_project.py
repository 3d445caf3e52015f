"""Settings of a project."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine

from redpencil.errors import RedpencilError
from redpencil.web.database import list_events, reading, writing
from redpencil.web.errors import OutdatedError
from redpencil.web.project import (
    DEFAULT_TAGS,
    ProjectConfig,
    change_project,
    load_project_file,
    parse_project,
    read_project,
    write_project,
)


def test_a_new_project_has_the_defaults(engine: Engine) -> None:
    with reading(engine) as connection:
        config = read_project(connection)
    assert config == ProjectConfig()
    assert (config.kept_soft, config.kept_hard, config.editors_per_item, config.lease_s) == (0.5, 0.0, 1, 900)
    assert config.tags == DEFAULT_TAGS


def test_settings_are_kept_and_replaced(engine: Engine) -> None:
    for config in (
        ProjectConfig(title="Früh 🖍️", guidelines="# Be kind", tags=("rude",), distance_hard=90, kept_hard=0.25),
        ProjectConfig(editors_per_item=3, tags=(), reason_required_for=("skipped", "tie")),
    ):
        with writing(engine) as connection:
            write_project(connection, config)
        with reading(engine) as connection:
            assert read_project(connection) == config


def test_every_setting_is_described() -> None:
    assert [name for name, field in ProjectConfig.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        ("editors_per_item", 0, "greater than or equal to 1"),
        ("kept_hard", 0.9, "kept_soft is below kept_hard"),
        ("known_answer_share", 1.5, "less than or equal to 1"),
        ("tags", ["rude", " rude "], "different names"),
        ("tags", [""], "different names"),
        ("lease_s", float("nan"), "finite"),
        ("guidelines", "a\0b", "NUL"),
        ("reason_required_for", ["never"], "Input should be 'edited'"),
        ("editors", 3, "unknown key"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(setting: str, value: object, problem: str) -> None:
    with pytest.raises(RedpencilError, match=problem) as caught:
        parse_project({setting: value})
    assert caught.value.hint is not None
    assert "--set" not in caught.value.hint


def test_soft_distance_beyond_the_hard_one_is_refused() -> None:
    with pytest.raises(RedpencilError, match="distance_soft is above"):
        parse_project({"distance_soft": 10, "distance_hard": 5})


def test_an_unknown_setting_gets_the_nearest_one() -> None:
    with pytest.raises(RedpencilError) as caught:
        parse_project({"titel": "x"})
    assert "did you mean 'title'" in str(caught.value)


def test_a_file_gives_what_it_says_and_defaults_for_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_text("title: Grüße\nguidelines: |\n  # Be kind\n  and brief\ntags: [rude]\n", encoding="utf-8")
    assert load_project_file(path) == ProjectConfig(title="Grüße", guidelines="# Be kind\nand brief\n", tags=("rude",))
    path.write_text("")
    assert load_project_file(path) == ProjectConfig()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a\n", "mapping"),
        ("title: [", "not valid YAML"),
        ("title: 3\n", "valid string"),
        ("lease: 5\n", "unknown key"),
    ],
)
def test_a_file_with_a_mistake_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "project.yaml"
    path.write_text(text)
    with pytest.raises(RedpencilError, match=problem) as caught:
        load_project_file(path)
    assert caught.value.file == str(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="cannot read it"):
        load_project_file(tmp_path / "none.yaml")


def test_the_share_of_known_answers_says_plainly_what_it_does() -> None:
    told = ProjectConfig.model_fields["known_answer_share"].description
    assert told is not None
    assert "0.05 is one in twenty" in told
    assert "With 0, the default, no gold item is shown" in told
    assert ProjectConfig().known_answer_share == 0


def test_two_who_change_what_both_have_seen_do_not_overwrite_each_other(engine: Engine) -> None:
    """The first change of a new project is also the first row of its settings."""
    for _ in range(2):
        with reading(engine) as connection:
            seen = read_project(connection).fingerprint
        together = threading.Barrier(4)

        def change(number: int, seen: str = seen, together: threading.Barrier = together) -> bool:
            together.wait()
            try:
                with writing(engine) as connection:
                    config = ProjectConfig(title=f"{number} {seen}")
                    assert change_project(connection, config, version=seen, now=1.0) == ["title"]
            except OutdatedError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(change, range(4))) == [False] * 3 + [True]
    with reading(engine) as connection:
        assert [event.action for event in list_events(connection)] == ["changed project"] * 2


def test_settings_that_are_written_at_once_are_all_taken(engine: Engine) -> None:
    together = threading.Barrier(4)

    def write(number: int) -> None:
        together.wait()
        with writing(engine) as connection:
            write_project(connection, ProjectConfig(title=str(number)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with reading(engine) as connection:
        assert read_project(connection).title in "0123"


def test_what_does_not_change_is_not_told(engine: Engine) -> None:
    with writing(engine) as connection:
        assert change_project(connection, ProjectConfig(), now=1.0) == []
        assert list_events(connection) == []
