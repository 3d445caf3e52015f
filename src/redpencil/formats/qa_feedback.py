"""QA-Feedback (https://github.com/allenai/FineGrainedRLHF): human corrections of long answers to questions.

    question, passages, gold
    prediction 1 ... prediction 4    sampled answers; the first one was corrected
    feedback                         errors: labelled spans of the first (start, end in characters, end excluded);
                                     missing-info; corrected-prediction: the text as a person corrected it
    preference                       six judgements, 1v2 1v3 1v4 2v3 2v4 3v4: 1 the first, 2 the second, 0 a tie

An edit keeps the spans in `meta["spans"]` and the rest of the feedback in `meta["feedback"]`. An empty correction means
that none was made.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from redpencil.formats.base import Draft, Format, Kind, Nothing, Reader, Values, expected, text
from redpencil.records import EditOutcome, Preference

UNCORRECTED = "items whose corrected prediction is empty, so that no edit was made"
HUMAN = "human"
_FIRST = "prediction 1"
_NEEDS = ("question", _FIRST, "feedback")
_PREDICTIONS = tuple(f"prediction {number}" for number in range(1, 5))
_MEANING = {0: Preference.TIE, 1: Preference.FIRST, 2: Preference.SECOND}


def _edits(row: Values) -> Iterator[Draft | Nothing]:
    original, (corrected, meta) = text(row, _FIRST), _feedback(row)
    if not corrected.strip():
        yield Nothing(UNCORRECTED)
        return
    yield Draft(
        {"prompt": text(row, "question"), "original": original, "edited": corrected},
        frozenset(_NEEDS),
        meta,
        {"editor": HUMAN, "outcome": EditOutcome.UNCHANGED if corrected == original else EditOutcome.EDITED},
    )


def _responses(row: Values) -> Iterator[Draft | Nothing]:
    corrected, meta = _feedback(row)
    yield Draft(
        {"prompt": text(row, "question"), "response": text(row, _FIRST)},
        frozenset(_NEEDS),
        {**meta, "corrected-prediction": corrected},
    )


def _examples(row: Values) -> Iterator[Draft | Nothing]:
    corrected, _ = _feedback(row)
    if not corrected.strip():
        yield Nothing(UNCORRECTED)
        return
    yield Draft({"prompt": text(row, "question"), "response": corrected}, frozenset({"question"}))


def _prompts(row: Values) -> Iterator[Draft | Nothing]:
    yield Draft({"prompt": text(row, "question")}, frozenset({"question"}))


def _comparisons(row: Values) -> Iterator[Draft | Nothing]:
    judgements = row["preference"]
    pairs = list(combinations(range(1, 5), 2))
    if not isinstance(judgements, list) or len(judgements) != len(pairs):
        raise expected("a list of six preferences", judgements, "preference")
    for judgement, (first, second) in zip(judgements, pairs, strict=True):
        if type(judgement) is not int or judgement not in _MEANING:
            raise expected("1 (the first), 2 (the second) or 0 (a tie)", judgement, "preference")
        yield Draft(
            {
                "prompt": text(row, "question"),
                "first": text(row, f"prediction {first}"),
                "second": text(row, f"prediction {second}"),
                "preference": _MEANING[judgement],
            },
            frozenset({"question", "preference", *_PREDICTIONS}),
            defaults={"annotator": HUMAN},
            suffix=f"{first}v{second}",
        )


def _feedback(row: Values) -> tuple[str, dict[str, Any]]:
    """The corrected text, and the labelled spans and the rest of the feedback, for `meta`."""
    feedback = row["feedback"]
    if not isinstance(feedback, dict):
        raise expected("an object with errors and corrected-prediction", feedback, "feedback")
    corrected, spans = feedback.get("corrected-prediction"), feedback.get("errors")
    if not isinstance(corrected, str):
        raise expected("text in corrected-prediction", corrected, "feedback")
    if not isinstance(spans, list):
        raise expected("a list in errors", spans, "feedback")
    length = len(text(row, _FIRST))
    for span in spans:
        start, end = (span.get("start"), span.get("end")) if isinstance(span, dict) else (None, None)
        if type(start) is not int or type(end) is not int or not 0 <= start <= end <= length:
            raise expected(f"errors with start and end within the {length} characters of {_FIRST}", span, "feedback")
    rest = {key: value for key, value in feedback.items() if key not in ("corrected-prediction", "errors")}
    return corrected, {"spans": spans, **({"feedback": rest} if rest else {})}


QA_FEEDBACK = Format(
    "qa-feedback",
    "QA-Feedback: prediction 1 and its human correction, with labelled error spans; or six preferences",
    {
        Kind.EDITS: Reader((_NEEDS,), _edits),
        Kind.COMPARISONS: Reader((("question", "preference", *_PREDICTIONS),), _comparisons),
        Kind.RESPONSES: Reader((_NEEDS,), _responses),
        Kind.EXAMPLES: Reader((_NEEDS,), _examples),
        Kind.PROMPTS: Reader((("question",),), _prompts),
    },
    natural=(((), Kind.EDITS),),
)
