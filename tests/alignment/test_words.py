"""Word edits: splitting, the two alignments, joining, and human edits against human-labelled error spans."""

import json
import random
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.alignment import words as words_module
from redpencil.alignment.words import (
    Block,
    diff_visible,
    diff_words,
    kept_share,
    same_visible,
    split_words,
    without_spacing,
    word_distance,
)

FIGURE_5 = (
    "It is better to have had a flame and lost it, than never to have been burned at all.",
    "It is better to have had a flame and been singed, than never to have felt its warmth at all.",
)
QA_FEEDBACK = Path(__file__).parents[2] / ".." / "shared" / "data" / "qa_feedback" / "feedback.json"

sentences = st.lists(st.sampled_from(["a", "b", "cat", "the", "of", ".", ",", "\n"]), max_size=14).map(" ".join)
texts = st.one_of(sentences, st.text(max_size=40), st.text("aé́ .,\n你世あกा‍👍🏽🇫'\u2019", max_size=20))


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in split_words(text)]


def edits(original: str, edited: str, alignment: str = "lcs") -> list[tuple[str, str, str]]:
    """The blocks that are no equal ones, as (kind, old, new)."""
    return [
        (block.kind, original[slice(*block.original)], edited[slice(*block.edited)])
        for block in diff_words(original, edited, alignment)
        if block.kind != "equal"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ", ["  "]),
        ("the cat sat.", ["the", " cat", " sat", "."]),
        (" lead, trail \n", [" lead", ",", " trail", " \n"]),
        ("don't, it\u2019s 3.5", ["don't", ",", " it\u2019s", " 3", ".", "5"]),
        ("'quoted'", ["'", "quoted", "'"]),
        ("one\n\ntwo\tthree", ["one", "\n\ntwo", "\tthree"]),
        ("你好 world。", ["你", "好", " world", "。"]),
        ("カナ かな", ["カ", "ナ", " か", "な"]),
        ("한국어 문장", ["한국어", " 문장"]),
        ("e\u0301te\u0301 नमस्ते", ["e\u0301te\u0301", " नमस्ते"]),
        ("a 👨\u200d👩\u200d👧👍🏽❤\ufe0f", ["a", " 👨\u200d👩\u200d👧", "👍🏽", "❤\ufe0f"]),
        ("snake_case", ["snake_case"]),
    ],
)
def test_split_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_every_character_is_the_same_word_in_texts_of_any_script() -> None:
    """A combining mark far away, which makes a text one of the rarer kind, changes no other word."""
    for char in map(chr, (*range(0x3400), *range(0x1F000, 0x20000))):
        text = f"a{char}b {char} '{char}'s"
        assert words(f"{text} e\u0301") == [*words(text), " e\u0301"]


@given(texts)
def test_words_give_back_the_text(text: str) -> None:
    spans = split_words(text)
    assert "".join(words(text)) == text
    assert all(start < end for start, end in spans)
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]


def test_figure_5_of_the_paper() -> None:
    assert edits(*FIGURE_5) == [
        ("replace", " lost it", " been singed"),
        ("replace", " been burned", " felt its warmth"),
    ]


def test_blocks_of_a_replacement() -> None:
    # original  r e d ␣ c a t     edited  r e d ␣ d o g s
    #           0-3    3-7                0-3    3-8
    assert diff_words("red cat", "red dogs") == (
        Block("equal", (0, 3), (0, 3)),
        Block("replace", (3, 7), (3, 8)),
    )


def test_pure_insertion_and_pure_deletion() -> None:
    assert diff_words("one three", "one two three") == (
        Block("equal", (0, 3), (0, 3)),
        Block("insert", (3, 3), (3, 7)),
        Block("equal", (3, 9), (7, 13)),
    )
    assert diff_words("one two three", "one three") == (
        Block("equal", (0, 3), (0, 3)),
        Block("delete", (3, 7), (3, 3)),
        Block("equal", (7, 13), (3, 9)),
    )


@pytest.mark.parametrize(
    ("original", "edited", "expected"),
    [
        ("", "", ()),
        ("", "new", (Block("insert", (0, 0), (0, 3)),)),
        ("old", "", (Block("delete", (0, 3), (0, 0)),)),
        ("same", "same", (Block("equal", (0, 4), (0, 4)),)),
        ("old", "new", (Block("replace", (0, 3), (0, 3)),)),
    ],
)
@pytest.mark.parametrize("alignment", ["lcs", "positional"])
def test_empty_and_whole_texts(original: str, edited: str, expected: tuple[Block, ...], alignment: str) -> None:
    assert diff_words(original, edited, alignment) == expected


