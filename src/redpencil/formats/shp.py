"""Stanford Human Preferences (https://huggingface.co/datasets/stanfordnlp/SHP): a post and two comments on it.

history                     the post
human_ref_A, human_ref_B    the comments
labels                      1 if A was preferred, 0 if B
"""

from redpencil.formats.base import Format, Kind, Values, expected, number, text
from redpencil.formats.conversations import Prompted
from redpencil.formats.preference_pairs import PreferencePair, Side, pair_readers
from redpencil.records import Preference

_NEEDS = ("history", "human_ref_A", "human_ref_B", "labels")


def _pair_of(row: Values) -> PreferencePair:
    label = number(row, "labels")
    if label not in (0, 1):
        raise expected("1 (A was preferred) or 0 (B)", row["labels"], "labels")
    prompt = Prompted(text(row, "history"))
    first, second = (Side(prompt, text(row, name), frozenset({name})) for name in ("human_ref_A", "human_ref_B"))
    return PreferencePair(
        first,
        second,
        Preference.FIRST if label else Preference.SECOND,
        shared=frozenset({"history"}),
        settled=frozenset({"labels"}),
        annotator="human",
    )


SHP = Format(
    "shp",
    "Stanford Human Preferences: history, human_ref_A, human_ref_B, labels 1 (A) or 0 (B)",
    pair_readers(_pair_of, _NEEDS),
    natural=(((), Kind.COMPARISONS),),
)
