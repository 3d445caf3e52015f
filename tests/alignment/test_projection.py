"""Token rewards on other tokenizers: worked examples, and properties on byte-level BPE, unigram and WordPiece."""

from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from redpencil.alignment.projection import TokenRewards, project_rows

Spans = list[tuple[int, int]]
CORPUS = [
    "The quick brown fox, that was unbelievably quick, jumped over 23 lazy dogs.",
    "Le café naïf coûte 3 € ; cafe\u0301 e\u0301te\u0301",
    "東京は日本の首都です。北京是中国的首都。",
    "שלום עולם — مرحبا بالعالم",
    "smile 😀 family 👨\u200d👩\u200d👧 flag 🇫🇷 thumbs 👍🏽",
    "one\r\ntwo\tthree  four\n\nfive",
]
PIECES = [
    *("the ", "unbelievable", " fox", ",", ".", "  ", " ", "\t", "\r\n", "\n", "e\u0301", "é", "n\u0303\u0323", "…"),
    *("\ufb01", "\U0001d518", "😀", "👨\u200d👩\u200d👧", "🇫🇷", "👍🏽", "東京", "です。", "שלום", "مرحبا"),
    *("\u200f", "\u00ad", "[UNK]", "\ufffd", "\u2581"),
]
texts = st.one_of(st.lists(st.sampled_from(PIECES), max_size=10).map("".join), st.text(max_size=12))


@cache
def tokenizer(kind: str) -> Tokenizer:
    """A tokenizer trained on the few lines above: many characters are unknown to it or cut into bytes."""
    if kind == "bpe":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    elif kind == "bpe_trimmed":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        made.post_processor = processors.ByteLevel(trim_offsets=True)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    elif kind == "unigram":
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=150, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
        )
    else:
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[UNK]"], show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    return made


KINDS = ("bpe", "bpe_trimmed", "unigram", "wordpiece")
kinds = st.sampled_from(KINDS)


def spans(kind: str, text: str, finished: bool = True) -> Spans:
    found = list(tokenizer(kind).encode(text, add_special_tokens=False).offsets)
    return [*found, (len(text), len(text))] if finished else found


def drawn(data: st.DataObject, length: int) -> list[float]:
    return data.draw(st.lists(st.floats(-1e3, 1e3), min_size=length, max_size=length))


def test_the_worked_example() -> None:
    text = "unbelievable!"
    rewards = TokenRewards(text, [(0, 2), (2, 8), (8, 12), (12, 13), (13, 13)], [-1, 3, -1, 0, 1])
    # unbe: -1 and two of six characters of +3; lievable: the other four, and -1
    assert rewards.project([(0, 4), (4, 12), (12, 13), (13, 13)]).rewards.tolist() == [0, 1, 0, 1]
    assert rewards.total == 2
    assert rewards.has_eos


def test_from_fine_to_coarse_is_a_sum_and_back_an_equal_share() -> None:
    letters = TokenRewards("abcdef", [(i, i + 1) for i in range(6)], [1, 2, 4, 8, 16, 32])
    words = letters.project([(0, 2), (2, 6)])
    assert words.rewards.tolist() == [3, 60]
    assert words.project(letters.offsets).rewards.tolist() == [1.5, 1.5, 15, 15, 15, 15]


def test_the_end_goes_to_the_end_and_without_one_to_the_last_token() -> None:
    finished = TokenRewards("ab cd", [(0, 2), (2, 5), (5, 5)], [1, 2, 7])
    assert finished.project([(0, 5), (5, 5)]).rewards.tolist() == pytest.approx([3, 7])
    assert finished.project([(0, 3), (3, 5)]).rewards.tolist() == pytest.approx([1 + 2 / 3, 4 / 3 + 7])
    cut_off = TokenRewards("ab cd", [(0, 2), (2, 5)], [1, 2])
    assert not cut_off.has_eos
    assert cut_off.project([(0, 5), (5, 5)]).rewards.tolist() == pytest.approx([3, 0])


def test_an_empty_text_has_its_end() -> None:
    assert TokenRewards("", [(0, 0)], [5]).project([(0, 0)]).rewards.tolist() == [5]
    nothing = TokenRewards("", [], [])
    assert nothing.project([(0, 0)]).rewards.tolist() == [0]
    assert nothing.project([]).rewards.tolist() == []


