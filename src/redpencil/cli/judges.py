"""Who judges: the small world's oracle, or a reward model."""

from pathlib import Path
from typing import TYPE_CHECKING

from redpencil.config import Recipe, WorldConfig
from redpencil.errors import RedpencilError

if TYPE_CHECKING:
    from redpencil.evaluation.judges import Judge
    from redpencil.models.runtime import Runtime

WORLD = "world"
JUDGE_HELP = "world (the small world's oracle), or the folder of a reward model."


def check_judge(judge: str) -> Path | None:
    """The folder of a judging reward model; None for the oracle.

    Raises:
        RedpencilError: if there is no such folder.
    """
    if judge == WORLD:
        return None
    if not Path(judge).is_dir():
        raise RedpencilError(
            f"no judge called {judge!r}", field="--judge", way_out="`world`, or the folder of a reward model"
        )
    return Path(judge)


def make_judge(judge: str, recipe: Recipe, runtime: "Runtime") -> "Judge":
    """The judge of a name that `check_judge` has let pass."""
    from redpencil.evaluation.judges import OracleJudge
    from redpencil.pipeline.judging import reward_model_judge
    from redpencil.world.facts import make_world
    from redpencil.world.oracle import Oracle

    folder = check_judge(judge)
    if folder is None:
        return OracleJudge(Oracle(make_world((recipe.world or WorldConfig()).facts_seed)))
    return reward_model_judge(str(folder), runtime)
