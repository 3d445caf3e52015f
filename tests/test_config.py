"""Recipes: each mistake is named by file and key, and overrides do what they say."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from redpencil.config import (
    METHODS,
    ArmConfig,
    GRPOConfig,
    JudgeConfig,
    LoraConfig,
    PPOConfig,
    Recipe,
    RewardModelConfig,
    WorldConfig,
)
from redpencil.errors import RedpencilError
from redpencil.recipe import default_recipe, load_recipe


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


@pytest.mark.parametrize(
    "written",
    ["{loss: eq4, ranking: 1}", "{loss: eq3, edited_weight: 1}", "{loss: blame, contrast_window: 3}"],
)
def test_a_key_that_a_loss_would_not_read(recipe: Path, written: str) -> None:
    assert "is not used with loss=" in str(mistake(recipe, f"world: {{}}\nreward: {written}\n"))


def test_a_sequence_model_may_stand_beside_token_models_of_any_loss(recipe: Path) -> None:
    recipe.write_text("world: {}\nreward: {loss: blame, ranking: 1, edited_weight: .5}\n")
    loaded = load_recipe(recipe)
    assert loaded.reward_config("sequence_edits").level == "sequence"
    assert loaded.reward_config("token_edits").ranking == 1


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
def test_a_bad_value_is_named(recipe: Path, text: str, field: str | None, problem: str) -> None:
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


def test_single_changes_are_a_kind_of_pairs_and_no_longer_an_option_of_the_alignment(recipe: Path) -> None:
    error = mistake(recipe, "world: {}\nalign: {hunks: true}\n")
    assert (error.field, error.problem) == ("align.hunks", "it is a kind of pairs now")
    assert "pairs: hunks" in (error.hint or "")
    recipe.write_text("world: {}\nalign: {hunks: false}\narms: {d: {method: dpo, pairs: hunks}}\n")
    assert load_recipe(recipe).further_pairs == ("hunks",)
    assert not load_recipe(recipe, ["arms.d.pairs=edits"]).further_pairs


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
    recipe: Path, override: str, field: str | None, problem: str
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
def test_a_recipe_that_says_two_things_is_refused(recipe: Path, change: str, field: str | None, problem: str) -> None:
    error = mistake(recipe, f"world: {{}}\n{change}\n")
    assert (error.file, error.field) == (str(recipe), field)
    assert problem in error.problem


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:11"])
def test_devices_are_known_when_the_recipe_is_read(recipe: Path, device: str) -> None:
    recipe.write_text(f"world: {{}}\ncompute: {{device: {device}}}\n")
    assert load_recipe(recipe).compute.device == device
    recipe.write_text(f"world: {{}}\ndevice: {device}\n")
    assert load_recipe(recipe).compute.device == device


@pytest.mark.parametrize(
    "device", ["gpu", "GPU", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:01", "cuda 0", "meta", "tpu", "{0}", "''"]
)
def test_a_device_that_does_not_exist_anywhere_is_refused_when_the_recipe_is_read(recipe: Path, device: str) -> None:
    error = mistake(recipe, f'world: {{}}\ncompute: {{device: "{device}"}}\n')
    assert (error.file, error.field) == (str(recipe), "compute.device")
    assert error.problem == f"unknown device {device!r}"
    assert error.hint == "auto, cpu, cuda, cuda:N such as cuda:0, or mps"
    assert mistake(recipe, f'world: {{}}\ndevice: "{device}"\n').field == "compute.device"


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


def test_a_forward_pass_takes_eight_rows_unless_the_recipe_says_otherwise(recipe: Path) -> None:
    recipe.write_text("world: {}\n")
    loaded = load_recipe(recipe)
    assert loaded.computed(loaded.sft).micro_batch_size == 8
    whole = load_recipe(recipe, ["compute.micro_batch_size=null"])
    assert whole.computed(whole.sft).micro_batch_size is None


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ("sft: {micro_batch_size: 4}", "sft.micro_batch_size"),
        ("ppo: {micro_batch_size: 4}", "ppo.micro_batch_size"),
        ("ppo: {generation_batch_size: 4}", "ppo.generation_batch_size"),
        (
            "arms: {a: {reward_model: token_edits, options: {micro_batch_size: 4}}}",
            "arms.a.options.micro_batch_size",
        ),
        (
            "reward_models: {token_edits: {pairs: edits, reward: {micro_batch_size: 4}}}",
            "reward_models.token_edits.reward.micro_batch_size",
        ),
    ],
)
def test_a_key_that_moved_to_compute_is_refused_with_its_new_place(recipe: Path, section: str, field: str) -> None:
    error = mistake(recipe, f"world: {{}}\n{section}\n")
    assert (error.file, error.field) == (str(recipe), field)
    assert error.hint == f"write compute.{field.rpartition('.')[2]}"


def test_what_compute_says_reaches_training_and_stays_out_of_what_is_recorded(recipe: Path) -> None:
    loaded = load_recipe(recipe, ["compute.micro_batch_size=4", "compute.save_every=7"])
    for config in (loaded.sft, loaded.reward_config("token_edits"), loaded.options("token"), loaded.dpo):
        assert config.micro_batch_size is None
        computed = loaded.computed(config)
        assert (computed.micro_batch_size, computed.generation_batch_size, computed.save_every) == (4, None, 7)
        assert computed.model_dump() == config.model_dump()
        assert "micro_batch_size" not in computed.model_dump()


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


def test_grpo_with_both_rewards_needs_both_models(recipe: Path) -> None:
    arm = "{method: grpo, reward_model: token_edits, options: {reward: both}}"
    assert "needs a sequence_reward_model" in mistake(recipe, f"world: {{}}\narms: {{g: {arm}}}\n").problem
    recipe.write_text("world: {}\n")
    loaded = load_recipe(recipe, [f"arms.g={arm}", "arms.g.sequence_reward_model=sequence_edits"])
    assert loaded.arms["g"].reward_model_names == ("token_edits", "sequence_edits")


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


FILES = "model: m, comparisons: c, edits: e, prompts: p, validation_prompts: v, evaluation_prompts: x"


def test_without_a_section_the_judge_is_the_oracle_or_the_reward_model_of_the_files(recipe: Path) -> None:
    recipe.write_text("world: {}\n")
    assert load_recipe(recipe).who_judges == JudgeConfig(rule="oracle")
    recipe.write_text(f"files: {{{FILES}, judge: models/judge}}\n")
    assert load_recipe(recipe).who_judges == JudgeConfig(folder=recipe.parent / "models" / "judge")


@pytest.mark.parametrize(
    ("section", "decides", "while_training"),
    [
        ("{folder: models/judge}", {}, True),
        ("{rule: shorter}", {"rule": "shorter"}, True),
        ("{pattern: 'sorry|cannot', fewer: true}", {"pattern": "sorry|cannot", "fewer": True}, True),
        ("{verdicts: people.jsonl}", {}, False),
        (
            "{provider: anthropic, model: claude-x, max_cost: 2, cache: j.cache, concurrency: 3}",
            {"provider": "anthropic", "model": "claude-x"},
            False,
        ),
        (
            "{provider: openai, model: m, base_url: 'http://localhost:8000/v1', orders: one}",
            {"provider": "openai", "model": "m", "base_url": "http://localhost:8000/v1", "orders": "one"},
            False,
        ),
    ],
)
def test_a_recipe_names_its_judge(recipe: Path, section: str, decides: object, while_training: bool) -> None:
    recipe.write_text(f"files: {{{FILES}}}\njudge: {section}\n")
    judge = load_recipe(recipe).who_judges
    assert (judge.decides, judge.judges_training) == (decides, while_training)
    for path in (judge.folder, judge.verdicts, judge.cache):
        assert path is None or path.parent in (recipe.parent, recipe.parent / "models")
    written = recipe.with_name("again.yaml")
    written.write_text(yaml.safe_dump(load_recipe(recipe).model_dump(mode="json")))
    assert load_recipe(written) == load_recipe(recipe)


def test_a_template_that_is_a_file_and_a_local_model_start_at_the_recipes_folder(recipe: Path) -> None:
    recipe.write_text("world: {}\njudge: {provider: local, model: models/llm, template: ours.yaml}\n")
    judge = load_recipe(recipe).who_judges
    assert (judge.model, judge.template) == (str(recipe.parent / "models/llm"), str(recipe.parent / "ours.yaml"))
    built_in = load_recipe(recipe, ["judge.template=alpaca-eval", "judge.provider=openai"]).who_judges
    assert built_in.template == "alpaca-eval"


@pytest.mark.parametrize(
    ("judge", "field", "problem"),
    [
        ("{}", "judge", "name one judge: one of folder, rule, pattern, verdicts, provider"),
        ("{rule: longer, folder: f}", "judge", "name one judge"),
        ("{rule: best}", "judge.rule", "longer"),
        ("{rule: oracle}", "judge.rule", "the oracle knows the small world alone"),
        ("{rule: shorter, fewer: true}", "judge", "fewer says nothing of this judge"),
        ("{pattern: '('}", "judge.pattern", "not a regular expression"),
        ("{rule: longer, fewer: true}", "judge", "fewer says nothing of this judge"),
        ("{rule: longer, max_cost: 3}", "judge", "max_cost says nothing of this judge"),
        ("{verdicts: v, model: gpt}", "judge", "model says nothing of this judge"),
        ("{provider: openai}", "judge", "give the model that the provider is asked for"),
        ("{provider: nobody, model: m}", "judge.provider", "anthropic"),
        ("{provider: openai, model: m, api_key: sk-1}", "judge.api_key", "a recipe holds no secrets"),
        ("{provider: openai, model: m, auth_token: sk-1}", "judge.auth_token", "a recipe holds no secrets"),
        ("{provider: openai, model: m, base_url: 'http://me:sk-1@host/v1'}", "judge.base_url", "a user, a password"),
        ("{provider: openai, model: m, base_url: 'http://host/v1?key=sk-1'}", "judge.base_url", "a user, a password"),
        ("{provider: openai, model: m, modle: x}", "judge.modle", "unknown key"),
    ],
)
def test_a_judge_that_is_none_is_refused(recipe: Path, judge: str, field: str, problem: str) -> None:
    error = mistake(recipe, f"files: {{{FILES}}}\njudge: {judge}\n")
    assert error.field == field
    assert problem in error.problem
    if field != "judge.base_url" or "password" in problem:
        assert "sk-1" not in (error.hint or "")


@pytest.mark.parametrize(
    ("section", "decides"),
    [
        ("{rule: references}", {"rule": "references"}),
        ("{edits: people.jsonl}", {}),
        (
            "{provider: openai, model: m, template: ask.txt, cache: c, max_cost: 3, concurrency: 2, min_kept: 0.2}",
            {"provider": "openai", "model": "m", "min_kept": 0.2},
        ),
    ],
)
def test_a_recipe_names_its_editor(recipe: Path, section: str, decides: object) -> None:
    recipe.write_text(f"files: {{{FILES}, judge: j}}\neditor: {section}\n")
    editor = load_recipe(recipe).editor
    assert editor is not None
    assert editor.decides == decides
    for path in (editor.edits, editor.template, editor.cache):
        assert path is None or path.parent == recipe.parent


@pytest.mark.parametrize(
    ("recipe_text", "field", "problem"),
    [
        (f"files: {{{FILES}}}\neditor: {{}}\n", "editor", "name one editor: one of rule, edits, project, provider"),
        (
            f"files: {{{FILES}}}\neditor: {{rule: scripted}}\n",
            "editor.rule",
            "the scripted editor knows the small",
        ),
        ("world: {}\neditor: {rule: references}\n", "editor.rule", "prompts of the small world have no references"),
        ("world: {}\njudge: {rule: references}\n", "judge.rule", "prompts of the small world have no references"),
        ("world: {}\neditor: {rule: scripted, edits: e}\n", "editor", "name one editor"),
        ("world: {}\neditor: {rule: scripted, min_kept: 0.1}\n", "editor", "min_kept says nothing of this editor"),
        ("world: {}\neditor: {edits: e, template: t}\n", "editor", "template says nothing of this editor"),
        ("world: {}\neditor: {provider: openai}\n", "editor", "give the model that the provider is asked for"),
        ("world: {}\neditor: {provider: openai, model: m, api_key: sk}\n", "editor.api_key", "holds no secrets"),
    ],
)
def test_an_editor_that_is_none_is_refused(recipe: Path, recipe_text: str, field: str, problem: str) -> None:
    error = mistake(recipe, recipe_text)
    assert error.field == field
    assert problem in error.problem


def test_your_own_files_need_a_judge_and_only_one(recipe: Path) -> None:
    error = mistake(recipe, f"files: {{{FILES}}}\n")
    assert error.field == "files.judge"
    assert "field required" in error.problem
    assert "a section judge" in (error.hint or "")
    error = mistake(recipe, f"files: {{{FILES}, judge: j}}\njudge: {{rule: longer}}\n")
    assert "both name a judge" in error.problem


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


# Servers that sample and score.


def test_a_server_is_named_once_and_reaches_what_samples_and_scores(recipe: Path) -> None:
    loaded = load_recipe(recipe, ["compute.sampler.url=http://host:8000/v1/", "compute.sampler.max_staleness=2"])
    assert loaded.compute.sampler is not None
    assert loaded.compute.sampler.url == "http://host:8000"  # as vLLM's other paths begin
    scored = load_recipe(recipe, ["compute.reward_servers.token.url=https://host/reward"])
    plain = load_recipe(recipe)
    for config in (loaded.sft, loaded.options("token")):
        assert loaded.computed(config).sampler == loaded.compute.sampler
        assert loaded.computed(config).model_dump() == plain.computed(config).model_dump()  # and no fingerprint
    assert scored.computed(scored.options("token")).reward_servers == {"token": scored.compute.reward_servers["token"]}


@pytest.mark.parametrize(
    ("override", "field", "problem"),
    [
        ("sampler.url=localhost:8000", "sampler.url", "not the address of a server"),
        ("sampler.url=ftp://host", "sampler.url", "not the address of a server"),
        ("sampler.url='http://a b'", "sampler.url", "not the address of a server"),
        ("sampler.url='http://host/?key=1'", "sampler.url", "not the address of a server"),
        ("sampler.url='http://user:secret@host'", "sampler.url", "a recipe holds no secrets"),
        ("sampler.api_key=sk-1", "sampler.api_key", "a recipe holds no secrets"),
        ("sampler.token=sk-1", "sampler.token", "a recipe holds no secrets"),
        ("sampler.api_key_variable=sk-live-1", "sampler.api_key_variable", "match pattern"),
        ("sampler.route=nccl", "sampler.route", "'disk' or 'lora'"),
        ("sampler.max_staleness=-1", "sampler.max_staleness", "greater than or equal to 0"),
        ("sampler.concurrency=0", "sampler.concurrency", "greater than 0"),
        ("sampler.timeout=0", "sampler.timeout", "greater than 0"),
        ("sampler.rout=disk", "sampler.rout", "unknown key"),
        ("reward_servers.token.route=disk", "reward_servers.token.route", "unknown key"),
        ("reward_servers.sentence.url=http://host", "reward_servers.sentence", "'token' or 'sequence'"),
        ("sampler.patience=true", "sampler.patience", "a number is needed"),
    ],
)
def test_a_server_that_cannot_be_is_refused(recipe: Path, override: str, field: str, problem: str) -> None:
    url = [] if "url" in override else [f"compute.{field.rpartition('.')[0]}.url=http://host:8000"]
    error = mistake(recipe, "world: {}\n", *url, f"compute.{override}")
    assert str(error.field).startswith(f"compute.{field}")
    assert problem in error.problem
    assert error.hint
    assert "sk-1" not in str(error)
    assert "secret@" not in str(error)


@pytest.mark.parametrize("field", ["sampler", "reward_servers"])
def test_a_server_in_the_section_of_a_stage_is_sent_to_compute(recipe: Path, field: str) -> None:
    error = mistake(recipe, f"world: {{}}\nppo: {{{field}: {{url: http://host}}}}\n")
    assert error.hint == f"write compute.{field}"


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
def test_an_arm_that_cannot_start_where_it_says(recipe: Path, arms: str, field: str, problem: str) -> None:
    error = mistake(recipe, STARTS % arms)
    assert (error.field, str(error.file)) == (field, str(recipe))
    assert problem in error.problem
    assert error.hint


def test_the_key_that_makes_an_arm_wait_for_itself_is_named() -> None:
    models = "reward_models={r: {pairs: edits, on: b}}"
    with pytest.raises(RedpencilError, match=r"arms\.b needs reward_models\.r needs arms\.b") as caught:
        default_recipe(["arms={a: {method: figa}, b: {start: a, reward_model: r}}", models])
    assert caught.value.field == "arms.b.reward_model"


def test_a_hint_names_the_arms_that_one_may_start_from(recipe: Path) -> None:
    arms = "a: {method: figa}, best: {method: best_of_n, reward_model: r}, b: {method: dpo, start: c}"
    assert mistake(recipe, STARTS % arms).hint == "name another arm that is trained: a"
    assert mistake(recipe, STARTS % "b: {method: dpo, start: c}").hint == "leave start out"


def test_a_reward_model_that_waits_for_the_arm_which_learns_from_it(recipe: Path) -> None:
    text = "world: {}\nreward_models: {r: {pairs: edits, on: a}}\narms: {a: {reward_model: r}}\n"
    error = mistake(recipe, text)
    assert "arms.a needs reward_models.r needs arms.a" in error.problem or "r needs arms.a needs" in error.problem


def test_nobody_compares_the_answers_of_an_arm_but_the_worlds_annotator(recipe: Path) -> None:
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
