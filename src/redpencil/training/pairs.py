"""From edits and comparisons to tokenised pairs (sections 2.1 and 2.2 of the paper)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any, Final

import torch
from torch import Tensor

from redpencil.alignment.ends import finished_sides
from redpencil.alignment.hunks import hunk_chain
from redpencil.alignment.spacing import restore_spacing
from redpencil.alignment.tokens import token_masks
from redpencil.alignment.words import same_visible
from redpencil.config.data import PairKind
from redpencil.config.training import AlignConfig
from redpencil.errors import RedpencilError
from redpencil.models.codec import Codec
from redpencil.models.forward import Batch, collate
from redpencil.models.sharing import APART, Sharing
from redpencil.records import Comparison, Edit, Pair, Preference, split_usable
from redpencil.turns import turns_of

UNSEEN: Final = "the tokenizer does not see the difference"
"""The reason why a pair is skipped whose two sides are the same tokens."""
TEXTS: Final = "texts"
"""The key of a pair's `meta` that has its prompt, original and edited text; its conversation is under `messages`."""
_SPACING, _RESTORED = "spacing", "restored"
_CHUNK: Final = 1000
"""Edits that are tokenised in one call: enough for the tokenizer's threads, few enough to hold."""


def pairs_of_edits(
    edits: Iterable[Edit], codec: Codec, config: AlignConfig, kind: PairKind = "edits"
) -> tuple[list[Pair], Counter[str]]:
    """Return all pairs of `stream_pairs_of_edits`, and the counts of skipped edits by reason."""
    skipped: Counter[str] = Counter()
    return list(stream_pairs_of_edits(edits, codec, config, skipped, kind)), skipped


def stream_pairs_of_edits(
    edits: Iterable[Edit], codec: Codec, config: AlignConfig, skipped: Counter[str], kind: PairKind = "edits"
) -> Iterator[Pair]:
    """Align edits, a chunk at a time: the original is the rejected side, the edit the chosen one.

    Of the kind hunks each change of an edit gives a pair: the text before it is rejected, the text behind it chosen.
    The kind edit_texts has the texts of each pair in its `meta` (`TEXTS`).

    Edits equal to their original, in text, tokens or all but white space, empty texts, unusable outcomes and rows
    longer than `max_length` or than the model's context are skipped, and counted in `skipped`. A pair whose edit got
    back white space of its original says so in its `meta`, see `is_respaced`.

    Raises:
        RedpencilError: naming the edit, if it does not say by true or false whether its original is finished.
    """
    rows = iter(edits)
    while chunk := list(islice(rows, _CHUNK)):
        usable, reasons = split_usable(chunk)
        skipped.update(reasons)
        if kind == "hunks":
            usable = [step for edit in usable for step in _steps(edit, config)]
        if usable:
            yield from _aligned(usable, codec, config, skipped, texts_too=kind == "edit_texts")


def is_respaced(pair: Pair) -> bool:
    """Return whether the edit of a pair got back white space of its original (`align.restore_spacing`)."""
    return pair.meta.get(_SPACING) == _RESTORED


def _aligned(
    usable: Sequence[Edit], codec: Codec, config: AlignConfig, skipped: Counter[str], *, texts_too: bool
) -> Iterator[Pair]:
    texts = [spaced(edit, config) for edit in usable]
    prompts = codec.encode_prompts(usable)
    ends = [finished_sides(edit) for edit in usable]
    originals = codec.encode_responses([edit.original for edit in usable], finished=[end for end, _ in ends])
    edited = codec.encode_responses(texts, finished=[end for _, end in ends])
    for edit, text, prompt, before, after in zip(usable, texts, prompts, originals, edited, strict=True):
        reason = codec.unfit(prompt, max(before.ids, after.ids, key=len), config.max_length)
        if reason is None and before.ids[: before.body] == after.ids[: after.body]:
            reason = UNSEEN
        if reason is None and same_visible(edit.original, text):
            reason = "only white space differs"
        if reason is not None:
            skipped[reason] += 1
            continue
        masks = token_masks(
            edit.original,
            text,
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
            meta=({} if text == edit.edited else {_SPACING: _RESTORED}) | (_texts(edit, text) if texts_too else {}),
        )


def _texts(edit: Edit, edited: str) -> dict[str, Any]:
    messages = {"messages": turns_of(edit)} if edit.meta.get("messages") is not None else {}
    return {TEXTS: {"prompt": edit.prompt, "original": edit.original, "edited": edited}, **messages}


