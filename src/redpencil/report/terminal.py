"""Redlines of edits and token masks, for a terminal or as plain text."""

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
    """Write an edit as one text: deletions struck through in red, insertions underlined in green."""
    text = Text()
    for block in blocks:
        if block.kind == "equal":
            text.append(original[slice(*block.original)])
            continue
        text.append(original[slice(*block.original)], DELETED)
        text.append(edited[slice(*block.edited)], INSERTED)
    return text


def redline_plain(original: str, edited: str, blocks: Sequence[Block]) -> str:
    """Write an edit without colours: `[-deleted-]` and `{+inserted+}`; a replacement has one space before both."""
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
    """Write both token sequences with their masks: changed tokens marked, runs of unchanged pairs numbered.

    The marks are readable without colour: `[-token-]` is a changed token of the rejected side, `{+token+}` one of the
    chosen side, `(token)` is neither changed nor unchanged, and `3:` opens the third run of unchanged pairs, on both
    sides.
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
    changed_counts = f"{sum(masks.rejected_changed)} rejected, {sum(masks.chosen_changed)} chosen"
    counts = f"changed (U1): {changed_counts}; unchanged pairs (U0): {len(masks.unchanged)}"
    table.add_row("masks", Text(counts, style="dim"))
    return table


def masks_legend(anchor: str) -> str:
    """Explain the marks of `show_masks`; `anchor` is the option `align.anchor` by which the masks were made."""
    anchors = "Anchors are among the changed tokens (align.anchor=divergence)."
    if anchor == "none":
        anchors = "No anchors are marked (align.anchor=none; --set align.anchor=divergence marks them)."
    return (
        "[-token-] changed, of the original; {+token+} changed, of the edit; 3:token begins the third run of unchanged "
        f"tokens, the same on both sides; (token) is in neither mask. {anchors}"
    )


def _runs(pairs: Sequence[tuple[int, int]]) -> list[tuple[tuple[int, int], int]]:
    """Number the runs of unchanged pairs from 1; a run ends where either side skips a token."""
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
        written = text.strip(" ").replace("\n", "\\n").replace("\t", "\\t") or "_"
        previous, place = place, "changed" if changed[index] else runs.get(index, "neither")
        line.append(" " if index else "")
        if place == "changed":
            line.append(f"{marks[0]}{written}{marks[1]}", style)
        elif place == "neither":
            line.append(f"({written})", "yellow")
        else:
            if place != previous:
                line.append(f"{place}:", "dim cyan")
            line.append(written)
    return line
