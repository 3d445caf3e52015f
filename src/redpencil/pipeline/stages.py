"""Stages that train or answer: SFT, the reference, reward models, an arm by its method, outputs, and data.

A stage of a run is a function of `(context, stage)`, with the paths that the context says. What it does with them is a
function of its own that takes explicit paths, which the command line calls too.
"""

import random
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from redpencil.adapters import base_of, is_adapter, point_to
from redpencil.alignment.ends import original_of, unfinished_sides
from redpencil.alignment.spacing import respaced_note
from redpencil.config.data import ROWS_OF, FilesConfig, PairKind
from redpencil.config.methods import BestOfNConfig, Method
from redpencil.config.recipe import AlarmsConfig
from redpencil.config.training import AlignConfig, RewardConfig, SFTConfig
from redpencil.editing.edit import edit_responses
from redpencil.errors import RedpencilError, naming
from redpencil.evaluation.diagnostics import Alarm, training_alarms
from redpencil.evaluation.gleu import gleu
from redpencil.evaluation.judges import (
    REFERENCES,
    RULES,
    Judge,
    OracleJudge,
    ScoreJudge,
    VerdictJudge,
    gleu_counts,
    judge_outputs,
    pattern_judge,
)
from redpencil.evaluation.matching import by_prompt, match_note
from redpencil.evaluation.statistics import win_rate
from redpencil.models.checkpoints import has_weights, load_reward_model
from redpencil.models.codec import Codec
from redpencil.models.log_ratio import Parts, parts_of
from redpencil.models.runtime import Runtime, slow_format
from redpencil.models.sampling import EncodedPrompts, encode_prompts, respond
from redpencil.models.saving import write_log_ratio
from redpencil.models.sidecar import codec_of_checkpoint, read_card
from redpencil.pipeline.context import Context, Setup, at_evaluation
from redpencil.pipeline.editing import world_editor
from redpencil.pipeline.execute import resolve
from redpencil.pipeline.inputs import match_reference
from redpencil.pipeline.splits import learned_rows, split_prompts
from redpencil.records import Comparison, Edit, Example, Pair, Prompt, Response, read_jsonl, write_jsonl
from redpencil.rows import PairRows
from redpencil.runs import Progress, Stage, derive_seed
from redpencil.text import prompt_key
from redpencil.training.best_of_n import BestOfN
from redpencil.training.pairs import check_pairs, is_respaced, pairs_of_comparisons, pairs_of_edits
from redpencil.training.policy_reward import make_policy_reward
from redpencil.training.reward import train_reward
from redpencil.training.rollout import load_actors, sampling_of
from redpencil.training.scoring import check_fits, check_room, doubts, encode_samples, score_ids
from redpencil.training.sft import train_sft
from redpencil.training.validation import Validation
from redpencil.world.build import annotate, less_preferred, make_oracle, write_world
from redpencil.world.oracle import Oracle

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


def make_judge(context: Context) -> Judge:
    """The judge that the recipe asks for, if that is no LLM, which `llm_judging` asks."""
    config = context.recipe.who_judges
    if config.rule == "oracle":
        assert context.recipe.world is not None
        return OracleJudge(make_oracle(context.recipe.world))
    if config.rule is not None:
        return RULES[config.rule]
    if config.pattern is not None:
        return pattern_judge(config.pattern, fewer=config.fewer)
    if config.verdicts is not None:
        if not config.verdicts.exists():
            raise RedpencilError(
                "there are no verdicts yet",
                file=config.verdicts,
                field="judge.verdicts",
                hint=f"have {context.root}/outputs-*/evaluation.jsonl compared with "
                f"{context.paths.reference_outputs('evaluation')} (`redpencil annotate --compare`), put what is "
                "exported there, and run the same command again",
            )
        return VerdictJudge(read_jsonl(config.verdicts, Comparison))
    return reward_model_judge(str(config.folder), context.runtime, policy_codec=context.codec)


