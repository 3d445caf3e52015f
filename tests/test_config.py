"""Recipes: each mistake is named by file and key, and overrides do what they say."""

from pathlib import Path
from typing import Any

import pytest

from redpencil.config import ArmConfig, Recipe, RewardModelConfig, WorldConfig
from redpencil.errors import RedpencilError
from redpencil.recipe import load_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("world: {}\n")
    return path


def mistake(path: Path, text: str, *overrides: str) -> RedpencilError:
    path.write_text(text)
    with pytest.raises(RedpencilError) as caught:
        load_recipe(path, overrides)
    return caught.value


def test_the_smallest_recipe_is_the_paper_on_the_small_world(recipe: Path) -> None:
    loaded = load_recipe(recipe)
    assert loaded.world == WorldConfig()
    assert list(loaded.arms) == ["token", "edits", "preference"]
    assert loaded.options("token").reward == "token"
    assert loaded.options("edits").reward == loaded.options("preference").reward == "sequence"
    assert loaded.reward_config("token_edits").level == "token"
    assert loaded.reward_config("sequence_comparisons").level == "sequence"


def test_an_arm_differs_from_ppo_only_where_it_says_so(recipe: Path) -> None:
    recipe.write_text("world: {}\nppo: {kl_coef: 0.3, gamma: 0.9}\n")
    loaded = load_recipe(recipe, ["arms.token.ppo.kl_coef=.1"])
    assert loaded.options("token").model_dump() == {**loaded.ppo.model_dump(), "kl_coef": 0.1}
    assert loaded.options("edits").kl_coef == 0.3
    assert loaded.options("token").gamma == 0.9


def test_a_reward_model_differs_from_reward_only_where_it_says_so(recipe: Path) -> None:
    loaded = load_recipe(recipe, ["reward.zero_penalty=.1", "reward_models.token_edits.reward.scale=25"])
    assert loaded.reward_config("token_edits").scale == 25
    assert loaded.reward_config("sequence_edits").scale == 1
    assert loaded.reward_config("token_edits").zero_penalty == 0.1


@pytest.mark.parametrize(
    ("text", "field", "nearest"),
    [
        ("world: {}\nwrld: {}\n", "wrld", "world"),
        ("world: {}\nppo: {kl_cof: 0.1}\n", "ppo.kl_cof", "kl_coef"),
        ("world: {hiden_size: 8}\n", "world.hiden_size", "hidden_size"),
        ("world: {}\nsft: {lerning_rate: 0.1}\n", "sft.lerning_rate", "learning_rate"),
        ("world: {}\narms: {token: {reward_modl: token_edits}}\n", "arms.token.reward_modl", "reward_model"),
        (
            "world: {}\narms: {token: {reward_model: token_edits, options: {gae_lamda: 1}}}\n",
            "arms.token.options.gae_lamda",
            "gae_lambda",
        ),
        (
            "world: {}\nreward_models: {token_edits: {pairs: edits, reward: {consistncy: 1}}}\n",
            "reward_models.token_edits.reward.consistncy",
            "consistency",
        ),
        ("world: {}\n1: 2\n", "1", "world"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    recipe: Path, text: str, field: str, nearest: str
) -> None:
    error = mistake(recipe, text)
    assert (error.problem, error.file, error.field) == ("unknown key", str(recipe), field)
    assert error.hint is not None
    assert error.hint.startswith(f"did you mean {nearest!r}? known keys: ")


def test_an_unknown_key_of_an_override_is_refused_the_same_way(recipe: Path) -> None:
    error = mistake(recipe, "world: {}\n", "arms.token.options.kl_coeff=1")
    assert error.field == "arms.token.options.kl_coeff"
    assert "did you mean 'kl_coef'?" in str(error)


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        ("world: {}\nppo: {kl_coef: much}\n", "ppo.kl_coef", "unable to parse string as a number (found 'much')"),
        ("world: {}\nppo: {kl_coef: .nan}\n", "ppo.kl_coef", "finite number"),
        ("world: {}\nsft: {learning_rate: -1}\n", "sft.learning_rate", "greater than 0 (found -1)"),
        ("world: {}\nppo: {reward: tokens}\n", "ppo.reward", "(found 'tokens')"),
        (
            "world: {}\narms: {token: {reward_model: token_edits, options: {gamma: 2}}}\n",
            "arms.token.options.gamma",
            "less than or equal to 1 (found 2)",
        ),
        ("world: {}\nseeds: []\n", "seeds", "at least 1 item"),
        ("world: {}\nseeds: [1, 2, 1]\n", None, "the same seed twice"),
        ("world: {}\nsft: 5\n", "sft", "valid dictionary"),
        ("files: {model: here}\n", "files.comparisons", "Field required"),
        ("name: x\n", None, "give exactly one of `world` and `files`"),
        ("- a\n", None, "a recipe is a mapping of keys to values"),
        ("", None, "a recipe is a mapping of keys to values"),
        ("world: {\n", None, "not valid YAML"),
        ("world: {}\narms: {../up: {reward_model: token_edits}}\n", None, "'../up', which cannot name a folder"),
        ("world: {}\narms: {sft: {reward_model: token_edits}}\n", None, "'sft', a name that redpencil uses itself"),
        ("world: {}\nreward_models: {prompts: {pairs: edits}}\n", None, "'prompts', a name that redpencil uses itself"),
        ("world: {}\nreward_models: {a.partial: {pairs: edits}}\n", None, "'a.partial', which cannot name a folder"),
        ("world: {}\narms: {token: {reward_model: nothing}}\n", None, "arms.token with reward=token names 'nothing'"),
        ("world: {}\narms: {token: {reward_model: sequence_edits}}\n", None, "needs a reward model of level token"),
        (
            "world: {}\narms: {token: {reward_model: token_edits, ppo: {reward: both}}}\n",
            None,
            "arms.token with reward=both needs a sequence_reward_model",
        ),
        ("world: {}\narms: {token: {}}\n", "arms.token", "an arm of the method ppo needs a reward_model"),
        ("world: {}\narms: {best: {method: best_of_n}}\n", "arms.best", "method best_of_n needs a reward_model"),
        (
            "world: {}\narms: {best: {method: best_of_n, reward_model: nothing}}\n",
            None,
            "arms.best with method=best_of_n names 'nothing'",
        ),
        ("world: {}\narms: {d: {method: dpo, reward_model: token_edits}}\n", "arms.d", "no use for: reward_model"),
        ("world: {}\narms: {f: {method: figa, pairs: edits}}\n", "arms.f", "no use for: pairs"),
        (
            "world: {}\narms: {d: {method: dpo, ppo: {gamma: 1}, figa: {beta: 0}}}\n",
            "arms.d",
            "an arm of the method dpo has no use for: ppo, figa",
        ),
        ("world: {}\narms: {d: {method: dpo, options: {beta: 0}}}\n", "arms.d.options.beta", "greater than 0"),
        ("world: {}\nfiga: {min_nll: 2}\n", "figa", "min_nll is above max_nll"),
    ],
)
def test_a_bad_value_is_named(recipe: Path, text: str, field: str | None, problem: str) -> None:
    error = mistake(recipe, text)
    assert (error.file, error.field) == (str(recipe), field)
    assert problem in error.problem
    assert error.hint


