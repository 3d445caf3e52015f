"""Recipes: each mistake is named by file and key, and overrides do what they say."""

from pathlib import Path
from typing import Any

import pytest

from redpencil.config import (
    ArmConfig,
    PPOConfig,
    Recipe,
    RewardModelConfig,
    WorldConfig,
    load_recipe,
    shipped_recipe,
    with_flags,
)
from redpencil.errors import RedpencilError


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
    assert loaded.ppo_config("token").reward == "token"
    assert loaded.ppo_config("edits").reward == loaded.ppo_config("preference").reward == "sequence"
    assert loaded.reward_config("token_edits").level == "token"
    assert loaded.reward_config("sequence_comparisons").level == "sequence"


def test_an_arm_differs_from_ppo_only_where_it_says_so(recipe: Path) -> None:
    recipe.write_text("world: {}\nppo: {kl_coef: 0.3, gamma: 0.9}\n")
    loaded = load_recipe(recipe, ["arms.token.ppo.kl_coef=.1"])
    assert loaded.ppo_config("token").model_dump() == {**loaded.ppo.model_dump(), "kl_coef": 0.1}
    assert loaded.ppo_config("edits").kl_coef == 0.3
    assert loaded.ppo_config("token").gamma == 0.9


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
            "world: {}\narms: {token: {reward_model: token_edits, ppo: {gae_lamda: 1}}}\n",
            "arms.token.ppo.gae_lamda",
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
    assert error.way_out is not None
    assert error.way_out.startswith(f"did you mean {nearest!r}? known keys: ")


def test_an_unknown_key_of_an_override_is_refused_the_same_way(recipe: Path) -> None:
    error = mistake(recipe, "world: {}\n", "arms.token.ppo.kl_coeff=1")
    assert error.field == "arms.token.ppo.kl_coeff"
    assert "did you mean 'kl_coef'?" in str(error)


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        ("world: {}\nppo: {kl_coef: much}\n", "ppo.kl_coef", "unable to parse string as a number (found 'much')"),
        ("world: {}\nppo: {kl_coef: .nan}\n", "ppo.kl_coef", "finite number"),
        ("world: {}\nsft: {learning_rate: -1}\n", "sft.learning_rate", "greater than 0 (found -1)"),
        ("world: {}\nppo: {reward: tokens}\n", "ppo.reward", "(found 'tokens')"),
        (
            "world: {}\narms: {token: {reward_model: token_edits, ppo: {gamma: 2}}}\n",
            "arms.token.ppo.gamma",
            "less than or equal to 1 (found 2)",
        ),
        ("world: {}\nseeds: []\n", "seeds", "at least 1 item"),
        ("world: {}\nseeds: [1, 2, 1]\n", None, "a seed stands twice"),
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
    ],
)
def test_a_bad_value_is_named(recipe: Path, text: str, field: str | None, problem: str) -> None:
    error = mistake(recipe, text)
    assert (error.file, error.field) == (str(recipe), field)
    assert problem in error.problem
    assert error.way_out


def test_a_recipe_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"nowhere\.yaml: cannot read the recipe \(No such file or directory\)"):
        load_recipe(tmp_path / "nowhere.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(RedpencilError, match=r"latin\.yaml: not valid YAML"):
        load_recipe(latin)


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("ppo.kl_coef=2e-5", lambda r: r.ppo.kl_coef == 2e-5),  # YAML 1.1 takes 2e-5 for text
        ("ppo.kl_coef=1", lambda r: r.ppo.kl_coef == 1),
        ("arms.token.ppo.kl_coef=2e-5", lambda r: r.arms["token"].ppo == {"reward": "token", "kl_coef": 2e-5}),
        ("arms.token.ppo.kl_coef=.1", lambda r: r.ppo_config("token").kl_coef == 0.1),
        ("world.hidden_size=32", lambda r: r.world.hidden_size == 32),
        ("sft.max_steps=3", lambda r: r.sft.max_steps == 3),
        ("seeds=[3, 4]", lambda r: r.seeds == (3, 4)),
        ("threads=null", lambda r: r.threads is None),
        ("ppo.whiten_rewards=true", lambda r: r.ppo.whiten_rewards is True),
        ("name=a=b", lambda r: r.name == "a=b"),
        ("arms.mine.reward_model=token_edits", lambda r: list(r.arms) == ["token", "edits", "preference", "mine"]),
    ],
)
def test_set_reaches_every_key_of_a_recipe_without_sections(recipe: Path, override: str, read: Any) -> None:
    assert read(load_recipe(recipe, [override]))


def test_set_makes_a_section_that_is_absent_or_empty(recipe: Path) -> None:
    recipe.write_text("name: x\n")
    assert load_recipe(recipe, ["world.hidden_size=32"]).world == WorldConfig(hidden_size=32)
    recipe.write_text("world:\nppo:\n")
    assert load_recipe(recipe, ["world.hidden_size=32", "ppo.gamma=.5"]).ppo == PPOConfig(gamma=0.5)


def test_set_does_not_bring_back_arms_that_the_recipe_left_out(recipe: Path) -> None:
    recipe.write_text("world: {}\narms: {only: {reward_model: token_edits}}\n")
    assert list(load_recipe(recipe, ["arms.only.ppo.gamma=.5"]).arms) == ["only"]


