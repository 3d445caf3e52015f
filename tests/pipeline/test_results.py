"""Every number of the results, recomputed another way from the files of a finished run."""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from redpencil.models.checkpoints import load_reward_model
from redpencil.pipeline.context import Context
from redpencil.pipeline.plan import plan_run
from redpencil.pipeline.results import (
    HeldOutEdit,
    _against_oracle,
    _efficiencies,
    _heatmaps,
    arm_costs,
    skipped_rows,
    stage_costs,
    summarise,
)
from redpencil.pipeline.run import run_recipe
from redpencil.recipe import default_recipe, load_recipe, shipped_recipe
from redpencil.records import Edit, Pair, Response, read_jsonl
from redpencil.results import RunResults
from redpencil.runs import write_json
from redpencil.sections import load_yaml
from redpencil.text import read_json
from redpencil.training.pairs import pairs_of_edits
from redpencil.training.scoring import score_tokens
from redpencil.world.facts import FactsDomain
from redpencil.world.oracle import Oracle

POLICIES = ("sft", "token", "edits", "preference")
MODELS = ("token_edits", "sequence_edits", "sequence_comparisons")
TESTS = ("edits", "comparisons", "comparisons_clean")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def scores(root: Path, policy: str) -> list[float]:
    points = {"first": 1.0, "tie": 0.5, "second": 0.0}
    return [points[row["preference"]] for row in rows(root / "judge" / f"{policy}.jsonl")]


def standard_error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_win_rate_is_the_mean_of_wins_and_half_of_the_draws(
    policy: str, results: dict[str, Any], finished: Path
) -> None:
    values, entry = scores(finished, policy), results["win_rate"][policy]
    assert entry["n"] == len(values) == 12
    assert [entry["wins"], entry["draws"], entry["losses"]] == [values.count(score) for score in (1.0, 0.5, 0.0)]
    assert entry["value"] == pytest.approx(100 * (entry["wins"] + entry["draws"] / 2) / 12)
    assert entry["standard_error"] == pytest.approx(100 * standard_error(values))
    responses = [row["response"] for row in rows(finished / f"outputs-{policy}" / "evaluation.jsonl")]
    assert entry["mean_length"] == pytest.approx(statistics.fmean(len(text.split()) for text in responses))


def test_differences_are_paired_within_prompts(results: dict[str, Any], finished: Path) -> None:
    found = results["win_rate_difference"]
    arms = ["token-edits", "token-preference", "edits-preference"]
    assert list(found) == [*arms, "token-sft", "edits-sft", "preference-sft"]
    for pair, entry in found.items():
        first, second = (scores(finished, arm) for arm in pair.split("-"))
        differences = [a - b for a, b in zip(first, second, strict=True)]
        assert entry["value"] == pytest.approx(100 * statistics.fmean(differences))
        assert entry["standard_error"] == pytest.approx(100 * standard_error(differences))
        assert entry["n"] == 12


def test_every_policy_is_judged_on_the_same_prompts_against_the_same_reference(finished: Path) -> None:
    answers = {row["id"]: row["response"] for row in rows(finished / "reference" / "evaluation.jsonl")}
    for policy in POLICIES:
        judged = rows(finished / "judge" / f"{policy}.jsonl")
        outputs = {row["id"]: row["response"] for row in rows(finished / f"outputs-{policy}" / "evaluation.jsonl")}
        assert {row["id"]: row["second"] for row in judged} == answers
        assert {row["id"]: row["first"] for row in judged} == outputs


def test_the_accuracy_matrix_has_every_model_on_every_test_set(results: dict[str, Any]) -> None:
    """Trap 16: an accuracy on each model's own kind of pairs alone would mix test sets and label noise."""
    matrix = results["reward_accuracy"]
    assert set(matrix) == {*MODELS, "shorter_wins", "longer_wins", "artefacts"}
    assert all(set(row) == set(TESTS) for row in matrix.values())


