"""The judge of a run: the world's oracle, or a reward model that the user names."""

from collections.abc import Sequence

from redpencil.evaluation.judges import Judge, OracleJudge, ScoreJudge
from redpencil.models.loading import load_reward_model, template_of
from redpencil.models.runtime import Runtime
from redpencil.models.text import load_codec
from redpencil.pipeline.context import Context
from redpencil.training.reward import score_responses
from redpencil.world.facts import make_world
from redpencil.world.oracle import Oracle


def make_judge(context: Context) -> Judge:
    """The judge that the recipe asks for."""
    if context.recipe.world is not None:
        return OracleJudge(Oracle(make_world(context.recipe.world.facts_seed)))
    folder = context.judge_inputs["judge"]
    return reward_model_judge(str(folder), context.runtime)


def reward_model_judge(folder: str, runtime: Runtime) -> Judge:
    """A reward model of either level as judge; a token-level one judges by Eq. 1, the mean of its rewards."""
    reward = load_reward_model(folder, runtime)
    codec = load_codec(folder, template_of(folder))

    def score(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        return score_responses(reward, list(prompts), list(responses), codec, runtime)

    return ScoreJudge(folder, score)