def test_bare_characters_go_to_the_next_token_else_to_the_end_else_to_the_last() -> None:
    # the source covers all; the target drops the spaces, as WordPiece does
    source = TokenRewards(" ab  c ", [(0, 3), (3, 5), (5, 7)], [3, 10, 2])
    assert source.project([(1, 3), (5, 6), (7, 7)]).rewards.tolist() == [3, 11, 1]
    assert source.project([(1, 3), (5, 6)]).rewards.tolist() == [3, 12]
    only_spaces = TokenRewards("   ", [(0, 3), (3, 3)], [4, 1])
    assert only_spaces.project([(3, 3)]).rewards.tolist() == pytest.approx([5])


def test_the_bytes_of_one_character_keep_their_own_or_share() -> None:
    bytewise = TokenRewards("a\N{GRINNING FACE}b", [(0, 1), (1, 2), (1, 2), (1, 2), (1, 2), (2, 3)], [1, 2, 3, 4, 5, 6])
    assert bytewise.project(bytewise.offsets).rewards.tolist() == [1, 2, 3, 4, 5, 6]
    assert bytewise.project([(0, 1), (1, 2), (1, 2), (2, 3)]).rewards.tolist() == [1, 7, 7, 6]
    assert bytewise.project([(0, 1), (1, 2), (2, 3)]).rewards.tolist() == [1, 14, 6]
    whole = TokenRewards(bytewise.text, [(0, 3)], [9])
    assert whole.project(bytewise.offsets).rewards.tolist() == [3, 0.75, 0.75, 0.75, 0.75, 3]


def test_tokens_that_overlap_share_what_both_cover() -> None:
    # " " with the first bytes of an emoji, then its last bytes: the character belongs to both
    text = " \N{GRINNING FACE}"
    assert TokenRewards(text, [(0, 2)], [8]).project([(0, 2), (1, 2)]).rewards.tolist() == [8, 0]
    assert TokenRewards(text, [(0, 1), (1, 2)], [8, 4]).project([(0, 2), (1, 2)]).rewards.tolist() == [8, 4]
    assert TokenRewards(text + "x", [(0, 3)], [9]).project([(0, 2), (1, 3)]).rewards.tolist() == [4.5, 4.5]


def test_a_token_without_characters_counts_with_what_follows() -> None:
    source = TokenRewards("abcd", [(0, 2), (2, 2), (2, 4), (4, 4)], [1, 5, 2, 3])
    assert source.project([(0, 2), (2, 4), (4, 4)]).rewards.tolist() == [1, 7, 3]
    assert source.project([(0, 2), (2, 2), (2, 4), (4, 4)]).rewards.tolist() == [1, 5, 2, 3]
    # one that only the target has gets nothing, neither from characters nor from gaps
    assert TokenRewards("ab d", [(0, 4)], [4]).project([(0, 2), (2, 2), (3, 4)]).rewards.tolist() == [2, 0, 2]


def test_rewards_without_a_token_to_take_them_and_spans_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="no token to lay the rewards onto"):
        TokenRewards("a", [(0, 1)], [1]).project([])
    with pytest.raises(ValueError, match="outside the text of 1 characters"):
        TokenRewards("a", [(0, 2)], [1])
    with pytest.raises(ValueError, match="outside the text"):
        TokenRewards("a", [(0, 1)], [1]).project([(0, 2)])
    with pytest.raises(ValueError, match="outside the text"):
        TokenRewards("ab", [(2, 1)], [1])
    with pytest.raises(ValueError, match="1 spans with rewards of shape"):
        TokenRewards("ab", [(0, 1)], [1, 2])


def test_a_number_that_is_not_finite_stays_where_it_is() -> None:
    rows = [TokenRewards("ab", [(0, 1), (1, 2), (2, 2)], values) for values in ([np.nan, 1, 2], [1, 2, 3])]
    first, second = project_rows(rows, [[(0, 1), (1, 2), (2, 2)], [(0, 2), (2, 2)]])
    assert np.isnan(first.rewards).tolist() == [True, False, False]
    assert second.rewards.tolist() == [3, 3]