@pytest.mark.parametrize("model", MODELS)
def test_a_cell_of_the_matrix_is_the_share_of_pairs_that_the_checkpoint_ranks_right(
    model: str, results: dict[str, Any], context: Context
) -> None:
    """Recomputed by plain transformers, one response at a time, without padding."""
    folder = context.paths.reward_model(model)
    token = model.startswith("token")
    auto = AutoModelForTokenClassification if token else AutoModelForSequenceClassification
    network = auto.from_pretrained(folder).eval()

    def reward(prompt: Sequence[int], response: Sequence[int]) -> float:
        with torch.no_grad():
            logits = network(input_ids=torch.tensor([[*prompt, *response]])).logits
        return float(logits[0, len(prompt) :, 0].mean() if token else logits[0, 0])

    for test in TESTS:
        pairs = list(read_jsonl(context.paths.pairs(test, "test"), Pair))
        right = [reward(p.prompt_ids, p.chosen_ids) > reward(p.prompt_ids, p.rejected_ids) for p in pairs]
        cell = results["reward_accuracy"][model][test]
        assert cell["n"] == len(pairs) >= 5
        assert cell["value"] == pytest.approx(100 * sum(right) / len(right))


@pytest.mark.parametrize("test", TESTS)
def test_the_rule_that_the_shorter_wins_is_next_to_them(test: str, results: dict[str, Any], context: Context) -> None:
    lengths = [(len(p.rejected_ids), len(p.chosen_ids)) for p in read_jsonl(context.paths.pairs(test, "test"), Pair)]
    points = [1.0 if chosen < rejected else 0.5 if chosen == rejected else 0.0 for rejected, chosen in lengths]
    assert results["reward_accuracy"]["shorter_wins"][test]["value"] == pytest.approx(100 * statistics.fmean(points))


@pytest.mark.parametrize(("key", "other"), [("efficiency", "edits"), ("efficiency_preference", "preference")])
def test_efficiency_is_read_off_the_learning_curves(
    key: str, other: str, results: dict[str, Any], finished: Path
) -> None:
    def curve(arm: str) -> list[tuple[int, float]]:
        logged = rows(finished / f"ppo-{arm}" / "metrics.jsonl")
        return [(row["step"], row["eval/win_rate"]) for row in logged if row["step"] > 0 and "eval/win_rate" in row]

    best = max(rate for _, rate in curve(other))
    sequence_step = min(step for step, rate in curve(other) if rate == best)
    token_step = min((step for step, rate in curve("token") if rate >= best), default=None)
    entry = results[key]
    assert (entry["token_step"], entry["sequence_step"]) == (token_step, sequence_step)
    assert entry["ratio"] == (None if token_step is None else token_step / sequence_step)


def test_a_recipe_without_arms_has_no_efficiency(tiny: Any, finished: Path) -> None:
    assert _efficiencies(Context(tiny("arms={}"), finished, 3)) == {}


@pytest.mark.parametrize("policy", [*POLICIES, "reference"])
def test_flaws_are_counted_per_hundred_responses(policy: str, results: dict[str, Any], context: Context) -> None:
    paths, oracle = context.paths, Oracle(FactsDomain(0))
    path = paths.reference_outputs("evaluation") if policy == "reference" else paths.outputs(policy)
    verdicts = [oracle.inspect(row.prompt, row.response) for row in read_jsonl(path, Response)]
    found = results["flaws"][policy]
    assert set(found) == {"wrong", "hedge", "rude", "filler", "repeated", "off_topic", "garbled", "missing"}
    for kind in set(found) - {"missing"}:
        count = sum(flaw.kind == kind for verdict in verdicts for flaw in verdict.flaws)
        assert found[kind] == pytest.approx(100 * count / 12)
    assert found["missing"] == pytest.approx(100 * sum(len(verdict.missing) for verdict in verdicts) / 12)
    assert sum(found.values()) > 0


ASKED = "please describe {entity} . cover capital , currency and language ."
ONE = "the capital of france is berlin . the currency of france is the euro ."
TWO = "the capital of germany is berlin . the currency of germany is the euro . the language of germany is german ."
THREE = "the capital of france is paris ."


