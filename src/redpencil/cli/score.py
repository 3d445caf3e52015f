"""`score`: what one or two reward models say of responses, token by token."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from redpencil.cli.options import (
    DeviceOption,
    RecipeOption,
    SetOption,
    TemplateOption,
    examples,
    named_codec,
    runtime_of,
    settings,
)
from redpencil.cli.output import check_out_file, console, naming, print_json_line, say
from redpencil.config import Recipe
from redpencil.errors import RedpencilError
from redpencil.files import whole_file
from redpencil.records import Response, read_jsonl

if TYPE_CHECKING:
    from redpencil.models.runtime import Runtime
    from redpencil.report.scores import Row, ScoredModel, ScoredResponse

app = typer.Typer(rich_markup_mode="rich")
WIDE = 100
"""Columns of a terminal from which on two models stand side by side."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One model's word on every response: how it reads it, and the texts of the tokens."""

    model: "ScoredModel"
    readings: "list[ScoredResponse]"
    tokens: list[tuple[str, ...]]


@app.command(
    rich_help_panel="Evaluation",
    epilog=examples(
        'redpencil score --model reward/checkpoint --prompt "tell me about france ." --response "it is red ."',
        "redpencil score --model reward/checkpoint --responses responses.jsonl --html heatmaps.html",
        "redpencil score --model reward/checkpoint --model other --responses responses.jsonl --html both.html",
        "redpencil score --model reward/checkpoint --responses responses.jsonl --json > scores.jsonl",
    ),
)
def score(
    model: Annotated[
        list[Path], typer.Option(metavar="FOLDER", help="Reward checkpoint, with any tokenizer. Twice for two beside.")
    ],
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="A prompt, with --response.")] = None,
    response: Annotated[str | None, typer.Option(metavar="TEXT", help="A response, with --prompt.")] = None,
    responses: Annotated[Path | None, typer.Option(metavar="JSONL", help="Responses in place of the two.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the heat-maps as a page.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each response.")] = False,
    standardise: Annotated[
        bool, typer.Option("--standardise", help="Divide token rewards by the model's scale, as PPO pays them.")
    ] = False,
    template: TemplateOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
) -> None:
    """Show the reward of each token: blue for reward, orange and underlined for blame.

    A second --model is shown beside the first, on the same scale of colour. Each reads the texts through its own
    tokenizer and prompt template. Token rewards are shown less their model's centre.
    """
    single = prompt is not None and response is not None
    if single == (responses is not None) or (prompt is None) != (response is None):
        raise typer.BadParameter("give --prompt and --response, or --responses")
    if len(model) > 2:
        raise typer.BadParameter("give --model once or twice")
    for flag, text in (("--prompt", prompt), ("--response", response)):
        if text is not None and text.encode("utf-8", "replace").decode() != text:
            raise RedpencilError("not valid UTF-8", field=flag, hint="give the text in UTF-8, or in a JSONL file")
    config = settings(recipe, set_, device=device, template=template)
    if html is not None:
        check_out_file(html, responses)
    given = (
        [Response("1", prompt or "", response or "")] if responses is None else list(read_jsonl(responses, Response))
    )
    runtime = runtime_of(config)
    with nullcontext() if responses is None else naming(responses):
        scores = [
            scores_of(folder, name, given, config, runtime, standardise)
            for folder, name in zip(model, names_of(model), strict=True)
        ]

    from redpencil.report.scores import Row, limit_of, scores_page

    rows = [Row(r.prompt, r.response, tuple(s.readings[i] for s in scores)) for i, r in enumerate(given)]
    if html is not None:
        page = scores_page(rows, [each.model for each in scores], standardised=standardise)
        with whole_file(html) as file:
            file.write(page.encode("utf-8"))
        say(f"heat-maps: {html}")
    if json:
        for index, one in enumerate(given):
            print_json_line(json_row(one, scores, index))
    elif html is None:
        limit = limit_of(rows)
        for row in rows:
            print_row(row, [each.model for each in scores], limit)


