"""What all training shares, and SFT, the alignment of edits and reward models."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from redpencil.config.compute import ComputeConfig, RewardLevel, SamplerConfig, ServerConfig
from redpencil.sections import Section, hinted, mistake

TokenLossName = Literal["eq3", "eq4", "blame", "contrast"]
Schedule = Literal["constant", "linear", "cosine"]


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
