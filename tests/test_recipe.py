"""Reading recipes: overrides, paths, and YAML that goes wrong."""

from pathlib import Path
from typing import Any

import pytest

from redpencil.config.data import WorldConfig
from redpencil.config.methods import PPOConfig
from redpencil.errors import RedpencilError
from redpencil.recipe import is_ablation, load_ablations, load_recipe, shipped_recipe, with_flags

RECIPES = sorted((Path(__file__).parents[1] / "recipes").rglob("*.yaml"))
ABLATIONS = next(path for path in RECIPES if path.stem == "ablations")
RECIPES.remove(ABLATIONS)


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
        ("arms.token.options.kl_coef=2e-5", lambda r: r.arms["token"].options == {"reward": "token", "kl_coef": 2e-5}),
        ("arms.token.options.kl_coef=.1", lambda r: r.options("token").kl_coef == 0.1),
        ("world.hidden_size=32", lambda r: r.world.hidden_size == 32),
        ("sft.max_steps=3", lambda r: r.sft.max_steps == 3),
        ("seeds=[3, 4]", lambda r: r.seeds == (3, 4)),
        ("threads=null", lambda r: r.compute.threads is None),
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


@pytest.mark.parametrize("text", ["jobs: 3", "compute: {jobs: 3}", "compute: {device: cpu, jobs: 3}", "compute:"])
@pytest.mark.parametrize("override", ["compute.jobs=2", "jobs=2", "compute={jobs: 2}"])
def test_a_set_wins_over_the_old_name_and_the_present_one(recipe: Path, text: str, override: str) -> None:
    recipe.write_text(f"world: {{}}\nthreads: 5\n{text}\n")
    loaded = load_recipe(recipe, [override])
    assert (loaded.compute.jobs, loaded.compute.threads) == (2, 5)
    assert load_recipe(recipe, ["jobs=7", override, "threads=6"]).compute.jobs == 2


@pytest.mark.parametrize("name", ["ppo", "options"])
@pytest.mark.parametrize("override", ["arms.a.options.kl_coef=.5", "arms.a.ppo.kl_coef=.5", "arms.a.ppo={kl_coef: .5}"])
def test_a_set_of_an_arms_option_wins_over_either_name(recipe: Path, name: str, override: str) -> None:
    recipe.write_text(f"world: {{}}\narms: {{a: {{reward_model: token_edits, {name}: {{kl_coef: .1, gamma: .9}}}}}}\n")
    options = load_recipe(recipe, [override]).options("a")
    assert (options.kl_coef, options.gamma) == (0.5, 1.0 if "={" in override else 0.9)


def test_a_variant_wins_over_the_old_name_of_its_base(recipe: Path) -> None:
    recipe.write_text("base: {world: {}, jobs: 3}\ngroups: {g: {a: {}, b: {compute.jobs: 2}}}\n")
    assert [one.compute.jobs for one in load_ablations(recipe).groups["g"].values()] == [3, 2]


@pytest.mark.parametrize("override", ["ppo.kl_coef", "=1", "ppo..kl_coef=1", ".a=1", "a.=1"])
def test_a_set_without_key_or_value_is_an_error(recipe: Path, override: str) -> None:
    assert "--set takes key=value" in mistake(recipe, "world: {}\n", override).problem


def test_a_set_value_that_is_not_yaml_is_an_error(recipe: Path) -> None:
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


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_every_shipped_recipe_is_valid_and_found_by_name(path: Path) -> None:
    if is_ablation(path):
        assert load_ablations(path).config.name == path.stem
    else:
        # The quickstart runs what is recommended, whatever that is.
        assert load_recipe(path).name == {"recommended": "quickstart"}.get(path.stem, path.stem)
    assert shipped_recipe(path.stem).samefile(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_say_what_would_go_by_the_amount_of_data(path: Path) -> None:
    if is_ablation(path):
        ablations = load_ablations(path)
        recipes = [ablations.base, *(recipe for group in ablations.groups.values() for recipe in group.values())]
    else:
        recipes = [load_recipe(path)]
    for recipe in recipes:
        assert (recipe.compute.micro_batch_size is None) == (recipe.world is not None)
        for name in recipe.reward_models:
            config = recipe.reward_config(name)
            assert None not in (config.learning_rate, config.num_train_epochs, config.scale)
            if recipe.world is not None:
                assert config.scale == (
                    25 if name.startswith("token") and recipe.name not in ("literal", "paper") else 1
                )


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
    with pytest.raises(RedpencilError, match="more than 100,000 values, with those of anchors") as error:
        load_recipe(recipe)
    assert len(str(error.value)) < 5000


@pytest.mark.parametrize(
    ("text", "override", "field"),
    [
        ("files: {model: ~nouser/llama}", None, "files.model"),
        ("world: {}\nreward_models: {mine: {pairs: edits, folder: ~nouser/x}}", None, "reward_models.mine.folder"),
        ("world: {}", "files.judge=~nouser/judge", "files.judge"),
    ],
)
def test_a_home_folder_of_nobody_is_named(recipe: Path, text: str, override: str | None, field: str) -> None:
    recipe.write_text(text)
    with pytest.raises(RedpencilError, match="no user has the home folder of '~nouser") as caught:
        load_recipe(recipe, [] if override is None else [override])
    assert caught.value.field == field
    assert caught.value.file == (str(recipe) if override is None else None)


@pytest.mark.parametrize("method", ["sft", "ppo", "grpo", "dpo", "figa", "reward"])
@pytest.mark.parametrize("number", ["1e38", "1.0e+300", "1" + "0" * 40])
def test_a_number_that_overflows_in_training_is_refused_before_it(recipe: Path, method: str, number: str) -> None:
    recipe.write_text("world: {}")
    with pytest.raises(RedpencilError, match="more than anything computes with") as caught:
        load_recipe(recipe, [f"{method}.learning_rate={number}"])
    assert caught.value.field == f"{method}.learning_rate"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dpo.max_steps", "99999999999999999999"),
        ("sft.batch_size", "2147483648"),
        ("ppo.total_steps", "1" + "0" * 25),
        ("grpo.group_size", "3000000000"),
        ("world.train_prompts", "4294967297"),
        ("sampling.response_length", "9223372036854775808"),
    ],
)
def test_a_count_that_no_library_counts_to_is_refused(recipe: Path, key: str, value: str) -> None:
    recipe.write_text("world: {}")
    with pytest.raises(RedpencilError, match="more than anything computes with") as caught:
        load_recipe(recipe, [f"{key}={value}"])
    assert (caught.value.field, caught.value.hint) == (key, "numbers are at most 2,147,483,647")


