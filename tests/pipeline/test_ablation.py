"""Ablations from recipe to `ablations.json`: as if every variant had been run alone, but each stage once."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from redpencil.digests import hash_input
from redpencil.errors import RedpencilError
from redpencil.evaluation.statistics import Estimate
from redpencil.pipeline.ablation import (
    RECIPE,
    RESULTS,
    Finished,
    _with_own_cache,
    compare,
    link,
    measures,
    over_seeds,
    run_ablations,
    share,
    to_compute,
    win_rate_difference,
)
from redpencil.pipeline.asking import cache_file
from redpencil.pipeline.context import Context
from redpencil.pipeline.execute import Event, Listener, StageSpec, execute, perform
from redpencil.pipeline.plan import plan_run
from redpencil.pipeline.run import locked_folder, run_recipe
from redpencil.recipe import Ablations, load_ablations
from redpencil.records import Comparison, Preference, write_jsonl
from redpencil.results import RunResults
from redpencil.runs import environment, fingerprint, is_complete

GROUPS: dict[str, Any] = {
    "loss": {"eq4": {}, "eq3": {"reward.loss": "eq3"}},
    "quality": {"as it is": {}, "worse": {"world.edit_slip": 0.5}},
}
NEW = {
    "loss/eq3": ["reward-token_edits", "ppo-token", "outputs-token", "judge", "needed", "evaluate"],
    "quality/worse": [
        *("world", "annotations", "align", "reward-token_edits", "ppo-token", "outputs-token", "judge", "needed"),
        "evaluate",
    ],
}
BASE = [
    *("world", "sft", "reference", "samples", "outputs-sft", "annotations", "align", "reward-token_edits", "ppo-token"),
    *("outputs-token", "judge", "needed", "evaluate"),
]


class Log:
    """Keeps what was done; `stop_at` is a stage at whose start a person interrupts."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.done: list[str] = []
        self.totals: list[int] = []
        self.stop_at = stop_at

    @contextmanager
    def listening(self, total: int) -> Iterator[Listener]:
        self.totals.append(total)
        yield self.listen

    def listen(self, event: Event) -> None:
        if event.happening == "started" and event.stage == self.stop_at:
            raise KeyboardInterrupt
        if event.happening == "done":
            self.done.append(event.stage)


