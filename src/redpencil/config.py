"""What a recipe may say: each option lives here once, with its default and its help text.

Names follow TRL where TRL has the option. `redpencil.recipe` reads recipes from YAML.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from redpencil.sections import Section

RewardLevel = Literal["token", "sequence"]
RewardKind = Literal["token", "sequence", "both", "token_mean_at_end"]
KLEstimator = Literal["k1", "k2", "k3"]


class OptimizerConfig(Section):
    """What every training stage has in common. Defaults are those of the paper's setting (LLaMA-7B, AlpacaFarm)."""

    learning_rate: float = Field(2e-5, gt=0, description="Peak learning rate of AdamW.")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "cosine", description="Shape of the learning rate after warm-up."
    )
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="Share of the steps over which the rate rises from 0.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay.")
    adam_epsilon: float = Field(1e-8, gt=0, description="AdamW epsilon.")
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="AdamW decay of the squared gradient.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    batch_size: int = Field(128, gt=0, description="Examples an optimiser step sees.")
    micro_batch_size: int | None = Field(
        None, gt=0, description="Examples a forward pass sees; the rest is accumulated. Default: the whole batch."
    )


class SFTConfig(OptimizerConfig):
    """Supervised fine-tuning; the loss counts response tokens only."""

    num_train_epochs: float = Field(3, gt=0, description="Passes over the data, unless max_steps is set.")
    max_steps: int | None = Field(None, gt=0, description="Optimiser steps; overrides num_train_epochs.")
    max_length: int = Field(512, gt=1, description="Prompt and response together, in tokens; longer rows are skipped.")


class AlignConfig(Section):
    """From two texts to token masks (section 2.2 of the paper)."""

    alignment: Literal["lcs", "positional"] = Field(
        "lcs",
        description="lcs aligns words by longest common subsequence; positional compares index by index, the paper's "
        "literal reading.",
    )
    anchor: Literal["none", "divergence"] = Field(
        "none",
        description="divergence also marks the first token after a pure insertion (original side, blame) or a pure "
        "deletion (edited side, credit).",
    )
    eos_in_changed: bool = Field(
        False,
        description="Whether the end-of-sequence token may be changed: the original's when text was appended, the "
        "edit's when the end was cut.",
    )
    max_length: int = Field(512, gt=1, description="Prompt and response together, in tokens; longer rows are skipped.")


class RewardConfig(OptimizerConfig):
    """A reward model: Eq. 1-4 per token, or Bradley-Terry per sequence."""

    level: RewardLevel = Field("token", description="token: a reward for every token; sequence: one for the response.")
    loss: Literal["eq3", "eq4"] = Field(
        "eq4", description="Token level only. eq3: difference of the mean rewards; eq4: changed tokens only."
    )
    scale: float = Field(
        1.0, gt=0, description="Factor on the margin. 1 is the paper; about the mean length lets a new head learn."
    )
    zero_penalty: float = Field(0.0, ge=0, description="Weight of the mean of r^2 over unchanged tokens.")
    consistency: float = Field(0.0, ge=0, description="Weight of the mean of (r_i - r_j)^2 over unchanged pairs.")
    num_train_epochs: float = Field(1, gt=0, description="Passes over the pairs.")
    max_steps: int | None = Field(None, gt=0, description="Optimiser steps; overrides num_train_epochs.")
    reference_samples: int = Field(
        256, gt=1, description="Responses of the SFT policy on which centre and scale are measured."
    )
    learning_rate: float = Field(3e-6, gt=0, description="Peak learning rate of AdamW.")
    batch_size: int = Field(16, gt=0, description="Pairs an optimiser step sees.")


