"""The keys of a recipe: each has one home here, with its default and its help text.

`redpencil.recipe` reads recipes from YAML. Names follow TRL where TRL has the option. `METHODS` is the table of what
can train or choose a policy; see `Method` for how to add one.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeVar

from pydantic import Field, ValidationInfo, field_validator, model_validator

from redpencil.sections import Section, hinted, mistake

RewardLevel = Literal["token", "sequence"]
TokenLossName = Literal["eq3", "eq4", "blame", "contrast"]
RewardKind = Literal["token", "sequence", "both", "token_mean_at_end", "increments"]
KLEstimator = Literal["k1", "k2", "k3"]
DPOLoss = Literal["sigmoid", "hinge", "ipo", "robust", "sigmoid_norm", "apo_zero", "apo_down"]
PairKind = Literal["edits", "hunks", "edit_texts", "comparisons"]
Schedule = Literal["constant", "linear", "cosine"]
Attention = Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"]
Rows = Literal["edits", "comparisons"]
ROWS_OF: Final[Mapping[PairKind, Rows]] = {
    "edits": "edits",
    "hunks": "edits",
    "edit_texts": "edits",
    "comparisons": "comparisons",
}
"""The annotations that each kind of pairs is made of."""
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


def _without_secrets(section: type[Section], data: Any, hint: str) -> Any:
    """Refuse keys that a section does not have and that sound like secrets, without showing their values."""
    for key in data if isinstance(data, Mapping) else ():
        if key not in section.model_fields and re.search(r"key|secret|password|token|auth", str(key), re.IGNORECASE):
            raise mistake(section.__name__, "a recipe holds no secrets", (str(key),), "...", hint)
    return data


class ServerConfig(Section):
    """A server that computes rewards, vLLM or `redpencil serve-reward` (docs/engines.md)."""

    url: str = Field(
        description="Address of the server, such as http://localhost:8000, without the /v1 of its interface for OpenAI."
    )
    model: str | None = Field(
        None,
        description="Name under which the server has the model. Default: the one that it serves, if there is only one.",
    )
    api_key_variable: str | None = Field(
        None,
        pattern=r"^[A-Za-z_]\w*$",
        description="Environment variable with the server's API key. The key itself never stands in a recipe.",
    )
    concurrency: int = Field(64, gt=0, le=1024, description="Requests in progress at once, of each process.")
    timeout: float = Field(600, gt=0, le=86_400, description="Longest wait for one answer, in seconds.")
    patience: float = Field(
        600,
        ge=0,
        le=86_400,
        description="Seconds for which a request that failed is made again, as while the server starts anew.",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_secrets(cls, data: Any) -> Any:
        return _without_secrets(
            cls, data, "leave it out, and name the environment variable that holds it in api_key_variable"
        )

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        if "@" in url:
            raise hinted("a recipe holds no secrets", "leave user and password out; see api_key_variable")
        if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url) or not url.isprintable():
            raise hinted("this is not the address of a server", "such as http://localhost:8000")
        return url.rstrip("/").removesuffix("/v1")


class SamplerConfig(ServerConfig):
    """A vLLM server that samples the responses of policies in place of this process (docs/engines.md)."""

    route: Literal["disk", "lora"] = Field(
        "disk",
        description="How it gets new weights: disk, a checkpoint in `folder`; lora, an adapter there, for a policy "
        "with `lora`.",
    )
    folder: Path | None = Field(
        None,
        description="Folder that the server reads at the same path, for the weights. Default: the one for temporary "
        "files, where the server runs on this machine.",
    )
    max_staleness: int = Field(
        0,
        ge=0,
        description="Updates of the policy that the weights which draw a rollout may lack. The server gets new weights "
        "when it would lack more. What older weights drew is sampled again. Validation is always exact.",
    )


class ComputeConfig(Section):
    """Where and in what portions stages compute. Changing these keys never makes a finished stage run again."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps; auto takes a CUDA GPU if there is one.")
    threads: int | None = Field(
        1,
        gt=0,
        le=1024,
        description="CPU threads of each stage. One is fastest for small models; two on busy cores can be 20x slower.",
    )
    jobs: int | None = Field(
        None,
        gt=0,
        description="Independent stages that run at once. Default: CPU cores, or GPUs, divided by what one takes: "
        "threads times processes cores, or processes GPUs.",
    )
    processes: int = Field(1, gt=0, description="Processes that share the work of one stage; on GPUs each has its own.")
    fsdp: int | bool = Field(
        False,
        ge=0,
        description="Shard weights, gradients and optimiser states of each model over processes (FSDP2). true: over "
        "all of a machine, with a copy on each machine; a number: over so many; false: each process holds all.",
    )
    fsdp_offload: bool = Field(
        False,
        description="With fsdp: keep the weights of frozen models in main memory, from where each use fetches them.",
    )
    tp_size: int = Field(
        1, gt=0, description="Processes that compute each row together (tensor parallelism): 1, or all, without fsdp."
    )
    micro_batch_size: int | None = Field(
        8,
        gt=0,
        description="Rows that one forward pass of a training stage takes; gradients are accumulated over a batch. "
        "Lower it when memory runs out; null takes the whole batch at once, which is faster for small models.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Keep only what enters each layer of a trained model, and compute the rest once more for the "
        "gradient: a fraction of the memory, a third more work.",
    )
    attn_implementation: Attention | None = Field(
        None,
        description="Attention as transformers names it. flash and flex need a GPU. Default: sdpa, or eager for models "
        "without it.",
    )
    generation_batch_size: int | None = Field(
        None,
        gt=0,
        description="Prompts that a model answers at once, a local editor or judge included; another number can draw "
        "other responses. Default: sampling.batch_size, and all rollouts of a step.",
    )
    save_every: int | None = Field(
        None,
        gt=0,
        description="Optimiser or rollout steps between saved training states, from which a stopped stage resumes. "
        "Default: none are saved.",
    )
    sampler: SamplerConfig | None = Field(
        None, description="A vLLM server that samples responses. Default: this process samples them."
    )
    reward_servers: dict[RewardLevel, ServerConfig] = Field(
        default_factory=dict,
        description="Servers that compute the rewards of rollouts, vLLM or `redpencil serve-reward`, by the level of "
        "the reward model, token or sequence. Default: this process computes them.",
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:(0|[1-9]\d?))?", device):
            raise hinted(f"unknown device {device!r}", "auto, cpu, cuda, cuda:N such as cuda:0, or mps")
        return device

    @model_validator(mode="after")
    def _device_for_each(self) -> Self:
        if self.processes > 1 and self.device not in ("auto", "cpu", "cuda"):
            raise hinted(
                f"device {self.device!r} is one, and {self.processes} processes need one each",
                "set compute.device to cuda, cpu or auto, or compute.processes to 1",
            )
        return self