def reward_model_judge(folder: str, runtime: Runtime, *, policy_codec: Codec | None = None) -> Judge:
    """Make a judge of a reward model of either level; a token-level one judges by Eq. 1, the mean of its rewards.

    It reads texts through its own tokenizer and prompt template; a response that was cut off has no end for it.

    Args:
        policy_codec: the codec of the models that wrote the responses; a judge that has their tokenizer and does not
            say how it learned prompts gets their template.

    Raises:
        RedpencilError: if the folder is not a reward model's, or has no fast tokenizer. The judge itself, if a prompt
            and a response are longer than it reads.
    """
    reward = load_reward_model(folder, runtime, policy_codec=policy_codec)

    def score(responses: Sequence[Response]) -> list[float]:
        rows = encode_samples(responses, reward.model.codec)
        prompts, tokens = [prompt for prompt, _ in rows], [ids for _, ids in rows]
        check_fits(reward.model.context, reward.model.readings, prompts, tokens, [row.id for row in responses])
        return score_ids(reward, prompts, tokens)

    def check(prompts: Sequence[Prompt], policy: Codec, response_length: int) -> None:
        with naming(Path(folder)):
            check_room(
                reward.model.codec, reward.model.context, reward.model.readings, policy, prompts, response_length
            )

    return ModelJudge(folder, score, check)


@dataclass(frozen=True, slots=True)
class ModelJudge(ScoreJudge):
    """A judge that is a reward model; `check` refuses prompts whose answers may be too long for it, as `check_room`."""

    check: Callable[[Sequence[Prompt], Codec, int], None]


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


def _warn_of_format(context: Context, stage: Stage) -> None:
    slow = slow_format(context.runtime)
    if slow is not None:
        stage.warn(slow)


def sft(context: Context, stage: Stage) -> None:
    """Fine-tune the base model on the demonstrations."""
    paths = context.paths
    _warn_of_format(context, stage)
    if context.recipe.files is not None and not has_weights(paths.model):
        stage.warn(f"{paths.model} has no weights: training starts from random ones")
    fine_tune(context.setup, stage, context.recipe.sft, model=paths.model, examples=paths.sft_examples)


def reference(context: Context, stage: Stage) -> None:
    """Make the reference policy and its outputs.

    In the world it is the SFT policy after a little training on a corpus with half of the flaws; with a user's files
    it is the SFT policy itself, or the model that wrote `files.reference_outputs`.
    """
    policy = context.paths.sft_policy
    for finding in context.codec.findings:
        stage.warn(f"{context.paths.model}: {finding}")
    world = context.recipe.world
    if world is not None:
        changes = {"learning_rate": world.reference_learning_rate, "max_steps": world.reference_steps}
        options = context.recipe.sft.model_dump() | changes | {"lr_scheduler_type": "constant"}
        config = SFTConfig.model_validate(options)
        fine_tune(context.setup, stage, config, model=policy, examples=context.reference_inputs["examples"])
        policy = stage.shared_folder / "checkpoint"
    stage.notes.setdefault("skipped", {})
    for split in ("validation", "evaluation"):
        prompts = list(read_jsonl(getattr(context.paths, f"{split}_prompts"), Prompt))
        if split == "evaluation" and "reference_outputs" in context.reference_inputs:
            write_jsonl(stage.folder / f"{split}.jsonl", _reference_outputs(context, stage, prompts))
            continue
        responses, skipped = _judged_answers(context, stage, policy, prompts, "reference", "reference", split)
        stage.notes["skipped"][f"{split} prompt empty or too long"] = skipped
        write_jsonl(stage.folder / f"{split}.jsonl", responses)


def _judged_answers(
    context: Context, stage: Stage, policy: Path, prompts: Sequence[Prompt], name: str, *seed: str
) -> tuple[list[Response], int]:
    """Answer prompts as the model `name`, to be judged; returns responses and the number of prompts left out."""
    return respond(
        context.setup.sampler(policy, stage.work),
        prompts,
        config=context.setup.judged_sampling,
        seed=derive_seed(stage.seed, *seed),
        model_name=name,
        progress=stage.progress,
    )


def _reference_outputs(context: Context, stage: Stage, prompts: Sequence[Prompt]) -> list[Response]:
    """The user's reference outputs for those prompts that the policies will answer, under the ids of the prompts."""
    file = context.reference_inputs["reference_outputs"]
    pairs = match_reference(file, prompts)
    note = match_note(by_prompt(pairs), len(pairs))
    if note:
        stage.warn(f"{file}: {note}")
        stage.notes["remarks"] = [f"of the reference outputs, {note}"]
    fitting = encode_prompts(prompts, context.codec, context.recipe.sampling.max_prompt_length).records
    answered = {prompt.id for prompt in fitting}
    return [replace(output, id=prompt.id) for prompt, output in pairs if prompt.id in answered]


def reward(context: Context, stage: Stage, *, name: str) -> None:
    """Train one of the recipe's reward models, from the SFT backbone or from another one."""
    _warn_of_format(context, stage)
    model, paths = context.recipe.reward_models[name], context.paths
    fit_reward(
        context.setup,
        stage,
        context.recipe.reward_config(name),
        policy=paths.sft_policy,
        pairs=paths.training_pairs(model.pairs, context.recipe.sources(model)),
        samples=paths.samples_of(model.on),
        trained_on=model.pairs,
        start=None if model.start is None else paths.reward_model(model.start),
        features=context.features,
    )


