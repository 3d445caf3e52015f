"""PKU-SafeRLHF (https://huggingface.co/datasets/PKU-Alignment/PKU-SafeRLHF): two answers, and two judgements of them.

prompt, response_0, response_1   texts
better_response_id               0 or 1: the more helpful answer
safer_response_id                0 or 1: the safer one; --column better_response_id=safer_response_id prefers by it
"""

from redpencil.formats.base import Format, Kind, Values, expected, number, text
from redpencil.formats.conversations import prompt_in
from redpencil.formats.preference_pairs import PreferencePair, Side, pair_readers
from redpencil.records import Preference

_NEEDS = ("prompt", "response_0", "response_1", "better_response_id")


def _pair_of(row: Values) -> PreferencePair:
    better = number(row, "better_response_id")
    if better not in (0, 1):
        raise expected("0 or 1, the number of the better response", row["better_response_id"], "better_response_id")
    prompt = prompt_in(row, "prompt")
    first, second = (Side(prompt, text(row, name), frozenset({name})) for name in ("response_0", "response_1"))
    return PreferencePair(
        first,
        second,
        Preference.SECOND if better else Preference.FIRST,
        shared=frozenset({"prompt"}),
        settled=frozenset({"better_response_id"}),
    )


PKU = Format(
    "pku-saferlhf",
    "PKU-SafeRLHF: prompt, response_0, response_1, better_response_id 0 or 1",
    pair_readers(_pair_of, _NEEDS),
    natural=(((), Kind.COMPARISONS),),
)
