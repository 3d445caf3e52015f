"""Options that trainings share: losses of reward models, LoRA, the alignment."""

from collections.abc import Callable
from pathlib import Path

import pytest

from redpencil.config.training import LoraConfig
from redpencil.errors import RedpencilError
from redpencil.recipe import default_recipe, load_recipe

Mistake = Callable[..., RedpencilError]


@pytest.mark.parametrize(
    "written",
    ["{loss: eq4, ranking: 1}", "{loss: eq3, edited_weight: 1}", "{loss: blame, contrast_window: 3}"],
)
def test_a_key_that_a_loss_would_not_read(recipe: Path, written: str, mistake: Mistake) -> None:
    assert "is not used with loss=" in str(mistake(recipe, f"world: {{}}\nreward: {written}\n"))


def test_a_sequence_model_may_stand_beside_token_models_of_any_loss(recipe: Path) -> None:
    recipe.write_text("world: {}\nreward: {loss: blame, ranking: 1, edited_weight: .5}\n")
    loaded = load_recipe(recipe)
    assert loaded.reward_config("sequence_edits").level == "sequence"
    assert loaded.reward_config("token_edits").ranking == 1


def test_single_changes_are_a_kind_of_pairs_and_no_longer_an_option_of_the_alignment(
    recipe: Path, mistake: Mistake
) -> None:
    error = mistake(recipe, "world: {}\nalign: {hunks: true}\n")
    assert (error.field, error.problem) == ("align.hunks", "it is a kind of pairs now")
    assert "pairs: hunks" in (error.hint or "")
    recipe.write_text("world: {}\nalign: {hunks: false}\narms: {d: {method: dpo, pairs: hunks}}\n")
    assert load_recipe(recipe).further_pairs == ("hunks",)
    assert not load_recipe(recipe, ["arms.d.pairs=edits"]).further_pairs


def test_lora_stands_at_the_top_and_names_modules() -> None:
    recipe = default_recipe(["lora={}"])
    assert recipe.lora == LoraConfig(r=16, alpha=32, target_modules="all-linear")
    assert recipe.computed(recipe.sft).lora == recipe.lora
    assert "lora" not in recipe.computed(recipe.ppo).model_dump()
    assert default_recipe(["lora.r=4", "lora.target_modules=[q_proj, v_proj]"]).lora == LoraConfig(
        r=4, target_modules=("q_proj", "v_proj")
    )
    assert default_recipe(["lora.target_modules=q_proj"]).lora == LoraConfig(target_modules=("q_proj",))
    assert default_recipe().lora is None
    for override, field in (
        ("lora.r=0", "lora.r"),
        ("lora.alpha=-1", "lora.alpha"),
        ("lora.dropout=0.1", "lora.dropout"),
        ("lora.target_modules=[]", "lora.target_modules"),
        ("lora.target_modules=['']", "lora.target_modules"),
        ("ppo.lora={r: 4}", "ppo.lora"),
        ("reward_models.token_edits.reward.lora={r: 4}", "reward_models.token_edits.reward.lora"),
    ):
        with pytest.raises(RedpencilError) as error:
            default_recipe([override])
        assert str(error.value.field).startswith(field), override
