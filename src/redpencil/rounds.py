"""Rounds: respond, edit, learn, respond with the new policy; a recipe with `rounds` as one of plain arms.

Each arm that trains is followed by an arm for each further round. That one starts from the arm before, on edits of its
answers, with reward models that have learned from these too. So stages, fingerprints and reports need to know nothing
of rounds.
"""

from collections.abc import Mapping
from typing import Any

from redpencil.config.arms import ArmConfig, RewardModelConfig
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError
from redpencil.sections import parse_section


def unrolled(recipe: Recipe) -> Recipe:
    """Return the recipe with an arm for each round and a budget of edits that is divided among the rounds.

    Raises:
        RedpencilError: if the rounds have nothing to learn from, or a name is taken.
    """
    if recipe.rounds == 1:
        return recipe
    arms: dict[str, ArmConfig] = {}
    models = dict(recipe.reward_models)
    for name, arm in recipe.arms.items():
        arms[name] = arm
        if arm.row.trains:
            arms |= _later_rounds(name, arm, recipe, models)
    if len(arms) == len(recipe.arms):
        raise _refused("no arm is trained, so there is nothing for a second round to start from", "leave rounds out")
    changes: dict[str, Any] = {"rounds": 1, "arms": arms, "reward_models": models, **_budget(recipe)}
    written = {key: getattr(recipe, key) for key in recipe.model_fields_set}
    try:
        return parse_section({**written, **changes}, Recipe)
    except RedpencilError as error:
        raise _refused(f"in a later round, {error.problem} ({error.field})", error.hint) from None


def last_round(recipe: Recipe, arm: str) -> str:
    """Name the arm of the last round of an arm."""
    return f"{arm}_{recipe.rounds}" if recipe.rounds > 1 and recipe.arms[arm].row.trains else arm


def _later_rounds(
    name: str, arm: ArmConfig, recipe: Recipe, models: dict[str, RewardModelConfig]
) -> Mapping[str, ArmConfig]:
    """Return the arms of an arm's further rounds; adds their reward models to `models`."""
    arms: dict[str, ArmConfig] = {}
    before, keys = name, ("reward_model", "sequence_reward_model")
    latest = {key: model for key in keys if (model := getattr(arm, key)) is not None}
    for number in range(2, recipe.rounds + 1):
        this = f"{name}_{number}"
        _check_free("arms", this, recipe.arms)
        for key, model in latest.items():
            if models[model].folder is None:
                latest[key] = f"{getattr(arm, key)}_{this}"
                _check_free("reward_models", latest[key], models)
                policy = models[getattr(arm, key)].policy
                made = {"start": model, "on": before} if policy is None else {"policy": f"{policy}_{number}"}
                models[latest[key]] = models[model].model_copy(update=made)
        on = before if arm.row.learns_from == "pairs" else None
        arms[this] = arm.model_copy(update={"start": before, "on": on, **latest})
        before = this
    arms[before] = arms[before].model_copy(update={"edits": None})
    return arms


def _check_free(section: str, name: str, entries: Mapping[str, Any]) -> None:
    if name in entries:
        raise _refused(f"a round would be called {name!r}, as an entry of {section} is", "rename that entry")


def _budget(recipe: Recipe) -> dict[str, Any]:
    """What the first round has of the edits; later ones have as many by default."""
    if recipe.files is not None:
        share = recipe.files.train_share / recipe.rounds
        return {"files": recipe.files.model_copy(update={"train_share": share})}
    assert recipe.world is not None
    each = recipe.world.comparisons // recipe.rounds
    if not each:
        raise _refused(f"{recipe.world.comparisons} comparisons are fewer than the rounds", "raise world.comparisons")
    return {"world": recipe.world.model_copy(update={"comparisons": each})}


def _refused(problem: str, hint: str | None) -> RedpencilError:
    return RedpencilError(problem, field="rounds", hint=hint)
