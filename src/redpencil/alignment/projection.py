"""Token rewards that carry character spans, so that they can be laid onto the tokens of any other tokenizer.

A reward model may cut a text into other tokens than the policy does. Both cut the same text, so characters are what
they share:

    text           u  n  b  e  l  i  e  v  a  b  l  e   !   end
    reward model  [ -1 ][       +3       ][   -1     ] [0]  [+1]
    policy        [    0     ][          +1          ] [0]  [+1]

A token's reward is shared equally by its characters, and a token of the other tokenizer collects what its characters
got. Nothing is lost on the way, and a reward leaves the characters that it was given for only where no token of the
other tokenizer covers them.
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
    token in the text) and may overlap (the bytes of one character). A last token whose span is empty and stands at the
    end of the text is the end-of-sequence token, and `has_eos` says whether there is one.
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
        """The sum of the rewards."""
        return float(self.rewards.sum())

    def project(self, offsets: ArrayLike) -> "TokenRewards":
        """The same rewards on the tokens of another tokenizer, whose spans in the same text are `offsets`, [T', 2].

        The total stays what it was, up to the rounding of float64, and the result is linear in the rewards:

        - A token that both tokenizers have, span for span, keeps its reward. Where several tokens share a span (the
          bytes of one character) and both sides have as many, each keeps its own; else the target's share the sum.
        - Any other reward is shared equally by the characters of its span; a character's goes in equal parts to the
          tokens that cover it. A token without characters counts as one with the character that follows it.
        - What lies on characters that no token covers (such as white space that a tokenizer drops) goes to the next
          token with characters, or to the end-of-sequence token, else to the last token.
        - The end-of-sequence token's reward goes to the end-of-sequence token; where the target has none, because the
          response was cut off, to its last token. An end-of-sequence token that only the target has gets what nothing
          else covers.

        Raises:
            ValueError: if there are rewards and no token to lay them onto, or a span lies outside the text.
        """
        return project_rows([self], [offsets])[0]


def project_rows(rows: Sequence[TokenRewards], offsets: Sequence[ArrayLike]) -> list[TokenRewards]:
    """`TokenRewards.project` for many texts in one pass.

    Args:
        rows: the rewards of each text.
        offsets: for each text the spans of the other tokenizer's tokens, [T', 2].

    Raises:
        ValueError: as `TokenRewards.project`.
    """
    spans = [_spans(row.text, given) for row, given in zip(rows, offsets, strict=True)]
    if any(len(row.rewards) and not len(given) for row, given in zip(rows, spans, strict=True)):
        raise ValueError("there is no token to lay the rewards onto")
    # All texts stand on one axis, each with one place more than it has characters: its end.
    starts = np.cumsum([0, *(len(row.text) + 1 for row in rows)])
    source = _Side.of([row.offsets for row in rows], [row.has_eos for row in rows], starts)
    target = _Side.of(spans, [_has_eos(row.text, given) for row, given in zip(rows, spans, strict=True)], starts)
    rewards = np.concatenate([np.zeros(0), *(row.rewards for row in rows)])

    laid = np.zeros(len(target.row))
    np.add.at(laid, target.last[source.row[source.is_eos]], rewards[source.is_eos])
    left = _lay_equal_spans(laid, source, rewards, target)
    _lay_characters(laid, source, rewards, left, target, starts)
    parts = np.split(laid, np.cumsum([len(given) for given in spans])[:-1]) if rows else []
    return [TokenRewards(row.text, given, part) for row, given, part in zip(rows, spans, parts, strict=True)]


def _spans(text: str, offsets: ArrayLike) -> Integers:
    spans = np.asarray(offsets, np.int64).reshape(-1, 2)
    if len(spans) and not (spans.min() >= 0 and spans.max() <= len(text) and (spans[:, 0] <= spans[:, 1]).all()):
        raise ValueError(f"a span lies outside the text of {len(text)} characters")
    return spans


def _has_eos(text: str, spans: Integers) -> bool:
    return bool(len(spans) and spans[-1, 0] == len(text))


@dataclass(frozen=True, slots=True)
class _Side:
    """The N tokens that one tokenizer gives all texts.

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
        counts = np.array([len(given) for given in spans], np.int64)
        row, last = np.repeat(np.arange(len(spans)), counts), np.cumsum(counts) - 1
        start, end = (np.concatenate([np.zeros((0, 2), np.int64), *spans]) + starts[row][:, None]).T
        is_eos = np.zeros(len(row), bool)
        is_eos[last[np.asarray(has_eos, bool)]] = True
        return cls(start, end, start * starts[-1] + end, row, is_eos, last)


def _lay_equal_spans(laid: Floats, source: _Side, rewards: Floats, target: _Side) -> Integers:
    """Lay the rewards of tokens whose very span the target has too; returns the indices of those that are left.

    The end-of-sequence tokens of both sides take no part.
    """
    sources, targets = np.flatnonzero(~source.is_eos), np.flatnonzero(~target.is_eos)
    keys = np.concatenate([source.keys[sources], target.keys[targets]])
    distinct, group = np.unique(keys, return_inverse=True)
    of_source, of_target = group[: len(sources)], group[len(sources) :]
    given = np.bincount(of_source, minlength=len(distinct))
    wanted = np.bincount(of_target, minlength=len(distinct))
    paired = given == wanted
    # Sorted by span, and within a span as they stand in the text, the paired tokens of both sides face each other.
    givers, takers = np.argsort(of_source, kind="stable"), np.argsort(of_target, kind="stable")
    givers, takers = givers[paired[of_source[givers]]], takers[paired[of_target[takers]]]
    laid[targets[takers]] += rewards[sources[givers]]
    total = np.bincount(of_source, weights=rewards[sources], minlength=len(distinct))
    sharing = ~paired[of_target]
    laid[targets[sharing]] += (total / np.maximum(wanted, 1))[of_target[sharing]]
    alone: Integers = sources[wanted[of_source] == 0]
    return alone


def _lay_characters(
    laid: Floats, source: _Side, rewards: Floats, left: Integers, target: _Side, starts: Integers
) -> None:
    """Lay the rewards of the tokens `left` character by character."""
    width = np.maximum(source.end[left] - source.start[left], 1)
    places = _each_place(source.start[left], width)
    axis = int(starts[-1])
    lying = np.bincount(places, weights=np.repeat(rewards[left] / width, width), minlength=axis)

    covering = np.flatnonzero(target.end > target.start)
    lengths = (target.end - target.start)[covering]
    covered, by = _each_place(target.start[covering], lengths), np.repeat(covering, lengths)
    cover = np.bincount(covered, minlength=axis)
    laid += np.bincount(by, weights=lying[covered] / cover[covered], minlength=len(laid))

    bare = np.unique(places[cover[places] == 0])
    takers = np.sort(np.concatenate([covering, np.flatnonzero(target.is_eos)]))
    takers = takers[np.argsort(target.start[takers], kind="stable")]
    row = np.searchsorted(starts, bare, side="right") - 1
    found = np.searchsorted(target.start[takers], bare, side="left")
    following = takers[np.minimum(found, len(takers) - 1)] if len(takers) else target.last[row]
    here = (found < len(takers)) & (target.row[following] == row)
    np.add.at(laid, np.where(here, following, target.last[row]), lying[bare])


def _each_place(start: Integers, width: Integers) -> Integers:
    """start, start + 1, ..., start + width - 1 of every span, one span after the other."""
    before = np.cumsum(width) - width
    return np.repeat(start - before, width) + np.arange(int(width.sum()))