def test_a_seed_may_have_64_bits(recipe: Path) -> None:
    recipe.write_text(f"world: {{facts_seed: {2**40}}}\nseeds: [{2**60}]")
    assert load_recipe(recipe).seeds == (2**60,)


@pytest.mark.parametrize("key", ["dpo.learning_rate", "sft.max_steps", "ppo.kl_target", "compute.threads", "dpo.beta"])
@pytest.mark.parametrize("value", ["true", "no", "on"])
def test_yes_and_no_are_no_numbers(recipe: Path, key: str, value: str) -> None:
    recipe.write_text("world: {}")
    with pytest.raises(RedpencilError, match="a number is needed, not ") as caught:
        load_recipe(recipe, [f"{key}={value}"])
    assert caught.value.field == key
    assert load_recipe(recipe, ["ppo.whiten_rewards=false"]).ppo.whiten_rewards is False


def test_a_file_with_more_values_than_a_recipe_has_is_refused_before_it_is_read_to_its_end(recipe: Path) -> None:
    recipe.write_text("world: {}\nseeds: [" + "1," * 100_001 + "{]")
    with pytest.raises(RedpencilError, match="found more than 100,000 values"):
        load_recipe(recipe)


def test_a_half_of_a_character_in_a_name_is_refused_and_two_halves_are_one(recipe: Path) -> None:
    recipe.write_text('world: {}\nname: "\\ud83d\\ude00"')
    assert load_recipe(recipe).name == "\U0001f600"
    for text in ('name: "\\ud83d"', 'arms: {"\\ude00": {}}', 'name: ["\\ude00\\ud83d"]'):
        recipe.write_text(f"world: {{}}\n{text}")
        with pytest.raises(RedpencilError, match="half of a surrogate pair"):
            load_recipe(recipe)


@pytest.mark.parametrize(("seeds", "problem"), [((1, 1), "the same seed twice"), ((2**70,), "more than 64 bits")])
def test_seeds_of_flags_are_checked_like_those_of_recipes(recipe: Path, seeds: tuple[int, ...], problem: str) -> None:
    with pytest.raises(RedpencilError, match=problem):
        with_flags(load_recipe(recipe), {"seeds": seeds})
    assert with_flags(load_recipe(recipe), {"seeds": (-4,), "device": None}).seeds == (-4,)


