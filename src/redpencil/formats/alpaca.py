"""AlpacaFarm's pairs and AlpacaEval's outputs and annotations.

AlpacaFarm (https://github.com/tatsu-lab/alpaca_farm): instruction, input, output_1, output_2, preference 1 or 2; its
demonstrations have instruction, input, output. A policy and a reward model read only the prompt, so an input is in
it, a blank line below the instruction; `meta["instruction"]` and `meta["input"]` keep the two apart for the request for
an edit.

AlpacaEval (https://github.com/tatsu-lab/alpaca_eval): outputs have instruction, output, generator, dataset;
annotations have instruction, output_1, generator_1, output_2, generator_2, annotator, preference, which is 1, 2, a
number between them, 0 or 1.5 for a tie, and null where the annotator gave no answer.
"""

from collections.abc import Callable, Iterator

from redpencil.formats.base import (
    UNDECIDED,
    Draft,
    Format,
    Kind,
    Label,
    Nothing,
    Reader,
    Values,
    optional_text,
    text,
)
from redpencil.formats.conversations import Prompted
from redpencil.formats.labels import preference_in
from redpencil.formats.preference_pairs import PreferencePair, Side, pair_readers
from redpencil.records import full_prompt

_PAIR = ("instruction", "output_1", "output_2", "preference")
_OUTPUT = ("instruction", "output")
_LABEL = Label("preference", one_is_first=True)


def _pair_of(row: Values) -> PreferencePair | Nothing:
    preference = preference_in(row, "preference")
    if preference is None:
        return Nothing(UNDECIDED)
    prompt = _prompted(row)
    settled = frozenset({"preference"} if row["preference"] in (1, 2, str(preference)) else ())
    return PreferencePair(
        _side(row, prompt, 1), _side(row, prompt, 2), preference, shared=frozenset({"instruction"}), settled=settled
    )


def _prompted(row: Values) -> Prompted:
    instruction, input_ = text(row, "instruction"), optional_text(row, "input")
    return Prompted(full_prompt(instruction, input_), {"instruction": instruction} if input_ else {})


def _side(row: Values, prompt: Prompted, number: int) -> Side:
    model = f"generator_{number}"
    return Side(
        prompt, text(row, f"output_{number}"), frozenset({f"output_{number}"}), optional_text(row, model), model
    )


def _output(row: Values) -> Draft:
    prompt = _prompted(row)
    return Draft(
        {"prompt": prompt.text, "response": text(row, "output")}, frozenset({"instruction", "output"}), prompt.meta
    )


def _response(row: Values) -> Draft:
    draft, model = _output(row), optional_text(row, "generator")
    return Draft(draft.fields, draft.used | ({"generator"} if model else set()), draft.meta, {"model": model})


_PAIRS = pair_readers(_pair_of, _PAIR)


def _reader(kind: Kind, draft: Callable[[Values], Draft]) -> Reader:
    return Reader((_PAIR, _OUTPUT), lambda row: [draft(row)] if "output" in row else _PAIRS[kind].read(row))


def _prompts(row: Values) -> Iterator[Draft | Nothing]:
    prompt = _prompted(row)
    yield Draft({"prompt": prompt.text}, frozenset({"instruction"}), prompt.meta)


_READERS = {
    **_PAIRS,
    Kind.RESPONSES: _reader(Kind.RESPONSES, _response),
    Kind.EXAMPLES: _reader(Kind.EXAMPLES, _output),
    Kind.PROMPTS: Reader((("instruction",),), _prompts),
}

FARM = Format(
    "alpaca-farm",
    "AlpacaFarm pairs: instruction, input, output_1, output_2, preference 1 or 2; or instruction, input, output",
    _READERS,
    natural=((_PAIR, Kind.COMPARISONS), (_OUTPUT, Kind.EXAMPLES), ((), Kind.COMPARISONS)),
    label=_LABEL,
)
EVAL = Format(
    "alpaca-eval",
    "AlpacaEval outputs (instruction, output, generator) or annotations (output_1, output_2, preference)",
    _READERS,
    natural=((_PAIR, Kind.COMPARISONS), (_OUTPUT, Kind.RESPONSES), ((), Kind.RESPONSES)),
    label=_LABEL,
)
