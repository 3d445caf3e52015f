"""From edits and comparisons to tokenised pairs."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from redpencil.config.training import AlignConfig
from redpencil.errors import RedpencilError
from redpencil.models.codec import Codec, load_codec
from redpencil.records import Comparison, Edit, EditOutcome, Pair, Preference
from redpencil.training import pairs as pairs_module
from redpencil.training.pairs import (
    UNSEEN,
    check_pairs,
    collate_pairs,
    is_respaced,
    pairs_of_comparisons,
    pairs_of_edits,
    stream_pairs_of_edits,
)

PLAIN = AlignConfig()
EDIT = Edit("e", "topic1", "sun mud sky", "sun sea sky")


def ids(codec: Codec, text: str) -> tuple[int, ...]:
    return tuple(codec.tokenizer.convert_tokens_to_ids(text.split()))


def test_an_edit_by_hand(codec: Codec) -> None:
    [pair], skipped = pairs_of_edits([EDIT], codec, PLAIN)
    assert pair == Pair(
        "e",
        ids(codec, "<s> topic1"),
        rejected_ids=ids(codec, "sun mud sky </s>"),
        chosen_ids=ids(codec, "sun sea sky </s>"),
        rejected_changed=(False, True, False, False),
        chosen_changed=(False, True, False, False),
        unchanged=((0, 0), (2, 2), (3, 3)),
    )
    assert not skipped


def test_a_stream_is_aligned_in_chunks_and_read_no_further_than_needed(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs_module, "_CHUNK", 3)
    read: list[int] = []

    def edits() -> Iterator[Edit]:
        for number in range(8):
            read.append(number)
            yield replace(EDIT, id=str(number), outcome=EditOutcome.REFUSED if number in (2, 3) else EditOutcome.EDITED)

    skipped: Counter[str] = Counter()
    stream = stream_pairs_of_edits(edits(), codec, PLAIN, skipped)
    assert next(stream).id == "0"
    assert read == [0, 1, 2]
    # Chunks of rows 0-2, 3-5 and 6-7: the border between chunks is one between skipped rows, too.
    assert [pair.id for pair in stream] == ["1", "4", "5", "6", "7"]
    assert skipped == {"refused": 2}
    whole = pairs_of_edits([EDIT] * 7, codec, PLAIN)[0]
    assert whole == pairs_of_edits([EDIT], codec, PLAIN)[0] * 7


def test_rows_that_cannot_be_used_are_counted(codec: Codec) -> None:
    edits = [
        EDIT,
        replace(EDIT, edited=EDIT.original),
        replace(EDIT, original=" "),
        replace(EDIT, edited=""),
        replace(EDIT, outcome=EditOutcome.REFUSED),
        replace(EDIT, outcome=EditOutcome.TRUNCATED),
        replace(EDIT, original="sun " * 20),
        replace(EDIT, edited="sea " * 20),
        replace(EDIT, edited="sea " * 40),
    ]
    pairs, skipped = pairs_of_edits(iter(edits), codec, AlignConfig(max_length=20))
    assert len(pairs) == 1
    assert skipped == {
        "equal to its original": 1,
        "empty response": 1,
        "empty edit": 1,
        "refused": 1,
        "truncated": 1,
        "longer than max_length": 3,
    }
    # the model beside the tokenizer reads 32 tokens
    assert pairs_of_edits(edits, codec, PLAIN)[1]["longer than the model's context"] == 1
    assert pairs_of_edits([], codec, PLAIN) == ([], {})


def test_the_limit_counts_prompt_longer_side_and_end(codec: Codec) -> None:
    # <s> topic1 + sun mud sky </s> = 6 tokens; the longer side counts
    assert len(pairs_of_edits([EDIT], codec, AlignConfig(max_length=6))[0]) == 1
    assert not pairs_of_edits([EDIT], codec, AlignConfig(max_length=5))[0]
    assert not pairs_of_edits([replace(EDIT, edited="sun sun sun sun")], codec, AlignConfig(max_length=6))[0]


def test_a_prompt_without_tokens_is_skipped(base: Path) -> None:
    codec = load_codec(base)
    assert pairs_of_edits([replace(EDIT, prompt="")], codec, PLAIN) == ([], {"empty prompt": 1})
    row = Comparison("c", " ", "sun", "mud", Preference.FIRST)
    assert pairs_of_comparisons([row], codec, PLAIN) == ([], {"empty prompt": 1})


def test_an_unfinished_original_has_no_end(codec: Codec) -> None:
    cut_off = replace(EDIT, meta={"finished": False})
    edits = [cut_off, replace(cut_off, edited="sun mud sea"), replace(EDIT, meta={"finished": True})]
    (torn, closed, whole), _ = pairs_of_edits(edits, codec, PLAIN)
    assert torn.rejected_ids == closed.rejected_ids == ids(codec, "sun mud sky")
    # "sun sea sky" ends in the words at which the original was torn off; "sun mud sea" has an end of its own
    assert torn.chosen_ids == ids(codec, "sun sea sky")
    assert (torn.rejected_changed, torn.chosen_changed) == ((False, True, False),) * 2
    assert torn.unchanged == ((0, 0), (2, 2))
    assert closed.chosen_ids == ids(codec, "sun mud sea </s>")
    assert closed.unchanged == ((0, 0), (1, 1))  # its end has no partner, and is not credited unasked
    assert closed.chosen_changed == (False, False, True, False)
    assert (whole.rejected_ids, whole.chosen_ids) == (ids(codec, "sun mud sky </s>"), ids(codec, "sun sea sky </s>"))


def test_a_response_that_was_cut_off_has_no_end_on_its_side_of_a_comparison(codec: Codec) -> None:
    row = Comparison("c", "topic1", "sun sea", "mud sky", Preference.FIRST)
    sea, mud = ids(codec, "sun sea"), ids(codec, "mud sky")
    end = (codec.eos_id,)
    for preference, better, worse in ((Preference.FIRST, sea, mud), (Preference.SECOND, mud, sea)):
        for meta, cut in (
            ({"first_finished": False}, {sea}),
            ({"second_finished": "false"}, {mud}),
            ({"first_finished": False, "second_finished": False}, {sea, mud}),
            ({"first_finished": True}, set()),
        ):
            [pair], _ = pairs_of_comparisons([replace(row, preference=preference, meta=meta)], codec, PLAIN)
            assert pair.chosen_ids == (better if better in cut else better + end)
            assert pair.rejected_ids == (worse if worse in cut else worse + end)


def test_sides_that_are_the_same_tokens_are_counted(codec: Codec) -> None:
    edits = [EDIT, replace(EDIT, edited="sun mud  sky"), replace(EDIT, edited=" sun mud sky\n")]
    assert pairs_of_edits(edits, codec, PLAIN) == (pairs_of_edits([EDIT], codec, PLAIN)[0], {UNSEEN: 2})
    # cut off: still the same words, and an end token alone tells nothing
    cut = [replace(edit, meta={"finished": False}) for edit in edits]
    assert pairs_of_edits(cut, codec, PLAIN)[1] == {UNSEEN: 2}
    rows = [Comparison("c", "topic1", "sun mud", "sun  mud", Preference.FIRST)]
    assert pairs_of_comparisons(rows, codec, PLAIN) == ([], {UNSEEN: 1})


@pytest.fixture(scope="module")
def bytes_codec() -> Codec:
    """A tokenizer whose tokens are bytes, so that it sees all white space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=["</s>"], show_progress=False)
    tokenizer.train_from_iterator(["a"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>")
    return Codec(fast, "{prompt}", pad_id=0, eos_id=0)


@pytest.mark.parametrize("alignment", ["lcs", "positional"])
@pytest.mark.parametrize("restore", [True, False])
@pytest.mark.parametrize("edited", ["One.  Two.", "One.\nTwo.", "One. Two.\r\n", "One.Two.", "One\u3000. Two ."])
def test_edits_of_white_space_alone_are_counted(
    bytes_codec: Codec, edited: str, restore: bool, alignment: Literal["lcs", "positional"]
) -> None:
    config = AlignConfig(restore_spacing=restore, alignment=alignment)
    edit = Edit("e", "p", "One. Two.", edited)
    assert pairs_of_edits([edit], bytes_codec, config) == ([], {"only white space differs": 1})


def test_white_space_beside_an_edit_is_the_original_s(bytes_codec: Codec) -> None:
    edit = Edit("e", "p", "Is a.\r\nIs  b.\r\n", "Is c.\nIs b.")
    [pair], _ = pairs_of_edits([edit], bytes_codec, PLAIN)
    assert bytes_codec.decode([pair.chosen_ids]) == ["Is c.\r\nIs  b.\r\n"]
    assert is_respaced(pair)
    assert [i for i, x in enumerate(pair.chosen_changed) if x] == [3]
    [plain], _ = pairs_of_edits([edit], bytes_codec, AlignConfig(restore_spacing=False))
    assert bytes_codec.decode([plain.chosen_ids]) == [edit.edited]
    assert not is_respaced(plain)
    assert [i for i, x in enumerate(plain.chosen_changed) if x] == [3]  # white space is not blamed anyway


@pytest.mark.parametrize(
    ("edited", "eos_in_changed", "rejected", "chosen", "last"),
    [
        # text was appended: the original stopped too early
        ("sun mud sky sea", False, "....", "...x.", (3, 4)),
        ("sun mud sky sea", True, "...x", "...x.", (2, 2)),
        # the end was cut: the edit is right to stop
        ("sun mud", False, "..x.", "...", (3, 2)),
        ("sun mud", True, "..x.", "..x", (1, 1)),
    ],
)
def test_the_end_token_in_the_masks(
    codec: Codec, edited: str, eos_in_changed: bool, rejected: str, chosen: str, last: tuple[int, int]
) -> None:
    config = AlignConfig(eos_in_changed=eos_in_changed)
    [pair], _ = pairs_of_edits([replace(EDIT, edited=edited)], codec, config)
    assert pair.rejected_ids[-1] == pair.chosen_ids[-1] == codec.eos_id
    assert pair.rejected_changed == tuple(char == "x" for char in rejected)
    assert pair.chosen_changed == tuple(char == "x" for char in chosen)
    assert pair.unchanged[-1] == last


def test_options_of_the_recipe_arrive(codec: Codec) -> None:
    edit = replace(EDIT, edited="mud sky")  # a pure deletion of "sun"
    [lcs], _ = pairs_of_edits([edit], codec, PLAIN)
    [positional], _ = pairs_of_edits([edit], codec, AlignConfig(alignment="positional"))
    [anchored], _ = pairs_of_edits([edit], codec, AlignConfig(anchor="divergence"))
    assert lcs.chosen_changed == (False, False, False)
    assert positional.chosen_changed == (True, True, False)
    assert anchored.chosen_changed == (True, False, False)


def test_comparisons_have_no_masks(codec: Codec) -> None:
    rows = [
        Comparison("1", "topic1", "sun sea", "mud", Preference.FIRST),
        Comparison("2", "topic1", "mud", "sun sea", Preference.SECOND),
        Comparison("3", "topic1", "mud", "sun sea", Preference.FIRST),
        Comparison("4", "topic1", "mud", "sun sea", Preference.TIE),
        Comparison("5", "topic1", "", "sun sea", Preference.FIRST),
        Comparison("6", "topic1", "sun", " ", Preference.FIRST),
        Comparison("7", "topic1", "sun " * 12, "mud", Preference.FIRST),
        Comparison("8", "topic1", "sun", "mud " * 40, Preference.FIRST),
        Comparison("9", "topic1", "mud", "sun sea", Preference.NONE),
    ]
    pairs, skipped = pairs_of_comparisons(iter(rows), codec, AlignConfig(max_length=10))
    good, bad = ids(codec, "sun sea </s>"), ids(codec, "mud </s>")
    assert [(pair.id, pair.chosen_ids, pair.rejected_ids) for pair in pairs] == [
        ("1", good, bad),
        ("2", good, bad),
        ("3", bad, good),
    ]
    assert all(not (pair.rejected_changed or pair.chosen_changed or pair.unchanged) for pair in pairs)
    assert skipped == {"tie": 1, "no verdict": 1, "empty response": 2, "longer than max_length": 2}
    assert pairs_of_comparisons([], codec, PLAIN) == ([], {})


PAIR = Pair("p", (2, 4), (12, 16, 3), (12, 13, 3), (False, True, False), (False, True, False), ((0, 0), (2, 2)))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"prompt_ids": ()}, "prompt or a response is empty"),
        ({"chosen_ids": ()}, "prompt or a response is empty"),
        ({"prompt_ids": (2, 18)}, "outside the model's vocabulary of 18"),
        ({"rejected_ids": (12, -1, 3)}, "outside the model's vocabulary"),
        ({"prompt_ids": (2,) * 30}, "has 33 tokens, the model reads 32"),
        ({"rejected_changed": (False, True)}, "one flag for each token"),
        ({"chosen_changed": (True,) * 4}, "one flag for each token"),
        ({"unchanged": ((0, 3),)}, "unchanged points outside"),
        ({"unchanged": ((-1, 0),)}, "unchanged points outside"),
    ],
)
def test_pairs_that_a_model_cannot_learn_from(changes: dict[str, object], problem: str) -> None:
    check_pairs([PAIR], 18, 32)
    check_pairs([replace(PAIR, rejected_changed=(), chosen_changed=(), unchanged=())], 18, None)
    with pytest.raises(RedpencilError, match=problem) as raised:
        check_pairs([PAIR, replace(PAIR, id="second", **changes)], 18, 32)
    assert "'second'" in raised.value.problem