@pytest.fixture(scope="module")
def recipe(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tiny("arms={token: {reward_model: token_edits}}", "reward_models={token_edits: {pairs: edits}}")
    path = tmp_path_factory.mktemp("ablations") / "mine.yaml"
    content = {"base": base.model_dump(mode="json", exclude_unset=True), "name": "mine", "groups": GROUPS}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def ablations(recipe: Path) -> Ablations:
    return load_ablations(recipe, (3, 4))


@pytest.fixture(scope="module")
def ablated(ablations: Ablations, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Log]:
    """Folder, results and log of finished ablations. Tests must not change them."""
    out, log = tmp_path_factory.mktemp("ablated") / "mine", Log()
    results = run_ablations(ablations, out, listening=log.listening, jobs=1).model_dump()
    return out, results, log


def keys(variants: dict[str, list[str]], *seeds: int) -> list[str]:
    return sorted(
        f"{label}/seed-{seed}/{name}" for label, names in variants.items() for name in names for seed in seeds
    )


@pytest.mark.slow
def test_every_stage_is_computed_once(ablated: tuple[Path, dict[str, Any], Log]) -> None:
    _, _, log = ablated
    assert sorted(log.done) == keys({"base": BASE, **NEW}, 3, 4)
    assert log.totals == [4, len(log.done) - 4]


@pytest.mark.slow
@pytest.mark.parametrize("label", ["loss/eq3", "quality/worse"])
def test_a_variant_gets_the_results_of_a_run_of_its_own(
    label: str,
    ablated: tuple[Path, dict[str, Any], Log],
    ablations: Ablations,
    tmp_path: Path,
    without_timings: Callable[[Any], Any],
) -> None:
    group, name = label.split("/")
    alone = ablations.groups[group][name].model_copy(update={"seeds": (4,)})
    run_recipe(alone, tmp_path / "alone", jobs=1, listener=lambda _: None)
    ours, its_own = (
        json.loads((folder / "results.json").read_text())
        for folder in (ablated[0] / label / "seed-4", tmp_path / "alone")
    )
    assert without_timings(ours) == without_timings(its_own)
    assert (ablated[0] / label / "seed-4" / "report.html").is_file()


@pytest.mark.slow
def test_the_results_are_those_of_the_runs(ablated: tuple[Path, dict[str, Any], Log]) -> None:
    out, results, _ = ablated
    assert json.loads((out / RESULTS).read_text()) == json.loads(json.dumps(results))
    assert results["environment"]["versions"] == environment()["versions"]
    assert list(results["groups"]) == ["loss", "quality"]
    for group, rows in results["groups"].items():
        first = next(iter(rows))
        for name, row in rows.items():
            runs = [json.loads((out / group / name / f"seed-{n}" / "results.json").read_text()) for n in (3, 4)]
            rates = [run["win_rate"]["token"]["value"] for run in runs]
            assert list(row["measures"]["win_rate"]["per_seed"]) == rates
            assert math.isclose(row["measures"]["win_rate"]["value"], sum(rates) / 2)
            assert row["compared_with"] == (None if name == first else first)
            assert row["same_as"] == ("base" if name == first else None)
            assert row["keys"] == GROUPS[group][name]
            words = [run["edits_needed"]["policies"]["token"]["words"]["value"] for run in runs]
            assert list(row["measures"]["needed_words"]["per_seed"]) == words
        gap = rows[list(rows)[1]]["differences"]["win_rate"]["per_seed"]
        one, other = (row["measures"]["win_rate"]["per_seed"] for row in rows.values())
        assert gap == pytest.approx([b - a for a, b in zip(one, other, strict=True)])


@pytest.mark.slow
def test_again_nothing_is_computed_and_the_results_are_the_same(
    ablated: tuple[Path, dict[str, Any], Log], ablations: Ablations
) -> None:
    log = Log()
    again = run_ablations(ablations, ablated[0], listening=log.listening, jobs=1)
    assert log.done == []
    assert again.model_dump() == ablated[1]


@pytest.mark.slow
def test_ablations_that_were_stopped_continue(
    recipe: Path, ablated: tuple[Path, dict[str, Any], Log], tmp_path: Path
) -> None:
    one_seed = load_ablations(recipe, (3,))
    first, second = Log("loss/eq3/seed-3/ppo-token"), Log()
    with pytest.raises(KeyboardInterrupt):
        run_ablations(one_seed, tmp_path / "out", listening=first.listening, jobs=1)
    assert not (tmp_path / "out" / RESULTS).exists()
    run_ablations(one_seed, tmp_path / "out", listening=second.listening, jobs=1)
    assert sorted(first.done + second.done) == keys({"base": BASE, **NEW}, 3)
    same = [json.loads((out / "quality/worse/seed-3/judge/token.jsonl").read_text().splitlines()[0])
            for out in (tmp_path / "out", ablated[0])]  # fmt: skip
    assert same[0] == same[1]


@pytest.mark.slow
def test_one_group_needs_the_base_and_itself(recipe: Path, tmp_path: Path) -> None:
    log = Log()
    one_seed = load_ablations(recipe, (3,))
    results = run_ablations(one_seed, tmp_path / "out", listening=log.listening, jobs=1, only=["quality"]).model_dump()
    assert sorted(log.done) == keys({"base": BASE, "quality/worse": NEW["quality/worse"]}, 3)
    assert list(results["groups"]) == ["quality"]
    row = results["groups"]["quality"]["worse"]
    assert row["measures"]["win_rate"]["low"] < row["measures"]["win_rate"]["value"]
    assert row["differences"]["accuracy_edits"]["low"] is None


@pytest.mark.slow
def test_the_recipe_in_the_folder_makes_the_same_runs(
    ablated: tuple[Path, dict[str, Any], Log], ablations: Ablations
) -> None:
    read = load_ablations(ablated[0] / RECIPE)
    assert read.base == ablations.base
    assert read.groups == ablations.groups


def test_a_group_that_is_not_there_is_an_error(ablations: Ablations, tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="no group called 'los'") as caught:
        run_ablations(ablations, tmp_path / "out", listening=Log().listening, only=["loss", "los"])
    assert caught.value.hint == "one of: loss, quality"
    assert not (tmp_path / "out").exists()


def test_a_folder_with_anything_else_is_left_alone(ablations: Ablations, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("a run of its own\n")
    with pytest.raises(RedpencilError, match="holds no ablations"):
        run_ablations(ablations, tmp_path, listening=Log().listening)
    (tmp_path / RECIPE).write_text("by hand\n")
    with pytest.raises(RedpencilError, match="holds no ablations"):
        run_ablations(ablations, tmp_path, listening=Log().listening)
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECIPE, "recipe.yaml"]


def test_two_at_once_in_one_folder_are_refused(ablations: Ablations, tmp_path: Path) -> None:
    with locked_folder(tmp_path), pytest.raises(RedpencilError, match="another run is using this folder"):
        run_ablations(ablations, tmp_path, listening=Log().listening)


@pytest.mark.slow
def test_a_users_own_files_are_looked_at_first(files_recipe: Callable[..., Path], tmp_path: Path) -> None:
    own = files_recipe()
    path = tmp_path / "ablations.yaml"
    base = {"arms": {"token": {"reward_model": "token_edits"}}, "reward_models": {"token_edits": {"pairs": "edits"}}}
    groups = {"data": {"all": {}, "missing": {"files.edits": "nowhere.jsonl"}}}
    path.write_text(yaml.safe_dump({"base": own.name, "overrides": base, "groups": groups}))
    with pytest.raises(RedpencilError, match=r"nowhere\.jsonl"):
        run_ablations(load_ablations(path), tmp_path / "out", listening=Log().listening, jobs=1)
    groups["data"]["missing"] = {"reward.loss": "eq3"}
    path.write_text(yaml.safe_dump({"base": own.name, "overrides": base, "groups": groups}))
    log = Log()
    results = run_ablations(load_ablations(path), tmp_path / "out", listening=log.listening, jobs=1).model_dump()
    assert sorted(name for name in log.done if not name.startswith("base/")) == keys(
        {"data/missing": ["reward-token_edits", "ppo-token", "outputs-token", "judge", "evaluate"]}, 3
    )
    assert results["groups"]["data"]["all"]["same_as"] == "base"


F, T, S = Preference.FIRST, Preference.TIE, Preference.SECOND


def judged(root: Path, *preferences: Preference, prompts: str = "prompt") -> Path:
    rows = [Comparison(str(n), f"{prompts} {n}", "ours", "theirs", p) for n, p in enumerate(preferences)]
    (root / "judge").mkdir(parents=True)
    write_jsonl(root / "judge" / "token.jsonl", rows)
    return root


def test_over_seeds_is_a_t_interval() -> None:
    """50, 52, 57: mean 53, variance ((-3)^2 + (-1)^2 + 4^2) / 2 = 13, standard error sqrt(13 / 3), t(2) = 4.3027."""
    found = over_seeds([Estimate(value, error, 600) for value, error in ((50, 2), (52, 3), (57, 6))])
    assert found.value == 53
    assert found.interval is not None
    low, high = found.interval
    assert high - 53 == 53 - low == pytest.approx(4.302652729749 * math.sqrt(13 / 3))
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 2, loc=53, scale=stats.sem([50, 52, 57])))
    assert found.per_seed == (50, 52, 57)
    assert found.standard_error == pytest.approx(math.sqrt(2**2 + 3**2 + 6**2) / 3)  # 7/3