def hand_made(context: Context) -> tuple[list[HeldOutEdit], list[list[float]]]:
    """Three responses and their rewards, which are 0 unless said otherwise.

    ONE: wrong capital (-2), right currency (-5), language missing, EOS -3.
    TWO: right capital (-1), right currency (-5), right language, EOS 0.
    THREE: right capital, the rest missing; it was cut off, so it has no EOS, and its last word, a full stop, has +9.
    """
    cases = [("france", ONE, True), ("germany", TWO, True), ("france", THREE, False)]
    edits = [
        Edit(str(n), ASKED.format(entity=entity), text, f"{text} i hope this helps .", meta={"finished": finished})
        for n, (entity, text, finished) in enumerate(cases)
    ]
    pairs, skipped = pairs_of_edits(edits, context.codec, context.recipe.align)
    assert not skipped
    rewards = [[0.0] * len(pair.rejected_ids) for pair in pairs]
    assert [len(row) for row in rewards] == [16, 23, 7]
    rewards[0][5], rewards[0][13], rewards[0][15] = -2.0, -5.0, -3.0
    rewards[1][5], rewards[1][13] = -1.0, -5.0
    rewards[2][6] = 9.0
    return [HeldOutEdit(pair, edit) for pair, edit in zip(pairs, edits, strict=True)], rewards


def test_localisation_within_a_slot_compares_a_wrong_value_with_right_ones_of_its_kind(context: Context) -> None:
    """Trap 15. Within the slot of capitals the wrong one scores 2, the right ones 1 and 0: 2 of 2 pairs.

    Among all right values, 1, 5, 0 (TWO), 5 (ONE) and 0 (THREE), it would win 3 of 5.
    """
    found = _against_oracle(context.codec, Oracle(FactsDomain(0)), *hand_made(context))
    assert found["values_auroc"] == 1.0


def test_localisation_over_all_words_leaves_the_end_of_sequence_out(context: Context) -> None:
    """Of 15 + 22 + 7 = 44 words one is at fault, with score 2; of the 43 others two score more (5), and none ties."""
    found = _against_oracle(context.codec, Oracle(FactsDomain(0)), *hand_made(context))
    assert found["auroc"] == pytest.approx(41 / 43)


def test_the_end_of_sequence_is_blamed_where_a_fact_is_missing(context: Context) -> None:
    """Trap 14. EOS of ONE, which misses a fact, scores 3, that of TWO 0: 1 of 1 pair; THREE has none to blame."""
    found = _against_oracle(context.codec, Oracle(FactsDomain(0)), *hand_made(context))
    assert found["eos_missing_auroc"] == 1.0


def test_the_share_of_edited_tokens_that_score_low_is_measured_without_an_oracle(
    results: dict[str, Any], context: Context
) -> None:
    model = load_reward_model(context.paths.reward_model("token_edits"), context.runtime)
    pairs = list(read_jsonl(context.paths.pairs("edits", "test"), Pair))
    prompts, responses = [pair.prompt_ids for pair in pairs], [pair.rejected_ids for pair in pairs]
    scored = score_tokens(model.model, prompts, responses)
    changed, kept = [], []
    for pair, row in zip(pairs, scored, strict=True):
        for flag, reward in zip(pair.rejected_changed, row.tolist(), strict=True):
            (changed if flag else kept).append(reward)
    won = sum(1.0 if low < high else 0.5 if low == high else 0.0 for low in changed for high in kept)
    found = results["localisation"]["token_edits"]["edited_auroc"]
    assert found == pytest.approx(won / (len(changed) * len(kept)))
    assert set(results["localisation"]) == {"token_edits"}


def test_heat_maps_show_what_ppo_pays() -> None:
    shipped = load_recipe(shipped_recipe("recommended"))
    assert not Context(shipped, Path(), 0).pays_centred("token_edits")
    assert Context(default_recipe(), Path(), 0).pays_centred("token_edits")
    assert Context(load_recipe(shipped_recipe("variants")), Path(), 0).pays_centred("token_edits_eq3")


def test_heat_maps_show_each_token_with_its_centred_reward_and_its_flaw(finished: Path, context: Context) -> None:
    shown = json.loads((finished / "evaluate" / "report_data.json").read_text())["heatmaps"]
    model = load_reward_model(context.paths.reward_model("token_edits"), context.runtime)
    pairs = {tuple(pair.rejected_ids): pair for pair in read_jsonl(context.paths.pairs("edits", "test"), Pair)}
    texts = {row.original: row for row in read_jsonl(context.paths.annotations / "edits_test.jsonl", Edit)}
    oracle = Oracle(FactsDomain(0))
    for row in shown:
        assert len(row["tokens"]) == len(row["rewards"]) == len(row["flaws"])
        end = [] if row["tokens"][-1] != "<eos>" else ["<eos>"]
        words = row["tokens"][: len(row["tokens"]) - len(end)]
        edit = texts[" ".join(words)]
        ids = next(ids for ids in pairs if context.codec.token_texts(ids) == row["tokens"])
        scored = score_tokens(model.model, [pairs[ids].prompt_ids], [ids])[0]
        assert row["rewards"] == pytest.approx([float(r) - model.card.center for r in scored], abs=1e-5)
        verdict, start = oracle.inspect(edit.prompt, edit.original), 0
        for word, flaw in zip(words, row["flaws"], strict=False):
            assert flaw == verdict.flaw_at(start, start + len(word))
            start += len(word) + 1
        assert row["flaws"][len(words) :] == [None] * len(end)


