"""Token masks: hand-worked masks, the end-of-sequence token, anchors, and real tokenizers."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from redpencil.alignment.tokens import TokenMasks, Tokens, token_masks
from redpencil.alignment.words import diff_visible, split_words

EOS = 0
CORPUS = [
    "It is better to have had a flame and lost it, than never to have been burned at all.",
    "the cat sat on the mat. the dog sat on the rug, and the bird sang.",
    "你好世界 café naïve 👍🏽 नमस्ते the catalogue of cats",
    "שלום עולם مرحبا بالعالم 👨\u200d👩\u200d👧 e\u0301te\u0301",
]
FIGURE_5 = (CORPUS[0], "It is better to have had a flame and been singed, than never to have felt its warmth at all.")

sentences = st.lists(
    st.sampled_from(["a", "cat", "cats", "the", ".", ",", "你好", "👍🏽", "e\u0301", "שלום", "مرحبا"]), max_size=12
)
texts = st.one_of(sentences.map(" ".join), sentences.map("".join), st.text(max_size=20))


def word_tokens(text: str, eos: bool = True) -> Tokens:
    """One token a word, without its leading space; equal words have equal ids."""
    spans = [(end - len(text[start:end].strip()), end) for start, end in split_words(text)]
    ids = [1 + sum(ord(char) * 31**i for i, char in enumerate(text[a:b])) for a, b in spans]
    end = [(len(text), len(text))] if eos else []
    return Tokens((*ids, EOS) if eos else tuple(ids), (*spans, *end), eos)


def masks(original: str, edited: str, *, eos: tuple[bool, bool] = (True, True), **options: object) -> TokenMasks:
    return token_masks(original, edited, word_tokens(original, eos[0]), word_tokens(edited, eos[1]), **options)


def flags(drawn: str) -> tuple[bool, ...]:
    """`..x.` as flags: x is True."""
    return tuple(char == "x" for char in drawn)


def test_figure_5_of_the_paper() -> None:
    found = masks(*FIGURE_5)
    # It is better to have had a flame and | lost it | , than never to have | been burned | at all . EOS
    assert found.rejected_changed == flags("........." + "xx" + "....." + "xx" + "....")
    # It is better to have had a flame and | been singed | , than never to have | felt its warmth | at all . EOS
    assert found.chosen_changed == flags("........." + "xx" + "....." + "xxx" + "....")
    # 9 before, 5 between, "at all ." and EOS: the edit runs one token ahead after "felt its warmth"
    assert found.unchanged == (
        *((t, t) for t in range(9)),
        *((t, t) for t in range(11, 16)),
        (18, 19),
        (19, 20),
        (20, 21),
        (21, 22),
    )


def test_a_pure_deletion_leaves_the_chosen_side_empty() -> None:
    found = masks("one two three", "one three")
    assert found == TokenMasks(flags(".x.."), flags("..."), ((0, 0), (2, 1), (3, 2)))


def test_a_pure_insertion_leaves_the_rejected_side_empty() -> None:
    found = masks("one three", "one two three")
    assert found == TokenMasks(flags("..."), flags(".x.."), ((0, 0), (1, 2), (2, 3)))


def test_several_pure_insertions_leave_the_rejected_side_empty() -> None:
    # only "the" stands between the two
    assert masks("see the cat", "see now the big cat").rejected_changed == flags("....")


def test_a_new_opener_leaves_the_first_word_unchanged() -> None:
    assert masks("the cat", "sure , the cat") == TokenMasks(flags("..."), flags("xx..."), ((0, 2), (1, 3), (2, 4)))
    # a token that holds the space is another one than the token without; that is no fault of the word
    first, second = real_tokens("byte-level BPE", "the cat", False), real_tokens("byte-level BPE", "a the cat", False)
    found = token_masks("the cat", "a the cat", first, second)
    assert not found.rejected_changed[0]
    assert not found.rejected_changed[-1]


def test_positions_are_useless_after_the_first_insertion() -> None:
    original, edited = "one two three four", "one new two three four"
    assert masks(original, edited).chosen_changed == flags(".x....")
    # token by token: one=one, two/new, three/two, four/three, and the fifth token of the edit is left over
    positional = masks(original, edited, alignment="positional")
    assert positional == TokenMasks(flags(".xxx."), flags(".xxxx."), ((0, 0), (4, 5)))


def test_positional_compares_ids() -> None:
    # "the cat sat" against "the dog sat": literally U0 = {0, 2}
    found = masks("the cat sat", "the dog sat", alignment="positional")
    assert found == TokenMasks(flags(".x.."), flags(".x.."), ((0, 0), (2, 2), (3, 3)))


def test_positional_end_of_sequence_compared_like_any_token() -> None:
    # one EOS / one two EOS: EOS against "two" differs, the edit's EOS is left over
    found = masks("one", "one two", alignment="positional", eos_in_changed=True)
    assert found == TokenMasks(flags(".x"), flags(".xx"), ((0, 0),))
    found = masks("one two", "one six", alignment="positional", eos_in_changed=True)
    assert found == TokenMasks(flags(".x."), flags(".x."), ((0, 0), (2, 2)))


@pytest.mark.parametrize(
    ("original", "edited", "rejected", "chosen", "pair"),
    [
        ("one", "one two", ".x", ".x.", None),  # appended: to stop here was the original's fault
        ("one two", "one", ".x.", ".x", None),  # the end was cut: to stop here is to the edit's credit
        ("one two", "one six", ".x.", ".x.", (2, 2)),  # replaced: nobody changed where to stop
        ("one two", "six one two", "...", "x...", (2, 3)),
        ("", "one", "x", "x.", None),
        ("one", "", "x.", "x", None),
        ("go .", "go . go .", "..x", "..xx.", None),  # appended, though the last words agree
    ],
)
def test_end_of_sequence_in_changed(
    original: str, edited: str, rejected: str, chosen: str, pair: tuple[int, int] | None
) -> None:
    found = masks(original, edited, eos_in_changed=True)
    assert (found.rejected_changed, found.chosen_changed) == (flags(rejected), flags(chosen))
    ends = (len(rejected) - 1, len(chosen) - 1)
    assert (ends in found.unchanged) == (pair is not None)
    assert all((i == ends[0]) == (j == ends[1]) for i, j in found.unchanged)

    without = masks(original, edited)
    assert without.unchanged[-1] == ends
    assert without.rejected_changed == (*flags(rejected)[:-1], False)
    assert without.chosen_changed == (*flags(chosen)[:-1], False)


@pytest.mark.parametrize("alignment", ["lcs", "positional"])
def test_an_unfinished_side_has_no_pair_of_ends(alignment: str) -> None:
    found = masks("one two", "one", eos=(False, True), alignment=alignment)
    assert found == TokenMasks(flags(".x"), flags(".."), ((0, 0),))
    found = masks("one", "one two", eos=(True, False), alignment=alignment)
    assert found == TokenMasks(flags(".."), flags(".x"), ((0, 0),))
    found = masks("one", "one", eos=(False, False), alignment=alignment)
    assert found == TokenMasks(flags("."), flags("."), ((0, 0),))
    # with the option, to end at all is something that only one side did
    found = masks("one two", "one", eos=(False, True), alignment=alignment, eos_in_changed=True)
    assert found == TokenMasks(flags(".x"), flags(".x"), ((0, 0),))


def test_divergence_blames_what_the_original_said_instead() -> None:
    # both say "one"; then the edit says "two", the original "three": its "three" is blamed, the edit's is in no set
    found = masks("one three four", "one two three four", anchor="divergence")
    assert found == TokenMasks(flags(".x.."), flags(".x..."), ((0, 0), (2, 3), (3, 4)))


def test_divergence_credits_what_the_edit_said_instead() -> None:
    found = masks("one two three four", "one three four", anchor="divergence")
    assert found == TokenMasks(flags(".x..."), flags(".x.."), ((0, 0), (3, 2), (4, 3)))


def test_divergence_stands_where_the_texts_part() -> None:
    # x . the | dog / cat: "the" was said by both in one state, so "cat" is blamed
    found = masks("x . the cat .", "x . the dog . the cat .", anchor="divergence")
    assert found.rejected_changed == flags("...x..")
    assert found.chosen_changed == flags("...xxx...")
    assert found.unchanged == ((0, 0), (1, 1), (2, 2), (4, 7), (5, 8))


def test_divergence_adds_nothing_to_replacements() -> None:
    assert masks(*FIGURE_5, anchor="divergence") == masks(*FIGURE_5)


def test_divergence_leaves_the_end_of_sequence_alone() -> None:
    for pair in (("one", "one two"), ("one two", "one")):
        assert masks(*pair, anchor="divergence") == masks(*pair)
        assert masks(*pair, anchor="divergence", eos_in_changed=True) == masks(*pair, eos_in_changed=True)


def test_a_token_over_the_border_of_an_edit_is_changed() -> None:
    # "ab" as one token; the edit puts a comma inside: a|,|b
    original = Tokens((5, EOS), ((0, 2), (2, 2)), True)
    edited = Tokens((6, 7, 8, EOS), ((0, 1), (1, 2), (2, 3), (3, 3)), True)
    assert token_masks(".b", ".,b", original, edited) == TokenMasks(flags("x."), flags("xxx."), ((1, 3),))
    # it is where the texts part, too, so the anchor is not put on another token
    original = Tokens((5, 9, EOS), ((0, 2), (2, 4), (4, 4)), True)
    edited = Tokens((6, 7, 8, 9, EOS), ((0, 1), (1, 2), (2, 3), (3, 5), (5, 5)), True)
    found = token_masks(".b c", ".,b c", original, edited, anchor="divergence")
    assert found == TokenMasks(flags("x.."), flags("xxx.."), ((1, 3), (2, 4)))


def test_one_unknown_token_for_two_texts_is_changed() -> None:
    # one id for "xy z" and "xy q": it begins in the equal block and ends in the replaced word
    original = edited = Tokens((1, EOS), ((0, 4), (4, 4)), True)
    assert token_masks("xy z", "xy q", original, edited) == TokenMasks(flags("x."), flags("x."), ((1, 1),))
    # one id for "xy" and for "xy zw" of the same text: other ends, other tokens
    original = Tokens((1, 2, EOS), ((0, 2), (2, 5), (5, 5)), True)
    edited = Tokens((1, EOS), ((0, 5), (5, 5)), True)
    assert token_masks("xy zw", "xy zw", original, edited) == TokenMasks(flags("xx."), flags("x."), ((2, 1),))


def test_another_split_of_kept_words_is_changed() -> None:
    # after an edit the same characters may be other tokens: "abc" as ab|c and as a|bc
    original = Tokens((1, 2, EOS), ((0, 2), (2, 3), (3, 3)), True)
    edited = Tokens((3, 4, EOS), ((0, 1), (1, 3), (3, 3)), True)
    assert token_masks("abc", "abc", original, edited) == TokenMasks(flags("xx."), flags("xx."), ((2, 2),))
    # the same ids at other places
    edited = Tokens((1, 2, EOS), ((0, 1), (1, 3), (3, 3)), True)
    assert token_masks("abc", "abc", original, edited) == TokenMasks(flags("xx."), flags("xx."), ((2, 2),))
    # the same place, another id
    edited = Tokens((1, 9, EOS), ((0, 2), (2, 3), (3, 3)), True)
    assert token_masks("abc", "abc", original, edited) == TokenMasks(flags(".x."), flags(".x."), ((0, 0), (2, 2)))


def test_tokens_of_one_character_agree_together_or_not_at_all() -> None:
    # three byte tokens of one character against two
    original = Tokens((1, 2, 3), ((0, 1),) * 3, False)
    assert token_masks("é", "é", original, original).unchanged == ((0, 0), (1, 1), (2, 2))
    edited = Tokens((12, 3), ((0, 1),) * 2, False)
    assert token_masks("é", "é", original, edited).unchanged == ()


def test_tokens_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="2 token ids with 1 offsets"):
        Tokens((1, 2), ((0, 1),), False)
    with pytest.raises(ValueError, match="has_eos"):
        Tokens((), (), True)


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


TOKENIZERS = {"byte-level BPE": byte_level(), "WordPiece": word_piece(), "Unigram": unigram()}


def real_tokens(name: str, text: str, eos: bool) -> Tokens:
    encoding = TOKENIZERS[name].encode(text)
    end = len(text)
    if not eos:
        return Tokens(tuple(encoding.ids), tuple(encoding.offsets), False)
    return Tokens((*encoding.ids, 10_000), (*encoding.offsets, (end, end)), True)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(
    original=texts,
    edited=texts,
    eos=st.tuples(st.booleans(), st.booleans()),
    alignment=st.sampled_from(["lcs", "positional"]),
    anchor=st.sampled_from(["none", "divergence"]),
    eos_in_changed=st.booleans(),
)
def test_masks_of_real_tokenizers_are_consistent(
    name: str,
    original: str,
    edited: str,
    eos: tuple[bool, bool],
    alignment: str,
    anchor: str,
    eos_in_changed: bool,
) -> None:
    first, second = real_tokens(name, original, eos[0]), real_tokens(name, edited, eos[1])
    options = {"alignment": alignment, "eos_in_changed": eos_in_changed}
    found = token_masks(original, edited, first, second, anchor=anchor, **options)
    assert (len(found.rejected_changed), len(found.chosen_changed)) == (len(first.ids), len(second.ids))
    assert all(first.ids[i] == second.ids[j] for i, j in found.unchanged)
    assert all(i < k and j < m for (i, j), (k, m) in zip(found.unchanged, found.unchanged[1:], strict=False))
    plain = token_masks(original, edited, first, second, **options)
    sides = (
        (original, first, found.rejected_changed, plain.rejected_changed, 0),
        (edited, second, found.chosen_changed, plain.chosen_changed, 1),
    )
    blocks = diff_visible(original, edited)
    orphans, respaced = [], []
    for text, tokens, changed, changed_without_anchor, side in sides:
        assert not any(changed[pair[side]] for pair in found.unchanged)
        neither, before = (
            {index for index in range(tokens.body) if not marks[index]} - {pair[side] for pair in pairs}
            for marks, pairs in ((changed, found.unchanged), (changed_without_anchor, plain.unchanged))
        )
        orphans.append(neither - before)
        respaced.append(before)
        assert all(now or not before for now, before in zip(changed, changed_without_anchor, strict=True))
        if alignment == "lcs":
            # white space is in no U1, and what is in no set has no character of a changed block
            assert not any(
                changed[index] and not text[slice(*tokens.offsets[index])].strip() for index in range(tokens.body)
            )
            changes = [(b.original, b.edited)[side] for b in blocks if b.kind not in ("equal", "space")]
            for start, end in (tokens.offsets[index] for index in before):
                assert not "".join(
                    text[max(a, start) : min(b, end)] for a, b in changes if a < end and b > start
                ).strip()
    if alignment == "positional":
        assert respaced == [set(), set()]
    # each other orphan is the partner of an anchor: a pair of `plain` whose other token is now changed
    partners = dict(plain.unchanged)
    assert orphans[0] == {i for i, j in partners.items() if found.chosen_changed[j]}
    assert orphans[1] == {j for i, j in partners.items() if found.rejected_changed[i]}


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("alignment", ["lcs", "positional"])
@settings(deadline=None)
@given(text=texts, eos=st.booleans())
def test_identical_texts_are_unchanged(name: str, alignment: str, text: str, eos: bool) -> None:
    tokens = real_tokens(name, text, eos)
    found = token_masks(text, text, tokens, tokens, alignment=alignment, anchor="divergence", eos_in_changed=True)
    assert not any(found.rejected_changed + found.chosen_changed)
    assert found.unchanged == tuple((t, t) for t in range(len(tokens.ids)))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_real_tokens_of_a_replaced_word(name: str) -> None:
    original, edited = "the cat sat 👍🏽 你好 cafe\u0301.", "the dog sat 👍🏽 你好 cafe\u0301."
    first, second = real_tokens(name, original, True), real_tokens(name, edited, True)
    found = token_masks(original, edited, first, second)
    assert {original[slice(*first.offsets[i])].strip() for i, x in enumerate(found.rejected_changed) if x} <= {
        *("cat", "ca", "at", "c", "a", "t")
    }
    assert any(found.rejected_changed)
    assert any(found.chosen_changed)
    kept = "".join(sorted({original[slice(*first.offsets[i])] for i, _ in found.unchanged}))
    assert all(piece in kept for piece in ("👍", "你", "好", "e", "."))


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(original=texts, edited=texts, alignment=st.sampled_from(["lcs", "positional"]))
def test_undoing_an_edit_gives_back_the_other_text(name: str, original: str, edited: str, alignment: str) -> None:
    """What is kept of the original and all else of the edit are the edit, and the other way round."""
    first, second = real_tokens(name, original, False), real_tokens(name, edited, False)
    found = token_masks(original, edited, first, second, alignment=alignment)
    kept = {j: i for i, j in found.unchanged}
    redone = [first.ids[kept[j]] if j in kept else token for j, token in enumerate(second.ids)]
    assert tuple(redone) == second.ids
    kept = dict(found.unchanged)
    undone = [second.ids[kept[i]] if i in kept else token for i, token in enumerate(first.ids)]
    assert tuple(undone) == first.ids
    if name == "byte-level BPE":
        assert TOKENIZERS[name].decode(redone, skip_special_tokens=False) == edited
        assert TOKENIZERS[name].decode(undone, skip_special_tokens=False) == original
    if alignment == "lcs":
        for i, j in found.unchanged:
            assert original[slice(*first.offsets[i])].strip() == edited[slice(*second.offsets[j])].strip()


VOCABULARY = [
    *(
        "the",
        "cat",
        "sat",
        "burned",
        "flame",
        "bird",
        "café",
        "e\u0301te\u0301",
        "👍🏽",
        "👨\u200d👩\u200d👧",
        ",",
        ".",
    ),
    *("你好", "世界", "नमस्ते", "שלום", "مرحبا"),
]


@st.composite
def word_edits(draw: st.DrawFn) -> tuple[list[str], int, int, list[str]]:
    """Words that occur once each, so that their alignment is beyond doubt; which go, and which come in their place."""
    order = draw(st.permutations(VOCABULARY))
    size = draw(st.integers(2, 10))
    start = draw(st.integers(1, size - 1))
    return order[:size], start, draw(st.integers(start, size)), order[size : size + draw(st.integers(0, 5))]


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(edit=word_edits(), anchor=st.sampled_from(["none", "divergence"]), eos_in_changed=st.booleans())
def test_an_edit_changes_the_tokens_of_its_words_alone(
    name: str, edit: tuple[list[str], int, int, list[str]], anchor: str, eos_in_changed: bool
) -> None:
    before, start, end, new = edit
    original, edited = " ".join(before), " ".join([*before[:start], *new, *before[end:]])
    first, second = real_tokens(name, original, True), real_tokens(name, edited, True)
    found = token_masks(original, edited, first, second)
    gone = len(" ".join(before[:start])), len(" ".join(before[:end]))
    come = gone[0], gone[0] + sum(1 + len(word) for word in new)
    sides = (original, first, found.rejected_changed, gone), (edited, second, found.chosen_changed, come)
    for text, tokens, changed, span in sides:
        offsets = tokens.offsets[: tokens.body]
        assert changed == (*(a < span[1] and b > span[0] and bool(text[a:b].strip()) for a, b in offsets), False)
    # trap 3: a pure insertion leaves the rejected side's U1 empty, a pure deletion the chosen side's
    assert any(found.rejected_changed) == (end > start)
    assert any(found.chosen_changed) == bool(new)
    # the other way round, the sides are swapped
    swapped = token_masks(edited, original, second, first)
    assert (swapped.chosen_changed, swapped.rejected_changed) == (found.rejected_changed, found.chosen_changed)
    assert swapped.unchanged == tuple((j, i) for i, j in found.unchanged)
    # options add to U1 and take nothing from it
    more = token_masks(original, edited, first, second, anchor=anchor, eos_in_changed=eos_in_changed)
    assert sum(more.rejected_changed) - sum(found.rejected_changed) in (0, 1)
    assert sum(more.chosen_changed) - sum(found.chosen_changed) in (0, 1)


def test_tokens_of_a_megabyte() -> None:
    words = [f"w{number % 7919}" for number in range(170_000)]
    original = " ".join(words)
    words[80_000] = "here"
    edited = " ".join(words)
    found = masks(original, edited)
    assert len(original) > 900_000
    assert [index for index, changed in enumerate(found.rejected_changed) if changed] == [80_000]
    assert [index for index, changed in enumerate(found.chosen_changed) if changed] == [80_000]


def pieces(text: str) -> Tokens:
    """Byte-level style tokens: a word with one space before it, further white space in one token before that."""
    spans = [match.span() for match in re.finditer(r" ?[^\s\w]\n*| ?\w+|\s+(?=\s)|\s+", text)]
    ids = [sum(ord(char) * 31**i for i, char in enumerate(text[a:b])) for a, b in spans]
    return Tokens(tuple(ids), tuple(spans), False)


@pytest.mark.parametrize(
    ("original", "edited", "kept"),
    [
        ("Hello  world is big.", "Hello world is big.", ["Hello", " world", " is", " big", "."]),
        ("Hello world is big.", "Hello  world is big.", ["Hello", " world", " is", " big", "."]),
        # "New" is another token without its space, and "." one with the line ends: in neither set
        ("Hello there.\n\nNew line.", "Hello there. New line.", ["Hello", " there", " line", "."]),
        ("One.\r\nTwo.\r\n", "One.\nTwo.\n", ["One", "Two"]),
        ("a\tb c", "a b c", ["a", " c"]),
        ("a\u00a0b c", "a b c", ["a", " c"]),
        ("a\u3000b c", "a b c", ["a", " c"]),
        ("End.Next one", "End. Next one", ["End", ".", " one"]),
        ("Hello ,you there", "Hello, you there", ["Hello", " there"]),
        ("(a + b)", "( a+b )", ["("]),
        (" Tea is hot", "Tea is hot", [" is", " hot"]),
        ("see alot of it", "see a lot of it", ["see", " of", " it"]),
        ("t h e end", "the end", [" end"]),
        ("Tea is hot", "Tea is hot \n", ["Tea", " is", " hot"]),
        ("\u4f60 \u597d", "\u4f60\u597d", []),
    ],
)
def test_changed_white_space_blames_no_word(original: str, edited: str, kept: list[str]) -> None:
    for alignment_of in (lambda a, b: (a, b), lambda a, b: (b, a)):
        before, after = alignment_of(original, edited)
        first, second = pieces(before), pieces(after)
        found = token_masks(before, after, first, second, anchor="divergence", eos_in_changed=True)
        assert not any(found.rejected_changed + found.chosen_changed)
        assert [before[slice(*first.offsets[i])] for i, _ in found.unchanged] == kept


def test_white_space_beside_a_changed_word() -> None:
    # doubled spaces, one replaced word, and a line end that became a space
    original, edited = "The  cat sat.\nIt slept.", "The dog sat. It  slept."
    first, second = pieces(original), pieces(edited)
    found = token_masks(original, edited, first, second)
    assert [original[slice(*first.offsets[i])] for i, x in enumerate(found.rejected_changed) if x] == [" cat"]
    assert [edited[slice(*second.offsets[i])] for i, x in enumerate(found.chosen_changed) if x] == [" dog"]
    assert [original[slice(*first.offsets[i])] for i, _ in found.unchanged] == ["The", " sat", " slept", "."]


def test_only_white_space_is_no_change_beside_what_is_one() -> None:
    # what has no width is no white space
    for original, edited, old, new in (
        ("It is 5 km", "It is 5km away", [], [" away"]),
        ("a b", "a \u200bb", [], [" \u200b"]),
        ("go", "go\n\nNow", [], ["Now"]),
        ("One two.", "One.\n\n two.", [], [".\n\n"]),
    ):
        first, second = pieces(original), pieces(edited)
        found = token_masks(original, edited, first, second)
        assert [original[slice(*first.offsets[i])] for i, x in enumerate(found.rejected_changed) if x] == old
        assert [edited[slice(*second.offsets[i])] for i, x in enumerate(found.chosen_changed) if x] == new


def mark_tokens(text: str) -> Tokens:
    """Tokens as Llama 3 and Qwen cut them: a mark with the line ends behind it is one token."""
    spans = [match.span() for match in re.finditer(r"[^\r\n\w]?\w+| ?[^\s\w]+[\r\n]*|\s+", text)]
    ids = [1 + sum(ord(char) * 31**i for i, char in enumerate(text[a:b])) for a, b in spans]
    return Tokens((*ids, EOS), (*spans, (len(text), len(text))), True)


@pytest.mark.parametrize(
    ("original", "edited", "rejected", "chosen", "unchanged"),
    [
        # Stop .~~ Brown  dogs EOS: the full stop and its empty line are the same token, whatever follows it
        ("Stop.\n\nBrown dogs", "Stop.\n\nFoxy dogs", "..x..", "..x..", ((0, 0), (1, 1), (3, 3), (4, 4))),
        ("Stop.\n\nBrown Dogs", "Stop.\n\nDogs", "..x..", "....", ((0, 0), (1, 1), (4, 3))),
        ("Stop.\n\nDogs", "Stop.\n\nBrown Dogs", "....", "..x..", ((0, 0), (1, 1), (3, 4))),
        # other white space makes another token of the full stop: in neither set
        ("Stop.\n\nBrown dogs", "Stop.\nFoxy dogs", "..x..", "..x..", ((0, 0), (3, 3), (4, 4))),
        ("Stop. dogs", "Stop.\n\nBrown dogs", "....", "..x..", ((0, 0), (2, 3), (3, 4))),
        # but a mark in place of the white space is a change of what can be seen
        ("Stop.\nBrown dogs", "Stop.-Brown dogs", ".x...", ".x...", ((0, 0), (2, 2), (3, 3), (4, 4))),
    ],
)
def test_a_mark_keeps_its_token_where_the_words_behind_its_line_ends_change(
    original: str, edited: str, rejected: str, chosen: str, unchanged: tuple[tuple[int, int], ...]
) -> None:
    found = token_masks(original, edited, mark_tokens(original), mark_tokens(edited))
    assert found == TokenMasks(flags(rejected), flags(chosen), unchanged)


def test_an_anchor_is_a_token_with_visible_characters() -> None:
    # the edit puts "B." before the white space that stands before "C"
    original, edited = "A.\n\n\tC", "A. B.\n\n\tC"
    first = Tokens((1, 2, 3, 4), ((0, 1), (1, 2), (2, 5), (5, 6)), False)
    second = Tokens((1, 2, 5, 2, 3, 4), ((0, 1), (1, 2), (2, 4), (4, 5), (5, 8), (8, 9)), False)
    found = token_masks(original, edited, first, second, anchor="divergence")
    assert found == TokenMasks(flags("...x"), flags("..xx.."), ((0, 0), (1, 1), (2, 4)))


SPACES = [" ", "  ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", " \n "]


@st.composite
def respaced_texts(draw: st.DrawFn) -> tuple[str, str]:
    """Two texts of the same words, with white space of any kind between them."""
    words = draw(st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=12))
    spaces = [st.lists(st.sampled_from(SPACES), min_size=len(words), max_size=len(words)) for _ in range(2)]
    ends = draw(st.tuples(*[st.sampled_from(["", *SPACES])] * 4))
    texts = ["".join(a + b for a, b in zip(["", *draw(one)], ["", *words], strict=True)).lstrip() for one in spaces]
    return ends[0] + texts[0] + ends[1], ends[2] + texts[1] + ends[3]


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(respaced=respaced_texts(), anchor=st.sampled_from(["none", "divergence"]))
def test_texts_of_the_same_words_have_nothing_in_u1(name: str, respaced: tuple[str, str], anchor: str) -> None:
    original, edited = respaced
    first, second = real_tokens(name, original, True), real_tokens(name, edited, True)
    found = token_masks(original, edited, first, second, anchor=anchor, eos_in_changed=True)
    assert not any(found.rejected_changed + found.chosen_changed)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(edit=word_edits(), data=st.data())
def test_white_space_does_not_change_which_words_are_blamed(
    name: str, edit: tuple[list[str], int, int, list[str]], data: st.DataObject
) -> None:
    before, start, end, new = edit
    after = [*before[:start], *new, *before[end:]]
    plain = " ".join(before), " ".join(after)
    respaced = tuple("".join(word + data.draw(st.sampled_from(SPACES)) for word in words) for words in (before, after))
    blamed = []
    for original, edited in (plain, respaced):
        first, second = real_tokens(name, original, True), real_tokens(name, edited, True)
        found = token_masks(original, edited, first, second)
        blamed.append(
            [
                {"".join(text[: tokens.offsets[i][1]].split()) for i, x in enumerate(marks) if x}
                for text, tokens, marks in (
                    (original, first, found.rejected_changed),
                    (edited, second, found.chosen_changed),
                )
            ]
        )
    # the last characters of each blamed word, after all that stands before it
    ends = [["".join(words[: i + 1]) for i in range(len(words))] for words in (before, after)]
    for side in (0, 1):
        assert {end for end in ends[side] if end in blamed[0][side]} == {
            end for end in ends[side] if end in blamed[1][side]
        }
