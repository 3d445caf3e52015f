"""Token rewards with character spans, and their projection onto the tokens of any other tokenizer.

A reward model may split a text into other tokens than the policy does. Both split the same text, so characters are
what they share:

    text           u  n  b  e  l  i  e  v  a  b  l  e   !   end
    reward model  [ -1 ][       +3       ][   -1     ] [0]  [+1]
    policy        [    0     ][          +1          ] [0]  [+1]

A token's reward is divided equally among its characters, and a token of the other tokenizer sums what its characters
have. The total does not change, and a reward moves to other characters only where no token of the other tokenizer
covers its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class TokenRewards:
    """The rewards of a text's tokens.

    offsets: [T, 2], start and end of each token in characters of `text`, end excluded. Spans may be empty (a special
    token in the text) and may overlap (the bytes of one character). A last token with an empty span at the end of the
    text is the end-of-sequence token; `has_eos` says whether there is one.
    rewards: [T].

    Raises:
        ValueError: if the shapes do not agree or a span lies outside the text.
    """

    text: str
    offsets: Integers
    rewards: Floats
    has_eos: bool = field(init=False)

    def __init__(self, text: str, offsets: ArrayLike, rewards: ArrayLike) -> None:
        spans, values = _spans(text, offsets), np.asarray(rewards, np.float64)
        if values.shape != (len(spans),):
            raise ValueError(f"{len(spans)} spans with rewards of shape {values.shape}")
        content = {"text": text, "offsets": spans, "rewards": values, "has_eos": _has_eos(text, spans)}
        for name, value in content.items():
            object.__setattr__(self, name, value)

    @property
    def total(self) -> float:
        return float(self.rewards.sum())

    def project(self, offsets: ArrayLike) -> "TokenRewards":
        """Project the rewards onto the tokens of another tokenizer, with the spans `offsets` [T', 2] in the same text.

        The total does not change, up to the rounding of float64, and the result is linear in the rewards:

        - A token that both tokenizers have, span for span, keeps its reward. Where several tokens share a span (the
          bytes of one character) and both sides have the same number, each keeps its own; else the target's tokens
          divide the sum equally.
        - Any other reward is divided equally among the characters of its span, and a character's part equally among
          the tokens that cover it. A token without characters counts as one with the character that follows it.
        - The reward of characters that no token covers (such as white space that a tokenizer drops) goes to the next
          token with characters, or to the end-of-sequence token, else to the last token.
        - The end-of-sequence token's reward goes to the end-of-sequence token; where the target has none, because the
          response was cut off, to its last token. An end-of-sequence token that only the target has gets the reward of
          uncovered characters at the end.

        Raises:
            ValueError: if there are rewards and no token to lay them onto, or a span lies outside the text.
        """
        return project_rows([self], [offsets])[0]


def project_rows(rows: Sequence[TokenRewards], offsets: Sequence[ArrayLike]) -> list[TokenRewards]:
    """Project the rewards of many texts in one pass, as `TokenRewards.project` does.

    Args:
        rows: the rewards of each text.
        offsets: for each text the spans of the other tokenizer's tokens, [T', 2].

    Raises:
        ValueError: as `TokenRewards.project`.
    """
    spans = [_spans(row.text, of_row) for row, of_row in zip(rows, offsets, strict=True)]
    if any(len(row.rewards) and not len(of_row) for row, of_row in zip(rows, spans, strict=True)):
        raise ValueError("there is no token to lay the rewards onto")
    # All texts share one axis, each with one place more than it has characters: its end.
    starts = np.cumsum([0, *(len(row.text) + 1 for row in rows)])
    source = _Side.of([row.offsets for row in rows], [row.has_eos for row in rows], starts)
    target = _Side.of(spans, [_has_eos(row.text, of_row) for row, of_row in zip(rows, spans, strict=True)], starts)
    rewards = np.concatenate([np.zeros(0), *(row.rewards for row in rows)])

    out = np.zeros(len(target.row))
    np.add.at(out, target.last[source.row[source.is_eos]], rewards[source.is_eos])
    unmatched = _lay_equal_spans(out, source, rewards, target)
    _lay_characters(out, source, rewards, unmatched, target, starts)
    parts = np.split(out, np.cumsum([len(of_row) for of_row in spans])[:-1]) if rows else []
    return [TokenRewards(row.text, of_row, part) for row, of_row, part in zip(rows, spans, parts, strict=True)]


def _spans(text: str, offsets: ArrayLike) -> Integers:
    spans = np.asarray(offsets, np.int64).reshape(-1, 2)
    if len(spans) and not (spans.min() >= 0 and spans.max() <= len(text) and (spans[:, 0] <= spans[:, 1]).all()):
        raise ValueError(f"a span lies outside the text of {len(text)} characters")
    return spans


def _has_eos(text: str, spans: Integers) -> bool:
    return bool(len(spans) and spans[-1, 0] == len(text))


@dataclass(frozen=True, slots=True)
class _Side:
    """The N tokens into which one tokenizer splits all texts.

    start, end: [N], on the common axis; keys: [N], one number for each span; row: [N], the text of a token; is_eos:
    [N], bool; last: [rows], the index of each text's last token.
    """

    start: Integers
    end: Integers
    keys: Integers
    row: Integers
    is_eos: NDArray[np.bool_]
    last: Integers

    @classmethod
    def of(cls, spans: Sequence[Integers], has_eos: Sequence[bool], starts: Integers) -> "_Side":
        counts = np.array([len(of_row) for of_row in spans], np.int64)
        row, last = np.repeat(np.arange(len(spans)), counts), np.cumsum(counts) - 1
        start, end = (np.concatenate([np.zeros((0, 2), np.int64), *spans]) + starts[row][:, None]).T
        is_eos = np.zeros(len(row), bool)
        is_eos[last[np.asarray(has_eos, bool)]] = True
        return cls(start, end, start * starts[-1] + end, row, is_eos, last)


def _lay_equal_spans(out: Floats, source: _Side, rewards: Floats, target: _Side) -> Integers:
    """Give `out` the rewards of tokens whose very span the target has too; returns the indices of the others.

    The end-of-sequence tokens of both sides take no part.
    """
    sources, targets = np.flatnonzero(~source.is_eos), np.flatnonzero(~target.is_eos)
    keys = np.concatenate([source.keys[sources], target.keys[targets]])
    distinct, group = np.unique(keys, return_inverse=True)
    of_source, of_target = group[: len(sources)], group[len(sources) :]
    n_source = np.bincount(of_source, minlength=len(distinct))
    n_target = np.bincount(of_target, minlength=len(distinct))
    paired = n_source == n_target
    # Sorted by span, and within a span by their order in the text, the paired tokens of both sides face each other.
    src, dst = np.argsort(of_source, kind="stable"), np.argsort(of_target, kind="stable")
    src, dst = src[paired[of_source[src]]], dst[paired[of_target[dst]]]
    out[targets[dst]] += rewards[sources[src]]
    total = np.bincount(of_source, weights=rewards[sources], minlength=len(distinct))
    sharing = ~paired[of_target]
    out[targets[sharing]] += (total / np.maximum(n_target, 1))[of_target[sharing]]
    unmatched: Integers = sources[n_target[of_source] == 0]
    return unmatched


def _lay_characters(
    out: Floats, source: _Side, rewards: Floats, unmatched: Integers, target: _Side, starts: Integers
) -> None:
    """Give `out` the rewards of the `unmatched` tokens, character by character."""
    width = np.maximum(source.end[unmatched] - source.start[unmatched], 1)
    places = _each_place(source.start[unmatched], width)
    axis = int(starts[-1])
    per_char = np.bincount(places, weights=np.repeat(rewards[unmatched] / width, width), minlength=axis)

    covering = np.flatnonzero(target.end > target.start)
    lengths = (target.end - target.start)[covering]
    covered, by = _each_place(target.start[covering], lengths), np.repeat(covering, lengths)
    cover = np.bincount(covered, minlength=axis)
    out += np.bincount(by, weights=per_char[covered] / cover[covered], minlength=len(out))

    uncovered = np.unique(places[cover[places] == 0])
    dst = np.sort(np.concatenate([covering, np.flatnonzero(target.is_eos)]))
    dst = dst[np.argsort(target.start[dst], kind="stable")]
    row = np.searchsorted(starts, uncovered, side="right") - 1
    index = np.searchsorted(target.start[dst], uncovered, side="left")
    following = dst[np.minimum(index, len(dst) - 1)] if len(dst) else target.last[row]
    in_same_text = (index < len(dst)) & (target.row[following] == row)
    np.add.at(out, np.where(in_same_text, following, target.last[row]), per_char[uncovered])


def _each_place(start: Integers, width: Integers) -> Integers:
    """Concatenate start, start + 1, ..., start + width - 1 of all spans."""
    before = np.cumsum(width) - width
    return np.repeat(start - before, width) + np.arange(int(width.sum()))
