"""Judges: which of two responses is better (section 3.1 of the paper), for the win rate of Table 1."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Preference, Response
from redpencil.world.oracle import Oracle

Score = Callable[[Sequence[str], Sequence[str]], Sequence[float]]
"""From N prompts and N responses to N scores; higher is better."""


class Judge(Protocol):
    """Says for each of N prompts which of two responses is better."""

    @property
    def name(self) -> str:
        """Who judges; stored with every judgement as its annotator."""

    def compare(self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> list[Preference]:
        """N preferences, in the order of the prompts."""


@dataclass(frozen=True, slots=True)
class OracleJudge:
    """The world's oracle as a judge. It looks at each response by itself, so the order does not matter."""

    oracle: Oracle
    name: str = "oracle"

    def compare(self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> list[Preference]:
        """N preferences by utility; equal utilities are a tie.

        Raises:
            RedpencilError: if a prompt is not one of the oracle's world.
        """
        return [self.oracle.prefers(*case) for case in zip(prompts, firsts, seconds, strict=True)]


@dataclass(frozen=True, slots=True)
class ScoreJudge:
    """Prefers the response with the higher score, such as that of a reward model; equal scores are a tie."""

    name: str
    score: Score

    def compare(self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]) -> list[Preference]:
        """N preferences by score.

        Raises:
            RedpencilError: naming the judge and the prompt, if a score is not a number.
        """
        scores = zip(prompts, self.score(prompts, firsts), self.score(prompts, seconds), strict=True)
        return [self._prefer(prompt, first, second) for prompt, first, second in scores]

    def _prefer(self, prompt: str, first: float, second: float) -> Preference:
        if math.isnan(first) or math.isnan(second):
            raise RedpencilError(
                f"the judge {self.name!r} gave no number (NaN) for a response to {prompt!r}",
                way_out="check the judge's checkpoint, or use another judge",
            )
        if first == second:
            return Preference.TIE
        return Preference.FIRST if first > second else Preference.SECOND


def judge_outputs(judge: Judge, policy: Iterable[Response], reference: Iterable[Response]) -> list[Comparison]:
    """Compare a policy's responses with the reference's, matched by id, in the policy's order.

    `first` is the policy's response, `second` the reference's; `meta` names both models. All cases go to the judge in
    one call.

    Raises:
        RedpencilError: naming the id, if one is there twice, is missing on a side, or has two different prompts.
    """
    ours, theirs = _by_id(policy, "policy"), _by_id(reference, "reference")
    _check_matched(ours, theirs)
    pairs = [(response, theirs[name]) for name, response in ours.items()]
    preferences = judge.compare(
        [first.prompt for first, _ in pairs],
        [first.response for first, _ in pairs],
        [second.response for _, second in pairs],
    )
    return [
        Comparison(
            id=first.id,
            prompt=first.prompt,
            first=first.response,
            second=second.response,
            preference=preference,
            annotator=judge.name,
            meta={"policy": first.model, "reference": second.model},
        )
        for (first, second), preference in zip(pairs, preferences, strict=True)
    ]


def _by_id(responses: Iterable[Response], side: str) -> dict[str, Response]:
    found: dict[str, Response] = {}
    for response in responses:
        if response.id in found:
            raise RedpencilError(
                f"two {side} responses have the id {response.id!r}", field="id", way_out="give each prompt one response"
            )
        found[response.id] = response
    return found


def _check_matched(policy: dict[str, Response], reference: dict[str, Response]) -> None:
    way_out = "let policy and reference answer the same prompts file"
    for here, there, side in ((policy, reference, "reference"), (reference, policy, "policy")):
        missing = [name for name in here if name not in there]
        if missing:
            raise RedpencilError(
                f"no {side} response has the id {missing[0]!r} ({len(missing)} of {len(here)} missing)",
                field="id",
                way_out=way_out,
            )
    for name, response in policy.items():
        if response.prompt != reference[name].prompt:
            raise RedpencilError(
                f"policy and reference answer different prompts under the id {name!r}", field="prompt", way_out=way_out
            )