def policy_reward(context: Context, stage: Stage, *, name: str) -> None:
    """Make one of the recipe's reward models of an arm's policy and the one that it started from."""
    recipe, paths = context.recipe, context.paths
    model = recipe.reward_models[name]
    assert model.policy is not None
    parts = Parts(paths.policy(model.policy), paths.start(model.policy), recipe.beta_of(model.policy))
    take_policy(context.setup, stage, recipe.reward_config(name), parts, samples=paths.samples, trained_on=model.pairs)


def ready_made_reward(context: Context, stage: Stage, *, name: str) -> None:
    """Take a ready-made reward model into the run: copy its files, after checking that it loads."""
    folder = context.recipe.reward_models[name].folder
    assert folder is not None
    load_reward_model(folder, context.runtime.alone, level=context.recipe.reward_config(name).level)
    checkpoint = stage.folder / "checkpoint"
    parts = parts_of(folder)
    if parts is not None:
        write_log_ratio(checkpoint, parts, codec_of_checkpoint(folder), read_card(folder, "token"))
        return
    checkpoint.mkdir()
    for file in sorted(folder.iterdir()):
        if file.is_file():
            shutil.copy(file, checkpoint)
    if is_adapter(folder):
        point_to(checkpoint, base_of(folder))


def _watch(context: Context) -> Watch:
    """What training is watched by: a judge that answers at once, else the rewards alone."""
    paths = context.paths
    if not context.recipe.who_judges.judges_training:
        return Watch(paths.validation_prompts)
    return Watch(paths.validation_prompts, paths.reference_outputs("validation"), make_judge(context))


def train_arm(context: Context, stage: Stage, *, arm: str) -> None:
    """Train one arm of Table 1 by its method; arms that sample see the same prompts in the same order."""
    _warn_of_format(context, stage)
    recipe, paths = context.recipe, context.paths
    config = recipe.arms[arm]
    kind = config.learns_from
    watch = _watch(context)
    inputs = TrainingInputs(
        paths.start(arm),
        # A method that learns from pairs has no rewards to choose a checkpoint by.
        None if watch.judge is None and config.row.learns_from == "pairs" else watch,
        pairs=() if kind is None else paths.training_pairs(kind, recipe.sources(config)),
        prompts=paths.prompts,
        reward_models=tuple(paths.reward_model(name) for name in config.reward_model_names),
    )
    train_policy(context.setup, stage, config.row, recipe.options(arm), inputs)


def choose(context: Context, stage: Stage, *, arm: str) -> None:
    """Answer the evaluation prompts by a method that trains nothing, and the validation prompts, which are judged."""
    recipe, paths = context.recipe, context.paths
    watch = _watch(context)
    (reward_model,) = recipe.arms[arm].reward_model_names
    counts: dict[str, dict[str, float]] = {}
    for split, prompts in (("validation", paths.validation_prompts), ("evaluation", paths.evaluation_prompts)):
        before = stage.seconds
        chosen = choose_answers(
            context.setup,
            recipe.arms[arm].row,
            recipe.options(arm),
            policy=paths.start(arm),
            reward_model=paths.reward_model(reward_model),
            prompts=prompts,
            seed=derive_seed(stage.seed, "outputs" if split == "evaluation" else "validation"),
            model_name=arm,
            progress=stage.progress,
            warn=stage.remark,
            kept=stage.work,
        )
        counts[split] = {"responses": len(chosen.responses), "sampled": chosen.sampled, "skipped": chosen.skipped}
        counts[split] |= {name: getattr(chosen, name) for name in ("best_score", "mean_score", "kl_bound")}
        counts[split]["seconds"] = round(stage.seconds - before, 3)
        write_jsonl(stage.folder / f"{split}.jsonl", chosen.responses)
        if split == "validation":
            counts[split] |= watch.evaluate(chosen.responses)
    stage.notes[recipe.arms[arm].method] = counts
    stage.notes["skipped"] = {"prompt empty or too long": counts["evaluation"]["skipped"]}


def outputs(context: Context, stage: Stage, *, policy: str) -> None:
    """Answer the evaluation prompts with a policy; the seed is the same for every policy."""
    prompts = list(read_jsonl(context.paths.evaluation_prompts, Prompt))
    responses, skipped = _judged_answers(context, stage, context.paths.policy(policy), prompts, policy, "outputs")
    stage.notes["skipped"] = {"prompt empty or too long": skipped}
    write_jsonl(stage.folder / "evaluation.jsonl", responses)