def test_one_seed_has_an_interval_over_prompts_where_that_is_known() -> None:
    found = over_seeds([Estimate(50, 2, 600)])
    assert found.interval == pytest.approx((50 - 2 * 1.959964, 50 + 2 * 1.959964))
    assert over_seeds([Estimate(0.7, math.nan, 1)]).interval is None


def test_a_difference_in_win_rate_is_paired_over_prompts(tmp_path: Path) -> None:
    """Scores 1 1 .5 0 against 0 1 0 0: differences 1 0 .5 0, mean 37.5 %; their deviation sqrt(.6875 / 3) = .4787."""
    ours, theirs = judged(tmp_path / "ours", F, F, T, S), judged(tmp_path / "theirs", S, F, S, S)
    found = win_rate_difference(ours, theirs, "token")
    assert (found.value, found.n) == (37.5, 4)
    assert found.standard_error == pytest.approx(100 * math.sqrt(0.6875 / 3) / 2)
    assert win_rate_difference(theirs, ours, "token").value == -37.5


def test_other_prompts_cannot_be_paired(tmp_path: Path) -> None:
    ours, theirs = judged(tmp_path / "ours", F, F, T, S), judged(tmp_path / "theirs", S, F, prompts="other")
    found = win_rate_difference(ours, theirs, "token")
    assert found.value == 62.5 - 50
    assert math.isnan(found.standard_error)


