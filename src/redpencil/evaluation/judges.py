"""Judges: which of two responses is better (section 3.1 of the paper), for the win rate of Table 1."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from redpencil.alignment.ends import finished_sides, unfinished_sides
from redpencil.errors import RedpencilError
from redpencil.evaluation.gleu import Counts, Gleu, sentence_gleu
from redpencil.evaluation.matching import match_rows
from redpencil.evaluation.win_rate import CATEGORY_KEYS, models_of
from redpencil.records import Comparison, Preference, Response, input_of, instruction_of, references_of, source_of
from redpencil.world.oracle import Oracle

_REFERENCE_ID: Final = "reference_id"
_OF_PROMPTS: Final = ("messages", "references", "source")
Score = Callable[[Sequence[Response]], Sequence[float]]
"""Maps N responses with their prompts to N scores; higher is better."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two responses to one prompt, the input of a judge.

    Args:
        id: of the prompt, and of the judgement.
        prompt: the whole prompt.
        first: the policy's response.
        second: the reference's.
        instruction: the prompt without its input, if that is known.
        input: the rest of the prompt; may be empty.
        meta: of the judgement: names of the two models, and of the prompt its category and turns.
        first_finished: False if the first response was cut off at the length limit.
        second_finished: False if the second one was.
    """

    id: str
    prompt: str
    first: str
    second: str
    instruction: str = ""
    input: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    first_finished: bool = True
    second_finished: bool = True


class Judge(Protocol):
    """Decides for each pairing which of its two responses is better."""

    @property
    def name(self) -> str:
        """Name of the judge; stored with every judgement as its annotator."""

    def compare(self, pairings: Sequence[Pairing]) -> list[Preference]:
        """Return N preferences, in the order of the N pairings."""


@dataclass(frozen=True, slots=True)
class OracleJudge:
    """The world's oracle as a judge. It rates each response alone, so the order does not matter."""

    oracle: Oracle
    name: str = "oracle"

    def compare(self, pairings: Sequence[Pairing]) -> list[Preference]:
        """Return N preferences by utility; equal utilities are a tie.

        Raises:
            RedpencilError: if a prompt is not from the oracle's world.
        """
        return [self.oracle.prefers(pairing.prompt, pairing.first, pairing.second) for pairing in pairings]


@dataclass(frozen=True, slots=True)
class ScoreJudge:
    """Prefers the response with the higher score, such as that of a reward model; equal scores are a tie."""

    name: str
    score: Score

    def compare(self, pairings: Sequence[Pairing]) -> list[Preference]:
        """Return N preferences by score.

        Raises:
            RedpencilError: naming the judge and the prompt, if a score is not a number.
        """
        firsts = self.score(
            [Response(p.id, p.prompt, p.first, finished=p.first_finished, meta=p.meta) for p in pairings]
        )
        seconds = self.score(
            [Response(p.id, p.prompt, p.second, finished=p.second_finished, meta=p.meta) for p in pairings]
        )
        scores = zip(pairings, firsts, seconds, strict=True)
        return [self._prefer(pairing.prompt, first, second) for pairing, first, second in scores]

    def _prefer(self, prompt: str, first: float, second: float) -> Preference:
        if math.isnan(first) or math.isnan(second):
            raise RedpencilError(
                f"the judge {self.name!r} gave no number (NaN) for a response to {prompt!r}",
                hint="check the judge's checkpoint, or use another judge",
            )
        if first == second:
            return Preference.TIE
        return Preference.FIRST if first > second else Preference.SECOND


def length_judge(name: str, *, longer: bool) -> ScoreJudge:
    """Make a judge that prefers by the number of characters alone, a baseline for others."""

    def score(responses: Sequence[Response]) -> list[float]:
        lengths = (float(len(row.response)) for row in responses)
        return [length if longer else -length for length in lengths]

    return ScoreJudge(name, score)


def pattern_judge(pattern: str, *, fewer: bool) -> ScoreJudge:
    """Make a judge that counts where a regular expression is found; more is better, or `fewer`."""
    compiled = re.compile(pattern)

    def score(responses: Sequence[Response]) -> list[float]:
        counts = (float(sum(1 for _ in compiled.finditer(row.response))) for row in responses)
        return [-count if fewer else count for count in counts]

    return ScoreJudge(f"{'fewer' if fewer else 'more'} of {pattern}", score)


def gleu_counts(responses: Sequence[Response]) -> Counts:
    """Count what the GLEU of N responses is made of, as `Gleu.counts`, by the references and the source of each prompt.

    Raises:
        RedpencilError: naming the row, as `references_of` and `source_of`.
    """
    scorer = Gleu(
        [source_of(row.id, row.prompt, row.meta) for row in responses],
        [references_of(row.id, row.meta) for row in responses],
    )
    return scorer.counts([row.response for row in responses])


REFERENCES: Final = ScoreJudge("references", lambda responses: sentence_gleu(gleu_counts(responses)).tolist())
"""Prefers the response with the higher sentence GLEU against the references of the prompt."""
RULES: Final[Mapping[str, Judge]] = {
    "longer": length_judge("longer", longer=True),
    "shorter": length_judge("shorter", longer=False),
    "references": REFERENCES,
}
"""Judges that need neither a model nor a world."""


