"""GLEU against figures worked by hand, properties, and those of its authors' script on real corrections."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.evaluation.gleu import Gleu, gleu, resampled_gleu, sentence_gleu

JFLEG = Path(__file__).parents[3] / "shared" / "data" / "jfleg"
texts = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=4, max_size=9).map(" ".join)


def test_shared_ngrams_count_and_errors_left_alone_count_against_it() -> None:
    counts = Gleu(["he go to school now"], [["he goes to school now"]]).counts(["he go to school today"])
    # Words: he, to, school match; go is left alone. Pairs: "to school" matches; "he go", "go to" are left alone.
    # Triples: "he go to" and "go to school" are left alone, and nothing matches. Nor among the fours.
    assert counts.tolist() == [[[5, 5, 2, 5, 0, 4, 0, 3, 0, 2]]]
    assert gleu(counts) == 0
    expected = 100 * math.exp((math.log(2 / 5) + math.log(1 / 4) + math.log(1 / 3) + math.log(1 / 2)) / 4)
    assert sentence_gleu(counts) == pytest.approx([expected])


def test_an_ngram_that_the_reference_has_too_is_not_left_alone_however_often_it_stands() -> None:
    counts = Gleu(["the the the cat"], [["the cat"]]).counts(["the the cat"])
    assert counts[0, 0, :4].tolist() == [3, 2, 2, 3]


def test_short_answers_pay_for_their_brevity() -> None:
    scorer = Gleu(["x"], [["a b c d e f g h"]])
    assert gleu(scorer.counts(["a b c d"])) == pytest.approx(100 * math.exp(1 - 8 / 4))
    assert gleu(scorer.counts(["a b c d e f g h"])) == pytest.approx(100)


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=5))
def test_scores_lie_between_0_and_100_and_the_only_reference_has_100(rows: list[tuple[str, str, str]]) -> None:
    sources, references, answers = zip(*rows, strict=True)
    scorer = Gleu(sources, [[text] for text in references])
    counts = scorer.counts(answers)
    assert 0 <= gleu(counts) <= 100 + 1e-9
    assert ((sentence_gleu(counts) >= 0) & (sentence_gleu(counts) <= 100 + 1e-9)).all()
    assert gleu(scorer.counts(references)) == pytest.approx(100)


def test_an_empty_answer_has_0() -> None:
    assert gleu(Gleu(["a b c d"], [["a b c e"]]).counts([""])) == 0


def test_sentences_may_have_different_numbers_of_references() -> None:
    counts = Gleu(["a b c d", "a b c d"], [["a b c e"], ["a b c f", "a b c g"]]).counts(["a b c e", "a b c f"])
    assert counts.shape[:2] == (2, 2)
    assert (counts[0, 0] == counts[0, 1]).all()
    assert (counts[1, 0] != counts[1, 1]).any()


def test_a_sentence_without_a_reference_is_refused() -> None:
    with pytest.raises(RedpencilError, match="no reference for 'a b'"):
        Gleu(["a b"], [[]])
    with pytest.raises(RedpencilError, match="no sentences"):
        Gleu([], [])


def jfleg(split: str, name: str) -> list[str]:
    return (JFLEG / f"{split}.{name}").read_text(encoding="utf-8").splitlines()


@pytest.mark.skipif(not JFLEG.exists(), reason=f"{JFLEG} is missing")
@pytest.mark.parametrize(("split", "unchanged", "person"), [("dev", 38.20, 55.76), ("test", 40.64, 61.04)])
def test_it_agrees_with_its_authors_script_on_jfleg(split: str, unchanged: float, person: float) -> None:
    sources = jfleg(split, "src")
    people = [jfleg(split, f"ref{number}") for number in range(4)]
    counts = Gleu(sources, list(zip(*people, strict=True))).counts(sources)
    assert gleu(counts) == pytest.approx(unchanged, abs=0.005)
    others = Gleu(sources, list(zip(*people[1:], strict=True)))
    assert gleu(others.counts(people[0])) == pytest.approx(person, abs=0.005)
    drawn = resampled_gleu([others.counts(sources), others.counts(people[0])], samples=200)
    assert (np.quantile(drawn, 0.975, axis=0) - np.quantile(drawn, 0.025, axis=0) < 9).all()
    assert (drawn[:, 1] > drawn[:, 0]).all()