COSTS: dict[str, Any] = {
    "method": "ppo", "label": "PPO", "stage": "ppo-token", "pairs": "edits", "train_pairs": 4, "reward_seconds": 1.0,
    "training_seconds": 1.0, "sampled_in_training": 8, "responses_per_prompt": 1, "answer_seconds": 1.0, "step": 2,
    "validation_win_rate": 50.0, "kl": 1.5, "kl_bound": None,
}  # fmt: skip


def results(
    win_rate: float,
    *,
    accuracy: float = 70.0,
    auroc: float | None = 0.6,
    kl: float | None = 1.5,
    raised: tuple[str, ...] = (),
) -> RunResults:
    rate = {"value": win_rate, "standard_error": 2.0, "n": 600, "mean_length": 20.0, "wins": 1, "losses": 1, "draws": 1}
    raising = {"where": "token", "message": "m", "value": 2.0, "threshold": 1.0, "step": None, "advice": "a"}
    return RunResults.model_validate(
        {
            "name": "mine",
            "seed": 1,
            "win_rate": {"token": rate, "sft": {**rate, "value": 30.0}},
            "win_rate_difference": {},
            "reward_accuracy": {"token_edits": {"edits": {"value": accuracy, "standard_error": None, "n": 1}}},
            "localisation": {"token_edits": {"auroc": auroc}, "other": {"auroc": 0.1}},
            "flaws": None,
            "recipe_sha256": "0f",
            "methods": {"token": COSTS | {"kl": kl}},
            "warnings": (),
            "stages": {},
            "diagnostics": [{"name": name, **raising} for name in raised],
        }
    )


def test_what_is_not_there_is_left_out() -> None:
    found = measures(results(50.0), "token", "token_edits")
    assert {name: estimate.value for name, estimate in found.items()} == {
        "win_rate": 50.0, "accuracy_edits": 70.0, "mean_length": 20.0, "kl": 1.5, "auroc": 0.6
    }  # fmt: skip
    assert "auroc" not in measures(results(50.0, auroc=None), "token", "token_edits")
    assert set(measures(results(50.0, kl=None), "token", None)) == {"win_rate", "mean_length"}


