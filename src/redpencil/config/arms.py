"""The entries of a recipe: arms, and reward models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from redpencil.config.data import PairKind
from redpencil.config.methods import METHODS, Method
from redpencil.config.training import COMPUTED, RewardConfig
from redpencil.sections import Section, mistake


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
    refuse_computed(config.__name__, options)
    return config.model_validate(options).model_dump(exclude_unset=True)


def refuse_computed(title: str, data: Any, *place: str) -> None:
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


def paper_reward_models() -> dict[str, RewardModelConfig]:
    """The paper's three reward models."""
    return {
        "token_edits": RewardModelConfig(pairs="edits", reward={"level": "token"}),
        "sequence_edits": RewardModelConfig(pairs="edits", reward={"level": "sequence"}),
        "sequence_comparisons": RewardModelConfig(pairs="comparisons", reward={"level": "sequence"}),
    }


def paper_arms() -> dict[str, ArmConfig]:
    """The paper's three arms, the rows of Table 1."""
    return {
        "token": ArmConfig(reward_model="token_edits", options={"reward": "token"}),
        "edits": ArmConfig(reward_model="sequence_edits", options={"reward": "sequence"}),
        "preference": ArmConfig(reward_model="sequence_comparisons", options={"reward": "sequence"}),
    }


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
