"""The recipe of a run and the paths of its artefacts, for the world and for a user's own files alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from redpencil.config.asked import EditorConfig
from redpencil.config.data import FilesConfig
from redpencil.config.methods import Method, RolloutConfig, SamplingConfig
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError
from redpencil.records import Edit, Prompt, read_jsonl, references_of

if TYPE_CHECKING:  # They load torch, which planning a run does not need.
    from redpencil.models.codec import Codec
    from redpencil.models.runtime import Runtime
    from redpencil.models.sampling import Sampler


@dataclass(frozen=True, slots=True)
class Paths:
    """Every path that one stage writes and another reads."""

    root: Path
    files: FilesConfig | None
    methods: Mapping[str, Method] = field(default_factory=dict)
    """By arm."""
    starts: Mapping[str, str | None] = field(default_factory=dict)
    """By arm the one that it starts from; None for the SFT policy."""

    @property
    def model(self) -> Path:
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
        return self._file("prompts")

    @property
    def validation_prompts(self) -> Path:
        """Prompts on which PPO is watched."""
        return self._file("validation_prompts")

    @property
    def evaluation_prompts(self) -> Path:
        """Prompts of Table 1."""
        return self._file("evaluation_prompts")

    def _file(self, key: str) -> Path:
        """A file of the user's, which the recipe has checked to be there where it is needed, or the world's."""
        if self.files is None:
            return self.root / "world" / f"{key}.jsonl"
        path: Path | None = getattr(self.files, key)
        return path or Path()

    @property
    def samples(self) -> Path:
        return self.samples_of(None)

    def samples_of(self, arm: str | None) -> Path:
        """Responses of an arm's policy; None: of the SFT policy."""
        return _own(self.root / "samples", arm) / "responses.jsonl"

    @property
    def annotations(self) -> Path:
        """Folder of comparisons and edits, split into train and test."""
        return self.annotations_of(None)

    def annotations_of(self, arm: str | None) -> Path:
        """Folder of edits, and in the world comparisons, of an arm's responses; None: those of the recipe's data."""
        return _own(self.root / "annotations", arm)

    def aligned(self, arm: str | None) -> Path:
        """Folder of the tokenised pairs of `annotations_of`."""
        return _own(self.root / "align", arm)

    def pairs(self, kind: str, split: str, arm: str | None = None) -> Path:
        """Tokenised pairs; kind: edits, comparisons or comparisons_clean."""
        return self.aligned(arm) / f"{kind}_{split}.jsonl"

    def training_pairs(self, kind: str, arms: Sequence[str | None]) -> tuple[Path, ...]:
        """The files of tokenised pairs to learn from, of the responses of each policy."""
        return tuple(self.pairs(kind, "train", arm) for arm in arms)

    def reward_model(self, name: str) -> Path:
        return self.root / f"reward-{name}" / "checkpoint"

    def training(self, arm: str) -> Path:
        """Folder of the stage that trains an arm; of a method that trains nothing, of the stage that answers."""
        method = self.methods[arm]
        return self.root / f"{method.name if method.trains else 'outputs'}-{arm}"

    def policy(self, name: str) -> Path:
        """A policy checkpoint: `sft` or an arm. A method that trains nothing answers by what it starts from."""
        if name == "sft":
            return self.sft_policy
        return self.training(name) / "checkpoint" if self.methods[name].trains else self.start(name)

    def start(self, arm: str) -> Path:
        """The policy that an arm starts from, and stays close to."""
        return self.policy(self.starts.get(arm) or "sft")

    def outputs(self, name: str) -> Path:
        """A policy's responses to the evaluation prompts."""
        return self.root / f"outputs-{name}" / "evaluation.jsonl"

    def reference_outputs(self, split: str) -> Path:
        """The reference's responses to the validation or evaluation prompts."""
        return self.root / "reference" / f"{split}.jsonl"


def _own(folder: Path, arm: str | None) -> Path:
    return folder if arm is None else folder.with_name(f"{folder.name}-{arm}")


def at_evaluation(sampling: SamplingConfig, recipe: Recipe) -> SamplingConfig:
    """Take the temperature of judged answers, where the recipe says one."""
    temperature = recipe.sampling.evaluation_temperature
    return sampling if temperature is None else sampling.model_copy(update={"temperature": temperature})


def _have_references(prompts: Path) -> bool:
    """Whether every row of a file of prompts has references; what is wrong with the file, its readers say."""
    try:
        return all(references_of(row.id, row.meta) for row in read_jsonl(prompts, Prompt))
    except RedpencilError:
        return False


@dataclass(frozen=True, slots=True)
class Setup:
    """The recipe's options, the tokenizer and the device, for all work with models."""

    recipe: Recipe
    codec: "Codec"
    runtime: "Runtime"

    @property
    def sampling(self) -> SamplingConfig:
        """`sampling`, with as many prompts at once as `compute` says."""
        return self.recipe.sampling.model_copy(update={"batch_size": self.recipe.answers_at_once})

    @property
    def judged_sampling(self) -> SamplingConfig:
        """`sampling` of the answers that are judged."""
        return at_evaluation(self.sampling, self.recipe)

    def sampler(self, policy: Path, kept: Path | None = None) -> "Sampler":
        """Load the policy of a folder to sample from it; `kept` is a folder for what is sampled, see `HFSampler`."""
        from redpencil.models.checkpoints import load_policy
        from redpencil.models.samplers import make_sampler

        model = load_policy(policy, self.runtime, trained=False, codec=self.codec)
        return make_sampler(model, self.recipe.compute.sampler, kept)


