"""Named warnings with advice: what goes wrong in reward training and PPO, seen in the numbers that a run leaves.

Thresholds are the recipe's `alarms`. A number that is missing, or is not one, raises nothing, but for losses, KL and
rewards that have ceased to be numbers: these are what the alarm is about.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, Literal

from redpencil.config import AlarmsConfig

AlarmName = Literal[
    "reward_accuracy", "win_rate", "kl", "length", "reward_saturation", "value_loss", "entropy", "overoptimisation"
]
Row = Mapping[str, Any]
"""A line of a stage's metrics."""

ADVICE: Final[Mapping[AlarmName, str]] = {
    "reward_accuracy": "look at its worst pairs (redpencil evaluate reward), check the edits (redpencil audit), or "
    "train it longer or on more pairs",
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
"""What to do about each."""

_LAST: Final = 3
"""Steps whose mean counts as where a noisy measure stands now."""
_CLEAR: Final = 2.0
"""Standard errors of a difference that count as more than chance. They are taken as if both rates were of different
prompts, which errs on the side of silence for looks, and of warning for an arm that barely gains.
"""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One warning: `where` it comes from (a stage or a reward model), the `value` met, the `threshold` it passed, and
    the step at which it did, for what is seen during training.
    """

    name: AlarmName
    where: str
    message: str
    value: float
    threshold: float
    step: int | None = None

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE[self.name]


def training_alarms(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> list[Alarm]:
    """What the metrics of a PPO stage give cause for: each alarm once, at the first step at which it is due.

    Args:
        rows: lines of its `metrics.jsonl`, oldest first; step 0 is the policy before training.
        config: the thresholds.
        stage: its name.
    """
    found = (check(rows, config, stage) for check in _CHECKS)
    return sorted((alarm for alarm in found if alarm is not None), key=lambda alarm: alarm.step or 0)


def result_alarms(results: Mapping[str, Any], own_kind: Mapping[str, str], config: AlarmsConfig) -> list[Alarm]:
    """What the results of a run give cause for.

    Args:
        results: its `results.json`.
        own_kind: for each reward model the held-out pairs of the kind that it learned from; what it is measured on.
        config: the thresholds.
    """
    return [*_weak_reward_models(results, own_kind, config), *_no_better_policies(results, config)]


def _weak_reward_models(
    results: Mapping[str, Any], own_kind: Mapping[str, str], config: AlarmsConfig
) -> Iterator[Alarm]:
    for model, kind in own_kind.items():
        accuracy = results.get("reward_accuracy", {}).get(model, {}).get(kind, {}).get("value")
        if accuracy is not None and accuracy < config.reward_accuracy:
            message = f"it ranks {accuracy:.1f} % of the held-out {kind} right, under {config.reward_accuracy:g} %"
            yield Alarm("reward_accuracy", f"reward-{model}", message, accuracy, config.reward_accuracy)


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


def _kl(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> Alarm | None:
    for step, recent in _windows(rows, "kl", "length"):
        per_token = _mean(row["kl"] / max(row["length"], 1) for row in recent)
        if not per_token <= config.kl:
            message = f"the policy is {per_token:.2f} nats a token from the SFT policy, over {config.kl:g}"
            return Alarm("kl", stage, message, per_token, config.kl, step)
    return None


def _length(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> Alarm | None:
    looks = [row for row in rows if _is_number(row.get("eval/length"))]
    for row in looks[1:]:
        ratio = row["eval/length"] / max(looks[0]["eval/length"], 1)
        if ratio > config.length_ratio or ratio < 1 / config.length_ratio:
            message = (
                f"responses to the validation prompts went from {looks[0]['eval/length']:.0f} to "
                f"{row['eval/length']:.0f} tokens"
            )
            return Alarm("length", stage, message, ratio, config.length_ratio, int(row["step"]))
    return None


def _saturation(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> Alarm | None:
    windows = list(_windows(rows, "reward_std"))
    if not windows:
        return None
    start = _mean(row["reward_std"] for row in windows[0][1])
    for step, recent in windows:
        share = _mean(row["reward_std"] for row in recent) / start if start else 0.0
        if not share >= config.reward_spread:
            message = f"rewards of different responses spread {share:.2f} times as far as at the start"
            if not start:
                message = "rewards do not tell responses apart, from the start"
            return Alarm("reward_saturation", stage, message, share, config.reward_spread, step)
    return None


def _value_loss(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> Alarm | None:
    """Against the median so far: the first steps, which teach the value model its level, do not count as calm."""
    before: list[float] = []
    for step, recent in _windows(rows, "value_loss"):
        now = _mean(row["value_loss"] for row in recent)
        usual = median(before) if len(before) >= _LAST else now
        if not now <= config.value_loss * usual:
            message = f"the value loss is {now:.3g}, {now / usual if usual else math.inf:.0f} times what it usually was"
            return Alarm("value_loss", stage, message, now / usual if usual else math.inf, config.value_loss, step)
        before.append(recent[-1]["value_loss"])
    return None


def _entropy(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> Alarm | None:
    windows = list(_windows(rows, "entropy"))
    start = windows[0][1][0]["entropy"] if windows else 0.0
    for step, recent in windows:
        share = _mean(row["entropy"] for row in recent) / start if start else 1.0
        if not share >= config.entropy:
            message = f"the entropy of the next token fell to {share:.2f} of what it was, {start:.2f} nats"
            return Alarm("entropy", stage, message, share, config.entropy, step)
    return None


def _overoptimisation(rows: Sequence[Row], config: AlarmsConfig, stage: str) -> Alarm | None:
    """The judge says down while the reward that is trained on says up, since the best look.

    The best of many noisy looks is partly luck, so two looks in a row must lie under it by more than the threshold and
    by more than chance.
    """
    best: tuple[float, float, float] | None = None
    fell = False
    for look in _looks(rows):
        rate, error, reward, step = look
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
            return Alarm("overoptimisation", stage, message, lost, config.overoptimisation, step)
        fell = under
    return None


def _looks(rows: Sequence[Row]) -> Iterator[tuple[float, float, float, int]]:
    """Win rate, its standard error, the reward just then and the step of each look at the validation prompts. Before
    training the reward is that of the first steps.
    """
    rewards = [row["reward"] for row in rows if _is_number(row.get("reward"))]
    recent = rewards[:_LAST]
    for row in rows:
        if _is_number(row.get("reward")):
            recent = [*recent, row["reward"]][-_LAST:]
        if recent and _is_number(row.get("eval/win_rate")):
            error = _error({"standard_error": row.get("eval/win_rate_standard_error")})
            yield row["eval/win_rate"], error, _mean(recent), int(row["step"])


_CHECKS: Final[tuple[Callable[[Sequence[Row], AlarmsConfig, str], Alarm | None], ...]] = (
    _kl,
    _length,
    _saturation,
    _value_loss,
    _entropy,
    _overoptimisation,
)


def _windows(rows: Sequence[Row], *names: str) -> Iterator[tuple[int, list[Row]]]:
    """For each row that has all of the measures: its step, and the last few such rows. Nothing before there are as
    many, so that one odd batch raises nothing.
    """
    having = [row for row in rows if all(isinstance(row.get(name), int | float) for name in names)]
    for end in range(_LAST, len(having) + 1):
        yield int(having[end - 1]["step"]), having[end - _LAST : end]


def _error(row: Mapping[str, Any]) -> float:
    error = row.get("standard_error")
    return float(error) if isinstance(error, int | float) and math.isfinite(error) else 0.0


def _mean(values: Iterator[float] | Sequence[float]) -> float:
    """Not a number where one of them is none, or is without a bound: what an alarm compares with then fails."""
    listed = list(values)
    return math.fsum(value / len(listed) for value in listed) if all(map(math.isfinite, listed)) else math.nan


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
