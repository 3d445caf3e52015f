"""HelpSteer3 (https://huggingface.co/datasets/nvidia/HelpSteer3), whose columns depend on its configuration.

    preference     context, response1, response2, overall_preference: -3 (the first is much better) to 3 (the second)
    edit           context, original_response, edited_response, feedback, change_summary
    edit_quality   context, original_response, good_edited_response, bad_edited_response, feedback
    feedback       context, response, feedback

`context` is a list of messages. All judgements and edits were made by people.
"""

from collections.abc import Iterator

from redpencil.formats.base import UNDECIDED, Draft, Format, Kind, Nothing, Reader, Values, expected, number, text
from redpencil.formats.conversations import prompt_in
from redpencil.formats.preference_pairs import PreferencePair, Side, pair_readers
from redpencil.records import Preference

_PREFERENCE = ("context", "response1", "response2", "overall_preference")
_EDIT = ("context", "original_response", "edited_response")
_QUALITY = ("context", "original_response", "good_edited_response", "bad_edited_response")
_FEEDBACK = ("context", "response")
HUMAN = "human"


def _preferred(row: Values) -> PreferencePair | Nothing:
    """Two answers and the better one; of two edits the one that follows the feedback."""
    if "good_edited_response" in row:
        return _pair(row, "good_edited_response", "bad_edited_response", Preference.FIRST)
    if "response1" not in row:
        return _corrected(row)
    strength = number(row, "overall_preference")
    if strength is None:
        return Nothing(UNDECIDED)
    if not -3 <= strength <= 3:
        raise expected("a number from -3 to 3", row["overall_preference"], "overall_preference")
    better = Preference.FIRST if strength < 0 else Preference.SECOND if strength > 0 else Preference.TIE
    return _pair(row, "response1", "response2", better)


def _corrected(row: Values) -> PreferencePair | Nothing:
    """An answer and its edit; of two edits the one that follows the feedback."""
    if "original_response" not in row:
        return _preferred(row)
    edited = "good_edited_response" if "good_edited_response" in row else "edited_response"
    return _pair(row, edited, "original_response", Preference.FIRST, editor=HUMAN)


def _pair(row: Values, first: str, second: str, preference: Preference, editor: str = "") -> PreferencePair:
    prompt = prompt_in(row, "context")
    return PreferencePair(
        Side(prompt, text(row, first), frozenset({first})),
        Side(prompt, text(row, second), frozenset({second})),
        preference,
        shared=frozenset({"context"}),
        annotator=HUMAN,
        editor=editor,
    )


_PAIRS = pair_readers(_preferred, _PREFERENCE, _EDIT, _QUALITY)
_CORRECTED = pair_readers(_corrected, _EDIT, _QUALITY, _PREFERENCE)


def _responses(row: Values) -> Iterator[Draft | Nothing]:
    if not {"original_response", "response1"} & row.keys():
        prompt = prompt_in(row, "context")
        fields = {"prompt": prompt.text, "response": text(row, "response")}
        yield Draft(fields, frozenset(_FEEDBACK), prompt.meta)
    else:
        yield from _CORRECTED[Kind.RESPONSES].read(row)


def _prompts(row: Values) -> Iterator[Draft | Nothing]:
    prompt = prompt_in(row, "context")
    yield Draft({"prompt": prompt.text}, frozenset({"context"}), prompt.meta)


HELPSTEER3 = Format(
    "helpsteer3",
    "HelpSteer3: context with response1, response2, overall_preference; or original_response, edited_response",
    {
        Kind.COMPARISONS: _PAIRS[Kind.COMPARISONS],
        Kind.EDITS: _CORRECTED[Kind.EDITS],
        Kind.RESPONSES: Reader((_EDIT, _QUALITY, _PREFERENCE, _FEEDBACK), _responses),
        Kind.EXAMPLES: _CORRECTED[Kind.EXAMPLES],
        Kind.PROMPTS: Reader((("context",),), _prompts),
    },
    natural=((("original_response",), Kind.EDITS), (("response",), Kind.RESPONSES), ((), Kind.COMPARISONS)),
)
