"""The request to an LLM judge, and the verdict in its answer.

A template has a system text, a user text with the placeholders `{instruction}`, `{output_1}`, `{output_2}` and perhaps
`{input}`, and the form of the answer. Other braces are plain text. Texts are inserted verbatim and once, so nothing
inside them is taken for a placeholder. A response could close the fence around it and continue as if it were the other
one, or the task. Therefore `{tag}` in a template becomes a code that occurs in none of the texts: no text can write the
fences that have it.

An answer holds exactly one verdict, in the place that the template asks for, or it is unparsed:

- `json`: an object with a `preference` of first, second or tie, which ends the answer; lines of prose may precede it.
- `ranking`: the list `[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]`, in JSON or Python, likewise.
- `mark`: the last line is one of the template's marks, such as `Output (a)`, and no other line is one.

A model's thinking before the answer, up to `</think>`, a fence around the answer and control tokens written at its ends
(`<|im_end|>`) are removed. If the answer holds only the end of the thinking, because a chat template opened it, there
must be no verdict before that end: a response that writes `</think>`, repeated by the judge, could otherwise insert a
verdict.
"""

import enum
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from redpencil.editing.relation import Source
from redpencil.editing.wrapping import without_marks_at_the_ends
from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Message, StopReason
from redpencil.records import Preference
from redpencil.sections import Section, parse_yaml, read_text
from redpencil.text import has_half_pair

AnswerKind = Literal["json", "ranking", "mark"]

SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "description": "One or two sentences."},
        "preference": {"type": "string", "enum": ["first", "second", "tie"]},
    },
    "required": ["reason", "preference"],
    "additionalProperties": False,
}
"""Schema of a `json` answer, for servers that enforce one; the reason comes before the verdict."""

_VERDICTS: Final = {one.value: one for one in (Preference.FIRST, Preference.SECOND, Preference.TIE)}
_MIRROR: Final = {Preference.FIRST: Preference.SECOND, Preference.SECOND: Preference.FIRST}
_DECODER: Final = json.JSONDecoder(object_pairs_hook=list)
"""Makes lists of items of objects, to notice a repeated key."""
_OBJECT: Final = re.compile(r'\{\s*"')
_KEY: Final = r'"preference"\s*:'
_PLACE: Final = re.compile(r"(?:^|\n)[^\S\n]*(?:`{3,}\w*[^\S\n]*)?\Z")
"""Text allowed on the line before the verdict: none, or an opening fence."""
_END: Final = re.compile(r"\s*(?:`{3,}\s*)?\Z")
_MODEL: Final = r"['\"]model['\"]\s*:\s*['\"]model_([12])['\"]"
_RANK: Final = r"['\"]rank['\"]\s*:\s*['\"]?([12])['\"]?"
_ENTRY: Final = rf"\{{\s*(?:{_MODEL}\s*,\s*{_RANK}|{_RANK}\s*,\s*{_MODEL})\s*,?\s*\}}"
_RANKING: Final = re.compile(rf"\[\s*{_ENTRY}\s*,\s*{_ENTRY}\s*,?\s*\]")


class Problem(enum.StrEnum):
    """Reason for a missing verdict."""

    UNPARSED = "unparsed"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    FAILED = "failed"
    NEVER_ASKED = "never asked"


NO_ANSWER: Final = frozenset({Problem.FAILED, Problem.NEVER_ASKED})
"""Problems without an answer; the others are of answers without a verdict."""


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """The form of a template's answers; `marks` are those of the kind `mark`, of which a tie may have none."""

    kind: AnswerKind = "json"
    marks: Mapping[Preference, str] = field(default_factory=dict)

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """JSON schema of the answer, if the form has one."""
        return SCHEMA if self.kind == "json" else None


