"""A whole recipe, and what must fit together in it."""

import json
from collections.abc import Mapping
from datetime import date
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from redpencil.config.arms import (
    ArmConfig,
    RewardModelConfig,
    check_entry_name,
    paper_arms,
    paper_reward_models,
    refuse_computed,
)
from redpencil.config.asked import EditorConfig, JudgeConfig
from redpencil.config.compute import MOVED, ComputeConfig, RewardLevel
from redpencil.config.data import ROWS_OF, FilesConfig, PairKind, WorldConfig
from redpencil.config.methods import (
    BestOfNConfig,
    DistillConfig,
    DPOConfig,
    FIGAConfig,
    GRPOConfig,
    PPOConfig,
    RolloutConfig,
    SamplingConfig,
)
from redpencil.config.training import COMPUTED, AlignConfig, LoraConfig, RewardConfig, SFTConfig, Trained
from redpencil.sections import Section, mistake

CHAT_DATE: Final = date(2024, 7, 26)
"""The day that chat templates take for today: the one that those of Llama 3 fall back on."""
CHAT_OWN: Final = frozenset(
    (
        *("messages", "conversation", "chat_template", "add_generation_prompt", "continue_final_message"),
        *("strftime_now", "tokenize", "tokenizer_kwargs", "padding", "truncation", "max_length"),
        *("return_tensors", "return_dict", "return_assistant_tokens_mask", "sanitize_control_tokens"),
    )
)
"""What a chat template is rendered with that is no variable of a user's."""


class AlarmsConfig(Section):
    """Limits at which a run warns, in its log, its report and `results.json`. A warning does not stop it."""

    reward_accuracy: float = Field(
        70.0,
        ge=0,
        le=100,
        description="A reward model's accuracy on held-out pairs of its kind under this, in percent.",
    )
    win_rate_gain: float = Field(
        0.0, description="A win rate above the SFT policy's by no more than this, in percent points."
    )
    kl: float = Field(
        0.35, gt=0, description="KL from the policy that training started from above this, in nats a response token."
    )
    length_ratio: float = Field(
        1.4, gt=1, description="Responses to the validation prompts longer or shorter than before by this factor."
    )
    reward_spread: float = Field(
        0.2, ge=0, description="Standard deviation of the responses' rewards under this share of the first one."
    )
    value_loss: float = Field(10.0, gt=1, description="Value loss above this many times its median so far.")
    entropy: float = Field(
        0.3, ge=0, lt=1, description="Entropy of the policy's next token under this share of the first one."
    )
    overoptimisation: float = Field(
        5.0,
        ge=0,
        description="Win rate on the validation prompts this many points under its best, while the reward is higher.",
    )


_OF_THE_WORLD: Final = {"oracle": "the oracle", "scripted": "the scripted editor"}


