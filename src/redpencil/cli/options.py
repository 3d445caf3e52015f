"""Options that several commands share, and the recipe, runtime and tokenizer that follow from them.

Hyperparameters have no flags of their own: they are in a recipe or in `--set`, and `redpencil keys` lists them.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, get_type_hints

import typer

from redpencil.cli.output import say
from redpencil.config.recipe import Recipe
from redpencil.digests import reading_whole
from redpencil.errors import RedpencilError
from redpencil.pipeline.context import Setup
from redpencil.pipeline.group import group
from redpencil.recipe import default_recipe, load_recipe, with_flags
from redpencil.runs import check_finished

if TYPE_CHECKING:  # loads torch
    from redpencil.models.codec import Codec
    from redpencil.models.runtime import Runtime
Name = TypeVar("Name", bound=str)
ARGUMENTS: Final[list[str]] = []
"""The name of the command that runs, and its arguments as they were given."""


def option(metavar: str, help: str, *flags: str, panel: str | None = None, **more: Any) -> Any:
    """Describe an option with a value: the name of the value, and what the option is for."""
    return typer.Option(*flags, metavar=metavar, help=help, rich_help_panel=panel, **more)


def _read_whole(context: typer.Context, asked: bool) -> bool:
    """Let the command read the files of stages as a whole, whatever reads them; so it need not pass `--verify` on."""
    before = reading_whole.set(asked)
    context.call_on_close(lambda: reading_whole.reset(before))
    return asked


RecipeOption = Annotated[
    Path | None, option("YAML", "Recipe that gives the hyperparameters. Default: the paper's.", "--recipe")
]
SetOption = Annotated[
    list[str] | None,
    option("KEY=VALUE", "Set a recipe key, such as ppo.kl_coef=0.1; see `redpencil keys`. Repeatable.", "--set"),
]
DeviceOption = Annotated[str | None, option("DEVICE", "auto, cpu, cuda or cuda:N.")]
SeedOption = Annotated[int | None, option("N", "Seed. Default: the recipe's first, else 0.")]
TemplateOption = Annotated[
    str | None,
    option(
        "TEXT",
        "Text around a prompt, with {prompt} in it, or `chat`. Default: the one the checkpoint was trained with.",
    ),
]
NORMALISE_HELP = (
    "Write white space in one way in responses, originals and edits alike: none at the ends of a text or line, one "
    "space between words, at most one empty line."
)
VerifyOption = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Read all files of finished stages, and stop if one was changed. Without it, of files above 4 MiB the "
        "size, the time and samples are compared.",
        callback=_read_whole,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def examples(*commands: str) -> str:
    """Build the epilog of a command's help; without blank lines Typer would join the examples."""
    return "\n\n".join(["Examples:", *(f"$ {command.replace('[', chr(92) + '[')}" for command in commands)])


def one_of(name: str, known: Sequence[Name], flag: str, what: str) -> Name:
    """Return the known name that a flag gives.

    Raises:
        RedpencilError: naming the flag, if `what` it says is not known.
    """
    for one in known:
        if one == name:
            return one
    raise RedpencilError(f"no such {what}: {name!r}", field=flag, hint=f"one of {', '.join(known)}")


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


@dataclass(frozen=True, slots=True)
class RecipeOptions:
    """The options that make up the recipe of a command; `with_options` gives them to it."""

    recipe: RecipeOption = None
    set_: SetOption = None
    seed: SeedOption = None
    device: DeviceOption = None
    verify: VerifyOption = False

    def settings(self) -> Recipe:
        """Return the recipe that these options add up to."""
        return settings(self.recipe, self.set_, device=self.device, seed=self.seed)