def test_the_good_of_the_heat_maps_are_better_than_the_bad_and_none_is_both(finished: Path) -> None:
    shown = json.loads((finished / "evaluate" / "report_data.json").read_text())["heatmaps"]
    oracle = Oracle(FactsDomain(0))
    utilities: dict[str, list[float]] = {"good": [], "bad": []}
    for row in shown:
        words = " ".join(token for token in row["tokens"] if token != "<eos>")
        utilities[row["label"]].append(oracle.inspect(row["prompt"], words).utility)
    assert min(utilities["good"]) >= max(utilities["bad"])
    responses = [(row["prompt"], tuple(row["tokens"])) for row in shown]
    assert len(set(responses)) == len(responses)


@pytest.mark.parametrize(("count", "labels"), [(1, ["bad"]), (3, ["bad", "bad", "good"])])
def test_few_responses_are_shown_once_each(count: int, labels: list[str], context: Context) -> None:
    cases, rewards = hand_made(context)
    shown = _heatmaps(context.codec, "m", Oracle(FactsDomain(0)), cases[:count], rewards[:count], 0.0)
    assert [row.label for row in shown] == labels


def test_without_an_oracle_heat_maps_mark_what_was_edited(
    context: Context,
) -> None:
    cases, rewards = hand_made(context)
    shown = _heatmaps(context.codec, "m", None, cases, rewards, 0.5)
    for row in shown:
        case, reward = next(
            (case, reward)
            for case, reward in zip(cases, rewards, strict=True)
            if tuple(context.codec.token_texts(case.pair.rejected_ids)) == row.tokens
        )
        assert row.flaws == tuple("edited" if flag else None for flag in case.pair.rejected_changed)
        assert row.rewards == tuple(value - 0.5 for value in reward)


def test_warnings_tell_what_each_stage_skipped_and_stages_what_they_cost(tmp_path: Path) -> None:
    notes: dict[str, dict[str, Any]] = {
        "sft": {"skipped": {"empty response": 2, "longer than max_length": 0}},
        "samples": {"skipped": {"prompt empty or too long": 0}},
        "align": {"pairs": {"a": 1, "b": 4}, "skipped": {"a": {"tie": 3, "unchanged": 1}, "b": {}}, "remarks": ["so"]},
        "ppo-token": {"skipped prompts": 4, "best": {"step": 1}},
        "judge": {},
    }
    for seconds, (name, content) in enumerate(notes.items()):
        write_json(tmp_path / name / "manifest.json", {"notes": content, "seconds": seconds})
    assert skipped_rows(tmp_path, notes) == [
        "sft skipped 2 (empty response).",
        "align skipped 3 of a (tie), 1 of a (unchanged).",
        "ppo-token skipped 4 (prompt empty or too long).",
        "align: so.",
    ]
    assert {name: row.seconds for name, row in stage_costs(tmp_path, ["sft", "judge"]).items()} == {
        "sft": 0,
        "judge": 4,
    }


ARMS = (
    "arms={best: {method: best_of_n, reward_model: token_edits, best_of_n: {n: 3}}, "
    "token: {reward_model: token_edits}, "
    "dpo_edits: {method: dpo}, "
    "dpo_comparisons: {method: dpo, pairs: comparisons}, "
    "figa: {method: figa}}"
)
QUICK = tuple(
    f"{section}.{key}"
    for section in ("dpo", "figa")
    for key in ("max_steps=2", "batch_size=8", "learning_rate=.001", "eval_steps=1", "warmup_ratio=0")
)


