"""`score`: what a reward model says of responses, token by token."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redpencil.cli.options import (
    DeviceOption,
    RecipeOption,
    SetOption,
    TemplateOption,
    codec_of,
    examples,
    runtime_of,
    settings,
)
from redpencil.cli.output import check_out_file, console, print_json_line, say
from redpencil.config import Recipe
from redpencil.errors import RedpencilError
from redpencil.records import Response, read_jsonl

if TYPE_CHECKING:
    from redpencil.models.loading import RewardModel

app = typer.Typer(rich_markup_mode="rich")


@dataclass(frozen=True, slots=True)
class Scored:
    """A response with its reward: of the sequence model, or the mean of the token model's (Eq. 1), as the model gives
    it. `rewards` are of each token, less the model's centre; a sequence model has none.
    """

    response: Response
    reward: float
    tokens: tuple[str, ...]
    rewards: tuple[float, ...]


@app.command(
    rich_help_panel="Evaluation",
    epilog=examples(
        'redpencil score --model reward/checkpoint --prompt "tell me about france ." --response "it is red ."',
        "redpencil score --model reward/checkpoint --responses responses.jsonl --html heatmaps.html",
        "redpencil score --model reward/checkpoint --responses responses.jsonl --json > scores.jsonl",
    ),
)
def score(
    model: Annotated[Path, typer.Option(metavar="FOLDER", help="Reward checkpoint.")],
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="A prompt, with --response.")] = None,
    response: Annotated[str | None, typer.Option(metavar="TEXT", help="A response, with --prompt.")] = None,
    responses: Annotated[Path | None, typer.Option(metavar="JSONL", help="Responses in place of the two.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the heat-maps as a page.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each response.")] = False,
    template: TemplateOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
) -> None:
    """Show the reward of each token: blue for reward, orange for blame."""
    single = prompt is not None and response is not None
    if single == (responses is not None) or (prompt is None) != (response is None):
        raise typer.BadParameter("give --prompt and --response, or --responses")
    for flag, text in (("--prompt", prompt), ("--response", response)):
        if text is not None and text.encode("utf-8", "replace").decode() != text:
            raise RedpencilError("not valid UTF-8", field=flag, way_out="give the text in UTF-8, or in a JSONL file")
    config = settings(recipe, set_, device=device, template=template)
    if html is not None:
        check_out_file(html, responses)
    rows = [Response("1", prompt or "", response or "")] if responses is None else list(read_jsonl(responses, Response))
    reward, scored = _scored(model, rows, config)
    if html is not None:
        _write_page(html, reward, scored)
    for row in scored:
        if json:
            print_json_line(
                {
                    "id": row.response.id,
                    "prompt": row.response.prompt,
                    "response": row.response.response,
                    "reward": row.reward,
                    "tokens": row.tokens,
                    "token_rewards": row.rewards,
                }
            )
        elif html is None:
            _print(row, reward.card.center)


def _scored(folder: Path, rows: Sequence[Response], config: Recipe) -> "tuple[RewardModel, list[Scored]]":
    from redpencil.models.loading import load_reward_model
    from redpencil.training.reward import encode_samples, score_ids, score_tokens

    runtime = runtime_of(config)
    reward, codec = load_reward_model(folder, runtime), codec_of(config, folder)
    encoded = encode_samples(rows, codec)
    prompts, answers = [prompt for prompt, _ in encoded], [answer for _, answer in encoded]
    if not all(prompts):
        raise RedpencilError("a prompt has no token", field="prompt", way_out="give a prompt")
    if reward.card.level == "sequence":
        rewards = score_ids(reward, prompts, answers, codec, runtime)
        return reward, [Scored(row, value, (), ()) for row, value in zip(rows, rewards, strict=True)]
    scored = []
    for row, answer, values in zip(
        rows, answers, score_tokens(reward.model, prompts, answers, codec, runtime), strict=True
    ):
        centred = tuple(float(value) - reward.card.center for value in values)
        mean = float(values.mean()) if len(values) else 0.0
        scored.append(Scored(row, mean, tuple(codec.token_texts(answer)), centred))
    return reward, scored


def _print(row: Scored, center: float) -> None:
    from redpencil.report.heatmap import heatmap_text

    console.print(row.response.prompt, style="bold")
    if not row.rewards:
        console.print(row.response.response)
    elif console.is_terminal:
        console.print(heatmap_text(row.tokens, row.rewards))
    else:
        console.print(" ".join(f"{text.strip() or '_'}({value:+.2f})" for text, value in
                               zip(row.tokens, row.rewards, strict=True)))  # fmt: skip
    about = f" (the mean of its tokens, which are shown less the model's centre, {center:+.3f})" if row.rewards else ""
    console.print(f"reward {row.reward:+.3f}{about}\n")


def _write_page(path: Path, reward: "RewardModel", scored: Sequence[Scored]) -> None:
    from redpencil.report.heatmap import heatmap_page

    if reward.card.level == "sequence":
        raise RedpencilError(
            "a sequence-level reward model has no token rewards to draw",
            field="--html",
            way_out="leave --html out, or give a token-level model",
        )
    shown = [(row.response.prompt, row.tokens, row.rewards) for row in scored]
    path.write_text(heatmap_page(shown), encoding="utf-8")
    say(f"heat-maps: {path}")
