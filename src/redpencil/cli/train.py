"""`sft`, `reward`, and a command for each method of the table: one training stage each, in its own stage folder."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redpencil.cli.judge import JUDGE_HELP, WORLD, check_judge, make_judge
from redpencil.cli.options import ModelOptions, examples, option, setup_of, with_options
from redpencil.cli.output import board_for, check_out_file, say, say_skipped, working
from redpencil.config.methods import METHODS, Method
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError
from redpencil.files import work_beside
from redpencil.pipeline.context import Setup
from redpencil.pipeline.execute import open_together
from redpencil.pipeline.group import first_writes, group
from redpencil.records import write_jsonl
from redpencil.runs import Stage

if TYPE_CHECKING:  # It loads torch.
    from redpencil.models.codec import Codec
    from redpencil.pipeline.training import Watch

app = typer.Typer()
OutOption = Annotated[Path, option("FOLDER", "Stage folder; gets checkpoint/ and metrics.", "--out")]
PolicyOption = Annotated[Path, option("FOLDER", "Checkpoint of the SFT policy.")]


def encoding_config(codec: "Codec") -> dict[str, Any]:
    """Return what decides how a stage encodes prompts, for its fingerprint."""
    chat = {} if codec.template != "chat" else codec.chat_options
    return {"prompt_template": codec.template, **chat}


@contextmanager
def training_stage(
    name: str, out: Path, setup: Setup, config: Any, inputs: Mapping[str, Path | None]
) -> Iterator[Stage | None]:
    """Open the stage folder, with progress; yields None if it is complete already."""
    group().check_shared(out.absolute().parent)
    lora = {} if setup.recipe.lora is None else {"lora": setup.recipe.lora.model_dump()}
    shared = {**encoding_config(setup.codec), **setup.recipe.formats, **lora}
    with (
        board_for(1) as board,
        open_together(
            out,
            name,
            seed=setup.recipe.seeds[0],
            config={**shared, name: config},
            inputs={key: path for key, path in inputs.items() if path is not None},
            progress=lambda done, total, note: board.advance(name, done, total, note),
        ) as stage,
    ):
        if stage is not None:
            board.start(name)
            stage.warn = lambda text: say(f"warning: {text}")
            stage.tell = say
        yield stage
        board.end(name, "already complete" if stage is None else "done")
    if stage is None:
        say(f"{out} is complete with the same inputs, so nothing was done")
        return
    for note in stage.notes.get("models", ()):
        say(note)
    say_skipped(stage.notes.get("skipped", {}))
    say(f"checkpoint: {out / 'checkpoint'}")


@app.command(
    epilog=examples(
        "redpencil sft --model llama --data demonstrations.jsonl --out sft",
        "redpencil sft --model llama --data demonstrations.jsonl --out sft --set sft.max_steps=450 --template chat",
    ),
)
@with_options
def sft(
    model: Annotated[
        Path,
        option("FOLDER", "Base model. One without weights starts from random ones if its redpencil.json says fresh."),
    ],
    data: Annotated[Path, option("JSONL", "Rows of prompt and response.")],
    out: OutOption,
    *,
    options: ModelOptions,
) -> None:
    """Fine-tune a model on demonstrations; the loss counts response tokens only."""
    config = options.settings()
    setup = setup_of(config, model, fresh=True)

    from redpencil.models.checkpoints import has_weights
    from redpencil.pipeline.training import fine_tune

    with training_stage("sft", out, setup, config.sft.model_dump(), {"model": model, "examples": data}) as stage:
        if stage is not None:
            if not has_weights(model):
                say(f"{model} has no weights: training starts from random ones")
            fine_tune(setup, stage, config.sft, model=model, examples=data)


@app.command(
    epilog=examples(
        "redpencil reward --model sft/checkpoint --pairs pairs.jsonl --samples responses.jsonl --out reward",
        "redpencil reward --recipe recipes/recommended.yaml --entry sequence_edits "
        "--model sft/checkpoint --pairs pairs.jsonl --samples responses.jsonl --out reward",
        "redpencil reward --model sft/checkpoint --policy trained/checkpoint --samples responses.jsonl --out reward",
    ),
)
@with_options
def reward(
    model: Annotated[Path, option("FOLDER", "Checkpoint of the SFT policy: the backbone.")],
    samples: Annotated[Path, option("JSONL", "Responses of the SFT policy; they give centre and scale.")],
    out: OutOption,
    pairs: Annotated[Path | None, option("JSONL", "Pairs that `redpencil align` wrote.")] = None,
    policy: Annotated[
        Path | None,
        option(
            "FOLDER",
            "In place of pairs: a trained policy; the reward of a token is --beta times the log-ratio of this policy "
            "and the one in --model, from which it was trained (RTO).",
        ),
    ] = None,
    beta: Annotated[float, option("X", "With --policy: the beta that it was trained with.")] = 0.1,
    entry: Annotated[str | None, option("NAME", "Entry of the recipe's reward_models whose options to use.")] = None,
    start: Annotated[
        Path | None, option("FOLDER", "Checkpoint of a reward model to go on with, heads and all, on these pairs.")
    ] = None,
    *,
    options: ModelOptions,
) -> None:
    """Train a reward model: per token (Eq. 1-4) or per response (Bradley-Terry)."""
    if (pairs is None) == (policy is None):
        raise typer.BadParameter("give exactly one of --pairs and --policy")
    if beta <= 0:
        raise typer.BadParameter("--beta must be above 0")
    if policy is not None and start is not None:
        raise typer.BadParameter("--start goes with --pairs")
    config = options.settings()
    check_entry(entry, config.reward_models, "reward_models")
    chosen = config.reward if entry is None else config.reward_config(entry)
    setup = setup_of(config, model)

    from redpencil.models.log_ratio import Parts
    from redpencil.pipeline.training import fit_reward, take_policy

    if pairs is None:
        assert policy is not None
        parts = Parts(policy, model, beta)
        made_of = {"policy": model, "trained": policy, "samples": samples}
        with training_stage("reward", out, setup, [chosen.reference_samples, parts.beta], made_of) as stage:
            if stage is not None:
                take_policy(setup, stage, chosen, parts, samples=samples, trained_on=f"the policy {policy}")
        return
    inputs = {"policy": model, "pairs": pairs, "samples": samples, **({} if start is None else {"start": start})}
    with training_stage("reward", out, setup, chosen.model_dump(), inputs) as stage:
        if stage is not None:
            fit_reward(
                setup, stage, chosen, policy=model, pairs=[pairs], samples=samples, trained_on=pairs.name, start=start
            )


def check_entry(entry: str | None, known: Mapping[str, Any], section: str) -> None:
    """Refuse the name of an entry that the recipe does not have; None names none."""
    if entry is not None and entry not in known:
        raise RedpencilError(f"the recipe has no entry {entry!r}", field=section, hint=f"one of: {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class MethodOptions(ModelOptions):
    """The options that a command of a method has, whatever it learns from."""

    arm: Annotated[str | None, option("NAME", "Entry of the recipe's arms (its policies) whose options to use.")] = None

    def of(self, method: Method, config: Recipe) -> Any:
        """Return the recipe's section of the method, with what differs for the arm."""
        check_entry(self.arm, config.arms, "arms")
        if self.arm is None:
            return getattr(config, method.name)
        if config.arms[self.arm].method != method.name:
            raise RedpencilError(
                f"the arm {self.arm!r} is one of the method {config.arms[self.arm].method}",
                field="--arm",
                hint=f"name an arm with method: {method.name}, or leave --arm out",
            )
        return config.options(self.arm)


