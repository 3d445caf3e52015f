"""`judge`, and `evaluate` with one command for each table of the paper."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from redpencil.cli.judges import JUDGE_HELP, check_judge, make_judge
from redpencil.cli.options import (
    DeviceOption,
    JsonOption,
    RecipeOption,
    SetOption,
    codec_of,
    examples,
    runtime_of,
    settings,
)
from redpencil.cli.output import check_out_file, console, naming, print_json, say
from redpencil.cli.progress import working
from redpencil.cli.train import read_pairs
from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Response, read_jsonl, write_jsonl
from redpencil.runs import read_metrics

app = typer.Typer(rich_markup_mode="rich")
measures = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="Win rate, reward accuracy and efficiency: Tables 1, 2 and 3."
)


@app.command(
    rich_help_panel="Evaluation",
    epilog=examples(
        "redpencil judge --policy ours.jsonl --reference theirs.jsonl --judge world --out judgements.jsonl",
        "redpencil judge --policy ours.jsonl --reference theirs.jsonl --judge reward/checkpoint --out judgements.jsonl",
    ),
)
def judge(
    policy: Annotated[Path, typer.Option(metavar="JSONL", help="The policy's responses.")],
    reference: Annotated[Path, typer.Option(metavar="JSONL", help="The reference's responses to the same prompts.")],
    judge: Annotated[str, typer.Option(metavar="JUDGE", help=JUDGE_HELP)],
    out: Annotated[Path, typer.Option(metavar="JSONL", help="Where the judgements go; first is the policy's.")],
    recipe: RecipeOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
) -> None:
    """Compare a policy's responses with a reference's, matched by id."""
    from redpencil.evaluation.judges import judge_outputs

    config = settings(recipe, set_, device=device)
    check_out_file(out, policy, reference)
    check_judge(judge)
    ours, theirs = list(read_jsonl(policy, Response)), list(read_jsonl(reference, Response))
    judging = make_judge(judge, config, runtime_of(config))
    with working("judge"), naming(policy):
        verdicts = judge_outputs(judging, ours, theirs)
    say(f"{write_jsonl(out, verdicts)} judgements in {out}")


@measures.command(
    "win-rate",
    epilog=examples(
        "redpencil evaluate win-rate judgements.jsonl",
        "redpencil evaluate win-rate judge/token.jsonl judge/edits.jsonl judge/preference.jsonl --json",
    ),
)
def win_rate(
    judgements: Annotated[list[Path], typer.Argument(metavar="JUDGEMENTS.jsonl...", help="One file for each policy.")],
    json: JsonOption = False,
) -> None:
    """Win rate of each policy, draws one half, and paired differences between them (Table 1)."""
    from redpencil.evaluation.statistics import paired_difference, scores_of
    from redpencil.evaluation.statistics import win_rate as rate

    rows = {name: list(read_jsonl(path, Comparison)) for name, path in _names(judgements).items()}
    rates = {
        name: asdict(rate([v.preference for v in verdicts], [len(v.first.split()) for v in verdicts]))
        for name, verdicts in rows.items()
    }
    scores = {name: dict(zip(_ids(verdicts, name), scores_of([v.preference for v in verdicts]), strict=True))
              for name, verdicts in rows.items()}  # fmt: skip
    differences = {}
    for first, second in combinations(rows, 2):
        if scores[first].keys() != scores[second].keys():
            raise RedpencilError(
                f"{first} and {second} were judged on different prompts, so they cannot be paired",
                field="id",
                way_out="give judgements of the same prompts, or one file at a time",
            )
        paired = paired_difference(list(scores[first].values()), [scores[second][key] for key in scores[first]])
        differences[f"{first}-{second}"] = asdict(paired)
    if json:
        print_json({"win_rate": rates, "win_rate_difference": differences})
        return
    _print_rates(rates)
    for pair, row in differences.items():
        console.print(f"{pair}: {row['value']:+.1f} points (standard error {row['standard_error']:.1f}, paired)")


def _ids(verdicts: Sequence[Comparison], name: str) -> list[str]:
    ids = [verdict.id for verdict in verdicts]
    if len(set(ids)) != len(ids):
        raise RedpencilError(f"an id occurs twice in {name}", field="id", way_out="give each prompt one judgement")
    return ids


def _print_rates(rates: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table("policy", "win rate %", "s.e.", "n", "wins", "losses", "draws", "mean words")
    for name, row in rates.items():
        counts = (str(row[key]) for key in ("n", "wins", "losses", "draws"))
        table.add_row(name, f"{row['value']:.1f}", f"{row['standard_error']:.1f}", *counts, f"{row['mean_length']:.1f}")
    console.print(table, soft_wrap=False)


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """A short name for each path: its stem, or that of the folder of a checkpoint; in full where these clash."""
    short = [path.resolve().parent.name if path.name == "checkpoint" else path.stem for path in paths]
    return {str(path) if short.count(name) > 1 else name: path for name, path in zip(short, paths, strict=True)}


@measures.command(
    epilog=examples(
        "redpencil evaluate reward --model reward/checkpoint --pairs test.jsonl",
        "redpencil evaluate reward --model one/checkpoint --model two/checkpoint "
        "--pairs edits_test.jsonl --pairs comparisons_test.jsonl --json",
    )
)
def reward(
    model: Annotated[list[Path], typer.Option(metavar="FOLDER", help="Reward checkpoint. Repeatable.")],
    pairs: Annotated[list[Path], typer.Option(metavar="JSONL", help="Held-out pairs. Repeatable.")],
    json: JsonOption = False,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
) -> None:
    """Accuracy of each reward model on each set of pairs, beside the rule that the shorter wins (Table 2)."""
    from redpencil.evaluation.statistics import accuracy
    from redpencil.models.loading import load_reward_model
    from redpencil.training.reward import pair_margins

    config = settings(recipe, set_, device=device)
    runtime, tests = runtime_of(config), _names(pairs)
    matrix: dict[str, dict[str, Any]] = {}
    shorter: dict[str, Any] = {}
    with working("reward accuracy") as progress:
        for done, (name, folder) in enumerate(_names(model).items(), start=1):
            loaded, codec = load_reward_model(folder, runtime), codec_of(config, folder)
            rows = {test: read_pairs(path, codec) for test, path in tests.items()}
            matrix[name] = {
                test: asdict(accuracy(pair_margins(loaded, found, codec, runtime))) for test, found in rows.items()
            }
            shorter = {
                test: asdict(accuracy([float(len(p.rejected_ids) - len(p.chosen_ids)) for p in found]))
                for test, found in rows.items()
            }
            progress(done, len(model), name)
    matrix["shorter_wins"] = shorter
    if json:
        print_json({"reward_accuracy": matrix})
        return
    table = Table("trained \\ tested", *tests)
    for name, row in matrix.items():
        table.add_row(name, *(f"{cell['value']:.1f} (s.e. {cell['standard_error']:.1f})" for cell in row.values()))
    console.print(table, soft_wrap=False)


@measures.command(epilog=examples("redpencil evaluate efficiency --token runs/q/ppo-token --sequence runs/q/ppo-edits"))
def efficiency(
    token: Annotated[Path, typer.Option(metavar="FOLDER", help="PPO stage folder of the token arm.")],
    sequence: Annotated[Path, typer.Option(metavar="FOLDER", help="PPO stage folder of the sequence arm.")],
    json: JsonOption = False,
) -> None:
    """Step and second at which the token arm first reaches the sequence arm's best win rate (Table 3)."""
    from redpencil.evaluation.efficiency import time_to_reach

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
        raise RedpencilError("no such folder", file=folder, way_out="give the folder that `redpencil ppo` wrote")
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
                        way_out="run the stage again",
                    )
            curve.append((int(row["step"]), row["seconds"], row[key]))
    if not curve:
        raise RedpencilError(
            "its metrics.jsonl holds no win rate",
            file=folder,
            field=key,
            way_out="give a PPO stage folder that was trained with --judge and --reference-outputs",
        )
    return curve
