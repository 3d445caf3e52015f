"""Errors that stop work on an item or a change to the project; each is named after the answer that it causes."""

from typing import Literal

from redpencil.errors import RedpencilError

StaleReason = Literal["changed", "taken", "done", "released"]


class WorkError(RedpencilError):
    """The base of errors that a page handles while a person works on an item."""


class Stale(WorkError):  # noqa: N818
    """The page is behind the server; nothing was overwritten, and the page still holds its own text.

    Args:
        problem: the event, in one sentence.
        text: the text that the server holds for this person and item.
        version: the version to send with the next draft or submission.
        reason: `changed` or `released` in another tab; `taken` by other people after the lease ran out; `done` if the
            item was submitted already.
    """

    def __init__(self, problem: str, *, text: str, version: int, reason: StaleReason) -> None:
        super().__init__(problem, hint="compare your text with the one on the server, and keep what you want")
        self.text = text
        self.version = version
        self.reason = reason


class Forbidden(WorkError):  # noqa: N818
    """The assignment or submission belongs to another person."""


class NotFound(WorkError):  # noqa: N818
    """The item, assignment or submission does not exist."""


class Refused(WorkError):  # noqa: N818
    """The content cannot be accepted, such as an edit beyond the hard limit; the draft is untouched."""


class BusyError(RedpencilError):
    """The database did not answer in time; nothing was done, and the request can be repeated."""


class StorageError(RedpencilError):
    """The database cannot store anything until an admin repairs the server, for example because its disk is full."""


class OutdatedError(RedpencilError):
    """The settings have changed since the person saw them; nothing was overwritten."""