@dataclass(frozen=True, slots=True)
class TrainOptions(MethodOptions):
    """The options of a method that trains, which a judge may watch."""

    reference_outputs: Annotated[
        Path | None, option("JSONL", "The reference's responses to the validation prompts.")
    ] = None
    judge: Annotated[str | None, option("JUDGE", JUDGE_HELP)] = None

    def check(self, prompts: Path | None, *, alone: bool) -> None:
        """Check that what watches training is complete; `alone` allows validation prompts without a judge."""
        if (self.judge is None) != (self.reference_outputs is None):
            raise typer.BadParameter("--judge and --reference-outputs go together")
        if not alone and (prompts is None) != (self.judge is None):
            raise typer.BadParameter("--validation-prompts, --reference-outputs and --judge go together")

    def watch(self, prompts: Path | None, setup: Setup) -> "Watch | None":
        """Load what watches training."""
        from redpencil.pipeline.training import Watch

        if prompts is None:
            return None
        judge = None if self.judge is None else make_judge(self.judge, setup.recipe, setup.runtime)
        return Watch(prompts, self.reference_outputs, judge)


def _train(
    method: Method, config: Recipe, options: TrainOptions, out: Path, policy: Path, watched: Path | None, **files: Any
) -> None:
    """Train a policy in a stage folder, watched on prompts; `files` are further fields of `TrainingInputs`."""
    chosen = options.of(method, config)
    folder = None if options.judge is None else check_judge(options.judge)
    setup = setup_of(config, policy)

    from redpencil.models.checkpoints import check_model_folder
    from redpencil.pipeline.training import TrainingInputs, train_policy

    models = files.get("reward_models", ())
    for model in (*models, *([] if folder is None else [folder])):
        check_model_folder(model)
    inputs = {
        "policy": policy,
        "pairs": next(iter(files.get("pairs", ())), None),
        "prompts": files.get("prompts"),
        **dict(zip(("reward_model", "sequence_reward_model"), models, strict=False)),
        "validation_prompts": watched,
        "reference": options.reference_outputs,
        "judge": folder,
    }
    decides = [chosen.model_dump(), options.judge, config.sampling.model_dump()]
    if options.judge == WORLD and config.world is not None:
        decides.append(config.world.model_dump())  # It decides what the judge finds.
    with training_stage(method.name, out, setup, decides, inputs) as stage:
        if stage is not None:
            watch = options.watch(watched, setup)
            train_policy(setup, stage, method, chosen, TrainingInputs(policy, watch, **files))


_MADE_OF = {"hunks": "edits with --hunks", "edit_texts": "edits with --texts"}
"""How kinds of pairs are asked for."""


