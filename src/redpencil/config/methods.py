"""The ways from rewards or pairs to a policy: their options, and the table of them, `METHODS`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator

from redpencil.config.compute import RewardLevel
from redpencil.config.data import PairKind
from redpencil.config.training import OptimizerConfig, Schedule, StepsConfig
from redpencil.sections import Section, hinted

RewardKind = Literal["token", "sequence", "both", "token_mean_at_end", "increments"]
KLEstimator = Literal["k1", "k2", "k3"]
DPOLoss = Literal["sigmoid", "hinge", "ipo", "robust", "sigmoid_norm", "apo_zero", "apo_down"]


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

    @property
    def loss_name(self) -> str:
        """The name of the loss in reports."""
        names = {"sigmoid": "DPO", "apo_zero": "APO-zero", "apo_down": "APO-down"}
        return names.get(self.loss_type, f"DPO, {self.loss_type}")


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
    """The name in reports; `{0}` stands for the options."""
    config: type[Section]
    learns_from: Literal["rewards", "pairs"]
    run: str
    """`module:function`. `pipeline.training` says which arguments it gets."""
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
            "best_of_n",
            "best of {0.n}",
            BestOfNConfig,
            "rewards",
            "redpencil.training.best_of_n:best_of_n",
            trains=False,
        ),
        Method(
            "dpo",
            "{0.loss_name}",
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
            "self-distillation on {0.responses}",
            DistillConfig,
            "pairs",
            "redpencil.training.distill:train_distill",
            pairs=("edit_texts",),
        ),
    )
}
"""The methods by name, in the order in which helps and tables list them."""
