"""The `redpencil` command: a table of its commands, each imported when it is called.

`redpencil --help` prints the table `COMMANDS` and imports none of the modules in it. To add a command, write it in the
module of its name or topic, with `app = typer.Typer()` and `@app.command(epilog=examples(...))`, and add a row here:
its name, the module, the panel of the help page, and the first sentence of the command's docstring (a test compares
them). A row may also name a module whose app is a group of commands, as `evaluate` is, if the app has the row's name.
The methods of the table in `redpencil.config.methods` have their rows already.

A module of a command imports at the top of the file what it needs, as its module is imported only when the command is
called. The one exception is what loads torch (`models`, `training`, most of `pipeline`): import it in the function
that uses it, so that `redpencil COMMAND --help`, wrong usage and commands that need no model answer at once.
"""

import os
import re
import signal
import sys
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

import redpencil
from redpencil.cli.options import ARGUMENTS
from redpencil.cli.output import INTERRUPTED, print_error, print_for_all, say
from redpencil.cli.start import leave
from redpencil.config.methods import METHODS
from redpencil.errors import RedpencilError, from_system
from redpencil.pipeline.group import group
from redpencil.sections import IMMENSE
from redpencil.stopping import RESUME, Stopped, request
from redpencil.text import has_half_pair

QUIET: Final = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
}
"""Environment variables that silence the libraries, here and in worker processes."""
STAGED: Final = ("run", "quickstart", "ablate")
"""Commands that work in stages, each of which is kept when the command is interrupted."""
RESUMED: Final = (*STAGED, "sft", "reward", *(m.name.replace("_", "-") for m in METHODS.values() if m.trains))
"""Commands that continue where SIGTERM stopped them, when they are started again."""
SHARED: Final = (*RESUMED, *(m.name.replace("_", "-") for m in METHODS.values()), "respond", "score")
"""Commands that several processes may share; `ablate` starts them itself."""
SMALLER: Final = "lower compute.micro_batch_size or compute.generation_batch_size; or run --jobs 1"
PAPER, DATA, TRAINING, EVALUATION, HELP = "The whole paper", "Data", "Training", "Evaluation", "Help"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the help page, and the module of this room whose `app` has the command."""

    module: str
    panel: str
    help: str


COMMANDS: Final = {
    "quickstart": Entry(
        "run", PAPER, "Run FIGA, APO and the whole paper on a small made-up world: minutes on two cores, no network."
    ),
    "run": Entry("run", PAPER, "Run a recipe from data to report."),
    "ablate": Entry(
        "run", PAPER, "Run variants of one recipe and compare each with the first of its group, seed by seed."
    ),
    "report": Entry(
        "run", PAPER, "Write the report.html of a finished run, or of finished ablations, again from the results."
    ),
    "import": Entry("formats", DATA, "Turn data of other formats into redpencil's JSONL."),
    "respond": Entry("data", DATA, "Let a policy answer prompts."),
    "align": Entry(
        "data", DATA, "Turn edits into pairs of token sequences, with masks that mark which tokens an edit changed."
    ),
    "edit": Entry("edit", DATA, "Ask an editor for a minimal edit of each response (section 2.1)."),
    "annotate": Entry(
        "annotate",
        DATA,
        "Let people edit responses in a browser, or compare them; the result is the same edits.jsonl that an LLM "
        "writes.",
    ),
    "audit": Entry("data", DATA, "Check a set of edits before a model learns from them."),
    "export": Entry("formats", DATA, "Write rows in a format that other tools read."),
    "sft": Entry("train", TRAINING, "Fine-tune a model on demonstrations; the loss counts response tokens only."),
    "reward": Entry("train", TRAINING, "Train a reward model: per token (Eq. 1-4) or per response (Bradley-Terry)."),
    **{
        method.name.replace("_", "-"): Entry("train", TRAINING, (method.config.__doc__ or "").split("\n\n")[0])
        for method in METHODS.values()
    },
    "merge": Entry(
        "merge",
        TRAINING,
        "Merge an adapter into its base: a whole Hugging Face folder, which needs neither the base nor PEFT.",
    ),
    "judge": Entry(
        "judge",
        EVALUATION,
        "Compare a policy's responses with a reference's, matched by id, or by prompt where the ids differ.",
    ),
    "score": Entry(
        "score", EVALUATION, "Show the reward of each token: blue for reward, orange and underlined for blame."
    ),
    "serve-reward": Entry(
        "serve_reward",
        EVALUATION,
        "Serve the rewards of a reward model by HTTP, standardised by its card, for verl, SkyRL and others.",
    ),
    "evaluate": Entry(
        "evaluate", EVALUATION, "Measure policies, judges and reward models (Tables 1 to 3 of the paper)."
    ),
    "plan": Entry(
        "plan",
        HELP,
        "Say what each stage takes in memory and time, and what to change where it does not fit; nothing is run.",
    ),
    "keys": Entry("info", HELP, "List every recipe key with its type, default and meaning."),
    "doctor": Entry(
        "info",
        HELP,
        "Check versions, device, threads, memory, disk, recipes and models. Exit code 1 if something needed is "
        "missing.",
    ),
}


def _without_types(parameters: list[Any]) -> list[Any]:
    """Let help say `--json` and `EDITS...` where Typer says `--json <bool>` and `EDITS... <list[Path]>`."""
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None  # noqa: ARG005
        elif getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


class Command(TyperCommand):
    """A command whose help has plain names of arguments, flags without a `--no-` twin, and unbroken paragraphs."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in (self.help or "").split("\n\n"))
        for parameter in self.params:
            if parameter.default is False:
                parameter.secondary_opts.clear()

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        for parameter in self.params:
            value = ctx.params.get(parameter.name)
            if isinstance(value, int | float) and not abs(value) <= IMMENSE:  # nor NaN
                problem = f"{value} is not a number to compute with"
                raise typer.BadParameter(problem, ctx=ctx, param_hint=parameter.opts[0])
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Write SOURCE where Typer writes {SOURCE}, and the dots of a repeatable argument once."""
        return [re.sub(r"[{}]|\.\.\.(?=.*\.\.\.)", "", piece) for piece in super().collect_usage_pieces(ctx)]


class Group(TyperGroup):
    """A group of commands that reports a user's mistake in one message instead of a traceback."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Exit codes: 1 for a mistake in data or files, 2 in usage, 130 for an interrupt, RESUME after SIGTERM where the
        same command continues.
        """
        try:
            return super().invoke(ctx)
        except typer.Exit:
            raise
        except Stopped as stopped:
            if not request.continues:
                say("interrupted")
                raise typer.Exit(INTERRUPTED) from None
            say(f"{stopped}; the same command continues (exit code {RESUME})")
            raise typer.Exit(RESUME) from None
        except KeyboardInterrupt:
            staged = "; finished stages are kept, and the same command continues the run"
            say("interrupted" + (staged if ctx.invoked_subcommand in STAGED else ""))
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            told = error if isinstance(error, RedpencilError) else _told(error)
            if group().size > 1:
                print_for_all(told or error)
            elif told is None:
                raise
            else:
                print_error(told)
            raise typer.Exit(1) from None


def _told(error: Exception) -> RedpencilError | None:
    """Say what the user can do about an error that is nobody's mistake in the code; None for any other."""
    # Compared by name, because this module does not load torch.
    if type(error).__name__ == "OutOfMemoryError":
        return RedpencilError(f"the GPU's memory is full ({str(error).split('. ')[0]})", hint=SMALLER)
    if isinstance(error, MemoryError):
        return RedpencilError("the memory is full", hint="give smaller files, with shorter lines")
    return from_system(error)


