"""`dpo`, `figa` and `best-of-n`: what a user would weigh against PPO, on the same pairs and reward models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redpencil.cli.judge import JUDGE_HELP, check_judge
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
from redpencil.cli.output import check_out_file, naming, say, say_skipped, working
from redpencil.cli.train import PANEL, OutOption, check_entry, read_pairs, training_stage, validation_judge
from redpencil.config import DPOConfig, FIGAConfig, Method, Recipe
from redpencil.errors import RedpencilError
from redpencil.records import Prompt, read_jsonl, write_jsonl

if TYPE_CHECKING:
    from redpencil.models.codec import Codec
    from redpencil.models.runtime import Runtime
    from redpencil.training.evaluation import Validation

app = typer.Typer(rich_markup_mode="rich")
PolicyOption = Annotated[Path, typer.Option(metavar="FOLDER", help="Checkpoint of the SFT policy.")]
EditPairsOption = Annotated[Path, typer.Option(metavar="JSONL", help="Pairs that `redpencil align` made of edits.")]
PairsOption = Annotated[
    Path, typer.Option(metavar="JSONL", help="Pairs that `redpencil align` made of edits or of comparisons.")
]
ValidationOption = Annotated[
    Path | None, typer.Option(metavar="JSONL", help="Prompts on which training is watched, with the next two.")
]
ReferenceOption = Annotated[
    Path | None, typer.Option(metavar="JSONL", help="The reference's responses to the validation prompts.")
]
JudgeOption = Annotated[str | None, typer.Option(metavar="JUDGE", help=JUDGE_HELP)]
ArmOption = Annotated[str | None, typer.Option(metavar="NAME", help="Entry of the recipe's arms whose options to use.")]


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "redpencil dpo --policy sft/checkpoint --pairs pairs.jsonl --out dpo --set dpo.beta=0.3",
        "redpencil dpo --policy sft/checkpoint --pairs pairs.jsonl --validation-prompts validation.jsonl "
        "--reference-outputs reference.jsonl --judge judge/checkpoint --out dpo",
    ),
)
def dpo(
    policy: PolicyOption,
    pairs: PairsOption,
    out: OutOption,
    validation_prompts: ValidationOption = None,
    reference_outputs: ReferenceOption = None,
    judge: JudgeOption = None,
    arm: ArmOption = None,
    template: TemplateOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
) -> None:
    """Train a policy on pairs with DPO, by TRL's trainer (extra trl).

    With a judge the checkpoint with the best win rate is kept, else the last one.
    """
    _train(
        "dpo",
        settings(recipe, set_, device=device, seed=seed, template=template),
        policy,
        pairs,
        out,
        _Watch(validation_prompts, reference_outputs, judge),
        arm,
    )


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "redpencil figa --policy sft/checkpoint --pairs pairs.jsonl --out figa",
        "redpencil figa --policy sft/checkpoint --pairs pairs.jsonl --out figa --set figa.kept=0.3 --set figa.beta=0",
    ),
)
def figa(
    policy: PolicyOption,
    pairs: EditPairsOption,
    out: OutOption,
    validation_prompts: ValidationOption = None,
    reference_outputs: ReferenceOption = None,
    judge: JudgeOption = None,
    arm: ArmOption = None,
    template: TemplateOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
) -> None:
    """Fine-tune a policy on edits with token weights: imitate what was put in, unlearn what was taken out.

    With a judge the checkpoint with the best win rate is kept, else the last one.
    """
    _train(
        "figa",
        settings(recipe, set_, device=device, seed=seed, template=template),
        policy,
        pairs,
        out,
        _Watch(validation_prompts, reference_outputs, judge),
        arm,
    )


class _Watch:
    """The options that say how training is watched."""

    def __init__(self, prompts: Path | None, reference_outputs: Path | None, judge: str | None) -> None:
        given = {value is not None for value in (prompts, reference_outputs, judge)}
        if len(given) > 1:
            raise typer.BadParameter("--validation-prompts, --reference-outputs and --judge go together")
        self.prompts, self.reference_outputs, self.judge = prompts, reference_outputs, judge
        self.folder = None if judge is None else check_judge(judge)

    def validation(self, config: Recipe, codec: "Codec", runtime: "Runtime", eval_steps: int) -> "Validation | None":
        if self.prompts is None:
            return None

        from redpencil.models.sampling import encode_prompts
        from redpencil.training.evaluation import Validation

        with naming(self.prompts):
            encoded = encode_prompts(list(read_jsonl(self.prompts, Prompt)), codec, config.sampling.max_prompt_length)
        evaluate = validation_judge(self.judge, self.reference_outputs, config, runtime)
        return Validation(encoded, config.sampling, evaluate, eval_steps)


def _train(
    method: Method, config: Recipe, policy: Path, pairs: Path, out: Path, watch: _Watch, arm: str | None
) -> None:
    options = _options(method, config, arm)
    codec, runtime = codec_of(config, policy), runtime_of(config)
    inputs = {
        "policy": policy,
        "pairs": pairs,
        "validation_prompts": watch.prompts,
        "reference": watch.reference_outputs,
        "judge": watch.folder,
    }
    decides = [options.model_dump(), watch.judge, config.sampling.model_dump()]

    from redpencil.training.dpo import check_trl, train_dpo
    from redpencil.training.figa import train_figa

    if method == "dpo":
        check_trl()
    with training_stage(method, out, config, codec, decides, inputs) as stage:
        if stage is None:
            return
        shared: dict[str, Any] = {
            "policy": policy,
            "pairs": read_pairs(pairs, codec),
            "validation": watch.validation(config, codec, runtime, options.eval_steps),
            "codec": codec,
            "runtime": runtime,
            "stage": stage,
        }
        with naming(pairs):
            if isinstance(options, DPOConfig):
                train_dpo(options, **shared)
            else:
                train_figa(options, **shared)


def _options(method: Method, config: Recipe, arm: str | None) -> DPOConfig | FIGAConfig:
    """The recipe's section of the method, with what differs for an arm."""
    _check_arm(method, config, arm)
    if method == "dpo":
        return config.dpo if arm is None else config.dpo_config(arm)
    return config.figa if arm is None else config.figa_config(arm)


