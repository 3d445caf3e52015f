"""UltraFeedback (https://github.com/OpenBMB/UltraFeedback): several rated completions, the best against the worst.

A completion's score is its `overall_score`; where fewer than two have one, its `fine-grained_score`, else the mean of
the ratings in its `annotations`. The first of the best and the first of the worst are taken. Equal scores are a tie.

The first release gave some 2,600 completions an `overall_score` of 10, many of which should have been 1. Its authors
corrected it in December 2023: a true 10 goes with a mean rating of more than 4 (https://github.com/OpenBMB/UltraFeedback,
issue 8 and section Update). So where a 10 goes with a lower one, the row's `overall_score` is not used. Data
binarised from the first release cannot be corrected like that.

Binarised versions have a prompt with chosen and rejected messages and their scores instead.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from redpencil.formats.base import Format, Kind, Nothing, Values, expected, number, optional_text, text
from redpencil.formats.conversations import Prompted
from redpencil.formats.preference_pairs import PreferencePair, Side, pair_readers
from redpencil.formats.trl import preference_pair
from redpencil.records import Preference

UNRATED = "rows with fewer than two rated completions"
_MEASURES = ("overall_score", "fine-grained_score", "annotations")
_LOW_RATING = 4
_BINARISED_SCORES = (("score_chosen", "score_rejected"), ("chosen-rating", "rejected-rating"))


def _pair_of(row: Values) -> PreferencePair | Nothing:
    if "completions" not in row:
        return _binarised(row)
    completions = row["completions"]
    if not isinstance(completions, list) or not all(isinstance(one, dict) for one in completions):
        raise expected("a list of completions", completions, "completions")
    measure, rated = _rated(completions)
    if len(rated) < 2:
        return Nothing(UNRATED)
    prompt = Prompted(text(row, "instruction"))
    best = max(rated, key=lambda pair: pair[0])
    worst = min(rated, key=lambda pair: pair[0])
    tie = best[0] == worst[0]
    (score, first), (other, second) = (rated[0], rated[1]) if tie else (best, worst)
    return PreferencePair(
        _side(prompt, first),
        _side(prompt, second),
        Preference.TIE if tie else Preference.FIRST,
        shared=frozenset({"instruction"}),
        meta={"scored_by": measure, "scores": [score, other]},
    )


def _rated(completions: Sequence[Values]) -> tuple[str, list[tuple[float, Values]]]:
    """The measure to compare the completions by, and the completions that have it with their scores."""
    rated: list[tuple[float, Values]] = []
    for measure in _MEASURES:
        if measure == "overall_score" and any(map(_doubtful, completions)):
            continue
        scores = [(_score(one, measure), one) for one in completions]
        rated = [(score, one) for score, one in scores if score is not None]
        if len(rated) >= 2:
            return measure, rated
    return _MEASURES[0], rated


def _doubtful(completion: Values) -> bool:
    """Return whether the score is a 10 that the ratings contradict."""
    if number(completion, "overall_score") != 10:
        return False
    rating = _score(completion, "annotations")
    return rating is not None and rating <= _LOW_RATING


def _score(completion: Values, measure: str) -> float | None:
    if measure != "annotations":
        return number(completion, measure)
    annotations = completion.get(measure)
    if not isinstance(annotations, dict):
        return None
    parts = [part for value in annotations.values() for part in (value if isinstance(value, list) else [value])]
    ratings = [_rating(part) for part in parts if isinstance(part, dict)]
    known = [rating for rating in ratings if rating is not None]
    return fmean(known) if known else None


def _rating(annotation: Mapping[str, Any]) -> float | None:
    rating = annotation.get("Rating")
    return None if rating == "N/A" else number(annotation, "Rating")


def _side(prompt: Prompted, completion: Values) -> Side:
    return Side(prompt, text(completion, "response"), frozenset(), optional_text(completion, "model"))


def _binarised(row: Values) -> PreferencePair:
    pair = preference_pair(row)
    for columns in _BINARISED_SCORES:
        scores = [number(row, column) for column in columns]
        if None not in scores and scores[0] == scores[1]:
            return PreferencePair(pair.first, pair.second, Preference.TIE, shared=pair.shared)
    return pair


ULTRAFEEDBACK = Format(
    "ultrafeedback",
    "UltraFeedback: instruction and rated completions, the best against the worst; or binarised",
    pair_readers(_pair_of, ("instruction", "completions"), ("prompt", "chosen", "rejected")),
    natural=(((), Kind.COMPARISONS),),
)