class LazyGroup(Group):
    """The group of `COMMANDS`: it lists them from the table, and loads the one that is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {
            name: TyperCommand(name, help=entry.help, rich_help_panel=entry.panel) for name, entry in COMMANDS.items()
        }

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an argument that is not UTF-8: it would end up in files that are."""
        for arg in args:
            if has_half_pair(arg):
                raise typer.BadParameter(
                    f"{arg!a} is not UTF-8; rename the file, or set the terminal to UTF-8", ctx=ctx
                )
        ARGUMENTS[:] = args
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is called; help and completion of the group itself see only the table."""
        name, listed, rest = super().resolve_command(ctx, args)
        request.continues = name in RESUMED
        if group().size > 1 and (name not in SHARED or name == "ablate"):
            raise RedpencilError(
                f"`redpencil {name}` is not for several processes ({group().name})",
                hint="start it without torchrun"
                + ("; compute.processes in its base recipe spreads its stages" if name == "ablate" else ""),
            )
        return name, None if listed is None else load_command(str(name)), rest


def load_command(name: str) -> Any:
    """Import a command of `COMMANDS`, or a group of commands."""
    part: typer.Typer = import_module(f"redpencil.cli.{COMMANDS[name].module}").app
    if part.info.name == name:
        part.info.cls = Group
    for command in part.registered_commands:
        command.cls = Command
    group = typer.main.get_group(part)
    return group if part.info.name == name else group.commands[name]


app = typer.Typer(
    name="redpencil",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="See what a command does with `redpencil COMMAND --help`, and all recipe keys with `redpencil keys`.",
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"redpencil {redpencil.__version__}")
        raise typer.Exit


@app.callback()
def redpencil_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Align language models from minimal edits: token-level rewards, and PPO on them."""


def main() -> None:
    """Run the console script."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not group().first:
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # the first process speaks for all  # noqa: SIM115
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)
    app()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End a command on SIGTERM as on Ctrl-C, so that no half-written file stays, unless it holds on for a while.

    While a library is being loaded the process ends here and now: in the middle of its code the library may raise any
    other error in place of the interrupt, or forget it.
    """
    if number == signal.SIGTERM:
        request.made = True
        if request.heard_by:
            request.make()
            return
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            leave()
        frame = frame.f_back
    raise Stopped("stopped") if number == signal.SIGTERM else KeyboardInterrupt
