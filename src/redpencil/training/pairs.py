"""From edits and comparisons to tokenised pairs (sections 2.1 and 2.2 of the paper)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from redpencil.alignment.tokens import Tokens, token_masks
from redpencil.config import AlignConfig
from redpencil.errors import RedpencilError
from redpencil.models.codec import Codec
from redpencil.records import Comparison, Edit, Pair, Preference, split_usable

_CHUNK: Final = 1000
"""Edits that are tokenised in one call: enough for the tokenizer's threads, few enough to hold."""


def pairs_of_edits(edits: Iterable[Edit], codec: Codec, config: AlignConfig) -> tuple[list[Pair], Counter[str]]:
    """All pairs of `stream_pairs_of_edits`, and why the other edits were skipped, with counts."""
    skipped: Counter[str] = Counter()
    return list(stream_pairs_of_edits(edits, codec, config, skipped)), skipped


def stream_pairs_of_edits(
    edits: Iterable[Edit], codec: Codec, config: AlignConfig, skipped: Counter[str]
) -> Iterator[Pair]:
    """Align edits, a chunk at a time: the original is the rejected side, the edit the chosen one.

    Edits equal to their original, empty texts, unusable outcomes and rows longer than `max_length` or than the
    model's context are skipped, and counted in `skipped`.
    """
    rows = iter(edits)
    while chunk := list(islice(rows, _CHUNK)):
        usable, reasons = split_usable(chunk)
        skipped.update(reasons)
        if usable:
            yield from _aligned(usable, codec, config, skipped)


def _aligned(usable: Sequence[Edit], codec: Codec, config: AlignConfig, skipped: Counter[str]) -> Iterator[Pair]:
    prompts = codec.encode_prompts([edit.prompt for edit in usable])
    originals = _encode(codec, [edit.original for edit in usable], [edit.meta.get("finished", True) for edit in usable])
    edited = _encode(codec, [edit.edited for edit in usable], [True] * len(usable))
    for edit, prompt, before, after in zip(usable, prompts, originals, edited, strict=True):
        reason = codec.unfit(prompt, max(before.ids, after.ids, key=len), config.max_length)
        if reason is not None:
            skipped[reason] += 1
            continue
        masks = token_masks(
            edit.original,
            edit.edited,
            before,
            after,
            alignment=config.alignment,
            anchor=config.anchor,
            eos_in_changed=config.eos_in_changed,
        )
        yield Pair(
            edit.id,
            tuple(prompt),
            rejected_ids=before.ids,
            chosen_ids=after.ids,
            rejected_changed=masks.rejected_changed,
            chosen_changed=masks.chosen_changed,
            unchanged=masks.unchanged,
        )


def pairs_of_comparisons(
    comparisons: Iterable[Comparison], codec: Codec, config: AlignConfig
) -> tuple[list[Pair], Counter[str]]:
    """Preference pairs without token masks; ties, empty responses and overlong rows are counted and skipped,
    and so are those without a verdict.
    """
    skipped: Counter[str] = Counter()
    usable = list(_decided(comparisons, skipped))
    prompts = codec.encode_prompts([row.prompt for row in usable]) if usable else []
    chosen = _encode(codec, [_side(row, won=True) for row in usable], [True] * len(usable))
    rejected = _encode(codec, [_side(row, won=False) for row in usable], [True] * len(usable))
    pairs = []
    for row, prompt, better, worse in zip(usable, prompts, chosen, rejected, strict=True):
        reason = codec.unfit(prompt, max(worse.ids, better.ids, key=len), config.max_length)
        if reason is not None:
            skipped[reason] += 1
            continue
        pairs.append(Pair(row.id, tuple(prompt), rejected_ids=worse.ids, chosen_ids=better.ids))
    return pairs, skipped


def check_pairs(pairs: Iterable[Pair], vocab_size: int, context: int | None) -> None:
    """Refuse pairs that a model cannot learn from: made by hand, or with another tokenizer.

    Raises:
        RedpencilError: naming the first such pair.
    """
    for pair in pairs:
        problem = _problem(pair, vocab_size, context)
        if problem is not None:
            raise RedpencilError(
                f"pair {pair.id!r}: {problem}",
                hint="make the pairs with `redpencil align`, with the tokenizer and a max_length that fit the model",
            )


def _problem(pair: Pair, vocab_size: int, context: int | None) -> str | None:
    sides = (pair.rejected_ids, pair.chosen_ids)
    ids = (*pair.prompt_ids, *pair.rejected_ids, *pair.chosen_ids)
    length = len(pair.prompt_ids) + max(map(len, sides))
    if not (pair.prompt_ids and all(sides)):
        return "its prompt or a response is empty"
    if not 0 <= min(ids) <= max(ids) < vocab_size:
        return f"it has token ids outside the model's vocabulary of {vocab_size}"
    if context is not None and length > context:
        return f"it has {length} tokens, the model reads {context}"
    flags = (pair.rejected_changed, pair.chosen_changed)
    if any(side and len(side) != len(response) for side, response in zip(flags, sides, strict=True)):
        return "rejected_changed and chosen_changed need one flag for each token"
    if not all(0 <= i < len(sides[0]) and 0 <= j < len(sides[1]) for i, j in pair.unchanged):
        return "unchanged points outside the responses"
    return None


def _decided(comparisons: Iterable[Comparison], skipped: Counter[str]) -> Iterator[Comparison]:
    for row in comparisons:
        if row.preference is Preference.TIE:
            skipped["tie"] += 1
        elif row.preference is Preference.NONE:
            skipped["no verdict"] += 1
        elif not row.first.strip() or not row.second.strip():
            skipped["empty response"] += 1
        else:
            yield row


def _side(row: Comparison, *, won: bool) -> str:
    return row.first if (row.preference is Preference.FIRST) == won else row.second


def _encode(codec: Codec, texts: Sequence[str], finished: Sequence[bool]) -> list[Tokens]:
    """Tokens of each text in one tokenizer call; unfinished ones lose the EOS that they never had."""
    if not texts:
        return []
    encoded = codec.encode_responses(texts)
    return [
        tokens if ends else Tokens(tokens.ids[:-1], tokens.offsets[:-1], has_eos=False)
        for tokens, ends in zip(encoded, finished, strict=True)
    ]