def make_world_data(context: Context, stage: Stage) -> None:
    """Write the world's model folder, corpora and prompts."""
    assert context.recipe.world is not None
    write_world(context.recipe.world, stage.seed, stage.folder)


def samples(context: Context, stage: Stage) -> None:
    """Sample responses of the SFT policy: two for each comparison of the world, or what the reward scale needs."""
    prompts = list(read_jsonl(context.paths.prompts, Prompt))
    sample(context, stage, "sft", repeated(prompts, context.samples_needed, derive_seed(stage.seed, "samples")))


def sample(context: Context, stage: Stage, policy: str, prompts: Sequence[Prompt]) -> None:
    """Write the responses of a policy, `sft` or an arm, to prompts."""
    names = () if policy == "sft" else (policy,)
    responses, skipped = respond(
        context.setup.sampler(context.paths.policy(policy), stage.work),
        prompts,
        config=context.setup.sampling,
        seed=derive_seed(stage.seed, "samples", *names),
        model_name=policy,
        progress=stage.progress,
    )
    stage.notes["skipped"] = {"prompt empty or too long": skipped}
    write_jsonl(stage.folder / "responses.jsonl", responses)


def repeated(prompts: Sequence[Prompt], count: int, seed: int, each: int = 2) -> list[Prompt]:
    """Pick `count` prompts, each several times in turn, from a shuffled list that starts again at its end."""
    order = list(range(len(prompts)))
    random.Random(seed).shuffle(order)
    picked = []
    for number in range(count):
        prompt = prompts[order[number // each % len(order)]]
        picked.append(Prompt(f"{prompt.id}-{number}", prompt.prompt, prompt.meta))
    return picked


def annotations(context: Context, stage: Stage) -> None:
    """Write comparisons and edits, split into train and test, from the world's annotators or the user's files."""
    if context.recipe.files is None:
        _annotate_world(context, stage)
    else:
        _split_files(context.recipe.files, stage, {ROWS_OF[kind] for kind in context.recipe.learned_pairs})


def _annotate_world(context: Context, stage: Stage) -> None:
    world = context.recipe.world
    assert world is not None
    oracle = make_oracle(world)
    rng = random.Random(derive_seed(stage.seed, "annotator"))
    sampled = list(read_jsonl(context.paths.samples, Response))
    if len(sampled) < context.samples_needed:
        raise RedpencilError(
            f"only {len(sampled)} of {context.samples_needed} prompts were answered",
            field="sampling.max_prompt_length",
            hint="raise sampling.max_prompt_length, so that every prompt of the world fits",
        )
    responses = iter(sampled)
    editor = world_editor(world, derive_seed(stage.seed, "editor"))
    for split, count in (("train", world.comparisons), ("test", world.test_comparisons)):
        pairs = [(next(responses), next(responses)) for _ in range(count)]
        rows = [compare(oracle, first, second, rng, world.label_flip) for first, second in pairs]
        write_jsonl(stage.folder / f"comparisons_{split}.jsonl", rows)
        if split == "test":
            clean = [compare(oracle, first, second, None, 0.0) for first, second in pairs]
            write_jsonl(stage.folder / "comparisons_clean_test.jsonl", clean)
        edits = edit_responses([loser(row, pair) for row, pair in zip(rows, pairs, strict=True)], editor)
        write_jsonl(stage.folder / f"edits_{split}.jsonl", edits)


def compare(oracle: Oracle, first: Response, second: Response, rng: random.Random | None, flip: float) -> Comparison:
    """Compare as the noisy annotator does; without `rng` as the oracle itself, ties included."""
    texts = (first.prompt, first.response, second.response)
    preference = oracle.prefers(*texts) if rng is None else annotate(oracle, *texts, rng, flip)
    meta = unfinished_sides(first.finished, second.finished)
    return Comparison(first.id, *texts, preference, annotator="oracle" if rng is None else "noisy oracle", meta=meta)


def loser(row: Comparison, pair: tuple[Response, Response]) -> Response:
    """The very response that lost, with its own `finished`."""
    return pair[0] if less_preferred(row) == pair[0].response else pair[1]


_KINDS: Final[Mapping[str, type[Any]]] = {"comparisons": Comparison, "edits": Edit}


def _split_files(files: FilesConfig, stage: Stage, needed: Collection[str]) -> None:
    rows = {kind: list(read_jsonl(path, _KINDS[kind])) for kind in _KINDS if (path := getattr(files, kind)) is not None}
    own = {kind: path for kind in rows if (path := getattr(files, f"test_{kind}")) is not None}
    keys = {kind: [prompt_key(row.prompt) for row in of_kind] for kind, of_kind in rows.items()}
    held = split_prompts(files, {kind: of_kind for kind, of_kind in keys.items() if kind not in own}, stage.seed)
    tests: dict[str, list[Any]] = {}
    learned: set[str] = set()
    for kind, of_kind in rows.items():
        order = list(range(len(of_kind)))
        random.Random(derive_seed(stage.seed, "split", kind)).shuffle(order)
        train, out = ([of_kind[n] for n in order if (keys[kind][n] in held) == wanted] for wanted in (False, True))
        tests[kind] = list(read_jsonl(own[kind], _KINDS[kind])) if kind in own else out
        if kind in own and out:
            stage.remark(f"{len(out):,} {kind} were left out, since their prompt is held out")
        first = _first_prompts(train, learned_rows(files, kind, len(train), needed=kind in needed))
        if len(first) < len(train):
            stage.remark(f"{len(first):,} of {len(train):,} {kind} are learned from, the share that the recipe says")
        train = first
        learned |= {prompt_key(row.prompt) for row in train}
        write_jsonl(stage.folder / f"{kind}_test.jsonl", tests[kind])
        write_jsonl(stage.folder / f"{kind}_train.jsonl", train)
    shared = {kind: sum(prompt_key(row.prompt) in learned for row in test) for kind, test in tests.items()}
    for kind, count in shared.items():
        if count:
            stage.remark(f"{count:,} of {len(tests[kind]):,} test {kind} have a prompt that is in training")
    stage.notes["split"] = {
        "by": "files" if own else "folds" if files.folds else "prompts",
        **{"folds": files.folds, "fold": None if files.folds is None else stage.seed % files.folds},
        **{"test_share": None if files.folds or len(own) == len(rows) else files.test_share, "own": sorted(own)},
        **{"test": {kind: len(test) for kind, test in tests.items()}, "shared": shared},
    }


def _first_prompts(rows: Sequence[Any], count: int) -> list[Any]:
    """Take so many rows, those of a prompt one after the other."""
    places: dict[str, int] = {}
    for row in rows:
        places.setdefault(prompt_key(row.prompt), len(places))
    together = rows if count == len(rows) else sorted(rows, key=lambda row: places[prompt_key(row.prompt)])
    return list(together[:count])


def training_originals(context: Context, stage: Stage) -> None:
    """Take the originals of the training edits for samples of a policy, where no policy is sampled."""
    edits = list(read_jsonl(context.paths.annotations / "edits_train.jsonl", Edit))
    filled = {(row.prompt, row.original): row for row in edits if row.original.strip()}
    kept = list(filled.values())[: context.samples_needed]
    write_jsonl(stage.folder / "responses.jsonl", map(original_of, kept))


def align(context: Context, stage: Stage, *, arm: str | None = None) -> None:
    """Tokenise comparisons and edits, of the recipe's data or of an arm's responses, and write the token masks."""
    folder = context.paths.annotations_of(arm)
    config, codec = context.recipe.align, context.codec
    counts: dict[str, int] = {}
    skipped_rows: dict[str, dict[str, int]] = {}
    remarks: list[str] = []
    files = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
    further = context.recipe.further_pairs if "edits_train" in files else ()
    made: dict[str, PairKind] = {f"{kind}_train": kind for kind in further}
    files |= dict.fromkeys(made, files["edits_train"])
    for name, path in files.items():
        pairs, skipped = encode_file(path, codec, config, made.get(name, "edits"))
        counts[name], skipped_rows[name] = len(pairs), dict(skipped)
        respaced = sum(map(is_respaced, pairs))
        if respaced:
            remarks.append(f"{respaced_note(respaced)} ({name})")
        if not pairs:
            hint = "check the data or align.max_length"
            if arm is not None:
                hint = f"if the answers of {arm} stand as they are, nothing can learn on it: lower rounds, or leave "
                hint += f"out what is `on: {arm}`; else check align.max_length"
            raise RedpencilError(f"no pair is left (skipped: {dict(skipped)})", file=path, hint=hint)
        write_jsonl(stage.folder / f"{name}.jsonl", pairs)
    stage.notes.update(pairs=counts, skipped=skipped_rows, **({"remarks": remarks} if remarks else {}))
