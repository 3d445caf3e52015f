"""The options of methods and the table's rows."""

from collections.abc import Callable
from pathlib import Path

from redpencil.config.methods import METHODS, BestOfNConfig, DPOConfig, GRPOConfig, PPOConfig
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError
from redpencil.recipe import load_recipe

Mistake = Callable[..., RedpencilError]


def test_a_method_has_its_section_and_its_options(recipe: Path) -> None:
    for name, method in METHODS.items():
        assert name == method.name
        assert isinstance(getattr(load_recipe(recipe), name), method.config)
        rewards = {"reward_model": "token_edits"} if method.learns_from == "rewards" else {}
        arms = {"a": {"method": name, **rewards}}
        options = Recipe.model_validate({"world": {}, "arms": arms}).options("a")
        assert options == method.config()


def test_grpo_samples_a_group_for_each_prompt() -> None:
    # 3 steps, 5 prompts at each, 4 answers to each prompt.
    config = GRPOConfig(total_steps=3, rollout_batch_size=5, group_size=4)
    assert config.rollouts == 60
    assert PPOConfig(total_steps=3, rollout_batch_size=5).rollouts == 15


def test_grpo_with_both_rewards_needs_both_models(recipe: Path, mistake: Mistake) -> None:
    arm = "{method: grpo, reward_model: token_edits, options: {reward: both}}"
    assert "needs a sequence_reward_model" in mistake(recipe, f"world: {{}}\narms: {{g: {arm}}}\n").problem
    recipe.write_text("world: {}\n")
    loaded = load_recipe(recipe, [f"arms.g={arm}", "arms.g.sequence_reward_model=sequence_edits"])
    assert loaded.arms["g"].reward_model_names == ("token_edits", "sequence_edits")


def test_reports_name_a_method_by_what_its_options_make_of_it() -> None:
    losses = [METHODS["dpo"].label.format(DPOConfig(loss_type=loss)) for loss in ("sigmoid", "apo_zero", "ipo")]
    assert losses == ["DPO", "APO-zero", "DPO, ipo"]
    assert METHODS["best_of_n"].label.format(BestOfNConfig(n=4)) == "best of 4"
