"""The judge that a recipe asks for, where it is no LLM."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from redpencil.errors import RedpencilError, naming
from redpencil.evaluation.judges import RULES, Judge, OracleJudge, ScoreJudge, VerdictJudge, pattern_judge
from redpencil.models.checkpoints import load_reward_model
from redpencil.models.codec import Codec
from redpencil.models.runtime import Runtime
from redpencil.pipeline.context import Context
from redpencil.records import Comparison, Prompt, Response, read_jsonl
from redpencil.training.scoring import check_fits, check_room, encode_samples, score_ids
from redpencil.world.build import make_oracle


def make_judge(context: Context) -> Judge:
    """The judge that the recipe asks for, if that is no LLM, which `llm_judging` asks."""
    config = context.recipe.who_judges
    if config.rule == "oracle":
        assert context.recipe.world is not None
        return OracleJudge(make_oracle(context.recipe.world))
    if config.rule is not None:
        return RULES[config.rule]
    if config.pattern is not None:
        return pattern_judge(config.pattern, fewer=config.fewer)
    if config.verdicts is not None:
        if not config.verdicts.exists():
            raise RedpencilError(
                "there are no verdicts yet",
                file=config.verdicts,
                field="judge.verdicts",
                hint=f"have {context.root}/outputs-*/evaluation.jsonl compared with "
                f"{context.paths.reference_outputs('evaluation')} (`redpencil annotate --compare`), put what is "
                "exported there, and run the same command again",
            )
        return VerdictJudge(read_jsonl(config.verdicts, Comparison))
    return reward_model_judge(str(config.folder), context.runtime, policy_codec=context.codec)


def reward_model_judge(folder: str, runtime: Runtime, *, policy_codec: Codec | None = None) -> Judge:
    """Make a judge of a reward model of either level; a token-level one judges by Eq. 1, the mean of its rewards.

    It reads texts through its own tokenizer and prompt template; a response that was cut off has no end for it.

    Args:
        policy_codec: the codec of the models that wrote the responses; a judge that has their tokenizer and does not
            say how it learned prompts gets their template.

    Raises:
        RedpencilError: if the folder is not a reward model's, or has no fast tokenizer. The judge itself, if a prompt
            and a response are longer than it reads.
    """
    reward = load_reward_model(folder, runtime, policy_codec=policy_codec)

    def score(responses: Sequence[Response]) -> list[float]:
        rows = encode_samples(responses, reward.model.codec)
        prompts, tokens = [prompt for prompt, _ in rows], [ids for _, ids in rows]
        check_fits(reward.model.context, reward.model.readings, prompts, tokens, [row.id for row in responses])
        return score_ids(reward, prompts, tokens)

    def check(prompts: Sequence[Prompt], policy: Codec, response_length: int) -> None:
        with naming(Path(folder)):
            check_room(
                reward.model.codec, reward.model.context, reward.model.readings, policy, prompts, response_length
            )

    return ModelJudge(folder, score, check)


@dataclass(frozen=True, slots=True)
class ModelJudge(ScoreJudge):
    """A judge that is a reward model; `check` refuses prompts whose answers may be too long for it, as `check_room`."""

    check: Callable[[Sequence[Prompt], Codec, int], None]