@pytest.fixture(scope="module")
def mixed(tiny: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A finished run with an arm of each method."""
    recipe = tiny(ARMS, *QUICK)
    out = tmp_path_factory.mktemp("mixed") / "run"
    run_recipe(recipe, out, jobs=1, listener=lambda _: None)
    return Context(recipe, out, 3)


def test_each_method_waits_for_what_it_learns_from(tiny: Callable[..., Any], tmp_path: Path) -> None:
    plan = {spec.name: spec for spec in plan_run(tiny(ARMS, *QUICK), tmp_path, 3)}
    arms = [name for name in plan if name.startswith(("ppo-", "dpo-", "figa-", "best_of_n-", "outputs-"))]
    assert arms == [
        "outputs-sft", "outputs-best", "ppo-token", "outputs-token", "dpo-dpo_edits", "outputs-dpo_edits",
        "dpo-dpo_comparisons", "outputs-dpo_comparisons", "figa-figa", "outputs-figa",
    ]  # fmt: skip
    assert set(plan["outputs-best"].needs) == {"reference", "reward-token_edits"}
    assert set(plan["dpo-dpo_edits"].needs) == set(plan["figa-figa"].needs) == {"reference", "align"}
    assert plan["outputs-figa"].needs == ("figa-figa",)
    align = tmp_path / "align"
    assert plan["dpo-dpo_edits"].inputs["pairs"] == align / "edits_train.jsonl"
    assert plan["dpo-dpo_comparisons"].inputs["pairs"] == align / "comparisons_train.jsonl"
    assert [key for key in plan["evaluate"].inputs if key.startswith("metrics-")] == ["metrics-token"]


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("ppo.kl_coef=.5", {"ppo-token"}),
        ("dpo.beta=.5", {"dpo-dpo_edits", "dpo-dpo_comparisons"}),
        ("arms.dpo_edits.dpo.beta=.5", {"dpo-dpo_edits"}),
        ("arms.dpo_comparisons.pairs=edits", {"dpo-dpo_comparisons"}),
        ("figa.kept=.5", {"figa-figa"}),
        ("best_of_n.token_score=sum", {"outputs-best"}),
        ("arms.best.best_of_n.n=4", {"outputs-best"}),
    ],
)
def test_a_key_of_a_method_moves_only_its_arms(
    override: str, changed: set[str], tiny: Callable[..., Any], tmp_path: Path
) -> None:
    before, after = (plan_run(tiny(ARMS, *QUICK, *more), tmp_path, 3) for more in ((), (override,)))
    assert {b.name for a, b in zip(before, after, strict=True) if a.config != b.config} == changed


@pytest.mark.slow
def test_all_arms_stand_in_one_set_of_results(mixed: Context) -> None:
    results = read_json(mixed.root / "results.json")
    arms = ["best", "token", "dpo_edits", "dpo_comparisons", "figa"]
    assert list(results["win_rate"]) == ["sft", *arms]
    assert list(results["methods"]) == arms
    assert len(results["win_rate_difference"]) == 10 + 5
    assert {key: value for key, value in results.items() if key.startswith("efficiency")} == {"efficiency": None}
    for arm in arms:
        assert len(list(read_jsonl(mixed.paths.outputs(arm), Response))) == 12
    for arm in ("dpo_edits", "dpo_comparisons", "figa"):
        assert (mixed.paths.policy(arm) / "model.safetensors").is_file()
    assert mixed.paths.policy("best") == mixed.paths.sft_policy


@pytest.mark.slow
def test_costs_are_those_of_the_stages(mixed: Context) -> None:
    costs = arm_costs(mixed)
    align = read_json(mixed.root / "align" / "manifest.json")["notes"]["pairs"]
    seconds = {path.parent.name: read_json(path)["seconds"] for path in mixed.root.glob("*/manifest.json")}
    best, token, dpo, figa = (costs[arm] for arm in ("best", "token", "dpo_comparisons", "figa"))
    assert (best.method, best.pairs, best.train_pairs) == ("best_of_n", "edits", align["edits_train"])
    assert best.reward_seconds == token.reward_seconds == seconds["reward-token_edits"]
    assert (best.training_seconds, best.responses_per_prompt, best.sampled_in_training) == (0, 3, 0)
    assert 0 < best.answer_seconds < seconds["outputs-best"]
    assert best.kl_bound == pytest.approx(math.log(3) - 2 / 3)
    assert 0 <= best.validation_win_rate <= 100
    assert token.sampled_in_training == 3 * 16
    assert (token.training_seconds, token.answer_seconds) == (seconds["ppo-token"], seconds["outputs-token"])
    rows = [json.loads(line) for line in (mixed.root / "ppo-token" / "metrics.jsonl").read_text().splitlines()]
    assert token.kl == rows[int(token.step or 0)]["eval/kl"]
    assert token.validation_win_rate == rows[int(token.step or 0)]["eval/win_rate"]
    assert (dpo.pairs, dpo.train_pairs) == ("comparisons", align["comparisons_train"])
    assert (dpo.reward_seconds, dpo.sampled_in_training) == (0, 0)
    assert figa.step in (0, 1, 2)
    assert figa.kl is not None


@pytest.mark.slow
def test_the_same_answers_were_sampled_as_the_evaluation_seed_gives(mixed: Context) -> None:
    counts = read_json(mixed.root / "outputs-best" / "manifest.json")["notes"]["best_of_n"]
    assert counts["evaluation"]["responses"] == 12
    assert counts["evaluation"]["sampled"] == 36
    assert counts["validation"]["sampled"] == 24
    assert counts["evaluation"]["best_score"] > counts["evaluation"]["mean_score"]
    assert {row.model for row in read_jsonl(mixed.root / "outputs-best" / "validation.jsonl", Response)} == {"best"}


@pytest.mark.slow
def test_one_report_has_all_methods(mixed: Context) -> None:
    page = (mixed.root / "report.html").read_text(encoding="utf-8")
    for said in ("best of 3", "DPO", "FIGA-style fine-tuning", "Methods on the same pairs: costs and use"):
        assert said in page


def shipped(name: str) -> dict[str, Any]:
    data: dict[str, Any] = load_yaml(shipped_recipe(name).read_text(encoding="utf-8"))
    return data


@pytest.mark.parametrize("name", ["methods", "recommended"])
def test_recipes_of_methods_differ_from_the_study_by_what_they_add_and_by_seeds(name: str) -> None:
    methods, study = shipped(name), shipped("study")
    own = {"name", "seeds", "arms", "reward_models", "grpo", "best_of_n", "dpo", "figa"}
    assert {key: value for key, value in methods.items() if key not in own} == {
        key: value for key, value in study.items() if key not in own
    }
    for section in ("arms", "reward_models"):
        assert {key: methods[section][key] for key in study[section]} == study[section]
    assert not set(methods["seeds"]) & {*study["seeds"], 1, 2}


def test_the_quickstart_takes_the_best_way_as_the_table_of_methods_has_it() -> None:
    chosen, methods = load_recipe(shipped_recipe("recommended")), load_recipe(shipped_recipe("methods"))
    for arm in ("figa", "figa_apo"):
        assert (chosen.arms[arm].start, chosen.options(arm)) == (methods.arms[arm].start, methods.options(arm))


def run(rate: float, accuracy: float, auroc: float | None, ratio: float | None) -> RunResults:
    error = {"standard_error": 1.0, "n": 600}
    speed = {
        "token_step": None if ratio is None else round(20 * ratio), "sequence_step": 20, "ratio": ratio,
        "token_seconds": None, "sequence_seconds": 9.0,
    }  # fmt: skip
    never = {**speed, "ratio": None, "token_step": None}
    return RunResults.model_validate(
        {
            "name": "mine",
            "seed": 1,
            "win_rate": {
                "token": {"value": rate, "mean_length": rate / 2, "wins": 1, "losses": 1, "draws": 1, **error}
            },
            "win_rate_difference": {"token-edits": {"value": rate - 50, **error}},
            "reward_accuracy": {"token_edits": {"edits": {"value": accuracy, **error}}},
            "localisation": {"token_edits": {"auroc": auroc}},
            "efficiency": {"arm": "edits", **speed},
            "efficiency_preference": {"arm": "preference", **never},
            "flaws": None,
            "recipe_sha256": "0f",
            "methods": {},
            "warnings": (),
            "stages": {"sft": {"seconds": 1.0}},
        }
    )


@pytest.fixture
def summary() -> dict[str, Any]:
    """Ratios .2, .6, never: the seed that never got there is the slowest of the three."""
    return summarise([run(50, 80, 0.7, 0.2), run(52, 80, None, 0.6), run(57, 80, 0.9, None)]).model_dump()


def test_means_have_students_intervals_over_seeds(summary: dict[str, Any]) -> None:
    # Mean (50 + 52 + 57) / 3 = 53; deviations -3, -1, 4; variance 26 / 2 = 13; t(.975, 2) = 4.3027.
    half = 4.302653 * math.sqrt(13 / 3)
    entry = summary["win_rate"]["token"]
    assert entry["value"] == pytest.approx(53)
    assert (entry["low"], entry["high"]) == (pytest.approx(53 - half), pytest.approx(53 + half))
    assert entry["per_seed"] == (50, 52, 57)
    assert summary["win_rate_difference"]["token-edits"]["value"] == pytest.approx(3)
    assert summary["win_rate_difference"]["token-edits"]["low"] == pytest.approx(3 - half)
    assert summary["mean_length"]["token"]["value"] == pytest.approx(26.5)


def test_equal_values_have_an_interval_of_no_width(summary: dict[str, Any]) -> None:
    entry = summary["reward_accuracy"]["token_edits"]["edits"]
    assert (entry["low"], entry["value"], entry["high"]) == (80, 80, 80)


def test_a_measure_that_a_seed_lacks_has_no_mean(summary: dict[str, Any]) -> None:
    assert summary["localisation"]["token_edits"]["auroc"] is None


def test_a_seed_without_a_ratio_counts_as_slower_than_any_that_has_one(summary: dict[str, Any]) -> None:
    assert summary["efficiency"] == {
        "arm": "edits",
        "ratio_median": 0.6,
        "ratios": (0.2, 0.6, None),
        "token_steps": (4, 12, None),
        "sequence_steps": (20, 20, 20),
    }


def test_where_half_of_the_seeds_or_more_never_got_there_the_median_is_never(summary: dict[str, Any]) -> None:
    assert summary["efficiency_preference"]["ratio_median"] is None
    # Of two seeds, .2 and never: the middle of a number and infinity is infinity.
    two = summarise([run(50, 80, 0.7, 0.2), run(57, 80, 0.9, None)])
    assert two.efficiency is not None
    assert two.efficiency.ratio_median is None


def measured(accepted: float, words: float | None) -> dict[str, Any]:
    amount = None if words is None else {"value": words}
    figures = {"accepted": {"value": accepted}, "edits": {"value": 2.0}, "words": amount}
    return {**figures, "answers": 4, "prompts": 4, "empty": 0, "cut_off": 0, "unedited": 0}


def edited_run(rate: float, **measures: Any) -> RunResults:
    return RunResults.model_validate({**run(rate, 80, 0.7, 0.2).model_dump(), **measures})


def test_edits_still_needed_and_gleu_have_means_over_seeds() -> None:
    def of_seed(accepted: float, words: float | None, score: float) -> RunResults:
        gap = {"accepted": {"value": accepted - 5}, "edits": None, "words": {"value": -1.0}, "prompts": 4}
        needed = {
            "editors": ["ann"],
            "policies": {"token": measured(accepted, words)},
            "differences": {"token-sft": gap},
        }
        scores = {"n": 4, "policies": {"token": {"value": score}}, "differences": {"token-sft": {"value": score - 30}}}
        return edited_run(50, edits_needed=needed, gleu=scores)

    summary = summarise([of_seed(10, 8, 40), of_seed(12, None, 41), of_seed(17, 6, 45)])
    half = 4.302653 * math.sqrt(13 / 3)  # as of win rates that lie as far apart
    accepted = summary.edits_needed["token"]["accepted"]
    assert accepted is not None
    assert accepted.value == pytest.approx(13)
    assert accepted.interval == (pytest.approx(13 - half), pytest.approx(13 + half))
    assert summary.edits_needed["token"]["words"] is None  # a seed lacks it
    differences = summary.edits_needed_difference["token-sft"]
    assert {name: one and one.value for name, one in differences.items()} == {"accepted": 8, "edits": None, "words": -1}
    assert summary.gleu["token"] is not None
    assert summary.gleu["token"].per_seed == (40, 41, 45)
    assert summary.gleu_difference["token-sft"] is not None
    assert summary.gleu_difference["token-sft"].value == pytest.approx(12)


def test_seeds_that_nobody_edited_have_no_such_means() -> None:
    summary = summarise([edited_run(50), edited_run(52)])
    assert (summary.edits_needed, summary.edits_needed_difference, summary.gleu) == ({}, {}, {})
