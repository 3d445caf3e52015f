"""`score`: the rewards that one or two reward models give to responses, token by token."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from redpencil.alignment.ends import original_of
from redpencil.cli.options import (
    DeviceOption,
    RecipeOption,
    SetOption,
    TemplateOption,
    VerifyOption,
    examples,
    named_codec,
    option,
    runtime_of,
    settings,
    spread,
    warn_of,
)
from redpencil.cli.output import check_out_file, console, print_json, say, short_names
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError, naming
from redpencil.files import whole_file
from redpencil.pipeline.group import first_writes
from redpencil.records import Edit, Response, read_jsonl
from redpencil.report.scores import Row, ScoredModel, ScoredResponse, limit_of, scores_line, scores_page, scores_text

if TYPE_CHECKING:  # loads torch
    from redpencil.models.runtime import Runtime

app = typer.Typer()
WIDE = 100
"""Columns that a terminal needs for two models next to each other."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Readings of responses by one reward model, the texts of their tokens, and what speaks against its rewards."""

    model: ScoredModel
    readings: list[ScoredResponse]
    tokens: list[tuple[str, ...]]
    cautions: list[str] = field(default_factory=list)


@app.command(
    epilog=examples(
        'redpencil score --model reward/checkpoint --prompt "tell me about france ." --response "it is red ."',
        "redpencil score --model reward/checkpoint --responses responses.jsonl --html heatmaps.html",
        "redpencil score --model reward/checkpoint --model other --responses responses.jsonl --html both.html",
        "redpencil score --model reward/checkpoint --responses responses.jsonl --json > scores.jsonl",
        "redpencil score --model reward/checkpoint --edits edits.jsonl --html heatmaps.html",
    )
)
def score(
    model: Annotated[
        list[Path], option("FOLDER", "Reward checkpoint, with any tokenizer. Give it twice to compare two.")
    ],
    prompt: Annotated[str | None, option("TEXT", "A prompt, with --response.")] = None,
    response: Annotated[str | None, option("TEXT", "A response, with --prompt.")] = None,
    responses: Annotated[Path | None, option("JSONL", "Responses, instead of --prompt and --response.")] = None,
    edits: Annotated[
        Path | None,
        option("JSONL", "Edits, whose originals are scored: it then warns if the rewards point the wrong way."),
    ] = None,
    html: Annotated[Path | None, option("FILE", "Write the heat-maps as a page.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each response.")] = False,
    standardise: Annotated[
        bool, typer.Option("--standardise", help="Divide token rewards by the model's scale, as PPO does.")
    ] = False,
    template: TemplateOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
    _verify: VerifyOption = False,
) -> None:
    """Show the reward of each token: blue for reward, orange and underlined for blame.

    Two models are shown next to each other, with one scale of colours. Each reads the texts through its own tokenizer
    and prompt template. Token rewards are shown relative to the model's centre, the mean reward of a token in responses
    of the policy: 0 is an ordinary token.
    """
    _check_options(model, prompt, response, responses, edits)
    config = settings(recipe, set_, device=device, template=template)
    spread(config)
    if html is not None:
        html = first_writes(html)
        check_out_file(html, responses, edits)
    edited = [] if edits is None else _usable(edits)
    inputs = list(map(original_of, edited)) or [Response("1", prompt or "", response or "")]
    if responses is not None:
        inputs = list(read_jsonl(responses, Response))
    runtime, source = runtime_of(config), responses or edits
    with nullcontext() if source is None else naming(source):
        scores = [
            scores_of(folder, name, inputs, config, runtime, standardise, edited)
            for folder, name in zip(model, short_names(model), strict=True)
        ]
    models = [each.model for each in scores]
    cautions = [f"{each.model.name}: {text}" for each in scores for text in each.cautions]
    rows = [Row(r.prompt, r.response, tuple(s.readings[i] for s in scores)) for i, r in enumerate(inputs)]
    if html is not None:
        page = scores_page(rows, models, standardised=standardise, cautions=[f"{text}." for text in cautions])
        with whole_file(html) as file:
            file.write(page.encode("utf-8"))
        say(f"heat-maps: {html}")
    for text in cautions:
        say(f"WARNING: {text}")
    if json:
        for index, row in enumerate(inputs):
            print_json(json_row(row, scores, index), indent=None)
    elif html is None:
        limit = limit_of(rows)
        for scored in rows:
            print_row(scored, models, limit)