def test_a_validated_recipe_survives_being_dumped_and_read_again() -> None:
    recipe = Recipe(
        world=WorldConfig(),
        arms={"both": ArmConfig(reward_model="t", sequence_reward_model="s", ppo={"reward": "both", "gamma": 0.5})},
        reward_models={
            "t": RewardModelConfig(pairs="edits", reward={"level": "token"}),
            "s": RewardModelConfig(pairs="comparisons", reward={"level": "sequence"}),
        },
    )
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_an_arm_says_by_its_method_what_it_learns_from() -> None:
    arms = {
        "token": ArmConfig(reward_model="token_edits"),
        "best": ArmConfig(method="best_of_n", reward_model="sequence_edits", best_of_n={"n": 4}),
        "dpo": ArmConfig(method="dpo"),
        "preferences": ArmConfig(method="dpo", pairs="comparisons", dpo={"beta": 0.3}),
        "figa": ArmConfig(method="figa", figa={"kept": 0.2}),
    }
    recipe = Recipe(world=WorldConfig(), arms=arms)
    assert [arm.learns_from for arm in arms.values()] == [None, None, "edits", "comparisons", "edits"]
    assert [arm.reward_model_names for arm in arms.values()] == [("token_edits",), ("sequence_edits",), (), (), ()]
    assert recipe.options("best").n == 4
    assert (recipe.options("dpo").beta, recipe.options("preferences").beta) == (recipe.dpo.beta, 0.3)
    assert recipe.options("figa").kept == 0.2
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_every_option_has_its_help() -> None:
    def check(section: Any, place: str) -> None:
        assert section.__doc__, place
        for name, info in section.model_fields.items():
            if info.exclude:
                continue
            parts = (info.annotation, *getattr(info.annotation, "__args__", ()))
            sections = [part for part in parts if hasattr(part, "model_fields")]
            assert info.description or sections, f"{place}.{name}"
            for part in sections:
                check(part, f"{place}.{name}")

    check(Recipe, "recipe")


@pytest.mark.parametrize("name", ["", "..", "../evil", "a/b"])
def test_the_name_of_a_run_names_a_folder(recipe: Path, name: str) -> None:
    with pytest.raises(RedpencilError, match="cannot name a folder"):
        load_recipe(recipe, [f"name='{name}'"])