class LoraConfig(Section):
    """LoRA (Hu et al., 2021): stages train small adapters on a frozen base model, which all models of a stage share.

    Without the section all weights are trained.
    """

    r: int = Field(16, gt=0, description="Rank of the adapters.")
    alpha: float = Field(32.0, gt=0, description="Adapters are scaled by alpha / r.")
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear",
        description="Modules that get an adapter, such as [q_proj, v_proj]. all-linear: every linear layer of the "
        "backbone.",
    )

    @field_validator("target_modules", mode="before")
    @classmethod
    def _one_name(cls, modules: Any) -> Any:
        return (modules,) if isinstance(modules, str) and modules not in ("", "all-linear") else modules

    @field_validator("target_modules")
    @classmethod
    def _some(cls, modules: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not modules or not all(modules):
            raise hinted("no modules are named", "name some, such as [q_proj, v_proj], or write all-linear")
        return modules


class TrainingConfig(Section):
    """Fields that training code reads from its config but that the recipe holds once, in `compute` or at its top.

    They are excluded from dumps, and so from fingerprints and manifests; `Recipe.computed` fills them in. What plans
    a stage puts `lora` into its fingerprint.
    """

    micro_batch_size: int | None = Field(None, gt=0, exclude=True)
    generation_batch_size: int | None = Field(None, gt=0, exclude=True)
    save_every: int | None = Field(None, gt=0, exclude=True)
    lora: LoraConfig | None = Field(None, exclude=True)
    sampler: SamplerConfig | None = Field(None, exclude=True)
    reward_servers: dict[RewardLevel, ServerConfig] = Field(default_factory=dict, exclude=True)


MOVED: Final = ("device", "threads", "jobs")
"""The keys of `compute` that a recipe had at its top level before version 0.2, and still may."""
Trained = TypeVar("Trained", bound=TrainingConfig)
COMPUTED: Final = tuple(name for name in TrainingConfig.model_fields if name in ComputeConfig.model_fields)
"""The keys of `compute` that training code reads from its own config."""


class StepsConfig(TrainingConfig):
    """What all stages share that train step by step."""

    skip_nonfinite: int = Field(
        0,
        ge=0,
        description="Updates that a stage may leave out since a loss, gradient or reward is not a finite number; each "
        "is counted and said. One more ends the stage.",
    )


class OptimizerConfig(StepsConfig):
    """The options that all training stages share. Defaults are those of the paper's setting (LLaMA-7B, AlpacaFarm)."""

    learning_rate: float = Field(2e-5, gt=0, description="Peak learning rate of AdamW.")
    lr_scheduler_type: Schedule = Field("cosine", description="Shape of the learning rate after warm-up.")
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="Share of the steps over which the rate rises from 0.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay.")
    adam_epsilon: float = Field(1e-8, gt=0, description="AdamW epsilon.")
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="AdamW decay of the squared gradient.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    batch_size: int = Field(128, gt=0, description="Examples an optimiser step sees.")
    num_train_epochs: float = Field(1, gt=0, description="Passes over the pairs.")
    max_steps: int | None = Field(None, gt=0, description="Optimiser steps; overrides num_train_epochs.")


class SFTConfig(OptimizerConfig):
    """Supervised fine-tuning; the loss counts response tokens only."""

    num_train_epochs: float = Field(3, gt=0, description="Passes over the data, unless max_steps is set.")
    max_length: int = Field(512, gt=1, description="Prompt and response together, in tokens; longer rows are skipped.")


class AlignConfig(Section):
    """The alignment of two texts and the token masks that follow from it (section 2.2 of the paper)."""

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
        description="Let the end-of-sequence token count as changed: the original's if text was appended, the edit's "
        "if the end was cut.",
    )
    restore_spacing: bool = Field(
        True,
        description="Give the words that an edit kept the white space and line ends of the original. Turn it off for "
        "code and tables in which white space has a meaning.",
    )
    max_length: int = Field(512, gt=1, description="Prompt and response together, in tokens; longer rows are skipped.")

    @model_validator(mode="before")
    @classmethod
    def _hunks_are_a_kind(cls, data: Any) -> Any:
        """Accept `hunks: false`, which recipes that were spelled out once have."""
        if not isinstance(data, Mapping) or "hunks" not in data:
            return data
        if data["hunks"]:
            hint = "leave it out, and write `pairs: hunks` at the arms and reward models that learn from single changes"
            raise mistake(cls.__name__, "it is a kind of pairs now", ("hunks",), data["hunks"], hint)
        return {key: value for key, value in data.items() if key != "hunks"}