class VerdictJudge:
    """Verdicts that people gave before, by prompt and responses, whichever side each response was on.

    Several verdicts on one pair are voted: what most say, else a tie. A pair that nobody decided has no verdict.

    Args:
        rows: their comparisons.
    """

    name = "people"

    def __init__(self, rows: Iterable[Comparison]) -> None:
        self._votes: dict[tuple[str, str, str], Counter[Preference]] = defaultdict(Counter)
        for row in rows:
            if row.preference is not Preference.NONE:
                self._votes[row.prompt, row.first, row.second][row.preference] += 1
                self._votes[row.prompt, row.second, row.first][_OTHER_WAY[row.preference]] += 1

    def compare(self, pairings: Sequence[Pairing]) -> list[Preference]:
        """Return N preferences; NONE where there is no verdict."""
        return [self._vote(self._votes.get((one.prompt, one.first, one.second))) for one in pairings]

    @staticmethod
    def _vote(votes: Counter[Preference] | None) -> Preference:
        if votes is None:
            return Preference.NONE
        (first, count), *others = votes.most_common()
        return Preference.TIE if others and others[0][1] == count else first


_OTHER_WAY: Final = {
    Preference.FIRST: Preference.SECOND,
    Preference.SECOND: Preference.FIRST,
    Preference.TIE: Preference.TIE,
}


def pair_outputs(policy: Iterable[Response], reference: Iterable[Response]) -> list[Pairing]:
    """Pair a policy's responses with the reference's, by id or else by prompt, in the policy's order.

    Raises:
        RedpencilError: as `match_rows`, or if the two answer different inputs.
    """
    pairs = match_rows(policy, reference, ("policy response", "reference response"))
    return [_pairing(first, second) for first, second in pairs]


def matched_by_prompt(pairings: Iterable[Pairing]) -> int:
    """Count the pairings of responses whose ids differ; `meta["reference_id"]` has the reference's."""
    return sum(_REFERENCE_ID in pairing.meta for pairing in pairings)


def pair_comparisons(rows: Iterable[Comparison]) -> list[Pairing]:
    """Return the pairs of a file of comparisons, each once and without the preference, to be compared anew.

    Raises:
        RedpencilError: naming the id, if two different pairs have it.
    """
    pairings: dict[str, Pairing] = {}
    for row in rows:
        names = dict(zip(("policy", "reference"), models_of(row.meta), strict=True))
        instruction, input = instruction_of(row.prompt, row.meta), input_of(row.id, row.meta)
        ends = finished_sides(row)
        meta = {**names, **_category(row.meta), **unfinished_sides(*ends)}
        pairing = Pairing(row.id, row.prompt, row.first, row.second, instruction, input, meta, *ends)
        known = pairings.setdefault(row.id, pairing)
        if (known.prompt, known.first, known.second) != (pairing.prompt, pairing.first, pairing.second):
            raise RedpencilError(
                f"two different pairs have the id {row.id!r}", field="id", hint="give each pair its own id"
            )
    return list(pairings.values())


def judge_outputs(judge: Judge, policy: Iterable[Response], reference: Iterable[Response]) -> list[Comparison]:
    """Compare a policy's responses with the reference's, in the policy's order.

    `first` is the policy's response, `second` the reference's. `meta` names both models, and has `first_finished` or
    `second_finished`, False, for a response that was cut off, and `reference_id` where the reference's id is another
    one. All pairings go to the judge in one call.

    Raises:
        RedpencilError: as `pair_outputs`.
    """
    return judge_pairings(judge, pair_outputs(policy, reference))


def judge_pairings(judge: Judge, pairings: Sequence[Pairing]) -> list[Comparison]:
    """Judge the pairings in one call."""
    return [
        Comparison(
            id=pairing.id,
            prompt=pairing.prompt,
            first=pairing.first,
            second=pairing.second,
            preference=preference,
            annotator=judge.name,
            meta=pairing.meta,
        )
        for pairing, preference in zip(pairings, judge.compare(pairings), strict=True)
    ]


def _pairing(first: Response, second: Response) -> Pairing:
    (instruction, input), (other_instruction, other_input) = (
        (instruction_of(row.prompt, row.meta), input_of(row.id, row.meta)) for row in (first, second)
    )
    if input and other_input and input != other_input:
        raise RedpencilError(
            f"policy and reference answer different inputs under the id {first.id!r}",
            field="input",
            hint="let policy and reference answer the same prompts file",
        )
    if other_input and not input:
        instruction, input = other_instruction, other_input
    names = {"policy": first.model, "reference": second.model}
    ends = (first.finished, second.finished)
    meta = {**names, **_category(second.meta), **_category(first.meta), **unfinished_sides(*ends)}
    if first.id != second.id:
        meta[_REFERENCE_ID] = second.id
    return Pairing(first.id, first.prompt, first.response, second.response, instruction, input, meta, *ends)


def _category(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a judgement keeps of the prompt: its category, its turns, and what answers are compared with."""
    # Without a source, the input is what references correct.
    kept = (*CATEGORY_KEYS, *_OF_PROMPTS, *(("input",) if meta.get("references") else ()))
    return {name: meta[name] for name in kept if meta.get(name) is not None}
