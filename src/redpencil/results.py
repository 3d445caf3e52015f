"""The results of a run: what `results.json` and `ablations.json` hold, for those who write and those who read them.

Win rates, accuracies and their errors are in percent, differences in percent points. A number that is not known is
None, in the files null.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist, stdev
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from redpencil.errors import RedpencilError
from redpencil.runs import write_json
from redpencil.text import read_json

FORMAT: Final = 2
"""Version of both files. Version 1, of redpencil 0.1, did not name itself."""
NORMAL_95: Final = NormalDist().inv_cdf(0.975)
"""Standard errors on either side of a 95 % interval."""
_POWER_80: Final = NormalDist().inv_cdf(0.8)


def _known(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_known)]
"""A number, or None where it is not known or not finite."""
Count = int | float
"""A whole number, or a mean of such over seeds."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def recipe_digest(keys: Mapping[str, Any]) -> str:
    """Digest of all keys of a recipe but those of running it: runs that share it differ only by chance.

    Those are `seeds`, `compute` and `editor.wait`.
    """
    decides = {key: value for key, value in keys.items() if key not in ("seeds", "compute")}
    if isinstance(editor := keys.get("editor"), Mapping) and "wait" in editor:
        decides["editor"] = {**editor, "wait": False}
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


class Figure(_Part):
    """A number that may have a 95 % interval."""

    value: float

    @property
    def interval(self) -> tuple[float, float] | None:
        """Low and high end of the 95 % interval; None where the spread is not known."""
        return None

    @property
    def above_zero(self) -> bool:
        """True if the whole interval lies above 0; False without an interval."""
        return self.interval is not None and self.interval[0] > 0

    @property
    def covers_zero(self) -> bool:
        """True if 0 lies in the interval; True without an interval, since nothing then excludes it."""
        return self.interval is None or self.interval[0] <= 0 <= self.interval[1]

    @property
    def repeats(self) -> int | None:
        """The number of prompts, pairs or seeds that it is a mean over; None if that is not known."""
        return None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of what it is a mean over; None if that is not known."""
        return None

    @property
    def repeats_needed(self) -> int | None:
        """The number of prompts or seeds with which a difference of this size would be told from 0.

        With a two-sided test at 5 % and a power of 80 %, by the normal distribution: ((1.96 + .84) sd / value)^2. None
        if the spread is not known, or the difference is 0.
        """
        if not self.value or self.deviation is None:
            return None
        return math.ceil(((NORMAL_95 + _POWER_80) * self.deviation / self.value) ** 2)

    def __neg__(self) -> Self:
        return self.model_copy(update={"value": -self.value})


class Estimate(Figure):
    """A mean over `n` prompts or pairs, and its standard error."""

    standard_error: Number = None
    n: int | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        if self.standard_error is None:
            return None
        half = NORMAL_95 * self.standard_error
        return self.value - half, self.value + half

    @property
    def repeats(self) -> int | None:
        return self.n

    @property
    def deviation(self) -> float | None:
        known = self.standard_error is not None and self.n is not None
        return self.standard_error * math.sqrt(self.n) if known else None  # type: ignore[operator, arg-type]


class WinRate(Estimate):
    """The share of prompts on which the judge prefers a policy to the reference; a tie counts one half.

    `mean_length` is in words. `unparsed` counts comparisons on which the judge gave no verdict.
    """

    wins: int
    losses: int
    draws: int
    mean_length: float
    unparsed: int = 0


class Ranged(Figure):
    """A number with a 95 % interval from `low` to `high`."""

    low: Number = None
    high: Number = None

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    def __neg__(self) -> Self:
        low, high = (None, None) if self.interval is None else (-self.interval[1], -self.interval[0])
        return self.model_copy(update={"value": -self.value, "low": low, "high": high})


class SeedMean(Ranged):
    """A mean over seeds, with a t-interval, and the value of each seed."""

    per_seed: tuple[float, ...] = ()

    @property
    def repeats(self) -> int | None:
        return len(self.per_seed) or None

    @property
    def deviation(self) -> float | None:
        return stdev(self.per_seed) if len(self.per_seed) > 1 else None

    def __neg__(self) -> Self:
        return super().__neg__().model_copy(update={"per_seed": tuple(-value for value in self.per_seed)})


class Efficiency(_Part):
    """When an arm was at its best on the validation prompts, and when the recipe's first arm was as good (Table 3).

    The first arm is called the token arm and the other one the sequence arm, as in the paper. `arm` names the latter.
    `ratio` is `token_step` / `sequence_step`. What belongs to the token arm is None where it never was as good.
    """

    arm: str
    token_step: int | None
    sequence_step: int
    ratio: Number
    token_seconds: Number
    sequence_seconds: float


class EfficiencySummary(_Part):
    """Efficiency over seeds; a seed whose token arm never was as good counts as slower than all others."""

    arm: str
    ratio_median: Number
    ratios: tuple[Number, ...]
    token_steps: tuple[int | None, ...]
    sequence_steps: tuple[int, ...]


class ArmCosts(_Part):
    """The method of an arm, and what the arm costs and uses.

    Args:
        method: its name in the recipe.
        label: the method in words.
        stage: name of the stage that trained the policy, whose folder has its metrics; None if nothing was trained.
        pairs: kind of the pairs that it learned from, itself or through its reward models.
        train_pairs: number of these pairs; None if the models came ready-made.
        reward_seconds: training time of its reward models.
        training_seconds: training time of the policy.
        sampled_in_training: responses that were sampled to learn from; 0 for a method that learns from pairs alone.
        responses_per_prompt: responses that were sampled to answer one evaluation prompt.
        answer_seconds: time to answer the evaluation prompts.
        step: of the checkpoint that was kept.
        validation_win_rate: of that checkpoint.
        validation_gleu: the same, where references judge.
        kl: to the policy that it started from, in nats per response, of that checkpoint.
        kl_bound: upper bound of `kl`, for best-of-n.
        start: the arm that it started from; None for the SFT policy.
        on: the arm of whose answers the edits are that it, or its reward model, learned from; None for the SFT policy.
    """

    method: str
    label: str
    stage: str | None
    pairs: str
    train_pairs: Count | None
    reward_seconds: float
    training_seconds: float
    sampled_in_training: Count
    responses_per_prompt: Count
    answer_seconds: float
    step: Count | None
    validation_win_rate: Number
    kl: Number
    kl_bound: Number
    start: str | None = None
    on: str | None = None
    validation_gleu: Number = None

    @property
    def online(self) -> bool:
        """True if the method samples responses as it trains, and so has learning curves of reward and KL."""
        return self.sampled_in_training > 0


class StageCost(_Part):
    """Wall-clock time of a stage."""

    seconds: float


class Diagnostic(_Part):
    """A measure that passed a threshold of the recipe.

    `where` names the stage, arm or reward model; `step` is None for what was seen after training.
    """

    name: str
    where: str
    message: str
    value: Number
    threshold: float
    step: int | None
    advice: str


class Within(_Part):
    """How often a token at fault has a lower reward than another of its response, and the same by place alone.

    `value` is from 0 to 1, with a 95 % interval from `low` to `high`; `later` is that of the rule that later tokens are
    worse.
    """

    value: Number
    low: Number
    high: Number
    later: Number
    later_low: Number
    later_high: Number
    responses: int


class EditsNeeded(_Part):
    """What an editor changes in a policy's answers.

    Args:
        accepted: share of the answers that stand as they are, in percent.
        edits: places to change in 100 words of the answers; None, as `words`, if no answer has a word.
        words: words to change in 100 words of the answers.
        answers: number of answers that were measured.
        prompts: number of their prompts.
        empty: number of them without a word; these are not accepted.
        cut_off: number of them that ended at the length limit; these are not accepted either.
        unedited: number of answers for which the editor gave no text; they count nowhere.
    """

    accepted: Ranged
    edits: Ranged | None
    words: Ranged | None
    answers: int
    prompts: int
    empty: int
    cut_off: int
    unedited: int


class NeedsDifference(_Part):
    """What one policy's answers need less what another's do, paired over `prompts`; `accepted` in percent points."""

    accepted: Ranged
    edits: Ranged | None
    words: Ranged | None
    prompts: int


class Needed(_Part):
    """`needed.json`: edits still needed by policy, and differences by `<policy>-<policy>`; `editors` edited them.

    Where references edit, `source` stands among the policies: the text that each prompt asks to improve, unchanged.
    """

    format: int = FORMAT
    editors: tuple[str, ...]
    policies: dict[str, EditsNeeded]
    differences: dict[str, NeedsDifference]


class GleuResults(_Part):
    """`gleu.json`: GLEU of each policy on `n` answers, from 0 to 100, and differences by `<policy>-<policy>`.

    `source` stands among the policies: the text that each prompt asks to improve, unchanged.
    """

    format: int = FORMAT
    n: int
    policies: dict[str, Ranged]
    differences: dict[str, Ranged]


class Split(_Part):
    """How held-out rows of a user's files were chosen: by `prompts`, in `folds`, or in `files` of the user's own.

    Args:
        by: one of these.
        test_share: share of the rows that are held out.
        folds: number of folds.
        fold: the one that is held out here.
        own: the kinds of rows that the user held out.
        test: number of held-out rows by kind.
        shared: those of them with a prompt that is in training.
    """

    by: Literal["prompts", "folds", "files"]
    test_share: float | None
    folds: int | None
    fold: int | None
    own: tuple[str, ...]
    test: dict[str, int]
    shared: dict[str, int]


class Pooled(Ranged):
    """A measure over the items of all folds and repetitions.

    Its interval is over prompts, `spread` the standard deviation over `repetitions`, which has the
    value of each; `n` counts items, each once for each repetition.
    """

    low: Number
    high: Number
    n: int
    prompts: int
    repetitions: tuple[float, ...]
    spread: Number


class PooledResults(_Part):
    """Measures of cross-validation: `accuracy` by model or rule and test set; `within` by model and kind of token."""

    folds: int
    repetitions: int
    accuracy: dict[str, dict[str, Pooled]]
    within: dict[str, dict[str, Pooled]]


class Counted(_Part):
    """N held-out items of one fold: the prompt of each, and that it adds `won` of `of` to a share."""

    prompts: tuple[str, ...]
    won: tuple[float, ...]
    of: tuple[float, ...]


class Items(_Part):
    """`items.json` of a fold, from which `PooledResults` are made: by the same names."""

    format: int = FORMAT
    accuracy: dict[str, dict[str, Counted]]
    within: dict[str, dict[str, Counted]]


class Evaluation(_Part):
    """The measures of the last stage of a run.

    `efficiency` is about the recipe's second online arm, and `efficiency_<arm>` about each further one. In
    `localisation` are areas under the curve, from 0 to 1; `within` is that of tokens of one response, by model and kind
    of token (edited, error_spans, or a type of error). `flaws` are in 100 responses, and None without an oracle.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Efficiency]

    format: int = FORMAT
    name: str
    seed: int
    win_rate: dict[str, WinRate]
    win_rate_difference: dict[str, Estimate]
    reward_accuracy: dict[str, dict[str, Estimate]]
    efficiency: Efficiency | None = None
    localisation: dict[str, dict[str, Number]]
    within: dict[str, dict[str, Within]] = Field(default_factory=dict)
    flaws: dict[str, dict[str, float]] | None

    @property
    def efficiencies(self) -> dict[str, Efficiency]:
        """All of them by the arm that the first one is compared with."""
        rows = (*([] if self.efficiency is None else [self.efficiency]), *self.__pydantic_extra__.values())
        return {row.arm: row for row in rows}