def test_what_the_answers_still_need_is_a_measure_too() -> None:
    ranged = {"value": 40.0, "low": 40 - 1.96, "high": 40 + 1.96}
    counts = {"answers": 9, "prompts": 9, "empty": 0, "cut_off": 0, "unedited": 0}
    policies = {"token": {"accepted": ranged, "edits": {"value": 3.0}, "words": None, **counts}}
    measured = {
        "edits_needed": {"editors": ["world"], "policies": policies, "differences": {}},
        "gleu": {"n": 9, "policies": {"token": {**ranged, "value": 41.0}}, "differences": {}},
    }
    found = measures(RunResults.model_validate(results(50.0).model_dump() | measured), "token", None)
    needs = {name: found[name] for name in found if name.startswith(("needed", "gleu"))}
    assert {name: row.value for name, row in needs.items()} == {
        "gleu": 41.0, "needed_accepted": 40.0, "needed_edits": 3.0
    }  # fmt: skip
    assert needs["gleu"].standard_error == pytest.approx(1.0, rel=1e-3)
    assert math.isnan(needs["needed_edits"].standard_error)


@pytest.fixture
def ablations_ablation_results(tmp_path: Path) -> Ablations:
    path = tmp_path / "mine.yaml"
    groups = {"g": {"first": {}, "second": {"reward.loss": "eq3"}}, "left out": {"a": {}, "b": {"sft.max_steps": 3}}}
    path.write_text(yaml.safe_dump({"base": {"world": {}}, "seeds": [1, 2], "groups": groups}))
    return load_ablations(path)


def test_variants_are_compared_with_the_first_seed_by_seed(
    ablations_ablation_results: Ablations, tmp_path: Path
) -> None:
    def finished(name: str, verdicts: Any, rows: Any, same_as: str | None = None) -> Finished:
        roots = {seed: judged(tmp_path / name / str(seed), *verdicts[seed]) for seed in (1, 2)}
        return Finished(ablations_ablation_results.groups["g"][name], roots, rows, same_as)

    runs = {
        "g/first": finished(
            "first",
            {1: (S, S), 2: (F, S)},
            {1: results(0.0, accuracy=60, raised=("kl", "kl")), 2: results(50.0)},
            "base",
        ),
        "g/second": finished(
            "second", {1: (F, S), 2: (F, F)}, {1: results(50.0, accuracy=75), 2: results(100.0, auroc=None)}
        ),
    }
    found = compare(ablations_ablation_results, ["g"], runs).model_dump()
    assert (found["arm"], found["seeds"], found["sft"]["per_seed"]) == ("token", (1, 2), (30.0, 30.0))
    assert list(found["groups"]) == ["g"]
    first, second = found["groups"]["g"]["first"], found["groups"]["g"]["second"]
    assert (first["same_as"], first["compared_with"], first["differences"], first["diagnostics"]) == (
        "base", None, {}, {"kl": (1,)}
    )  # fmt: skip
    assert (second["same_as"], second["compared_with"], second["keys"]) == (None, "first", {"reward.loss": "eq3"})
    gap = second["differences"]["win_rate"]
    assert (gap["per_seed"], gap["value"], gap["low"], gap["high"]) == ((50.0, 50.0), 50.0, 50.0, 50.0)
    assert second["differences"]["accuracy_edits"]["per_seed"] == (75.0 - 60.0, 70.0 - 70.0)
    assert "auroc" not in second["measures"]
    assert "auroc" not in second["differences"]
    assert first["measures"]["auroc"]["value"] == 0.6


def test_of_several_rounds_the_last_one_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    groups = {"rounds": {"one": {}, "two": {"rounds": 2}}}
    path.write_text(yaml.safe_dump({"base": {"world": {}}, "seeds": [1], "groups": groups}))
    ablations = load_ablations(path)
    one, two = judged(tmp_path / "one", S, F, S, S), judged(tmp_path / "two", S, S, S, S)
    write_jsonl(two / "judge" / "token_2.jsonl", [Comparison(str(n), f"prompt {n}", "a", "b", F) for n in range(4)])
    first, last = results(25.0), results(0.0)
    of_last = {"token_2": last.win_rate["token"].model_copy(update={"value": 100.0})}
    accuracy = {"token_edits_token_2": {"edits": last.reward_accuracy["token_edits"]["edits"]}}
    last = last.model_copy(
        update={
            "win_rate": last.win_rate | of_last,
            "methods": {**last.methods, "token_2": last.methods["token"].model_copy(update={"kl": 0.5})},
            "reward_accuracy": {"token_edits": {}, **accuracy},
        }
    )
    runs = {
        "rounds/one": Finished(ablations.groups["rounds"]["one"], {1: one}, {1: first}),
        "rounds/two": Finished(ablations.groups["rounds"]["two"], {1: two}, {1: last}),
    }
    found = compare(ablations, ["rounds"], runs).model_dump()["groups"]["rounds"]["two"]
    assert found["measures"]["win_rate"]["value"] == 100
    assert (found["measures"]["kl"]["value"], found["measures"]["accuracy_edits"]["value"]) == (0.5, 70)
    assert found["differences"]["win_rate"]["value"] == 75.0


