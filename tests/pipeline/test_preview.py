"""What a run would do: which stages, and what is chosen where the recipe leaves it open."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redpencil.pipeline.preview import preview
from redpencil.recipe import load_recipe


def lines(recipe: Any, out: Path) -> dict[str, str]:
    """What is said last about each stage."""
    return dict(line.split(": ", 1) for line in preview(recipe, out))


def test_a_new_run_does_everything_and_leaves_nothing(tiny: Any, tmp_path: Path) -> None:
    said = list(preview(tiny(), tmp_path / "new"))
    assert said[0] == "world: to do"
    assert "evaluate: to do" in said
    # the world has no pairs yet to go by
    assert said[-1] == (
        "reward-sequence_comparisons: the values that are open are chosen when the pairs are there, after the stage "
        "align"
    )
    assert not (tmp_path / "new").exists()
    every = tiny("reward.learning_rate=1e-2", "reward.scale=1", "reward.num_train_epochs=2")
    assert lines(every, tmp_path / "new")["reward-token_edits"] == "all values are the recipe's"


def test_what_is_chosen_before_the_run_is_what_the_run_chose(tiny: Any, finished: Path) -> None:
    said = list(preview(tiny(), finished))
    assert "reward-token_edits: already complete" in said
    chosen = json.loads((finished / "reward-token_edits" / "manifest.json").read_text())["notes"]["chosen"]
    assert (chosen["pairs"], chosen["hidden_size"], chosen["num_train_epochs"]) == (chosen["pairs"], 16, 5)
    assert chosen["learning_rate"] == 0.01  # the recipe's
    assert lines(tiny(), finished)["reward-token_edits"] == (
        f"reward.num_train_epochs=5, reward.scale={chosen['scale']:g}, chosen for {chosen['pairs']} pairs of "
        f"{chosen['mean_length']:.0f} tokens a response and a model of hidden size 16"
    )


def test_what_follows_a_changed_stage_is_to_do(tiny: Any, finished: Path) -> None:
    said = list(preview(tiny("arms.edits.options.kl_coef=0.5"), finished))
    to_do = {line.split(":")[0] for line in said if line.endswith("to do")}
    assert to_do == {"ppo-edits", "outputs-edits", "judge", "needed", "evaluate"}


def test_a_users_files_are_measured_before_anything_is_done(
    files_recipe: Callable[..., Path], finished: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(files_recipe(reward={"batch_size": 8}))
    said = lines(recipe, tmp_path / "new")["reward-sequence_edits"]
    train = json.loads((finished / "align" / "manifest.json").read_text())["notes"]["pairs"]["edits_train"]
    assert said.startswith("reward.learning_rate=0.001, reward.num_train_epochs=5, chosen for")
    assert f" {round(0.75 * train)} pairs of " in said


def test_the_stages_of_all_rounds_are_listed(two_rounds: Path, tiny: Any, rounds: tuple[str, ...]) -> None:
    said = lines(tiny(*rounds), two_rounds)
    assert said["samples-warm"] == said["ppo-warm_2"] == "already complete"
    assert "are chosen when the pairs are there" in said["reward-token_edits_warm_2"]
    said = lines(tiny(*rounds, "arms.warm.edits=5"), two_rounds)
    to_do = {stage for stage, state in said.items() if state == "to do"}
    of_warm = {"samples-warm", "annotations-warm", "align-warm", "ppo-warm_2", "outputs-warm_2"}
    assert to_do == of_warm | {"judge", "needed", "evaluate"}
