"""Diagnostics: warnings about common failures of reward training and PPO, from the numbers of a run, with advice.

Thresholds are the recipe's `alarms`. A missing value gives no warning, and neither does a value that is not a number,
except for losses, KL and rewards: there it is the failure itself.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, Literal

from redpencil.config.recipe import AlarmsConfig
from redpencil.evaluation.localisation import CHANCE, by_place, fault_name, weakness
from redpencil.evaluation.reward_eval import RULE_TITLES, beaten_by_rule
from redpencil.results import NORMAL_95

AlarmName = Literal[
    "reward_accuracy",
    "points_wrong",
    "place",
    "trivial_rule",
    "win_rate",
    "kl",
    "length",
    "reward_saturation",
    "value_loss",
    "entropy",
    "overoptimisation",
]
Row = Mapping[str, Any]
"""A line of a stage's metrics."""

ADVICE: Final[Mapping[AlarmName, str]] = {
    "reward_accuracy": "look at its worst pairs (redpencil evaluate reward), check the edits (redpencil audit), or "
    "train it longer or on more pairs",
    "points_wrong": "do not pay its token rewards: they blame tokens that are right. Take another reward.loss, more "
    "pairs, or a sequence model",
    "place": "its token rewards may be no more than the place in the response: look at them (redpencil score), and "
    "compare another reward.loss",
    "trivial_rule": "check what tells the edits apart (redpencil audit), such as white space or length, and test it on "
    "pairs in which that is the same",
    "win_rate": "check that the judge and the reward model agree on the SFT policy's responses, then tune kl_coef",
    "kl": "raise ppo.kl_coef or set ppo.kl_target, or lower ppo.learning_rate",
    "length": "look at rewards by length (redpencil evaluate reward) and at ppo.center_rewards, or raise ppo.kl_coef",
    "reward_saturation": "the reward no longer tells responses apart: stop here, widen ppo.reward_clip, or train the "
    "reward model on responses of this policy",
    "value_loss": "lower ppo.value_learning_rate, or set ppo.value_warmup_steps; look for rewards without a bound",
    "entropy": "raise ppo.kl_coef, lower ppo.learning_rate or stop earlier; best-of-n no longer finds anything new",
    "overoptimisation": "the checkpoint that is kept is that of the best win rate; raise ppo.kl_coef, or collect edits "
    "of this policy's responses",
}
"""Advice for each warning."""