def _pairs_command(method: Method) -> Callable[..., None]:
    kinds = " or of ".join(_MADE_OF.get(kind, kind) for kind in method.pairs)

    def command(
        policy: PolicyOption,
        pairs: Annotated[Path, option("JSONL", f"Pairs that `redpencil align` made of {kinds}.")],
        out: OutOption,
        validation_prompts: Annotated[
            Path | None, option("JSONL", "Prompts on which training is watched, with the next two options.")
        ] = None,
        *,
        options: TrainOptions,
    ) -> None:
        options.check(validation_prompts, alone=False)
        _train(method, options.settings(), options, out, policy, validation_prompts, pairs=(pairs,))

    return command


def _rewards_command(method: Method) -> Callable[..., None]:
    name = method.name

    def command(
        policy: PolicyOption,
        reward_model: Annotated[
            Path,
            option(
                "FOLDER",
                f"Reward checkpoint, of the level that {name}.reward needs. Tokenizer and prompt template may be "
                "its own.",
            ),
        ],
        prompts: Annotated[Path, option("JSONL", "Prompts to train on.")],
        validation_prompts: Annotated[Path, option("JSONL", "Prompts on which training is watched.")],
        out: OutOption,
        sequence_reward_model: Annotated[
            Path | None, option("FOLDER", f"With {name}.reward=both: the sequence-level one, for the response.")
        ] = None,
        *,
        options: TrainOptions,
    ) -> None:
        options.check(validation_prompts, alone=True)
        config = options.settings()
        chosen = options.of(method, config)
        models = [model for model in (reward_model, sequence_reward_model) if model is not None]
        if len(models) > len(chosen.reward_levels):
            raise RedpencilError(
                f"{name}.reward={chosen.reward} takes one reward model",
                field="--sequence-reward-model",
                hint=f"leave it out, or set {name}.reward=both",
            )
        _train(method, config, options, out, policy, validation_prompts, prompts=prompts, reward_models=tuple(models))

    return command


def _choose_command(method: Method) -> Callable[..., None]:
    def command(
        policy: Annotated[Path, option("FOLDER", "Checkpoint of the policy that is sampled.")],
        reward_model: Annotated[Path, option("FOLDER", "Reward checkpoint of either level; it picks the best.")],
        prompts: Annotated[Path, option("JSONL", "Prompts to answer.")],
        out: Annotated[Path, option("JSONL", "Where the responses go.")],
        *,
        options: MethodOptions,
    ) -> None:
        config = options.settings()
        chosen = options.of(method, config)
        out = first_writes(out)
        check_out_file(out, prompts)
        setup = setup_of(config, policy)

        from redpencil.pipeline.training import choose_answers

        with work_beside(out) as kept, working(method.name.replace("_", "-")) as progress:
            best = choose_answers(
                setup,
                method,
                chosen,
                policy=policy,
                reward_model=reward_model,
                prompts=prompts,
                seed=config.seeds[0],
                model_name=str(policy),
                progress=progress,
                warn=lambda text: say(f"warning: {text}"),
                kept=kept,
            )
            written = write_jsonl(out, best.responses)
        say_skipped({"prompts longer than sampling.max_prompt_length": best.skipped})
        say(f"{written} responses in {out}, picked from {best.sampled}")
        say(
            f"mean score {best.best_score:.3f}, of all that were sampled {best.mean_score:.3f}; "
            f"KL to the policy at most {best.kl_bound:.2f} nats a response"
        )

    return command


KEPT: dict[bool, str] = {
    True: "With a judge and reference outputs the checkpoint with the best win rate is kept, else the one with the "
    "best reward.\n\nA reward model with another tokenizer or chat template than the policy reads the text of prompts "
    "and responses; its token rewards are laid onto the policy's tokens, and their sum is kept.",
    False: "With a judge the checkpoint with the best win rate is kept, else the last one.",
}
"""By whether the method samples while it trains."""


def _add(method: Method) -> None:
    """Add the command of a method."""
    command = method.name.replace("_", "-")
    start = f"redpencil {command} --policy sft/checkpoint"
    watched = "--validation-prompts validation.jsonl"
    judged = "--reference-outputs reference.jsonl --judge judge/checkpoint"
    about = method.config.__doc__ or ""
    if not method.trains:
        function, kept = _choose_command(method), ""
        lines = [f"{start} --reward-model reward/checkpoint --prompts prompts.jsonl --out {command}.jsonl"]
    elif method.learns_from == "pairs":
        function, kept = _pairs_command(method), KEPT[method.samples]
        lines = [f"{start} --pairs pairs.jsonl --out {command}"]
        lines.append(f"{lines[0]} {watched} {judged}")
    else:
        function, kept = _rewards_command(method), KEPT[method.samples]
        lines = [f"{start} --reward-model reward/checkpoint --prompts prompts.jsonl {watched} --out {command}"]
        lines.append(f"{lines[0]} {judged} --set {method.name}.reward=sequence")
    app.command(command, help=f"{about}\n\n{kept}".strip(), epilog=examples(*lines))(with_options(function))


for _method in METHODS.values():
    _add(_method)
