"""Stages that train or answer: SFT, the reference, reward models, an arm by its method, outputs."""

import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from redpencil.config import AlarmsConfig, Recipe, SFTConfig, WorldConfig
from redpencil.editing.edit import edit_responses
from redpencil.errors import RedpencilError
from redpencil.evaluation.diagnostics import Alarm, result_alarms, training_alarms
from redpencil.evaluation.judges import Judge, OracleJudge, ScoreJudge, judge_outputs
from redpencil.evaluation.statistics import win_rate
from redpencil.models.checkpoints import load_policy, load_reward_model
from redpencil.models.codec import Codec
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import EncodedPrompts, HFSampler, encode_prompts, respond
from redpencil.pipeline.context import Context
from redpencil.pipeline.inputs import held_out_rows
from redpencil.providers.base import ScriptedProvider
from redpencil.records import Comparison, Edit, Example, Pair, Prompt, Response, read_jsonl, write_jsonl
from redpencil.runs import Stage, derive_seed, read_metrics
from redpencil.training.best_of_n import best_of_n
from redpencil.training.dpo import train_dpo
from redpencil.training.figa import train_figa
from redpencil.training.pairs import pairs_of_comparisons, pairs_of_edits
from redpencil.training.ppo import run_ppo
from redpencil.training.reward import train_reward
from redpencil.training.rollout import load_actors, sampling_of
from redpencil.training.scoring import check_fits, encode_samples, score_ids
from redpencil.training.sft import train_sft
from redpencil.training.validation import Evaluate, Validation
from redpencil.world.build import annotate, less_preferred, make_oracle, write_world
from redpencil.world.editor import scripted_editor
from redpencil.world.oracle import Oracle

EVERY_ROW = 200
SOME_ROWS = 20
"""All rows are gone through each time, so that in a long training not every row is worth it."""


def alarming(stage: Stage, config: AlarmsConfig) -> Callable[[Mapping[str, float]], None]:
    """A watch over a stage's metrics that warns of each alarm as it first goes off."""
    rows: list[Mapping[str, float]] = []
    told: set[str] = set()

    def watch(row: Mapping[str, float]) -> None:
        rows.append(row)
        if len(rows) > EVERY_ROW and len(rows) % SOME_ROWS:
            return
        for alarm in training_alarms(rows, config, stage.name):
            if alarm.name not in told:
                told.add(alarm.name)
                stage.warn(in_words(alarm))

    return watch


def in_words(alarm: Alarm) -> str:
    """An alarm as a line of a log."""
    at = "" if alarm.step is None else f" at step {alarm.step}"
    return f"{alarm.name}{at}: {alarm.message}. {alarm.advice[0].upper()}{alarm.advice[1:]}."


