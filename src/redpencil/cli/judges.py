"""Who judges, besides an LLM: the small world's oracle, a rule of length, or a reward model."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from redpencil.config import Recipe, WorldConfig
from redpencil.errors import RedpencilError

if TYPE_CHECKING:
    from redpencil.evaluation.judges import Judge
    from redpencil.models.runtime import Runtime

WORLD: Final = "world"
LENGTHS: Final = ("longer", "shorter")
JUDGE_HELP: Final = (
    "world (the small world's oracle), the folder of a reward model, or the rules longer and shorter, which look at "
    "the number of characters alone."
)


def check_judge(judge: str) -> Path | None:
    """The folder of a judging reward model; None for the oracle and the rules.

    Raises:
        RedpencilError: if there is no such folder.
    """
    if judge == WORLD or judge in LENGTHS:
        return None
    if not Path(judge).is_dir():
        raise RedpencilError(
            f"no judge called {judge!r}",
            field="--judge",
            hint=f"`world`, or the folder of a reward model; {' and '.join(LENGTHS)} are rules",
        )
    return Path(judge)


def make_judge(judge: str, recipe: Recipe, runtime: "Runtime | None") -> "Judge":
    """The judge of a name that `check_judge` has let pass; only a reward model needs a runtime."""
    from redpencil.evaluation.judges import OracleJudge, length_judge
    from redpencil.world.build import make_oracle

    folder = check_judge(judge)
    if folder is not None:
        from redpencil.cli.options import runtime_of
        from redpencil.pipeline.stages import reward_model_judge

        return reward_model_judge(str(folder), runtime or runtime_of(recipe))
    if judge in LENGTHS:
        return length_judge(judge, longer=judge == "longer")
    return OracleJudge(make_oracle(recipe.world or WorldConfig()))
