"""Recipes: each mistake is named by file and key, and overrides do what they say."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from redpencil.config.arms import ArmConfig, RewardModelConfig
from redpencil.config.data import WorldConfig
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError
from redpencil.recipe import default_recipe, load_recipe

Mistake = Callable[..., RedpencilError]


def test_the_smallest_recipe_is_the_paper_on_the_small_world(recipe: Path) -> None:
    loaded = load_recipe(recipe)
    assert loaded.world == WorldConfig()
    assert list(loaded.arms) == ["token", "edits", "preference"]
    assert loaded.options("token").reward == "token"
    assert loaded.options("edits").reward == loaded.options("preference").reward == "sequence"
    assert loaded.reward_config("token_edits").level == "token"
    assert loaded.reward_config("sequence_comparisons").level == "sequence"


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
    recipe: Path, text: str, field: str, nearest: str, mistake: Mistake
) -> None:
    error = mistake(recipe, text)
    assert (error.problem, error.file, error.field) == ("unknown key", str(recipe), field)
    assert error.hint is not None
    assert error.hint.startswith(f"did you mean {nearest!r}? known keys: ")


def test_an_unknown_key_of_an_override_is_refused_the_same_way(recipe: Path, mistake: Mistake) -> None:
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
        ("files: {model: here}\n", "files.edits", "Field required"),
        ("files: {model: here, edits: e}\n", "files.prompts", "field required, since there are `arms`"),
        ("name: x\n", None, "give exactly one of `world` and `files`"),
        ("- a\n", None, "a recipe is a mapping of keys to values"),
        ("", None, "a recipe is a mapping of keys to values"),
        ("world: {\n", None, "not valid YAML"),
        ("world: {}\narms: {../up: {reward_model: token_edits}}\n", None, "'../up', which cannot name a folder"),
        ("world: {}\narms: {sft: {reward_model: token_edits}}\n", None, "'sft', a name that redpencil uses itself"),
        ("world: {}\nreward_models: {prompts: {pairs: edits}}\n", None, "'prompts', a name that redpencil uses itself"),
        ("world: {}\nreward_models: {a.partial: {pairs: edits}}\n", None, "'a.partial', which cannot name a folder"),
        (
            "world: {}\narms: {}\nreward_models: {a: {pairs: edits, start: b}, b: {pairs: edits}}\n",
            None,
            "further up there are: none",
        ),
        (
            "world: {}\narms: {}\nreward_models: {a: {pairs: edits, start: a}}\n",
            None,
            "further up there are: none",
        ),
        (
            "world: {}\narms: {}\nreward_models: {a: {pairs: edits}, "
            "b: {pairs: edits, start: a, reward: {level: sequence}}}\n",
            None,
            "of level token, not sequence",
        ),
        (
            "world: {}\narms: {}\nreward_models: {a: {pairs: edits}, "
            "b: {pairs: edits, start: a, reward: {loss: blame, ranking: 1}}}\n",
            None,
            "both need `ranking`, or neither",
        ),
        (
            "world: {}\narms: {}\nreward_models: {a: {pairs: edits}, "
            "b: {pairs: edits, start: a, reward: {read_twice: true}}}\n",
            None,
            "both need the same `read_twice`",
        ),
        (
            "world: {}\narms: {}\nreward_models: {a: {pairs: edits}, b: {pairs: edits, folder: here, start: a}}\n",
            "reward_models.b",
            "`start` would not be read",
        ),
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
        (
            "world: {}\nreward_models: {t: {policy: x}}\narms: {d: {method: dpo}}\n",
            "reward_models.t.policy",
            "there is no arm 'x'",
        ),
        (
            "world: {}\nreward_models: {t: {pairs: edits}, p: {policy: b}}\n"
            "arms: {b: {method: best_of_n, reward_model: t}}\n",
            "reward_models.p.policy",
            "the arm 'b' has no policy of its own: best_of_n trains nothing",
        ),
        (
            "world: {}\nreward_models: {p: {policy: d}}\narms: {d: {method: dpo, pairs: comparisons}}\n",
            "reward_models.p.policy",
            "the arm 'd' learns from comparisons, and pairs says edits",
        ),
        (
            "world: {}\nreward_models: {p: {policy: a}, q: {policy: b}}\n"
            "arms: {a: {reward_model: q}, b: {reward_model: p}}\n",
            "arms.a.reward_model",
            "an arm waits for itself: arms.a needs reward_models.q needs arms.b needs reward_models.p needs arms.a",
        ),
        (
            "world: {}\nreward_models: {p: {policy: d, start: q, reward: {loss: blame}}}\narms: {d: {method: dpo}}\n",
            "reward_models.p",
            "a model made of a policy does not use: start, loss",
        ),
        (
            "world: {}\nreward_models: {p: {policy: d, reward: {level: sequence}}}\narms: {d: {method: dpo}}\n",
            "reward_models.p",
            "does not use: level: sequence",
        ),
        ("world: {}\narms: {d: {method: dpo, reward_model: token_edits}}\n", "arms.d", "does not use: reward_model"),
        ("world: {}\narms: {f: {method: figa, pairs: comparisons}}\n", "arms.f", "does not use: pairs: comparisons"),
        (
            "world: {}\narms: {d: {method: dpo, ppo: {gamma: 1}, figa: {beta: 0}}}\n",
            "arms.d",
            "an arm of the method dpo does not use: ppo, figa",
        ),
        ("world: {}\narms: {d: {method: dpo, options: {beta: 0}}}\n", "arms.d.options.beta", "greater than 0"),
        ("world: {}\nfiga: {min_nll: 2}\n", "figa", "min_nll is above max_nll"),
    ],
)
def test_a_bad_value_is_named(recipe: Path, text: str, field: str | None, problem: str, mistake: Mistake) -> None:
    error = mistake(recipe, text)
    assert (error.file, error.field) == (str(recipe), field)
    assert problem in error.problem
    assert error.hint


def test_a_validated_recipe_survives_being_dumped_and_read_again() -> None:
    recipe = Recipe(
        world=WorldConfig(),
        arms={"both": ArmConfig(reward_model="t", sequence_reward_model="s", options={"reward": "both", "gamma": 0.5})},
        reward_models={
            "t": RewardModelConfig(pairs="edits", reward={"level": "token"}),
            "s": RewardModelConfig(pairs="comparisons", reward={"level": "sequence"}),
        },
    )
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


OLD = "world: {}\ndevice: cpu\nthreads: 2\narms: {a: {reward_model: token_edits, ppo: {kl_coef: 0.3}}}\n"


def test_the_spelling_of_older_recipes_means_the_same(recipe: Path) -> None:
    recipe.write_text(OLD)
    old = load_recipe(recipe, ["arms.a.ppo.gamma=.5"])
    recipe.write_text(
        "world: {}\ncompute: {device: cpu, threads: 2}\n"
        "arms: {a: {reward_model: token_edits, options: {kl_coef: 0.3}}}\n"
    )
    assert old == load_recipe(recipe, ["arms.a.options.gamma=.5"])
    assert (old.options("a").kl_coef, old.options("a").gamma) == (0.3, 0.5)
    assert (old.compute.device, old.compute.threads) == ("cpu", 2)


@pytest.mark.parametrize(
    ("override", "field", "problem"),
    [
        (
            "arms.a.method=gepo",
            "arms.a.method",
            "no method of that name; one of: ppo, grpo, best_of_n, dpo, figa, distill",
        ),
        ("compute={processes: 2, device: 'cuda:1'}", "compute", "'cuda:1' is one, and 2 processes need one each"),
        ("compute={processes: 2, device: mps}", "compute", "'mps' is one, and 2 processes need one each"),
        ("compute.micro_batch_size=0", "compute.micro_batch_size", "greater than 0"),
    ],
)
def test_what_contradicts_or_is_not_possible_is_named(
    recipe: Path, override: str, field: str | None, problem: str, mistake: Mistake
) -> None:
    error = mistake(recipe, OLD, override)
    assert (error.file, error.field) == (str(recipe), field)
    assert problem in error.problem


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ("device: cpu\ncompute: {device: cuda}", None, "device and compute.device differ; write it once"),
        ("jobs: 2\ncompute: {jobs: 3}", None, "jobs and compute.jobs differ; write it once"),
        (
            "arms: {a: {reward_model: token_edits, ppo: {kl_coef: 0.3}, options: {kl_coef: 1}}}",
            "arms.a",
            "`ppo` and `options` both say kl_coef; write it once",
        ),
    ],
)
def test_a_recipe_that_says_two_things_is_refused(
    recipe: Path, change: str, field: str | None, problem: str, mistake: Mistake
) -> None:
    error = mistake(recipe, f"world: {{}}\n{change}\n")
    assert (error.file, error.field) == (str(recipe), field)
    assert problem in error.problem


@pytest.mark.parametrize(
    "text",
    [
        "sft: {micro_batch_size: null}\nppo: {micro_batch_size: null, generation_batch_size: null, save_every: null}",
        "compute: {micro_batch_size: null}",
        "arms: {token: {reward_model: token_edits, options: {micro_batch_size: null}}}",
        "arms: {token: {reward_model: token_edits, ppo: {save_every: null}}}",
        "reward_models: {token_edits: {pairs: edits, reward: {micro_batch_size: null}}, "
        "sequence_edits: {pairs: edits, reward: {level: sequence}}, "
        "sequence_comparisons: {pairs: comparisons, reward: {level: sequence}}}",
    ],
)
def test_a_default_that_an_older_version_spelled_out_says_nothing(recipe: Path, text: str) -> None:
    recipe.write_text(f"world: {{}}\n{text}\n")
    loaded = load_recipe(recipe, ["compute.micro_batch_size=4"])
    for config in (loaded.sft, loaded.options("token"), loaded.reward_config("token_edits")):
        assert loaded.computed(config).micro_batch_size == 4
        assert "micro_batch_size" not in config.model_dump()


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


@pytest.mark.parametrize("name", ["messages", "tokenize", "add_generation_prompt", "strftime_now", "chat_template"])
def test_what_redpencil_gives_a_chat_template_itself_is_no_variable(recipe: Path, name: str) -> None:
    with pytest.raises(RedpencilError, match=f"{name} cannot be given") as raised:
        load_recipe(recipe, [f"chat_template_kwargs.{name}=1"])
    assert raised.value.field == "chat_template_kwargs"


def test_a_chat_template_has_variables_and_a_date(recipe: Path) -> None:
    assert load_recipe(recipe).chat_options == {
        "chat_template_kwargs": {},
        "chat_template_date": date(2024, 7, 26),
    }
    changes = ["chat_template_kwargs={enable_thinking: false, tools: [{name: add}]}", "chat_template_date=2025-01-31"]
    assert load_recipe(recipe, changes).chat_options == {
        "chat_template_kwargs": {"enable_thinking": False, "tools": [{"name": "add"}]},
        "chat_template_date": date(2025, 1, 31),
    }
    with pytest.raises(RedpencilError, match=r"not one of JSON .* quote it"):  # YAML reads a date
        load_recipe(recipe, ["chat_template_kwargs.date_string=2025-01-31"])
    with pytest.raises(RedpencilError) as raised:
        load_recipe(recipe, ["chat_template_date=today"])
    assert raised.value.field == "chat_template_date"


STARTS = "world: {}\nreward_models: {r: {pairs: edits}}\narms: {%s}\n"


@pytest.mark.parametrize(
    ("arms", "field", "problem"),
    [
        ("a: {method: figa, start: b}", "arms.a.start", "there is no arm 'b'"),
        ("a: {method: figa, start: sft}", "arms.a.start", "there is no arm 'sft'"),
        ("a: {method: figa, on: b}", "arms.a.on", "there is no arm 'b'"),
        ("a: {method: figa, start: a}", "arms.a.start", "waits for itself: arms.a needs arms.a"),
        ("a: {method: figa, on: a}", "arms.a.on", "waits for itself: arms.a needs arms.a"),
        (
            "a: {method: figa, start: b}, b: {method: dpo, start: c}, c: {method: figa, start: a}",
            "arms.a.start",
            "waits for itself: arms.",
        ),
        ("a: {method: figa, on: b}, b: {method: dpo, start: a}", "arms.a.on", "waits for itself"),
        (
            "x: {method: figa}, a: {method: figa, start: x, on: b}, b: {method: dpo, start: x, on: a}",
            "arms.a.on",
            "waits for itself",
        ),
        (
            "a: {method: best_of_n, reward_model: r}, b: {method: figa, start: a}",
            "arms.b.start",
            "the arm 'a' has no policy of its own: best_of_n trains nothing",
        ),
        ("a: {method: ppo, reward_model: r, on: b}, b: {method: figa}", "arms.a", "does not use: on"),
        ("a: {method: figa, replay: true}", "arms.a", "replay is not used without `on`"),
        ("a: {method: figa, edits: 5}", "arms.a.edits", "nothing learns `on` the answers of 'a'"),
    ],
)
def test_an_arm_that_cannot_start_where_it_says(
    recipe: Path, arms: str, field: str, problem: str, mistake: Mistake
) -> None:
    error = mistake(recipe, STARTS % arms)
    assert (error.field, str(error.file)) == (field, str(recipe))
    assert problem in error.problem
    assert error.hint


def test_the_key_that_makes_an_arm_wait_for_itself_is_named() -> None:
    models = "reward_models={r: {pairs: edits, on: b}}"
    with pytest.raises(RedpencilError, match=r"arms\.b needs reward_models\.r needs arms\.b") as caught:
        default_recipe(["arms={a: {method: figa}, b: {start: a, reward_model: r}}", models])
    assert caught.value.field == "arms.b.reward_model"


def test_a_hint_names_the_arms_that_one_may_start_from(recipe: Path, mistake: Mistake) -> None:
    arms = "a: {method: figa}, best: {method: best_of_n, reward_model: r}, b: {method: dpo, start: c}"
    assert mistake(recipe, STARTS % arms).hint == "name another arm that is trained: a"
    assert mistake(recipe, STARTS % "b: {method: dpo, start: c}").hint == "leave start out"


def test_a_reward_model_that_waits_for_the_arm_which_learns_from_it(recipe: Path, mistake: Mistake) -> None:
    text = "world: {}\nreward_models: {r: {pairs: edits, on: a}}\narms: {a: {reward_model: r}}\n"
    error = mistake(recipe, text)
    assert "arms.a needs reward_models.r needs arms.a" in error.problem or "r needs arms.a needs" in error.problem


def test_nobody_compares_the_answers_of_an_arm_but_the_worlds_annotator(recipe: Path, mistake: Mistake) -> None:
    arms = "arms: {a: {method: figa}, b: {method: dpo, pairs: comparisons, on: a}}\n"
    recipe.write_text(f"world: {{}}\n{arms}")
    assert load_recipe(recipe).arms["b"].on == "a"
    files = ", ".join(f"{key}: x" for key in ("model", "edits", "comparisons", "prompts", "judge"))
    files += ", validation_prompts: x, evaluation_prompts: x"
    error = mistake(recipe, f"files: {{{files}}}\n{arms}")
    assert error.field == "arms.b.on"
    assert "nobody compares the answers of 'a'" in error.problem


def test_whose_edits_an_arm_or_a_reward_model_learns_from(recipe: Path) -> None:
    recipe.write_text(
        "world: {}\n"
        "reward_models: {first: {pairs: edits}, again: {pairs: edits, start: first, on: b}, "
        "alone: {pairs: edits, on: b, replay: false}}\n"
        "arms: {a: {method: figa}, b: {method: figa, start: a, on: a}, c: {method: figa, start: b}, "
        "d: {method: figa, on: c, replay: true}}\n"
    )
    loaded = load_recipe(recipe)
    assert loaded.edited_arms == ("a", "b", "c")
    assert loaded.sources(loaded.reward_models["first"]) == (None,)
    assert loaded.sources(loaded.reward_models["again"]) == (None, "a", "b")
    assert loaded.sources(loaded.reward_models["alone"]) == ("b",)
    assert loaded.sources(loaded.arms["a"]) == (None,)
    assert loaded.sources(loaded.arms["b"]) == ("a",)
    assert loaded.sources(loaded.arms["d"]) == (None, "a", "b", "c")


def test_a_reward_model_does_not_start_from_one_that_is_made_of_policies() -> None:
    models = "reward_models={implicit: {policy: dpo}, token_edits: {pairs: edits, start: implicit}}"
    with pytest.raises(RedpencilError, match="made of two policies"):
        default_recipe(["arms={dpo: {method: dpo}, token: {reward_model: token_edits}}", models])