def _steps(edit: Edit, config: AlignConfig) -> list[Edit]:
    """The changes of an edit, each as an edit of its own, with a number behind the id if there are several."""
    texts = hunk_chain(edit.original, spaced(edit, config))
    if len(texts) < 3:
        return [edit]
    return [
        replace(edit, id=f"{edit.id}#{number}", original=before, edited=after)
        for number, (before, after) in enumerate(pairwise(texts), start=1)
    ]


def spaced(edit: Edit, config: AlignConfig) -> str:
    """The edited text with the original's white space, unless nothing else differs: then it is left out by its name."""
    if not config.restore_spacing or same_visible(edit.original, edit.edited):
        return edit.edited
    return restore_spacing(edit.original, edit.edited)


def pairs_of_comparisons(
    comparisons: Iterable[Comparison], codec: Codec, config: AlignConfig
) -> tuple[list[Pair], Counter[str]]:
    """Make preference pairs without token masks.

    Ties, comparisons without a verdict, empty responses, responses of equal tokens and overlong rows are skipped and
    counted.

    Raises:
        RedpencilError: naming the comparison, if it does not say by true or false whether a side is finished.
    """
    skipped: Counter[str] = Counter()
    usable = list(_decided(comparisons, skipped))
    prompts = codec.encode_prompts(usable)
    chosen, rejected = (
        codec.encode_responses([text for text, _ in sides], finished=[end for _, end in sides])
        for sides in ([_side(row, won=won) for row in usable] for won in (True, False))
    )
    pairs = []
    for row, prompt, better, worse in zip(usable, prompts, chosen, rejected, strict=True):
        reason = codec.unfit(prompt, max(worse.ids, better.ids, key=len), config.max_length)
        if reason is None and worse.ids == better.ids:
            reason = UNSEEN
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


def _side(row: Comparison, *, won: bool) -> tuple[str, bool]:
    """The text of a side, and whether it is finished."""
    ends = finished_sides(row)
    return (row.first, ends[0]) if (row.preference is Preference.FIRST) == won else (row.second, ends[1])


@dataclass(frozen=True, slots=True)
class PairBatch:
    """B pairs in one batch of 2B rows: the chosen sides first, then the rejected ones.

    changed_mask (U1) and unchanged_mask (U0): [2B, T], each of its own side; unchanged_pairs: [N, 3], rows of
    (pair, rejected index, chosen index). hidden: [2B, T, H], hidden states of a backbone that is not trained, or
    [2B, 1, H] for a sequence model; None where the model computes them.
    """

    batch: Batch
    changed_mask: Tensor
    unchanged_mask: Tensor
    unchanged_pairs: Tensor
    hidden: Tensor | None = None

    def __len__(self) -> int:
        """B, the number of pairs."""
        return self.batch.input_ids.shape[0] // 2


def collate_pairs(pairs: Sequence[Pair], pad_id: int, device: torch.device, sharing: Sharing = APART) -> PairBatch:
    """Collate both sides of the pairs into one batch, so that one forward pass sees them all.

    `sharing` says whether the model reads once what both sides of a pair begin with.
    """
    prompts = [pair.prompt_ids for pair in pairs]
    responses = [pair.chosen_ids for pair in pairs] + [pair.rejected_ids for pair in pairs]
    plan = sharing.plan(
        [(*prompt, *response) for prompt, response in zip(prompts + prompts, responses, strict=True)],
        [(i, i + len(pairs)) for i in range(len(pairs))],
    )
    batch = collate(prompts + prompts, responses, pad_id, device, plan)
    width = batch.response_width
    changed = [list(pair.chosen_changed) for pair in pairs] + [list(pair.rejected_changed) for pair in pairs]
    changed_mask = torch.tensor([row + [False] * (width - len(row)) for row in changed], device=device)
    index = [(i, rejected, chosen) for i, pair in enumerate(pairs) for rejected, chosen in pair.unchanged]
    unchanged_pairs = torch.tensor(index, dtype=torch.long, device=device).reshape(-1, 3)
    unchanged_mask = torch.zeros_like(batch.response_mask)
    unchanged_mask[unchanged_pairs[:, 0], unchanged_pairs[:, 2]] = True
    unchanged_mask[unchanged_pairs[:, 0] + len(pairs), unchanged_pairs[:, 1]] = True
    return PairBatch(batch, changed_mask, unchanged_mask, unchanged_pairs)


def pair_width(pair: Pair, sharing: Sharing) -> int:
    """Count the columns of the widest row that a pair takes."""
    sides = [(*pair.prompt_ids, *side) for side in (pair.chosen_ids, pair.rejected_ids)]
    plan = sharing.plan(sides, [(0, 1)])
    return max(map(len, sides) if plan is None else [row.width for row in plan.rows])