def test_positional_marks_everything_after_the_first_insertion() -> None:
    original, edited = "one two three four", "one new two three four"
    assert edits(original, edited) == [("insert", "", " new")]
    # word 1: two/new, word 2: three/two, word 3: four/three, then the edit's fourth word is left over
    assert edits(original, edited, "positional") == [
        ("replace", " two three four", " new two three"),
        ("insert", "", " four"),
    ]


def test_function_words_and_punctuation_do_not_keep_replacements_apart() -> None:
    # " of" separates cat/dog from Paris/Rome: one edit, not two
    assert edits("see cat of Paris now", "see dog of Rome now") == [("replace", " cat of Paris", " dog of Rome")]
    assert edits("see cat, Paris now", "see dog, Rome now") == [("replace", " cat, Paris", " dog, Rome")]


def test_a_word_of_weight_keeps_short_edits_apart() -> None:
    assert edits("see cat near Paris now", "see dog near Rome now") == [
        ("replace", " cat", " dog"),
        ("replace", " Paris", " Rome"),
    ]


def test_a_gap_of_a_quarter_joins_in_any_language() -> None:
    # four words on each side of one kept word: 1 <= 4 / 4. Three: 1 > 3 / 4.
    left, right, new_left, new_right = (
        "eins zwei drei vier",
        "neun zehn elf acht",
        "ein zwo trei fier",
        "neu zeh elv ach",
    )
    assert len(edits(f"{left} haus {right}", f"{new_left} haus {new_right}")) == 1
    left, new_left = "eins zwei drei", "ein zwo trei"
    assert len(edits(f"{left} haus {right}", f"{new_left} haus {new_right}")) == 2


def test_two_insertions_stay_pure() -> None:
    # joined they would make "the" a replaced word of a text that lost nothing
    assert edits("see the cat", "see now the big cat") == [("insert", "", " now"), ("insert", "", " big")]
    assert edits("see now the big cat", "see the cat") == [("delete", " now", ""), ("delete", " big", "")]


def test_an_insertion_stands_where_the_texts_part() -> None:
    # both start "x . the", so what was added begins after "the", and the text added at the end was appended
    assert edits("x . the cat .", "x . the dog . the cat .") == [("insert", "", " dog . the")]
    assert edits("go on .", "go on . go on .") == [("insert", "", " go on .")]
    assert diff_words("go on .", "go on . go on .")[-1].kind == "insert"
    # also after another edit: of two equal words the later one is the new one, or the one that was cut
    assert edits("cat dog", "red cat dog dog") == [("insert", "", "red "), ("insert", "", " dog")]
    assert diff_words("cat dog", "red cat dog dog")[-1] == Block("insert", (7, 7), (11, 15))
    assert diff_words("cat dog dog", "red cat dog")[-1] == Block("delete", (7, 11), (11, 11))


@given(sentences, sentences)
def test_no_pure_edit_could_stand_further_right(original: str, edited: str) -> None:
    blocks = diff_words(original, edited)
    for number, (block, after) in enumerate(pairwise(blocks)):
        if block.kind in ("insert", "delete"):
            text, span = (edited, block.edited) if block.kind == "insert" else (original, block.original)
            following = words(original[slice(*after.original)])
            last = number + 2 == len(blocks)
            could_move = words(text[slice(*span)])[0] == following[0]
            assert not could_move or (len(following) == 1 and not last)


def test_the_first_word_may_gain_or_lose_its_space() -> None:
    # a new opener: "the" becomes " the"; the space belongs to the insertion
    assert edits("the cat", "sure, the cat") == [("insert", "", "sure, ")]
    assert edits("sure, the cat", "the cat") == [("delete", "sure, ", "")]
    assert edits("the the cat", " the cat") == [("delete", "the", "")]
    assert kept_share("the cat", "sure, the cat") == 1.0
    # no spaces, nothing to gain
    assert edits("\u4f60\u597d", "\u6211\u4f60\u597d") == [("insert", "", "\u6211")]