@pytest.fixture(autouse=True)
def _toy_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)


def stage(
    root: Path, name: str, config: object = 0, *, needs: tuple[str, ...] = (), seed: int = 1, **inputs: Path
) -> StageSpec:
    run = root.name
    reads = {need: root / need / "out.txt" for need in needs}
    return StageSpec(
        f"{run}/{name}", name, root / name, seed, tuple(f"{run}/{need}" for need in needs),
        {"config": config}, {**reads, **inputs}, "toy_stages:write", None,  # type: ignore[arg-type]
    )  # fmt: skip


def chain(root: Path, *configs: object, seed: int = 1) -> list[StageSpec]:
    """Stages a, b, c, ... each reading the one before it."""
    names = "abcdef"[: len(configs)]
    return [
        stage(root, name, config, needs=(names[number - 1],) if number else (), seed=seed)
        for number, (name, config) in enumerate(zip(names, configs, strict=True))
    ]


def owners_of(*runs: list[StageSpec]) -> dict[str, str]:
    return {key: owner.key for key, owner in share([spec for run in runs for spec in run]).items()}


def test_a_stage_is_shared_until_something_before_it_differs(tmp_path: Path) -> None:
    base, other = chain(tmp_path / "base", 0, 0, 0), chain(tmp_path / "other", 0, 1, 0)
    assert owners_of(base, other) == {
        "base/a": "base/a", "base/b": "base/b", "base/c": "base/c",
        "other/a": "base/a", "other/b": "other/b", "other/c": "other/c",
    }  # fmt: skip


def test_what_differs_from_the_base_may_be_shared_with_another(tmp_path: Path) -> None:
    runs = [chain(tmp_path / name, 0, config) for name, config in (("base", 0), ("one", 1), ("two", 1))]
    assert owners_of(*runs)["two/b"] == "one/b"


def test_seeds_share_nothing(tmp_path: Path) -> None:
    runs = chain(tmp_path / "base", 0, 0), chain(tmp_path / "other", 0, 0, seed=2)
    assert all(key == owner for key, owner in owners_of(*runs).items())


def test_the_same_input_under_another_name_is_another_input(tmp_path: Path) -> None:
    base = [stage(tmp_path / "base", "a"), stage(tmp_path / "base", "b", x=tmp_path / "base" / "a" / "out.txt")]
    other = [stage(tmp_path / "other", "a"), stage(tmp_path / "other", "b", y=tmp_path / "other" / "a" / "out.txt")]
    deeper = [stage(tmp_path / "d", "a"), stage(tmp_path / "d", "b", x=tmp_path / "d" / "a" / "else.txt")]
    found = owners_of(base, other, deeper)
    assert (found["other/a"], found["other/b"], found["d/a"], found["d/b"]) == ("base/a", "other/b", "base/a", "d/b")


def test_what_lies_outside_counts_by_its_content(tmp_path: Path) -> None:
    one, same, changed = (tmp_path / name for name in ("one", "same", "changed"))
    for path, text in ((one, "text"), (same, "text"), (changed, "texts")):
        path.write_text(text)
    runs = [[stage(tmp_path / path.stem.upper(), "a", given=path)] for path in (one, same, changed)]
    assert owners_of(*runs) == {"ONE/a": "ONE/a", "SAME/a": "ONE/a", "CHANGED/a": "CHANGED/a"}
    with pytest.raises(RedpencilError, match="no such file"):
        owners_of([stage(tmp_path / "x", "a", given=tmp_path / "nowhere")])


