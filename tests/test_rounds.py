"""A recipe with rounds is unrolled into plain arms: who starts from whom, on whose answers, with how many edits."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from redpencil.config.methods import METHODS
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError
from redpencil.recipe import default_recipe, load_recipe
from redpencil.rounds import unrolled

ARMS = "arms={token: {reward_model: token_edits}, figa: {method: figa}, best: {method: best_of_n, reward_model: r}}"
MODELS = "reward_models={token_edits: {pairs: edits, reward: {loss: eq3}}, r: {pairs: edits}}"
FILES = ("model", "edits", "comparisons", "prompts", "validation_prompts", "evaluation_prompts", "judge")


def on_files(tmp_path: Path, **keys: Any) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"files": dict.fromkeys(FILES, "x"), **keys}))
    return path


def test_three_rounds_of_arms_that_learn_from_edits_and_from_rewards() -> None:
    recipe = unrolled(default_recipe(["rounds=3", ARMS, MODELS]))
    assert list(recipe.arms) == ["token", "token_2", "token_3", "figa", "figa_2", "figa_3", "best"]
    places = {name: (arm.start, arm.on, arm.reward_model) for name, arm in recipe.arms.items()}
    assert places == {
        "token": (None, None, "token_edits"),
        "token_2": ("token", None, "token_edits_token_2"),
        "token_3": ("token_2", None, "token_edits_token_3"),
        "figa": (None, None, None),
        "figa_2": ("figa", "figa", None),
        "figa_3": ("figa_2", "figa_2", None),
        "best": (None, None, "r"),  # it trains nothing
    }
    models = {name: (model.start, model.on, model.pairs) for name, model in recipe.reward_models.items()}
    assert models == {
        "token_edits": (None, None, "edits"),
        "r": (None, None, "edits"),
        "token_edits_token_2": ("token_edits", "token", "edits"),
        "token_edits_token_3": ("token_edits_token_2", "token_2", "edits"),
    }
    assert recipe.reward_config("token_edits_token_3").loss == "eq3"
    assert recipe.sources(recipe.reward_models["token_edits_token_3"]) == (None, "token", "token_2")
    assert recipe.sources(recipe.arms["figa_3"]) == ("figa_2",)


def test_how_many_answers_are_edited_may_be_said_of_an_arm_with_rounds() -> None:
    arms = unrolled(default_recipe(["rounds=3", "arms={figa: {method: figa, edits: 7}}"])).arms
    assert [arm.edits for arm in arms.values()] == [7, 7, None]  # the last round's answers are not learned from


def test_both_reward_models_of_an_arm_are_refreshed_and_what_shares_one_gets_its_own() -> None:
    both = "arms.both={reward_model: token_edits, sequence_reward_model: sequence_edits, options: {reward: both}}"
    recipe = unrolled(default_recipe(["rounds=2", both]))
    second = recipe.arms["both_2"]
    assert second.reward_model_names == ("token_edits_both_2", "sequence_edits_both_2")
    assert {recipe.reward_models[name].on for name in second.reward_model_names} == {"both"}
    assert recipe.arms["token_2"].reward_model == "token_edits_token_2"
    assert recipe.reward_models["sequence_comparisons_preference_2"].pairs == "comparisons"


def test_an_arm_that_starts_from_another_one_still_does_so_in_its_first_round() -> None:
    warm = "arms={figa: {method: figa}, warm: {reward_model: token_edits, start: figa}}"
    arms = unrolled(default_recipe(["rounds=2", warm])).arms
    assert (arms["warm"].start, arms["warm_2"].start, arms["figa_2"].start) == ("figa", "warm", "figa")


def test_a_ready_made_reward_model_stays_what_it_is(tmp_path: Path) -> None:
    path = on_files(
        tmp_path, rounds=2, reward_models={"r": {"pairs": "edits", "folder": "x"}}, arms={"a": {"reward_model": "r"}}
    )
    recipe = unrolled(load_recipe(path))
    assert recipe.arms["a_2"].reward_model == "r"
    assert list(recipe.reward_models) == ["r"]


def test_a_reward_model_made_of_a_policy_is_made_of_that_of_the_same_round() -> None:
    arms = "arms={dpo: {method: dpo}, rto: {reward_model: implicit}}"
    recipe = unrolled(default_recipe(["rounds=3", arms, "reward_models={implicit: {policy: dpo}}"]))
    places = {name: (arm.start, arm.on, arm.reward_model) for name, arm in recipe.arms.items()}
    assert places["rto_3"] == ("rto_2", None, "implicit_rto_3")
    assert places["dpo_3"] == ("dpo_2", "dpo_2", None)
    models = {name: (model.policy, model.start, model.on) for name, model in recipe.reward_models.items()}
    assert models == {
        "implicit": ("dpo", None, None),
        "implicit_rto_2": ("dpo_2", None, None),
        "implicit_rto_3": ("dpo_3", None, None),
    }


@given(edits=st.integers(1, 10_000), rounds=st.integers(2, 12))
def test_the_edits_of_all_rounds_are_no_more_than_those_of_one(edits: int, rounds: int) -> None:
    overrides = [f"rounds={rounds}", f"world.comparisons={edits}", "arms={figa: {method: figa}}"]
    if edits < rounds:
        with pytest.raises(RedpencilError, match="fewer than the rounds"):
            default_recipe(overrides)
        return
    recipe = unrolled(default_recipe(overrides))
    assert recipe.world is not None
    each = recipe.world.comparisons
    assert edits - rounds < rounds * each <= edits
    assert len(recipe.edited_arms) == rounds - 1


def test_the_training_edits_of_files_are_divided_too(tmp_path: Path) -> None:
    recipe = load_recipe(on_files(tmp_path, rounds=4, arms={"a": {"method": "figa"}}), ["files.train_share=.5"])
    files = unrolled(recipe).files
    assert files is not None
    assert files.train_share == 0.125


def test_one_round_is_the_recipe_itself() -> None:
    recipe = default_recipe()
    assert unrolled(recipe) is recipe
    again = unrolled(default_recipe(["rounds=2"]))
    assert unrolled(again) is again


def test_what_was_written_stays_written() -> None:
    recipe = default_recipe(["rounds=2", "ppo.kl_coef=.3", "seeds=[4, 5]", "compute.threads=2"])
    plain = unrolled(recipe)
    kept = set(Recipe.model_fields) - {"rounds", "arms", "reward_models", "world"}
    assert all(getattr(plain, key) == getattr(recipe, key) for key in kept)
    assert plain.world == recipe.world.model_copy(update={"comparisons": 2000})  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["arms={best: {method: best_of_n, reward_model: token_edits}}"], "no arm is trained"),
        (["arms={}"], "no arm is trained"),
        (["arms={a: {method: figa}, a_2: {method: figa}}"], "a round would be called 'a_2'"),
        (
            ["arms={a: {reward_model: r}}", "reward_models={r: {pairs: edits}, r_a_2: {pairs: edits}}"],
            "a round would be called 'r_a_2', as an entry of reward_models is",
        ),
        (["world.comparisons=1"], "1 comparisons are fewer than the rounds"),
    ],
)
def test_rounds_that_cannot_be(overrides: list[str], problem: str) -> None:
    with pytest.raises(RedpencilError) as caught:
        default_recipe(["rounds=2", *overrides])
    assert caught.value.field == "rounds"
    assert problem in caught.value.problem
    assert caught.value.hint


def test_a_users_comparisons_have_no_second_round(tmp_path: Path) -> None:
    path = on_files(tmp_path, rounds=2, arms={"a": {"method": "dpo", "pairs": "comparisons"}})
    with pytest.raises(RedpencilError, match="nobody compares the answers of 'a'") as caught:
        load_recipe(path)
    assert (caught.value.field, str(caught.value.file)) == ("rounds", str(path))


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.trains])
def test_every_method_that_trains_has_rounds(method: str) -> None:
    rewards = ", reward_model: token_edits" if METHODS[method].learns_from == "rewards" else ""
    recipe = unrolled(default_recipe(["rounds=2", f"arms={{a: {{method: {method}{rewards}}}}}"]))
    assert recipe.edited_arms == ("a",)