class RunResults(Evaluation):
    """`results.json` of one seed. `split` is None for the world, and for rows that were split one by one, as before."""

    recipe_sha256: str
    split: Split | None = None
    methods: dict[str, ArmCosts]
    edits_needed: Needed | None = None
    gleu: GleuResults | None = None
    warnings: tuple[str, ...]
    stages: dict[str, StageCost]
    diagnostics: tuple[Diagnostic, ...] = ()


class Heatmap(_Part):
    """Token rewards of one response: T tokens, T rewards, and of each token the kind of its flaw or None.

    `label` is `good` or `bad`: one of the best or of the worst responses.
    """

    model: str
    label: str
    prompt: str
    tokens: tuple[str, ...]
    rewards: tuple[Number, ...]
    flaws: tuple[str | None, ...]

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if not len(self.tokens) == len(self.rewards) == len(self.flaws):
            counts = f"{len(self.tokens)} tokens, {len(self.rewards)} rewards and {len(self.flaws)} flaws"
            raise ValueError(f"{counts}: they must be as many")
        return self


class ReportData(_Part):
    """`report_data.json`: what the report shows besides results."""

    format: int = FORMAT
    heatmaps: tuple[Heatmap, ...]


class Summary(_Part):
    """Means over seeds. A measure that some seed lacks is None.

    `edits_needed` has accepted, edits and words by policy.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, EfficiencySummary]

    win_rate: dict[str, SeedMean | None]
    win_rate_difference: dict[str, SeedMean | None]
    mean_length: dict[str, SeedMean | None]
    edits_needed: dict[str, dict[str, SeedMean | None]] = Field(default_factory=dict)
    edits_needed_difference: dict[str, dict[str, SeedMean | None]] = Field(default_factory=dict)
    gleu: dict[str, SeedMean | None] = Field(default_factory=dict)
    gleu_difference: dict[str, SeedMean | None] = Field(default_factory=dict)
    reward_accuracy: dict[str, dict[str, SeedMean | None]]
    localisation: dict[str, dict[str, SeedMean | None]]
    within: dict[str, dict[str, SeedMean | None]] = Field(default_factory=dict)
    pooled: PooledResults | None = None
    efficiency: EfficiencySummary | None = None


class StudyResults(_Part):
    """`results.json` of several seeds; `runs` has the results of each by its number."""

    format: int = FORMAT
    name: str
    seeds: tuple[int, ...]
    recipe_sha256: str
    summary: Summary
    runs: dict[int, RunResults] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_run_a_seed(self) -> Self:
        for number, run in self.runs.items():
            if run.seed != number or run.format != self.format:
                raise ValueError(f"runs.{number} is of the seed {run.seed} and format {run.format}")
        if set(self.runs) != set(self.seeds):
            raise ValueError(f"`runs` has the seeds {list(self.runs)}, `seeds` says {list(self.seeds)}")
        return self


class Measure(SeedMean):
    """A mean over seeds and its standard error over prompts or pairs.

    `low` and `high` are a t-interval over the seeds; of a single seed a normal one over prompts or pairs.
    """

    standard_error: Number = None


class Variant(_Part):
    """A variant of an ablation.

    Args:
        keys: what it sets in the recipe.
        folder: of its runs.
        same_as: the variant whose runs these are, if they are not its own.
        compared_with: the first variant of its group; None for that one itself.
        measures: of the arm and its reward model, by name.
        differences: of the measures from those of `compared_with`.
        diagnostics: by name the seeds in which each was raised.
    """

    keys: dict[str, Any]
    folder: str
    same_as: str | None
    compared_with: str | None
    measures: dict[str, Measure]
    differences: dict[str, Measure]
    diagnostics: dict[str, tuple[int, ...]]


class AblationResults(_Part):
    """`ablations.json`: variants by group and name; `sft` is the win rate of the policy before the arm's training.

    `recipe_sha256` is that of the file `ablations.yaml` beside it.
    """

    format: int = FORMAT
    name: str
    recipe_sha256: str = ""
    arm: str
    seeds: tuple[int, ...]
    sft: Measure
    groups: dict[str, dict[str, Variant]]
    environment: dict[str, Any]


T = TypeVar("T", bound=BaseModel)


def read_results(file: Path) -> RunResults | StudyResults:
    """Read `results.json`, of one seed or of several.

    Raises:
        RedpencilError: naming file and field, if it does not fit or another version of redpencil wrote it.
    """
    content = read_json(file)
    if isinstance(content, Mapping) and "seeds" in content:
        return parse_results(content, StudyResults, file)
    return parse_results(content, RunResults, file)


def parse_results(content: object, kind: type[T], file: Path) -> T:
    """Validate what a file of results holds.

    Raises:
        RedpencilError: naming file and field, if it does not fit or another version of redpencil wrote it.
    """
    if not isinstance(content, Mapping):
        problem = f"expected a mapping, found {type(content).__name__}"
        raise RedpencilError(problem, file=file, hint="run the recipe again, into another --out")
    version = content.get("format")
    if version != FORMAT:
        writer = "redpencil 0.1" if version is None else "another version of redpencil"
        raise RedpencilError(
            f"written in another format than this version of redpencil reads ({FORMAT})",
            file=file,
            field="format",
            hint=f"this run folder was written by {writer}; run the recipe again, into another --out",
        )
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        problem = first["msg"].removeprefix("Value error, ")
        problem = problem[:1].lower() + problem[1:]
        if first["type"] not in ("missing", "value_error"):
            problem += f", found {type(first['input']).__name__}"
        field = ".".join(str(part) for part in first["loc"]) or None
        raise RedpencilError(problem, file=file, field=field, hint="run the recipe again, into another --out") from None


def write_results(file: Path, results: BaseModel) -> None:
    """Write results so that the file is never half-written."""
    write_json(file, results.model_dump())