class RewardConfig(OptimizerConfig):
    """A reward model: per token by Eq. 1-4 or by a loss within one text, or Bradley-Terry per sequence."""

    level: RewardLevel = Field("token", description="token: a reward for every token; sequence: one for the response.")
    loss: TokenLossName = Field(
        "eq4",
        description="Token level only. eq3: difference of the mean rewards; eq4: changed tokens only; blame: was this "
        "token of the original edited away; contrast: a kept token of the original against one that was edited away.",
    )
    ranking: float = Field(
        0.0,
        ge=0,
        description="Token level, with loss=blame or contrast: weight of Eq. 3 on a second head, which gives the mean "
        "of a response's rewards; the first head gives what tells its tokens apart. 0 has one head.",
    )
    edited_weight: float = Field(
        0.0,
        ge=0,
        description="With loss=blame or contrast: weight of the same loss on the edited text; the original's is 1. "
        "blame: none of its tokens was edited away; contrast: a token that was put in against one that was kept.",
    )
    contrast_window: int | None = Field(
        None,
        gt=0,
        description="With loss=contrast: compare tokens that are at most so many tokens apart, so that the place in "
        "the response tells little. Default: the whole response.",
    )
    read_twice: bool = Field(
        False,
        description="Token level: read the response twice and give rewards at the second reading, where a model that "
        "reads from left to right has seen all of it (echo embeddings).",
    )
    layers: int | None = Field(
        None, gt=0, description="Keep only the first so many layers of the backbone. Default: all of them."
    )
    frozen_layers: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        0,
        description="Leave the embeddings and the first so many layers of the backbone as they are. all: train the "
        "head alone, on hidden states that are computed once.",
    )
    scale: float | None = Field(
        None,
        gt=0,
        description="Factor on the margin of Eq. 2, 3 and 4; 1 is the paper. Default, null or auto: with loss=eq3 or "
        "eq4 the mean length of the pairs' responses, else 1.",
    )
    zero_penalty: float = Field(0.0, ge=0, description="Token level: weight of the mean of r^2 over unchanged tokens.")
    consistency: float = Field(
        0.0, ge=0, description="Token level: weight of the mean of (r_i - r_j)^2 over unchanged pairs."
    )
    reference_samples: int = Field(
        256,
        gt=1,
        description="Responses on which centre and scale are measured: of the SFT policy, or of the arm that the model "
        "learns `on`.",
    )
    learning_rate: float | None = Field(  # type: ignore[assignment]  # until `reward_defaults.fit` has chosen it
        None,
        gt=0,
        description="Peak learning rate of AdamW; AlpacaFarm's for 7B is 3e-6. Default, null or auto: by the hidden "
        "size of the backbone, or 1e-3 with frozen_layers=all.",
    )
    batch_size: int = Field(16, gt=0, description="Pairs an optimiser step sees.")
    num_train_epochs: float | None = Field(  # type: ignore[assignment]
        None, gt=0, description="Passes over the pairs. Default, null or auto: by their number; 1 from 150 batches on."
    )

    @field_validator("learning_rate", "num_train_epochs", "scale", mode="before")
    @classmethod
    def _chosen_later(cls, value: Any) -> Any:
        return None if value == "auto" else value

    @model_validator(mode="after")
    def _used(self) -> "RewardConfig":
        """Refuse keys that the loss would ignore without a word."""
        if self.level == "token":
            readers = {
                "ranking": ("blame", "contrast"),
                "edited_weight": ("blame", "contrast"),
                "contrast_window": ("contrast",),
            }
            for key, losses in readers.items():
                if getattr(self, key) and self.loss not in losses:
                    raise ValueError(f"{key} is not used with loss={self.loss}; leave it out")
        return self


class FittedRewardConfig(RewardConfig):
    """`RewardConfig` whose values that went by default are chosen, as training reads it."""

    scale: float = Field(gt=0)
    learning_rate: float = Field(gt=0)
    num_train_epochs: float = Field(gt=0)


class SamplingConfig(Section):
    """Sampling of responses from a policy."""

    temperature: float = Field(
        1.0, ge=0, description="Sampling temperature; 0 is greedy. Methods that sample while they train have their own."
    )
    evaluation_temperature: float | None = Field(
        None,
        ge=0,
        description="Temperature of what is judged: the policies' and the reference's answers to validation and "
        "evaluation prompts. AlpacaFarm has 0.7 here, and 1 in PPO. Default: temperature, and a method's own while it "
        "trains. best_of_n keeps its own.",
    )
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling; 1 is off.")
    response_length: int = Field(300, gt=0, description="Most tokens in a response.")
    max_prompt_length: int = Field(192, gt=0, description="Most tokens in a prompt; longer prompts are skipped.")
    batch_size: int = Field(64, gt=0, description="Prompts answered at the same time.")


class RolloutConfig(StepsConfig):
    """The options that methods share which sample responses and learn from a reward model's rewards for them."""

    reward: RewardKind = Field(
        "token",
        description="token: r_t at every token; sequence: one reward at the end; both: their sum; token_mean_at_end: "
        "the mean token reward, paid at the end; increments: at every token, by how much it raises a sequence model's "
        "reward of the response so far (RED).",
    )
    center_rewards: bool = Field(
        True,
        description="Subtract the mean reward measured on samples (per token or per sequence): of the SFT policy, or "
        "of the arm that the reward model learned `on`.",
    )
    scale_rewards: bool = Field(
        True,
        description="Divide by the scale measured there, so that a response's reward, if centred, has unit variance.",
    )
    reward_clip: float | None = Field(None, gt=0, description="Clip each scaled reward to this magnitude.")
    kl_term: Literal["per_token", "terminal", "none"] = Field(
        "per_token",
        description="Place of the KL penalty to the policy at the start; none is the paper's literal reading.",
    )
    kl_estimator: KLEstimator = Field(
        "k1", description="k1: log ratio; k2: half its square; k3: low variance, positive."
    )
    kl_coef: float = Field(0.02, ge=0, description="Weight of the KL penalty, or where an adaptive one starts.")
    missing_eos_penalty: float = Field(0.0, ge=0, description="Subtracted at the last token of an unfinished response.")
    gamma: float = Field(1.0, gt=0, le=1, description="Discount.")
    cliprange: float = Field(0.2, gt=0, description="Clip of the probability ratio.")
    total_steps: int = Field(40, gt=0, description="Batches of rollouts.")
    rollout_batch_size: int = Field(512, gt=0, description="Prompts answered at each step.")
    batch_size: int = Field(256, gt=0, description="Rollouts an optimiser step sees.")
    learning_rate: float = Field(1e-5, gt=0, description="Peak learning rate of the policy.")
    lr_scheduler_type: Schedule = Field("linear", description="Shape of the learning rate after warm-up.")
    warmup_steps: int = Field(5, ge=0, description="Batches of rollouts over which the rate rises from 0.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay.")
    adam_epsilon: float = Field(1e-5, gt=0, description="AdamW epsilon.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature of the rollouts.")
    response_length: int = Field(300, gt=0, description="Most tokens in a response.")
    max_prompt_length: int = Field(192, gt=0, description="Most tokens in a prompt; longer prompts are skipped.")
    eval_steps: int = Field(10, gt=0, description="Evaluate on the validation prompts every so many steps.")

    @property
    def reward_levels(self) -> tuple[RewardLevel, ...]:
        """The levels of the reward models it takes, in the order of an arm's `reward_model_names`."""
        if self.reward == "both":
            return ("token", "sequence")
        return ("sequence",) if self.reward in ("sequence", "increments") else ("token",)

    @property
    def value_backbone(self) -> Literal["policy", "reward"] | None:
        """The model that the method's value model starts from; None if it has no value model."""
        return None

    @property
    def rollouts(self) -> int:
        """The number of responses that a whole training samples to learn from."""
        return self.total_steps * self.rollout_batch_size