def test_both_sides_of_the_pairs_are_in_one_batch() -> None:
    pairs = [
        Pair("1", (7,), (5, 6, 3), (5, 3), (False, True, False), (False, False), ((0, 0), (2, 1))),
        Pair("2", (7, 8), (5, 3), (5, 9, 9, 3), (False, False), (False, True, True, False), ((0, 0), (1, 3))),
    ]
    item = collate_pairs(pairs, 0, torch.device("cpu"))
    assert len(item) == 2
    # chosen of 1, chosen of 2, rejected of 1, rejected of 2
    assert item.batch.input_ids.tolist() == [
        [0, 7, 5, 3, 0, 0],
        [7, 8, 5, 9, 9, 3],
        [0, 7, 5, 6, 3, 0],
        [7, 8, 5, 3, 0, 0],
    ]
    assert item.changed_mask.int().tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert item.unchanged_mask.int().tolist() == [[1, 1, 0, 0], [1, 0, 0, 1], [1, 0, 1, 0], [1, 1, 0, 0]]
    assert item.unchanged_pairs.tolist() == [[0, 0, 0], [0, 2, 1], [1, 0, 0], [1, 1, 3]]
    assert not (item.changed_mask & ~item.batch.response_mask).any()


def test_pairs_without_masks_are_collated() -> None:
    item = collate_pairs([Pair("1", (7,), (5, 3), (6, 3))], 0, torch.device("cpu"))
    assert not item.changed_mask.any()
    assert not item.unchanged_mask.any()
    assert item.unchanged_pairs.shape == (0, 3)


