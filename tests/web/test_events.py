"""The audit log."""

from pathlib import Path

from sqlalchemy import select

from redpencil.web import schema
from redpencil.web.database import open_database, reading, writing
from redpencil.web.events import MOST_EVENTS, list_events, record_event


def test_the_log_is_read_backwards_page_by_page(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "edits.db")
    with writing(engine) as connection:
        for at in range(5):
            record_event(connection, f"did {at}", at=float(at), detail={"n": at, "text": "\u00e9 \U0001f600"})
    with reading(engine) as connection:
        first = list_events(connection, limit=2)
        second = list_events(connection, before=first[-1].id, limit=2)
        last = list_events(connection, before=second[-1].id, limit=2)
    assert [event.action for event in [*first, *second, *last]] == ["did 4", "did 3", "did 2", "did 1", "did 0"]
    assert first[0].detail == {"n": 4, "text": "\u00e9 \U0001f600"}
    assert first[0].person is None
    engine.dispose()


def test_an_event_is_gone_with_the_transaction_that_it_tells_of(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "edits.db")
    try:
        with writing(engine) as connection:
            record_event(connection, "did it", at=1.0)
            raise RuntimeError
    except RuntimeError:
        pass
    with reading(engine) as connection:
        assert connection.execute(select(schema.event)).all() == []
    engine.dispose()


def test_a_page_of_the_log_has_a_limit(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "edits.db")
    with writing(engine) as connection:
        for at in range(MOST_EVENTS + 1):
            record_event(connection, "did", at=float(at))
    with reading(engine) as connection:
        assert len(list_events(connection, limit=10_000_000)) == MOST_EVENTS
    engine.dispose()
