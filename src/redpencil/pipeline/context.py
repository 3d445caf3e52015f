"""Where the artefacts of one run lie, for the world and for a user's own files alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from redpencil.config import FilesConfig, Recipe
from redpencil.models.codec import Codec, load_codec
from redpencil.models.runtime import Runtime, make_runtime


@dataclass(frozen=True, slots=True)
class Paths:
    """Every path that one stage writes and another reads."""

    root: Path
    files: FilesConfig | None
    methods: Mapping[str, str] = field(default_factory=dict)
    """By arm; an arm that is not named is one of PPO."""

    @property
    def model(self) -> Path:
        """The base model."""
        return self.files.model if self.files else self.root / "world" / "model"

    @property
    def sft_examples(self) -> Path:
        """Demonstrations for SFT."""
        return self.files.sft or Path() if self.files else self.root / "world" / "sft.jsonl"

    @property
    def sft_policy(self) -> Path:
        """The SFT policy: trained here, or the user's model as it is."""
        if self.files and self.files.sft is None:
            return self.files.model
        return self.root / "sft" / "checkpoint"

    @property
    def prompts(self) -> Path:
        """Prompts of PPO and of the annotations."""
        return self.files.prompts if self.files else self.root / "world" / "prompts.jsonl"

    @property
    def validation_prompts(self) -> Path:
        """Prompts on which PPO is watched."""
        return self.files.validation_prompts if self.files else self.root / "world" / "validation_prompts.jsonl"

    @property
    def evaluation_prompts(self) -> Path:
        """Prompts of Table 1."""
        return self.files.evaluation_prompts if self.files else self.root / "world" / "evaluation_prompts.jsonl"

    @property
    def samples(self) -> Path:
        """Responses of the SFT policy."""
        return self.root / "samples" / "responses.jsonl"

    @property
    def annotations(self) -> Path:
        """Folder of comparisons and edits, split into train and test."""
        return self.root / "annotations"

    def pairs(self, kind: str, split: str) -> Path:
        """Tokenised pairs; kind: edits, comparisons or comparisons_clean."""
        return self.root / "align" / f"{kind}_{split}.jsonl"

    def reward_model(self, name: str) -> Path:
        """A reward checkpoint."""
        return self.root / f"reward-{name}" / "checkpoint"

    def training(self, arm: str) -> Path:
        """Folder of the stage that trains an arm; for best-of-n, which trains nothing, of the one that answers."""
        method = self.methods.get(arm, "ppo")
        return self.root / f"{'outputs' if method == 'best_of_n' else method}-{arm}"

    def policy(self, name: str) -> Path:
        """A policy checkpoint: `sft` or an arm. Best-of-n has none of its own: it samples from `sft`."""
        if name == "sft" or self.methods.get(name) == "best_of_n":
            return self.sft_policy
        return self.training(name) / "checkpoint"

    def outputs(self, name: str) -> Path:
        """A policy's responses to the evaluation prompts."""
        return self.root / f"outputs-{name}" / "evaluation.jsonl"

    def reference_outputs(self, split: str) -> Path:
        """The reference's responses to the validation or evaluation prompts."""
        return self.root / "reference" / f"{split}.jsonl"


@dataclass(frozen=True)
class Context:
    """The recipe and the place of one run; made anew in every worker process."""

    recipe: Recipe
    root: Path
    seed: int

    @property
    def paths(self) -> Paths:
        """Where things lie."""
        return Paths(self.root, self.recipe.files, {name: arm.method for name, arm in self.recipe.arms.items()})

    @property
    def trains_sft(self) -> bool:
        """Whether the run has an SFT stage."""
        return self.recipe.files is None or self.recipe.files.sft is not None

    @property
    def reference_inputs(self) -> dict[str, Path]:
        """What the reference stage reads besides policy and prompts."""
        if self.recipe.files is None:
            return {"examples": self.root / "world" / "reference.jsonl"}
        given = self.recipe.files.reference_outputs
        return {} if given is None else {"reference_outputs": given}

    @property
    def annotation_inputs(self) -> dict[str, Path]:
        """What the annotations stage reads besides samples."""
        files = self.recipe.files
        return {} if files is None else {"comparisons": files.comparisons, "edits": files.edits}

    @property
    def judge_inputs(self) -> dict[str, Path]:
        """What the judge reads besides outputs."""
        return {} if self.recipe.files is None else {"judge": self.recipe.files.judge}

    @cached_property
    def runtime(self) -> Runtime:
        """Device and number format."""
        return make_runtime(self.recipe.compute.device, self.recipe.dtype, self.recipe.compute.threads)

    @cached_property
    def codec(self) -> Codec:
        """The tokenizer and prompt template of all models of the run."""
        return load_codec(self.paths.model, self.recipe.prompt_template)
