"""Frozen records, the data that stages pass to each other, in files of one JSON object a line.

Every record has an `id` and a `meta` mapping. Keys of a row that the record does not know are kept in
`meta`, so passing a user's file through redpencil loses nothing.
"""

import enum
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from redpencil.digests import check_written
from redpencil.errors import RedpencilError, naming
from redpencil.files import whole_file
from redpencil.signatures import HEAD, refuse_all_but_utf8
from redpencil.text import check_text, json_line, parse_json

Meta = Mapping[str, Any]


class Preference(enum.StrEnum):
    """The better of two responses; `none` where it is unknown, as when a judge's answer cannot be parsed."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"
    NONE = "none"


class EditOutcome(enum.StrEnum):
    """The outcome of a request for an edit."""

    EDITED = "edited"
    UNCHANGED = "unchanged"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"
    FAILED = "failed"


HAS_TEXT: Final = (EditOutcome.EDITED, EditOutcome.UNCHANGED)
"""Outcomes in which `edited` is what an editor wants the text to be."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """An instruction to answer."""

    id: str
    prompt: str
    meta: Meta = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Example:
    """A demonstration for supervised fine-tuning."""

    id: str
    prompt: str
    response: str
    meta: Meta = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """A model's answer. `finished` is False where it was cut off at the length limit."""

    id: str
    prompt: str
    response: str
    model: str = ""
    finished: bool = True
    meta: Meta = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses to one prompt and the preference of `annotator` (a person, a judge, a rule)."""

    id: str
    prompt: str
    first: str
    second: str
    preference: Preference
    annotator: str = ""
    meta: Meta = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edit:
    """A response and its minimal edit (section 2.1 of the paper). The edited text counts as the better one."""

    id: str
    prompt: str
    original: str
    edited: str
    editor: str = ""
    outcome: EditOutcome = EditOutcome.EDITED
    meta: Meta = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pair:
    """A tokenised pair for reward training; `rejected` is the original, `chosen` the edit.

    `rejected_changed` and `chosen_changed` are U1 of each side (one flag a token, True = changed); `unchanged` is
    U0, as (rejected index, chosen index). For pairs of independent responses all three are empty. Token ids of a
    response include its end-of-sequence token where the response is complete.
    """

    id: str
    prompt_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_changed: tuple[bool, ...] = ()
    chosen_changed: tuple[bool, ...] = ()
    unchanged: tuple[tuple[int, int], ...] = ()
    meta: Meta = field(default_factory=dict)


Record = Prompt | Example | Response | Comparison | Edit | Pair
R = TypeVar("R", Prompt, Example, Response, Comparison, Edit, Pair)

_ADAPTERS: Final[Mapping[type[Record], TypeAdapter[Any]]] = {
    kind: TypeAdapter(kind) for kind in (Prompt, Example, Response, Comparison, Edit, Pair)
}
LONGEST_LINE: Final = 1 << 30
"""The largest number of bytes in a line, so that a source without line ends does not take all memory."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MAYBE_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_record(row: object, kind: type[R], *, file: str | Path | None = None, line: int | None = None) -> R:
    """Parse one row as a record of `kind`.

    Raises:
        RedpencilError: naming file, line and field, if the row is not an object, or a field is missing or of a wrong
            type.
    """
    if not isinstance(row, dict):
        raise RedpencilError(
            f"expected a JSON object, found {type(row).__name__}",
            file=file,
            line=line,
            hint='write one object a line, such as {"id": "1", "prompt": "..."}',
        )
    names = {f.name for f in fields(kind)}
    known = {key: row[key] for key in row if key in names}
    unknown = {key: row[key] for key in row if key not in names}
    meta = known.setdefault("meta", {})
    if isinstance(meta, dict):
        for key in unknown.keys() & meta.keys():
            raise RedpencilError(
                "the key is both in the row and in its meta",
                file=file,
                line=line,
                field=str(key),
                hint="rename one of the two",
            )
        known["meta"] = {**meta, **unknown}
    try:
        record: R = _ADAPTERS[kind].validate_python(known)
    except ValidationError as error:
        first = error.errors()[0]
        present = ", ".join(sorted(map(str, row))) or "none"
        needed = ", ".join(f.name for f in fields(kind) if f.name != "meta")
        raise RedpencilError(
            f"{first['msg'].lower()} in a row of {kind.__name__} (fields present: {present})",
            file=file,
            line=line,
            field=str(first["loc"][0]),
            hint=f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__} row has the fields: {needed}; "
            "data of other tools comes in with `redpencil import`",
        ) from None
    return record


