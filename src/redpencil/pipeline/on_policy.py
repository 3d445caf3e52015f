"""Stages on an arm's own answers: samples of its policy, and edits of them, from which others learn `on` it."""

import random
from pathlib import Path
from typing import Any

from redpencil.config.data import WorldConfig
from redpencil.errors import RedpencilError
from redpencil.pipeline.annotations import compare, loser, repeated, sample
from redpencil.pipeline.context import Context
from redpencil.pipeline.editing import edit_answers
from redpencil.records import Comparison, Edit, Prompt, Response, read_jsonl, write_jsonl
from redpencil.runs import Stage, derive_seed
from redpencil.text import prompt_key
from redpencil.world.build import make_oracle


def own_samples(context: Context, stage: Stage, *, arm: str) -> None:
    """Sample responses of an arm's policy: two for each comparison of the world, or one for each edit.

    Prompts that a user's held-out rows have are left out.
    """
    prompts, needed = list(read_jsonl(context.paths.prompts, Prompt)), context.edits_needed(arm)
    if context.recipe.world is None:
        held = _held_out_prompts(context)
        kept = [prompt for prompt in prompts if prompt_key(prompt.prompt) not in held]
        if not kept:
            raise RedpencilError(
                "all prompts are held out, so there are none for the policy to answer and an editor to edit",
                file=context.paths.prompts,
                field="files.prompts",
                hint="add prompts that the held-out edits and comparisons do not have",
            )
        if len(kept) < len(prompts):
            stage.remark(f"{len(prompts) - len(kept):,} prompts were left out, since they are held out")
        prompts, needed = kept, max(needed, context.scale_samples(arm))
    else:
        needed *= 2
    seed = derive_seed(stage.seed, "samples", arm)
    sample(context, stage, arm, repeated(prompts, needed, seed, each=1 if context.recipe.world is None else 2))


def _held_out_prompts(context: Context) -> set[str]:
    files = context.paths.annotations.glob("*_test.jsonl")
    kinds: dict[Path, Any] = {path: Edit if path.name.startswith("edits") else Comparison for path in files}
    return {prompt_key(row.prompt) for path, kind in kinds.items() for row in read_jsonl(path, kind)}


def own_annotations(context: Context, stage: Stage, *, arm: str) -> None:
    """Write edits of an arm's responses; in the world comparisons too, whose less preferred sides are edited."""
    responses, needed = list(read_jsonl(context.paths.samples_of(arm), Response)), context.edits_needed(arm)
    world = context.recipe.world
    if world is not None:
        responses = _compared(world, stage, arm, responses, needed)
    if len(responses) < needed:
        stage.remark(f"{len(responses):,} responses of {arm} are edited, not {needed:,}: its prompts were too long")
    edits = edit_answers(context, stage, {arm: responses[:needed]}, measuring=False)
    write_jsonl(stage.folder / "edits_train.jsonl", edits[arm])


def _compared(world: WorldConfig, stage: Stage, arm: str, responses: list[Response], needed: int) -> list[Response]:
    """Write comparisons by the world's annotator of responses in pairs; returns the less preferred ones."""
    pairs = list(zip(responses[::2], responses[1::2], strict=False))[:needed]
    oracle, rng = make_oracle(world), random.Random(derive_seed(stage.seed, "annotator", arm))
    rows = [compare(oracle, first, second, rng, world.label_flip) for first, second in pairs]
    write_jsonl(stage.folder / "comparisons_train.jsonl", rows)
    return [loser(row, pair) for row, pair in zip(rows, pairs, strict=True)]
