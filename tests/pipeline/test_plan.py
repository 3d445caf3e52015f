"""The graph of stages: nothing is read before it is written, and a key of the recipe moves only what depends on it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.config.recipe import Recipe
from redpencil.pipeline.execute import StageSpec
from redpencil.pipeline.plan import plan_run
from redpencil.recipe import load_recipe

BOTH = ("arms.both={reward_model: token_edits, sequence_reward_model: sequence_edits, options: {reward: both}}",)


def ancestors(plan: list[StageSpec], key: str) -> set[str]:
    by_key = {spec.key: spec for spec in plan}
    found: set[str] = set()
    waiting = list(by_key[key].needs)
    while waiting:
        need = waiting.pop()
        if need not in found:
            found.add(need)
            waiting += by_key[need].needs
    return found


def check(plan: list[StageSpec], root: Path) -> None:
    """Keys are unique, needs come first, and what is read lies outside of the run or was written before."""
    keys = [spec.key for spec in plan]
    assert len(set(keys)) == len(keys) == len({spec.folder for spec in plan})
    by_key = {spec.key: spec for spec in plan}
    for number, spec in enumerate(plan):
        assert set(spec.needs) <= set(keys[:number]), spec.key
        folders = [by_key[key].folder for key in ancestors(plan, spec.key)]
        for name, path in spec.inputs.items():
            if path.is_relative_to(root):
                assert any(path.is_relative_to(folder) for folder in folders), f"{spec.key} reads {name} too early"


@pytest.mark.parametrize("overrides", [(), BOTH, ("arms={}",), ("arms={}", "reward_models={}")])
def test_in_the_world_every_input_is_written_by_a_stage_that_is_waited_for(
    overrides: tuple[str, ...], tiny: Any, tmp_path: Path
) -> None:
    check(plan_run(tiny(*overrides), tmp_path, 3), tmp_path)


@pytest.mark.parametrize("left_out", [(), ("sft",), ("reference_outputs",), ("sft", "reference_outputs")])
def test_so_it_is_with_a_users_files(
    left_out: tuple[str, ...], files_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    plan = plan_run(load_recipe(files_recipe(*left_out)), tmp_path / "run", 3)
    check(plan, tmp_path / "run")
    names = [spec.name for spec in plan]
    assert "world" not in names
    assert ("sft" in names) == ("sft" not in left_out)


def test_what_the_stages_of_the_paper_are_and_whom_they_wait_for(tiny: Any, tmp_path: Path) -> None:
    plan = plan_run(tiny(*BOTH), tmp_path, 3)
    needs = {spec.name: set(spec.needs) for spec in plan}
    assert list(needs) == [
        "world", "sft", "reference", "samples", "outputs-sft", "annotations", "align",
        "reward-token_edits", "reward-sequence_edits", "reward-sequence_comparisons",
        "ppo-token", "outputs-token", "ppo-edits", "outputs-edits", "ppo-preference", "outputs-preference",
        "ppo-both", "outputs-both", "judge", "needed", "evaluate",
    ]  # fmt: skip
    assert needs["ppo-token"] == {"reference", "reward-token_edits"}
    assert needs["ppo-preference"] == {"reference", "reward-sequence_comparisons"}
    assert needs["ppo-both"] == {"reference", "reward-token_edits", "reward-sequence_edits"}
    assert needs["judge"] == {
        "reference",
        *(f"outputs-{arm}" for arm in ("sft", "token", "edits", "preference", "both")),
    }
    assert all(spec.folder == tmp_path / spec.name for spec in plan)


def test_a_reward_model_that_starts_from_another_one_waits_for_it(tiny: Any, tmp_path: Path) -> None:
    tuned = "reward_models.tuned={pairs: edits, start: token_edits, reward: {frozen_layers: 1}}"
    plan = plan_run(tiny(tuned), tmp_path, 3)
    check(plan, tmp_path)
    (spec,) = (spec for spec in plan if spec.name == "reward-tuned")
    assert set(spec.needs) == {"align", "samples", "reward-token_edits"}
    assert spec.inputs["start"] == tmp_path / "reward-token_edits" / "checkpoint"


def test_a_reward_model_of_an_arms_policy_waits_for_the_arm_and_another_arm_for_it(tiny: Any, tmp_path: Path) -> None:
    # The arm that waits stands first.
    recipe = tiny(
        "arms={r: {reward_model: rto}, d: {method: dpo, options: {beta: 0.4}}}", "reward_models={rto: {policy: d}}"
    )
    plan = plan_run(recipe, tmp_path, 3)
    check(plan, tmp_path)
    by_name = {spec.name: spec for spec in plan}
    spec = by_name["reward-rto"]
    assert set(spec.needs) == {"samples", "dpo-d"}
    assert spec.inputs["trained"] == tmp_path / "dpo-d" / "checkpoint"
    assert spec.config["reward-rto"] == [16, 0.4, "edits"]
    assert "reward-rto" in by_name["ppo-r"].needs


@pytest.mark.parametrize(
    ("learner", "kind"),
    [
        ("arms.a={method: figa, pairs: hunks}", "hunks"),
        ("reward_models.a={pairs: hunks}", "hunks"),
        ("arms.a={method: distill}", "edit_texts"),
    ],
)
def test_further_pairs_are_made_only_where_something_learns_from_them(
    learner: str, kind: str, tiny: Any, tmp_path: Path
) -> None:
    plain, own = (
        {spec.name: spec for spec in plan_run(recipe, tmp_path, 3)}
        for recipe in (tiny("arms.a={method: dpo}"), tiny(learner))
    )
    (aligned,) = (spec.config["align"] for spec in [plain["align"]])
    assert not aligned["hunks"]  # as it stood when it was a key of `align`
    assert own["align"].config["align"] == {**aligned, kind: True}
    [training] = [own[name] for name in ("figa-a", "reward-a", "distill-a") if name in own]
    assert training.inputs["pairs"] == tmp_path / "align" / f"{kind}_train.jsonl"
    assert "align" in training.needs


def test_the_stages_of_several_seeds_share_nothing(tiny: Any, tmp_path: Path) -> None:
    plan = [
        spec for seed in (3, 4) for spec in plan_run(tiny(), tmp_path / f"seed-{seed}", seed, f"seed-{seed}/")
    ]  # fmt: skip
    check(plan, tmp_path)
    for spec in plan:
        prefix = f"seed-{spec.seed}/"
        assert spec.key == prefix + spec.name
        assert all(need.startswith(prefix) for need in spec.needs)
        assert all(path.is_relative_to(tmp_path / f"seed-{spec.seed}") for path in spec.inputs.values())


STAGES = (
    "world", "sft", "reference", "samples", "outputs-sft", "annotations", "align",
    "reward-token_edits", "reward-sequence_edits", "reward-sequence_comparisons",
    "ppo-token", "outputs-token", "ppo-edits", "outputs-edits", "ppo-preference", "outputs-preference",
    "judge", "needed", "evaluate",
)  # fmt: skip
POLICIES = {"outputs-sft", "outputs-token", "outputs-edits", "outputs-preference"}
REWARDS = {"reward-token_edits", "reward-sequence_edits", "reward-sequence_comparisons"}
PPO = {"ppo-token", "ppo-edits", "ppo-preference"}


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("ppo.kl_coef=.5", PPO),
        ("arms.token.options.kl_coef=.5", {"ppo-token"}),
        ("align.anchor=divergence", {"align"}),
        ("align.restore_spacing=false", {"align", "needed"}),
        ("editor.rule=scripted", set()),  # it is the world's already
        ("editor.edits=people.jsonl", {"needed"}),
        ("judge.rule=shorter", {*PPO, "judge"}),
        ("world.edit_repair=.5", {"world", "annotations"}),
        ("reward.zero_penalty=.5", REWARDS),
        ("reward_models.token_edits.reward.scale=3", {"reward-token_edits"}),
        ("reward_models.sequence_comparisons.pairs=edits", {"reward-sequence_comparisons"}),
        ("world.label_flip=.1", {"world", "annotations"}),
        ("world.test_comparisons=5", {"world", "samples", "annotations"}),
        ("world.reference_steps=5", {"world", "reference"}),
        ("sft.max_steps=5", {"sft", "reference"}),
        ("sampling.temperature=.5", {"reference", "samples", *POLICIES}),
        ("sampling.evaluation_temperature=.5", {"reference", *POLICIES, *PPO}),
        ("compute.threads=2", set()),
        ("compute.jobs=2", set()),
        ("compute.micro_batch_size=2", set()),
        ("compute.generation_batch_size=2", set()),
        ("compute.save_every=5", set()),
        ("dtype=bfloat16", set(STAGES)),
        ("checkpoint_dtype=bfloat16", set(STAGES)),
        ("name=other", set()),
        ("chat_template_date=2025-01-31", set()),  # there is no chat template
        ("prompt_template=chat", set(STAGES)),
    ],
)
def test_a_key_moves_the_configuration_of_the_stages_that_it_decides(
    override: str, changed: set[str], tiny: Any, tmp_path: Path
) -> None:
    before, after = (plan_run(recipe, tmp_path, 3) for recipe in (tiny(), tiny(override)))
    assert {b.name for a, b in zip(before, after, strict=True) if a.config != b.config} == changed


@pytest.mark.parametrize("key", ["chat_template_date=2025-01-31", "chat_template_kwargs.enable_thinking=false"])
def test_how_a_chat_template_is_filled_decides_every_stage(tiny: Any, tmp_path: Path, key: str) -> None:
    chat = "prompt_template=chat"
    before, after = (plan_run(recipe, tmp_path, 3) for recipe in (tiny(chat), tiny(chat, key)))
    assert all(a.config != b.config for a, b in zip(before, after, strict=True))


def test_the_order_of_the_arms_counts_since_the_first_is_measured_against_the_others(tiny: Any, tmp_path: Path) -> None:
    arms = "arms={%s}"
    token = "token: {reward_model: token_edits}"
    edits = "edits: {reward_model: sequence_edits, options: {reward: sequence}}"
    one, other = (
        {spec.name: spec.config for spec in plan_run(tiny(arms % ", ".join(order)), tmp_path, 3)}
        for order in ((token, edits), (edits, token))
    )
    assert {name for name in one if one[name] != other[name]} == {"needed", "evaluate"}


def test_where_a_users_files_lie_does_not_matter_only_what_is_in_them(
    files_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = load_recipe(files_recipe())
    moved = load_recipe(files_recipe(), [f"files.prompts={tmp_path / 'elsewhere.jsonl'}"])
    plans = [plan_run(each, tmp_path / "run", 3) for each in (recipe, moved)]
    assert [spec.config for spec in plans[0]] == [spec.config for spec in plans[1]]
    split = load_recipe(files_recipe(), ["files.test_share=.4"])
    changed = {
        a.name
        for a, b in zip(plans[0], plan_run(split, tmp_path / "run", 3), strict=True)
        if a.config != b.config
    }  # fmt: skip
    assert changed == {"annotations"}


def test_a_run_without_arms_has_no_policy_to_compare(
    tiny: Callable[..., Recipe], files_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    of_policies = {"reference", "judge", "needed", "outputs-sft"}
    plan = [spec.name for spec in plan_run(tiny("arms={}"), tmp_path, 3)]
    assert plan == [
        *("world", "sft", "samples", "annotations", "align"),
        *("reward-token_edits", "reward-sequence_edits", "reward-sequence_comparisons", "evaluate"),
    ]
    own = plan_run(load_recipe(files_recipe("prompts", "judge", arms={})), tmp_path / "run", 3)
    check(own, tmp_path / "run")
    plan = [spec.name for spec in own]
    assert plan.index("annotations") < plan.index("samples")
    assert not of_policies & set(plan)
    assert of_policies < {spec.name for spec in plan_run(tiny(), tmp_path, 3)}


def test_lora_moves_the_stages_that_train_adapters_alone(tiny: Any, tmp_path: Path) -> None:
    arms = ("arms.dpo={method: dpo}", "arms.best={method: best_of_n, reward_model: token_edits}")
    plain, adapted, other = (
        {spec.name: spec.config for spec in plan_run(tiny(*arms, *lora), tmp_path, 3)}
        for lora in ((), ("lora={}",), ("lora.r=2",))
    )
    moved = {name for name in plain if plain[name] != adapted[name]}
    trained = {name for name in plain if name.startswith(("reward-", "ppo-", "dpo-"))} | {"reference"}
    assert moved == trained  # the world's model has no weights to adapt, so its SFT trains them all
    assert {name for name in plain if adapted[name] != other[name]} == trained
    assert all("lora" not in config for config in plain.values())


def test_with_a_users_model_sft_trains_an_adapter_too(files_recipe: Callable[..., Path], tmp_path: Path) -> None:
    plain, adapted = (
        {spec.name: spec.config for spec in plan_run(load_recipe(files_recipe(), lora), tmp_path / "run", 3)}
        for lora in ((), ("lora={r: 4}",))
    )
    moved = {name for name in plain if plain[name] != adapted[name]}
    assert "sft" in moved
    assert "reference" not in moved  # which is the SFT policy itself


FIGA, WARM = "arms.figa={method: figa}", "arms.warm={reward_model: token_edits, start: figa}"
REFRESHED = (
    "reward_models.again={pairs: edits, start: token_edits, on: figa}",
    "arms.ppo={reward_model: again, start: figa}",
)


def test_an_arm_starts_from_another_one_wherever_that_one_stands(tiny: Any, tmp_path: Path) -> None:
    for order in ((WARM, FIGA), (FIGA, WARM)):
        plan = plan_run(tiny("arms={}", *order), tmp_path, 3)
        check(plan, tmp_path)
        (spec,) = (spec for spec in plan if spec.name == "ppo-warm")
        assert set(spec.needs) == {"reference", "reward-token_edits", "figa-figa"}
        assert spec.inputs["policy"] == tmp_path / "figa-figa" / "checkpoint"
        (spec,) = (spec for spec in plan if spec.name == "figa-figa")
        assert spec.inputs["policy"] == tmp_path / "sft" / "checkpoint"


def test_best_of_n_answers_by_the_arm_that_it_starts_from(tiny: Any, tmp_path: Path) -> None:
    best = "arms.best={method: best_of_n, reward_model: token_edits, start: figa}"
    plan = plan_run(tiny(FIGA, best), tmp_path, 3)
    check(plan, tmp_path)
    (spec,) = (spec for spec in plan if spec.name == "outputs-best")
    assert spec.inputs["policy"] == tmp_path / "figa-figa" / "checkpoint"


def test_arms_that_start_elsewhere_leave_all_other_stages_as_they_are(tiny: Any, tmp_path: Path) -> None:
    before = {spec.name: (spec.config, spec.inputs) for spec in plan_run(tiny(FIGA), tmp_path, 3)}
    after = {spec.name: (spec.config, spec.inputs) for spec in plan_run(tiny(FIGA, WARM, *REFRESHED), tmp_path, 3)}
    assert {name for name in before if before[name] != after[name]} == {"judge", "needed", "evaluate"}
    assert set(after) - set(before) == {
        *("ppo-warm", "outputs-warm", "ppo-ppo", "outputs-ppo"),
        *("samples-figa", "annotations-figa", "align-figa", "reward-again"),
    }


def test_a_reward_model_that_is_refreshed_reads_the_answers_of_the_arm(tiny: Any, tmp_path: Path) -> None:
    plan = plan_run(tiny(FIGA, *REFRESHED), tmp_path, 3)
    check(plan, tmp_path)
    (spec,) = (spec for spec in plan if spec.name == "reward-again")
    assert set(spec.needs) == {"align", "align-figa", "samples-figa", "reward-token_edits"}
    assert spec.inputs == {
        "policy": tmp_path / "sft" / "checkpoint",
        "pairs": tmp_path / "align" / "edits_train.jsonl",
        "pairs-figa": tmp_path / "align-figa" / "edits_train.jsonl",
        "samples": tmp_path / "samples-figa" / "responses.jsonl",
        "start": tmp_path / "reward-token_edits" / "checkpoint",
    }
    alone = plan_run(tiny(FIGA, *REFRESHED, "reward_models.again.replay=false"), tmp_path, 3)
    (spec,) = (spec for spec in alone if spec.name == "reward-again")
    assert spec.inputs["pairs"] == tmp_path / "align-figa" / "edits_train.jsonl"
    assert "pairs-figa" not in spec.inputs


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("arms.figa.edits=5", {"samples-figa", "annotations-figa"}),
        ("world.comparisons=20", {"world", "samples", "annotations", "samples-figa", "annotations-figa"}),
        ("world.edit_repair=.5", {"world", "annotations", "annotations-figa"}),
        ("sampling.temperature=.5", {"reference", "samples", "samples-figa", "figa-figa"}),
        ("align.anchor=divergence", {"align", "align-figa"}),
    ],
)
def test_what_decides_the_stages_on_an_arms_own_answers(
    override: str, changed: set[str], tiny: Any, tmp_path: Path
) -> None:
    keys = ("arms={}", FIGA, *REFRESHED)
    before, after = (plan_run(recipe, tmp_path, 3) for recipe in (tiny(*keys), tiny(*keys, override)))
    moved = {b.name for a, b in zip(before, after, strict=True) if a.config != b.config}
    assert {name for name in moved if not name.startswith("outputs-")} == changed