def read_jsonl(path: str | Path, kind: type[R]) -> Iterator[R]:
    """Stream the records of a JSONL file; blank lines and a byte order mark are skipped.

    Raises:
        RedpencilError: if the file is missing, compressed or not UTF-8, is not what the stage in its folder wrote, has
            no record, has a line that is too long, or a row that is not a `kind`.
    """
    path = Path(path)
    if not path.exists():
        raise RedpencilError("no such file", file=path, hint="check the path, or run the stage that writes it")
    check_written(path)
    try:
        lines: BufferedReader = path.open("rb")
    except OSError as error:
        raise RedpencilError(f"cannot read it ({error.strerror})", file=path, hint="give a readable file") from None
    count = 0
    with lines:
        refuse_all_but_utf8(lines.peek(HEAD)[:HEAD], path)
        for number, line in numbered_lines(lines, path):
            if text := line.rstrip():
                count += 1
                yield parse_record(_parse_line(text, path, number), kind, file=path, line=number)
    if count == 0:
        raise RedpencilError(f"the file holds no {kind.__name__} row", file=path, hint="give a file with rows")


def numbered_lines(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Read lines with their numbers, without a byte order mark.

    Raises:
        RedpencilError: if a line is too long.
    """
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE + 1), b""), start=1):
        if len(line) > LONGEST_LINE:
            problem = f"a line of more than {LONGEST_LINE >> 20:,} MiB"
            raise RedpencilError(problem, file=path, line=number, hint="give a file with shorter lines")
        yield number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line


def count_lines(path: Path) -> int:
    """Count the lines of a file, for progress; 0 where it cannot be read, which its reader will report."""
    if not path.is_file():
        return 0
    with path.open("rb") as content:
        return sum(piece.count(b"\n") for piece in iter(lambda: content.read(1 << 20), b""))


@dataclass(frozen=True, slots=True)
class JsonlFile(Generic[R]):
    """The records of a JSONL file, read again as a stream at each iteration."""

    path: Path
    kind: type[R]

    def __iter__(self) -> Iterator[R]:
        return read_jsonl(self.path, self.kind)


def _parse_line(raw: bytes, path: Path, line: int) -> object:
    try:
        row: object = parse_json(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RedpencilError(
            f"not valid UTF-8 at byte {error.start} of the line",
            file=path,
            line=line,
            hint="convert the file to UTF-8, such as with `iconv -f CP1252 -t UTF-8` if it comes from Windows",
        ) from None
    except json.JSONDecodeError as error:
        raise RedpencilError(
            f"not valid JSON ({error.msg} at column {error.colno})",
            file=path,
            line=line,
            hint="write one JSON object a line; `redpencil import` reads tables and data of other tools",
        ) from None
    except (ValueError, RecursionError) as error:
        raise RedpencilError(
            f"JSON that cannot be read ({error})", file=path, line=line, hint="correct the line"
        ) from None
    if isinstance(row, dict) and _MAYBE_SURROGATE.search(raw):
        with naming(path, line):
            check_text(row)
    return row


def to_row(record: Record) -> dict[str, Any]:
    """Turn the record into a JSON-ready dictionary; an empty `meta` is left out."""
    row = {f.name: getattr(record, f.name) for f in fields(record)}
    if not row["meta"]:
        del row["meta"]
    return row


def write_jsonl(path: str | Path, records: Iterable[Record], *, rights: int = 0o666) -> int:
    """Write records, one a line; the file, with `rights`, appears only when all are written. Returns their number.

    Raises:
        RedpencilError: if the folder cannot be written to, or a text holds half of a surrogate pair.
    """
    with whole_file(Path(path), rights=rights) as out:
        return write_records(out, records, Path(path))


def write_records(out: BinaryIO, records: Iterable[Record], path: Path) -> int:
    """Write records to an open file, one a line. Returns their number.

    Raises:
        RedpencilError: naming `path` and the line, if a text holds half of a surrogate pair.
    """
    count = 0
    for record in records:
        count += 1
        with naming(path, count):
            line = json_line(to_row(record))
        out.write(line)
    return count


TRUTH: Final[Mapping[str, bool]] = {
    "true": True,
    "false": False,
    "1": True,
    "0": False,
    "1.0": True,
    "0.0": False,
}
"""True and false as tables write them, in small letters."""


def says_finished(record: Record, name: str = "finished") -> bool:
    """Return whether a text of a record is complete: it is unless the record's `meta` says false under `name`.

    Raises:
        RedpencilError: naming the record and the field, if `meta` has something else there than true or false.
    """
    value = record.meta.get(name)
    known = True if value is None else TRUTH.get(str(value).strip().lower())
    if known is None:
        raise RedpencilError(
            f"{value!r} in the row {record.id!r} does not say whether a text is complete",
            field=f"meta.{name}",
            hint="write true, or false where the text was cut off, or rename the column",
        )
    return known


def full_prompt(instruction: str, input: str) -> str:
    """Join an instruction and its input, with a blank line between them; without an input the instruction is all."""
    return f"{instruction}\n\n{input}" if input else instruction


def instruction_of(prompt: str, meta: Meta) -> str:
    """Return `meta["instruction"]` if the prompt is that and `meta["input"]`, else the whole prompt."""
    instruction, input = meta.get("instruction"), meta.get("input")
    if isinstance(instruction, str) and isinstance(input, str) and input and prompt == full_prompt(instruction, input):
        return instruction
    return prompt


def input_of(name: str, meta: Meta) -> str:
    """Return `meta["input"]`, the input of the prompt; empty where there is none. `name` is the record's id.

    Raises:
        RedpencilError: naming the record, if the input is not a text.
    """
    input = meta.get("input") or ""
    if not isinstance(input, str):
        raise RedpencilError(
            f"the input of {name!r} is a {type(input).__name__}, not a text",
            field="input",
            hint="write the input as a string, or leave it out",
        )
    return input


def references_of(name: str, meta: Meta) -> tuple[str, ...]:
    """Return `meta["references"]`, texts that answer the prompt well. `name` is the record's id.

    Raises:
        RedpencilError: naming the record, if there are none, or one is not a text or is empty.
    """
    references = meta.get("references")
    if isinstance(references, list) and references and all(isinstance(one, str) and one.strip() for one in references):
        return tuple(references)
    problem = "has no references" if references in (None, []) else "has references that are no list of texts"
    raise RedpencilError(
        f"the row {name!r} {problem}",
        field="references",
        hint='write good answers into every row of the prompts, such as "references": ["...", "..."]',
    )


def source_of(name: str, prompt: str, meta: Meta) -> str:
    """Return the text that a prompt asks to improve: `meta["source"]`, its input, or else the whole prompt.

    Raises:
        RedpencilError: naming the record, if source or input is not a text.
    """
    source = meta.get("source")
    if source is not None and not isinstance(source, str):
        problem = f"the source of {name!r} is a {type(source).__name__}, not a text"
        raise RedpencilError(problem, field="source", hint="write the source as a string, or leave it out")
    return source or input_of(name, meta) or prompt


def merge_meta(meta: Meta, added: Meta, reserved: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Merge the metadata of an edit into its response's, so that neither is lost or taken for the other.

    An entry of `meta` whose name is in `added` or in `reserved` is renamed to `response_` and the name.
    """
    taken = reserved | added.keys()
    merged = {name: value for name, value in meta.items() if name not in taken}
    for name in meta:
        if name in taken:
            free = f"response_{name}"
            while free in merged:
                free = f"response_{free}"
            merged[free] = meta[name]
    return {**merged, **added}


def split_usable(edits: Iterable[Edit]) -> tuple[list[Edit], Counter[str]]:
    """Return the edits that a reward model can learn from, and counts of the reasons why the others are skipped.

    Usable are edits with outcome EDITED whose texts differ and are not empty.
    """
    usable: list[Edit] = []
    skipped: Counter[str] = Counter()
    for edit in edits:
        reason = _skip_reason(edit)
        if reason is None:
            usable.append(edit)
        else:
            skipped[reason] += 1
    return usable, skipped


def _skip_reason(edit: Edit) -> str | None:
    if not edit.original.strip():
        return "empty response"
    if edit.outcome is not EditOutcome.EDITED:
        return edit.outcome.value
    if not edit.edited.strip():
        return "empty edit"
    if edit.edited == edit.original:
        return "equal to its original"
    return None
