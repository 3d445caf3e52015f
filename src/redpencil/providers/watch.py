"""When a run only wastes time and money: the server is down, or refuses all that it is asked."""

from dataclasses import dataclass
from typing import Final

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Request, Result
from redpencil.providers.shown import reason_of

_REFUSED_AT_FIRST: Final = 20
_FAILED_IN_A_ROW: Final = 50
PASSING: Final = (408, 409, 429)
"""Statuses below 500 that the SDKs repeat."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request, and the HTTP status of the last reply to it; 0 where there was none."""

    request: Request
    result: Result
    status: int = 200

    @property
    def refused(self) -> bool:
        """Whether the server refuses this very request."""
        return 400 <= self.status < 500 and self.status not in PASSING


@dataclass(slots=True)
class Watch:
    """Counts failures. A refusal after an answer is about one row; so is any failure that a row has had before."""

    succeeded: bool = False
    in_a_row: int = 0
    refusals: int = 0
    reason: str = ""

    def see(self, answer: Answer, server: str) -> RedpencilError | None:
        """The error that ends the run, if this answer was one failure too many."""
        if isinstance(answer.result, Completion):
            self.succeeded, self.in_a_row = True, 0
            return None
        if (answer.refused and self.succeeded) or (answer.status and answer.request.failed_before):
            return None
        problem = answer.result.problem
        self.in_a_row += 1
        alike = answer.refused and not self.succeeded and reason_of(problem) == (self.reason or reason_of(problem))
        self.reason, self.refusals = reason_of(problem), self.refusals + 1 if alike else 0
        if self.refusals == self.in_a_row == _REFUSED_AT_FIRST:
            what = f"{server} refused the first {_REFUSED_AT_FIRST} requests for one reason: {problem}"
            return RedpencilError(what, way_out="check --model, the template and the parameters that go with them")
        if self.in_a_row == _FAILED_IN_A_ROW:
            what = f"{_FAILED_IN_A_ROW} requests in a row failed, the last with: {problem}"
            return RedpencilError(what, way_out=f"when {server} is well again, the same command goes on")
        return None