def _check_options(
    model: Sequence[Path], prompt: str | None, response: str | None, responses: Path | None, edits: Path | None
) -> None:
    single = prompt is not None and response is not None
    if single + (responses is not None) + (edits is not None) != 1 or (prompt is None) != (response is None):
        raise typer.BadParameter("give --prompt and --response, or --responses, or --edits")
    if len(model) > 2:
        raise typer.BadParameter("give --model once or twice")


def _usable(file: Path) -> list[Edit]:
    """Read the edits whose original is not blank.

    Raises:
        RedpencilError: if there are none.
    """
    edits = [row for row in read_jsonl(file, Edit) if row.original.strip()]
    if not edits:
        raise RedpencilError("every original is blank", file=file, field="original", hint="give other edits")
    return edits


def scores_of(
    folder: Path,
    name: str,
    rows: Sequence[Response],
    config: Recipe,
    runtime: "Runtime",
    standardise: bool,
    edits: Sequence[Edit] = (),
) -> Scores:
    """Score responses with the reward model of a folder, through its own tokenizer and prompt template.

    With `edits`, whose originals the responses are, what speaks against its token rewards is found as well.

    Raises:
        RedpencilError: if it cannot be loaded or read a row, or gives a reward that is not finite.
    """
    from redpencil.models.checkpoints import load_reward_model
    from redpencil.pipeline.reward_eval import cautions_of_scores, score_rows
    from redpencil.training.scoring import check_fits, check_rewards

    reward = load_reward_model(folder, runtime, codec=named_codec(config, folder))
    card, codec = reward.card, reward.model.codec
    warn_of(codec)
    about = ScoredModel(name, card.level, card.center, card.scale, card.trained_on)
    prompts = codec.encode_prompts(rows)
    if not all(prompts):
        raise RedpencilError("a prompt has no token", field="prompt", hint="give a prompt")
    encoded = codec.encode_responses([row.response for row in rows], finished=[row.finished for row in rows])
    ids = [tokens.ids for tokens in encoded]
    check_fits(reward.model.context, reward.model.readings, prompts, ids, [row.id for row in rows])
    readings, texts = [], []
    of_tokens, unit = card.level == "token", card.scale if standardise else 1.0
    scored = score_rows(list(zip(prompts, ids, strict=True)), reward)
    for row, tokens, (number, values) in zip(rows, encoded, scored, strict=True):
        check_rewards(reward, [number, *values], f"the response {row.id!r}")
        centred = tuple((float(value) - card.center) / unit for value in values)
        readings.append(ScoredResponse(number, tokens.offsets if of_tokens else (), centred))
        texts.append(tuple(codec.token_texts(tokens.ids)) if of_tokens else ())
    cautions: list[str] = []
    if edits and of_tokens:
        cautions = cautions_of_scores(edits, [reading.rewards for reading in readings], codec, config.align)
    return Scores(about, readings, texts, cautions)


def json_row(row: Response, scores: Sequence[Scores], index: int) -> dict[str, Any]:
    """Build the JSON of a response: the rewards of one model, or a list of those of two."""
    rewards = [
        {
            "reward": each.readings[index].reward,
            "tokens": each.tokens[index],
            "offsets": each.readings[index].offsets,
            "token_rewards": each.readings[index].rewards,
        }
        for each in scores
    ]
    about = {"id": row.id, "prompt": row.prompt, "response": row.response}
    if len(rewards) == 1:
        return about | rewards[0]
    models = [
        {"model": each.model.name, "level": each.model.level, "center": each.model.center, **one}
        for each, one in zip(scores, rewards, strict=True)
    ]
    return about | {"models": models}


def print_row(row: Row, models: Sequence[ScoredModel], limit: float) -> None:
    """Print a response; two models go next to each other if the terminal is wide enough."""
    console.print(row.prompt, style="bold")
    columns = []
    for model, reading in zip(models, row.scores, strict=True):
        coloured = console.is_terminal and model.level == "token"
        body = scores_text(row.response, reading, limit) if coloured else scores_line(row.response, reading)
        about = ""
        if model.level == "token":
            about = f" (the mean of its tokens, which are shown relative to the model's centre, {model.center:+.3f})"
        total = f"reward {reading.reward:+.3f}{about}"
        columns.append((f"{model.name}:" if len(models) > 1 else "", body, total))
    if len(columns) > 1 and console.is_terminal and console.width >= WIDE:
        grid = Table.grid(padding=(0, 4), expand=True)
        for _ in columns:
            grid.add_column(ratio=1)
        for line in zip(*columns, strict=True):
            grid.add_row(*line)
        console.print(grid, soft_wrap=False)
    else:
        for name, body, total in columns:
            if name:
                console.print(name, style="italic")
            console.print(body)
            console.print(total)
    console.print()
