"""How far artefacts alone tell edits from originals: white space, length, punctuation, casing, first and last words.

A logistic regression on the differences of such features, with L2 penalty, ranks the two texts of a pair without
reading them. Its accuracy is cross-validated by prompt. A reward model that ranks no better may have learned nothing
else.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

from redpencil.alignment.spacing import untidy_places
from redpencil.audit.trivial_rules import Texts, rule_margins
from redpencil.intervals import clustered_share, points_of

FOLDS: Final = 5
FEWEST: Final = 20
"""Pairs below which nothing is fitted."""
SHOWN_FEATURES: Final = 8
_RARE: Final = 3
"""A first or last word counts from this many texts on."""
_MARKS: Final[Mapping[str, str]] = {
    ".": "full stops", ",": "commas", ";": "semicolons", ":": "colons", "!": "exclamation marks",
    "?": "question marks", "()[]": "brackets", "\"\u201c\u201d\u00ab\u00bb": "quotation marks",
    "'\u2019": "apostrophes", "-\u2013\u2014": "dashes",
}  # fmt: skip
_WORD: Final = re.compile(r"\w+")
_ENDS: Final = (".", "!", "?", "\u3002", "\u2026", '"', "\u201d", ")")
Floats = npt.NDArray[np.float64]
Differences = Mapping[str, float]
"""The features of the better text of a pair less those of the worse one, by name; 0 for those that are absent."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of pairs in percent, with a 95 % interval over prompts."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature that tells edits from originals: its weight, above 0 if edits have more of it, and the number of pairs
    that differ in it.
    """

    name: str
    weight: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Artefacts:
    """What artefacts alone reach on `pairs` edits of `prompts` prompts.

    Args:
        pairs: edits that were looked at, a sample of many.
        prompts: their prompts.
        accuracy: share of the pairs that the classifier ranks right, on prompts that it was not fitted to; None with
            too few pairs or prompts.
        rules: the same of each trivial rule; lengths are in characters.
        features: the strongest ones, of a classifier of all pairs.
        stray_edited: edits with stray white space.
        stray_original: originals with stray white space.
    """

    pairs: int
    prompts: int
    accuracy: Share | None
    rules: Mapping[str, Share]
    features: tuple[Feature, ...]
    stray_edited: int
    stray_original: int


def find_artefacts(texts: Texts, prompts: Sequence[Hashable]) -> Artefacts | None:
    """Measure what artefacts alone reach on N pairs of an edit and its original; None without a pair.

    Args:
        texts: the N edited texts and their originals.
        prompts: [N], the prompt of each.
    """
    if not texts:
        return None
    rules = rule_margins([len(edited) - len(original) for edited, original in texts], texts)
    rows = [differences(*pair) for pair in texts]
    margins = _cross_validated(rows, prompts)
    return Artefacts(
        pairs=len(texts),
        prompts=len(set(prompts)),
        accuracy=None if margins is None else _share(margins, prompts),
        rules={name: _share(of_rule, prompts) for name, of_rule in rules.items()},
        features=() if margins is None else _fit(rows).strongest(rows),
        stray_edited=sum(untidy_places(edited) > 0 for edited, _ in texts),
        stray_original=sum(untidy_places(original) > 0 for _, original in texts),
    )


def _share(margins: Sequence[float], prompts: Sequence[Hashable]) -> Share:
    found = clustered_share(points_of(margins), prompts)
    return Share(100 * found.value, 100 * found.low, 100 * found.high)


@dataclass(frozen=True, slots=True)
class Classifier:
    """Weights of the features by name, for features in their own units."""

    weights: Mapping[str, float]

    def margins(self, texts: Texts) -> list[float]:
        """Score the better text of each pair against the worse one; above 0 it ranks them right."""
        return [self.margin(differences(*pair)) for pair in texts]

    def margin(self, row: Differences) -> float:
        """Score a pair by the differences of its features."""
        return sum(self.weights.get(name, 0.0) * value for name, value in row.items())

    def strongest(self, rows: Sequence[Differences]) -> tuple[Feature, ...]:
        """The features that move the margins of these pairs most, the strongest first."""
        moved: defaultdict[str, float] = defaultdict(float)
        pairs: Counter[str] = Counter()
        for row in rows:
            for name, value in row.items():
                if self.weights.get(name) and value:
                    moved[name] += abs(self.weights[name] * value)
                    pairs[name] += 1
        order = sorted(moved, key=lambda name: (-moved[name], name))[:SHOWN_FEATURES]
        return tuple(Feature(name, self.weights[name], pairs[name]) for name in order)


def fit(texts: Texts, penalty: float = 1.0) -> Classifier:
    """Fit the logistic regression to N pairs: the minimum of penalty / 2 |w|^2 + sum of log(1 + exp(-w x)).

    x are the differences of the features, divided by their root mean square over the pairs.
    """
    return _fit([differences(*pair) for pair in texts], penalty)


def _fit(rows: Sequence[Differences], penalty: float = 1.0) -> Classifier:
    from scipy.optimize import minimize

    counts = Counter(name for row in rows for name, value in row.items() if value)
    names = sorted(name for name, count in counts.items() if count >= _RARE or not name.startswith(_WORDS))
    place = {name: n for n, name in enumerate(names)}
    x = np.zeros((len(rows), len(names)))
    for n, row in enumerate(rows):
        for name, value in row.items():
            if name in place:
                x[n, place[name]] = value
    scale = np.sqrt((x**2).mean(axis=0)) if names else np.ones(0)
    x = x / scale

    def loss(weights: Floats) -> tuple[float, Floats]:
        margins = x @ weights
        slope = -1 / (1 + np.exp(np.clip(margins, -500, 500)))
        value = penalty / 2 * float(weights @ weights) + float(np.logaddexp(0, -margins).sum())
        return value, penalty * weights + x.T @ slope

    found = minimize(loss, np.zeros(len(names)), jac=True, method="L-BFGS-B", options={"gtol": 1e-6, "maxiter": 1000})
    return Classifier(dict(zip(names, (found.x / scale).tolist(), strict=True)))


def cross_validated(texts: Texts, prompts: Sequence[Hashable]) -> list[float] | None:
    """Compute the margin of each of N pairs by a classifier that has not seen its prompt.

    None with fewer than `FEWEST` pairs, or one prompt. Prompts are dealt to folds by a hash, so that neither the order
    of the rows nor a seed matters.
    """
    return _cross_validated([differences(*pair) for pair in texts], prompts)


def _cross_validated(rows: Sequence[Differences], prompts: Sequence[Hashable]) -> list[float] | None:
    order = sorted(set(prompts), key=lambda prompt: (_hash(prompt), str(prompt)))
    if len(rows) < FEWEST or len(order) < 2:
        return None
    fold_of = {prompt: n % min(FOLDS, len(order)) for n, prompt in enumerate(order)}
    margins = [0.0] * len(rows)
    for fold in set(fold_of.values()):
        classifier = _fit([row for row, prompt in zip(rows, prompts, strict=True) if fold_of[prompt] != fold])
        for n, prompt in enumerate(prompts):
            if fold_of[prompt] == fold:
                margins[n] = classifier.margin(rows[n])
    return margins


def _hash(prompt: Hashable) -> bytes:
    return blake2b(str(prompt).encode("utf-8", "surrogatepass"), digest_size=8).digest()


_WORDS: Final = ("first word: ", "last word: ")


def differences(better: str, worse: str) -> dict[str, float]:
    """Compute the features of a text less those of another one; features that both have alike are left out."""
    found: defaultdict[str, float] = defaultdict(float)
    for sign, text in ((1, better), (-1, worse)):
        for name, value in _features(text):
            found[name] += sign * value
    return {name: value for name, value in found.items() if value}


def _features(text: str) -> Iterator[tuple[str, float]]:
    """Yield the features of a text that are not 0."""
    words = _WORD.findall(text)
    letters = [sign for sign in text if sign.isalpha()]
    yield "white space at the start", float(text != text.lstrip())
    yield "white space at the end", float(text != text.rstrip())
    yield "stray white space", float(untidy_places(text))
    yield "line ends", float(text.count("\n"))
    yield "characters", float(len(text))
    yield "words", float(len(words))
    yield "letters a word", sum(map(len, words)) / max(len(words), 1)
    yield "digits", float(sum(sign.isdigit() for sign in text))
    for signs, name in _MARKS.items():
        yield name, float(sum(map(text.count, signs)))
    yield "a mark at the end", float(text.rstrip().endswith(_ENDS))
    yield "a capital at the start", float(text.lstrip()[:1].isupper())
    yield "share of capitals", sum(sign.isupper() for sign in letters) / max(len(letters), 1)
    if words:
        yield _WORDS[0] + words[0].casefold(), 1.0
        yield _WORDS[1] + words[-1].casefold(), 1.0