def test_kept_share() -> None:
    # Figure 5 has 21 words; "lost it" and "been burned" are gone: 17 / 21
    assert len(words(FIGURE_5[0])) == 21
    assert kept_share(*FIGURE_5) == pytest.approx(17 / 21)
    assert kept_share("a b c d", "a b x") == 0.5
    assert kept_share("", "anything") == 1.0
    assert kept_share("a", "") == 0.0


@given(texts, texts)
def test_the_kept_share_is_that_of_the_longest_common_subsequence(original: str, edited: str) -> None:
    first, second = words_module._spaced(words(original), words(edited))
    lengths = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, word in enumerate(first):
        for j, other in enumerate(second):
            lengths[i + 1][j + 1] = lengths[i][j] + 1 if word == other else max(lengths[i][j + 1], lengths[i + 1][j])
    expected = lengths[-1][-1] / len(first) if first else 1.0
    assert kept_share(original, edited) == expected
    kept = len(first) - sum(end - start for start, end, _, _ in words_module._lcs(first, second))
    assert kept == lengths[-1][-1], "the two ways of counting agree below the limit"


def test_the_kept_share_of_a_megabyte_is_counted_in_chunks() -> None:
    rng = random.Random(0)
    vocabulary = [f"w{number}" for number in range(5000)]
    original = rng.choices(vocabulary, k=180_000)
    edited = ["new" if number % 10 == 0 else word for number, word in enumerate(original)]
    started = time.process_time()
    assert kept_share(" ".join(original), " ".join(edited)) == pytest.approx(0.9)
    assert time.process_time() - started < 2.5, "as one table it takes more than 10 s"


@given(texts, texts, st.sampled_from(["lcs", "positional"]))
def test_blocks_tile_both_texts(original: str, edited: str, alignment: str) -> None:
    blocks = diff_words(original, edited, alignment)
    assert "".join(original[slice(*block.original)] for block in blocks) == original
    assert "".join(edited[slice(*block.edited)] for block in blocks) == edited
    for block in blocks:
        old, new = original[slice(*block.original)], edited[slice(*block.edited)]
        expected = {
            "equal": old == new != "",
            "replace": old and new,
            "delete": old and not new,
            "insert": new and not old,
        }
        assert expected[block.kind]
    a = b = 0
    for block in blocks:
        assert (block.original[0], block.edited[0]) == (a, b)
        (_, a), (_, b) = block.original, block.edited


@given(texts, texts)
def test_lcs_blocks_alternate(original: str, edited: str) -> None:
    kinds = [block.kind == "equal" for block in diff_words(original, edited)]
    assert all(first != second for first, second in pairwise(kinds))


@given(texts, texts)
def test_swapping_the_texts_swaps_positional_kinds(original: str, edited: str) -> None:
    swapped = {"insert": "delete", "delete": "insert"}
    forward = diff_words(original, edited, "positional")
    backward = diff_words(edited, original, "positional")
    assert [(swapped.get(b.kind, b.kind), b.edited, b.original) for b in forward] == [
        (b.kind, b.original, b.edited) for b in backward
    ]


@given(sentences, st.integers(0, 14), st.integers(0, 6))
def test_swapping_the_texts_swaps_a_pure_edit(text: str, start: int, length: int) -> None:
    spans = split_words(text)[start : start + length]
    shorter = text[: spans[0][0]] + text[spans[-1][1] :] if spans else text
    if not set(words(shorter)) <= set(words(text)):  # cutting made a new word, such as one without its leading space
        return
    assert {kind for kind, _, _ in edits(text, shorter)} <= {"delete"}
    assert {kind for kind, _, _ in edits(shorter, text)} <= {"insert"}
    assert [(b.original, b.edited) for b in diff_words(text, shorter)] == [
        (b.edited, b.original) for b in diff_words(shorter, text)
    ]


@given(texts)
def test_identical_texts_have_one_equal_block(text: str) -> None:
    assert [block.kind for block in diff_words(text, text)] == (["equal"] if text else [])
    assert kept_share(text, text) == 1.0


