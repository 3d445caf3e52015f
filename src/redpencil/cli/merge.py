"""`merge`: a whole model of an adapter and its base."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from redpencil.adapters import is_adapter
from redpencil.cli.options import examples, option
from redpencil.cli.output import say
from redpencil.digests import check_outside
from redpencil.errors import RedpencilError

app = typer.Typer()


@app.command(
    epilog=examples(
        "redpencil merge runs/q/ppo-token/checkpoint --out policy",
        "redpencil merge runs/q/reward-token_edits/checkpoint --out reward --dtype bfloat16",
    )
)
def merge(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Adapter of a policy or a reward model.")],
    out: Annotated[Path, option("FOLDER", "Where the whole model goes.", "--out")],
    dtype: Annotated[
        Literal["float32", "bfloat16"], option("FORMAT", "Number format of its weights: float32 or bfloat16.")
    ] = "float32",
) -> None:
    """Merge an adapter into its base: a whole Hugging Face folder, which needs neither the base nor PEFT."""
    check_outside(out)
    if out.exists():
        raise RedpencilError("it is there already", file=out, hint="choose another --out")
    if not is_adapter(checkpoint):
        raise RedpencilError(
            "it holds no adapter, so there is nothing to merge",
            file=checkpoint,
            hint="give a checkpoint that was trained with lora; any other is a whole model already",
        )

    from redpencil.models.saving import write_merged

    write_merged(checkpoint, out, dtype)
    say(f"whole model: {out}")
