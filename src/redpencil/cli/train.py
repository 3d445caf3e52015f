"""`sft`, `reward` and `ppo`: one training stage each, in a stage folder of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redpencil.cli.judge import JUDGE_HELP, check_judge, make_judge
from redpencil.cli.options import (
    DeviceOption,
    RecipeOption,
    SeedOption,
    SetOption,
    TemplateOption,
    codec_of,
    examples,
    runtime_of,
    settings,
)
from redpencil.cli.output import board_for, naming, say, say_skipped
from redpencil.config import PPOConfig, Recipe, RewardConfig
from redpencil.errors import RedpencilError
from redpencil.records import Example, Pair, Prompt, Response, read_jsonl
from redpencil.runs import Stage, open_stage

if TYPE_CHECKING:
    from redpencil.models.codec import Codec
    from redpencil.models.runtime import Runtime

app = typer.Typer(rich_markup_mode="rich")
PANEL = "Training"
OutOption = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Stage folder; gets checkpoint/ and metrics.")]


@contextmanager
def training_stage(
    name: str, out: Path, recipe: Recipe, codec: "Codec", config: Any, inputs: Mapping[str, Path | None]
) -> Iterator[Stage | None]:
    """The stage folder, opened with progress; None where it is complete already."""
    shared = {"prompt_template": codec.template, "device": recipe.device, "dtype": recipe.dtype}
    given = {key: path for key, path in inputs.items() if path is not None}
    with (
        board_for(1) as board,
        open_stage(
            out,
            name,
            seed=recipe.seeds[0],
            config={**shared, name: config},
            inputs=given,
            progress=lambda done, total, note: board.advance(name, done, total, note),
        ) as stage,
    ):
        if stage is not None:
            board.start(name)
        yield stage
        board.end(name, "already complete" if stage is None else "done")
    if stage is None:
        say(f"{out} is complete with the same inputs, so nothing was done")
        return
    say_skipped(stage.notes.get("skipped", {}))
    say(f"checkpoint: {out / 'checkpoint'}")


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "redpencil sft --model llama --data demonstrations.jsonl --out sft",
        "redpencil sft --model llama --data demonstrations.jsonl --out sft --set sft.max_steps=450 --template chat",
    ),
)
def sft(
    model: Annotated[Path, typer.Option(metavar="FOLDER", help="Base model; one without weights starts from scratch.")],
    data: Annotated[Path, typer.Option(metavar="JSONL", help="Rows of prompt and response.")],
    out: OutOption,
    template: TemplateOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
) -> None:
    """Fine-tune a model on demonstrations; the loss counts response tokens only."""
    config = settings(recipe, set_, device=device, seed=seed, template=template)
    codec, runtime = codec_of(config, model), runtime_of(config)

    from redpencil.models.loading import has_weights
    from redpencil.training.sft import train_sft

    inputs = {"model": model, "examples": data}
    with training_stage("sft", out, config, codec, config.sft.model_dump(), inputs) as stage:
        if stage is not None:
            if not has_weights(model):
                say(f"{model} has no weights: training starts from random ones")
            rows = read_jsonl(data, Example)
            with naming(data):
                train_sft(config.sft, model=model, examples=rows, codec=codec, runtime=runtime, stage=stage)


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "redpencil reward --model sft/checkpoint --pairs pairs.jsonl --samples responses.jsonl --out reward",
        "redpencil reward --recipe recipes/quickstart.yaml --entry sequence_edits "
        "--model sft/checkpoint --pairs pairs.jsonl --samples responses.jsonl --out reward",
    ),
)
def reward(
    model: Annotated[Path, typer.Option(metavar="FOLDER", help="Checkpoint of the SFT policy: the backbone.")],
    pairs: Annotated[Path, typer.Option(metavar="JSONL", help="Pairs that `redpencil align` wrote.")],
    samples: Annotated[
        Path, typer.Option(metavar="JSONL", help="Responses of the SFT policy; they give centre and scale.")
    ],
    out: OutOption,
    entry: Annotated[
        str | None, typer.Option(metavar="NAME", help="Entry of the recipe's reward_models whose options to use.")
    ] = None,
    template: TemplateOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
) -> None:
    """Train a reward model: per token (Eq. 1-4) or per response (Bradley-Terry)."""
    config = settings(recipe, set_, device=device, seed=seed, template=template)
    options = _reward_options(config, entry)
    codec, runtime = codec_of(config, model), runtime_of(config)

    from redpencil.training.reward import encode_samples, train_reward

    inputs = {"policy": model, "pairs": pairs, "samples": samples}
    with training_stage("reward", out, config, codec, options.model_dump(), inputs) as stage:
        if stage is not None:
            rows = list(islice(read_jsonl(samples, Response), options.reference_samples))
            train_reward(
                options,
                backbone=model,
                pairs=read_pairs(pairs, codec),
                samples=encode_samples(rows, codec),
                codec=codec,
                trained_on=pairs.name,
                runtime=runtime,
                stage=stage,
            )


def _reward_options(config: Recipe, entry: str | None) -> RewardConfig:
    check_entry(entry, config.reward_models, "reward_models")
    return config.reward if entry is None else config.reward_config(entry)


def check_entry(entry: str | None, known: Mapping[str, Any], section: str) -> None:
    """Refuse the name of an entry that the recipe does not have; None is no name."""
    if entry is not None and entry not in known:
        raise RedpencilError(f"the recipe has no entry {entry!r}", field=section, hint=f"one of: {', '.join(known)}")


def read_pairs(path: Path, codec: "Codec") -> list[Pair]:
    """Pairs that a model with the tokenizer of `codec` can read.

    Raises:
        RedpencilError: naming the file and the first pair that it cannot.
    """
    from redpencil.training.pairs import check_pairs

    rows = list(read_jsonl(path, Pair))
    with naming(path):
        check_pairs(rows, len(codec.tokenizer), codec.context)
    return rows


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "redpencil ppo --policy sft/checkpoint --reward-model reward/checkpoint --prompts prompts.jsonl "
        "--validation-prompts validation.jsonl --out ppo",
        "redpencil ppo --policy sft/checkpoint --reward-model reward/checkpoint --prompts prompts.jsonl "
        "--validation-prompts validation.jsonl --reference-outputs reference.jsonl --judge judge/checkpoint --out ppo "
        "--set ppo.reward=sequence",
    ),
)
def ppo(
    policy: Annotated[Path, typer.Option(metavar="FOLDER", help="Checkpoint of the SFT policy.")],
    reward_model: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="Reward checkpoint, of the level that ppo.reward needs. Tokenizer and prompt template may be its own.",
        ),
    ],
    prompts: Annotated[Path, typer.Option(metavar="JSONL", help="Prompts to train on.")],
    validation_prompts: Annotated[Path, typer.Option(metavar="JSONL", help="Prompts on which training is watched.")],
    out: OutOption,
    sequence_reward_model: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With ppo.reward=both: the sequence-level one beside it.")
    ] = None,
    reference_outputs: Annotated[
        Path | None, typer.Option(metavar="JSONL", help="The reference's responses to the validation prompts.")
    ] = None,
    judge: Annotated[str | None, typer.Option(metavar="JUDGE", help=JUDGE_HELP)] = None,
    arm: Annotated[
        str | None, typer.Option(metavar="NAME", help="Entry of the recipe's arms whose options to use.")
    ] = None,
    template: TemplateOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
) -> None:
    """Train a policy on token rewards, or on one reward at the end.

    With a judge and reference outputs the checkpoint with the best win rate is kept, else the one with the best reward.

    A reward model with another tokenizer or chat template than the policy reads the text of prompts and responses; its
    token rewards are laid onto the policy's tokens, and their sum is kept.
    """
    if (judge is None) != (reference_outputs is None):
        raise typer.BadParameter("--judge and --reference-outputs go together")
    config = settings(recipe, set_, device=device, seed=seed, template=template)
    options = _ppo_options(config, arm)
    if sequence_reward_model is not None and options.reward != "both":
        raise RedpencilError(
            f"ppo.reward={options.reward} takes one reward model",
            field="--sequence-reward-model",
            hint="leave it out, or set ppo.reward=both",
        )
    folder = None if judge is None else check_judge(judge)
    codec, runtime = codec_of(config, policy), runtime_of(config)

    from redpencil.models.sampling import EncodedPrompts, encode_prompts
    from redpencil.pipeline.stages import alarming
    from redpencil.training.ppo import load_actors, run_ppo

    def encoded(file: Path, max_prompt_length: int) -> EncodedPrompts:
        with naming(file):
            return encode_prompts(list(read_jsonl(file, Prompt)), codec, max_prompt_length)

    inputs = {
        "policy": policy,
        "reward_model": reward_model,
        "sequence_reward_model": sequence_reward_model,
        "prompts": prompts,
        "validation_prompts": validation_prompts,
        "reference": reference_outputs,
        "judge": folder,
    }
    decides = [options.model_dump(), judge, config.sampling.max_prompt_length]
    with training_stage("ppo", out, config, codec, decides, inputs) as stage:
        if stage is None:
            return
        only_sequence = options.reward == "sequence"
        actors = load_actors(
            options,
            policy,
            None if only_sequence else reward_model,
            reward_model if only_sequence else sequence_reward_model,
            runtime,
            codec,
        )
        for note in actors.notes:
            say(note)
        stage.warn = lambda text: say(f"warning: {text}")
        stage.watch = alarming(stage, config.alarms)
        run_ppo(
            options,
            actors=actors,
            prompts=encoded(prompts, options.max_prompt_length),
            # As `respond` did when it wrote the reference's outputs, so that each has its counterpart.
            validation=encoded(validation_prompts, config.sampling.max_prompt_length),
            evaluate=validation_judge(judge, reference_outputs, config, runtime),
            codec=codec,
            runtime=runtime,
            stage=stage,
        )


def _ppo_options(config: Recipe, arm: str | None) -> PPOConfig:
    check_entry(arm, config.arms, "arms")
    return config.ppo if arm is None else config.ppo_config(arm)


def validation_judge(
    judge: str | None, reference_outputs: Path | None, config: Recipe, runtime: "Runtime"
) -> Callable[[Sequence[Response]], dict[str, float]]:
    """How a policy's responses to the validation prompts are judged; not at all without a judge."""
    if judge is None or reference_outputs is None:
        return lambda _: {}

    from redpencil.evaluation.judges import judge_outputs
    from redpencil.evaluation.statistics import win_rate

    judging, answers = make_judge(judge, config, runtime), list(read_jsonl(reference_outputs, Response))

    def evaluate(responses: Sequence[Response]) -> dict[str, float]:
        with naming(reference_outputs):
            verdicts = judge_outputs(judging, responses, answers)
        rate = win_rate([row.preference for row in verdicts], [len(row.first.split()) for row in verdicts])
        return {"win_rate": rate.value, "win_rate_standard_error": rate.standard_error}

    return evaluate
