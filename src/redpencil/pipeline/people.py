"""People as the recipe's editor: a run puts answers into an annotation project, and goes on when they are edited."""

import hashlib
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from redpencil.config.asked import EditorConfig
from redpencil.editing.edit import make_edit
from redpencil.errors import RedpencilError, WaitingError, naming_key
from redpencil.records import HAS_TEXT, Edit, EditOutcome, Response
from redpencil.runs import Stage
from redpencil.text import unstorable

if TYPE_CHECKING:  # The packages of the service are an extra.
    from sqlalchemy import Engine

_PROJECT: Final = "editor.project"
SKIPPED: Final = "everybody who could edit it has skipped it"


def check_project(place: str) -> None:
    """Open an annotation project, so that a mistake shows before anything is trained.

    A file that is not there is made by the first stage that has items for it, and not by a look at what would run.

    Raises:
        RedpencilError: naming `editor.project`.
    """
    _check_installed()
    path = Path(place)
    if "://" in place or path.exists():
        with _opened(place):
            pass
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        raise RedpencilError(
            "there is no such folder in which the project could be made, or it cannot be written to",
            file=path.parent,
            field=_PROJECT,
            hint="make the folder, or correct the path; a relative one starts at the recipe's folder",
        )


def _check_installed() -> None:
    if find_spec("sqlalchemy") is None or find_spec("alembic") is None:
        problem, hint = "people edit by the annotation service, which is not installed", "pip install 'redpencil[web]'"
        raise RedpencilError(problem, field=_PROJECT, hint=hint)


@contextmanager
def _opened(place: str) -> Iterator["Engine"]:
    with naming_key(_PROJECT):
        from redpencil.web.database import explained, open_database

        with explained(place):
            engine = open_database(place)
            try:
                yield engine
            finally:
                engine.dispose()


def edit_by_people(
    stage: Stage, config: EditorConfig, responses: Mapping[str, Sequence[Response]]
) -> dict[str, list[Edit]]:
    """Put responses into the project, once, and return people's edits of all of them, in the same order.

    An item is named after the stage, the response's id and a digest of its texts, so that no rerun adds it twice, and a
    text that two policies wrote for one prompt is edited once. Where a reviewer has decided, the decision counts; else
    the first edit that was handed in. What cannot be edited, was rejected or skipped has an outcome without a text.
    Answers that the stage put in before, and that are no longer among its own, are withdrawn.

    Raises:
        WaitingError: while people have work to do.
        RedpencilError: if the project cannot be used.
    """
    assert config.project is not None
    items = {_item_name(stage, row): row for rows in responses.values() for row in rows}
    with _opened(config.project) as engine:
        from redpencil.web.items import import_responses
        from redpencil.web.waiting import ask_for, count_waiting, edits_of

        refused = {name: f"it holds {bad}" for name, row in items.items() if (bad := unstorable(_texts(row)))}
        rows = (replace(row, id=name) for name, row in items.items() if name not in refused)
        refused |= {row.id: row.problem for row in import_responses(engine, rows).refused}
        asked = [name for name, row in items.items() if row.response.strip() and name not in refused]
        ask_for(engine, _asker(config.project, stage.folder.parent / stage.name), asked)
        if waiting := count_waiting(engine, asked):
            done = len(asked) - waiting
            stage.progress(done, len(asked), "edited by people")
            raise _not_done(config.project, stage, done, len(asked))
        edits = edits_of(engine, asked)

    def edit_of(row: Response) -> Edit:
        name = _item_name(stage, row)
        return _edit_of(row, edits.get(name), refused.get(name, SKIPPED))

    return {name: [edit_of(row) for row in rows] for name, rows in responses.items()}


def withdraw_old(config: EditorConfig, out: Path, stages: Iterable[Path]) -> None:
    """Withdraw what stages of the run in `out` asked people for that are no longer among the folders in `stages`.

    Raises:
        RedpencilError: if the project cannot be used.
    """
    place = config.project
    if place is None or not ("://" in place or Path(place).exists()):
        return
    with _opened(place) as engine:
        from redpencil.web.waiting import withdraw_others

        withdraw_others(engine, _named(place, out.resolve()), {_asker(place, folder) for folder in stages})


def _asker(place: str, folder: Path) -> str:
    """The name by which a project knows a stage of a run: its folder, which may be a link."""
    return _named(place, folder.parent.resolve() / folder.name)


def _named(place: str, path: Path) -> str:
    """A path of this machine; several machines may use a project that is not a file."""
    return f"{platform.node()}:{path}" if "://" in place else str(path)


def _item_name(stage: Stage, row: Response) -> str:
    texts = hashlib.sha256(f"{row.prompt}\0{row.response}".encode()).hexdigest()
    return f"{stage.name}/{row.id[:400]}/{texts[:16]}".replace("\0", "\N{REPLACEMENT CHARACTER}")


def _texts(row: Response) -> str:
    return f"{row.prompt}{row.response}{row.model}"


def _not_done(place: str, stage: Stage, done: int, total: int) -> WaitingError:
    command = f"redpencil annotate {'--database ' if '://' in place else ''}{place}"
    return WaitingError(
        f"{done:,} of {total:,} answers of {stage.name} are edited",
        file=place,
        field=_PROJECT,
        hint=f"let people edit the others (`{command}`), and run the same command again when they are done",
    )


def _edit_of(response: Response, edit: Edit | None, problem: str) -> Edit:
    text = response.response
    if edit is not None:
        meta = {"annotation": edit.meta["annotation"]}
        return make_edit(response, edit.edited if edit.outcome in HAS_TEXT else text, edit.outcome, edit.editor, meta)
    if not text.strip():
        return make_edit(response, text, EditOutcome.EMPTY, "")
    return make_edit(response, text, EditOutcome.FAILED, "", {"problem": problem})