@given(st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=1, max_size=5))
def test_two_runs_share_a_stage_exactly_if_all_up_to_it_agree(configs: list[tuple[int, ...]]) -> None:
    runs = [chain(Path(f"/runs/{number}"), *config) for number, config in enumerate(configs)]
    found = owners_of(*runs)
    for number, config in enumerate(configs):
        for place, name in enumerate("abc"):
            twin = next(n for n, other in enumerate(configs) if other[: place + 1] == config[: place + 1])
            assert found[f"{number}/{name}"] == f"{twin}/{name}"


WORLD_TO_SAMPLES = {"world", "sft", "reference", "samples", "outputs-sft"}


@pytest.mark.parametrize(
    ("override", "shared"),
    [
        ("align.anchor=divergence", {*WORLD_TO_SAMPLES, "annotations"}),
        ("align.eos_in_changed=true", {*WORLD_TO_SAMPLES, "annotations"}),
        ("reward_models.token_edits.reward.loss=eq3", {*WORLD_TO_SAMPLES, "annotations", "align"}),
        ("arms.token.ppo.center_rewards=false", {*WORLD_TO_SAMPLES, "annotations", "align", "reward-token_edits"}),
        ("world.edit_slip=.4", {*WORLD_TO_SAMPLES} - {"world"}),
        ("world.edit_repair=.4", {*WORLD_TO_SAMPLES} - {"world"}),
        ("world.comparisons=30", {"sft", "reference", "outputs-sft"}),
        ("world.reference_steps=11", {"sft", "samples", "outputs-sft", "annotations", "align", "reward-token_edits"}),
        ("world.facts_seed=1", set()),
        ("sft.max_steps=9", {"world"}),
        ("threads=2", None),
    ],
)
def test_what_a_key_leaves_as_it_was(override: str, shared: set[str] | None, tiny: Any, tmp_path: Path) -> None:
    """In a world only its first stage is there to be hashed, as when ablations begin."""
    only = ("arms={token: {reward_model: token_edits}}", "reward_models={token_edits: {pairs: edits}}")
    runs = {name: plan_run(tiny(*only, *keys), tmp_path / name, 3, f"{name}/") for name, keys in
            (("base", ()), ("other", (override,)))}  # fmt: skip
    every = [spec for run in runs.values() for spec in run]
    worlds = [spec for spec in every if not spec.needs]
    found = share(worlds)
    link(worlds, found)
    execute(to_compute(found, worlds), jobs=1, listener=lambda _: None)
    found |= share([spec for spec in every if spec.needs])
    ours = {
        key.removeprefix("other/") for key, owner in found.items() if key.startswith("other/") and "base/" in owner.key
    }
    assert ours == ({spec.name for spec in runs["base"]} if shared is None else shared)


def run(*runs: list[StageSpec], wanted: list[StageSpec] | None = None) -> list[str]:
    """Link, compute; the keys of what was computed."""
    every = [spec for each in runs for spec in each]
    owners = share(every)
    link(every, owners)
    computed: list[str] = []
    for spec in to_compute(owners, every if wanted is None else wanted):
        computed += [spec.key] if perform(spec, lambda _: None) == "done" else []
    return computed


def complete(spec: StageSpec) -> bool:
    hashes: Mapping[str, str] = {name: hash_input(path) for name, path in spec.inputs.items()}
    return is_complete(spec.folder, fingerprint(spec.name, spec.seed, spec.config, hashes))


def test_each_stage_is_computed_once_and_found_complete_by_all(tmp_path: Path) -> None:
    base, other = chain(tmp_path / "base", 0, 0, 0), chain(tmp_path / "other", 0, 0, 1)
    assert run(base, other) == ["base/a", "base/b", "base/c", "other/c"]
    assert all(complete(spec) for spec in (*base, *other))
    assert [spec.folder.is_symlink() for spec in other] == [True, True, False]
    assert str(other[0].folder.readlink()) == str(Path("..") / "base" / "a")
    assert run(base, other) == []


