"""A scripted editor: repairs most flaws of a response and leaves the rest unchanged."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redpencil.errors import RedpencilError
from redpencil.runs import derive_seed
from redpencil.world.domain import Flaw, FlawKind, Task, Verdict, Words
from redpencil.world.oracle import Oracle

FIGURE_2 = re.compile(
    r"Question: ?(?P<question>.*?)\n\n(?:Input: ?.*?\n\n)?Response: ?(?P<response>.*)\n\nPlease make minimal changes",
    re.DOTALL,
)
HARM_SHARE = 0.5
"""Share of slips that turn a right value into a wrong one; the others change the opener for nothing."""


@dataclass(frozen=True)
class _Change:
    """The replacement of the characters from `start` to `end` by `text`; equal ends mean an insertion."""

    start: int
    end: int
    text: str


def minimal_edit(
    oracle: Oracle, prompt: str, original: str, rng: random.Random, repair: float = 0.7, slip: float = 0.05
) -> str:
    """Correct a response; the result has single spaces between words.

    Each flaw and each missing fact is repaired with probability `repair`, at least one if there are any. A wrong
    value is replaced by the right one (if the right one is stated elsewhere, the sentence goes), other flaws are
    deleted, missing facts are inserted where the request has them. With probability `slip` there is also a
    useless edit (a different opener, or none) or a harmful one (a right value made wrong). Nothing else changes.

    Raises:
        RedpencilError: if `prompt` is not a prompt of the oracle's domain.
    """
    text = " ".join(original.split())
    task, openers, verdict = oracle.domain.task(prompt), oracle.domain.wording.openers, oracle.inspect(prompt, text)
    faults: list[Flaw | str] = [*verdict.flaws, *verdict.missing]
    chosen = [fault for fault in faults if rng.random() < repair]
    if faults and not chosen:
        chosen = [rng.choice(faults)]
    changes = _repairs(task, openers, text, verdict, chosen, rng)
    if rng.random() < slip:
        changes.insert(0, _slip(task, openers, text, verdict, rng))
    return _apply(text, changes)


def scripted_editor(oracle: Oracle, seed: int, repair: float = 0.7, slip: float = 0.05) -> Callable[[str], str]:
    """Make an editor that answers the prompt of the paper's Figure 2 with the corrected response.

    The same text always gets the same answer. The editor raises a RedpencilError if the text has no question, no
    response, or a question that is not a prompt of the world.
    """

    def edit(text: str) -> str:
        match = FIGURE_2.search(text)
        if match is None:
            raise RedpencilError(
                "the scripted editor found no question and response in its prompt",
                hint="keep the labels Question:, Response: and the closing sentence of the paper's Figure 2",
            )
        rng = random.Random(derive_seed(seed, text))
        return minimal_edit(oracle, match["question"], match["response"], rng, repair, slip)

    return edit


def _repairs(
    task: Task, openers: Sequence[Words], text: str, verdict: Verdict, chosen: list[Flaw | str], rng: random.Random
) -> list[_Change]:
    changes: list[_Change] = []
    right = set(verdict.correct)
    slot_at = {value.start: value.slot for value in verdict.value_spans}
    for fault in chosen:
        if isinstance(fault, str):
            changes.append(_insertion(task, openers, text, verdict, fault, rng))
        elif fault.kind is not FlawKind.WRONG:
            changes.append(_Change(fault.start, fault.end, ""))
        elif (slot := slot_at[fault.start]) in right:
            changes.append(_Change(_sentence_start(text, fault.start), _sentence_end(text, fault.end), ""))
        else:
            right.add(slot)
            changes.append(_Change(fault.start, fault.end, task.truth(slot)))
    return changes


def _insertion(
    task: Task, openers: Sequence[Words], text: str, verdict: Verdict, slot: str, rng: random.Random
) -> _Change:
    """Insert a fact behind the nearest requested fact that should precede it; else at the start, behind an opener."""
    ends = {value.slot: _sentence_end(text, value.end) for value in reversed(verdict.value_spans)}
    before = [ends[s] for s in task.slots[: task.slots.index(slot)] if s in ends]
    place = before[-1] if before else _opener_end(text, openers)
    return _Change(place, place, f" {task.sentence(slot, rng, named=not before)} . ")


def _slip(task: Task, openers: Sequence[Words], text: str, verdict: Verdict, rng: random.Random) -> _Change:
    right = [value for value in verdict.value_spans if value.correct]
    if right and rng.random() < HARM_SHARE:
        value = rng.choice(right)
        return _Change(value.start, value.end, rng.choice(task.wrong_values(value.slot)))
    end = _opener_end(text, openers)
    others = [o for o in ("", *(f"{' '.join(opener)} ." for opener in openers)) if text[:end] != o]
    return _Change(0, end, f"{rng.choice(others)} ")


def _apply(text: str, changes: list[_Change]) -> str:
    """Apply all changes, insertions first where they coincide; a change inside a deleted sentence is dropped."""
    pieces: list[str] = []
    cursor = 0
    for change in sorted(changes, key=lambda c: (c.start, c.end > c.start, -c.end)):
        if change.start < cursor:
            continue
        pieces += [text[cursor : change.start], change.text]
        cursor = change.end
    pieces.append(text[cursor:])
    return " ".join("".join(pieces).split())


def _sentence_start(text: str, place: int) -> int:
    stop = f" {text}".rfind(" . ", 0, place + 1)
    return 0 if stop < 0 else stop + 2


def _sentence_end(text: str, place: int) -> int:
    return text.index(" .", place) + 2


def _opener_end(text: str, openers: Sequence[Words]) -> int:
    """The length of a harmless opener, 0 if the text has none."""
    return next((len(o) for o in (f"{' '.join(opener)} ." for opener in openers) if f"{text} ".startswith(f"{o} ")), 0)