class SamplingConfig(Section):
    """How a policy answers."""

    temperature: float = Field(1.0, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling; 1 is off.")
    response_length: int = Field(300, gt=0, description="Most tokens in a response.")
    max_prompt_length: int = Field(192, gt=0, description="Most tokens in a prompt; longer prompts are skipped.")
    batch_size: int = Field(64, gt=0, description="Prompts answered side by side.")


class PPOConfig(Section):
    """PPO on dense or terminal rewards. Defaults are those of the paper's setting."""

    reward: RewardKind = Field(
        "token",
        description="token: r_t at every token; sequence: one reward at the end; both: their sum; token_mean_at_end: "
        "the mean token reward, paid at the end.",
    )
    center_rewards: bool = Field(
        True, description="Subtract the centre measured on samples of the SFT policy (per token or per sequence)."
    )
    scale_rewards: bool = Field(
        True,
        description="Divide by the measured scale, so that a response's reward, if centred, has unit variance.",
    )
    reward_clip: float | None = Field(None, gt=0, description="Clip each scaled reward to this magnitude.")
    kl_term: Literal["per_token", "terminal", "none"] = Field(
        "per_token", description="Where the KL penalty to the SFT policy is paid; none is the paper's literal reading."
    )
    kl_estimator: KLEstimator = Field(
        "k1", description="k1: log ratio; k2: half its square; k3: low variance, positive."
    )
    kl_coef: float = Field(0.02, ge=0, description="Weight of the KL penalty, or where an adaptive one starts.")
    kl_target: float | None = Field(None, gt=0, description="Adapt kl_coef towards this KL per response, in nats.")
    kl_horizon: int = Field(10_000, gt=0, description="Responses over which an adaptive kl_coef moves.")
    missing_eos_penalty: float = Field(0.0, ge=0, description="Subtracted at the last token of an unfinished response.")
    whiten_rewards: bool = Field(False, description="Scale rewards to unit variance over the response tokens.")
    whiten_advantages: bool = Field(True, description="Whiten advantages over the response tokens.")
    gamma: float = Field(1.0, gt=0, le=1, description="Discount.")
    gae_lambda: float = Field(1.0, ge=0, le=1, description="Trace decay of generalised advantage estimation.")
    cliprange: float = Field(0.2, gt=0, description="Clip of the probability ratio.")
    cliprange_value: float = Field(0.2, gt=0, description="Clip of the value's change.")
    vf_coef: float = Field(0.1, gt=0, description="Factor on the value loss.")
    ppo_epochs: int = Field(2, gt=0, description="Passes over each batch of rollouts.")
    total_steps: int = Field(40, gt=0, description="Batches of rollouts.")
    rollout_batch_size: int = Field(512, gt=0, description="Prompts answered at each step.")
    batch_size: int = Field(256, gt=0, description="Rollouts an optimiser step sees.")
    micro_batch_size: int | None = Field(
        None, gt=0, description="Rollouts a forward pass sees; the rest is accumulated. Default: the whole batch."
    )
    learning_rate: float = Field(1e-5, gt=0, description="Peak learning rate of the policy.")
    value_learning_rate: float | None = Field(None, gt=0, description="Of the value model; default: learning_rate.")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "linear", description="Shape of the learning rate after warm-up."
    )
    warmup_steps: int = Field(5, ge=0, description="PPO steps over which the rate rises from 0.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay.")
    adam_epsilon: float = Field(1e-5, gt=0, description="AdamW epsilon.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    value_init: Literal["policy", "reward"] = Field(
        "reward", description="Backbone of the value model: the SFT policy or the reward model; its head starts at 0."
    )
    value_warmup_steps: int = Field(0, ge=0, description="First PPO steps that train the value model alone.")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature of the rollouts.")
    response_length: int = Field(300, gt=0, description="Most tokens in a response.")
    max_prompt_length: int = Field(192, gt=0, description="Most tokens in a prompt; longer prompts are skipped.")
    eval_steps: int = Field(10, gt=0, description="Evaluate on the validation prompts every so many steps.")


