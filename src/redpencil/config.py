"""What a recipe may say: each option lives here once, with its default and its help text.

Names follow TRL where TRL has the option. `redpencil.recipe` reads recipes from YAML.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pydantic import Field, field_validator, model_validator

from redpencil.sections import Section

RewardLevel = Literal["token", "sequence"]
RewardKind = Literal["token", "sequence", "both", "token_mean_at_end"]
KLEstimator = Literal["k1", "k2", "k3"]
DPOLoss = Literal["sigmoid", "hinge", "ipo", "robust", "sigmoid_norm"]
Method = Literal["ppo", "best_of_n", "dpo", "figa"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)


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


class BestOfNConfig(Section):
    """Best-of-n: n responses of the SFT policy to each prompt; a reward model picks one. Nothing is trained."""

    n: int = Field(16, gt=0, description="Responses sampled for each prompt.")
    token_score: Literal["mean", "sum"] = Field(
        "mean",
        description="What a token model picks by. mean: Eq. 1; sum: the return that PPO maximises (rewards less their "
        "centre where center_rewards says so).",
    )
    center_rewards: bool = Field(True, description="With token_score=sum: take the centre out of each token's reward.")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature of the n responses.")


class DPOConfig(OptimizerConfig):
    """DPO (Rafailov et al., 2023); the reference model is the SFT policy."""

    beta: float = Field(0.1, gt=0, description="How strongly the policy is held to the SFT policy.")
    loss_type: DPOLoss = Field(
        "sigmoid",
        description="sigmoid is DPO as published; sigmoid_norm takes means over tokens; hinge, ipo and robust are other "
        "losses on the same margin.",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="With loss_type=robust: the share of labels that are taken to be wrong."
    )
    num_train_epochs: float = Field(1, gt=0, description="Passes over the pairs.")
    max_steps: int | None = Field(None, gt=0, description="Optimiser steps; overrides num_train_epochs.")
    learning_rate: float = Field(1e-6, gt=0, description="Peak learning rate of AdamW.")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "linear", description="Shape of the learning rate after warm-up."
    )
    batch_size: int = Field(64, gt=0, description="Pairs an optimiser step sees.")
    eval_steps: int = Field(10, gt=0, description="Evaluate on the validation prompts every so many steps.")


class FIGAConfig(OptimizerConfig):
    """Fine-tuning with token weights after FIGA (Guo et al., ICLR 2024). Defaults are those of its released code."""

    alpha: float = Field(1.0, ge=0, description="Weight of inserted and substituted tokens, and of EOS, in the edit.")
    beta: float = Field(
        0.5, ge=0, description="Weight, taken off, of deleted and substituted tokens in the original: unlearning."
    )
    kept: float = Field(0.0, ge=0, description="Weight of unchanged tokens in the edit (the paper's gamma).")
    min_nll: float = Field(
        0.6, ge=0, description="Unlearn only tokens whose negative log-likelihood is at least this many nats."
    )
    max_nll: float = Field(
        1.0, gt=0, description="Unlearn only tokens whose negative log-likelihood is at most this many nats."
    )
    num_train_epochs: float = Field(5, gt=0, description="Passes over the pairs.")
    max_steps: int | None = Field(None, gt=0, description="Optimiser steps; overrides num_train_epochs.")
    learning_rate: float = Field(1e-5, gt=0, description="Peak learning rate of AdamW.")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="Shape of the learning rate after warm-up."
    )
    batch_size: int = Field(128, gt=0, description="Pairs an optimiser step sees.")
    eval_steps: int = Field(10, gt=0, description="Evaluate on the validation prompts every so many steps.")

    @model_validator(mode="after")
    def _window(self) -> "FIGAConfig":
        if self.min_nll > self.max_nll:
            raise ValueError("min_nll is above max_nll, so no token would be unlearned; set beta=0 for that")
        return self


class WorldConfig(Section):
    """The self-contained world that stands in for data, annotators and judge."""

    domain: Literal["facts", "summaries"] = Field(
        "facts", description="Descriptions from knowledge of the world, or summaries of passages in the prompt."
    )
    facts_seed: int = Field(0, description="Seed of what writers wrongly believe, or of what they mix up.")
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


class AlarmsConfig(Section):
    """When a run warns, in its log, its report and `results.json`. A warning stops nothing."""

    reward_accuracy: float = Field(
        70.0,
        ge=0,
        le=100,
        description="A reward model's accuracy on held-out pairs of its kind under this, in percent.",
    )
    win_rate_gain: float = Field(
        0.0, description="A win rate above the SFT policy's by no more than this, in percent points."
    )
    kl: float = Field(0.35, gt=0, description="KL from the SFT policy above this, in nats a response token.")
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


FILE_KEYS: Final = tuple(key for key in FilesConfig.model_fields if key != "test_share")
"""The keys of `files` that are paths."""


class ArmConfig(Section):
    """One row of Table 1: its method, what it learns from, and what differs from the recipe's section of the method."""

    method: Method = Field(
        "ppo",
        description="ppo and best_of_n take a reward model; dpo and figa learn from pairs themselves.",
    )
    reward_model: str | None = Field(None, description="Name of an entry of `reward_models`; ppo and best_of_n only.")
    sequence_reward_model: str | None = Field(
        None, description="With ppo.reward = both: the sequence-level entry beside the token-level `reward_model`."
    )
    pairs: Literal["edits", "comparisons"] | None = Field(
        None, description="dpo only: what it learns from; edits where nothing is said. figa learns from edits."
    )
    ppo: dict[str, Any] = Field(default_factory=dict, description="Keys of `ppo` that differ for this arm.")
    best_of_n: dict[str, Any] = Field(default_factory=dict, description="Keys of `best_of_n` that differ for this arm.")
    dpo: dict[str, Any] = Field(default_factory=dict, description="Keys of `dpo` that differ for this arm.")
    figa: dict[str, Any] = Field(default_factory=dict, description="Keys of `figa` that differ for this arm.")

    @field_validator("ppo")
    @classmethod
    def _keys_of_ppo(cls, differing: dict[str, Any]) -> dict[str, Any]:
        return PPOConfig.model_validate(differing).model_dump(exclude_unset=True)

    @field_validator("best_of_n")
    @classmethod
    def _keys_of_best_of_n(cls, differing: dict[str, Any]) -> dict[str, Any]:
        return BestOfNConfig.model_validate(differing).model_dump(exclude_unset=True)

    @field_validator("dpo")
    @classmethod
    def _keys_of_dpo(cls, differing: dict[str, Any]) -> dict[str, Any]:
        return DPOConfig.model_validate(differing).model_dump(exclude_unset=True)

    @field_validator("figa")
    @classmethod
    def _keys_of_figa(cls, differing: dict[str, Any]) -> dict[str, Any]:
        return FIGAConfig.model_validate(differing).model_dump(exclude_unset=True)

    @model_validator(mode="after")
    def _fits_method(self) -> "ArmConfig":
        """Keys that the method does not read would be ignored without a word."""
        foreign: list[str] = [name for name in METHODS if name != self.method and getattr(self, name)]
        if self.pairs is not None and self.method != "dpo":
            foreign.append("pairs")
        if self.sequence_reward_model is not None and self.method != "ppo":
            foreign.append("sequence_reward_model")
        if self.reward_model is not None and self.method in ("dpo", "figa"):
            foreign.append("reward_model")
        if foreign:
            raise ValueError(f"an arm of the method {self.method} has no use for: {', '.join(foreign)}")
        if self.reward_model is None and self.method in ("ppo", "best_of_n"):
            raise ValueError(f"an arm of the method {self.method} needs a reward_model")
        return self

    @property
    def reward_model_names(self) -> tuple[str, ...]:
        """The entries of `reward_models` that this arm takes rewards from; none for dpo and figa."""
        return tuple(name for name in (self.reward_model, self.sequence_reward_model) if name is not None)

    @property
    def learns_from(self) -> Literal["edits", "comparisons"] | None:
        """The pairs that the policy itself learns from; None where it learns from rewards, or not at all."""
        if self.method in ("ppo", "best_of_n"):
            return None
        return self.pairs or "edits"