def _check_arm(method: Method, config: Recipe, arm: str | None) -> None:
    check_entry(arm, config.arms, "arms")
    if arm is not None and config.arms[arm].method != method:
        raise RedpencilError(
            f"the arm {arm!r} is one of the method {config.arms[arm].method}",
            field="--arm",
            hint=f"name an arm with method: {method}, or leave --arm out",
        )


@app.command(
    "best-of-n",
    rich_help_panel=PANEL,
    epilog=examples(
        "redpencil best-of-n --policy sft/checkpoint --reward-model reward/checkpoint --prompts prompts.jsonl "
        "--out best.jsonl",
        "redpencil best-of-n --policy sft/checkpoint --reward-model reward/checkpoint --prompts prompts.jsonl "
        "--out best.jsonl --set best_of_n.n=64 --set best_of_n.token_score=sum",
    ),
)
def best_of_n_command(
    policy: Annotated[Path, typer.Option(metavar="FOLDER", help="Checkpoint of the policy that is sampled.")],
    reward_model: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Reward checkpoint of either level; it picks the best.")
    ],
    prompts: Annotated[Path, typer.Option(metavar="JSONL", help="Prompts to answer.")],
    out: Annotated[Path, typer.Option(metavar="JSONL", help="Where the responses go.")],
    arm: ArmOption = None,
    template: TemplateOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
) -> None:
    """Answer prompts with the best of n sampled responses. Nothing is trained."""
    config = settings(recipe, set_, device=device, seed=seed, template=template)
    _check_arm("best_of_n", config, arm)
    options = config.best_of_n if arm is None else config.best_of_n_config(arm)
    check_out_file(out, prompts)
    rows = list(read_jsonl(prompts, Prompt))
    codec, runtime = codec_of(config, policy), runtime_of(config)

    from redpencil.maths.ppo import best_of_n_kl_bound
    from redpencil.training.best_of_n import best_of_n

    with working("best-of-n") as progress, naming(prompts):
        found = best_of_n(
            options,
            policy=policy,
            reward_model=reward_model,
            prompts=rows,
            sampling=config.sampling,
            codec=codec,
            runtime=runtime,
            seed=config.seeds[0],
            model_name=str(policy),
            progress=progress,
        )
    say_skipped({"prompts longer than sampling.max_prompt_length": found.skipped})
    say(f"{write_jsonl(out, found.responses)} responses in {out}, picked from {found.sampled}")
    say(
        f"mean score {found.best_score:.3f}, of all that were sampled {found.mean_score:.3f}; "
        f"KL to the policy at most {best_of_n_kl_bound(options.n):.2f} nats a response"
    )
