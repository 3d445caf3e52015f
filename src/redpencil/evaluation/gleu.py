"""GLEU: how well corrections of sentences agree with people's, n-gram by n-gram (Napoles et al., 2015 and 2016).

It is BLEU for corrections. An n-gram that the answer shares with the reference counts for it; one that it shares with
the source and that the reference does not have, which is an error left alone, counts against it. It is the metric of
JFLEG, which has four references: each draw takes one of them for every sentence, and the mean over draws is the score.
Words are what white space separates, so answers are tokenised as the references are.
"""

import random
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from redpencil.errors import RedpencilError

ORDER: Final = 4
"""The longest n-grams have so many words."""
DRAWS: Final = 500
"""Draws of a reference for every sentence, as in the authors' script."""
_SEED: Final = 0

Counts = npt.NDArray[np.float64]


class Gleu:
    """Sources and references, by which answers are scored.

    Args:
        sources: [N] texts as they were before correction.
        references: [N] corrections of each by people, as many of each as there are.

    Raises:
        RedpencilError: if there are no sentences, or a sentence has no reference.
    """

    def __init__(self, sources: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        if not sources:
            raise RedpencilError("GLEU has no sentences to score", hint="give sources with references")
        for source, own in zip(sources, references, strict=True):
            if not own:
                raise RedpencilError(
                    f"there is no reference for {source[:80]!r}", field="references", hint="give one at least"
                )
        self._sources = [_grams(source.split()) for source in sources]
        self._references = [[(len(words), _grams(words)) for words in map(str.split, own)] for own in references]

    def counts(self, answers: Sequence[str]) -> Counts:
        """Count what GLEU is made of, [N, R, 2 + 2 * ORDER] for N answers and the most references R of one.

        The lengths of answer and reference, then for each order n-grams that match less those that are left alone, and
        how many n-grams the answer has. Where a sentence has fewer than R references, its own are repeated in turn.
        """
        width = max(map(len, self._references))
        rows = np.zeros((len(self._sources), width, 2 + 2 * ORDER))
        for row, answer, source, own in zip(rows, answers, self._sources, self._references, strict=True):
            words = answer.split()
            grams = _grams(words)
            scored = [_counts(len(words), grams, source, *reference) for reference in own]
            row[:] = [scored[place % len(scored)] for place in range(width)]
        return rows


def gleu(counts: Counts) -> float:
    """Compute the GLEU of N answers, from 0 to 100: the mean over `DRAWS` draws of a reference for each.

    Args:
        counts: [N, R, ...] of `Gleu.counts`.
    """
    rows, width = counts.shape[:2]
    return float(np.mean([_score(counts[np.arange(rows), places].sum(axis=0)) for places in _drawn(rows, width)]))


@cache
def _drawn(rows: int, width: int) -> npt.NDArray[np.int64]:
    """Draw places of references, [DRAWS, rows], as the authors' script does, so that scores agree with published ones
    to the last digit."""
    drawn = []
    for seed in range(0, 101 * DRAWS, 101):
        generator = random.Random(seed)
        drawn.append([generator.randint(0, width - 1) for _ in range(rows)])
    return np.asarray(drawn)


def sentence_gleu(counts: Counts) -> npt.NDArray[np.float64]:
    """Compute the GLEU of each answer alone, [N] from 0 to 100: the mean over its references.

    A count of 0 is taken for 1, as in the authors' script, since one order without a match would make it 0.
    """
    return np.asarray(_score(np.where(counts == 0, 1, counts)).mean(axis=1))


def resampled_gleu(several: Sequence[Counts], *, samples: int = 1000, seed: int = _SEED) -> npt.NDArray[np.float64]:
    """Draw sentences anew, and a reference for each, [samples, P]: the GLEU of P systems on the same draws.

    The spread of a column is the uncertainty of one system's GLEU, that of a difference of columns a paired one.

    Args:
        several: P of [N, R, ...] of `Gleu.counts` for the same sentences and references.
        samples: how many draws.
        seed: of the draws.
    """
    rows, width = several[0].shape[:2]
    random = np.random.default_rng(seed)
    drawn = np.empty((samples, len(several)))
    for row in drawn:
        sentences, places = random.integers(rows, size=rows), random.integers(width, size=rows)
        row[:] = [_score(counts[sentences, places].sum(axis=0)) for counts in several]
    return drawn


def _grams(words: Sequence[str]) -> list[Counter[tuple[str, ...]]]:
    return [Counter(zip(*(words[start:] for start in range(n)), strict=False)) for n in range(1, ORDER + 1)]


def _counts(
    length: int,
    answer: Sequence[Counter[tuple[str, ...]]],
    source: Sequence[Counter[tuple[str, ...]]],
    reference_length: int,
    reference: Sequence[Counter[tuple[str, ...]]],
) -> list[float]:
    row: list[float] = [length, reference_length]
    for n, (own, before, wanted) in enumerate(zip(answer, source, reference, strict=True)):
        left_alone = sum(min(count, before[gram]) for gram, count in own.items() if gram not in wanted)
        row += [max(0, (own & wanted).total() - left_alone), max(0, length - n)]
    return row


def _score(counts: Counts) -> npt.NDArray[np.float64]:
    """GLEU of summed counts, [..., 2 + 2 * ORDER] -> [...]; 0 where one of them is 0."""
    matches, grams = counts[..., 2::2], counts[..., 3::2]
    defined = (counts > 0).all(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = (np.log(matches) - np.log(grams)).mean(axis=-1)
        brevity = np.minimum(0, 1 - counts[..., 1] / counts[..., 0])
        return np.where(defined, 100 * np.exp(precision + brevity), 0)
