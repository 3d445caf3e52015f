"""Edits and token masks for a person to read, in a terminal or as plain text."""

from collections.abc import Mapping, Sequence
from typing import Literal

from rich.table import Table
from rich.text import Text

from redpencil.alignment.tokens import TokenMasks
from redpencil.alignment.words import Block

DELETED = "red strike"
INSERTED = "green underline"

_Place = int | Literal["changed", "neither"]


def redline(original: str, edited: str, blocks: Sequence[Block]) -> Text:
    """The edit as one coloured text: what was deleted struck through in red, what was inserted underlined in green."""
    text = Text()
    for block in blocks:
        if block.kind == "equal":
            text.append(original[slice(*block.original)])
            continue
        text.append(original[slice(*block.original)], DELETED)
        text.append(edited[slice(*block.edited)], INSERTED)
    return text


def redline_plain(original: str, edited: str, blocks: Sequence[Block]) -> str:
    """The edit without colours: `[-deleted-]` and `{+inserted+}`; the two halves of a replacement share their space."""
    parts: list[str] = []
    for block in blocks:
        old, new = original[slice(*block.original)], edited[slice(*block.edited)]
        if block.kind == "equal":
            parts.append(old)
            continue
        if block.kind == "replace" and old[:1] == new[:1] == " ":
            parts.append(" ")
            old, new = old[1:], new[1:]
        parts.append((f"[-{old}-]" if old else "") + (f"{{+{new}+}}" if new else ""))
    return "".join(parts)


def show_masks(token_texts_rejected: Sequence[str], token_texts_chosen: Sequence[str], masks: TokenMasks) -> Table:
    """Both token sequences with their masks: changed tokens marked, runs of unchanged pairs numbered alike.

    The marks are readable without colour: `[-token-]` is U1 of the rejected side, `{+token+}` U1 of the chosen side,
    `(token)` is in neither set, and `3:` opens the third run of unchanged pairs on both sides.

    Args:
        token_texts_rejected: one text a token of the rejected side.
        token_texts_chosen: one text a token of the chosen side.
        masks: what `token_masks` found.
    """
    runs = _runs(masks.unchanged)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    sides = (
        ("rejected", token_texts_rejected, masks.rejected_changed, {i: run for (i, _), run in runs}, ("[-", "-]")),
        ("chosen", token_texts_chosen, masks.chosen_changed, {j: run for (_, j), run in runs}, ("{+", "+}")),
    )
    for name, texts, changed, places, marks in sides:
        style = DELETED if name == "rejected" else INSERTED
        table.add_row(name, _masked_line(texts, changed, places, marks, style))
    counts = f"U1 {sum(masks.rejected_changed)} rejected, {sum(masks.chosen_changed)} chosen; U0 {len(masks.unchanged)}"
    table.add_row("masks", Text(counts, style="dim"))
    return table


def _runs(pairs: Sequence[tuple[int, int]]) -> list[tuple[tuple[int, int], int]]:
    """Each unchanged pair with the number of its run, counted from 1; a run goes on while both sides go on by one."""
    numbered: list[tuple[tuple[int, int], int]] = []
    for i, j in pairs:
        if not numbered:
            number = 1
        else:
            (last_i, last_j), number = numbered[-1]
            number += (i, j) != (last_i + 1, last_j + 1)
        numbered.append(((i, j), number))
    return numbered


def _masked_line(
    texts: Sequence[str], changed: Sequence[bool], runs: Mapping[int, int], marks: tuple[str, str], style: str
) -> Text:
    line = Text()
    place: _Place = 0
    for index, text in enumerate(texts):
        shown = text.strip(" ").replace("\n", "\\n").replace("\t", "\\t") or "_"
        previous, place = place, "changed" if changed[index] else runs.get(index, "neither")
        line.append(" " if index else "")
        if place == "changed":
            line.append(f"{marks[0]}{shown}{marks[1]}", style)
        elif place == "neither":
            line.append(f"({shown})", "yellow")
        else:
            if place != previous:
                line.append(f"{place}:", "dim cyan")
            line.append(shown)
    return line
