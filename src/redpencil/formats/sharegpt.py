"""ShareGPT's conversations, as FastChat, Axolotl and LLaMA-Factory read them: messages with `from` and `value`.

conversations        [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]; also system, tool or
                     observation (what a tool gave back) and function_call (a call as JSON text)
system               a system message, unless the conversation begins with one
chosen, rejected     two messages that may follow the conversation, the first better

Conversations in OpenAI's form, under `conversations` or `messages`, are read as well.
"""

from collections.abc import Iterator

from redpencil.formats.base import Draft, Format, Kind, Nothing, Reader, Values, optional_text
from redpencil.formats.conversations import Message, answer_in, conversation_in, prompt_of
from redpencil.formats.preference_pairs import PreferencePair, Side, pair_readers
from redpencil.formats.trl import CONVERSATIONS
from redpencil.records import Preference

_NEEDS = tuple((name,) for name in CONVERSATIONS)
_PAIR = tuple((name, "chosen", "rejected") for name in CONVERSATIONS)


def _conversation(row: Values) -> tuple[tuple[Message, ...], str]:
    """The messages with those of the column `system`, and the column that they came from."""
    column = next(name for name in CONVERSATIONS if name in row)
    messages, system = conversation_in(row[column], column), optional_text(row, "system")
    if system and (not messages or messages[0]["role"] != "system"):
        messages = ({"role": "system", "content": system}, *messages)
    return messages, column


def _pair_of(row: Values) -> PreferencePair:
    messages, column = _conversation(row)
    used = frozenset({column, "system"})
    return PreferencePair(
        _side(row, messages, "chosen"), _side(row, messages, "rejected"), Preference.FIRST, shared=used
    )


def _side(row: Values, before: tuple[Message, ...], column: str) -> Side:
    value = row[column]
    own = conversation_in(value if isinstance(value, list) else [value], column)
    answered = answer_in((*before, *own), column)
    return Side(prompt_of(answered.before, column), answered.text, frozenset({column}), meta=answered.meta)


_PAIRS = pair_readers(_pair_of, *_PAIR)


def _answers(row: Values) -> Iterator[Draft | Nothing]:
    messages, column = _conversation(row)
    answered = answer_in(messages, column)
    prompt = prompt_of(answered.before, column)
    used = frozenset({column, "system"})
    yield Draft({"prompt": prompt.text, "response": answered.text}, used, {**prompt.meta, **answered.meta})


def _prompts(row: Values) -> Iterator[Draft | Nothing]:
    """The messages before the last answer; all of them, if the last one is not an answer."""
    messages, column = _conversation(row)
    answered = answer_in(messages, column) if messages and messages[-1]["role"] == "assistant" else None
    prompt = prompt_of(messages if answered is None else answered.before, column)
    kept = {} if answered is None else {"completion": answered.text, **answered.meta}
    yield Draft({"prompt": prompt.text}, frozenset({column, "system"}), {**prompt.meta, **kept})


def _reader(kind: Kind) -> Reader:
    return Reader(
        _NEEDS, lambda row: _PAIRS[kind].read(row) if "chosen" in row and "rejected" in row else _answers(row)
    )


SHAREGPT = Format(
    "sharegpt",
    "ShareGPT: conversations with from and value (human, gpt, system, tools); may have system, chosen, rejected",
    {
        **_PAIRS,
        Kind.EXAMPLES: _reader(Kind.EXAMPLES),
        Kind.RESPONSES: _reader(Kind.RESPONSES),
        Kind.PROMPTS: Reader(_NEEDS, _prompts),
    },
    natural=((("chosen", "rejected"), Kind.COMPARISONS), ((), Kind.EXAMPLES)),
)
