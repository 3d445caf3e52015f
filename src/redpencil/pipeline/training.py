"""What stages and commands that train or choose do, with explicit paths."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from redpencil.config.data import PairKind
from redpencil.config.methods import BestOfNConfig, Method
from redpencil.config.recipe import AlarmsConfig
from redpencil.config.training import AlignConfig, RewardConfig, SFTConfig
from redpencil.errors import naming
from redpencil.evaluation.diagnostics import Alarm, training_alarms
from redpencil.evaluation.gleu import gleu
from redpencil.evaluation.judges import REFERENCES, Judge, gleu_counts, judge_outputs
from redpencil.evaluation.statistics import win_rate
from redpencil.models.checkpoints import load_reward_model
from redpencil.models.codec import Codec
from redpencil.models.log_ratio import Parts
from redpencil.models.sampling import EncodedPrompts, encode_prompts
from redpencil.pipeline.context import Setup, at_evaluation
from redpencil.pipeline.execute import resolve
from redpencil.pipeline.judging import ModelJudge
from redpencil.records import Comparison, Edit, Example, Pair, Prompt, Response, read_jsonl
from redpencil.rows import PairRows
from redpencil.runs import Progress, Stage, derive_seed
from redpencil.training.best_of_n import BestOfN
from redpencil.training.pairs import check_pairs, pairs_of_comparisons, pairs_of_edits
from redpencil.training.policy_reward import make_policy_reward
from redpencil.training.reward import train_reward
from redpencil.training.rollout import load_actors, sampling_of
from redpencil.training.scoring import doubts, encode_samples
from redpencil.training.sft import train_sft
from redpencil.training.validation import Validation

LOADING: Final = "loading models"
EVERY_ROW = 200
SOME_ROWS = 20
"""A check of the alarms reads all rows so far; after EVERY_ROW rows, only every SOME_ROWS-th row is a check."""


def watch_metrics(stage: Stage, config: AlarmsConfig) -> Callable[[Mapping[str, float]], None]:
    """Return a watch over a stage's metrics that warns of each alarm when it first goes off."""
    rows: list[Mapping[str, float]] = []
    warned: set[str] = set()

    def watch(row: Mapping[str, float]) -> None:
        rows.append(row)
        if len(rows) > EVERY_ROW and len(rows) % SOME_ROWS:
            return
        for alarm in training_alarms(rows, config, stage.name):
            if alarm.name not in warned:
                warned.add(alarm.name)
                stage.warn(in_words(alarm))

    return watch


def in_words(alarm: Alarm) -> str:
    """An alarm as a line of a log."""
    at = "" if alarm.step is None else f" at step {alarm.step}"
    return f"{alarm.name}{at}: {alarm.message}. {alarm.advice[0].upper()}{alarm.advice[1:]}."


@dataclass(frozen=True, slots=True)
class Watch:
    """The prompts on which training is watched, and a judge that compares answers to them with a reference's.

    Without a judge, methods that sample while they train keep the checkpoint with the best reward.
    """

    prompts: Path
    reference: Path | None = None
    judge: Judge | None = None

    def evaluate(self, responses: Sequence[Response]) -> dict[str, float]:
        """Compute the win rate over the reference, in percent, and its standard error; nothing without a judge.

        Where the judge compares with references, there is the GLEU too.
        """
        if self.judge is None or self.reference is None:
            return {}
        with naming(self.reference):
            verdicts = judge_outputs(self.judge, responses, list(read_jsonl(self.reference, Response)))
        rate = win_rate([v.preference for v in verdicts], [len(v.first.split()) for v in verdicts])
        by_references = {"gleu": gleu(gleu_counts(responses))} if self.judge is REFERENCES else {}
        return {"win_rate": rate.value, "win_rate_standard_error": rate.standard_error, **by_references}


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """The files from which a method trains a policy: pairs, or reward models and prompts."""

    policy: Path
    """Checkpoint of the policy that it starts from, and stays close to."""
    watch: Watch | None
    pairs: tuple[Path, ...] = ()
    prompts: Path | None = None
    reward_models: tuple[Path, ...] = ()
    """With reward=both first the token-level, then the sequence-level one."""


def read_prompts(path: Path, codec: Codec, max_prompt_length: int) -> EncodedPrompts:
    """Read and encode prompts; those that are too long are skipped.

    Raises:
        RedpencilError: naming the file, if none is short enough.
    """
    with naming(path):
        return encode_prompts(list(read_jsonl(path, Prompt)), codec, max_prompt_length)


def read_pairs(paths: Sequence[Path], codec: Codec) -> Sequence[Pair]:
    """Read the pairs of all files, which a model with the tokenizer of `codec` must be able to read.

    Raises:
        RedpencilError: naming the file and the first pair that it cannot.
    """

    def checked() -> Iterator[Pair]:
        for path in paths:
            with naming(path):
                for pair in read_jsonl(path, Pair):
                    check_pairs([pair], len(codec.tokenizer), codec.context)
                    yield pair

    return PairRows(checked())


def encode_file(
    path: Path, codec: Codec, config: AlignConfig, kind: PairKind = "edits"
) -> tuple[list[Pair], Mapping[str, int]]:
    """Encode a file of annotations, edits if its name says so; returns pairs and the counts of rows left out."""
    if path.name.startswith("edits"):
        return pairs_of_edits(read_jsonl(path, Edit), codec, config, kind)
    return pairs_of_comparisons(read_jsonl(path, Comparison), codec, config)


