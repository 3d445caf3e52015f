"""What the stages of a recipe will take, in memory and time, before any of them runs: no weights, no data, no network.

Weights, gradients, optimiser states and the cache of keys and values are counted, what a pass takes comes from
`pipeline.memory`. Time is arithmetic: two operations for each weight and token forward, four backward.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

from transformers import AutoConfig, PreTrainedConfig

from redpencil.config.arms import RewardModelConfig
from redpencil.config.compute import ComputeConfig
from redpencil.config.data import ROWS_OF, PairKind, Rows
from redpencil.config.methods import PPOConfig, RolloutConfig
from redpencil.config.recipe import Recipe
from redpencil.config.training import OptimizerConfig, RewardConfig
from redpencil.errors import RedpencilError
from redpencil.models.chat import first_line
from redpencil.pipeline.context import Context
from redpencil.pipeline.memory import Form, Pass, Role, bytes_of, cache_bytes, layers_of, sizes_of
from redpencil.rounds import unrolled
from redpencil.training.scoring import BATCH_SIZE
from redpencil.training.update import steps_in

RESERVE: Final = 1.0 * 2**30
"""What CUDA and its libraries take on a GPU, and the gaps between tensors. An estimate: no GPU was at hand."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A device: bytes of its memory, operations a second that training reaches, bytes a second from its memory."""

    gpu: bool
    memory: float
    speed: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class StageNeeds:
    """What one process takes for a stage, in bytes, and how long the stage takes, in seconds.

    weights, gradients, optimizer: of all models that are in memory.
    activations: the most that a pass takes beside them, the logits of a chunk included.
    kv_cache: keys and values while responses are sampled; sampling and training do not go on at the same time.
    gathered: sharded weights that are whole for a moment.
    copy: the last good weights; with a GPU they are in main memory, and not part of `total`.
    total: the most at one time.
    steps: None if data decides how many there are, and is not there.
    """

    stage: str
    weights: float
    gradients: float
    optimizer: float
    activations: float
    kv_cache: float
    gathered: float
    copy: float
    total: float
    step_seconds: float
    steps: int | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The stages' needs, and what to change for those that do not fit: (stage, change, bytes after it)."""

    stages: tuple[StageNeeds, ...]
    advice: tuple[tuple[str, str, float], ...]


def read_model_config(folder: Path, config: Path | None, shipped: Path) -> PreTrainedConfig:
    """Read the configuration of a recipe's model: a named file, or that of its folder, or a shipped one of its name.

    Raises:
        RedpencilError: if there is none, or it is none that transformers knows.
    """
    places = [config] if config is not None else [folder / "config.json", shipped / f"{folder.name}.json"]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise RedpencilError(
            f"no configuration of the model is here: {' or '.join(map(str, places))}",
            field="files.model",
            hint="give its config.json, which is a small file on the Hub, with --config FILE",
        )
    try:
        read: PreTrainedConfig = AutoConfig.from_pretrained(str(found), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises nearly anything
        hint = "give the config.json of a model that transformers has"
        raise RedpencilError(f"not a model's configuration ({first_line(error)})", file=found, hint=hint) from error
    return read


def forecast(recipe: Recipe, config: PreTrainedConfig, machine: Machine, share: float = 1.0) -> Forecast:
    """Work out the needs of a recipe's stages, and what to change for those that do not fit into a share of the memory.

    Changes to a stage add up, until it fits or there are none left.
    """
    recipe, room = unrolled(recipe), share * machine.memory
    stages = tuple(_stages(recipe, config, machine))
    advice = []
    for number, stage in enumerate(stages):
        if stage.total > room:
            for text, change in _changes(recipe):
                after = list(_stages(change(recipe), config, machine))[number].total
                advice.append((stage.stage, text, after))
                if after <= room:
                    break
    return Forecast(stages, tuple(advice))


def _changes(recipe: Recipe) -> Iterator[tuple[str, Callable[[Recipe], Recipe]]]:
    """Changes to `compute`, each with those before it."""
    compute = recipe.compute
    values: dict[str, Any] = {}
    for key, value in (
        ("gradient_checkpointing", True),
        ("generation_batch_size", 64),
        ("micro_batch_size", 1),
        ("generation_batch_size", 8),
        ("fsdp", True),
    ):
        now = getattr(compute, key)
        if now == value or (isinstance(now, int) and key.endswith("size") and now < value):
            continue
        values[key] = value
        if key == "fsdp":
            values["processes"] = max(8, compute.processes)
        text = ", ".join(f"compute.{name}={str(one).lower()}" for name, one in values.items())
        yield text, partial(_with, dict(values))


def _with(values: dict[str, Any], recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"compute": recipe.compute.model_copy(update=values)})


