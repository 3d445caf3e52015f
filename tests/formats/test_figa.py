"""FIGA rows: weights against sums done by hand, ids against the library that trains with them, and the way back."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

from redpencil.errors import RedpencilError
from redpencil.formats.base import Unfit, no_correction
from redpencil.formats.figa import Cutter, Weights, edit_of_row, figa_row, load_cutter
from redpencil.records import Edit, EditOutcome

WORDS = ["<eos>", "<unk>", "the", "cat", "dog", "sat", "down", "who", "?"]
CAT = Edit("1", "who ?", "the cat sat", "the dog sat", editor="ann", meta={"source": "survey"})


def save(tokenizer: Tokenizer, folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def word_level() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return tokenizer


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    texts = ["The capital of Jordan is Amman, not Petra.", "naïve 😀 日本語 the the the of of is is"] * 3
    trainer = BpeTrainer(vocab_size=400, special_tokens=["<eos>"], initial_alphabet=ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def cutter(tmp_path_factory: pytest.TempPathFactory) -> Cutter:
    return load_cutter(save(word_level(), tmp_path_factory.mktemp("words"), eos_token="<eos>"))


@pytest.fixture(scope="module")
def bytes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(byte_level(), tmp_path_factory.mktemp("bytes"), eos_token={"__type": "AddedToken", "content": "<eos>"})


def row_of(edit: Edit, weights: Weights | None = None, cutter: Cutter | None = None) -> dict[str, Any]:
    row = figa_row(edit, weights or Weights(), cutter)
    assert not isinstance(row, Unfit)
    return row


def test_words_without_a_tokenizer() -> None:
    """ "the" 0-3 kept, " cat" 3-7 replaced by " dog" 3-7, " sat" 7-11 kept."""
    assert row_of(CAT) == {
        "id": "1",
        "instruction": "who ?",
        "input": "",
        "original_output": "the cat sat",
        "revised_output": "the dog sat",
        "original_spans": [[0, 3], [3, 7], [7, 11]],
        "original_weights": [0.0, -0.5, 0.0],
        "revised_spans": [[0, 3], [3, 7], [7, 11]],
        "revised_weights": [0.0, 1.0, 0.0],
        "editor": "ann",
        "outcome": "edited",
        "meta": '{"source": "survey"}',
    }


def test_tokens_with_a_tokenizer(cutter: Cutter) -> None:
    """the 2, cat 3, dog 4, sat 5, end of sequence 0; the end has alpha in the edit and nothing in the original."""
    row = row_of(CAT, cutter=cutter)
    assert row["prompt_ids"] == [7, 8]
    assert row["original_ids"] == [2, 3, 5, 0]
    assert row["original_weights"] == [0.0, -0.5, 0.0, 0.0]
    assert row["revised_ids"] == [2, 4, 5, 0]
    assert row["revised_weights"] == [0.0, 1.0, 0.0, 1.0]
    assert row["revised_spans"] == [[0, 3], [4, 7], [8, 11], [11, 11]]


def test_an_insertion_leaves_the_original_without_a_weight_and_a_deletion_the_edit(cutter: Cutter) -> None:
    longer = Edit("1", "", "the cat sat", "the cat sat down")
    row = row_of(longer, cutter=cutter)
    assert (row["original_weights"], row["revised_weights"]) == ([0.0] * 4, [0.0, 0.0, 0.0, 1.0, 1.0])
    row = row_of(Edit("1", "", longer.edited, longer.original), cutter=cutter)
    assert (row["original_weights"], row["revised_weights"]) == ([0.0, 0.0, 0.0, -0.5, 0.0], [0.0, 0.0, 0.0, 1.0])


def test_each_weight_goes_where_it_belongs(cutter: Cutter) -> None:
    """kept counts in the edit alone, and so does alpha."""
    for given_cutter, end in ((None, []), (cutter, [0.0])):
        row = row_of(CAT, Weights(alpha=2, beta=3, kept=0.25), given_cutter)
        assert row["original_weights"] == [0.0, -3, 0.0, *end]
        assert row["revised_weights"] == [0.25, 2, 0.25, *[2 for _ in end]]


def test_a_penalty_of_zero_has_no_sign() -> None:
    assert json.dumps(row_of(CAT, Weights(beta=0))["original_weights"]) == "[0.0, 0.0, 0.0]"


def test_an_original_that_was_cut_off_has_no_end_of_sequence(cutter: Cutter) -> None:
    row = row_of(Edit("1", "", "the cat sat", "the dog sat", meta={"finished": False}), cutter=cutter)
    assert row["original_ids"] == [2, 3, 5]
    assert len(row["original_weights"]) == len(row["original_spans"]) == 3
    # the edit ends in the same torn place; one with last words of its own has an end, with the weight alpha
    assert (row["revised_ids"], row["revised_weights"]) == ([2, 4, 5], [0.0, 1.0, 0.0])
    row = row_of(Edit("1", "", "the cat sat", "the cat sat down", meta={"finished": False}), cutter=cutter)
    assert (row["revised_ids"], row["revised_weights"]) == ([2, 3, 5, 6, 0], [0.0, 0.0, 0.0, 1.0, 1.0])


def test_changed_white_space_has_the_weight_of_what_is_kept() -> None:
    row = row_of(Edit("1", "", "the  cat sat", "the cat down"))
    assert row["original_spans"] == [[0, 3], [3, 5], [5, 8], [8, 12]]
    assert row["original_weights"] == [0.0, 0.0, 0.0, -0.5]
    assert row["revised_spans"] == [[0, 3], [3, 4], [4, 7], [7, 12]]
    assert row["revised_weights"] == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (Edit("1", "p", "same", "same"), "unchanged"),
        (Edit("1", "p", "a", "a", outcome=EditOutcome.UNCHANGED), "unchanged"),
        (Edit("1", "p", "a", "b", outcome=EditOutcome.REFUSED), "refused"),
        (Edit("1", "p", "a", "", outcome=EditOutcome.FAILED), "failed"),
        (Edit("1", "p", "a  b.", "a b.\n"), "only white space differs"),
    ],
)
def test_what_teaches_nothing_is_no_row(edit: Edit, reason: str) -> None:
    assert figa_row(edit, Weights()) == Unfit(reason)


def test_an_edit_that_the_tokenizer_does_not_see_is_no_row(cutter: Cutter) -> None:
    assert figa_row(Edit("1", "p", "the cat", "the cow"), Weights()) != Unfit("the same tokens")
    for meta in ({}, {"finished": False}):
        unseen = Edit("1", "p", "the ox sat", "the cow sat", meta=meta)  # two words that it does not know
        assert figa_row(unseen, Weights(), cutter) == Unfit("the same tokens")


texts = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("the cat 😀é\u0301日\n")), max_size=40
)
edits = st.builds(Edit, texts, texts, texts, texts, texts, meta=st.just({})).filter(lambda e: no_correction(e) is None)


@given(edit=edits)
def test_the_spans_of_words_tile_both_texts(edit: Edit) -> None:
    row = row_of(edit)
    for side, text in (("original", edit.original), ("revised", edit.edited)):
        spans = row[f"{side}_spans"]
        assert "".join(text[start:end] for start, end in spans) == text
        assert all(start < end for start, end in spans)
        assert len(row[f"{side}_weights"]) == len(spans)


@given(edit=edits)
def test_every_token_has_a_span_a_weight_and_an_id(edit: Edit, bytes_folder: Path) -> None:
    cutter = load_cutter(bytes_folder)
    row = row_of(edit, cutter=cutter)
    for side, text in (("original", edit.original), ("revised", edit.edited)):
        ids = row[f"{side}_ids"]
        assert cutter.tokenizer.decode(ids) == text
        assert len(ids) == len(row[f"{side}_spans"]) == len(row[f"{side}_weights"])
    kept = []
    for side, text in (("original", edit.original), ("revised", edit.edited)):
        spans = zip(row[f"{side}_spans"], row[f"{side}_weights"], strict=True)
        places = dict.fromkeys((start, end) for (start, end), weight in spans if weight == 0)
        kept.append("".join("".join(text[start:end] for start, end in places).split()))
    assert kept[0] == kept[1], "what is neither blamed nor paid is the same on both sides, white space aside"
    assert (row["original_weights"][-1], row["revised_weights"][-1]) == (0, 1)


@given(edit=edits)
def test_a_row_read_back_is_the_edit(edit: Edit, bytes_folder: Path) -> None:
    for cutter in (None, load_cutter(bytes_folder)):
        assert edit_of_row(json.loads(json.dumps(row_of(edit, cutter=cutter)))) == edit


def test_a_row_of_spa_is_read() -> None:
    texts = {"original_output": "a", "revised_output": "b"}
    row = {"id": "7", "instruction": "Who?", "input": "Two words.", "output": "x", **texts}
    assert edit_of_row(row) == Edit("7", "Who?\n\nTwo words.", "a", "b", meta={"output": "x"})


def test_a_foreign_column_with_the_name_of_a_field_is_kept() -> None:
    row = {"id": "1", "instruction": "p", "original_output": "a", "revised_output": "b", "prompt": "other"}
    assert edit_of_row(row) == Edit("1", "p", "a", "b", meta={"prompt": "other"})


@pytest.mark.parametrize(
    ("row", "field", "problem"),
    [
        ({"instruction": "p", "original_output": "a"}, "revised_output", "expected text"),
        ({"instruction": None, "original_output": "a", "revised_output": "b"}, "instruction", "expected text"),
        (
            {"instruction": "p", "original_output": "a", "revised_output": "b", "meta": "[1]"},
            "meta",
            "expected an object",
        ),
        (
            {"instruction": "p", "original_output": "a", "revised_output": "b", "meta": "{"},
            "meta",
            "expected an object",
        ),
    ],
)
def test_a_bad_row_is_named_with_its_field(row: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(RedpencilError, match=problem) as caught:
        edit_of_row({"id": "1", **row})
    assert caught.value.field == field
    assert caught.value.hint


def test_truncation_and_padding_that_the_file_asks_for_are_off(tmp_path: Path) -> None:
    tokenizer = word_level()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=8)
    row = row_of(CAT, cutter=load_cutter(save(tokenizer, tmp_path, eos_token="<eos>")))
    assert row["original_ids"] == [2, 3, 5, 0]


def test_a_prompt_keeps_its_special_tokens_but_not_the_end(tmp_path: Path) -> None:
    tokenizer = word_level()
    tokenizer.post_processor = TemplateProcessing(single="the $A <eos>", special_tokens=[("the", 2), ("<eos>", 0)])
    folder = save(tokenizer, tmp_path, eos_token="<eos>")
    row = row_of(CAT, cutter=load_cutter(folder, "dog {prompt} dog"))
    assert row["prompt_ids"] == [2, 4, 7, 8, 4]
    assert row["original_ids"] == [2, 3, 5, 0], "a response gets no other special token than its end"


def test_an_encoder_ends_with_its_separator(tmp_path: Path) -> None:
    assert load_cutter(save(word_level(), tmp_path, eos_token=None, sep_token="<unk>")).eos_id == 1


def test_a_folder_that_is_no_tokenizer_is_a_clear_mistake(tmp_path: Path) -> None:
    for name, prepare, problem in (
        ("none", lambda _: None, "no such file"),
        ("broken", lambda folder: (folder / "tokenizer.json").write_text("{"), "not a tokenizer"),
        ("nameless", lambda folder: save(word_level(), folder), "no end-of-sequence token"),
        ("strange", lambda folder: save(word_level(), folder, eos_token="</s>"), "not a token of the tokenizer"),
        ("bare", lambda folder: word_level().save(str(folder / "tokenizer.json")), "cannot read it"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        prepare(folder)
        with pytest.raises(RedpencilError, match=problem) as caught:
            load_cutter(folder)
        assert caught.value.hint, name
    with pytest.raises(RedpencilError, match=r"no \{prompt\}"):
        load_cutter(tmp_path, "Question:")


@pytest.mark.slow
def test_ids_and_masks_are_those_that_redpencil_trains_on(bytes_folder: Path) -> None:
    """The light library cuts as the heavy one does, so that rows fit models trained elsewhere."""
    from redpencil.config.training import AlignConfig
    from redpencil.models.codec import load_codec
    from redpencil.training.pairs import pairs_of_edits

    edit = Edit(
        "1", "Which capital?", "The capital of Jordan is Petra 😀", "The capital of Jordan is Amman, naïve 日本語."
    )
    (pair,), _ = pairs_of_edits([edit], load_codec(bytes_folder), AlignConfig(anchor="none", eos_in_changed=False))
    row = row_of(edit, cutter=load_cutter(bytes_folder))
    assert tuple(row["prompt_ids"]) == pair.prompt_ids
    assert tuple(row["original_ids"]) == pair.rejected_ids
    assert tuple(row["revised_ids"]) == pair.chosen_ids
    assert tuple(weight < 0 for weight in row["original_weights"]) == pair.rejected_changed
    assert tuple(weight > 0 for weight in row["revised_weights"]) == (*pair.chosen_changed[:-1], True)


def test_a_text_that_the_tokenizer_cannot_cut_is_a_clear_mistake(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordLevel({"<eos>": 0, "who": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    with pytest.raises(RedpencilError, match="cannot split a text") as caught:
        row_of(CAT, cutter=load_cutter(save(tokenizer, tmp_path, eos_token="<eos>")))
    assert caught.value.field == "--tokenizer"


def test_a_column_and_a_key_of_meta_with_one_name_are_refused() -> None:
    row = {"id": "1", "instruction": "i", "original_output": "a", "revised_output": "b"}
    with pytest.raises(RedpencilError, match="both in the row and in its meta") as caught:
        edit_of_row({**row, "edited": 1, "meta": {"edited": 2}})
    assert caught.value.field == "edited"
