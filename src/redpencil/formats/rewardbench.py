"""RewardBench (https://huggingface.co/datasets/allenai/reward-bench): pairs to test reward models on.

prompt, chosen, rejected         an instruction (or a list of messages) and two answers, the first better
chosen_model, rejected_model     the models that wrote them
subset                           the source of the pair, such as mt-bench-easy; `evaluate reward` averages by it
"""

from redpencil.formats.base import Format, Kind, Values, optional_text, text
from redpencil.formats.conversations import prompt_in
from redpencil.formats.preference_pairs import PreferencePair, Side, pair_readers
from redpencil.records import Preference

_NEEDS = ("prompt", "chosen", "chosen_model", "rejected", "rejected_model", "subset")


def _pair_of(row: Values) -> PreferencePair:
    text(row, "subset")
    return PreferencePair(_side(row, "chosen"), _side(row, "rejected"), Preference.FIRST, shared=frozenset({"prompt"}))


def _side(row: Values, column: str) -> Side:
    prompt, writer = prompt_in(row, "prompt"), f"{column}_model"
    # A column `model` would fill the field; then the writer has to stay in its own column.
    model = "" if "model" in row else optional_text(row, writer)
    return Side(prompt, text(row, column), frozenset({column}), model, writer)


REWARDBENCH = Format(
    "rewardbench",
    "RewardBench: prompt, chosen, chosen_model, rejected, rejected_model, subset",
    pair_readers(_pair_of, _NEEDS),
    natural=(((), Kind.COMPARISONS),),
)