def test_each_change_of_an_edit_as_a_pair_of_its_own(codec: Codec) -> None:
    edit = Edit("e", "topic1", "mud sky sand sun rot", "sea sky sand sun sun")
    pairs, skipped = pairs_of_edits([edit, EDIT], codec, PLAIN, "hunks")
    assert [pair.id for pair in pairs] == ["e#1", "e#2", "e"]
    assert pairs[0].rejected_ids == ids(codec, "mud sky sand sun rot </s>")
    assert pairs[0].chosen_ids == pairs[1].rejected_ids == ids(codec, "sea sky sand sun rot </s>")
    assert pairs[1].chosen_ids == ids(codec, "sea sky sand sun sun </s>")
    assert [pair.rejected_changed.index(True) for pair in pairs] == [0, 4, 1]
    assert all(sum(pair.rejected_changed) == 1 for pair in pairs)
    assert pairs[2] == pairs_of_edits([EDIT], codec, PLAIN)[0][0]
    assert not skipped


def test_the_change_at_a_torn_end_finishes_the_text(codec: Codec) -> None:
    torn = Edit("t", "topic1", "mud sky sand sun rot", "sea sky sand sun sun", meta={"finished": False})
    first, second = pairs_of_edits([torn], codec, PLAIN, "hunks")[0]
    end = codec.tokenizer.convert_tokens_to_ids("</s>")
    ends = [side[-1] == end for side in (first.rejected_ids, first.chosen_ids, second.rejected_ids, second.chosen_ids)]
    assert ends == [False, False, False, True]