def run_alarms(recipe: Recipe, root: Path, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All alarms of one seed's run, as `results.json` keeps them."""
    own_kind = {name: _own_kind(model.pairs, results, name) for name, model in recipe.reward_models.items()}
    found = result_alarms(results, own_kind, recipe.alarms)
    paths = Context(recipe, root, 0).paths
    for stage in (paths.training(arm) for arm in recipe.arms):
        found += training_alarms(read_metrics(stage), recipe.alarms, stage.name)
    return [{**asdict(alarm), "advice": alarm.advice} for alarm in found]


def _own_kind(pairs: str, results: Mapping[str, Any], model: str) -> str:
    """The held-out pairs that a model is measured on; comparisons without label noise where there are any."""
    tested = results.get("reward_accuracy", {}).get(model, {})
    clean = f"{pairs}_clean"
    return clean if clean in tested else pairs


def make_judge(context: Context) -> Judge:
    """The judge that the recipe asks for."""
    if context.recipe.world is not None:
        return OracleJudge(make_oracle(context.recipe.world))
    return reward_model_judge(str(context.judge_inputs["judge"]), context.runtime, policy_codec=context.codec)


def reward_model_judge(folder: str, runtime: Runtime, *, policy_codec: Codec | None = None) -> Judge:
    """Make a judge of a reward model of either level; a token-level one judges by Eq. 1, the mean of its rewards.

    It reads the texts through its own tokenizer and prompt template, and of a response that was cut off no end.

    Args:
        folder: the checkpoint.
        runtime: device and number format.
        policy_codec: the codec of the models that wrote the responses; a judge that has their tokenizer and does not
            say how it learned prompts gets their template.

    Raises:
        RedpencilError: if the folder does not hold a reward model with a fast tokenizer. The judge itself, if a prompt
            and a response are longer than it reads.
    """
    reward = load_reward_model(folder, runtime, policy_codec=policy_codec)

    def score(responses: Sequence[Response]) -> list[float]:
        rows = encode_samples(responses, reward.model.codec)
        prompts, tokens = [prompt for prompt, _ in rows], [ids for _, ids in rows]
        check_fits(reward.model, prompts, tokens, [row.id for row in responses])
        return score_ids(reward, prompts, tokens)

    return ScoreJudge(folder, score)


def sft(context: Context, stage: Stage) -> None:
    """Fine-tune the base model on the demonstrations."""
    train_sft(
        context.recipe.computed(context.recipe.sft),
        model=context.paths.model,
        examples=read_jsonl(context.paths.sft_examples, Example),
        codec=context.codec,
        runtime=context.runtime,
        stage=stage,
    )


def reference(context: Context, stage: Stage) -> None:
    """The reference policy and its outputs.

    In the world it is the SFT policy after a little training on a corpus with half of the flaws; with a user's files
    it is the SFT policy itself, or whatever wrote `files.reference_outputs`.
    """
    policy = context.paths.sft_policy
    world = context.recipe.world
    if world is not None:
        changes = {
            "learning_rate": world.reference_learning_rate,
            "max_steps": world.reference_steps,
            "lr_scheduler_type": "constant",
        }
        train_sft(
            context.recipe.computed(SFTConfig.model_validate({**context.recipe.sft.model_dump(), **changes})),
            model=policy,
            examples=read_jsonl(context.reference_inputs["examples"], Example),
            codec=context.codec,
            runtime=context.runtime,
            stage=stage,
        )
        policy = stage.folder / "checkpoint"
    stage.notes.setdefault("skipped", {})
    for split in ("validation", "evaluation"):
        prompts = list(read_jsonl(getattr(context.paths, f"{split}_prompts"), Prompt))
        if split == "evaluation" and "reference_outputs" in context.reference_inputs:
            write_jsonl(stage.folder / f"{split}.jsonl", _given_outputs(context, prompts))
            continue
        responses, skipped = respond(
            _sampler(context, policy),
            prompts,
            config=context.recipe.sampling,
            seed=derive_seed(stage.seed, "reference", split),
            model_name="reference",
            progress=stage.progress,
        )
        stage.notes["skipped"][f"{split} prompt empty or too long"] = skipped
        write_jsonl(stage.folder / f"{split}.jsonl", responses)


def _sampler(context: Context, policy: Path) -> HFSampler:
    model = load_policy(policy, context.runtime, trained=False, codec=context.codec)
    return HFSampler(model, context.recipe.compute.generation_batch_size)


def _given_outputs(context: Context, prompts: Sequence[Prompt]) -> list[Response]:
    """The user's reference outputs for those prompts that the policies will answer."""
    fitting = encode_prompts(prompts, context.codec, context.recipe.sampling.max_prompt_length).records
    given = {row.id: row for row in read_jsonl(context.reference_inputs["reference_outputs"], Response)}
    return [given[prompt.id] for prompt in fitting]


def reward(context: Context, stage: Stage, *, name: str) -> None:
    """Train one of the recipe's reward models from the SFT backbone."""
    recipe, codec = context.recipe, context.codec
    config, kind = recipe.reward_config(name), recipe.reward_models[name].pairs
    samples = list(islice(read_jsonl(context.paths.samples, Response), config.reference_samples))
    train_reward(
        recipe.computed(config),
        backbone=context.paths.sft_policy,
        pairs=list(read_jsonl(context.paths.pairs(kind, "train"), Pair)),
        samples=encode_samples(samples, codec),
        codec=codec,
        trained_on=kind,
        runtime=context.runtime,
        stage=stage,
    )


def ready_made_reward(context: Context, stage: Stage, *, name: str) -> None:
    """Take a reward model that someone else trained into the run: a copy of its files, once it is known to load."""
    folder = context.recipe.reward_models[name].folder
    assert folder is not None
    load_reward_model(folder, context.runtime, level=context.recipe.reward_config(name).level)
    checkpoint = stage.folder / "checkpoint"
    checkpoint.mkdir()
    for file in sorted(folder.iterdir()):
        if file.is_file():
            shutil.copy(file, checkpoint)


def ppo(context: Context, stage: Stage, *, arm: str) -> None:
    """Train one arm of Table 1 with PPO; every arm sees the same prompts in the same order."""
    recipe, paths, codec, runtime = context.recipe, context.paths, context.codec, context.runtime
    stage.watch = alarming(stage, recipe.alarms)
    config = recipe.computed(recipe.options(arm))
    folders = [paths.reward_model(name) for name in recipe.arms[arm].reward_model_names]
    first, second = folders[0], folders[1] if len(folders) > 1 else None
    token, sequence = (None, first) if config.reward == "sequence" else (first, second)
    actors = load_actors(config, paths.sft_policy, token, sequence, runtime, codec)
    run_ppo(
        config,
        actors=actors,
        prompts=encode_prompts(list(read_jsonl(paths.prompts, Prompt)), codec, config.max_prompt_length),
        validation=Validation(
            _validation_prompts(context), sampling_of(config), _evaluation(context), config.eval_steps
        ),
        stage=stage,
    )


def dpo(context: Context, stage: Stage, *, arm: str) -> None:
    """Train one arm with DPO, on edits or on comparisons."""
    stage.watch = alarming(stage, context.recipe.alarms)
    config = context.recipe.computed(context.recipe.options(arm))
    train_dpo(
        config,
        policy=context.paths.sft_policy,
        pairs=_pairs_of(context, arm),
        validation=_validation(context, config.eval_steps),
        codec=context.codec,
        runtime=context.runtime,
        stage=stage,
    )


def figa(context: Context, stage: Stage, *, arm: str) -> None:
    """Train one arm with FIGA's token weights, on edits."""
    stage.watch = alarming(stage, context.recipe.alarms)
    config = context.recipe.computed(context.recipe.options(arm))
    train_figa(
        config,
        policy=context.paths.sft_policy,
        pairs=_pairs_of(context, arm),
        validation=_validation(context, config.eval_steps),
        codec=context.codec,
        runtime=context.runtime,
        stage=stage,
    )


def _pairs_of(context: Context, arm: str) -> list[Pair]:
    kind = context.recipe.arms[arm].learns_from
    assert kind is not None
    return list(read_jsonl(context.paths.pairs(kind, "train"), Pair))


def _validation_prompts(context: Context) -> EncodedPrompts:
    prompts = list(read_jsonl(context.paths.validation_prompts, Prompt))
    return encode_prompts(prompts, context.codec, context.recipe.sampling.max_prompt_length)


def _validation(context: Context, eval_steps: int) -> Validation:
    return Validation(_validation_prompts(context), context.recipe.sampling, _evaluation(context), eval_steps)


def _evaluation(context: Context) -> Evaluate:
    """How a policy's responses to the validation prompts are judged: against the reference's."""
    judge = make_judge(context)
    answers = list(read_jsonl(context.paths.reference_outputs("validation"), Response))

    def evaluate(responses: Sequence[Response]) -> dict[str, float]:
        verdicts = judge_outputs(judge, responses, answers)
        rate = win_rate([v.preference for v in verdicts], [len(v.first.split()) for v in verdicts])
        return {"win_rate": rate.value, "win_rate_standard_error": rate.standard_error}

    return evaluate


def best(context: Context, stage: Stage, *, arm: str) -> None:
    """Best-of-n answers to the evaluation prompts, and to the validation prompts, where they are judged."""
    recipe, paths = context.recipe, context.paths
    config = recipe.options(arm)
    (reward_model,) = recipe.arms[arm].reward_model_names
    counts: dict[str, dict[str, float]] = {}
    for split, prompts in (("validation", paths.validation_prompts), ("evaluation", paths.evaluation_prompts)):
        before = stage.seconds
        found = best_of_n(
            config,
            sampler=_sampler(context, paths.sft_policy),
            reward=load_reward_model(paths.reward_model(reward_model), context.runtime, policy_codec=context.codec),
            prompts=list(read_jsonl(prompts, Prompt)),
            sampling=recipe.sampling,
            seed=derive_seed(stage.seed, "outputs" if split == "evaluation" else "validation"),
            model_name=arm,
            progress=stage.progress,
        )
        counts[split] = {"responses": len(found.responses), "sampled": found.sampled, "skipped": found.skipped}
        counts[split] |= {"best_score": found.best_score, "mean_score": found.mean_score}
        counts[split]["seconds"] = round(stage.seconds - before, 3)
        write_jsonl(stage.folder / f"{split}.jsonl", found.responses)
        if split == "validation":
            counts[split] |= _evaluation(context)(found.responses)
    stage.notes["best_of_n"] = counts
    stage.notes["skipped"] = {"prompt empty or too long": counts["evaluation"]["skipped"]}


def outputs(context: Context, stage: Stage, *, policy: str) -> None:
    """A policy's responses to the evaluation prompts; the seed is the same for every policy."""
    responses, skipped = respond(
        _sampler(context, context.paths.policy(policy)),
        list(read_jsonl(context.paths.evaluation_prompts, Prompt)),
        config=context.recipe.sampling,
        seed=derive_seed(stage.seed, "outputs"),
        model_name=policy,
        progress=stage.progress,
    )
    stage.notes["skipped"] = {"prompt empty or too long": skipped}
    write_jsonl(stage.folder / "evaluation.jsonl", responses)


def make_world_data(context: Context, stage: Stage) -> None:
    """Write the world's model folder, corpora and prompts."""
    assert context.recipe.world is not None
    write_world(context.recipe.world, stage.seed, stage.folder)


def samples(context: Context, stage: Stage) -> None:
    """Responses of the SFT policy: two for each comparison of the world, or those that the reward scale needs."""
    prompts = list(read_jsonl(context.paths.prompts, Prompt))
    wanted = samples_wanted(context.recipe)
    responses, skipped = respond(
        _sampler(context, context.paths.sft_policy),
        list(repeated(prompts, wanted, derive_seed(stage.seed, "samples"))),
        config=context.recipe.sampling,
        seed=derive_seed(stage.seed, "samples"),
        model_name="sft",
        progress=stage.progress,
    )
    stage.notes["skipped"] = {"prompt empty or too long": skipped}
    write_jsonl(stage.folder / "responses.jsonl", responses)


def samples_wanted(recipe: Recipe) -> int:
    """How many responses of the SFT policy the recipe needs."""
    if recipe.world is not None:
        return 2 * (recipe.world.comparisons + recipe.world.test_comparisons)
    return max((recipe.reward_config(name).reference_samples for name in recipe.reward_models), default=2)


def repeated(prompts: Sequence[Prompt], wanted: int, seed: int) -> list[Prompt]:
    """`wanted` prompts in pairs of the same prompt, going through a shuffled list as often as it takes."""
    order = list(range(len(prompts)))
    random.Random(seed).shuffle(order)
    picked = []
    for number in range(wanted):
        prompt = prompts[order[number // 2 % len(order)]]
        picked.append(Prompt(f"{prompt.id}-{number}", prompt.prompt, prompt.meta))
    return picked


def annotations(context: Context, stage: Stage) -> None:
    """Comparisons and edits, split into train and test: the world's annotators, or the user's files."""
    if context.recipe.world is not None:
        _annotate_world(context, context.recipe.world, stage)
    else:
        _split_files(context, stage)


def _annotate_world(context: Context, world: WorldConfig, stage: Stage) -> None:
    oracle = make_oracle(world)
    rng = random.Random(derive_seed(stage.seed, "annotator"))
    sampled = list(read_jsonl(context.paths.samples, Response))
    if len(sampled) < samples_wanted(context.recipe):
        raise RedpencilError(
            f"only {len(sampled)} of {samples_wanted(context.recipe)} prompts were answered",
            field="sampling.max_prompt_length",
            hint="raise sampling.max_prompt_length, so that every prompt of the world fits",
        )
    responses = iter(sampled)
    editor = ScriptedProvider(
        "world", scripted_editor(oracle, derive_seed(stage.seed, "editor"), world.edit_repair, world.edit_slip)
    )
    for split, count in (("train", world.comparisons), ("test", world.test_comparisons)):
        pairs = [(next(responses), next(responses)) for _ in range(count)]
        rows = [_compare(oracle, first, second, rng, world.label_flip) for first, second in pairs]
        write_jsonl(stage.folder / f"comparisons_{split}.jsonl", rows)
        if split == "test":
            clean = [_compare(oracle, first, second, None, 0.0) for first, second in pairs]
            write_jsonl(stage.folder / "comparisons_clean_test.jsonl", clean)
        edits = edit_responses([_loser(row, pair) for row, pair in zip(rows, pairs, strict=True)], editor)
        write_jsonl(stage.folder / f"edits_{split}.jsonl", edits)


def _compare(oracle: Oracle, first: Response, second: Response, rng: random.Random | None, flip: float) -> Comparison:
    """A comparison by the noisy annotator; without `rng`, by the oracle itself, ties included."""
    texts = (first.prompt, first.response, second.response)
    preference = oracle.prefers(*texts) if rng is None else annotate(oracle, *texts, rng, flip)
    return Comparison(first.id, *texts, preference, annotator="oracle" if rng is None else "noisy oracle")


def _loser(row: Comparison, pair: tuple[Response, Response]) -> Response:
    """The very response that lost, with its own `finished`."""
    return pair[0] if less_preferred(row) == pair[0].response else pair[1]


def _split_files(context: Context, stage: Stage) -> None:
    files = context.recipe.files
    assert files is not None
    kinds: list[tuple[str, Callable[[], list[Comparison] | list[Edit]]]] = [
        ("comparisons", lambda: list(read_jsonl(files.comparisons, Comparison))),
        ("edits", lambda: list(read_jsonl(files.edits, Edit))),
    ]
    for kind, read in kinds:
        rows = read()
        random.Random(derive_seed(stage.seed, "split", kind)).shuffle(rows)
        held_out = held_out_rows(len(rows), files.test_share, getattr(files, kind))
        write_jsonl(stage.folder / f"{kind}_test.jsonl", rows[:held_out])
        write_jsonl(stage.folder / f"{kind}_train.jsonl", rows[held_out:])


def align(context: Context, stage: Stage) -> None:
    """Tokenise comparisons and edits and write the token masks."""
    folder = context.paths.annotations
    config, codec = context.recipe.align, context.codec
    counts: dict[str, int] = {}
    skipped_rows: dict[str, dict[str, int]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        if path.name.startswith("edits"):
            pairs, skipped = pairs_of_edits(read_jsonl(path, Edit), codec, config)
        else:
            pairs, skipped = pairs_of_comparisons(read_jsonl(path, Comparison), codec, config)
        counts[path.stem], skipped_rows[path.stem] = len(pairs), dict(skipped)
        if not pairs:
            raise RedpencilError(
                f"no pair is left (skipped: {dict(skipped)})", file=path, hint="check the data or align.max_length"
            )
        write_jsonl(stage.folder / path.name, pairs)
    stage.notes.update(pairs=counts, skipped=skipped_rows)