@dataclass(frozen=True, slots=True)
class Parsed:
    """Verdict of an answer on the two responses as they were shown, with its reason if the form has one."""

    preference: Preference
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OrderVerdict:
    """Result of one order of a comparison; first and second are those of the comparison, not of the order.

    Args:
        shown_first: FIRST or SECOND, the response that the judge saw first.
        preference: the verdict; NONE if it is missing.
        reason: the judge's reason.
        problem: why the verdict is missing, else None.
        detail: the answer that could not be used, or why there is none.
    """

    shown_first: Preference
    preference: Preference
    reason: str = ""
    problem: Problem | None = None
    detail: str = ""

    @property
    def row(self) -> dict[str, str]:
        """The entry in the `meta` of a judgement."""
        row = {"shown_first": self.shown_first.value, "verdict": self.preference.value, "reason": self.reason}
        if self.problem is not None:
            row |= {"problem": self.problem.value, "answer" if self.problem not in NO_ANSWER else "why": self.detail}
        return {name: value for name, value in row.items() if value or name == "answer"}


@dataclass(frozen=True, slots=True)
class Combined:
    """Verdict of all orders. `flipped` is set if two orders have a verdict, `problem` if a verdict is missing."""

    preference: Preference
    flipped: bool | None = None
    problem: Problem | None = None


def mirrored(preference: Preference) -> Preference:
    """Return the verdict with the two responses swapped."""
    return _MIRROR.get(preference, preference)


def parse_verdict(text: str, form: AnswerForm) -> Parsed | None:
    """Return the one verdict of an answer as the module says; None if there is none, or more than one."""
    answer = without_marks_at_the_ends(_without_thought(text, form).strip(), Source(""))
    if form.kind == "json":
        return _parse_json(answer)
    return _parse_ranking(answer) if form.kind == "ranking" else _parse_mark(answer, form.marks)


def order_verdict(completion: Completion, form: AnswerForm, shown_first: Preference) -> OrderVerdict:
    """Make the result of an answer to one order. An answer that was cut off or refused has no verdict."""
    problem = {StopReason.LENGTH: Problem.TRUNCATED, StopReason.REFUSAL: Problem.REFUSED}.get(completion.stop_reason)
    parsed = None if problem is not None else parse_verdict(completion.text, form)
    if parsed is None:
        return OrderVerdict(shown_first, Preference.NONE, problem=problem or Problem.UNPARSED, detail=completion.text)
    swapped = shown_first is Preference.SECOND
    return OrderVerdict(shown_first, mirrored(parsed.preference) if swapped else parsed.preference, parsed.reason)


def combine(verdicts: Sequence[OrderVerdict]) -> Combined:
    """Combine the verdicts of the orders: disagreement is a tie, and a missing verdict leaves none."""
    missing = next((verdict.problem for verdict in verdicts if verdict.problem is not None), None)
    if missing is not None:
        return Combined(Preference.NONE, problem=missing)
    preferences = {verdict.preference for verdict in verdicts}
    flipped = len(preferences) > 1 if len(verdicts) > 1 else None
    return Combined(Preference.TIE if len(preferences) > 1 else preferences.pop(), flipped)


def _without_thought(text: str, form: AnswerForm) -> str:
    """Remove thinking from the start of an answer, if it is certainly that."""
    thought, end, answer = text.partition("</think>")
    if not end:
        return text
    if thought.lstrip().startswith("<think>"):
        return answer
    inside_the_answer = re.search(r"<think>|^\s*[\[{`]", thought)
    return text if inside_the_answer or _has_verdict(thought, form) else answer


def _has_verdict(text: str, form: AnswerForm) -> bool:
    """Return True if a text has a verdict, or the beginning of one, anywhere."""
    if form.kind == "mark":
        return any(line == bare(mark) for line in map(bare, text.splitlines()) for mark in form.marks.values())
    return re.search(_ENTRY if form.kind == "ranking" else _KEY, text) is not None


def _parse_json(answer: str) -> Parsed | None:
    verdicts: list[tuple[int, int, dict[str, Any]]] = []
    for start, end, items in _objects(answer):
        names = [name for name, _ in items]
        if names.count("preference") > 1:
            return None
        if "preference" in names:
            verdicts.append((start, end, dict(items)))
    if not verdicts:
        return None
    start, end, verdict = verdicts[0]  # if there are more, it is not at the end of the answer
    word = verdict["preference"]
    preference = _VERDICTS.get(word.strip().lower()) if isinstance(word, str) else None
    if preference is None or not _PLACE.search(answer, 0, start) or not _END.match(answer, end):
        return None
    reason = verdict.get("reason")
    return Parsed(preference, _valid(reason).strip() if isinstance(reason, str) else "")


