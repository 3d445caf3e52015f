"""ShareGPT's conversations, as FastChat, Axolotl and LLaMA-Factory read them: messages with `from` and `value`.

conversations        [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]; also system, tool or
                     observation (what a tool gave back) and function_call (a call as JSON text)
system               a system message, unless the conversation begins with one
chosen, rejected     two messages that may follow the conversation, the first better

Conversations in OpenAI's form, under `conversations` or `messages`, are read as well.
"""

from redpencil.errors import RedpencilError
from redpencil.formats.base import Format, Kind, Reader, Values
from redpencil.formats.conversations import CONVERSATIONS, Message, answer_in, conversation_of, messages_in, prompt_of
from redpencil.formats.preference_pairs import PreferencePair, Side, pair_readers
from redpencil.formats.trl import answers, prompts_of_answers
from redpencil.records import Preference

_NEEDS = tuple((name,) for name in CONVERSATIONS)
_PAIR = tuple((name, "chosen", "rejected") for name in CONVERSATIONS)


def _pair_of(row: Values) -> PreferencePair:
    talk = conversation_of(row)
    if talk.messages and talk.messages[-1]["role"] == "assistant":
        raise RedpencilError(
            "the conversation ends with an answer, so that chosen and rejected do not follow it",
            field=talk.column,
            hint="try `--format trl-preference`, which does not read the conversation",
        )
    chosen, rejected = (_side(row, talk.messages, name) for name in ("chosen", "rejected"))
    return PreferencePair(chosen, rejected, Preference.FIRST, shared=talk.used)


def _side(row: Values, before: tuple[Message, ...], column: str) -> Side:
    value = row[column]
    message = {"role": "assistant", "content": value} if isinstance(value, str) else value
    own = messages_in(message if isinstance(message, list) else [message], column)
    answered = answer_in((*before, *own), column)
    return Side(prompt_of(answered.before, column), answered.text, frozenset({column}), meta=answered.meta)


_PAIRS = pair_readers(_pair_of, *_PAIR)


def _reader(kind: Kind) -> Reader:
    pairs = _PAIRS[kind].read
    return Reader(_NEEDS, lambda row: (pairs if row.keys() >= {"chosen", "rejected"} else answers)(row))


SHAREGPT = Format(
    "sharegpt",
    "ShareGPT: conversations with from and value (human, gpt, system, tools); may have system, chosen, rejected",
    {
        **_PAIRS,
        Kind.EXAMPLES: _reader(Kind.EXAMPLES),
        Kind.RESPONSES: _reader(Kind.RESPONSES),
        Kind.PROMPTS: Reader(_NEEDS, prompts_of_answers),
    },
    natural=((("chosen", "rejected"), Kind.COMPARISONS), ((), Kind.EXAMPLES)),
)
