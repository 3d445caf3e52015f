"""Checks of a user's own files before anything is trained on them: a mistake shows at once, not hours later."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from redpencil.adapters import model_config
from redpencil.config.asked import EditorConfig, JudgeConfig
from redpencil.config.data import FILE_KEYS, ROWS_OF, FilesConfig
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError, naming, naming_key
from redpencil.evaluation.matching import match_rows
from redpencil.models.checkpoints import check_model_folder
from redpencil.models.codec import CHAT, Codec, load_codec
from redpencil.models.forward import READ_TWICE
from redpencil.models.sampling import EncodedPrompts, check_context, encode_prompts
from redpencil.models.sidecar import (
    LEVELS,
    chat_options_of,
    codec_of_checkpoint,
    own_codec,
    read_card,
    reward_level,
    template_of,
)
from redpencil.pipeline.context import Context
from redpencil.pipeline.editing import check_editor
from redpencil.pipeline.splits import learned_rows, split_prompts
from redpencil.records import (
    Comparison,
    Edit,
    Example,
    Preference,
    Prompt,
    Response,
    read_jsonl,
    references_of,
    source_of,
)
from redpencil.rounds import unrolled
from redpencil.text import prompt_key
from redpencil.training.scoring import check_fits, check_room, encode_samples

Named = TypeVar("Named", Prompt, Response)


def check_inputs(recipes: Iterable[Recipe]) -> None:
    """Check files of the user, once for all recipes that read the same ones, and ready-made reward models.

    Raises:
        RedpencilError: as `check_files`, `check_reward_models`, `check_judge`, `check_references` and
            `check_lengths`; or if the editor's edits, template or prices do not fit, or there is no API key.
    """
    checked = []
    for recipe in recipes:
        if recipe.files is not None:
            needed = frozenset(ROWS_OF[kind] for kind in recipe.learned_pairs)
            every = unrolled(recipe).files or recipe.files
            files = (every, recipe.prompt_template, recipe.chat_options, recipe.seeds, needed)
            if files not in checked:
                check_files(*files)
                checked.append(files)
        check_reward_models(recipe)
        if recipe.judge is not None:
            check_judge(recipe.judge)
        if recipe.editor is not None:
            _check_editor(recipe.editor)
        check_references(recipe)
        _check_own_answers(recipe)
        if recipe.files is not None:
            check_lengths(recipe, recipe.files)


def check_judge(judge: JudgeConfig) -> None:
    """Check what the last stage of a run would stumble over, hours later.

    Raises:
        RedpencilError: naming file and key, if the judge's folder, verdicts, template or prices are not what they
            should be, or there is no API key.
    """
    # People cannot compare answers that are not there yet, so their verdicts may come later.
    verdicts = None if judge.verdicts is None or judge.verdicts.exists() else judge.verdicts.parent
    for key, path in (("folder", judge.folder), ("verdicts", verdicts), ("prices", judge.prices)):
        _check_exists(path, f"judge.{key}")
    if judge.folder is not None:
        _check_judging_model(judge.folder, "judge.folder")
    if (
        judge.verdicts is not None
        and verdicts is None
        and not any(row.preference is not Preference.NONE for row in read_jsonl(judge.verdicts, Comparison))
    ):
        raise RedpencilError(
            "no comparison in it has a verdict", file=judge.verdicts, field="judge.verdicts", hint="give another file"
        )
    if judge.provider is not None:
        from redpencil.pipeline.llm_judging import check_llm_judge

        check_llm_judge(judge)


def _check_editor(editor: EditorConfig) -> None:
    # As with verdicts, edits of answers may come later.
    edits = None if editor.edits is None or editor.edits.exists() else editor.edits.parent
    for key, path in (("edits", edits), ("template", editor.template), ("prices", editor.prices)):
        _check_exists(path, f"editor.{key}")
    if editor.edits is not None and edits is None:
        _count(editor.edits, Edit)
    check_editor(editor)


def _check_own_answers(recipe: Recipe) -> None:
    """Refuse a recipe in which something learns from edits of an arm's answers that nobody can make."""
    arms = unrolled(recipe).edited_arms
    if not arms:
        return
    editor = Context(recipe, Path(), 0).editor
    if editor is None:
        raise RedpencilError(
            f"nobody edits the answers of {arms[0]!r}, from which something learns",
            field="editor",
            hint="name an editor in a section editor: an LLM (provider), people (project), or references",
        )
    if editor.rule == "references":
        assert recipe.files is not None
        _check_have_references(recipe.files.prompts)


