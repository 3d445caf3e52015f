"""`keys`: all recipe keys, from their one home."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from redpencil.config import ComputeConfig, FilesConfig, PPOConfig, Recipe, RewardConfig, SFTConfig


def test_every_key_is_listed_with_type_default_and_meaning(redpencil: Callable[..., Any]) -> None:
    rows = {row["key"]: row for row in json.loads(redpencil("keys", "--json").out)}
    sections = {"compute": ComputeConfig, "ppo": PPOConfig, "sft": SFTConfig, "reward": RewardConfig}
    for section, model in {**sections, "files": FilesConfig}.items():
        # what `compute` sets for all sections is listed there alone
        keys = {f"{section}.{name}" for name, field in model.model_fields.items() if not field.exclude}
        assert {key for key in rows if key.startswith(f"{section}.")} == keys
    assert "compute.micro_batch_size" in rows
    assert "sft.micro_batch_size" not in rows
    assert all(row["description"] for row in rows.values())
    assert rows["ppo.kl_coef"] == {
        "key": "ppo.kl_coef",
        "type": "float",
        "default": "0.02",
        "description": PPOConfig.model_fields["kl_coef"].description,
    }
    assert rows["align.anchor"]["type"] == "none | divergence"
    assert rows["sft.learning_rate"]["default"] == "2e-05"
    assert rows["ppo.kl_target"]["type"] == "float | null"
    assert rows["ppo.center_rewards"]["default"] == "true"
    assert (rows["files.model"]["type"], rows["files.model"]["default"]) == ("path", "required")
    assert (rows["seeds"]["type"], rows["seeds"]["default"]) == ("list of int", "[0]")
    assert rows["arms.<name>.reward_model"]["type"] == "text | null"
    assert set(Recipe.model_fields) == {key.split(".")[0] for key in rows}


def test_one_section_for_a_person(redpencil: Callable[..., Any]) -> None:
    lines = redpencil("keys", "align").out.splitlines()
    assert lines[0] == "align.alignment  lcs | positional  lcs"
    assert lines[1].startswith("    lcs aligns words")
    assert sum(not line.startswith(" ") for line in lines) == 4


@pytest.mark.parametrize("section", ["pp", "name"])
def test_an_unknown_section(mistake: Callable[..., str], section: str) -> None:
    said = mistake("keys", section)
    assert f"no section called {section!r}" in said
    assert (
        "world, files, compute, sft, align, reward, sampling, ppo, grpo, best_of_n, dpo, figa, reward_models, arms"
        in said
    )
