"""Texts and templates to token ids: what a text says is text, what a template writes is control."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from redpencil.alignment.encoding import SafeEncoder

MARKERS = ["<s>", "</s>", "<|end|>"]


def word_level() -> Tokenizer:
    """Knows the markers both as added tokens and as words."""
    vocabulary = {word: i for i, word in enumerate(("?", *MARKERS, "a", "b", "c"))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(MARKERS)
    return tokenizer


def ids(encoder: SafeEncoder, *texts: str) -> list[list[int]]:
    return [encoding.ids for encoding in encoder.encode(texts)]


def test_what_a_text_says_is_text_and_what_a_template_writes_is_control() -> None:
    encoder = SafeEncoder(word_level(), MARKERS)
    assert ids(encoder, "a <s> b", "</s>", "a<|end|>") == [[4, 0, 5], [0], [0]]
    assert ids(encoder, encoder.markup("a <s> b</s>")) == [[4, 1, 5, 2]]
    assert ids(encoder, encoder.markup("<s>") + "<s>" + encoder.markup("</s>")) == [[1, 0, 2]]


def test_the_tokenizer_itself_stays_as_it_was() -> None:
    tokenizer = word_level()
    before = tokenizer.to_str()
    ids(SafeEncoder(tokenizer, MARKERS), "a")
    assert tokenizer.to_str() == before
    assert tokenizer.encode("<s>a").ids == [1, 4]


def test_markers_that_two_texts_or_a_template_and_a_text_make_together() -> None:
    encoder = SafeEncoder(word_level(), MARKERS)
    for one, other in [("<|en", "d|>"), ("<", "s>"), ("</", "s>"), ("<|end|", ">"), ("a <", "/s> b")]:
        assert {1, 2, 3} & set(ids(encoder, encoder.restore(one + other))[0])
        for rendered in (encoder.hide(one) + encoder.hide(other), one + encoder.hide(other), encoder.hide(one) + other):
            assert encoder.restore(rendered) == one + other
            assert not {1, 2, 3} & set(ids(encoder, encoder.restore(rendered))[0])


def test_white_space_at_the_ends_of_a_text_protects_no_marker() -> None:
    encoder = SafeEncoder(word_level(), MARKERS)
    assert encoder.hide(" d|> ").strip() != "d|>"  # a template that trims would join it to "<|en"
    assert encoder.hide("<|en\n").rstrip() != "<|en"
    assert encoder.restore(encoder.hide(" d|> <|en\n")) == " d|> <|en\n"


@given(st.lists(st.sampled_from([*MARKERS, "<", "s>", "|", "end|>", "<|", "/", "a", " ", "é", "\n"])).map("".join))
def test_a_hidden_text_comes_back(text: str) -> None:
    encoder = SafeEncoder(word_level(), MARKERS)
    hidden = encoder.hide(text)
    assert not any(marker in hidden for marker in MARKERS)
    assert encoder.restore(hidden) == encoder.restore(f"{hidden}{encoder.hide('')}") == text


def test_markers_of_letters_and_markers_within_markers() -> None:
    vocabulary = {word: i for i, word in enumerate(("?", "eos", "eo", "e", "<e>", "<e><e>", "a"))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    control = ["eos", "e", "<e>", "<e><e>"]
    tokenizer.add_special_tokens(control)
    encoder = SafeEncoder(tokenizer, control)
    assert ids(encoder, "eos a e", "eo") == [[0, 6, 0], [2]]
    assert ids(encoder, encoder.markup("eos a <e><e><e>")) == [[1, 6, 5, 4]]
    for text in ("eos", "e", "eeos", "<e", "<e><", "seos e", "e" * 20):
        assert encoder.restore(encoder.hide(text)) == text


def test_merges_that_spell_a_marker_do_not() -> None:
    pieces = ["<", "s", ">", "<s", "<s>", "<s>>", "<ss"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    merges = [("<", "s"), ("<s", ">"), ("<s>", ">"), ("<s", "s")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    assert tokenizer.encode("<s>").ids == [4]
    encoder = SafeEncoder(tokenizer, ["<s>"])
    assert ids(encoder, "<s>", "<ss", "<s>>") == [[3, 2], [6], [3, 2, 2]]


def test_a_normalizer_makes_no_marker_of_a_text() -> None:
    tokenizer = Tokenizer(models.Unigram([("?", 0.0), ("</s>", 0.0), *((c, -1.0) for c in "</s>ab")], unk_id=0))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.add_special_tokens(["</s>"])
    plain = [2, 3, 4, 5]
    assert tokenizer.encode("\N{FULLWIDTH LESS-THAN SIGN}/s>").ids == [1]  # the model finds it among its pieces
    encoder = SafeEncoder(tokenizer, ["</s>"])
    assert ids(encoder, "</s>", "\N{FULLWIDTH LESS-THAN SIGN}/s>", "</S>") == [plain, plain, plain]
    assert ids(encoder, encoder.markup("a</s>b")) == [[6, 1, 7]]


@pytest.mark.parametrize(
    ("single", "beginning"), [("$A", ()), ("<s> $A", (1,)), ("$A </s>", ()), ("<s> <|end|> $A </s>", (1, 3))]
)
def test_what_the_tokenizer_puts_before_every_text(single: str, beginning: tuple[int, ...]) -> None:
    tokenizer = word_level()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(marker, tokenizer.token_to_id(marker)) for marker in MARKERS]
    )
    assert SafeEncoder(tokenizer, MARKERS).beginning == beginning


def test_what_a_saved_tokenizer_says_of_padding_and_truncation_is_left_out() -> None:
    tokenizer = word_level()
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(1)
    assert ids(SafeEncoder(tokenizer, MARKERS), "a b", "c") == [[4, 5], [6]]


def test_without_control_tokens_all_is_text() -> None:
    encoder = SafeEncoder(word_level(), [])
    assert encoder.restore(encoder.markup(encoder.hide("a <x>"))) == "a <x>"
    assert ids(encoder, "a b") == [[4, 5]]


@pytest.mark.parametrize("score", [0.0, -3.0])
def test_a_byte_is_what_a_letter_is_made_of_and_not_what_a_text_says(score: float) -> None:
    pieces = [("<unk>", 0.0), *((f"<0x{byte:02X}>", score) for byte in range(256)), *((c, -9.0) for c in "<0x41>ab")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    letter = 1 + 0x41
    assert letter in tokenizer.encode("<0x41>").ids
    encoder = SafeEncoder(tokenizer, ["<unk>"])
    assert letter not in ids(encoder, "a<0x41>b")[0]
    assert (
        ids(encoder, "aAb", "é")
        == [tokenizer.encode("aAb").ids, tokenizer.encode("é").ids]
        == [[263, letter, 264], [1 + 0xC3, 1 + 0xA9]]
    )