class Recipe(Section):
    """A whole experiment: one run folder for each seed."""

    name: str = Field("run", description="Name of the run and of its folder.")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="A run has one complete run for each seed.")
    rounds: int = Field(
        1,
        gt=0,
        le=100,
        description="How often policies answer, are edited and learn. After the first round each trained arm `a` is "
        "followed by `a_2`, `a_3` ..., which start from the one before, on edits of its answers, and whose reward "
        "models learn from these too. The edits are divided: world.comparisons, or the training edits, by the rounds.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on a GPU, float32 on the CPU."
    )
    checkpoint_dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Format in which trained weights are written. bfloat16 halves checkpoints, and rounds what later "
        "stages start from; training itself keeps float32 weights, also in its saved states.",
    )
    prompt_template: str = Field(
        "{prompt}", description="Text around a prompt; `chat` uses the tokenizer's chat template."
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="Variables that the chat template gets, such as {enable_thinking: false}, a system prompt of its "
        "own, or tools; one that it does not know is ignored.",
    )
    chat_template_date: date = Field(
        CHAT_DATE,
        description="Today, for chat templates that write the date; a clock would change the tokens each day.",
    )
    world: WorldConfig | None = Field(None, description="The self-contained world; either this or `files`.")
    files: FilesConfig | None = Field(None, description="Your own data; either this or `world`.")
    compute: ComputeConfig = Field(default_factory=ComputeConfig)
    lora: LoraConfig | None = Field(None, description="Train adapters on a frozen base; null trains all weights.")
    sft: SFTConfig = Field(default_factory=SFTConfig)
    align: AlignConfig = Field(default_factory=AlignConfig)
    reward: RewardConfig = Field(default_factory=RewardConfig)
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    ppo: PPOConfig = Field(default_factory=PPOConfig)
    grpo: GRPOConfig = Field(default_factory=GRPOConfig)
    best_of_n: BestOfNConfig = Field(default_factory=BestOfNConfig)
    dpo: DPOConfig = Field(default_factory=DPOConfig)
    figa: FIGAConfig = Field(default_factory=FIGAConfig)
    distill: DistillConfig = Field(default_factory=DistillConfig)
    reward_models: dict[str, RewardModelConfig] = Field(
        default_factory=paper_reward_models, description="Reward models by name; default: the paper's three."
    )
    arms: dict[str, ArmConfig] = Field(
        default_factory=paper_arms,
        description="The policies that a run trains or chooses, by name; each is a row of Table 1. `{}`: reward models "
        "alone.",
    )
    judge: JudgeConfig | None = Field(None, description="Who judges. Default: the world's oracle, or files.judge.")
    editor: EditorConfig | None = Field(
        None, description="Who edits answers. Default: the world's scripted editor, or the references of the prompts."
    )
    alarms: AlarmsConfig = Field(default_factory=AlarmsConfig)

    @property
    def formats(self) -> dict[str, str]:
        """The number formats that decide what stages compute and write, for their fingerprints."""
        written = {} if self.checkpoint_dtype == "float32" else {"checkpoint_dtype": self.checkpoint_dtype}
        return {"dtype": self.dtype, **written}

    @field_validator("chat_template_kwargs")
    @classmethod
    def _not_set_here(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        for name in kwargs:
            if name in CHAT_OWN:
                raise ValueError(f"{name} cannot be given: redpencil sets it itself")
        try:
            json.dumps(kwargs, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a value is not one of JSON ({error}); quote it") from None
        return kwargs

    @property
    def chat_options(self) -> dict[str, Any]:
        """How the chat template is filled, as options of `load_codec`."""
        return {"chat_template_kwargs": self.chat_template_kwargs, "chat_template_date": self.chat_template_date}

    @model_validator(mode="before")
    @classmethod
    def _keys_that_moved(cls, data: Any) -> Any:
        """Accept device, threads and jobs at the top level, as before version 0.2; refuse sections' own keys."""
        if not isinstance(data, Mapping):
            return data
        for name, section in data.items():
            if name != "compute":
                refuse_computed(cls.__name__, section, str(name))
        old = {key: data[key] for key in MOVED if key in data}
        if not old:
            return data
        compute = data.get("compute") or {}
        if not isinstance(compute, Mapping):
            raise ValueError(f"write {next(iter(old))} as a key of `compute`")
        twice = [key for key, value in old.items() if key in compute and compute[key] != value]
        if twice:
            raise ValueError(f"{twice[0]} and compute.{twice[0]} differ; write it once, as compute.{twice[0]}")
        return {**{key: value for key, value in data.items() if key not in old}, "compute": {**compute, **old}}

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if (self.world is None) == (self.files is None):
            raise ValueError("give exactly one of `world` and `files`")
        self._check_judge()
        if self.name.strip() in ("", ".", "..") or set(self.name) & set("/\\\0"):
            raise ValueError(f"the name {self.name!r} cannot name a folder")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("`seeds` has the same seed twice")
        for seed in self.seeds:
            if not -(2**63) <= seed < 2**63:
                raise ValueError(f"the seed {seed} in `seeds` needs more than 64 bits")
        for section, names in (("arms", self.arms), ("reward_models", self.reward_models)):
            for name in names:
                check_entry_name(section, name)
        for name in self.arms:
            self._check_arm(name)
        self._check_starts()
        self._check_policies()
        self._check_needed_files()
        return self

    def _check_judge(self) -> None:
        if self.files is not None and self.judge is not None and self.files.judge is not None:
            raise ValueError("files.judge and judge both name a judge; leave files.judge out")
        for name, section in (("judge", self.judge), ("editor", self.editor)):
            rule = None if section is None else section.rule
            problem = None
            if self.files is not None and rule in _OF_THE_WORLD:
                problem = f"{_OF_THE_WORLD[rule]} knows the small world alone"
            elif self.world is not None and rule == "references":
                problem = "the prompts of the small world have no references"
            if problem is not None:
                raise mistake("Recipe", problem, (name, "rule"), rule, "name another")

    @property
    def who_judges(self) -> JudgeConfig:
        """The judge: that of the section, the world's oracle, or the reward model of `files.judge`."""
        if self.judge is not None:
            return self.judge
        if self.files is None:
            return JudgeConfig(rule="oracle")
        # A run without arms has nothing to judge, and may name nobody.
        return JudgeConfig(folder=self.files.judge) if self.files.judge is not None else JudgeConfig.model_construct()

    def _check_needed_files(self) -> None:
        """Refuse a recipe on a user's files that lacks one which its arms or reward models need."""
        if self.files is None:
            return
        of_arms = ("prompts", "validation_prompts", "evaluation_prompts", "judge") if self.arms else ()
        for key in (*of_arms, *(("comparisons",) if "comparisons" in self.learned_pairs else ())):
            if getattr(self.files, key) is None and not (key == "judge" and self.judge is not None):
                reason = "reward models or arms learn from them" if key == "comparisons" else "there are `arms`"
                hint = f"add files.{key} to the recipe or with --set" + (
                    "" if key == "comparisons" else "; or set arms={}"
                )
                hint += ", or name another judge in a section judge" if key == "judge" else ""
                raise mistake("Recipe", f"field required, since {reason}", ("files", key), None, hint)

    def _check_starts(self) -> None:
        """Refuse a reward model that starts from one which is not trained before it, or has another shape."""
        above: list[str] = []
        for name, model in self.reward_models.items():
            place, start = f"reward_models.{name}.start", model.start
            if start is not None:
                if start not in above:
                    raise ValueError(f"{place} names {start!r}; further up there are: {', '.join(above) or 'none'}")
                if self.reward_models[start].policy is not None:
                    raise ValueError(
                        f"{place} names {start!r}, which is made of two policies: nothing can go on from it"
                    )
                own, other = self.reward_config(name), self.reward_config(start)
                if own.level != other.level:
                    raise ValueError(f"{place} names {start!r}, which is of level {other.level}, not {own.level}")
                if own.level == "token" and self.reward_models[start].folder is None:
                    if bool(own.ranking) != bool(other.ranking):
                        raise ValueError(
                            f"{place} names {start!r}: both need `ranking`, or neither, for the same heads"
                        )
                    if own.read_twice != other.read_twice:
                        raise ValueError(f"{place} names {start!r}: both need the same `read_twice`")
            above.append(name)

    def _check_policies(self) -> None:
        """Refuse an arm or a reward model that takes a policy from an arm which is not there, or waits for itself."""
        entries: list[tuple[str, str, ArmConfig | RewardModelConfig]]
        entries = [("arms", name, arm) for name, arm in self.arms.items()]
        entries += [("reward_models", name, model) for name, model in self.reward_models.items()]
        for section, name, entry in entries:
            for key in ("start", "on") if section == "arms" else ("on", "policy"):
                arm = getattr(entry, key)
                if arm is None:
                    continue
                others = [
                    other for other, row in self.arms.items() if row.row.trains and (section, name) != ("arms", other)
                ]
                hint = f"name another arm that is trained: {', '.join(others)}" if others else f"leave {key} out"
                if arm not in self.arms:
                    raise mistake("Recipe", f"there is no arm {arm!r}", (section, name, key), arm, hint)
                if not self.arms[arm].row.trains:
                    problem = f"the arm {arm!r} has no policy of its own: {self.arms[arm].method} trains nothing"
                    raise mistake("Recipe", problem, (section, name, key), arm, hint)
            if entry.on is not None and self.world is None:
                kind = entry.learns_from if isinstance(entry, ArmConfig) else entry.pairs
                if kind == "comparisons":
                    problem = (
                        f"nobody compares the answers of {entry.on!r}: only the small world has comparisons of them"
                    )
                    raise mistake("Recipe", problem, (section, name, "on"), entry.on, "learn from edits of them")
            if isinstance(entry, RewardModelConfig) and entry.policy is not None:
                kind = self.arms[entry.policy].learns_from
                if kind is not None and ROWS_OF[kind] != ROWS_OF[entry.pairs]:
                    problem = f"the arm {entry.policy!r} learns from {kind}, and pairs says {entry.pairs}"
                    raise mistake("Recipe", problem, (section, name, "policy"), entry.policy, f"write pairs: {kind}")
        for name, arm in self.arms.items():
            if arm.edits is not None and self.rounds == 1 and name not in self.edited_arms:
                problem = f"nothing learns `on` the answers of {name!r}, so none of them are edited"
                raise mistake("Recipe", problem, ("arms", name, "edits"), arm.edits, "leave edits out")
        try:
            TopologicalSorter(self._waits_for()).prepare()
        except CycleError as error:
            needs = list(reversed(error.args[1]))
            arm, other = next((one, two) for one, two in pairwise(needs) if one.startswith("arms."))
            section, _, name = other.partition(".")
            keys = ("start", "on") if section == "arms" else ("reward_model", "sequence_reward_model")
            row = self.arms[arm.removeprefix("arms.")]
            place = (*arm.split(".", 1), next(key for key in keys if getattr(row, key) == name))
            problem = f"an arm waits for itself: {' needs '.join(needs)}"
            raise mistake("Recipe", problem, place, None, "let one of them start from, or learn on, another") from None

    def _waits_for(self) -> dict[str, list[str]]:
        """By arm and reward model, those that are trained before it."""
        waits: dict[str, list[str]] = {}
        for name, arm in self.arms.items():
            policies = [f"arms.{other}" for other in (arm.start, arm.on) if other is not None]
            waits[f"arms.{name}"] = [*policies, *(f"reward_models.{model}" for model in arm.reward_model_names)]
        for name, model in self.reward_models.items():
            waits[f"reward_models.{name}"] = [f"arms.{arm}" for arm in (model.on, model.policy) if arm is not None]
            waits[f"reward_models.{name}"] += [] if model.start is None else [f"reward_models.{model.start}"]
        return waits

    def lineage(self, arm: str) -> tuple[str, ...]:
        """An arm and those from which it comes by `start`, the first one first."""
        before = self.arms[arm].start
        return (*(self.lineage(before) if before is not None else ()), arm)

    @property
    def edited_arms(self) -> tuple[str, ...]:
        """The arms of whose answers something learns, in the recipe's order."""
        used = {arm.on for arm in self.arms.values()} | {model.on for model in self.reward_models.values()}
        return tuple(arm for arm in self.arms if arm in used)

    def sources(self, entry: "ArmConfig | RewardModelConfig") -> tuple[str | None, ...]:
        """Of whose answers the pairs are that an arm or a reward model learns from: arms, and None for the data's."""
        if entry.on is None or not entry.replay:
            return (entry.on,)
        return (None, *(arm for arm in self.lineage(entry.on) if arm in self.edited_arms))

    def beta_of(self, arm: str) -> float:
        """The weight of the log-ratio of an arm's policy where it is taken for a reward: that of DPO, else 1."""
        options = self.options(arm)
        return float(options.beta) if isinstance(options, DPOConfig) else 1.0

    def _check_arm(self, name: str) -> None:
        arm, options = self.arms[name], self.options(name)
        levels: tuple[RewardLevel | None, ...] = (None,)
        described = f"method={arm.method}"
        if isinstance(options, RolloutConfig):
            levels, described = options.reward_levels, f"reward={options.reward}"
            if len(arm.reward_model_names) < len(levels):
                raise ValueError(f"arms.{name} with {described} needs a sequence_reward_model")
        for model, level in zip(arm.reward_model_names, levels, strict=False):
            if model not in self.reward_models:
                known = ", ".join(self.reward_models)
                raise ValueError(f"arms.{name} with {described} names {model!r}; reward_models has: {known}")
            if level is not None and self.reward_config(model).level != level:
                raise ValueError(f"arms.{name} needs a reward model of level {level} where it names {model}")

    @property
    def learned_pairs(self) -> frozenset[PairKind]:
        """The kinds of pairs that arms and reward models learn from."""
        models = (model for model in self.reward_models.values() if model.folder is None)
        return frozenset([arm.learns_from for arm in self.arms.values() if arm.learns_from is not None]).union(
            model.pairs for model in models
        )

    @property
    def further_pairs(self) -> tuple[PairKind, ...]:
        """The kinds of pairs that are made of training edits beside the whole ones, for what learns from them."""
        return tuple(kind for kind, rows in ROWS_OF.items() if kind != rows and kind in self.learned_pairs)

    @property
    def aligns(self) -> dict[str, Any]:
        """What decides how edits and comparisons become pairs, for fingerprints."""
        further: dict[str, Any] = dict.fromkeys(self.further_pairs, True)
        # It was a key of `align` once, and stands in the fingerprints of what was aligned then.
        return {**self.align.model_dump(), "hunks": False, **further}

    @property
    def answers_at_once(self) -> int:
        """How many prompts a model answers at once, except in rollouts."""
        return self.compute.generation_batch_size or self.sampling.batch_size

    def computed(self, config: Trained) -> Trained:
        """The config of a training stage with what `compute` says about its batches, and with `lora`."""
        return config.model_copy(update={**{key: getattr(self.compute, key) for key in COMPUTED}, "lora": self.lora})

    def reward_config(self, name: str) -> RewardConfig:
        """The options of one reward model: `reward` with what differs for it."""
        model = self.reward_models[name]
        of_policy = {} if model.policy is None else {"level": "token"}
        return RewardConfig.model_validate({**self.reward.model_dump(), **model.reward, **of_policy})

    def options(self, arm: str) -> Any:
        """The options of one arm: an instance of its method's config, with what differs for the arm."""
        row = self.arms[arm].row
        return row.config.model_validate({**getattr(self, row.name).model_dump(), **self.arms[arm].options})