class PPOConfig(RolloutConfig):
    """PPO (Schulman et al., 2017) on dense or terminal rewards. Defaults are those of the paper's setting."""

    kl_target: float | None = Field(None, gt=0, description="Adapt kl_coef towards this KL per response, in nats.")
    kl_horizon: int = Field(10_000, gt=0, description="Responses over which an adaptive kl_coef moves.")
    whiten_rewards: bool = Field(False, description="Scale rewards to unit variance over the response tokens.")
    whiten_advantages: bool = Field(True, description="Whiten advantages over the response tokens.")
    gae_lambda: float = Field(1.0, ge=0, le=1, description="Trace decay of generalised advantage estimation.")
    cliprange_value: float = Field(0.2, gt=0, description="Clip of the value's change.")
    vf_coef: float = Field(
        0.1,
        gt=0,
        description="Factor on the value loss. It hardly acts: the value model has its own Adam, which divides it out "
        "again; only max_grad_norm and adam_epsilon feel it. What acts is value_learning_rate.",
    )
    ppo_epochs: int = Field(2, gt=0, description="Passes over each batch of rollouts.")
    value_learning_rate: float | None = Field(None, gt=0, description="Of the value model; default: learning_rate.")
    value_init: Literal["policy", "reward"] = Field(
        "reward",
        description="Backbone of the value model: the policy at the start or the reward model; its head starts at 0.",
    )
    value_warmup_steps: int = Field(0, ge=0, description="First PPO steps that train the value model alone.")

    @property
    def value_backbone(self) -> Literal["policy", "reward"]:
        return self.value_init


class GRPOConfig(RolloutConfig):
    """GRPO (Shao et al., 2024): answers to the same prompt are compared with each other; there is no value model."""

    group_size: int = Field(8, gt=1, description="Answers sampled for each prompt, which are compared with each other.")
    advantage: Literal["return_to_go", "end"] = Field(
        "return_to_go",
        description="return_to_go: at each token, the discounted sum of the rewards from there on, less the group's "
        "mean at that place; end: the sum of a response's rewards at all of its tokens, less the group's mean (for "
        "rewards that are paid at the end).",
    )
    normalise_std: bool = Field(
        True, description="Divide by the group's standard deviation; false only subtracts its mean (Dr. GRPO)."
    )
    grpo_epochs: int = Field(1, gt=0, description="Passes over each batch of rollouts.")
    rollout_batch_size: int = Field(
        64, gt=0, description="Prompts answered at each step, each of them group_size times."
    )

    @property
    def rollouts(self) -> int:
        return super().rollouts * self.group_size


class BestOfNConfig(Section):
    """Best-of-n: n responses of the policy at the start to a prompt; a reward model picks one. Nothing is trained."""

    n: int = Field(16, gt=0, description="Responses sampled for each prompt.")
    token_score: Literal["mean", "sum"] = Field(
        "mean",
        description="Score by which a token model picks. mean: Eq. 1; sum: the return that PPO maximises (rewards "
        "less their centre where center_rewards says so).",
    )
    center_rewards: bool = Field(True, description="With token_score=sum: take the centre out of each token's reward.")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature of the n responses.")


class DPOConfig(OptimizerConfig):
    """DPO (Rafailov et al., 2023); the reference model is the policy at the start."""

    beta: float = Field(0.1, gt=0, description="Weight of staying close to the policy at the start.")
    loss_type: DPOLoss = Field(
        "sigmoid",
        description="sigmoid is DPO as published; sigmoid_norm takes means over tokens; hinge, ipo and robust are "
        "other losses of the margin. APO: apo_zero makes the chosen response likelier and the rejected one less likely "
        "than the policy at the start does, for chosen ones better than its own; apo_down makes both less likely, the "
        "rejected one more so, for chosen ones that are worse.",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="With loss_type=robust: the share of labels that are taken to be wrong."
    )
    learning_rate: float = Field(1e-6, gt=0, description="Peak learning rate of AdamW.")
    lr_scheduler_type: Schedule = Field("linear", description="Shape of the learning rate after warm-up.")
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
    learning_rate: float = Field(1e-5, gt=0, description="Peak learning rate of AdamW.")
    lr_scheduler_type: Schedule = Field("constant", description="Shape of the learning rate after warm-up.")
    batch_size: int = Field(128, gt=0, description="Pairs an optimiser step sees.")
    eval_steps: int = Field(10, gt=0, description="Evaluate on the validation prompts every so many steps.")

    @model_validator(mode="after")
    def _window(self) -> "FIGAConfig":
        if self.min_nll > self.max_nll:
            raise ValueError("min_nll is above max_nll, so no token would be unlearned; set beta=0 for that")
        return self


TEACHER_TEMPLATE: Final = (
    "{prompt}\n\nA first answer was:\n{original}\n\nAn editor corrected it to:\n{edited}\n\nNow write the answer."
)


class DistillConfig(OptimizerConfig):
    """Edit-conditioned self-distillation: the policy that has seen original and edit teaches the one that has not.

    At every token the student's distribution is drawn towards the teacher's, by KL(student || teacher).
    """

    responses: Literal["originals", "edits", "own"] = Field(
        "originals",
        description="The responses at whose tokens it learns: the originals, which the policy at the start "
        "itself wrote; the edited texts; or own, the student's answers, sampled as it learns.",
    )
    teacher_template: str = Field(
        TEACHER_TEMPLATE,
        description="What the teacher reads in place of the prompt, with {prompt}, {original} and {edited} in it. It "
        "goes through the recipe's prompt template as the prompt does; of a conversation it is the last turn.",
    )
    guidance: float = Field(
        0.0,
        ge=0,
        description="c: the teacher's logits are those with the edit plus c times their difference to those with the "
        "original in the edit's place, so that what any hint does cancels out. 0 reads the prompt once less.",
    )
    changed_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of tokens that the edit changed: taken out of the original, or put into the edit.",
    )
    kept_weight: float = Field(1.0, ge=0, description="Weight of all other tokens.")
    temperature: float = Field(
        1.0, gt=0, description="With responses=own: sampling temperature of the student's answers."
    )
    response_length: int = Field(300, gt=0, description="With responses=own: most tokens in an answer.")
    learning_rate: float = Field(1e-5, gt=0, description="Peak learning rate of AdamW.")
    lr_scheduler_type: Schedule = Field("linear", description="Shape of the learning rate after warm-up.")
    batch_size: int = Field(64, gt=0, description="Edits an optimiser step sees.")
    eval_steps: int = Field(10, gt=0, description="Evaluate on the validation prompts every so many steps.")

    @field_validator("teacher_template")
    @classmethod
    def _shows_the_edit(cls, template: str) -> str:
        for place in ("{prompt}", "{edited}"):
            if place not in template:
                raise hinted(f"the teacher's template has no {place}", f"write {place} where it goes")
        return template

    @model_validator(mode="after")
    def _weighed(self) -> "DistillConfig":
        weights = (self.changed_weight, self.kept_weight)
        if not any(weights):
            raise ValueError("changed_weight and kept_weight are both 0, so nothing would be learned")
        if self.responses == "own" and weights != (1, 1):
            raise ValueError("nobody edited the student's own answers: leave out changed_weight and kept_weight")
        return self


