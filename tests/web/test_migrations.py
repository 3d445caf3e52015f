"""The migrations lead to exactly the tables that the code knows, on both databases."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, create_engine, insert, inspect, make_url, select

from redpencil.web import database
from redpencil.web.database import VERSION_TABLE, open_database, reading, writing
from redpencil.web.schema import SCHEMA_VERSION, assignment, metadata, setting


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def described(connection: Connection) -> dict[str, Any]:
    """All that the database itself says of its tables."""
    inspector = inspect(connection)
    tables = sorted(set(inspector.get_table_names()) - {VERSION_TABLE})
    return {
        table: {
            "columns": [{**column, "type": str(column["type"])} for column in inspector.get_columns(table)],
            "primary key": inspector.get_pk_constraint(table),
            "foreign keys": sorted(map(str, inspector.get_foreign_keys(table))),
            "unique": sorted(map(str, inspector.get_unique_constraints(table))),
            "checks": sorted(map(str, inspector.get_check_constraints(table))),
            "indexes": sorted(
                str({**index, "dialect_options": sorted((k, str(v)) for k, v in index["dialect_options"].items())})
                for index in inspector.get_indexes(table)
            ),
        }
        for table in tables
    }


def test_migrating_gives_the_tables_of_the_schema(engine: Engine) -> None:
    with reading(engine) as connection:
        migrated = described(connection)
    with writing(engine) as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    with reading(engine) as connection:
        assert migrated == described(connection)
    assert set(migrated) == set(metadata.tables)
    assert len(migrated["submission"]["checks"]) == 1
    assert len(migrated["submission"]["foreign keys"]) == 3
    assert sum("undone IS NULL" in index for index in migrated["submission"]["indexes"]) == 1


def test_the_newest_migration_is_the_version_that_the_code_asks_for() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == SCHEMA_VERSION


def first_version(place: str) -> None:
    """Make a database as the first migration left it: Ada has a draft of the one item, and drew a session's secret."""
    plain = create_engine(
        make_url(place).set(drivername="postgresql+psycopg") if "://" in place else f"sqlite:///{place}"
    )
    with plain.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        old = MetaData()
        old.reflect(connection)
        rows = {
            "item": {"external_id": "r", "position": 0, "kind": "edit", "prompt": "Q", "response": "One", "meta": {}},
            "person": {"name": "Ada", "role": "editor"},
            "assignment": {"item_id": 1, "person_id": 1, "state": "open", "draft": "Two", "draft_saved": 5.0},
            "setting": {"key": "secret", "value": "s"},
        }
        times = {"item": {"added": 1.0}, "person": {"created": 1.0}, "assignment": {"lease_until": 9.0, "opened": 2.0}}
        for table, row in rows.items():
            connection.execute(insert(old.tables[table]).values(row | times.get(table, {})))
    plain.dispose()


def test_a_database_of_the_first_version_is_brought_up_to_date_with_what_it_holds(place: str) -> None:
    first_version(place)
    if "://" not in place:
        Path(place).chmod(0o600)  # a secret that others could read would be renewed
    opened = open_database(place)
    with reading(opened) as connection:
        (row,) = connection.execute(select(assignment)).all()
        settings = dict(connection.execute(select(setting.c.key, setting.c.value)).all())
        migrated = described(connection)
    assert (row.draft, row.draft_saved, row.lease_until) == ("Two", 5.0, 9.0)
    assert (row.draft_outcome, row.draft_reason, row.draft_tags) == (None, "", [])
    assert settings["secret"] == "s"
    assert len(settings["draws"]) == 64
    with writing(opened) as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    with reading(opened) as connection:
        assert migrated == described(connection)
    opened.dispose()
    open_database(place).dispose()  # and once more, when there is nothing left to do
