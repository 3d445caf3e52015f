"""Options that several commands share, and the recipe, runtime and tokenizer that follow from them.

Hyperparameters have no flags of their own: they are in a recipe or in `--set`, and `redpencil keys` lists them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redpencil.config import Recipe
from redpencil.recipe import default_recipe, load_recipe, with_flags

if TYPE_CHECKING:  # loads torch
    from redpencil.models.codec import Codec
    from redpencil.models.runtime import Runtime

RecipeOption = Annotated[
    Path | None,
    typer.Option("--recipe", metavar="YAML", help="Recipe that gives the hyperparameters. Default: the paper's."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a recipe key, such as ppo.kl_coef=0.1; see `redpencil keys`. Repeatable.",
    ),
]
DeviceOption = Annotated[str | None, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or cuda:N.")]
SeedOption = Annotated[int | None, typer.Option(metavar="N", help="Seed. Default: the recipe's first, else 0.")]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Text around a prompt, with {prompt} in it, or `chat`. Default: the one the checkpoint was trained with.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def examples(*commands: str) -> str:
    """Build the epilog of a command's help; without blank lines Typer would join the examples."""
    return "\n\n".join(["Examples:", *(f"$ {command.replace('[', chr(92) + '[')}" for command in commands)])


def settings(
    recipe: Path | None,
    overrides: Sequence[str] | None,
    *,
    device: str | None = None,
    seed: int | None = None,
    template: str | None = None,
) -> Recipe:
    """Load the recipe of a command. Precedence: default < recipe < `--set` < flag.

    Raises:
        RedpencilError: as `load_recipe`.
    """
    overrides = overrides or ()
    loaded = default_recipe(overrides) if recipe is None else load_recipe(recipe, overrides)
    flags: dict[str, Any] = {"device": device, "prompt_template": template}
    flags["seeds"] = None if seed is None else (seed,)
    return with_flags(loaded, flags)


def runtime_of(recipe: Recipe) -> "Runtime":
    """Set up device, number format and threads."""
    from redpencil.models.runtime import make_runtime

    return make_runtime(recipe.compute.device, recipe.dtype, recipe.compute.threads)


def named_codec(recipe: Recipe, folder: Path) -> "Codec | None":
    """Return a checkpoint's tokenizer with the template that the recipe or a flag names; None if they name none."""
    return codec_of(recipe, folder) if "prompt_template" in recipe.model_fields_set else None


def codec_of(recipe: Recipe, folder: Path) -> "Codec":
    """Load a checkpoint's tokenizer, with its prompt template unless the recipe or a flag names another."""
    from redpencil.models.checkpoints import template_of
    from redpencil.models.codec import load_codec

    named = "prompt_template" in recipe.model_fields_set
    return load_codec(folder, recipe.prompt_template if named else template_of(folder))
