"""Arms and reward models of a recipe: where they differ, and from what they learn."""

from pathlib import Path

from redpencil.config.arms import ArmConfig
from redpencil.config.data import WorldConfig
from redpencil.config.recipe import Recipe
from redpencil.recipe import load_recipe


def test_an_arm_differs_from_ppo_only_where_it_says_so(recipe: Path) -> None:
    recipe.write_text("world: {}\nppo: {kl_coef: 0.3, gamma: 0.9}\n")
    loaded = load_recipe(recipe, ["arms.token.ppo.kl_coef=.1"])
    assert loaded.options("token").model_dump() == {**loaded.ppo.model_dump(), "kl_coef": 0.1}
    assert loaded.options("edits").kl_coef == 0.3
    assert loaded.options("token").gamma == 0.9


def test_a_reward_model_differs_from_reward_only_where_it_says_so(recipe: Path) -> None:
    loaded = load_recipe(recipe, ["reward.zero_penalty=.1", "reward_models.token_edits.reward.scale=25"])
    assert loaded.reward_config("token_edits").scale == 25
    assert loaded.reward_config("sequence_edits").scale is None
    assert loaded.reward_config("token_edits").zero_penalty == 0.1


def test_an_arm_says_by_its_method_what_it_learns_from() -> None:
    arms = {
        "token": ArmConfig(reward_model="token_edits"),
        "best": ArmConfig(method="best_of_n", reward_model="sequence_edits", options={"n": 4}),
        "dpo": ArmConfig(method="dpo"),
        "preferences": ArmConfig(method="dpo", pairs="comparisons", options={"beta": 0.3}),
        "figa": ArmConfig(method="figa", options={"kept": 0.2}),
    }
    recipe = Recipe(world=WorldConfig(), arms=arms)
    assert [arm.learns_from for arm in arms.values()] == [None, None, "edits", "comparisons", "edits"]
    assert [arm.reward_model_names for arm in arms.values()] == [("token_edits",), ("sequence_edits",), (), (), ()]
    assert recipe.options("best").n == 4
    assert (recipe.options("dpo").beta, recipe.options("preferences").beta) == (recipe.dpo.beta, 0.3)
    assert recipe.options("figa").kept == 0.2
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