def check_references(recipe: Recipe) -> None:
    """Check that prompts have references where the recipe's judge or editor needs some, and a source for the judge.

    Raises:
        RedpencilError: naming the file and the row that has none, or whose source is no text.
    """
    if recipe.files is None or not recipe.arms:
        return
    judging, editing = (one is not None and one.rule == "references" for one in (recipe.judge, recipe.editor))
    if judging or (editing and recipe.editor is not None and recipe.editor.measure):
        _check_have_references(recipe.files.evaluation_prompts, judging=judging)
    if judging:
        _check_have_references(recipe.files.validation_prompts, judging=judging)


def _check_have_references(prompts: Path | None, *, judging: bool = False) -> None:
    if prompts is not None:
        with naming(prompts):
            for row in read_jsonl(prompts, Prompt):
                references_of(row.id, row.meta)
                if judging:
                    source_of(row.id, row.prompt, row.meta)


def _check_exists(path: Path | None, key: str) -> None:
    if path is not None and not path.exists():
        raise RedpencilError(
            "no such file or folder",
            file=path,
            field=key,
            hint="correct the path; relative paths of a recipe start at the recipe's folder",
        )


def _check_judging_model(folder: Path, key: str) -> None:
    with naming_key(key):
        check_model_folder(folder)
    kinds = model_config(folder).get("architectures") or ["unknown"]
    if not str(kinds[0]).endswith(tuple(LEVELS)):
        raise RedpencilError(
            f"{kinds[0]} is not a reward model, so it cannot judge",
            file=folder,
            field=key,
            hint="give a checkpoint that `redpencil reward` wrote",
        )


def check_files(
    files: FilesConfig,
    prompt_template: str,
    chat_options: Mapping[str, Any] = MappingProxyType({}),
    seeds: Iterable[int] = (0,),
    needed: Collection[str] = ("edits", "comparisons"),
) -> None:
    """Read every file of a recipe once; `chat_options` and `seeds` are those of the recipe.

    Of the kinds of rows that are `needed`, `files.train_share` must leave some.

    Raises:
        RedpencilError: naming file, line and field, if one is missing, has a row that does not fit, has too few rows
            or does not go with the others.
    """
    for key in FILE_KEYS:
        _check_exists(getattr(files, key), f"files.{key}")
    _check_models(files, prompt_template, chat_options)
    if files.sft is not None:
        _count(files.sft, Example)
    kinds = {"comparisons": Comparison, "edits": Edit}
    prompts = {kind: _prompts(getattr(files, kind), record) for kind, record in kinds.items() if getattr(files, kind)}
    every = dict(prompts)
    for kind, record in kinds.items():
        if getattr(files, f"test_{kind}") is not None:
            _count(getattr(files, f"test_{kind}"), record)
            prompts.pop(kind, None)
    for seed in seeds:
        held = split_prompts(files, prompts, seed)
        for kind, keys in every.items():
            learned_rows(files, kind, sum(key not in held for key in keys), needed=kind in needed)
    if files.prompts is not None:
        _count(files.prompts, Prompt)
    if files.validation_prompts is not None:
        _with_ids(files.validation_prompts, Prompt)
    asked = [] if files.evaluation_prompts is None else _with_ids(files.evaluation_prompts, Prompt)
    if files.reference_outputs is not None and asked:
        match_reference(files.reference_outputs, asked)


def check_reward_models(recipe: Recipe) -> None:
    """Check every ready-made reward model of a recipe.

    Raises:
        RedpencilError: if one is missing, is not a reward model of the level that the recipe says, has a damaged card,
            or has no tokenizer in its folder.
    """
    for name, model in recipe.reward_models.items():
        if model.folder is None:
            continue
        with naming_key(f"reward_models.{name}.folder"):
            check_model_folder(model.folder)
        card = read_card(model.folder, reward_level(model.folder, recipe.reward_config(name).level))
        codec_of_checkpoint(model.folder, template_of(model.folder, card.prompt_template))


def check_lengths(recipe: Recipe, files: FilesConfig) -> None:
    """Check that texts fit into the models that will read them, as far as that is known before anything is trained.

    Raises:
        RedpencilError: naming the file, if no prompt is short enough, a prompt leaves a model no room for a response,
            or the judge cannot read a reference output.
    """
    codec, sampling = load_codec(files.model, recipe.prompt_template, **recipe.chat_options), recipe.sampling
    lengths = _PromptLengths(files, codec)
    judging = recipe.who_judges.folder
    judge_key = "judge.folder" if files.judge is None else "files.judge"
    judge = {} if judging is None else {judge_key: judging}
    lengths.check("prompts", sampling.max_prompt_length, sampling.response_length, {})
    lengths.check("evaluation_prompts", sampling.max_prompt_length, sampling.response_length, judge)
    for name, arm in recipe.arms.items():
        options = recipe.options(name) if arm.row.samples else sampling
        folders = {
            f"reward_models.{model}.folder": recipe.reward_models[model].folder for model in arm.reward_model_names
        }
        readers = {key: folder for key, folder in folders.items() if folder is not None}
        key = "prompts" if arm.row.trains else "evaluation_prompts"
        lengths.check(key, options.max_prompt_length, options.response_length, readers)
        lengths.check("validation_prompts", sampling.max_prompt_length, options.response_length, judge)
    if files.reference_outputs is not None and files.evaluation_prompts is not None and judging is not None:
        matched = match_reference(
            files.reference_outputs, lengths.fitting("evaluation_prompts", sampling.max_prompt_length).records
        )
        own, context, readings = _reads(judging, codec)
        rows = encode_samples([output for _, output in matched], own)
        with naming_key(judge_key), naming(files.reference_outputs):
            check_fits(
                context,
                readings,
                [row[0] for row in rows],
                [row[1] for row in rows],
                [output.id for _, output in matched],
            )