def _valid(text: str) -> str:
    """Replace half characters, which a JSON escape can make and a file cannot hold."""
    return text.encode("utf-8", "replace").decode()


def _objects(answer: str) -> Iterator[tuple[int, int, list[tuple[str, Any]]]]:
    """Yield start, end and items of each JSON object in a text, up to the first malformed one."""
    place = 0
    while opening := _OBJECT.search(answer, place):
        try:
            items, place = _DECODER.raw_decode(answer, opening.start())
        except (ValueError, RecursionError):
            return
        yield opening.start(), place, items


def _parse_ranking(answer: str) -> Parsed | None:
    matches = list(_RANKING.finditer(answer))
    if len(matches) != 1:
        return None
    (match,) = matches
    if not _PLACE.search(answer, 0, match.start()) or not _END.match(answer, match.end()):
        return None
    one, two = ((parts[0] or parts[3], parts[1] or parts[2]) for parts in (match.groups()[:4], match.groups()[4:]))
    ranks = dict((one, two))
    return {("1", "2"): Parsed(Preference.FIRST), ("2", "1"): Parsed(Preference.SECOND)}.get(
        (ranks.get("1", ""), ranks.get("2", ""))
    )


def bare(mark: str) -> str:
    """Strip blank space, emphasis and full stops from a mark."""
    return mark.strip(" \t*`.")


def _parse_mark(answer: str, marks: Mapping[Preference, str]) -> Parsed | None:
    lines = list(filter(None, map(bare, answer.splitlines())))
    verdicts = [preference for line in lines for preference, mark in marks.items() if line == bare(mark)]
    return Parsed(verdicts[0]) if len(verdicts) == 1 and lines[-1] == bare(marks[verdicts[0]]) else None


_PLACEHOLDER: Final = re.compile(r"\{(instruction|input|output_1|output_2|tag)\}")
_NEEDED: Final = ("instruction", "output_1", "output_2")
_YAML: Final = (".yaml", ".yml")
_TAG_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class JudgeTemplate:
    """A request to compare two responses, of which `{output_1}` is shown first; `name` identifies it."""

    name: str
    system: str
    user: str
    answer: AnswerForm

    @property
    def has_input(self) -> bool:
        """True if there is a place for a prompt's input."""
        return "input" in _PLACEHOLDER.findall(self.user)


class _Marks(Section):
    """The marks of the verdicts."""

    first: str = Field(min_length=1, description="Output 1 is better.")
    second: str = Field(min_length=1, description="Output 2 is better.")
    tie: str | None = Field(None, min_length=1, description="Neither is better; left out without ties.")


class _TemplateFile(Section):
    """A user's template."""

    system: str = Field("", description="The system turn.")
    user: str = Field(description="The user's turn, with the placeholders.")
    answer: AnswerKind = Field("json", description="The form of the answer.")
    marks: _Marks | None = Field(None, description="The marks of the form `mark`.")