@dataclass(frozen=True, slots=True)
class ModelOptions(RecipeOptions):
    """The same for a command with a model, whose prompt template may be named."""

    template: TemplateOption = None

    def settings(self) -> Recipe:
        return settings(self.recipe, self.set_, device=self.device, seed=self.seed, template=self.template)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a Typer command the options in its dataclasses.

    An argument whose type is a dataclass becomes the options that are its fields, those of a base class last.
    """
    groups: dict[str, Any] = {}
    options: list[Parameter] = []
    for one in signature(command, eval_str=True).parameters.values():
        if is_dataclass(one.annotation):
            groups[one.name] = one.annotation
            options += _parameters_of(one.annotation)
        else:
            options.append(one.replace(kind=Parameter.KEYWORD_ONLY))

    @wraps(command)
    def wrapper(**values: Any) -> None:
        for name, made in groups.items():
            values[name] = made(**{one.name: values.pop(one.name) for one in fields(made)})
        command(**values)

    wrapper.__signature__ = Signature(options)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {one.name: one.annotation for one in options}
    return wrapper


def _parameters_of(group: Any) -> list[Parameter]:
    defaults, hints = {one.name: one.default for one in fields(group)}, get_type_hints(group, include_extras=True)
    names = [name for base in group.__mro__ for name in vars(base).get("__annotations__", {})]
    return [Parameter(name, Parameter.KEYWORD_ONLY, default=defaults[name], annotation=hints[name]) for name in names]


def runtime_of(recipe: Recipe) -> "Runtime":
    """Set up device, number format and threads."""
    from redpencil.models.runtime import make_runtime, slow_format

    compute = recipe.compute
    runtime = make_runtime(
        *(compute.device, recipe.dtype, compute.threads, compute), checkpoint_dtype=recipe.checkpoint_dtype
    )
    slow = slow_format(runtime)
    if slow is not None:
        say(f"warning: {slow}")
    return runtime


def spread(recipe: Recipe) -> None:
    """Run the command anew as `compute.processes` processes, if that is not one and it is not run so already.

    Raises:
        typer.Exit: when they have ended; without an error the caller goes on as one of them, or alone.
        RedpencilError: if they are too many for the GPUs, or one of them is killed.
    """
    if recipe.compute.processes == 1 or group().size > 1:
        return
    from redpencil.pipeline.launch import check_processes, gpus_of, run_together

    check_processes(recipe.compute)
    command = [sys.executable, "-P", "-m", "redpencil", *ARGUMENTS]
    raise typer.Exit(run_together(ARGUMENTS[0], command, recipe.compute.processes, gpus_of(recipe.compute)))


def setup_of(recipe: Recipe, folder: Path, *, fresh: bool = False) -> Setup:
    """Set up work with the model in a folder: options, its tokenizer, the device, and the processes that share it.

    Raises:
        typer.Exit: when other processes have done the command; see `spread`.
        RedpencilError: if the folder holds no model; see `check_model_folder` for one that may start `fresh`.
    """
    spread(recipe)

    from redpencil.models.checkpoints import check_model_folder

    codec = codec_of(recipe, folder)
    check_model_folder(folder, fresh=fresh)
    check_finished(folder)
    warn_of(codec)
    return Setup(recipe, codec, runtime_of(recipe))


def named_codec(recipe: Recipe, folder: Path) -> "Codec | None":
    """Return a checkpoint's tokenizer as the recipe or a flag names its template; None if they name nothing of it."""
    named = named_chat_options(recipe) or "prompt_template" in recipe.model_fields_set
    return codec_of(recipe, folder) if named else None


def codec_of(recipe: Recipe, folder: Path) -> "Codec":
    """Load a checkpoint's tokenizer, with its prompt template unless the recipe or a flag names another."""
    from redpencil.models.sidecar import codec_of_checkpoint

    template = recipe.prompt_template if "prompt_template" in recipe.model_fields_set else None
    return codec_of_checkpoint(folder, template, **named_chat_options(recipe))


def named_chat_options(recipe: Recipe) -> dict[str, Any]:
    """Return how the recipe or a flag says that chat templates are filled, as options of `load_codec`."""
    return {key: value for key, value in recipe.chat_options.items() if key in recipe.model_fields_set}


def warn_of(codec: "Codec") -> None:
    """Say what the parts of a tokenizer's folder contradict each other in."""
    for finding in codec.findings:
        say(f"warning: {codec.tokenizer.name_or_path}: {finding}")