_LAST: Final = 3
"""Steps over whose mean a noisy measure is smoothed."""
_CLEAR: Final = 2.0
"""Standard errors of a difference above which it is more than chance. They are computed as if the two rates were of
different prompts, which gives too few warnings about evaluations, and too many about an arm that barely gains.
"""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A warning.

    Args:
        name: of the diagnostic.
        where: the stage or the reward model.
        message: the problem in words.
        value: the measure.
        threshold: the limit that it passed.
        step: the step at which it did, for measures of training.
    """

    name: AlarmName
    where: str
    message: str
    value: float
    threshold: float
    step: int | None = None

    @property
    def advice(self) -> str:
        """Advice for this warning."""
        return ADVICE[self.name]


def training_alarms(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> list[Alarm]:
    """Check the metrics of a PPO stage; each warning comes once, at the first step at which it is due.

    Args:
        rows: lines of its `metrics.jsonl`, oldest first; step 0 is the policy before training.
    """
    alarms = [next(check(rows, config, stage), None) for check in _CHECKS]
    return sorted((alarm for alarm in alarms if alarm is not None), key=lambda alarm: alarm.step or 0)


def result_alarms(results: Mapping[str, Any], own_kind: Mapping[str, str], config: AlarmsConfig) -> list[Alarm]:
    """Check the results of a run.

    Args:
        results: its `results.json`.
        own_kind: for each reward model the kind of pairs that it was trained on and is measured on here.
    """
    return [
        *_weak_reward_models(results, own_kind, config),
        *_misplaced_rewards(results),
        *_no_better_than_rules(results, own_kind),
        *_no_better_policies(results, config),
    ]


_PAIRS: Final = {"comparisons": "preferences", "comparisons_clean": "preferences, those without label noise,"}
"""Kinds of pairs in words, where these are others."""


def _weak_reward_models(
    results: Mapping[str, Any], own_kind: Mapping[str, str], config: AlarmsConfig
) -> Iterator[Alarm]:
    for model, kind in own_kind.items():
        accuracy = results.get("reward_accuracy", {}).get(model, {}).get(kind, {}).get("value")
        if accuracy is not None and accuracy < config.reward_accuracy:
            pairs, least = _PAIRS.get(kind, kind), config.reward_accuracy
            message = f"it ranks {accuracy:.1f} % of the held-out {pairs} right, under {least:g} %"
            yield Alarm("reward_accuracy", f"reward-{model}", message, accuracy, config.reward_accuracy)


def _misplaced_rewards(results: Mapping[str, Any]) -> Iterator[Alarm]:
    """Yield the models whose token rewards point the wrong way, or tell no more than the place of a token."""
    for model, kinds in results.get("within", {}).items():
        for kind, row in kinds.items():
            value, low, high, later = (row.get(key) for key in ("value", "low", "high", "later"))
            name, what = weakness(kind, low, high, later), fault_name(kind)
            if name is None:
                continue
            where = f"reward-{model}" + ("" if kind == "edited" else f" on {kind}")
            interval = f"{value:.3f} ({low:.3f} to {high:.3f})"
            if name == "points_wrong":
                message = f"{what} get higher rewards than the others of a response: AUROC {interval}"
                yield Alarm(name, where, message, value, CHANCE)
            else:
                rule = by_place(later)
                message = f"it finds {what} no better than their place does: AUROC {interval}, by place {rule:.3f}"
                yield Alarm(name, where, message, value, rule)


def _no_better_than_rules(results: Mapping[str, Any], own_kind: Mapping[str, str]) -> Iterator[Alarm]:
    accuracies = results.get("reward_accuracy", {})
    for model, kind in own_kind.items():
        own = accuracies.get(model, {}).get(kind, {})
        rules = {name: accuracies[name][kind]["value"] for name in RULE_TITLES if kind in accuracies.get(name, {})}
        if not rules or own.get("value") is None or own.get("standard_error") is None:
            continue
        reach = NORMAL_95 * own["standard_error"]
        interval = (own["value"], own["value"] - reach, own["value"] + reach)
        message = beaten_by_rule(*interval, rules, f"held-out {_PAIRS.get(kind, kind)}")
        if message is not None:
            yield Alarm("trivial_rule", f"reward-{model}", message, own["value"], max(rules.values()))


def _no_better_policies(results: Mapping[str, Any], config: AlarmsConfig) -> Iterator[Alarm]:
    rates = results.get("win_rate", {})
    baseline = rates.get("sft", {}).get("value")
    for arm, rate in rates.items():
        if arm == "sft" or baseline is None or rate.get("value") is None:
            continue
        gain = rate["value"] - baseline
        by_chance = _CLEAR * math.hypot(*(_error(row) for row in (rate, rates["sft"])))
        if gain <= config.win_rate_gain + by_chance:
            message = f"its win rate, {rate['value']:.1f}, is not above the SFT policy's {baseline:.1f}"
            if config.win_rate_gain:
                message += f" by more than {config.win_rate_gain:g} points"
            if gain > config.win_rate_gain:
                message += f" by more than chance ({by_chance:.1f} points)"
            yield Alarm("win_rate", arm, message, gain, config.win_rate_gain)


def _kl(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> Iterator[Alarm]:
    for step, recent in _windows(rows, "kl", "length"):
        per_token = _mean(row["kl"] / max(row["length"], 1) for row in recent)
        if not per_token <= config.kl:
            message = f"the policy is {per_token:.2f} nats a token from where it started, over {config.kl:g}"
            yield Alarm("kl", stage, message, per_token, config.kl, step)


def _length(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> Iterator[Alarm]:
    evaluated = [row for row in rows if _is_number(row.get("eval/length"))]
    for row in evaluated[1:]:
        ratio = row["eval/length"] / max(evaluated[0]["eval/length"], 1)
        if ratio > config.length_ratio or ratio < 1 / config.length_ratio:
            message = (
                f"responses to the validation prompts went from {evaluated[0]['eval/length']:.0f} to "
                f"{row['eval/length']:.0f} tokens"
            )
            yield Alarm("length", stage, message, ratio, config.length_ratio, int(row["step"]))


def _saturation(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> Iterator[Alarm]:
    windows = list(_windows(rows, "reward_std"))
    start = _mean(row["reward_std"] for row in windows[0][1]) if windows else 0.0
    for step, recent in windows:
        share = _mean(row["reward_std"] for row in recent) / start if start else 0.0
        if not share >= config.reward_spread:
            message = f"rewards of different responses spread {share:.2f} times as far as at the start"
            if not start:
                message = "rewards do not tell responses apart, from the start"
            yield Alarm("reward_saturation", stage, message, share, config.reward_spread, step)


def _value_loss(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> Iterator[Alarm]:
    """Compare with the median so far, because the first steps, in which the value model learns its level, are noisy."""
    before: list[float] = []
    for step, recent in _windows(rows, "value_loss"):
        now = _mean(row["value_loss"] for row in recent)
        usual = median(before) if len(before) >= _LAST else now
        if not now <= config.value_loss * usual:
            message = f"the value loss is {now:.3g}, {now / usual if usual else math.inf:.0f} times what it usually was"
            yield Alarm("value_loss", stage, message, now / usual if usual else math.inf, config.value_loss, step)
        before.append(recent[-1]["value_loss"])


def _entropy(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> Iterator[Alarm]:
    windows = list(_windows(rows, "entropy"))
    start = windows[0][1][0]["entropy"] if windows else 0.0
    for step, recent in windows:
        share = _mean(row["entropy"] for row in recent) / start if start else 1.0
        if not share >= config.entropy:
            message = f"the entropy of the next token fell to {share:.2f} of what it was, {start:.2f} nats"
            yield Alarm("entropy", stage, message, share, config.entropy, step)


def _overoptimisation(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> Iterator[Alarm]:
    """Check if the win rate falls while the reward rises, since the evaluation with the best win rate.

    The best of many noisy evaluations is partly luck, so two in a row must lie below it by more than the threshold and
    by more than chance.
    """
    best: tuple[float, float, float] | None = None
    fell = False
    for rate, error, reward, step in _evaluations(rows):
        if best is None or rate > best[0]:
            best, fell = (rate, error, reward), False
            continue
        lost = best[0] - rate
        under = lost > max(config.overoptimisation, _CLEAR * math.hypot(best[1], error)) and reward > best[2]
        if under and fell:
            message = (
                f"the reward rose from {best[2]:.2f} to {reward:.2f} while the win rate on the validation prompts "
                f"fell from {best[0]:.1f} to {rate:.1f}"
            )
            yield Alarm("overoptimisation", stage, message, lost, config.overoptimisation, step)
        fell = under


def _evaluations(rows: Sequence[Row]) -> Iterator[tuple[float, float, float, int]]:
    """Yield win rate, its standard error, recent reward and step of each evaluation on the validation prompts.

    Before training the reward is that of the first steps.
    """
    rewards = [row["reward"] for row in rows if _is_number(row.get("reward"))]
    recent = rewards[:_LAST]
    for row in rows:
        if _is_number(row.get("reward")):
            recent = [*recent, row["reward"]][-_LAST:]
        if recent and _is_number(row.get("eval/win_rate")):
            error = _error({"standard_error": row.get("eval/win_rate_standard_error")})
            yield row["eval/win_rate"], error, _mean(recent), int(row["step"])


_CHECKS: Final[tuple[Callable[[Sequence[Row], AlarmsConfig, str], Iterator[Alarm]], ...]] = (
    _kl,
    _length,
    _saturation,
    _value_loss,
    _entropy,
    _overoptimisation,
)


def _windows(rows: Sequence[Row], *names: str) -> Iterator[tuple[int, list[Row]]]:
    """Yield the step of each row with all of the measures, and the last `_LAST` such rows.

    There is nothing for the first rows, so that one odd batch gives no warning.
    """
    having = [row for row in rows if all(isinstance(row.get(name), int | float) for name in names)]
    for end in range(_LAST, len(having) + 1):
        yield int(having[end - 1]["step"]), having[end - _LAST : end]


def _error(row: Mapping[str, Any]) -> float:
    error = row.get("standard_error")
    return float(error) if isinstance(error, int | float) and math.isfinite(error) else 0.0


def _mean(values: Iterator[float] | Sequence[float]) -> float:
    """Return the mean; nan if a value is nan or infinite, so that comparisons with it fail."""
    numbers = list(values)
    return math.fsum(value / len(numbers) for value in numbers) if all(map(math.isfinite, numbers)) else math.nan


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
