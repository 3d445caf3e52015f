r"""HH-RLHF (https://github.com/anthropics/hh-rlhf): two dialogues in one text each, chosen and rejected.

Turns begin with "\n\nHuman:" and "\n\nAssistant:"; the last one is the answer. One space after the colon belongs to the
marker, everything else to the text.
"""

import re
from typing import Final

from redpencil.errors import RedpencilError
from redpencil.formats.base import Format, Kind, Values, text
from redpencil.formats.conversations import Message, answer_in, prompt_of
from redpencil.formats.preference_pairs import PreferencePair, Side, pair_readers
from redpencil.records import Preference

_TURN: Final = re.compile(r"(?:\A|\n\n)(Human|Assistant): ?")
_ROLES: Final = {"Human": "user", "Assistant": "assistant"}


def turns(dialogue: str, column: str) -> tuple[Message, ...]:
    """Split a dialogue into messages.

    Raises:
        RedpencilError: if it does not begin with a turn.
    """
    head, *parts = _TURN.split(dialogue)
    if head.strip() or not parts:
        raise RedpencilError(
            r'expected a dialogue that begins with "\n\nHuman:"',
            field=column,
            hint="check the column, or try `--format trl-preference`",
        )
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return tuple({"role": _ROLES[name], "content": content} for name, content in pairs)


def _pair_of(row: Values) -> PreferencePair:
    return PreferencePair(_side(row, "chosen"), _side(row, "rejected"), Preference.FIRST)


def _side(row: Values, column: str) -> Side:
    answered = answer_in(turns(text(row, column), column), column)
    return Side(prompt_of(answered.before, column), answered.text, frozenset({column}))


HH_RLHF = Format(
    "hh-rlhf",
    r'HH-RLHF dialogues: chosen and rejected texts with "\n\nHuman:" and "\n\nAssistant:" turns',
    pair_readers(_pair_of, ("chosen", "rejected")),
    natural=(((), Kind.COMPARISONS),),
)
