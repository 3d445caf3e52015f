"""TRL's data set types, https://huggingface.co/docs/trl/dataset_formats: texts, or lists of messages.

A preference pair without a prompt column has its prompt in both sides. In messages it is everything before the last
one. In texts it is the beginning that both share, up to the end of a word; where the answers begin alike too, they
cannot be told from the prompt, so read dialogues as `hh-rlhf`, and give edits an explicit prompt. A text in the column
`system` of a pair becomes the system message before its prompt.
"""

from collections.abc import Iterator

from redpencil.errors import RedpencilError
from redpencil.formats.base import Draft, Format, Kind, Nothing, Reader, Values, expected
from redpencil.formats.conversations import (
    CONVERSATIONS,
    Message,
    Prompted,
    answer_in,
    conversation_of,
    messages_in,
    prompt_in,
    prompt_of,
    with_system,
)
from redpencil.formats.preference_pairs import PreferencePair, Side, pair_readers
from redpencil.records import Preference

_ORDER = {"first": Preference.FIRST, "second": Preference.SECOND}


def preference_pair(row: Values) -> PreferencePair:
    """Read a row with chosen and rejected sides. The column `preference` of redpencil's export keeps their order.

    Raises:
        RedpencilError: if a side is not an answer, or the prompt cannot be told from the answers.
    """
    asked = None if row.get("prompt") is None else messages_in(row["prompt"], "prompt")
    whole = None if asked is None else with_system(asked, row)
    chosen, rejected = _sides(row, whole)
    order = row.get("preference")
    placed = _ORDER.get(order) if isinstance(order, str) else None
    first, second = (rejected, chosen) if placed is Preference.SECOND else (chosen, rejected)
    return PreferencePair(
        first,
        second,
        placed or Preference.FIRST,
        shared=frozenset({"prompt"} & row.keys() | (set() if whole is asked else {"system"})),
        settled=frozenset({"preference"} if placed else ()),
    )


def _sides(row: Values, asked: tuple[Message, ...] | None) -> tuple[Side, Side]:
    chosen, rejected = row["chosen"], row["rejected"]
    if not isinstance(chosen, str | list):
        raise expected("text or a list of messages", chosen, "chosen")
    if not isinstance(rejected, list if isinstance(chosen, list) else str):
        raise expected("the same as in chosen, text or a list of messages", rejected, "rejected")
    if isinstance(chosen, list) or isinstance(rejected, list):
        return _side(asked, chosen, "chosen"), _side(asked, rejected, "rejected")
    if asked is None:
        prompt = Prompted(_shared_beginning(chosen, rejected))
        cut = len(prompt.text)
        chosen, rejected = chosen[cut:], rejected[cut:]
    else:
        prompt = prompt_of(asked, "prompt")
    return Side(prompt, chosen, frozenset({"chosen"})), Side(prompt, rejected, frozenset({"rejected"}))


def _side(asked: tuple[Message, ...] | None, value: object, column: str) -> Side:
    answered = answer_in(messages_in(value, column), column)
    before = answered.before
    # Some data repeats the prompt within the sides; otherwise the messages there continue the prompt.
    if asked is not None and before[: len(asked)] != asked:
        before = asked + before
    return Side(prompt_of(before, column), answered.text, frozenset({column}), meta=answered.meta)


def _shared_beginning(chosen: str, rejected: str) -> str:
    apart = next((at for at, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other), None)
    shared = chosen[: min(len(chosen), len(rejected)) if apart is None else apart]
    end = max((at for at, character in enumerate(shared) if character.isspace()), default=0)
    if not shared[:end].strip() or chosen == rejected:
        raise RedpencilError(
            "no prompt column, and the prompt cannot be told from the two sides",
            field="chosen",
            hint="give a column `prompt`, name yours with `--column prompt=NAME`, or try `--format hh-rlhf`",
        )
    return shared[:end]


def _prompts(row: Values) -> Iterator[Draft | Nothing]:
    prompt = prompt_in(row, "prompt")
    yield Draft({"prompt": prompt.text}, frozenset({"prompt"}), prompt.meta)


def answers(row: Values) -> Iterator[Draft | Nothing]:
    """Read the answer at the end of a conversation, or a completion."""
    prompt, text, used, meta = _prompt_and_answer(row)
    yield Draft({"prompt": prompt.text, "response": text}, used, {**prompt.meta, **meta})


def prompts_of_answers(row: Values) -> Iterator[Draft | Nothing]:
    """Read what comes before the answer; all of a conversation that ends without one."""
    if "completion" not in row:
        talk = conversation_of(row)
        if talk.messages and talk.messages[-1]["role"] != "assistant":
            prompt = prompt_of(talk.messages, talk.column)
            yield Draft({"prompt": prompt.text}, talk.used, prompt.meta)
            return
    prompt, text, used, meta = _prompt_and_answer(row)
    # Messages with the answer among them would be taken for the prompt's.
    kept = {} if "completion" in used else {"completion": text, **meta}
    yield Draft({"prompt": prompt.text}, used - {"completion"}, {**prompt.meta, **kept})


def _prompt_and_answer(row: Values) -> tuple[Prompted, str, frozenset[str], Values]:
    """The prompt, the answer, the columns they came from, and content that they do not hold."""
    if not row.keys() >= {"prompt", "completion"}:
        talk = conversation_of(row)
        answered = answer_in(talk.messages, talk.column)
        return prompt_of(answered.before, talk.column), answered.text, talk.used, answered.meta
    asked = messages_in(row["prompt"], "prompt")
    used = frozenset({"prompt", "completion"})
    if isinstance(row["completion"], str):
        return prompt_of(asked, "prompt"), row["completion"], used, {}
    answered = answer_in(messages_in(row["completion"], "completion"), "completion")
    return prompt_of(asked + answered.before, "prompt"), answered.text, used, answered.meta


_PAIR = ("chosen", "rejected")
_ANSWER = (("prompt", "completion"), *((name,) for name in CONVERSATIONS))

PREFERENCE = Format(
    "trl-preference",
    "TRL preference pairs: prompt (or none), chosen, rejected; texts or lists of messages",
    pair_readers(preference_pair, _PAIR),
    natural=(((), Kind.COMPARISONS),),
)
PROMPT = Format(
    "trl-prompt",
    "TRL prompt-only rows: prompt; text or a list of messages",
    {Kind.PROMPTS: Reader((("prompt",),), _prompts)},
    natural=(((), Kind.PROMPTS),),
)
MESSAGES = Format(
    "trl-messages",
    "TRL conversations (messages) and prompt-completion rows; the last answer of the assistant counts",
    {
        Kind.EXAMPLES: Reader(_ANSWER, answers),
        Kind.RESPONSES: Reader(_ANSWER, answers),
        Kind.PROMPTS: Reader(_ANSWER, prompts_of_answers),
    },
    natural=(((), Kind.EXAMPLES),),
)