class RewardModelConfig(Section):
    """One reward model of the recipe."""

    pairs: Literal["edits", "comparisons"] = Field(description="What it learns from, or learned from.")
    folder: Path | None = Field(
        None,
        description="A ready-made reward checkpoint in place of training one. Its tokenizer and prompt template may be "
        "its own. Relative paths of a recipe start at the recipe's folder.",
    )
    reward: dict[str, Any] = Field(default_factory=dict, description="Keys of `reward` that differ for this model.")

    @field_validator("reward")
    @classmethod
    def _keys_of_reward(cls, differing: dict[str, Any]) -> dict[str, Any]:
        return RewardConfig.model_validate(differing).model_dump(exclude_unset=True)

    @model_validator(mode="after")
    def _ready_made(self) -> "RewardModelConfig":
        ignored = sorted(set(self.reward) - {"level"}) if self.folder is not None else []
        if ignored:
            raise ValueError(f"a ready-made reward model is not trained, so reward.{ignored[0]} would not be read")
        return self


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
    "groups": frozenset({"base"}),
}
"""Names of entries that results and stages need for something else."""


def _check_entry_name(section: str, name: str) -> None:
    """Entries name folders of the run, so a name must not lead out of it or hide there."""
    if name.strip() in ("", ".", "..") or set(name) & set("/\\\0") or name.endswith(".partial"):
        raise ValueError(f"{section} has an entry called {name!r}, which cannot name a folder")
    if name in RESERVED.get(section, ()):
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
    best_of_n: BestOfNConfig = Field(default_factory=BestOfNConfig)
    dpo: DPOConfig = Field(default_factory=DPOConfig)
    figa: FIGAConfig = Field(default_factory=FIGAConfig)
    reward_models: dict[str, RewardModelConfig] = Field(
        default_factory=_paper_reward_models, description="Reward models by name; default: the paper's three."
    )
    arms: dict[str, ArmConfig] = Field(default_factory=_paper_arms, description="Rows of Table 1 by name.")
    alarms: AlarmsConfig = Field(default_factory=AlarmsConfig)

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
        wanted: list[tuple[str, RewardLevel | None]] = []
        if arm.reward_model is not None:
            level: RewardLevel = "sequence" if reward == "sequence" else "token"
            wanted.append((arm.reward_model, level if arm.method == "ppo" else None))
        if arm.method == "ppo" and reward == "both":
            if arm.sequence_reward_model is None:
                raise ValueError(f"arms.{name} with reward=both needs a sequence_reward_model")
            wanted.append((arm.sequence_reward_model, "sequence"))
        said = f"reward={reward}" if arm.method == "ppo" else f"method={arm.method}"
        for model, needed in wanted:
            if model not in self.reward_models:
                known = ", ".join(self.reward_models)
                raise ValueError(f"arms.{name} with {said} names {model!r}; reward_models has: {known}")
            if needed is not None and self.reward_config(model).level != needed:
                raise ValueError(f"arms.{name} needs a reward model of level {needed} where it names {model}")

    def reward_config(self, name: str) -> RewardConfig:
        """The options of one reward model: `reward` with what differs for it."""
        return RewardConfig.model_validate({**self.reward.model_dump(), **self.reward_models[name].reward})

    def ppo_config(self, arm: str) -> PPOConfig:
        """The options of one arm: `ppo` with what differs for it."""
        return PPOConfig.model_validate({**self.ppo.model_dump(), **self.arms[arm].ppo})

    def best_of_n_config(self, arm: str) -> BestOfNConfig:
        """The options of one arm: `best_of_n` with what differs for it."""
        return BestOfNConfig.model_validate({**self.best_of_n.model_dump(), **self.arms[arm].best_of_n})

    def dpo_config(self, arm: str) -> DPOConfig:
        """The options of one arm: `dpo` with what differs for it."""
        return DPOConfig.model_validate({**self.dpo.model_dump(), **self.arms[arm].dpo})

    def figa_config(self, arm: str) -> FIGAConfig:
        """The options of one arm: `figa` with what differs for it."""
        return FIGAConfig.model_validate({**self.figa.model_dump(), **self.arms[arm].figa})