class WorldConfig(Section):
    """The self-contained world that stands in for data, annotators and judge."""

    facts_seed: int = Field(0, description="Seed of the facts and misconceptions.")
    sft_examples: int = Field(6000, gt=0, description="Rows of the flawed corpus.")
    train_prompts: int = Field(2500, gt=0, description="Prompts for preferences, edits and PPO.")
    validation_prompts: int = Field(300, gt=0, description="Prompts on which PPO is watched.")
    evaluation_prompts: int = Field(600, gt=0, description="Prompts of Table 1.")
    comparisons: int = Field(4000, gt=0, description="Preference pairs, and as many edit pairs, to train on.")
    test_comparisons: int = Field(600, gt=0, description="Held-out pairs for Table 2.")
    label_flip: float = Field(0.25, ge=0, lt=0.5, description="Share of preference labels flipped at random.")
    edit_repair: float = Field(0.7, gt=0, le=1, description="Probability that an editor repairs a flaw.")
    edit_slip: float = Field(0.05, ge=0, lt=1, description="Probability of an edit for nothing or for harm.")
    reference_steps: int = Field(60, gt=0, description="Training steps of the reference policy on cleaner text.")
    reference_learning_rate: float = Field(1e-3, gt=0, description="Learning rate of that training.")
    hidden_size: int = Field(96, gt=0, description="Width of the language model.")
    intermediate_size: int = Field(256, gt=0, description="Width of its feed-forward layers.")
    num_hidden_layers: int = Field(2, gt=0, description="Its depth.")
    num_attention_heads: int = Field(4, gt=0, description="Its attention heads.")
    initializer_range: float = Field(0.06, gt=0, description="Standard deviation of its first weights.")


class FilesConfig(Section):
    """A user's own data in place of the world. Relative paths of a recipe start at the recipe's folder."""

    model: Path = Field(description="Folder of the base or SFT model, as Hugging Face saves it.")
    sft: Path | None = Field(None, description="JSONL of prompt and response; without it `model` is the SFT policy.")
    comparisons: Path = Field(description="JSONL of preference pairs; the less preferred side is what gets edited.")
    edits: Path = Field(description="JSONL of edits.")
    prompts: Path = Field(description="JSONL of prompts for PPO.")
    validation_prompts: Path = Field(description="JSONL of prompts on which PPO is watched.")
    evaluation_prompts: Path = Field(description="JSONL of prompts for the win rate.")
    reference_outputs: Path | None = Field(
        None, description="JSONL of the reference's responses; without it the SFT policy is the reference."
    )
    judge: Path = Field(description="Folder of a sequence or token reward model that judges.")
    test_share: float = Field(0.1, gt=0, lt=1, description="Share of comparisons and edits held out for Table 2.")


FILE_KEYS: Final = tuple(key for key in FilesConfig.model_fields if key != "test_share")
"""The keys of `files` that are paths."""


class ArmConfig(Section):
    """One row of Table 1: which reward model, and what differs from the recipe's `ppo`."""

    reward_model: str = Field(description="Name of an entry of `reward_models`.")
    sequence_reward_model: str | None = Field(
        None, description="With ppo.reward = both: the sequence-level entry beside the token-level `reward_model`."
    )
    ppo: dict[str, Any] = Field(default_factory=dict, description="Keys of `ppo` that differ for this arm.")

    @field_validator("ppo")
    @classmethod
    def _keys_of_ppo(cls, differing: dict[str, Any]) -> dict[str, Any]:
        return PPOConfig.model_validate(differing).model_dump(exclude_unset=True)


class RewardModelConfig(Section):
    """One reward model of the recipe."""

    pairs: Literal["edits", "comparisons"] = Field(description="What it learns from.")
    reward: dict[str, Any] = Field(default_factory=dict, description="Keys of `reward` that differ for this model.")

    @field_validator("reward")
    @classmethod
    def _keys_of_reward(cls, differing: dict[str, Any]) -> dict[str, Any]:
        return RewardConfig.model_validate(differing).model_dump(exclude_unset=True)


def _paper_reward_models() -> dict[str, RewardModelConfig]:
    return {
        "token_edits": RewardModelConfig(pairs="edits", reward={"level": "token"}),
        "sequence_edits": RewardModelConfig(pairs="edits", reward={"level": "sequence"}),
        "sequence_comparisons": RewardModelConfig(pairs="comparisons", reward={"level": "sequence"}),
    }


def _paper_arms() -> dict[str, ArmConfig]:
    return {
        "token": ArmConfig(reward_model="token_edits", ppo={"reward": "token"}),
        "edits": ArmConfig(reward_model="sequence_edits", ppo={"reward": "sequence"}),
        "preference": ArmConfig(reward_model="sequence_comparisons", ppo={"reward": "sequence"}),
    }


