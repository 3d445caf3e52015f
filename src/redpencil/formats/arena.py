"""Battles of two models: Chatbot Arena's votes, MT-Bench's human votes and the verdicts of its judges.

model_a, model_b, winner            the winner is model_a, model_b, tie, tie (bothbad), or a model by its name
conversation_a, conversation_b      lists of messages; of MT-Bench's, only the first `turn` answers were judged
prompt, response_a, response_b      instead of conversations: texts, or lists of the turns' texts, also as JSON text
winner_model_a, _b, winner_tie      instead of a winner: 1 in one of them, 0 in the others
model_1, model_2                    instead of model_a and model_b, in files of FastChat's judges
g1_winner, g2_winner                the winners of two games, in which the answers stood in one order and the other
g1_user_prompt                      what the judge was asked in the first game; the texts are taken from it

Sources: https://huggingface.co/lmarena-ai (chatbot_arena_conversations, arena-human-preference-55k and -140k),
lmsys/mt_bench_human_judgments, and https://github.com/lm-sys/FastChat (fastchat/llm_judge). Two games are counted as in
its show_result.py: a model wins if it won both; a tie in the first game or two different winners are a tie; a game
that ended with an error gives no verdict.

After the first turn the two conversations differ before the answers that were judged. Such a battle is no comparison of
two answers to one prompt, and is counted; read as responses or examples it gives its side with its own conversation.
"""

import re
from typing import Final

from redpencil.formats.base import (
    UNDECIDED,
    Format,
    Kind,
    Label,
    Nothing,
    Values,
    expected,
    number,
    optional_text,
    text,
)
from redpencil.formats.conversations import Message, answer_in, conversation_in, list_in, prompt_of
from redpencil.formats.labels import preference_in
from redpencil.formats.preference_pairs import PreferencePair, Side, pair_readers
from redpencil.records import TRUTH, Preference

_ONE_HOT: Final = {
    "winner_model_a": Preference.FIRST,
    "winner_model_b": Preference.SECOND,
    "winner_tie": Preference.TIE,
    "winner_bothbad": Preference.TIE,
}
_GAMES: Final = ("g1_winner", "g2_winner")
_WINNERS: Final = (("winner",), ("winner_model_a", "winner_model_b"), _GAMES)
_TEXTS: Final = (("conversation_a", "conversation_b"), ("prompt", "response_a", "response_b"), ("g1_user_prompt",))
_NEEDS: Final = tuple(
    (*texts, *winners) for texts in _TEXTS for winners in _WINNERS if texts != _TEXTS[2] or winners == _GAMES
)
_ONE_TURN: Final = re.compile(
    r"\[User Question\]\n(.*?)\n\n"
    r"(?:\[The Start of Reference Answer\]\n.*?\n\[The End of Reference Answer\]\n\n)?"
    r"\[The Start of Assistant A's Answer\]\n(.*?)\n\[The End of Assistant A's Answer\]\n\n"
    r"\[The Start of Assistant B's Answer\]\n(.*?)\n\[The End of Assistant B's Answer\]\s*",
    re.DOTALL,
)
_TWO_TURNS: Final = re.compile(
    r"### User:\n(.*?)\n\n### Assistant [AB]:\n(.*?)\n\n### User:\n(.*?)\n\n### Assistant [AB]:\n(.*?)\n\n", re.DOTALL
)
_ROUNDS: Final = re.compile(
    r"<\|The Start of Assistant ([AB])'s Conversation with User\|>\n\n(.*?)"
    r"<\|The End of Assistant \1's Conversation with User\|>",
    re.DOTALL,
)


def _pair_of(row: Values) -> PreferencePair | Nothing:
    preference, settled = _winner(row)
    if preference is None:
        return Nothing(UNDECIDED)
    first, second = (_side(row, messages, at) for at, messages in enumerate(_sides(row)))
    judge = row.get("judge")
    annotator = judge[0] if isinstance(judge, list) and judge else judge
    return PreferencePair(
        first,
        second,
        preference,
        shared=frozenset({"prompt"} if "response_a" in row else ()),
        settled=settled,
        annotator=annotator if isinstance(annotator, str) else "",
    )


def _winner(row: Values) -> tuple[Preference | None, frozenset[str]]:
    """The better side, and the columns that hold nothing but that."""
    if "winner" in row:
        winner, models = row["winner"], [row.get("model_a"), row.get("model_b")]
        if isinstance(winner, str) and models.count(winner) == 1:
            return (Preference.FIRST if winner == models[0] else Preference.SECOND), frozenset({"winner"})
        plain = winner in ("model_a", "model_b", *Preference)
        return preference_in(row, "winner"), frozenset({"winner"} if plain else ())
    if "winner_model_a" in row:
        marked = {name: _mark(row, name) for name in _ONE_HOT if name in row}
        chosen = [name for name, mark in marked.items() if mark == 1]
        if len(chosen) != 1 or any(mark not in (0, 1) for mark in marked.values()):
            raise expected(
                f"1 in one of {', '.join(marked)}, and 0 in the others", row["winner_model_a"], "winner_model_a"
            )
        return _ONE_HOT[chosen[0]], frozenset(marked if chosen[0] != "winner_bothbad" else ())
    games = [preference_in(row, name) for name in _GAMES]
    if None in games:
        return None, frozenset()
    return (games[0] if games[0] == games[1] else Preference.TIE), frozenset()