def test_folders_can_be_moved_together(tmp_path: Path) -> None:
    run(chain(tmp_path / "runs" / "base", 0), chain(tmp_path / "runs" / "other", 0))
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "other" / "a" / "out.txt").read_text() == "a"


def test_only_what_is_wanted_is_computed(tmp_path: Path) -> None:
    base, one, two = (chain(tmp_path / name, 0, config, 0) for name, config in (("base", 0), ("one", 1), ("two", 2)))
    assert run(base, one, two, wanted=two) == ["base/a", "two/b", "two/c"]


def test_a_stage_waits_for_the_owners_of_what_it_reads(tmp_path: Path) -> None:
    base, other = chain(tmp_path / "base", 0, 0, 0), chain(tmp_path / "other", 0, 0, 1)
    plan = {spec.key: spec.needs for spec in to_compute(share([*base, *other]), other)}
    assert plan == {"base/a": (), "base/b": ("base/a",), "other/c": ("base/b",)}
    later = [spec for spec in (*base, *other) if spec.needs]
    for spec in (base[0], other[0]):
        perform(spec, lambda _: None)
    assert {spec.key: spec.needs for spec in to_compute(share(later), later)}["base/b"] == ()


def test_a_stage_that_comes_to_differ_writes_into_a_folder_of_its_own(tmp_path: Path) -> None:
    base = chain(tmp_path / "base", 0, 0)
    run(base, chain(tmp_path / "other", 0, 0))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "base").rglob("*")}
    other = chain(tmp_path / "other", 0, 1)
    assert run(base, other) == ["other/b"]
    assert not other[1].folder.is_symlink()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "base").rglob("*")} == before


def test_a_stage_that_comes_to_be_shared_gives_up_its_own_folder(tmp_path: Path) -> None:
    base = chain(tmp_path / "base", 0, 0)
    run(base, chain(tmp_path / "other", 0, 1))
    other = chain(tmp_path / "other", 0, 0)
    assert run(base, other) == []
    assert other[1].folder.is_symlink()
    assert complete(other[1])


def test_a_link_that_points_elsewhere_is_set_right(tmp_path: Path) -> None:
    base, other = chain(tmp_path / "base", 0), chain(tmp_path / "other", 0)
    run(base, other)
    other[0].folder.unlink()
    other[0].folder.symlink_to(tmp_path)
    run(base, other)
    assert complete(other[0])


def test_what_redpencil_did_not_write_stays(tmp_path: Path) -> None:
    base, other = chain(tmp_path / "base", 0), chain(tmp_path / "other", 0)
    other[0].folder.mkdir(parents=True)
    (other[0].folder / "thesis.txt").write_text("years")
    with pytest.raises(RedpencilError, match="not written by redpencil"):
        run(base, other)
    assert (other[0].folder / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize(("key", "stage", "end"), [("judge", "judge", ""), ("editor", "needed", ".needed")])
def test_each_variant_has_a_response_cache_of_its_own(
    tiny: Any, tmp_path: Path, key: str, stage: str, end: str
) -> None:
    llm = (f"{key}={{provider: openai, model: m}}", f"{key}.cache={tmp_path / 'answers'}")
    recipes = [_with_own_cache(tiny(*llm), name) for name in ("loss-eq3", "loss-eq4")]
    contexts = [Context(recipe, tmp_path / "run", 3) for recipe in recipes]
    files = [cache_file(context, getattr(context.recipe, key), stage) for context in contexts]
    assert [file.name for file in files] == [f"answers.loss-eq3{end}", f"answers.loss-eq4{end}"]
    assert getattr(recipes[0], key).decides == getattr(tiny(*llm), key).decides  # so that stages stay shared
    for overrides in ((), ("judge={provider: openai, model: m}",)):
        assert _with_own_cache(tiny(*overrides), "a") == tiny(*overrides)
