"""`evaluate`, with one command for each table of the paper."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from redpencil.cli import judge_quality, reward, win_rate
from redpencil.cli.options import JsonOption, examples
from redpencil.cli.output import console, print_json
from redpencil.errors import RedpencilError
from redpencil.runs import read_metrics

app = typer.Typer(
    name="evaluate",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Win rate, reward accuracy and efficiency: Tables 1, 2 and 3.",
)
app.add_typer(win_rate.app)
app.add_typer(judge_quality.app)
app.add_typer(reward.app)


@app.command(epilog=examples("redpencil evaluate efficiency --token runs/q/ppo-token --sequence runs/q/ppo-edits"))
def efficiency(
    token: Annotated[Path, typer.Option(metavar="FOLDER", help="PPO stage folder of the token arm.")],
    sequence: Annotated[Path, typer.Option(metavar="FOLDER", help="PPO stage folder of the sequence arm.")],
    json: JsonOption = False,
) -> None:
    """Step and second at which the token arm first reaches the sequence arm's best win rate (Table 3)."""
    from redpencil.evaluation.win_rate import time_to_reach

    found = time_to_reach(_curve(token), _curve(sequence))
    if json:
        print_json({"efficiency": asdict(found)})
        return
    goal = f"the sequence arm's best win rate, which that arm has at step {found.sequence_step}"
    when = f"{found.sequence_seconds:.0f} s"
    if found.ratio is None:
        console.print(f"The token arm never reaches {goal} ({when}).")
        return
    console.print(
        f"The token arm reaches {goal} ({when}), at step {found.token_step} ({found.token_seconds:.0f} s): "
        f"in {found.ratio:.2f} of the steps."
    )


def _curve(folder: Path) -> list[tuple[int, float, float]]:
    """(step, seconds, win rate) at each evaluation of a PPO stage."""
    if not folder.is_dir():
        raise RedpencilError("no such folder", file=folder, hint="give the folder that `redpencil ppo` wrote")
    key = "eval/win_rate"
    curve = []
    for line, row in enumerate(read_metrics(folder), start=1):
        if key in row:
            for field in ("step", "seconds", key):
                if not isinstance(row.get(field), int | float) or not math.isfinite(row[field]):
                    raise RedpencilError(
                        "no number stands there",
                        file=folder / "metrics.jsonl",
                        line=line,
                        field=field,
                        hint="run the stage again",
                    )
            curve.append((int(row["step"]), row["seconds"], row[key]))
    if not curve:
        raise RedpencilError(
            "its metrics.jsonl holds no win rate",
            file=folder,
            field=key,
            hint="give a PPO stage folder that was trained with --judge and --reference-outputs",
        )
    return curve