@dataclass(frozen=True, slots=True)
class Method:
    """A way from rewards or pairs to a policy: one row of the table of methods.

    To add a method, write its training function in `training/`, its config above, and its row in `METHODS`, and name
    the config as a section of `Recipe`. The table is here, on the ground floor, because recipes are validated against
    it and reports take labels from it; so it names training code by an import string, which is imported when it runs.
    """

    name: str
    """The value of an arm's `method`, and the recipe's section that holds its options."""
    label: str
    """The name in reports; an option in braces stands for its value."""
    config: type[Section]
    learns_from: Literal["rewards", "pairs"]
    run: str
    """`module:function`. `pipeline.stages` says which arguments it gets."""
    trains: bool = True
    """False if it only chooses among responses of the policy at the start and makes no policy of its own."""
    pairs: tuple[PairKind, ...] = ()
    """With learns_from="pairs": the kinds it can learn from, its default first."""

    @property
    def samples(self) -> bool:
        """Whether it learns from responses that it samples while training, so that it logs rewards and their KL."""
        return issubclass(self.config, RolloutConfig)


METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for method in (
        Method("ppo", "PPO", PPOConfig, "rewards", "redpencil.training.ppo:run_ppo"),
        Method("grpo", "GRPO", GRPOConfig, "rewards", "redpencil.training.grpo:run_grpo"),
        Method(
            "best_of_n", "best of {n}", BestOfNConfig, "rewards", "redpencil.training.best_of_n:best_of_n", trains=False
        ),
        Method(
            "dpo",
            "DPO",
            DPOConfig,
            "pairs",
            "redpencil.training.dpo:train_dpo",
            pairs=("edits", "hunks", "comparisons"),
        ),
        Method(
            "figa",
            "FIGA-style fine-tuning",
            FIGAConfig,
            "pairs",
            "redpencil.training.figa:train_figa",
            pairs=("edits", "hunks"),
        ),
        Method(
            "distill",
            "self-distillation on {responses}",
            DistillConfig,
            "pairs",
            "redpencil.training.distill:train_distill",
            pairs=("edit_texts",),
        ),
    )
}
"""The methods by name, in the order in which helps and tables list them."""


class WorldConfig(Section):
    """The self-contained world that stands in for data, annotators and judge."""

    domain: Literal["facts", "summaries"] = Field(
        "facts", description="Descriptions from knowledge of the world, or summaries of passages in the prompt."
    )
    facts_seed: int = Field(0, description="Seed of what writers wrongly believe, or of what they mix up.")
    sft_examples: int = Field(6000, gt=0, description="Rows of the flawed corpus.")
    train_prompts: int = Field(2500, gt=0, description="Prompts for preferences, edits and PPO.")
    validation_prompts: int = Field(300, gt=0, description="Prompts on which training is evaluated.")
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
    comparisons: Path | None = Field(
        None,
        description="JSONL of preference pairs; the less preferred side is what gets edited. Needed where a reward "
        "model or an arm learns from them.",
    )
    edits: Path = Field(description="JSONL of edits.")
    test_comparisons: Path | None = Field(
        None, description="JSONL of held-out preference pairs. Default: some prompts of `comparisons`."
    )
    test_edits: Path | None = Field(None, description="JSONL of held-out edits. Default: some prompts of `edits`.")
    prompts: Path | None = Field(
        None,
        description="JSONL of prompts for methods that sample while they train, and for the samples on which centre "
        "and scale of rewards are measured. Without `arms`, and without this, these are the originals of the training "
        "edits.",
    )
    validation_prompts: Path | None = Field(
        None, description="JSONL of prompts on which training is evaluated. Needed if there are `arms`."
    )
    evaluation_prompts: Path | None = Field(
        None, description="JSONL of prompts for the win rate. Needed if there are `arms`."
    )
    reference_outputs: Path | None = Field(
        None, description="JSONL of the reference's responses; without it the SFT policy is the reference."
    )
    judge: Path | None = Field(
        None,
        description="Folder of a sequence or token reward model that judges; the same as judge.folder. One is "
        "needed if there are `arms`.",
    )
    test_share: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of comparisons and edits held out for Table 2: whole prompts, the same of both.",
    )
    train_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the other edits, and comparisons, that is learned from: the first ones in the order of "
        "the seed, prompt by prompt.",
    )
    folds: int | None = Field(
        None,
        ge=2,
        le=1000,
        description="K: cross-validation by prompt in place of test_share. Seed s holds out fold s mod K of a "
        "partition drawn for s div K, so `seeds: [0, ..., 3 K - 1]` are three repetitions of K folds.",
    )

    @model_validator(mode="after")
    def _one_split(self) -> "FilesConfig":
        own = [key for key in ("test_edits", "test_comparisons") if getattr(self, key) is not None]
        if self.folds is not None and own:
            raise ValueError(f"`folds` holds rows out and `{own[0]}` names some; give one of the two")
        if self.test_comparisons is not None and self.comparisons is None:
            raise ValueError("`test_comparisons` needs `comparisons` to train on")
        return self

    def trained_share(self, rows: Rows) -> float:
        """The share of `edits` or `comparisons` that is learned from, if all prompts have as many of them."""
        held_out = self.test_share if self.folds is None else 1 / self.folds
        if getattr(self, f"test_{rows}") is not None:
            held_out = 0.0
        return (1 - held_out) * self.train_share


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


