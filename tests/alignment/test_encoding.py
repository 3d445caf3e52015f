"""Texts and templates to token ids: what a text says is text, what a template writes is control."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from redpencil.alignment.encoding import SafeEncoder, _renamed, _shared

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


@pytest.mark.parametrize("flags", [{"single_word": True}, {"normalized": True}, {"lstrip": True, "rstrip": True}])
def test_what_a_template_writes_is_control_whatever_stands_beside_it(flags: dict[str, bool]) -> None:
    pieces = ("<s>", "</s>", "_", "a", "b", "<", "/", "s", ">", " ")
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    tokenizer.normalizer = normalizers.Prepend("_")
    tokenizer.add_special_tokens([AddedToken(text, special=True, **flags) for text in pieces[:2]])
    encoder = SafeEncoder(tokenizer, pieces[:2])
    assert ids(encoder, encoder.markup("<s>a</s>b")) == [[0, 2, 3, 1, 2, 4]]
    assert not {0, 1} & set(ids(encoder, "<s>a</s>b")[0])


def test_strictly_hidden_texts_hold_no_beginning_of_a_marker_and_come_back() -> None:
    encoder = SafeEncoder(word_level(), [*MARKERS, "eos"])
    for text in ("<|en<x>d|>", "< s >", "eos e", "a<", "</s><", "", "e" * 9):
        hidden = encoder.hide_first(text)
        assert encoder.restore(hidden) == text
        assert "<" not in hidden
    assert encoder.count("a <s>b</s></s> <") == 3


def spelling(vocabulary: dict[str, int], *markers: str) -> Tokenizer:
    """A BPE of single letters with one merge, whose added tokens are markers and an ordinary one."""
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", "b")]))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.add_special_tokens([AddedToken(marker, rstrip=marker == "<e>", special=True) for marker in markers])
    tokenizer.add_tokens([AddedToken("bb"), AddedToken("aaa", normalized=True)])
    return tokenizer


LETTERS = {letter: i for i, letter in enumerate(("a", "b", "ab", "<", ">", "s", "e", " "))}


@given(
    st.lists(
        st.sampled_from(["a", "b", "<s>", "<e>", " ", "<", ">", "\N{FULLWIDTH LATIN SMALL LETTER A}", "s", "e"])
    ).map("".join)
)
def test_a_tokenizer_around_the_same_model_cuts_like_a_copy(text: str) -> None:
    for vocabulary in (LETTERS, {**LETTERS, "<s>": 8}, {**LETTERS, "<s>": 9, "<e>": 8}):
        tokenizer = spelling(vocabulary, "<s>", "<e>")
        encoder = SafeEncoder(tokenizer, ["<s>", "<e>"])
        shared = _shared(tokenizer, encoder._names)
        assert shared is not None
        copy = _renamed(tokenizer, encoder._names)
        for written in (text, encoder.markup(text)):
            [encoded], expected = encoder.encode([written]), copy.encode(written)
            assert (encoded.ids, encoded.offsets) == (expected.ids, expected.offsets)
        assert encoder.encode([encoder.markup(text)])[0].ids == tokenizer.encode(text).ids


def test_a_model_that_finds_a_marker_itself_is_not_shared() -> None:
    whole = Tokenizer(models.BPE({**LETTERS, "<s>": 8}, [("a", "b")], ignore_merges=True))
    whole.add_special_tokens(["<s>"])
    gap = Tokenizer(models.BPE({**LETTERS, "<s>": 9, "y": 10}, [("a", "b")]))  # the id behind ten pieces is taken
    gap.add_special_tokens(["<s>"])
    for tokenizer, markers in ((whole, ["<s>"]), (gap, ["<s>"]), (word_level(), MARKERS)):
        encoder = SafeEncoder(tokenizer, markers)
        assert _shared(tokenizer, encoder._names) is None
        [encoded] = encoder.encode([encoder.markup("a<s>")])
        assert encoded.ids[-1] == tokenizer.token_to_id("<s>")
        assert tokenizer.token_to_id("<s>") not in encoder.encode(["a<s>"])[0].ids