def test_words_with_one_hash_are_different_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Word(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return 7

    monkeypatch.setattr(words_module, "_words", lambda text, start: [Word(word) for word in text[start:].split("|")])
    assert words_module._hunks([Word("ab"), Word("cd"), Word("ef")], [Word("ab"), Word("gh"), Word("ef")]) == [
        (1, 2, 1, 2)
    ]


def long_edit(length: int, every: int) -> tuple[str, str, int]:
    """A text, the same with a run of words replaced, removed or put in in each stretch of `every`, and how many."""
    rng = random.Random(3)
    original = [rng.choice("abcdefghij") * rng.randint(1, 3) + str(rng.randrange(400)) for _ in range(length)]
    edited = list(original)
    places = range(every // 2, length - 5, every)
    for place in reversed(places):
        edited[place : place + rng.randint(0, 3)] = [f"new{rng.randrange(9)}" for _ in range(rng.randint(1, 3))]
    return " ".join(original), " ".join(edited), len(places)


@pytest.mark.parametrize("every", [200, 12])
def test_long_texts_are_aligned_like_short_ones(monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    original, edited, count = long_edit(6000, every)
    exact = diff_words(original, edited)
    assert sum(block.kind != "equal" for block in exact) == count
    monkeypatch.setattr(words_module, "_LARGEST_TABLE", 6000**2 // 72)  # as a megabyte is to the table we allow
    assert diff_words(original, edited) == exact


@given(texts, texts)
def test_texts_cut_into_chunks_are_tiled_too(original: str, edited: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words_module, "_LARGEST_TABLE", 4)
        for first, second in ((original, edited), (original * 3, original + edited + original)):
            blocks = diff_words(first, second)
            assert "".join(first[slice(*block.original)] for block in blocks) == first
            assert "".join(second[slice(*block.edited)] for block in blocks) == second
            assert all(first[slice(*b.original)] == second[slice(*b.edited)] for b in blocks if b.kind == "equal")
            assert all((one.kind == "equal") != (next_.kind == "equal") for one, next_ in pairwise(blocks))


def test_a_megabyte() -> None:
    original, edited, count = long_edit(180_000, 100)
    assert len(original) > 1_000_000
    assert sum(block.kind != "equal" for block in diff_words(original, edited)) == count
    assert [(b.kind, b.original) for b in diff_words(original, f"{original} end")] == [
        ("equal", (0, len(original))),
        ("insert", (len(original), len(original))),
    ]
    # nothing in common, and a megabyte without a word
    assert len(diff_words(original, original.upper().replace("1", "x"))) > 0
    assert len(diff_words(" " * 1_000_000, "a")) == 1


def test_human_edits_find_human_error_spans() -> None:
    """Words that the diff deletes or replaces against words that people labelled as errors (micro-averaged F1)."""
    if not QA_FEEDBACK.is_file():
        pytest.skip("../shared/data/qa_feedback/feedback.json is missing")
    hits = changed_words = labelled_words = 0
    for item in json.loads(QA_FEEDBACK.read_text(encoding="utf-8")):
        original, feedback = item["prediction 1"], item["feedback"]
        blocks = diff_words(original, feedback["corrected-prediction"])
        changed_spans = [block.original for block in blocks if block.kind != "equal"]
        labelled_spans = [(error["start"], error["end"]) for error in feedback["errors"]]
        for start, end in split_words(original):
            core = end - len(original[start:end].strip()) if original[start:end].strip() else start
            changed = any(a < end and core < b for a, b in changed_spans)
            labelled = any(a < end and core < b for a, b in labelled_spans)
            hits += changed and labelled
            changed_words += changed
            labelled_words += labelled
    # .929 measured; .910 without joining. F1 = 2 * hits / (changed + labelled).
    assert 2 * hits / (changed_words + labelled_words) > 0.925


def visible(original: str, edited: str) -> list[tuple[str, str, str]]:
    return [(b.kind, original[slice(*b.original)], edited[slice(*b.edited)]) for b in diff_visible(original, edited)]


def test_white_space_is_apart_from_the_words() -> None:
    assert visible("Hello  world is big.", "Hello world is small.") == [
        ("equal", "Hello", "Hello"),
        ("space", "  ", " "),
        ("equal", "world is", "world is"),
        ("replace", " big", " small"),
        ("equal", ".", "."),
    ]
    # a new opener puts a space before the old first word, and appended text comes before white space at the end
    assert visible("the cat\n", "see , the cat now ") == [
        ("insert", "", "see ,"),
        ("space", "", " "),
        ("equal", "the cat", "the cat"),
        ("insert", "", " now"),
        ("space", "\n", " "),
    ]
    assert visible(" \n", "") == [("space", " \n", "")]
    assert visible("", "") == []


def test_words_of_a_text_spaced_anew_are_found_behind_a_new_sentence() -> None:
    sentences = [f"The {name} is , as all know , a word ." for name in ("cat", "dog", "bird", "fox")]
    original = " ".join(sentences)
    edited = "\n".join([*sentences[:2], "Nobody , not one , is here .", *sentences[2:]]).replace(" ", "  ")
    edited = edited.replace("cat", "cow").replace("fox", "ox")
    found = [(old, new.split()) for kind, old, new in visible(original, edited) if kind not in ("equal", "space")]
    new = ["Nobody", ",", "not", "one", ",", "is", "here", "."]
    assert found == [(" cat", ["cow"]), ("", new), (" fox", ["ox"])]


@given(texts, texts)
def test_visible_blocks_tile_both_texts(original: str, edited: str) -> None:
    blocks = diff_visible(original, edited)
    for side, text in ((0, original), (1, edited)):
        spans = [(block.original, block.edited)[side] for block in blocks]
        assert [start for start, _ in spans] == [0, *(end for _, end in spans)][: len(spans)]
        assert not spans or spans[-1][1] == len(text)
    for kind, old, new in visible(original, edited):
        assert (kind == "equal") == (old == new)
        assert (kind == "space") == (old != new and not old.strip() and not new.strip())
        assert kind not in ("insert", "delete") or not (new if kind == "delete" else old)
    if not any(block.kind == "space" for block in blocks):
        assert diff_words(original, edited) == blocks


@given(texts)
def test_what_is_the_same_but_for_white_space(text: str) -> None:
    assert same_visible(text, f"\n{text}\t")
    assert same_visible("".join(text.split()), " ".join(text))
    assert not same_visible(text, f"{text} more")


@pytest.mark.parametrize(
    ("original", "edited", "blocks"),
    [
        ("alot", "a lot", [("equal", "a", "a"), ("space", "", " "), ("equal", "lot", "lot")]),
        ("It is 5 km .", "It is 5km away .", [
            ("equal", "It is 5", "It is 5"), ("space", " ", ""), ("equal", "km", "km"), ("insert", "", " away"),
            ("equal", " .", " ."),
        ]),
        ("t h  e", "the", [
            ("equal", "t", "t"), ("space", " ", ""), ("equal", "h", "h"), ("space", "  ", ""), ("equal", "e", "e"),
        ]),
        ("a\u200bb", "ab", [("replace", "a\u200bb", "ab")]),
    ],
)  # fmt: skip
def test_words_that_a_space_splits(original: str, edited: str, blocks: list[tuple[str, str, str]]) -> None:
    assert visible(original, edited) == blocks
    backwards = {"insert": "delete", "delete": "insert"}
    assert visible(edited, original) == [(backwards.get(kind, kind), new, old) for kind, old, new in blocks]


def changes(original: list[str], edited: list[str]) -> int:
    """Levenshtein's distance by its definition (1965)."""
    table = list(range(len(edited) + 1))
    for row, word in enumerate(original, start=1):
        corner, table[0] = table[0], row
        for column, other in enumerate(edited, start=1):
            fewest = min(table[column] + 1, table[column - 1] + 1, corner + (word != other))
            corner, table[column] = table[column], fewest
    return table[-1]


@given(texts, texts)
def test_a_distance_is_the_fewest_words_that_are_changed(original: str, edited: str) -> None:
    sides = [[text[slice(*span)].strip() for span in split_words(text)] for text in (original, edited)]
    expected = changes(*([word for word in side if word] for side in sides))
    assert word_distance(original, edited) == expected
    assert (without_spacing(original) == without_spacing(edited)) == (expected == 0)
    assert word_distance(original, edited, spacing=True) >= expected


@pytest.mark.parametrize(
    ("original", "edited", "plain", "spaced"),
    [
        ("a b c", "a  b\nc ", 0, 2),
        (" a b", "a b\n", 0, 0),  # at the ends
        ("b c", "a b c", 1, 1),  # the old first word has a space before it now
        ("a, b", "a , b", 0, 1),
        ("can not", "cannot", 2, 2),
        ("a b c d", "a x y z d", 3, 3),
        ("", "a b", 2, 2),
    ],
)
def test_white_space_makes_another_word_only_where_it_counts(
    original: str, edited: str, plain: int, spaced: int
) -> None:
    assert word_distance(original, edited) == plain
    assert word_distance(original, edited, spacing=True) == spaced