@dataclass(frozen=True)
class Context:
    """The recipe and the folder of one run; every worker process makes its own."""

    recipe: Recipe
    root: Path
    seed: int

    @property
    def paths(self) -> Paths:
        arms = self.recipe.arms.items()
        methods, starts = ({name: arm.row for name, arm in arms}, {name: arm.start for name, arm in arms})
        return Paths(self.root, self.recipe.files, methods, starts)

    @property
    def features(self) -> Path:
        """Folder of hidden states, which the runs of all seeds share; it may be deleted at any time."""
        several = self.root.name == f"seed-{self.seed}"
        return (self.root.parent if several else self.root) / ".features"

    @property
    def trains_sft(self) -> bool:
        """True if the run has an SFT stage."""
        return self.recipe.files is None or self.recipe.files.sft is not None

    @property
    def reference_inputs(self) -> dict[str, Path]:
        """Inputs of the reference stage besides policy and prompts."""
        if self.recipe.files is None:
            return {"examples": self.root / "world" / "reference.jsonl"}
        outputs = self.recipe.files.reference_outputs
        return {} if outputs is None else {"reference_outputs": outputs}

    @property
    def annotation_inputs(self) -> dict[str, Path]:
        """Inputs of the annotations stage besides samples."""
        keys = ("comparisons", "edits", "test_comparisons", "test_edits")
        given = {key: getattr(self.recipe.files, key, None) for key in keys}
        return {key: path for key, path in given.items() if path is not None}

    @property
    def judge_inputs(self) -> dict[str, Path]:
        """Inputs of the judge besides outputs, as far as it judges policies while they train too."""
        folder = self.recipe.who_judges.folder
        return {} if folder is None else {"judge": folder}

    @property
    def judge_stage_inputs(self) -> dict[str, Path]:
        """Inputs of the judge besides outputs."""
        judge = self.recipe.who_judges
        files = {"verdicts": judge.verdicts, "judge_template": Path(judge.template)}
        return self.judge_inputs | {key: path for key, path in files.items() if path is not None and path.is_file()}

    @cached_property
    def editor(self) -> EditorConfig | None:
        """Who edits answers: that of the recipe, the world's scripted one, or the references of the prompts; None if
        there is nobody.
        """
        if self.recipe.editor is not None:
            return self.recipe.editor
        if self.recipe.world is not None:
            return EditorConfig(rule="scripted")
        return EditorConfig(rule="references") if _have_references(self.paths.evaluation_prompts) else None

    @property
    def measures_needs(self) -> bool:
        """Whether the run counts what its policies' answers still need."""
        editor = self.editor
        return bool(self.policies) and editor is not None and editor.measure

    @property
    def editor_inputs(self) -> dict[str, Path]:
        """Inputs of a stage in which the editor works, besides what is edited."""
        editor = self.editor
        files = {} if editor is None else {"edits": editor.edits, "edit_template": editor.template}
        return {key: path for key, path in files.items() if path is not None and path.is_file()}

    @property
    def samples_policy(self) -> bool:
        """True if the SFT policy is sampled; else centre and scale of rewards are those of the training originals."""
        return self.recipe.files is None or self.recipe.files.prompts is not None

    @property
    def policies(self) -> tuple[str, ...]:
        """What answers the evaluation prompts and is judged: nothing in a run of reward models alone."""
        return ("sft", *self.recipe.arms) if self.recipe.arms else ()

    @property
    def samples_needed(self) -> int:
        """The number of responses of the SFT policy: two for each comparison of the world, or for reward scales."""
        world = self.recipe.world
        if world is not None:
            return 2 * (world.comparisons + world.test_comparisons)
        return self.scale_samples(None)

    def scale_samples(self, arm: str | None) -> int:
        """The most responses of an arm, None for the SFT policy, on which a reward model's scale is measured."""
        models = self.recipe.reward_models.items()
        needed = (self.recipe.reward_config(name).reference_samples for name, model in models if model.on == arm)
        return max(needed, default=2)

    def edits_needed(self, arm: str) -> int:
        """The number of responses of an arm that are edited."""
        own = self.recipe.arms[arm].edits
        if own is None and self.recipe.world is not None:
            own = self.recipe.world.comparisons
        if own is None:
            own = sum(1 for _ in read_jsonl(self.paths.annotations / "edits_train.jsonl", Edit))
        return own

    @property
    def sampling_arms(self) -> list[str]:
        """The arms that learn from rollouts, which have learning curves of reward and KL, in the recipe's order."""
        return [name for name, arm in self.recipe.arms.items() if arm.row.samples]

    def pays_centred(self, reward_model: str) -> bool:
        """True if all arms that learn from this model's rewards subtract its centre, and if there are none."""
        users = [arm for arm in self.sampling_arms if self.recipe.arms[arm].reward_model == reward_model]
        options: list[RolloutConfig] = [self.recipe.options(arm) for arm in users]
        return all(config.center_rewards for config in options)

    @cached_property
    def runtime(self) -> "Runtime":
        from redpencil.models.runtime import make_runtime

        return make_runtime(
            *(self.recipe.compute.device, self.recipe.dtype, self.recipe.compute.threads, self.recipe.compute),
            checkpoint_dtype=self.recipe.checkpoint_dtype,
        )

    @cached_property
    def codec(self) -> "Codec":
        """The tokenizer and prompt template of all models of the run."""
        from redpencil.models.codec import load_codec

        return load_codec(self.paths.model, self.recipe.prompt_template, **self.recipe.chat_options)

    @property
    def setup(self) -> Setup:
        return Setup(self.recipe, self.codec, self.runtime)