def _mark(row: Values, column: str) -> float | None:
    """The mark of a winner: a number, or true or false, which tables write as text."""
    truth = TRUTH.get(str(row[column]).strip().lower())
    return number(row, column) if truth is None else truth


def _sides(row: Values) -> tuple[tuple[Message, ...], ...]:
    """The conversations of both models, up to the answers that were judged."""
    if "conversation_a" in row:
        turn = number(row, "turn")
        return tuple(_judged(conversation_in(row[name], name), turn) for name in ("conversation_a", "conversation_b"))
    if "response_a" in row:
        return _turns(row)
    return _asked(text(row, "g1_user_prompt"))


def _judged(messages: tuple[Message, ...], turn: float | None) -> tuple[Message, ...]:
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    return messages[: answers[int(turn) - 1] + 1] if turn and 1 <= turn <= len(answers) else messages


def _turns(row: Values) -> tuple[tuple[Message, ...], ...]:
    """Conversations of prompts and responses, which are texts or lists of as many texts."""
    names = ("prompt", "response_a", "response_b")
    lists = [_list(row[name], name) for name in names]
    if any(one is None for one in lists):
        prompt = conversation_in(row["prompt"], "prompt") if isinstance(row["prompt"], list) else None
        before = prompt or ({"role": "user", "content": text(row, "prompt")},)
        return tuple((*before, {"role": "assistant", "content": text(row, name)}) for name in names[1:])
    prompts, *responses = (one or [] for one in lists)
    sides = []
    for name, own in zip(names[1:], responses, strict=True):
        if len(own) != len(prompts) or not own or not all(isinstance(one, str) for one in own):
            raise expected(f"as many texts as in prompt ({len(prompts)})", row[name], name)
        pairs = zip(prompts, own, strict=True)
        sides.append(
            tuple(
                {"role": role, "content": content}
                for pair in pairs
                for role, content in zip(("user", "assistant"), pair, strict=True)
            )
        )
    return tuple(sides)


def _list(value: object, column: str) -> list[object] | None:
    """A list of texts, some of which may be missing; also from its JSON text. None for anything else."""
    value = list_in(value, column)
    return value if isinstance(value, list) and all(one is None or isinstance(one, str) for one in value) else None


def _asked(request: str) -> tuple[tuple[Message, ...], ...]:
    """The conversations in a request of FastChat's judge for pairs, whose texts must not hold its headings."""
    one = _ONE_TURN.fullmatch(request)
    if one is not None and request.count("[The Start of Assistant") == request.count("[The End of Assistant") == 2:
        question, *answers = one.groups()
        return tuple(
            ({"role": "user", "content": question}, {"role": "assistant", "content": answer}) for answer in answers
        )
    rounds = _ROUNDS.findall(request)
    found = [_TWO_TURNS.fullmatch(turns) for _, turns in rounds]
    headings = [turns.count(heading) for _, turns in rounds for heading in ("### User:\n", "### Assistant ")]
    if [letter for letter, _ in rounds] != ["A", "B"] or None in found or headings != [2, 2, 2, 2]:
        raise expected(
            "a request as FastChat's judge gets it, with a question and two answers", request, "g1_user_prompt"
        )
    roles = ("user", "assistant", "user", "assistant")
    return tuple(
        tuple({"role": role, "content": content} for role, content in zip(roles, turns.groups(), strict=True))
        for turns in found
        if turns is not None
    )


def _side(row: Values, messages: tuple[Message, ...], at: int) -> Side:
    letter = "ab"[at]
    column = next((name for name in (f"conversation_{letter}", f"response_{letter}") if name in row), "g1_user_prompt")
    model = next((name for name in (f"model_{letter}", f"model_{at + 1}") if name in row), "")
    answered = answer_in(messages, column)
    # A column `model` would fill the field; then the writer has to stay in its own column.
    writer = "" if "model" in row or not model else optional_text(row, model)
    whole = not column.startswith("conversation") or len(messages) == len(conversation_in(row[column], column))
    used = frozenset({column} if whole and column != "g1_user_prompt" else ())
    return Side(prompt_of(answered.before, column), answered.text, used, writer, model, answered.meta)


ARENA = Format(
    "arena",
    "Chatbot Arena and MT-Bench: conversation_a, conversation_b (or prompt, response_a, response_b), winner (or "
    "winner_model_a, winner_model_b, winner_tie; or g1_winner, g2_winner)",
    {kind: reader for kind, reader in pair_readers(_pair_of, *_NEEDS).items() if kind is not Kind.EDITS},
    natural=(((), Kind.COMPARISONS),),
    label=Label("winner"),
)