def find_template(name: str) -> JudgeTemplate:
    """Return the built-in template of this name, or that of a user's file.

    A file that ends in .yaml or .yml has the keys `system`, `user`, `answer` (json, ranking or mark) and, for the last,
    `marks` with `first`, `second` and perhaps `tie`. Any other file is the text of the user's turn, answered in JSON.

    Raises:
        RedpencilError: naming the file and the placeholder or key, if it is not a template.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = Path(name)
    if not path.exists():
        raise RedpencilError(
            f"no judge template called {str(path)!r}",
            field="--template",
            hint=f"one of {', '.join(BUILT_IN)}, or the path of a file",
        )
    return _read(path, _name(path))


def render_judge_prompt(
    template: JudgeTemplate, instruction: str, output_1: str, output_2: str, input: str = ""
) -> list[Message]:
    """Make the messages that ask about two responses.

    If `input` is empty, the paragraph of the template that holds only `{input}` is left out.

    Raises:
        RedpencilError: if there is an input and the template has no place for it.
    """
    user = template.user
    if not input:
        user = "\n\n".join(part for part in user.split("\n\n") if not _is_for_input_alone(part))
    elif not template.has_input:
        raise RedpencilError(
            f"a prompt comes with an input, but the judge template {template.name!r} has no {{input}}",
            field="input",
            hint="add a paragraph with {input}; it is left out for prompts that have none",
        )
    values = {"instruction": instruction, "input": input, "output_1": output_1, "output_2": output_2}
    if "tag" in _PLACEHOLDER.findall(user):
        values["tag"] = _tag(instruction, input, *sorted((output_1, output_2)))
    system = [Message("system", template.system)] if template.system else []
    return [*system, Message("user", _PLACEHOLDER.sub(lambda match: values[match[1]], user))]


def _is_for_input_alone(paragraph: str) -> bool:
    return set(_PLACEHOLDER.findall(paragraph)) - {"tag"} == {"input"}


def _tag(*texts: str) -> str:
    """Make a code that occurs in none of the texts, ignoring case, and is a function of them."""
    lowered = [text.lower() for text in texts]
    hashes = [blake2b(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
    salted = (b"".join((*hashes, attempt.to_bytes(8))) for attempt in count())
    tags = (blake2b(salt, digest_size=_TAG_BYTES).hexdigest() for salt in salted)
    return next(tag for tag in tags if not any(tag in text for text in lowered))


def _read(path: Path, name: str) -> JudgeTemplate:
    text = read_text(path, "the judge template")
    file = _parse_yaml(text, path) if path.suffix.lower() in _YAML else _TemplateFile(user=text)
    template = JudgeTemplate(name, file.system.strip(), file.user.strip(), _form(file, path))
    for needed in _NEEDED:
        if needed not in _PLACEHOLDER.findall(template.user):
            raise RedpencilError(
                f"the judge template has no {{{needed}}}",
                file=path,
                field=needed,
                hint=f"write {{{needed}}} in the user's turn, at the place of that text",
            )
    return template


def _name(path: Path) -> str:
    """Name a user's template, distinct from the built-in ones: a file may be called default.txt."""
    if path.stem not in BUILT_IN:
        return path.stem
    return path.name if path.suffix else f"./{path.name}"


def _parse_yaml(text: str, path: Path) -> _TemplateFile:
    hint = "write system: and user: as texts, answer: json, ranking or mark, and for mark marks: {first:, second:}"
    file = parse_yaml(text, _TemplateFile, what="a judge template", file=path, hint=hint)
    for name, value in (("system", file.system), ("user", file.user)):
        if has_half_pair(value):
            raise RedpencilError(
                "an escape such as \\ud800 is half of a character",
                file=path,
                field=name,
                hint="write the character itself",
            )
    return file


def _form(file: _TemplateFile, path: Path) -> AnswerForm:
    if (file.marks is None) == (file.answer == "mark"):
        raise RedpencilError(
            "the form mark needs marks" if file.marks is None else f"the form {file.answer} has no marks",
            file=path,
            field="marks",
            hint="write marks: {first: ..., second: ...} with answer: mark, and with no other",
        )
    if file.marks is None:
        return AnswerForm(file.answer)
    marks = {Preference.FIRST: file.marks.first, Preference.SECOND: file.marks.second}
    if file.marks.tie is not None:
        marks[Preference.TIE] = file.marks.tie
    texts = [bare(mark) for mark in marks.values()]
    if len(set(texts)) < len(texts) or not all(texts) or any(mark.splitlines() != [mark] for mark in marks.values()):
        raise RedpencilError(
            "two marks are the same, or one is empty or has several lines",
            file=path,
            field="marks",
            hint="give each verdict a line of its own",
        )
    return AnswerForm("mark", marks)


BUILT_IN: Final[Mapping[str, JudgeTemplate]] = {
    name: _read(Path(__file__).with_name("templates") / f"{name}.yaml", name)
    for name in ("default", "alpaca-eval", "alpaca-eval-mark")
}
"""The templates of the folder `templates`, by name; each is a file as a user may write one."""
DEFAULT: Final = BUILT_IN["default"]