class _Estimator:
    """Works out stages of one recipe with one model."""

    def __init__(self, recipe: Recipe, config: PreTrainedConfig, machine: Machine) -> None:
        self.recipe, self.config, self.machine = recipe, config, machine
        self.compute: ComputeConfig = recipe.compute
        self.half = recipe.dtype == "bfloat16" or (recipe.dtype == "auto" and machine.gpu)
        self.text = config.to_json_string(use_diff=False)
        fsdp = self.compute.fsdp
        self.tp = self.compute.tp_size
        self.shards = max(1, self.compute.processes // self.tp) if fsdp is True else int(fsdp or 1)
        lora: Any = getattr(recipe, "lora", None)
        self.lora = None if lora is None else (int(lora.r), lora.target_modules)

    def form(self, role: Role, *, trained: bool, reference: bool = False) -> Form:
        stored_half = self.half and (self.lora is not None or not (trained or reference))
        return Form(
            *(role, trained, self.half, stored_half),
            checkpointing=self.compute.gradient_checkpointing,
            attention=self.compute.attn_implementation,
            lora=self.lora,
        )

    def passing(self, form: Form) -> Form:
        """A form as a pass meets it: sharded weights are gathered in the format of computing, and not kept."""
        return replace(form, stored_half=self.half) if self.shards > 1 else form

    def weights(self, form: Form) -> float:
        """The bytes of a model's weights; with adapters without the base, which all models share."""
        if self.lora is not None:
            return sizes_of(self.text, replace(form, trained=True))[1] * 4.0 / self.shards
        return sizes_of(self.text, form)[0] * (2.0 if form.stored_half else 4.0) / self.shards / self.tp

    def trained(self, form: Form) -> float:
        """The bytes of the gradients of a model's weights, in float32."""
        return sizes_of(self.text, form)[1] * 4.0 / self.shards / self.tp

    def base(self) -> float:
        """The bytes of the base that adapters share."""
        if self.lora is None:
            return 0.0
        form = replace(self.form("policy", trained=False), lora=None)
        return sizes_of(self.text, form)[0] * (2.0 if self.half else 4.0) / self.shards / self.tp

    def gathered(self, form: Form, *, whole: bool) -> float:
        """Sharded weights that are whole at one time: all for sampling, else two layers, embeddings and head."""
        if self.shards == 1:
            return 0.0
        number = 2.0 if self.half else 4.0
        every = sizes_of(self.text, form)[0] / self.tp
        inner: Any = self.config.get_text_config(decoder=True)
        ends = inner.vocab_size * inner.hidden_size * 2 / self.tp
        layer = (every - min(ends, every / 2)) / layers_of(self.config)
        return number * (every if whole else min(every, ends + 2 * layer))

    def packed(self) -> float:
        """The bytes of the copies of the policy's linear layers that sampling computes with (`models.packed`)."""
        if self.machine.gpu or self.half or self.shards * self.tp > 1:
            return 0.0
        every = sizes_of(self.text, replace(self.form("policy", trained=False), lora=None))[0]
        inner: Any = self.config.get_text_config(decoder=True)
        return 4.0 * (every - (0 if inner.tie_word_embeddings else inner.vocab_size * inner.hidden_size))

    def operations(self, form: Form, tokens: float, *, backward: bool = False) -> float:
        """Operations of a pass, by one process."""
        every, trained = sizes_of(self.text, form)
        factor = 2.0
        if backward:
            factor += 4.0 if trained == every else 2.0
            factor += 2.0 * form.checkpointing
        return factor * every * tokens / self.compute.processes

    def needs(
        self,
        stage: str,
        *,
        trained: list[Form],
        frozen: list[Form],
        passes: list[Pass],
        sampling: Pass | None,
        sampled_width: int,
        operations: float,
        sampling_seconds: float,
        steps: int | None,
        after: Pass | None = None,
    ) -> StageNeeds:
        """Add up what models and passes take; `after` is a pass when training is over, with gradients still there."""
        weights = self.base() + sum(map(self.weights, (*trained, *frozen)))
        gradients = sum(map(self.trained, trained))
        activations = max((bytes_of(self.config, one) for one in passes), default=0.0)
        cached, cache = 0.0, 0.0
        if sampling is not None:
            cache = cache_bytes(self.config, sampling.rows, sampled_width, 2 if self.half else 4) / self.tp
            # Prompts are read beside the cache; when it grows, a layer of it is there twice.
            cached = cache + max(bytes_of(self.config, sampling), cache / layers_of(self.config)) + self.packed()
        every = chain(trained, frozen)
        gathered = max((self.gathered(form, whole=sampling is not None) for form in every), default=0.0)
        copy = gradients
        beside = RESERVE if self.machine.gpu else copy
        total = weights + 3 * gradients + gathered + max(activations, cached) + beside
        if after is not None:
            scoring = bytes_of(self.config, after)
            total = max(total, weights + gradients + gathered + scoring + (RESERVE if self.machine.gpu else 0.0))
        return StageNeeds(
            *(stage, weights, gradients, 2 * gradients, activations, cache, gathered, copy, total),
            operations / self.machine.speed + sampling_seconds,
            steps,
        )

    def supervised(
        self,
        stage: str,
        role: Role,
        rows: int,
        width: int,
        config: OptimizerConfig,
        examples: int | None,
        *,
        reference: bool = False,
        sides: int = 1,
    ) -> StageNeeds:
        """A stage that trains on `rows` rows at once, of `width` tokens; `examples` is how many there are, if known."""
        form = self.form(role, trained=True)
        frozen = [self.form(role, trained=False, reference=True)] if reference else []
        one = Pass(self.passing(form), rows * sides, width, width - 1 if role == "policy" else 0)
        tokens = float(config.batch_size * sides * width)
        operations = self.operations(form, tokens, backward=True) + sum(
            self.operations(each, tokens) for each in frozen
        )
        count = config.max_steps
        if count is None and examples is not None and config.num_train_epochs is not None:
            count = steps_in(config.num_train_epochs, examples, config.batch_size, None)
        return self.needs(
            stage,
            trained=[form],
            frozen=frozen,
            passes=[one],
            sampling=None,
            sampled_width=0,
            operations=operations,
            sampling_seconds=0.0,
            steps=count,
            after=self.measuring(config) if isinstance(config, RewardConfig) else None,
        )

    def measuring(self, config: RewardConfig) -> Pass:
        """The pass of a trained reward model over samples of the policy, for their centre and scale."""
        sampling, form = self.recipe.sampling, self.form(config.level, trained=False)
        rows = min(BATCH_SIZE, config.reference_samples)
        return Pass(self.passing(form), rows, sampling.max_prompt_length + sampling.response_length)

    def of_policy(self, stage: str, config: RewardConfig) -> StageNeeds:
        """The stage that measures a reward model which is made of two policies."""
        sampling, form = self.recipe.sampling, self.form("policy", trained=False)
        width, rows = sampling.max_prompt_length + sampling.response_length, min(BATCH_SIZE, config.reference_samples)
        return self.needs(
            stage,
            trained=[],
            frozen=[form, form],
            passes=[Pass(self.passing(form), rows, width, sampling.response_length)],
            sampling=None,
            sampled_width=0,
            operations=2 * self.operations(form, float(config.reference_samples * width)),
            sampling_seconds=0.0,
            steps=1,
        )

    def rollouts(self, stage: str, config: RolloutConfig, rewards: Sequence[RewardModelConfig]) -> StageNeeds:
        """A stage that samples responses, scores them with reward models and learns from them."""
        width, group = config.max_prompt_length + config.response_length, getattr(config, "group_size", 1)
        count = config.rollout_batch_size * group
        at_once = min(self.compute.generation_batch_size or count, math.ceil(count / self.compute.processes))
        rows = self.compute.micro_batch_size or config.batch_size
        policy, value = self.form("policy", trained=True), self.form("token", trained=True)
        trained = [policy, value] if config.value_backbone is not None else [policy]
        frozen = []
        for model, level in zip(rewards, config.reward_levels, strict=False):
            made = model.policy is not None
            frozen += [self.form("policy", trained=False)] * 2 if made else [self.form(level, trained=False)]
        reference = self.form("policy", trained=False, reference=True)
        passes = [
            Pass(self.passing(form), rows, width, config.response_length if form.role == "policy" else 0)
            for form in (*trained, *frozen, reference)
        ]
        tokens = float(count * width)
        epochs = config.ppo_epochs if isinstance(config, PPOConfig) else getattr(config, "grpo_epochs", 1)
        operations = sum(self.operations(form, tokens) for form in (*trained, *frozen, reference))
        operations += epochs * sum(self.operations(form, tokens, backward=True) for form in trained)
        return self.needs(
            stage,
            trained=trained,
            frozen=[*frozen, reference],
            passes=passes,
            sampling=Pass(replace(reference, trained=False), at_once, config.max_prompt_length, cached=True),
            sampled_width=width,
            operations=operations,
            sampling_seconds=self.sampling_seconds(reference, count, at_once, config.response_length),
            steps=config.total_steps,
        )

    def sampling_seconds(self, form: Form, count: int, at_once: int, length: int) -> float:
        """Each token of a batch reads all weights once, or takes the operations of its rows, whichever is slower."""
        every = sizes_of(self.text, form)[0]
        one = max(
            every * (2.0 if self.half else 4.0) / self.machine.bandwidth, 2.0 * every * at_once / self.machine.speed
        )
        return math.ceil(count / self.compute.processes / at_once) * length * one

    def answers(self, stage: str, count: int | None = None) -> StageNeeds:
        """A stage that only samples from a policy; `count` responses, if that is known."""
        sampling = self.recipe.sampling
        at_once = self.recipe.answers_at_once
        form = self.form("policy", trained=False)
        return self.needs(
            stage,
            trained=[],
            frozen=[form],
            passes=[],
            sampling=Pass(form, at_once, sampling.max_prompt_length, cached=True),
            sampled_width=sampling.max_prompt_length + sampling.response_length,
            operations=0.0,
            steps=None if count is None else math.ceil(count / self.compute.processes / at_once),
            sampling_seconds=self.sampling_seconds(
                form, at_once * self.compute.processes, at_once, sampling.response_length
            ),
        )


def _stages(recipe: Recipe, config: PreTrainedConfig, machine: Machine) -> Iterator[StageNeeds]:
    work, files, rows = _Estimator(recipe, config, machine), recipe.files, recipe.compute.micro_batch_size
    if files is None or files.sft is not None:
        examples = None if files is None else _lines(files.sft)
        at_once = rows or recipe.sft.batch_size
        yield work.supervised("sft", "policy", at_once, recipe.sft.max_length, recipe.sft, examples)
    if recipe.arms:
        yield work.answers("responses")
    for name, model in recipe.reward_models.items():
        reward, stage = recipe.reward_config(name), f"reward-{name}"
        if model.policy is not None:
            yield work.of_policy(stage, reward)
        elif model.trains:
            at_once, width = rows or reward.batch_size, recipe.align.max_length
            pairs = _pairs(recipe, model.pairs, recipe.sources(model))
            yield work.supervised(stage, reward.level, at_once, width, reward, pairs, sides=2)
    for name, arm in recipe.arms.items():
        options = recipe.options(name)
        stage = f"{arm.row.name}-{name}"
        if isinstance(options, RolloutConfig):
            yield work.rollouts(stage, options, [recipe.reward_models[model] for model in arm.reward_model_names])
        elif isinstance(options, OptimizerConfig):
            kind = arm.learns_from
            pairs = None if kind is None else _pairs(recipe, kind, recipe.sources(arm))
            width, at_once = recipe.align.max_length, rows or options.batch_size
            yield work.supervised(stage, "policy", at_once, width, options, pairs, reference=True, sides=2)
        if name in recipe.edited_arms:
            yield work.answers(f"samples-{name}", _answers(recipe, name))


def _answers(recipe: Recipe, arm: str) -> int | None:
    """How many answers of an arm are sampled to be edited."""
    edits = _annotated(recipe, "edits", arm)
    if edits is None or recipe.world is not None:
        return None if edits is None else 2 * edits
    return max(edits, Context(recipe, Path(), 0).scale_samples(arm))


def _pairs(recipe: Recipe, kind: PairKind, sources: Sequence[str | None]) -> int | None:
    """About how many pairs there are to learn from; None if that is not known before the stages that make them."""
    counts = [_annotated(recipe, ROWS_OF[kind], source) for source in sources]
    known = [count for count in counts if count is not None]
    return None if kind == "hunks" or len(known) < len(counts) else sum(known)


def _annotated(recipe: Recipe, rows: Rows, source: str | None) -> int | None:
    """About how many edits or comparisons there are of an arm's answers, or for None of the recipe's data."""
    own = None if source is None else recipe.arms[source].edits
    if own is not None:
        return own
    if recipe.files is None:
        return None if recipe.world is None else recipe.world.comparisons
    kind: Rows = rows if source is None else "edits"
    count = _lines(getattr(recipe.files, kind))
    return None if count is None else max(1, round(recipe.files.trained_share(kind) * count))


def _lines(file: Path | None) -> int | None:
    if file is None or not file.is_file():
        return None
    with file.open("rb") as lines:
        return sum(1 for _ in lines)
