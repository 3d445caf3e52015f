"""The migrations lead to exactly the tables that the code knows, on both databases."""

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect

from redpencil.web import database
from redpencil.web.database import VERSION_TABLE, reading, writing
from redpencil.web.schema import SCHEMA_VERSION, metadata


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
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_VERSION
