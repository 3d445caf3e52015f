"""The rows of two files about the same prompts, matched by id, or by prompt where the ids differ."""

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from redpencil.errors import RedpencilError

SHOWN: Final = 60
"""Characters of a prompt in an error."""
_NONE: Final = (None, None)


class Named(Protocol):
    """A row about a prompt; `meta` may have the prompt as `messages`."""

    @property
    def id(self) -> str:
        """Its name in its file."""

    @property
    def prompt(self) -> str:
        """The whole prompt."""

    @property
    def meta(self) -> Mapping[str, Any]:
        """What else is known of it."""


A = TypeVar("A", bound=Named)
B = TypeVar("B", bound=Named)


def match_rows(
    first: Iterable[A], second: Iterable[B], nouns: tuple[str, str], files: tuple[str, str] | tuple[None, None] = _NONE
) -> list[tuple[A, B]]:
    """Match each row of one file with one of the other, in the order of the first.

    Rows with the same id and prompt belong together, and the others by prompt alone: its text, and `meta["messages"]`
    where all rows have them. Several rows of one prompt are matched in order if both files have as many.

    Args:
        first: the rows of a file, each with an id of its own.
        second: those of the other.
        nouns: what a row of each is, for errors: `policy response`.
        files: the files, for errors.

    Raises:
        RedpencilError: naming the id or the prompt, and the file to be mended, if an id occurs twice or a row has no
            counterpart.
    """
    sides = _by_id(first, nouns[0], files[0]), _by_id(second, nouns[1], files[1])
    rows, others = sides
    with_messages = all("messages" in row.meta for row in (*rows.values(), *others.values()))
    key = _key if with_messages else _prompt
    partners = {name: others[name] for name, row in rows.items() if name in others and key(others[name]) == key(row)}
    left = [row for name, row in rows.items() if name not in partners]
    free = [row for name, row in others.items() if name not in partners]
    _check_counterparts((left, free), sides, key, nouns, files)
    waiting: defaultdict[Hashable, deque[B]] = defaultdict(deque)
    for other in free:
        waiting[key(other)].append(other)
    partners |= {row.id: waiting[key(row)].popleft() for row in left}
    return [(row, partners[name]) for name, row in rows.items()]


def by_prompt(pairs: Iterable[tuple[Named, Named]]) -> int:
    """Count the pairs whose ids differ, which only their prompts brought together."""
    return sum(first.id != second.id for first, second in pairs)


def match_note(count: int, total: int) -> str:
    """Say how many rows of `total` were matched by prompt; empty if none was."""
    return f"{count:,} of {total:,} rows were matched by prompt, as their ids differ" if count else ""


def _prompt(row: Named) -> Hashable:
    return row.prompt


def _key(row: Named) -> Hashable:
    return row.prompt, json.dumps(row.meta["messages"], sort_keys=True, default=str)


def _by_id(rows: Iterable[A], noun: str, file: str | None) -> dict[str, A]:
    by_id: dict[str, A] = {}
    for row in rows:
        if row.id in by_id:
            problem = f"more than one {noun} has the id {row.id!r}"
            raise RedpencilError(problem, file=file, field="id", hint="give each row its own id")
        by_id[row.id] = row
    return by_id


def _check_counterparts(
    left: tuple[Sequence[Named], Sequence[Named]],
    sides: tuple[Mapping[str, Named], Mapping[str, Named]],
    key: Callable[[Named], Hashable],
    nouns: tuple[str, str],
    files: tuple[str | None, str | None],
) -> None:
    """Refuse rows without a counterpart, and prompts with more rows on one side; `left` are those yet to be matched."""
    hint = "let both files answer the same prompts"
    counts = Counter(map(key, left[0])), Counter(map(key, left[1]))
    for side, other in ((0, 1), (1, 0)):
        missing = [row for row in left[side] if not counts[other][key(row)]]
        if missing and missing[0].id in sides[other]:
            problem = f"different prompts under the id {missing[0].id!r} ({nouns[side]} and {nouns[other]})"
            raise RedpencilError(problem, file=files[side], field="prompt", hint=hint)
        if missing:
            share = f"({len(missing):,} of {len(sides[side]):,} missing)"
            problem = f"no {nouns[other]} has the id {missing[0].id!r} or its prompt {share}"
            raise RedpencilError(problem, file=files[side], field="id", hint=hint)
    for row in left[0]:
        more, fewer = counts[0][key(row)], counts[1][key(row)]
        if more != fewer:
            raise RedpencilError(
                f"{more} against {fewer} rows ({nouns[0]}, {nouns[1]}) with other ids have the prompt "
                f"{row.prompt[:SHOWN]!r}",
                file=files[more < fewer],
                field="prompt",
                hint="give both files the same ids, or as many answers to each prompt",
            )