RESERVED: Final[Mapping[str, frozenset[str]]] = {
    "arms": frozenset({"sft", "reference"}),
    "reward_models": frozenset(
        {"policy", "prompts", "validation_prompts", "reference", "judge", "judgements", "align", "annotations"}
        | {"shorter_wins"}
    ),
}
"""Names of entries that results and stages need for something else."""


def _check_entry_name(section: str, name: str) -> None:
    """Entries name folders of the run, so a name must not lead out of it or hide there."""
    if not name.strip() or set(name) & set("/\\\0") or name.endswith(".partial"):
        raise ValueError(f"{section} has an entry called {name!r}, which cannot name a folder")
    if name in RESERVED[section]:
        raise ValueError(f"{section} has an entry called {name!r}, a name that redpencil uses itself")


class Recipe(Section):
    """A whole experiment: one run folder for each seed."""

    name: str = Field("run", description="Name of the run and of its folder.")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="One whole run for each.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N; auto takes a GPU where there is one.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on a GPU, float32 on the CPU."
    )
    threads: int | None = Field(
        1,
        gt=0,
        le=1024,
        description="CPU threads of each stage. One is fastest for small models; two on busy cores can be 20x slower.",
    )
    jobs: int | None = Field(
        None, gt=0, description="Independent stages run side by side; default: one a CPU core, one on a GPU."
    )
    prompt_template: str = Field(
        "{prompt}", description="Text around a prompt; `chat` uses the tokenizer's chat template."
    )
    world: WorldConfig | None = Field(None, description="The self-contained world; either this or `files`.")
    files: FilesConfig | None = Field(None, description="A user's own data; either this or `world`.")
    sft: SFTConfig = Field(default_factory=SFTConfig)
    align: AlignConfig = Field(default_factory=AlignConfig)
    reward: RewardConfig = Field(default_factory=RewardConfig)
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    ppo: PPOConfig = Field(default_factory=PPOConfig)
    reward_models: dict[str, RewardModelConfig] = Field(
        default_factory=_paper_reward_models, description="Reward models by name; default: the paper's three."
    )
    arms: dict[str, ArmConfig] = Field(default_factory=_paper_arms, description="Rows of Table 1 by name.")

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if (self.world is None) == (self.files is None):
            raise ValueError("give exactly one of `world` and `files`")
        if self.name.strip() in ("", ".", "..") or set(self.name) & set("/\\\0"):
            raise ValueError(f"the name {self.name!r} cannot name a folder")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed stands twice in `seeds`")
        for seed in self.seeds:
            if not -(2**63) <= seed < 2**63:
                raise ValueError(f"the seed {seed} in `seeds` needs more than 64 bits")
        for section, names in (("arms", self.arms), ("reward_models", self.reward_models)):
            for name in names:
                _check_entry_name(section, name)
        for name in self.arms:
            self._check_arm(name)
        return self

    def _check_arm(self, name: str) -> None:
        arm, reward = self.arms[name], self.ppo_config(name).reward
        wanted: list[tuple[str, RewardLevel]] = [(arm.reward_model, "sequence" if reward == "sequence" else "token")]
        if reward == "both":
            if arm.sequence_reward_model is None:
                raise ValueError(f"arms.{name} with reward=both needs a sequence_reward_model")
            wanted.append((arm.sequence_reward_model, "sequence"))
        for model, level in wanted:
            if model not in self.reward_models:
                known = ", ".join(self.reward_models)
                raise ValueError(f"arms.{name} with reward={reward} names {model!r}; reward_models has: {known}")
            if self.reward_config(model).level != level:
                raise ValueError(f"arms.{name} needs a reward model of level {level} where it names {model}")

    def reward_config(self, name: str) -> RewardConfig:
        """The options of one reward model: `reward` with what differs for it."""
        return RewardConfig.model_validate({**self.reward.model_dump(), **self.reward_models[name].reward})

    def ppo_config(self, arm: str) -> PPOConfig:
        """The options of one arm: `ppo` with what differs for it."""
        return PPOConfig.model_validate({**self.ppo.model_dump(), **self.arms[arm].ppo})