class AskedConfig(Section):
    """What a judge and an editor share: of the kinds that there are one is named, and an LLM may be asked. API keys are
    never in a recipe: they come from the environment.
    """

    NOUN: ClassVar[str]
    KINDS: ClassVar[tuple[str, ...]]
    """The keys of which exactly one is given; `provider` is one of them."""
    OF_OTHERS: ClassVar[frozenset[str]] = frozenset()
    """Further keys that say something without a provider."""
    FILES: ClassVar[tuple[str, ...]]
    """The keys that are paths, besides the template and the folder of a local model."""

    provider: Literal["anthropic", "openai", "local"] | None = Field(
        None, description="Ask an LLM: anthropic; openai, for every OpenAI-compatible server; local, a folder."
    )
    model: str | None = Field(None, description="With provider: name of the model; for local its folder.")
    base_url: str | None = Field(None, description="With provider: another server, such as http://localhost:8000/v1.")
    max_tokens: int = Field(4096, gt=0, description="With provider: most tokens of an answer.")
    temperature: float | None = Field(None, ge=0, description="With provider. Default: the server's own.")
    concurrency: int = Field(16, gt=0, description="With provider: requests in progress at once.")
    max_cost: float | None = Field(
        None,
        gt=0,
        description="With provider: a stage that asks stops when the answers have cost this much, in dollars; the same "
        "command then goes on, with as much again. Each stage, seed and variant of ablations has as much.",
    )
    prices: Path | None = Field(None, description="With provider: YAML of prices that replace those built in.")
    cache: Path | None = Field(
        None,
        description="With provider: response cache, by which a run that was stopped asks for nothing twice. Default: "
        "a file in the run folder that is named by the stage, such as judge.cache. Of several seeds each has its own, "
        "with .seed-N at the end, and so has each variant of ablations, by its name.",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_secrets(cls, data: Any) -> Any:
        return _without_secrets(
            cls, data, "leave it out, and set ANTHROPIC_API_KEY or OPENAI_API_KEY in the environment"
        )

    @field_validator("base_url")
    @classmethod
    def _bare_address(cls, url: str | None) -> str | None:
        if url is not None and re.search(r"[?#]|//[^/]*@", url):
            raise hinted("an address with a user, a password or a query", "write it without; a recipe holds no secrets")
        return url

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in self.KINDS) != 1:
            raise ValueError(f"name one {self.NOUN}: one of {', '.join(self.KINDS)}")
        of_llms = set(type(self).model_fields) - {*self.KINDS, *self.OF_OTHERS}
        for key in sorted(self.model_fields_set & of_llms) if self.provider is None else ():
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} says nothing of this {self.NOUN}; leave it out")
        if self.provider is not None and not self.model:
            raise ValueError("give the model that the provider is asked for")
        return self

    @property
    def decides(self) -> dict[str, Any]:
        """What of it decides verdicts or edits, besides the contents of files."""
        elsewhere = {*self.FILES, "concurrency", "max_cost"}
        return self.model_dump(exclude=elsewhere, exclude_defaults=True, mode="json")


