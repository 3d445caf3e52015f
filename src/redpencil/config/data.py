"""Where data are from: the small world, or a user's files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, model_validator

from redpencil.sections import Section

PairKind = Literal["edits", "hunks", "edit_texts", "comparisons"]
Rows = Literal["edits", "comparisons"]
ROWS_OF: Final[Mapping[PairKind, Rows]] = {
    "edits": "edits",
    "hunks": "edits",
    "edit_texts": "edits",
    "comparisons": "comparisons",
}
"""The annotations that each kind of pairs is made of."""


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


FILE_KEYS: Final = tuple(key for key in FilesConfig.model_fields if key not in ("test_share", "train_share", "folds"))
"""The keys of `files` that are paths."""
