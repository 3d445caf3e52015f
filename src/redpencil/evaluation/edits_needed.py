"""Edits still needed: what an editor changes in a policy's answers, the share of them that stand as they are, and how
much that differs between two policies.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from redpencil.alignment.words import diff_words, split_words, without_spacing, word_distance
from redpencil.errors import RedpencilError
from redpencil.evaluation.statistics import percentile_interval, resampled_sums
from redpencil.intervals import CONFIDENCE, clustered_share
from redpencil.records import HAS_TEXT, Edit, EditOutcome, says_finished
from redpencil.text import prompt_key

MEASURED: Final = frozenset({*HAS_TEXT, EditOutcome.EMPTY})
"""Outcomes of edits that say what an answer needs."""


@dataclass(frozen=True, slots=True)
class AnswerNeeds:
    """What one answer needs.

    Args:
        prompt: key of its prompt.
        words: of the answer.
        edits: places that the editor changed.
        changed: words that the editor changed.
        cut_off: whether the answer ended at the length limit.
    """

    prompt: str
    words: int
    edits: int
    changed: int
    cut_off: bool

    @property
    def accepted(self) -> bool:
        """Whether it stands as it is: it has words and its end, and the editor changed none of it."""
        return bool(self.words) and not self.edits and not self.cut_off


def needs_of(edit: Edit, *, spacing: bool = False) -> AnswerNeeds | None:
    """Measure what an answer needs by its edit; None if the editor gave no text.

    A punctuation mark is a word. White space at the ends of a text is not counted; within it only with `spacing`, as
    for code, since a model that copies a text writes it in its own way. Edits are the blocks of `diff_words`: runs of
    changed words, joined if nothing but a word such as "of" is between them. Words are counted by `word_distance`: a
    replaced word counts once, as one change that a person makes, so an answer that is written anew counts as many
    changes as the longer text has words, and not twice as many.

    An empty answer needs the words that the editor wrote, and none if the editor was not asked.
    """
    if edit.outcome not in MEASURED:
        return None
    edited = edit.edited if edit.outcome is EditOutcome.EDITED else edit.original
    answer, better = (text.strip() if spacing else without_spacing(text) for text in (edit.original, edited))
    return AnswerNeeds(
        prompt=prompt_key(edit.prompt),
        words=len(split_words(answer)),
        edits=sum(block.kind != "equal" for block in diff_words(answer, better)),
        changed=word_distance(answer, better, spacing=spacing),
        cut_off=not says_finished(edit),
    )


@dataclass(frozen=True, slots=True)
class Ranged:
    """A number and the ends of its interval over prompts; these are not a number (nan) where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class EditsNeeded:
    """What a policy's answers need.

    Args:
        accepted: share of the answers that stand as they are, in percent.
        edits: places to change in 100 words of the answers.
        words: words to change in 100 words of the answers; None, as `edits`, if no answer has a word.
        answers: those that were measured.
        prompts: their prompts.
        empty: answers among them without a word, which are not accepted.
        cut_off: answers among them that ended at the length limit, which are not accepted either.
        unedited: answers for which the editor gave no text, and which count nowhere.
    """

    accepted: Ranged
    edits: Ranged | None
    words: Ranged | None
    answers: int
    prompts: int
    empty: int
    cut_off: int
    unedited: int


@dataclass(frozen=True, slots=True)
class NeedsDifference:
    """What one policy's answers need less what another's need, on the `prompts` that both answered; `accepted` is in
    percent points.
    """

    accepted: Ranged
    edits: Ranged | None
    words: Ranged | None
    prompts: int


MEASURES: Final = ("accepted", "edits", "words")
Sums = Sequence[npt.NDArray[np.float64]]
_RATIOS: Final[dict[str, Callable[[Sums], Any]]] = {
    "accepted": lambda sums: 100 * sums[1] / sums[0],
    "edits": lambda sums: 100 * sums[2] / sums[4],
    "words": lambda sums: 100 * sums[3] / sums[4],
}
"""Each measure as a ratio of sums over prompts: of answers, accepted ones, edits, changed words, and words."""