class JudgeConfig(AskedConfig):
    """Who compares the policies' answers with the reference's: one of folder, rule, pattern, verdicts and provider.
    Without the section it is the world's oracle, or `files.judge`. API keys are never in a recipe: they come from the
    environment. An LLM and verdicts of people judge the evaluation prompts alone; training then keeps the checkpoint
    with the best reward, or the last one where it learns from pairs.
    """

    NOUN = "judge"
    KINDS = ("folder", "rule", "pattern", "verdicts", "provider")
    OF_OTHERS = frozenset({"fewer"})
    FILES = ("folder", "verdicts", "prices", "cache")

    folder: Path | None = Field(None, description="Folder of a sequence or token reward model.")
    rule: Literal["oracle", "longer", "shorter", "references"] | None = Field(
        None,
        description="oracle: the small world's; longer, shorter: the number of characters alone; references: sentence "
        "GLEU against the `references` of the prompt's row, and training keeps the checkpoint with the best GLEU.",
    )
    pattern: str | None = Field(
        None, min_length=1, description="A regular expression: the response in which it is found more often is better."
    )
    fewer: bool = Field(False, description="With pattern: the response in which it is found less often is better.")
    verdicts: Path | None = Field(
        None,
        description="JSONL of comparisons by people, as `redpencil annotate --export-comparisons` writes them, matched "
        "by prompt and responses, on either side. What nobody compared has no verdict. The file may come later: "
        "the run then stops before its last stages, and the same command goes on.",
    )
    template: str = Field(
        "default",
        description="With provider: default, alpaca-eval, alpaca-eval-mark, or a file; see `redpencil judge`.",
    )
    orders: Literal["both", "one"] = Field("both", description="With provider: ask in both orders, or in one.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _fewer_of_a_pattern(self) -> Self:
        if self.fewer and self.pattern is None:
            raise ValueError("fewer says nothing of this judge; leave it out")
        return self

    @property
    def judges_training(self) -> bool:
        """Whether it judges policies as they train too: one that costs nothing and answers at once."""
        return self.provider is None and self.verdicts is None


class EditorConfig(AskedConfig):
    """Who edits the policies' answers, to count the edits that they still need, and to learn from edits of an arm's
    own answers (`on`, `rounds`): one of rule, edits, project and provider.
    Without the section it is the world's scripted editor, or the references, if every evaluation prompt has some; else
    nothing is counted.
    """

    NOUN = "editor"
    KINDS = ("rule", "edits", "project", "provider")
    OF_OTHERS = frozenset({"wait", "measure"})
    FILES = ("edits", "template", "prices", "cache")

    rule: Literal["scripted", "references"] | None = Field(
        None,
        description="scripted: the small world's editor; references: an answer becomes the nearest of the texts in "
        "`references` of its prompt's row, by changed words.",
    )
    edits: Path | None = Field(
        None,
        description="JSONL of edits by people, as `redpencil annotate --export` writes them, matched by prompt and "
        "original; the first one of an answer counts. What nobody edited is not counted. The file may come later: the "
        "run then stops before its last stages, and the same command goes on.",
    )
    project: str | None = Field(
        None,
        description="Annotation project whose people edit, as `redpencil annotate` takes it: an SQLite file, or the "
        "URL of a PostgreSQL database. The run puts the answers in as items and stops; when they are edited, the same "
        "command goes on.",
    )
    measure: bool = Field(
        True,
        description="Count what the policies' answers to the evaluation prompts still need. false: the editor edits "
        "what is learned from alone, as where people are not to edit each policy's answers.",
    )
    wait: bool = Field(
        False, description="With project: wait until people have edited the answers, in place of stopping."
    )
    template: Path | None = Field(
        None,
        description="With provider: a file with the request, as `redpencil edit --template` takes it. Default: the "
        "paper's Figure 2.",
    )
    min_kept: float = Field(
        0.5,
        ge=0,
        le=1,
        description="With provider: ask once more for an edit that keeps a smaller share of the words, or is "
        "uncertain.",
    )

    @field_validator("project")
    @classmethod
    def _no_password(cls, place: str | None) -> str | None:
        if place is not None and re.search(r"://[^/@]*:[^/@]*@|[?&]password=", place):
            raise hinted("a recipe holds no secrets", "leave the password out, and set PGPASSWORD in the environment")
        return place

    @model_validator(mode="after")
    def _waits_for_people(self) -> "EditorConfig":
        if self.wait and self.project is None:
            raise ValueError("wait says nothing of this editor; leave it out")
        return self

    @property
    def decides(self) -> dict[str, Any]:
        return {key: value for key, value in super().decides.items() if key not in self.OF_OTHERS}


FILE_KEYS: Final = tuple(key for key in FilesConfig.model_fields if key not in ("test_share", "train_share", "folds"))
"""The keys of `files` that are paths."""


class ArmConfig(Section):
    """An arm: a policy that a run trains or chooses, one row of Table 1; its method and what that learns from."""

    method: str = Field("ppo", description=f"One of: {', '.join(METHODS)}.")
    reward_model: str | None = Field(
        None, description="Name of an entry of `reward_models`, for methods that learn from rewards."
    )
    sequence_reward_model: str | None = Field(
        None, description="With reward=both: the sequence-level entry; `reward_model` is then the token-level one."
    )
    pairs: PairKind | None = Field(
        None,
        description="For methods that learn from pairs: edits, the default; hunks, a pair of each single change of an "
        "edit, the text before it and behind it; for dpo also comparisons. distill has a kind of its own, edit_texts.",
    )
    start: str | None = Field(
        None,
        description="Another arm, whose trained policy this one starts from, and stays close to: it is also the policy "
        "that KL is measured from. Default: the SFT policy.",
    )
    on: str | None = Field(
        None,
        description="Another arm, of whose own answers the edits are that this one learns from, for methods that learn "
        "from pairs. Default: those of the recipe's data, of the SFT policy.",
    )
    replay: bool = Field(
        False, description="With on: learn once more from the edits before, of the policies from which that arm comes."
    )
    edits: int | None = Field(
        None,
        gt=0,
        description="How many of this arm's answers are edited, where something learns `on` it. Default: as many as "
        "there are training edits.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Keys of the method's section that differ for this arm, such as {kl_coef: 0.1} of `ppo`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _method_as_key(cls, data: Any) -> Any:
        """Accept `ppo: {...}` for `options: {...}`, the spelling of recipes before version 0.2."""
        if not isinstance(data, Mapping):
            return data
        method = str(data.get("method", "ppo"))
        rest = {key: value for key, value in data.items() if key not in METHODS}
        if method not in METHODS:
            return rest
        foreign = [name for name in METHODS if name in data and name != method and data[name]]
        if foreign:
            raise ValueError(f"an arm of the method {method} does not use: {', '.join(foreign)}")
        old, new = data.get(method), rest.get("options") or {}
        if old is None:
            return rest
        if not isinstance(old, Mapping) or not isinstance(new, Mapping):
            return {**rest, "options": new if isinstance(old, Mapping) else old}
        twice = [key for key in old if key in new and old[key] != new[key]]
        if twice:
            raise ValueError(f"`{method}` and `options` both say {twice[0]}; write it once, in `options`")
        return {**rest, "options": {**old, **new}}

    @field_validator("method")
    @classmethod
    def _known_method(cls, method: str) -> str:
        if method not in METHODS:
            raise ValueError(f"no method of that name; one of: {', '.join(METHODS)}")
        return method

    @field_validator("options")
    @classmethod
    def _fit_the_method(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        method = METHODS.get(info.data.get("method", ""))
        return options if method is None else _differing(method.config, options)

    @model_validator(mode="after")
    def _fits_method(self) -> "ArmConfig":
        """Refuse keys that the method would ignore without a word."""
        method = self.row
        foreign = []
        if self.pairs is not None and self.pairs not in method.pairs:
            foreign.append(f"pairs: {self.pairs}" if method.pairs else "pairs")
        if self.sequence_reward_model is not None and not method.samples:
            foreign.append("sequence_reward_model")
        if self.reward_model is not None and method.learns_from != "rewards":
            foreign.append("reward_model")
        if self.on is not None and method.learns_from != "pairs":
            foreign.append("on")
        if foreign:
            raise ValueError(f"an arm of the method {self.method} does not use: {', '.join(foreign)}")
        if self.reward_model is None and method.learns_from == "rewards":
            raise ValueError(f"an arm of the method {self.method} needs a reward_model")
        if self.replay and self.on is None:
            raise ValueError("replay is not used without `on`; leave it out")
        return self

    @property
    def row(self) -> Method:
        """Its method's row of the table."""
        return METHODS[self.method]

    @property
    def reward_model_names(self) -> tuple[str, ...]:
        """The entries of `reward_models` that this arm takes rewards from; none if it learns from pairs."""
        return tuple(name for name in (self.reward_model, self.sequence_reward_model) if name is not None)

    @property
    def learns_from(self) -> PairKind | None:
        """The kind of pairs that the policy itself learns from; None if it learns from rewards, or not at all."""
        return self.pairs or next(iter(self.row.pairs), None)


def _differing(config: type[Section], options: dict[str, Any]) -> dict[str, Any]:
    """Validated options of which only those are kept that were written."""
    _refuse_computed(config.__name__, options)
    return config.model_validate(options).model_dump(exclude_unset=True)


def _refuse_computed(title: str, data: Any, *place: str) -> None:
    """Refuse keys in a section that moved to `compute`."""
    for key in COMPUTED if isinstance(data, Mapping) else ():
        if data.get(key) is not None:
            raise mistake(title, "all training stages share this key", (*place, key), data[key], f"write compute.{key}")
    if isinstance(data, Mapping) and data.get("lora") is not None:
        hint = "write lora at the top of the recipe"
        raise mistake(title, "all training stages share this section", (*place, "lora"), data["lora"], hint)


class RewardModelConfig(Section):
    """One reward model of the recipe."""

    pairs: Literal["edits", "hunks", "comparisons"] = Field(
        description="The kind of pairs that it learns from, or has learned from, as in an arm. With policy: that of "
        "its arm, by default edits."
    )
    folder: Path | None = Field(
        None,
        description="A ready-made reward checkpoint in place of training one. Its tokenizer and prompt template may be "
        "its own. Relative paths of a recipe start at the recipe's folder.",
    )
    policy: str | None = Field(
        None,
        description="An arm whose policy is made into a token-level reward model, in place of training one: the reward "
        "of a token is beta times the log-ratio of its probabilities under this policy and the one that it started "
        "from; beta is that of an arm of dpo, else 1 (RTO).",
    )
    start: str | None = Field(
        None,
        description="Another entry, further up, whose trained model this one starts from, heads and all, such as one "
        "with frozen_layers: all, from which some layers then learn. Default: the SFT policy, with heads that give 0.",
    )
    on: str | None = Field(
        None,
        description="An arm, of whose own answers the edits or comparisons are that this model learns from; its centre "
        "and scale are measured on these answers. Default: those of the recipe's data, of the SFT policy.",
    )
    replay: bool = Field(
        True,
        description="With on: learn from the pairs before too, of the policies from which that arm comes, so that the "
        "model still tells those apart.",
    )
    reward: dict[str, Any] = Field(default_factory=dict, description="Keys of `reward` that differ for this model.")

    @property
    def trains(self) -> bool:
        """Whether a model is trained, neither ready-made nor made of a policy."""
        return self.folder is None and self.policy is None

    @model_validator(mode="before")
    @classmethod
    def _as_its_policy(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("policy") is not None:
            return {"pairs": "edits", **data}
        return data

    @field_validator("reward")
    @classmethod
    def _keys_of_reward(cls, differing: dict[str, Any]) -> dict[str, Any]:
        return _differing(RewardConfig, differing)

    @model_validator(mode="after")
    def _ready_made(self) -> "RewardModelConfig":
        if self.policy is not None:
            unread = sorted(set(self.reward) - {"level", "reference_samples"})
            unread = [key for key in ("folder", "start", "on") if getattr(self, key) is not None] + unread
            if unread or self.reward.get("level", "token") != "token":
                raise ValueError(f"a model made of a policy does not use: {', '.join(unread) or 'level: sequence'}")
        ignored = sorted(set(self.reward) - {"level"}) if self.folder is not None else []
        if ignored:
            raise ValueError(f"a ready-made reward model is not trained, so reward.{ignored[0]} would not be read")
        if self.folder is not None and self.start is not None:
            raise ValueError("a ready-made reward model is not trained, so `start` would not be read")
        if self.folder is not None and self.on is not None:
            raise ValueError("a ready-made reward model is not trained, so `on` would not be read")
        if not self.replay and self.on is None:
            raise ValueError("replay is not used without `on`; leave it out")
        return self


def _paper_reward_models() -> dict[str, RewardModelConfig]:
    return {
        "token_edits": RewardModelConfig(pairs="edits", reward={"level": "token"}),
        "sequence_edits": RewardModelConfig(pairs="edits", reward={"level": "sequence"}),
        "sequence_comparisons": RewardModelConfig(pairs="comparisons", reward={"level": "sequence"}),
    }


def _paper_arms() -> dict[str, ArmConfig]:
    return {
        "token": ArmConfig(reward_model="token_edits", options={"reward": "token"}),
        "edits": ArmConfig(reward_model="sequence_edits", options={"reward": "sequence"}),
        "preference": ArmConfig(reward_model="sequence_comparisons", options={"reward": "sequence"}),
    }


_OF_THE_WORLD: Final = {"oracle": "the oracle", "scripted": "the scripted editor"}

RESERVED: Final[Mapping[str, frozenset[str]]] = {
    "arms": frozenset({"sft", "reference", "source"}),
    "reward_models": frozenset(
        {"policy", "prompts", "validation_prompts", "reference", "judge", "judgements", "align", "annotations"}
        | {"shorter_wins", "longer_wins", "white_space_wins", "white_space_loses"}
        | {"white_space_wins_then_shorter", "white_space_loses_then_shorter", "artefacts"}
    ),
    "groups": frozenset({"base"}),
}
"""Names of entries that results and stages need for something else."""


def check_entry_name(section: str, name: str) -> None:
    """Entries name folders of the run, so a name must not lead out of it or hide there."""
    if name.strip() in ("", ".", "..") or set(name) & set("/\\\0") or name.endswith(".partial"):
        raise ValueError(f"{section} has an entry called {name!r}, which cannot name a folder")
    if name in RESERVED.get(section, ()):
        raise ValueError(f"{section} has an entry called {name!r}, a name that redpencil uses itself")


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
        default_factory=_paper_reward_models, description="Reward models by name; default: the paper's three."
    )
    arms: dict[str, ArmConfig] = Field(
        default_factory=_paper_arms,
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
                _refuse_computed(cls.__name__, section, str(name))
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
        kinds = [arm.learns_from for arm in self.arms.values()]
        kinds += [model.pairs for model in self.reward_models.values() if model.folder is None]
        of_arms = ("prompts", "validation_prompts", "evaluation_prompts", "judge") if self.arms else ()
        for key in (*of_arms, *(("comparisons",) if "comparisons" in kinds else ())):
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
    def further_pairs(self) -> tuple[PairKind, ...]:
        """The kinds of pairs that are made of training edits beside the whole ones, for what learns from them."""
        kinds = [arm.learns_from for arm in self.arms.values()]
        kinds += [model.pairs for model in self.reward_models.values() if model.folder is None]
        return tuple(kind for kind, rows in ROWS_OF.items() if kind != rows and kind in kinds)

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