@dataclass(frozen=True, slots=True)
class _PromptLengths:
    """The prompts of a user's files in the policy's tokens; a file is encoded once for each limit on their length."""

    files: FilesConfig
    codec: Codec
    encoded: dict[tuple[str, int], EncodedPrompts] = field(default_factory=dict)

    def fitting(self, key: str, most: int) -> EncodedPrompts:
        """Encode the prompts of `files.<key>` that have at most so many tokens."""
        if (key, most) not in self.encoded:
            path = getattr(self.files, key)
            with naming(path):
                self.encoded[key, most] = encode_prompts(list(read_jsonl(path, Prompt)), self.codec, most)
        return self.encoded[key, most]

    def check(self, key: str, most: int, response_length: int, readers: Mapping[str, Path]) -> None:
        """Check that the policy, and the reward models by the key that names each, have room for responses."""
        if getattr(self.files, key) is None:
            return
        prompts = self.fitting(key, most)
        with naming_key(f"files.{key}"), naming(self.files.model):
            check_context(self.codec.context, prompts.ids, response_length)
        for reader, folder in readers.items():
            with naming_key(reader), naming(folder):
                check_room(*_reads(folder, self.codec), self.codec, prompts.records, response_length)


def _reads(folder: Path, policy: Codec) -> tuple[Codec, int | None, int]:
    """How a reward model reads a policy's answers: its tokenizer and template, its context, and how often."""
    card = read_card(folder, reward_level(folder))
    readings = 2 if model_config(folder).get(READ_TWICE) else 1
    return own_codec(folder, card, policy) or policy, load_codec(folder).context, readings


def _check_models(files: FilesConfig, prompt_template: str, chat_options: Mapping[str, Any]) -> None:
    with naming_key("files.model"):
        check_model_folder(files.model, fresh=files.sft is not None)
    if files.judge is not None:
        _check_judging_model(files.judge, "files.judge")
    template = template_of(files.model, prompt_template)
    if files.sft is None and template != prompt_template:
        raise RedpencilError(
            f"the model was trained with the prompt template {template!r}, not {prompt_template!r}",
            file=files.model,
            field="prompt_template",
            hint="set prompt_template in the recipe to that of the model",
        )
    trained = chat_options_of(files.model) if files.sft is None and template == CHAT else {}
    for key, value in trained.items():
        if key in chat_options and chat_options[key] != value:
            raise RedpencilError(
                f"the model was trained with {key} {value}, not {chat_options[key]}",
                file=files.model,
                field=key,
                hint=f"set {key} in the recipe to that of the model",
            )


def _count(file: Path, kind: Any) -> int:
    """Read all rows of a file, and so check them."""
    return sum(1 for _ in read_jsonl(file, kind))


def _prompts(file: Path, kind: Any) -> list[str]:
    """Read all rows of a file, and so check them; returns the keys of their prompts."""
    return [prompt_key(row.prompt) for row in read_jsonl(file, kind)]


def _with_ids(file: Path, kind: type[Named]) -> list[Named]:
    """Read rows, each with an id of its own."""
    rows: dict[str, Named] = {}
    for row in read_jsonl(file, kind):
        if row.id in rows:
            raise RedpencilError(
                f"the id {row.id!r} occurs twice", file=file, field="id", hint="give every row its own id"
            )
        rows[row.id] = row
    return list(rows.values())


def match_reference(file: Path, prompts: Sequence[Prompt]) -> list[tuple[Prompt, Response]]:
    """Match each evaluation prompt with the reference's output in `file`, by id, or by prompt where the ids differ.

    Outputs for other prompts are left out.

    Raises:
        RedpencilError: naming the file and the prompt, if there is no output for one.
    """
    ids, texts = {prompt.id for prompt in prompts}, {prompt.prompt for prompt in prompts}
    outputs = [row for row in _with_ids(file, Response) if row.id in ids or row.prompt in texts]
    with naming(file):
        return match_rows(prompts, outputs, ("evaluation prompt", "reference output"))