def test_default_then_recipe_then_set_and_the_last_set_wins(recipe: Path) -> None:
    assert load_recipe(recipe).ppo.gamma == 1.0
    recipe.write_text("world: {}\nppo: {gamma: 0.5}\n")
    assert load_recipe(recipe).ppo.gamma == 0.5
    assert load_recipe(recipe, ["ppo.gamma=.6", "ppo.gamma=.7"]).ppo.gamma == 0.7


@pytest.mark.parametrize("override", ["ppo.kl_coef", "=1", "ppo..kl_coef=1", ".a=1", "a.=1"])
def test_a_set_without_key_or_value_is_an_error(recipe: Path, override: str) -> None:
    assert "--set wants key=value" in mistake(recipe, "world: {}\n", override).problem


def test_a_set_value_that_is_no_yaml_is_an_error(recipe: Path) -> None:
    assert "not valid YAML" in mistake(recipe, "world: {}\n", "name=[1").problem


FILES = "files: {model: base, judge: /models/judge, comparisons: ../c.jsonl, edits: ~/e.jsonl, " + ", ".join(
    f"{key}: {key}.jsonl" for key in ("prompts", "validation_prompts", "evaluation_prompts")
)


def test_relative_paths_start_at_the_recipe_and_those_of_a_set_at_the_working_directory(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", "/home/someone")
    recipe.write_text(FILES + "}\n")
    for path in (recipe, Path("..") / recipe.name):
        files = load_recipe(path, ["files.sft=mine.jsonl"]).files
        assert files is not None
        assert (files.judge, files.edits) == (Path("/models/judge"), Path("/home/someone/e.jsonl"))
        assert files.sft == tmp_path / "elsewhere" / "mine.jsonl"
        assert files.model.parent.resolve() == files.prompts.parent.resolve() == tmp_path.resolve()
        assert files.comparisons.resolve() == tmp_path.parent.resolve() / "c.jsonl"
        assert all(path.is_absolute() for path in (files.model, files.prompts, files.comparisons))
        assert files.test_share == 0.1


def test_a_wrong_value_under_files_is_still_told_as_such(recipe: Path) -> None:
    assert mistake(recipe, "files: [1]\n").field == "files"
    assert mistake(recipe, FILES + ", reference_outputs: 7}\n").field == "files.reference_outputs"


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


def test_every_option_has_its_help() -> None:
    def check(section: Any, place: str) -> None:
        assert section.__doc__, place
        for name, info in section.model_fields.items():
            parts = (info.annotation, *getattr(info.annotation, "__args__", ()))
            sections = [part for part in parts if hasattr(part, "model_fields")]
            assert info.description or sections, f"{place}.{name}"
            for part in sections:
                check(part, f"{place}.{name}")

    check(Recipe, "recipe")


RECIPES = sorted((Path(__file__).parents[1] / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_every_shipped_recipe_is_valid_and_found_by_name(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert shipped_recipe(path.stem).samefile(path)


def test_a_recipe_that_does_not_ship_is_an_error() -> None:
    with pytest.raises(RedpencilError, match="no recipe called 'nothing' ships"):
        shipped_recipe("nothing")


@pytest.mark.parametrize(
    "text", ["name: 2024-13-45", "seeds: [" + "9" * 5000 + "]", "ppo: " + "[" * 3000, "ppo: {}\nppo: {}"]
)
def test_yaml_that_trips_its_reader_is_an_error(recipe: Path, text: str) -> None:
    recipe.write_text(f"world: {{}}\n{text}\n")
    with pytest.raises(RedpencilError, match="not valid YAML"):
        load_recipe(recipe)
    recipe.write_text("world: {}\n")
    with pytest.raises(RedpencilError, match="not valid YAML"):
        load_recipe(recipe, ["name=2024-13-45"])


def test_a_yaml_bomb_is_not_spelled_out(recipe: Path) -> None:
    lines = ["&a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"&{new} [{','.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefghi", "bcdefghij", strict=True)]
    recipe.write_text(f"world: {{}}\nname: [{', '.join(lines)}]\n")
    with pytest.raises(RedpencilError, match="valid string") as error:
        load_recipe(recipe)
    assert len(str(error.value)) < 5000


@pytest.mark.parametrize("name", ["", "..", "../evil", "a/b"])
def test_the_name_of_a_run_names_a_folder(recipe: Path, name: str) -> None:
    with pytest.raises(RedpencilError, match="cannot name a folder"):
        load_recipe(recipe, [f"name='{name}'"])


@pytest.mark.parametrize(("seeds", "problem"), [((1, 1), "stands twice"), ((2**70,), "more than 64 bits")])
def test_seeds_of_flags_are_checked_like_those_of_recipes(recipe: Path, seeds: tuple[int, ...], problem: str) -> None:
    with pytest.raises(RedpencilError, match=problem):
        with_flags(load_recipe(recipe), {"seeds": seeds})
    assert with_flags(load_recipe(recipe), {"seeds": (-4,), "device": None}).seeds == (-4,)
