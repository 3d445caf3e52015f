"""What stops somebody's work on an item; each exception is named after the answer that the person gets."""

from typing import Literal

from redpencil.errors import RedpencilError

StaleReason = Literal["changed", "taken", "done", "released"]


class WorkError(RedpencilError):
    """The base of what a page has to handle when it works on an item."""


class Stale(WorkError):  # noqa: N818
    """The page is behind the server; nothing was overwritten, and the page still holds its own text.

    Args:
        problem: what happened, in one sentence.
        text: the text that the server holds for this person and item.
        version: the version to send with the next draft or submit.
        reason: `changed` in another tab; `taken` by other people after the lease ran out; `done`, that is submitted
            already; `released` in another tab.
    """

    def __init__(self, problem: str, *, text: str, version: int, reason: StaleReason) -> None:
        super().__init__(problem, hint="compare your text with the one on the server, and keep what you want")
        self.text = text
        self.version = version
        self.reason = reason


class Forbidden(WorkError):  # noqa: N818
    """The assignment or submission is somebody else's."""


class NotFound(WorkError):  # noqa: N818
    """There is no such item, assignment or submission."""


class Refused(WorkError):  # noqa: N818
    """What was sent cannot be accepted as it is, such as an edit beyond the hard limit; the draft is untouched."""


class BusyError(RedpencilError):
    """The database has not answered in time; nothing was done, and the same may be tried again."""


class StorageError(RedpencilError):
    """The database can keep nothing until somebody sees to the server, as where its disk is full."""


class OutdatedError(RedpencilError):
    """What somebody wants to change is not as they saw it any more; nothing was overwritten."""