def edits_needed(edits: Iterable[Edit], *, spacing: bool = False, confidence: float = CONFIDENCE) -> EditsNeeded:
    """Measure what a policy's answers need, each as `needs_of` does.

    Intervals are over prompts: Wilson's of the share, and the others' by the percentile bootstrap.

    Raises:
        RedpencilError: if no answer was edited.
    """
    rows = [needs_of(edit, spacing=spacing) for edit in edits]
    needs = [row for row in rows if row is not None]
    if not needs:
        raise RedpencilError(
            f"none of {len(rows):,} answers has an edit", hint="give edits with the outcome edited or unchanged"
        )
    sums = _sums_by_prompt(needs)
    columns = np.array(list(sums.values())).T
    intervals = _intervals([columns], confidence)
    share = clustered_share([float(row.accepted) for row in needs], [row.prompt for row in needs], confidence)
    return EditsNeeded(
        accepted=Ranged(100 * share.value, 100 * share.low, 100 * share.high),
        edits=intervals["edits"],
        words=intervals["words"],
        answers=len(needs),
        prompts=len(sums),
        empty=sum(not row.words for row in needs),
        cut_off=sum(row.cut_off for row in needs),
        unedited=len(rows) - len(needs),
    )


def needs_difference(
    first: Iterable[Edit], second: Iterable[Edit], *, spacing: bool = False, confidence: float = CONFIDENCE
) -> NeedsDifference | None:
    """Measure by how much two policies' answers differ in what they need, paired over the prompts that both answered.

    The interval is that of the percentile bootstrap, which draws prompts with the answers of both. None if they share
    no prompt.
    """
    measured = [[needs_of(edit, spacing=spacing) for edit in edits] for edits in (first, second)]
    sides = [_sums_by_prompt(row for row in rows if row is not None) for rows in measured]
    shared = [prompt for prompt in sides[0] if prompt in sides[1]]
    if not shared:
        return None
    columns = [np.array([side[prompt] for prompt in shared]).T for side in sides]
    intervals = _intervals(columns, confidence)
    accepted = intervals["accepted"]
    assert accepted is not None  # there are answers
    return NeedsDifference(accepted, intervals["edits"], intervals["words"], len(shared))


def _sums_by_prompt(needs: Iterable[AnswerNeeds]) -> dict[str, npt.NDArray[np.float64]]:
    """Add up, by prompt, the five numbers of which `_RATIOS` are made."""
    sums: dict[str, npt.NDArray[np.float64]] = {}
    for row in needs:
        own = np.array([1, row.accepted, row.edits, row.changed, row.words], dtype=np.float64)
        sums[row.prompt] = sums.get(row.prompt, 0) + own
    return sums


def _intervals(policies: Sequence[npt.NDArray[np.float64]], confidence: float) -> dict[str, Ranged | None]:
    """Compute each measure of one policy, or of the first less the second, from sums [5, N] over the same N prompts."""
    drawn = resampled_sums([column for columns in policies for column in columns])
    samples = [drawn[start : start + 5] for start in range(0, len(drawn), 5)]
    whole = [columns.sum(axis=1) for columns in policies]
    measured: dict[str, Ranged | None] = {}
    with np.errstate(divide="ignore", invalid="ignore"):  # where no answer has a word
        for name, ratio in _RATIOS.items():
            value, values = ([ratio(sums) for sums in policy] for policy in (whole, samples))
            difference, drawn_ones = (of[0] - of[1] if len(of) > 1 else of[0] for of in (value, values))
            measured[name] = None
            if np.isfinite(difference):
                ends = percentile_interval(drawn_ones[np.isfinite(drawn_ones)], confidence)
                measured[name] = Ranged(float(difference), *ends)
    return measured