class AblationConfig(Section):
    """A base recipe and, in groups that each vary one thing, variants of it; each is run with every seed.

    The first variant of a group, often the base itself, is what the others of the group are compared with.
    """

    name: str = Field("ablations", description="Name of the ablations and of their folder.")
    base: Path | dict[str, Any] = Field(
        description="The recipe that is varied: its keys, or its file, relative to the folder of this one."
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="What differs from the base in all runs: keys as in `--set`, and values."
    )
    seeds: tuple[int, ...] | None = Field(
        None, min_length=1, description="Seeds of every variant; default: the base's."
    )
    arm: str = Field("token", description="The arm whose win rate is compared, with its reward model.")
    groups: dict[str, dict[str, dict[str, Any]]] = Field(
        min_length=1,
        description="By group and variant: keys as in `--set` that differ from the base, and values. A group's first "
        "variant is what its others are compared with.",
    )

    @model_validator(mode="after")
    def _names_of_folders(self) -> "AblationConfig":
        if self.name.strip() in ("", ".", "..") or set(self.name) & set("/\\\0"):
            raise ValueError(f"the name {self.name!r} cannot name a folder")
        for group, variants in self.groups.items():
            _check_entry_name("groups", group)
            for variant in variants:
                _check_entry_name(f"groups.{group}", variant)
            if len(variants) < 2:
                raise ValueError(f"groups.{group} has nothing to compare: give two variants or more")
        return self