def fine_tune(setup: Setup, stage: Stage, config: SFTConfig, *, model: Path, examples: Path) -> None:
    """Fine-tune a model on demonstrations; writes `checkpoint/`."""
    stage.progress(0, 1, LOADING)
    with naming(examples):
        train_sft(
            setup.recipe.computed(config),
            model=model,
            examples=read_jsonl(examples, Example),
            codec=setup.codec,
            runtime=setup.runtime,
            stage=stage,
        )


def fit_reward(
    setup: Setup,
    stage: Stage,
    config: RewardConfig,
    *,
    policy: Path,
    pairs: Sequence[Path],
    samples: Path,
    trained_on: str,
    start: Path | None = None,
    features: Path | None = None,
) -> None:
    """Train a reward model from the SFT backbone, or from another reward model; writes `checkpoint/`.

    Args:
        policy: checkpoint of the SFT policy.
        pairs: files of pairs of the policy's tokens.
        samples: responses of the policy, of which the first measure the scale of the rewards.
        trained_on: a name of the pairs for the checkpoint's card.
        start: checkpoint of a reward model to start from, heads and all, in place of the policy.
        features: a folder that keeps hidden states where the head alone is trained.
    """
    stage.progress(0, 1, LOADING)
    rows = list(islice(read_jsonl(samples, Response), config.reference_samples))
    train_reward(
        setup.recipe.computed(config),
        backbone=policy if start is None else start,
        continues=start is not None,
        pairs=read_pairs(pairs, setup.codec),
        samples=encode_samples(rows, setup.codec),
        codec=setup.codec,
        trained_on=trained_on,
        runtime=setup.runtime,
        stage=stage,
        store=features,
    )


def take_policy(
    setup: Setup, stage: Stage, config: RewardConfig, parts: Parts, *, samples: Path, trained_on: str
) -> None:
    """Make a reward model of two policies; writes `checkpoint/`. `samples` and `trained_on` as in `fit_reward`."""
    stage.progress(0, 1, LOADING)
    rows = list(islice(read_jsonl(samples, Response), config.reference_samples))
    make_policy_reward(
        *(config, parts),
        samples=encode_samples(rows, setup.codec),
        codec=setup.codec,
        trained_on=trained_on,
        runtime=setup.runtime,
        stage=stage,
    )


def train_policy(setup: Setup, stage: Stage, method: Method, options: Any, inputs: TrainingInputs) -> None:
    """Train a policy by a method that trains one; `options` are an instance of its `config`.

    Writes metrics and `checkpoint/`, the best on the watched prompts.
    """
    stage.progress(0, 1, LOADING)
    stage.watch = watch_metrics(stage, setup.recipe.alarms)
    config, watch = setup.recipe.computed(options), inputs.watch
    sampling = at_evaluation(setup.sampling if method.learns_from == "pairs" else sampling_of(config), setup.recipe)
    validation = None
    if watch is not None:
        # Encoded as `respond` did when it wrote the reference's answers, so that each has its counterpart.
        watched = read_prompts(watch.prompts, setup.codec, setup.recipe.sampling.max_prompt_length)
        validation = Validation(watched, sampling, watch.evaluate, config.eval_steps)
        if isinstance(watch.judge, ModelJudge):
            watch.judge.check(watched.records, setup.codec, sampling.response_length)
    if method.learns_from == "pairs":
        rows = read_pairs(inputs.pairs, setup.codec)
        with naming(inputs.pairs[0]):
            resolve(method.run)(
                config,
                policy=inputs.policy,
                pairs=rows,
                validation=validation,
                codec=setup.codec,
                runtime=setup.runtime,
                stage=stage,
            )
        return
    assert validation is not None
    assert inputs.prompts is not None
    levels: dict[str, Path] = dict(zip(config.reward_levels, inputs.reward_models, strict=False))
    models = (levels.get("token"), levels.get("sequence"))
    seed = derive_seed(stage.seed, "weights")
    actors = load_actors(config, inputs.policy, *models, setup.runtime, setup.codec, seed)
    for scorer in actors.scorers:
        for doubt in doubts(scorer.reward, config):
            stage.remark(doubt)
    prompts = read_prompts(inputs.prompts, setup.codec, config.max_prompt_length)
    resolve(method.run)(config, actors=actors, prompts=prompts, validation=validation, stage=stage)


def choose_answers(
    setup: Setup,
    method: Method,
    options: BestOfNConfig,
    *,
    policy: Path,
    reward_model: Path,
    prompts: Path,
    seed: int,
    model_name: str,
    progress: Progress,
    warn: Callable[[str], None],
    kept: Path | None = None,
) -> BestOfN:
    """Answer prompts by a method that chooses among the policy's responses.

    `warn` hears what speaks against it; `kept` is a folder for what is sampled, so that a killed attempt goes on.
    """
    reward = load_reward_model(reward_model, setup.runtime, policy_codec=setup.codec)
    for doubt in doubts(reward):
        warn(doubt)
    with naming(prompts):
        chosen: BestOfN = resolve(method.run)(
            options,
            sampler=setup.sampler(policy, kept),
            reward=reward,
            prompts=list(read_jsonl(prompts, Prompt)),
            sampling=setup.sampling,
            seed=seed,
            model_name=model_name,
            progress=progress,
        )
    return chosen