@given(texts, kinds, kinds, st.booleans(), st.booleans(), st.data())
def test_the_total_is_kept(text: str, one: str, other: str, first: bool, second: bool, data: st.DataObject) -> None:
    source, target = spans(one, text, first), spans(other, text, second)
    assume(target or not source)
    rewards = TokenRewards(text, source, drawn(data, len(source)))
    laid = rewards.project(target)
    assert laid.total == pytest.approx(rewards.total, rel=1e-12, abs=1e-12 * (1 + np.abs(rewards.rewards).sum()))
    assert len(laid.rewards) == len(target)


@given(texts, kinds, st.booleans(), st.data())
def test_onto_itself_nothing_changes(text: str, kind: str, finished: bool, data: st.DataObject) -> None:
    source = spans(kind, text, finished)
    rewards = TokenRewards(text, source, drawn(data, len(source)))
    assert rewards.project(source).rewards.tolist() == rewards.rewards.tolist()


@given(texts, kinds, kinds, st.data())
def test_linear_in_the_rewards(text: str, one: str, other: str, data: st.DataObject) -> None:
    source, target = spans(one, text), spans(other, text)
    first, second = np.array(drawn(data, len(source))), np.array(drawn(data, len(source)))

    def laid(values: np.ndarray) -> np.ndarray:
        return TokenRewards(text, source, values).project(target).rewards

    np.testing.assert_allclose(laid(2 * first - 3 * second), 2 * laid(first) - 3 * laid(second), atol=1e-9)


@given(texts, kinds, kinds, st.booleans())
def test_a_reward_stays_on_its_characters(text: str, one: str, other: str, finished: bool) -> None:
    """Told once more, token by token: who may hold what a single source token got."""
    source, target = spans(one, text), spans(other, text, finished)
    assume(target)
    covered = {c for start, end in target for c in range(start, end)}
    for index, (start, end) in enumerate(source):
        unit = np.zeros(len(source))
        unit[index] = 1
        laid = TokenRewards(text, source, unit).project(target).rewards
        assert (laid >= 0).all()
        holders = {i for i in range(len(target)) if laid[i] > 0}
        if index == len(source) - 1:
            assert holders == {len(target) - 1}
            continue
        places = range(start, end) if start < end else [start]
        allowed = {i for i, (s, e) in enumerate(target) if any(s <= c < e for c in places)}
        allowed |= {i for i, span in enumerate(target) if span == (start, end)}
        for place in (c for c in places if c not in covered):
            takers = [i for i, (s, e) in enumerate(target) if s >= place and (s < e or s == len(text))]
            allowed.add(min(takers, key=lambda i: (target[i][0], i)) if takers else len(target) - 1)
        assert holders <= allowed


def test_what_nothing_covers_stays_in_its_text() -> None:
    rows = [TokenRewards("ab ", [(0, 3)], [3]), TokenRewards("cd", [(0, 2)], [5])]
    first, second = project_rows(rows, [[(0, 1), (1, 2)], [(0, 2)]])
    assert (first.rewards.tolist(), second.rewards.tolist()) == ([1, 2], [5])


@given(st.lists(st.tuples(texts, kinds, kinds), max_size=6), st.data())
def test_many_texts_at_once_are_each_alone(rows: list[tuple[str, str, str]], data: st.DataObject) -> None:
    sources = []
    for text, kind, _ in rows:
        offsets = spans(kind, text)
        sources.append(TokenRewards(text, offsets, drawn(data, len(offsets))))
    targets = [spans(kind, text) for text, _, kind in rows]
    for laid, source, target in zip(project_rows(sources, targets), sources, targets, strict=True):
        np.testing.assert_array_equal(laid.rewards, source.project(target).rewards)


@pytest.mark.parametrize("kind", KINDS)
def test_the_texts_put_every_tokenizer_to_the_test(kind: str) -> None:
    """The properties above say something only where tokens share characters, drop some or cut words apart."""
    text = "".join(PIECES)
    found = spans(kind, text, finished=False)
    bare = set(range(len(text))) - {c for start, end in found for c in range(start, end)}
    shared = len(found) - len(set(found))
    assert {"bpe": shared, "bpe_trimmed": len(bare), "unigram": shared, "wordpiece": len(bare)}[kind] > 0