def test_a_ready_made_reward_model_starts_at_the_recipes_folder_and_is_not_trained(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("world: {}\nreward_models: {made: {pairs: edits, folder: models/reward}}\narms: {}\n")
    assert load_recipe(path).reward_models["made"].folder == tmp_path / "models" / "reward"
    given = load_recipe(path, ["reward_models.made.folder=/elsewhere", "reward_models.made.reward.level=sequence"])
    assert given.reward_models["made"].folder == Path("/elsewhere")
    assert given.reward_config("made").level == "sequence"
    with pytest.raises(RedpencilError, match=r"not trained, so reward\.scale would not be read"):
        load_recipe(path, ["reward_models.made.reward.scale=2"])


def test_the_shipped_ablations_vary_one_thing_around_a_smaller_study() -> None:
    ablations = load_ablations(ABLATIONS)
    study = load_recipe(shipped_recipe("study"))
    base = ablations.base
    assert base.world is not None
    assert (base.name, base.seeds, base.world.comparisons) == ("ablations", (41, 42, 43), 2000)
    assert base.sft == study.sft
    assert base.reward_config("token_edits") == study.reward_config("token_edits")
    assert base.options("token") == study.options("token").model_copy(update={"total_steps": 20})
    for group, variants in ablations.groups.items():
        contents = [variant.model_dump(exclude={"name", "seeds"}) for variant in variants.values()]
        assert (contents[0] == base.model_dump(exclude={"name", "seeds"})) == (group != "loss without zero penalty")
        assert all(contents.count(content) == 1 for content in contents), group


SMALL = """
base: {world: {comparisons: 30}, ppo: {gamma: 0.5}}
overrides: {ppo.kl_coef: 0.3}
groups:
  loss: {eq4: {}, eq3: {reward.loss: eq3, arms.token.ppo.gamma: 0.9}}
"""


def ablations_mistake(path: Path, text: str) -> RedpencilError:
    path.write_text(text)
    with pytest.raises(RedpencilError) as caught:
        load_ablations(path)
    return caught.value


def test_a_variant_is_the_base_with_the_overrides_and_then_its_own(recipe: Path) -> None:
    recipe.write_text(SMALL)
    found = load_ablations(recipe)
    eq4, eq3 = found.groups["loss"].values()
    assert (eq4.reward.loss, eq3.reward.loss) == ("eq4", "eq3")
    assert [r.options("token").gamma for r in (found.base, eq4, eq3)] == [0.5, 0.5, 0.9]
    assert {r.ppo.kl_coef for r in (found.base, eq4, eq3)} == {0.3}
    assert list(eq3.arms) == ["token", "edits", "preference"]
    assert [r.name for r in (found.base, eq4, eq3)] == ["ablations", "ablations, loss: eq4", "ablations, loss: eq3"]
    assert found.base.seeds == eq3.seeds == (0,)
    assert [r.seeds for r in load_ablations(recipe, [5, 6]).groups["loss"].values()] == [(5, 6), (5, 6)]


def test_a_base_in_a_file_keeps_its_relative_paths(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "base.yaml").write_text(FILES + "}\n")
    recipe.write_text(
        "base: bases/base.yaml\nseeds: [1, 2]\noverrides: {files.sft: mine.jsonl}\n"
        "groups: {data: {all: {}, few: {files.edits: few.jsonl}}}\n"
    )
    found = load_ablations(recipe)
    assert found.base.seeds == (1, 2)
    assert found.base.files is not None
    assert found.base.files.model == tmp_path / "bases" / "base"
    assert found.base.files.sft == tmp_path / "mine.jsonl"
    few = found.groups["data"]["few"].files
    assert few is not None
    assert few.edits == tmp_path / "few.jsonl"
    assert found.groups["data"]["all"].files == found.base.files


@pytest.mark.parametrize(
    ("text", "field", "problem"),
    [
        (SMALL.replace("reward.loss: eq3", "reward.los: eq3"), "groups.loss.eq3.reward.los", "unknown key"),
        (SMALL.replace("reward.loss: eq3", "reward.loss: eq5"), "groups.loss.eq3.reward.loss", "'eq3', 'eq4'"),
        (SMALL.replace("reward.loss: eq3", "seeds: [7]"), "groups.loss.eq3.seeds", "its own seeds"),
        (SMALL.replace("reward.loss: eq3", "reward..loss: eq3"), "groups.loss.eq3", "is not a key"),
        (SMALL.replace("eq4: {}, ", ""), None, "two variants or more"),
        (SMALL.replace("loss:", "base:"), None, "uses itself"),
        (SMALL.replace("eq4: {}", "../eq4: {}"), None, "cannot name a folder"),
        (SMALL.replace("eq4: {}", "..: {}"), None, "cannot name a folder"),
        (SMALL.replace("eq4: {}", "1: {}"), "groups.loss.1", "valid string"),
        (SMALL + "arm: other\n", "arm", "no arm 'other'"),
        (SMALL.replace("kl_coef: 0.3", "kl_cof: 0.3"), "ppo.kl_cof", "unknown key"),
        (SMALL.replace("groups:", "group:"), "group", "unknown key"),
        ("base: nowhere.yaml\ngroups: {a: {b: {}, c: {}}}\n", None, "No such file"),
        (SMALL + "name: a/b\n", None, "cannot name a folder"),
    ],
)  # fmt: skip
def test_a_mistake_in_ablations_names_its_place(recipe: Path, text: str, field: str | None, problem: str) -> None:
    error = ablations_mistake(recipe, text)
    assert problem in error.problem
    assert error.field == field
    assert error.file == str(recipe if "nowhere" not in text else recipe.parent / "nowhere.yaml")


def test_an_ablation_recipe_is_told_from_a_recipe() -> None:
    path = shipped_recipe("ablations")
    assert is_ablation(path)
    assert not is_ablation(shipped_recipe("study"))
    with pytest.raises(RedpencilError, match=r"(?s)an ablation recipe.*redpencil ablate"):
        load_recipe(path)
