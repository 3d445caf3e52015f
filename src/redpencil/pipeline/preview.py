"""What a run would do, without doing it: its stages, and what is chosen where the recipe leaves it open."""

from collections.abc import Iterator
from pathlib import Path

from transformers import AutoConfig

from redpencil.config.data import ROWS_OF, PairKind
from redpencil.config.recipe import Recipe
from redpencil.pipeline.context import Context
from redpencil.pipeline.execute import is_done
from redpencil.pipeline.inputs import check_inputs
from redpencil.pipeline.run import plan_seeds
from redpencil.pipeline.training import read_pairs
from redpencil.records import Comparison, Edit, read_jsonl
from redpencil.rounds import unrolled
from redpencil.training.pairs import pairs_of_comparisons, pairs_of_edits
from redpencil.training.reward_defaults import DataSize, fit, in_words, size_of


def preview(recipe: Recipe, out: Path) -> Iterator[str]:
    """Say in lines which stages a run of the recipe would do, and what they would choose.

    Raises:
        RedpencilError: if a file of the recipe is missing or does not fit, as the run itself would.
    """
    check_inputs([recipe])
    roots, plans = plan_seeds(recipe, out)
    for seed, plan in plans.items():
        stale: set[str] = set()
        for spec in plan:
            # A stage that waits for one that is to do has inputs that are to change.
            if stale.intersection(spec.needs) or not is_done(spec):
                stale.add(spec.key)
            yield f"{spec.key}: {'to do' if spec.key in stale else 'already complete'}"
        context = Context(unrolled(recipe), roots[seed], seed)
        for name, model in context.recipe.reward_models.items():
            if model.trains:
                yield f"reward-{name}: {_choice(context, name)}"


def _choice(context: Context, name: str) -> str:
    config = context.recipe.reward_config(name)
    model = context.recipe.reward_models[name]
    size = None if model.on else _size(context, model.pairs)
    if size is not None:
        return in_words(config, fit(config, size), size) or "all values are the recipe's"
    # Stages make the pairs of the world, and of an arm's answers; any size tells which values are open.
    some = DataSize(1, 1, 1)
    if in_words(config, fit(config, some), some) is None:
        return "all values are the recipe's"
    return "the values that are open are chosen when the pairs are there, after the stage align"


def _size(context: Context, kind: PairKind) -> DataSize | None:
    """Measure the pairs to train on: those of the run if there are any, else about those of the user's files."""
    files, pairs = context.recipe.files, context.paths.pairs(kind, "train")
    if pairs.is_file():
        return size_of(read_pairs([pairs], context.codec), _hidden_size(context.paths.sft_policy))
    if files is None:
        return None
    codec, align = context.codec, context.recipe.align
    if ROWS_OF[kind] == "edits":
        rows, _ = pairs_of_edits(read_jsonl(files.edits, Edit), codec, align, kind)
    elif files.comparisons is not None:
        rows, _ = pairs_of_comparisons(read_jsonl(files.comparisons, Comparison), codec, align)
    else:
        rows = []
    if not rows:
        return None
    whole = size_of(rows, _hidden_size(files.model))
    trained = max(1, round(files.trained_share(ROWS_OF[kind]) * whole.pairs))
    return DataSize(trained, whole.mean_length, whole.hidden_size)


def _hidden_size(folder: Path) -> int:
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    return int(config.get_text_config().hidden_size)