def names_of(folders: Sequence[Path]) -> list[str]:
    """What to call models: the folder that tells them apart, which is not `checkpoint`."""
    names = [folder.absolute().parent.name if folder.name == "checkpoint" else folder.name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def scores_of(
    folder: Path, name: str, rows: Sequence[Response], config: Recipe, runtime: "Runtime", standardise: bool
) -> Scores:
    """Score responses with the reward model of a folder, through its own tokenizer and prompt template.

    Raises:
        RedpencilError: if it cannot be loaded or read a row, or says what is no number.
    """
    from redpencil.models.checkpoints import load_reward_model
    from redpencil.report.scores import ScoredModel, ScoredResponse
    from redpencil.training.scoring import check_fits, score_ids, score_tokens

    reward = load_reward_model(folder, runtime, codec=named_codec(config, folder))
    card, codec = reward.card, reward.model.codec
    about = ScoredModel(name, card.level, card.center, card.scale, card.trained_on)
    prompts = codec.encode_prompts([row.prompt for row in rows]) if rows else []
    if not all(prompts):
        raise RedpencilError("a prompt has no token", field="prompt", hint="give a prompt")
    encoded = codec.encode_responses([row.response for row in rows], finished=[row.finished for row in rows])
    ids = [tokens.ids for tokens in encoded]
    check_fits(reward.model, prompts, ids, [row.id for row in rows])
    if card.level == "sequence":
        numbers = score_ids(reward, prompts, ids)
        _check_finite(numbers, rows, folder)
        return Scores(about, [ScoredResponse(number, (), ()) for number in numbers], [()] * len(rows))
    readings, texts = [], []
    for row, tokens, values in zip(rows, encoded, score_tokens(reward.model, prompts, ids), strict=True):
        raw = [float(value) for value in values]
        _check_finite(raw, [row] * len(raw), folder)
        unit = card.scale if standardise else 1.0
        shown = tuple((value - card.center) / unit for value in raw)
        readings.append(ScoredResponse(sum(raw) / max(len(raw), 1), tokens.offsets, shown))
        texts.append(tuple(codec.token_texts(tokens.ids)))
    return Scores(about, readings, texts)


def _check_finite(numbers: Sequence[float], rows: Sequence[Response], folder: Path) -> None:
    for number, row in zip(numbers, rows, strict=True):
        if not math.isfinite(number):
            raise RedpencilError(
                f"the reward model says {number} of response {row.id!r}",
                file=folder,
                hint="its weights are damaged, or training broke down: take another checkpoint",
            )


def json_row(row: Response, scores: Sequence[Scores], index: int) -> dict[str, Any]:
    """A response with what the model says of it; of two models, a list of both."""
    said = [
        {
            "reward": each.readings[index].reward,
            "tokens": each.tokens[index],
            "offsets": each.readings[index].offsets,
            "token_rewards": each.readings[index].rewards,
        }
        for each in scores
    ]
    about = {"id": row.id, "prompt": row.prompt, "response": row.response}
    if len(said) == 1:
        return about | said[0]
    models = [
        {"model": each.model.name, "level": each.model.level, "center": each.model.center, **one}
        for each, one in zip(scores, said, strict=True)
    ]
    return about | {"models": models}


def print_row(row: "Row", models: "Sequence[ScoredModel]", limit: float) -> None:
    """A response in the terminal: with two models side by side where it is wide enough."""
    from redpencil.report.scores import scores_line, scores_text

    console.print(row.prompt, style="bold")
    shown = []
    for model, reading in zip(models, row.scores, strict=True):
        coloured = console.is_terminal and model.level == "token"
        body = scores_text(row.response, reading, limit) if coloured else scores_line(row.response, reading)
        about = ""
        if model.level == "token":
            about = f" (the mean of its tokens, which are shown less the model's centre, {model.center:+.3f})"
        total = f"reward {reading.reward:+.3f}{about}"
        shown.append((f"{model.name}:" if len(models) > 1 else "", body, total))
    if len(shown) > 1 and console.is_terminal and console.width >= WIDE:
        grid = Table.grid(padding=(0, 4), expand=True)
        for _ in shown:
            grid.add_column(ratio=1)
        for line in zip(*shown, strict=True):
            grid.add_row(*line)
        console.print(grid, soft_wrap=False)
    else:
        for name, body, total in shown:
            if name:
                console.print(name, style="italic")
            console.print(body)
            console.print(total)
    console.print()
