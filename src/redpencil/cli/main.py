"""The `redpencil` command. Torch is loaded inside the commands that need it, so help and reports start at once."""

import errno
import os
import re
import signal
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import redpencil
from redpencil.cli import (
    ablate,
    annotate,
    audit,
    data,
    doctor,
    edit,
    evaluate,
    export,
    import_,
    judge,
    keys,
    run,
    score,
    show,
    train,
)
from redpencil.cli.llm_job import INTERRUPTED
from redpencil.cli.output import print_error, say
from redpencil.errors import RedpencilError

NOT_OUR_FAULT = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
    errno.EFBIG,
)  # fmt: skip
QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
}
"""Environment in which libraries keep their noise to themselves, here and in worker processes."""


STAGED = ("run", "quickstart", "ablate")
"""Commands whose work has stages, each of which is kept."""
SMALLER = "lower compute.micro_batch_size or compute.generation_batch_size; or run --jobs 1"


class Group(TyperGroup):
    """Turns a user's mistake into one message, where others leave a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Exit codes: 1 a mistake in data or files, 2 in usage, 130 interrupted."""
        try:
            return super().invoke(ctx)
        except RedpencilError as error:
            print_error(error)
            raise typer.Exit(1) from None
        except RuntimeError as error:
            # By its name: this room does not load torch.
            if type(error).__name__ != "OutOfMemoryError":
                raise
            print_error(RedpencilError(f"the GPU's memory is full ({str(error).split('. ')[0]})", hint=SMALLER))
            raise typer.Exit(1) from None
        except OSError as error:
            if error.errno not in NOT_OUR_FAULT:
                raise
            print_error(RedpencilError(f"{error.strerror}", file=error.filename, hint="choose another place"))
            raise typer.Exit(1) from None
        except MemoryError:
            print_error(RedpencilError("the memory is full", hint="give smaller files, with shorter lines"))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            staged = "; finished stages are kept, and the same command goes on from there"
            say("interrupted" + (staged if ctx.invoked_subcommand in STAGED else ""))
            raise typer.Exit(INTERRUPTED) from None


class Command(TyperCommand):
    """Shows arguments in usage lines by their plain names, and flags without a twin that says no."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for parameter in self.params:
            if parameter.default is False:
                parameter.secondary_opts.clear()

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The parts of a usage line: SOURCE where the library writes {SOURCE}, with dots once where it may repeat."""
        return [re.sub(r"[{}]|\.\.\.(?=.*\.\.\.)", "", piece) for piece in super().collect_usage_pieces(ctx)]


app = typer.Typer(
    name="redpencil",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="See what a command does with `redpencil COMMAND --help`, and all recipe keys with `redpencil keys`.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"redpencil {redpencil.__version__}")
        raise typer.Exit


@app.callback()
def redpencil_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Align language models from minimal edits: token-level rewards, and PPO on them."""


for room in (
    run,
    ablate,
    show,
    import_,
    data,
    edit,
    annotate,
    audit,
    export,
    train,
    judge,
    score,
    keys,
    doctor,
):
    app.add_typer(room.app)
app.add_typer(evaluate.measures, name="evaluate", rich_help_panel="Evaluation")


def _dress(part: typer.Typer) -> None:
    """Give every command of an app, and of those inside it, the class above."""
    for command in part.registered_commands:
        command.cls = Command
    for group in part.registered_groups:
        if group.typer_instance is not None:
            _dress(group.typer_instance)


_dress(app)


def main() -> None:
    """Entry point of the console script."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    signal.signal(signal.SIGTERM, _interrupt)
    app()


def _interrupt(*_: object) -> None:
    """SIGTERM ends a command as Ctrl-C does, so that no half-written file stays."""
    raise KeyboardInterrupt
