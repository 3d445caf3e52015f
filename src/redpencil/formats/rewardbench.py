"""RewardBench (https://huggingface.co/datasets/allenai/reward-bench): pairs to test reward models on.

prompt, chosen, rejected         an instruction (or a list of messages) and two answers, the first better
chosen_model, rejected_model     the models that wrote them
subset                           the source of the pair, such as mt-bench-easy; `evaluate reward` averages by it

RewardBench 2 (https://huggingface.co/datasets/allenai/reward-bench-2): one answer is to be preferred to three, and in
the subset Ties each of several right answers to all wrong ones.

prompt, chosen, rejected         an instruction, a list of right answers, and a list of wrong ones
id                               in Ties such as tied:7 and ref:7, which belong together
models                           the models that wrote the answers, the right ones first
subset                           Factuality, Focus, Math, Precise IF, Safety or Ties

A row gives a comparison of each right answer with each wrong one. `meta["answers"]` says which of how many they are.
"""

from collections.abc import Callable, Iterator
from typing import Final

from redpencil.formats.base import Draft, Format, Kind, Nothing, Reader, Values, expected, optional_text, text
from redpencil.formats.conversations import list_in, prompt_in
from redpencil.formats.preference_pairs import SAME, PreferencePair, Side, pair_readers
from redpencil.records import Preference

_NEEDS: Final = ("prompt", "chosen", "chosen_model", "rejected", "rejected_model", "subset")
_LISTS: Final = ("prompt", "chosen", "rejected", "subset")
ANSWERS: Final = "answers"
"""Key of a comparison's `meta`: the row's id; chosen and rejected, which of the answers these are, from 0;
and how many there are, of_chosen and of_rejected."""


def _pair_of(row: Values) -> PreferencePair:
    text(row, "subset")
    return PreferencePair(_side(row, "chosen"), _side(row, "rejected"), Preference.FIRST, shared=frozenset({"prompt"}))


def _side(row: Values, column: str) -> Side:
    prompt, writer = prompt_in(row, "prompt"), f"{column}_model"
    # A column `model` would fill the field; then the writer has to stay in its own column.
    model = "" if "model" in row else optional_text(row, writer)
    return Side(prompt, text(row, column), frozenset({column}), model, writer)


def _answers(row: Values, column: str) -> list[str]:
    answers = list_in(row[column], column)
    if not isinstance(answers, list) or not answers or not all(isinstance(one, str) for one in answers):
        raise expected("a list of texts", answers, column)
    return answers


def _comparisons(row: Values) -> Iterator[Draft | Nothing]:
    prompt, right, wrong = prompt_in(row, "prompt"), _answers(row, "chosen"), _answers(row, "rejected")
    text(row, "subset")
    numbers = {"id": str(row.get("id", "")), "of_chosen": len(right), "of_rejected": len(wrong)}
    for i, first in enumerate(right):
        for j, second in enumerate(wrong):
            if first == second:
                yield Nothing(SAME)
                continue
            yield Draft(
                {"prompt": prompt.text, "first": first, "second": second, "preference": Preference.FIRST},
                frozenset({"prompt", "chosen", "rejected"}),
                {**prompt.meta, ANSWERS: {**numbers, "chosen": i, "rejected": j}},
                suffix=f"{i + 1}v{j + 1}",
            )


def _each(column: str) -> Callable[[Values], Iterator[Draft | Nothing]]:
    """Make a reader of each right or each wrong answer; `models` names the writers, of the right ones first."""

    def read(row: Values) -> Iterator[Draft | Nothing]:
        prompt, models = prompt_in(row, "prompt"), row.get("models")
        before = 0 if column == "chosen" else len(_answers(row, "chosen"))
        for at, answer in enumerate(_answers(row, column)):
            writer = models[before + at] if isinstance(models, list) and len(models) > before + at else ""
            yield Draft(
                {"prompt": prompt.text, "response": answer},
                frozenset({"prompt", column}),
                prompt.meta,
                {"model": writer if isinstance(writer, str) else ""},
                suffix=f"{column}{at + 1}",
            )

    return read


def _prompts(row: Values) -> Iterator[Draft | Nothing]:
    prompt = prompt_in(row, "prompt")
    yield Draft({"prompt": prompt.text}, frozenset({"prompt"}), prompt.meta)


_PAIRS = pair_readers(_pair_of, _NEEDS)


def _reader(kind: Kind, of_lists: Callable[[Values], Iterator[Draft | Nothing]]) -> Reader:
    def read(row: Values) -> Iterator[Draft | Nothing]:
        # A text may be a list too, as tables have it, but not in the first version's columns.
        chosen = row["chosen"] if "chosen_model" in row else list_in(row["chosen"], "chosen")
        yield from of_lists(row) if isinstance(chosen, list) or "num_correct" in row else _PAIRS[kind].read(row)

    return Reader((_NEEDS, _LISTS), read)


REWARDBENCH = Format(
    "rewardbench",
    "RewardBench: prompt, chosen, rejected, subset, chosen_model, rejected_model; of RewardBench 2, lists of answers",
    {
        **_PAIRS,
        Kind.COMPARISONS: _reader(Kind.COMPARISONS, _comparisons),
        Kind.RESPONSES: _reader(Kind.RESPONSES, _each("rejected")),
        Kind.EXAMPLES: _reader(Kind.EXAMPLES, _each("chosen")),
        Kind.PROMPTS: _reader(Kind.PROMPTS, _prompts),
    },
    natural=(((), Kind.COMPARISONS),),
)
