"""The recipe's editor: who edits policies' answers, to learn from the edits or to count what the answers still need."""

from collections.abc import Mapping, Sequence
from typing import Final

from redpencil.config.asked import EditorConfig
from redpencil.config.data import WorldConfig
from redpencil.editing.edit import EditStyle, edit_job, edit_responses, make_edit, request_style
from redpencil.editing.references import edit_to_reference
from redpencil.errors import RedpencilError, naming_key
from redpencil.pipeline.asking import ask_all, check_asked, provider_for
from redpencil.pipeline.context import Context
from redpencil.pipeline.people import check_project, edit_by_people
from redpencil.providers.base import ScriptedProvider
from redpencil.providers.cache import ResponseCache
from redpencil.providers.job import ProviderJob
from redpencil.records import HAS_TEXT, Edit, EditOutcome, Response, read_jsonl
from redpencil.runs import Stage, derive_seed
from redpencil.world.build import make_oracle
from redpencil.world.editor import scripted_editor

NOBODY: Final = "nobody edited it"
"""The problem of an answer that is not in the file of people's edits."""
Responses = Mapping[str, Sequence[Response]]


def check_editor(config: EditorConfig) -> None:
    """Check before a run what the editing of answers would stumble over: the template, and as `check_asked`.

    Raises:
        RedpencilError: naming the key of the recipe.
    """
    if config.project is not None:
        check_project(config.project)
    if config.provider is not None:
        with naming_key("editor.template"):
            _style(config)
        check_asked(config)


def edit_answers(context: Context, stage: Stage, responses: Responses, *, measuring: bool) -> dict[str, list[Edit]]:
    """Have the recipe's editor edit responses: lists by name in, an edit of each response in the same order out.

    An edit whose outcome has no text says in its `meta` why there is none.

    Args:
        context: its `editor` must not be None.
        stage: the stage that needs the edits; an LLM's answers are kept in a cache of its name.
        responses: by policy, or whatever else they come from. Those of references have some in their `meta`.
        measuring: True to count what the answers need: the scripted editor then repairs everything and nothing else.
            False for edits to learn from, for which it is as good as `world` says.

    Raises:
        RedpencilError: if people's edits are not there yet, or have none of an entry of `responses`; the LLM reaches
            `editor.max_cost` or answers nothing; or a response has no references.
    """
    config = context.editor
    assert config is not None
    if config.provider is not None:
        edits = _by_llm(context, stage, config, responses)
    elif config.edits is not None:
        edits = _by_people(context, config, responses, measuring=measuring)
    elif config.project is not None:
        edits = edit_by_people(stage, config, responses)
    elif config.rule == "references":
        spacing = not context.recipe.align.restore_spacing
        edits = {name: [edit_to_reference(row, spacing=spacing) for row in rows] for name, rows in responses.items()}
    else:
        assert context.recipe.world is not None
        provider = world_editor(context.recipe.world, derive_seed(stage.seed, "editor"), measuring=measuring)
        edits = {name: list(edit_responses(rows, provider)) for name, rows in responses.items()}
    for name, rows in edits.items():
        unedited = sum(row.outcome not in (*HAS_TEXT, EditOutcome.EMPTY) for row in rows)
        if unedited:
            stage.remark(f"{unedited:,} of the {len(rows):,} answers of {name} have no edit")
    return edits


def world_editor(world: WorldConfig, seed: int, *, measuring: bool = False) -> ScriptedProvider:
    """Make the world's scripted editor, as good as `world` says, or perfect for measuring."""
    repair, slip = (1.0, 0.0) if measuring else (world.edit_repair, world.edit_slip)
    return ScriptedProvider("world", scripted_editor(make_oracle(world), seed, repair, slip))


def _style(config: EditorConfig) -> EditStyle:
    return request_style(config.template, hosted=config.provider != "local", min_kept=config.min_kept)


def _by_llm(context: Context, stage: Stage, config: EditorConfig, responses: Responses) -> dict[str, list[Edit]]:
    style, provider = _style(config), provider_for(config, context)

    def make_jobs(cache: ResponseCache) -> dict[str, ProviderJob[Response, Edit]]:
        return {name: edit_job(rows, provider, style, cache) for name, rows in responses.items()}

    edits = ask_all(context, stage, config, make_jobs)
    rows = [row for of_name in edits.values() for row in of_name]
    failed = [row for row in rows if row.outcome is EditOutcome.FAILED]
    if failed and not any(row.outcome not in (EditOutcome.FAILED, EditOutcome.EMPTY) for row in rows):
        raise RedpencilError(
            f"the editor gave no answer at all: {failed[0].meta['problem']}",
            field="editor.model",
            hint="check model, server and API key, then run it again",
        )
    return edits


def _by_people(
    context: Context, config: EditorConfig, responses: Responses, *, measuring: bool
) -> dict[str, list[Edit]]:
    """Find people's edits of responses by prompt and original; the first that has a text counts, else the first."""
    assert config.edits is not None
    wanted = f"{context.root}/outputs-*/evaluation.jsonl"
    if not measuring:
        # There may be more answers, which only the scale of rewards is measured on.
        files = {name: str(context.paths.samples_of(name)) for name in responses}
        first = {name: f"the first {len(rows):,} answers of " for name, rows in responses.items()}
        wanted = ", ".join(f"{'' if context.recipe.world else first[name]}{file}" for name, file in files.items())
    hint = f"have {wanted} edited (`redpencil annotate --responses`), put what is exported there, and run the same "
    hint += "command again"
    if not config.edits.exists():
        raise RedpencilError("there are no edits yet", file=config.edits, field="editor.edits", hint=hint)
    made: dict[tuple[str, str], Edit] = {}
    for row in read_jsonl(config.edits, Edit):
        place = (row.prompt, row.original)
        if place not in made or (row.outcome in HAS_TEXT and made[place].outcome not in HAS_TEXT):
            made[place] = row

    def edit_of(response: Response) -> Edit:
        row, text = made.get((response.prompt, response.response)), response.response
        if row is not None:
            return make_edit(response, row.edited if row.outcome in HAS_TEXT else text, row.outcome, row.editor)
        if not text.strip():
            return make_edit(response, text, EditOutcome.EMPTY, "")
        return make_edit(response, text, EditOutcome.FAILED, "", {"problem": NOBODY})

    for name, rows in responses.items():
        places = {(row.prompt, row.response) for row in rows if row.response.strip()}
        if places and made.keys().isdisjoint(places):
            problem = f"none of the {len(rows):,} answers of {name} is in it"
            raise RedpencilError(problem, file=config.edits, field="editor.edits", hint=hint)
    return {name: [edit_of(response) for response in rows] for name, rows in responses.items()}
