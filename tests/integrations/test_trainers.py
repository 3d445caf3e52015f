"""verl and SkyRL themselves, each in an environment of its own that `make integrations` makes."""

import json
import math
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from redpencil.maths.masked import masked_whiten
from redpencil.maths.ppo import gae
from redpencil.models.checkpoints import load_reward_model
from redpencil.models.runtime import Runtime
from redpencil.training.scoring import score_tokens

ROOT = Path(__file__).parents[2]
PROMPTS = [[2, 4, 5], [4], [6, 7, 8, 9]]
RESPONSES = [[5, 6, 3], [7], [8, 9, 10, 11, 3]]
GAMMA, LAMBDA = 0.97, 0.9


def interpreter(name: str) -> Path:
    """The Python of a trainer's environment."""
    place = Path(os.environ.get(f"REDPENCIL_{name.upper()}_ENV", ROOT / f".venv-{name}"))
    if not (place / "bin" / "python").is_file():
        pytest.skip(f"{name} is not there: `make integrations` makes its environment")
    return place / "bin" / "python"


def case_of(folder: Path, url: str) -> dict[str, Any]:
    """The rewards and advantages of redpencil."""
    model = load_reward_model(folder, Runtime(torch.device("cpu"), torch.float32)).model
    width = max(map(len, RESPONSES))
    rewards, mask = torch.zeros(3, width), torch.zeros(3, width, dtype=torch.bool)
    for index, row in enumerate(score_tokens(model, PROMPTS, RESPONSES)):
        rewards[index, : len(row)], mask[index, : len(row)] = (row - 0.25) / 2, True
    values = torch.randn(3, width, generator=torch.Generator().manual_seed(1)) * mask
    advantages, returns = gae(rewards, values, mask, GAMMA, LAMBDA)
    # Both divide by the standard deviation of a sample (n - 1), where redpencil divides by that of the batch (n).
    whitened = masked_whiten(advantages, mask) * math.sqrt(1 - 1 / int(mask.sum()))
    return {
        **{"url": url, "prompts": PROMPTS, "responses": RESPONSES, "gamma": GAMMA, "lambda": LAMBDA},
        **{"rewards": rewards.tolist(), "values": values.tolist(), "returns": returns.tolist()},
        **{"advantages": whitened.tolist(), "mask": mask.int().tolist()},
    }


def check(name: str, case: dict[str, Any]) -> str:
    script = Path(__file__).parent / f"{name}_check.py"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": os.environ.get("HOME", "/tmp")}
    run = subprocess.run(
        [str(interpreter(name)), str(script)],
        input=json.dumps(case),
        env={**environment, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "RAY_DEDUP_LOGS": "0"},
        **{"capture_output": True, "text": True, "timeout": 550, "check": False},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


@pytest.mark.slow
@pytest.mark.external
def test_verl_pays_the_rewards_of_redpencil_and_estimates_the_same_advantages(
    reward_folder: Callable[..., Path], serve_reward: Callable[..., str]
) -> None:
    interpreter("verl")
    folder = reward_folder()
    url = serve_reward(folder)
    overrides = [
        "reward.reward_manager.source=importlib",
        "reward.reward_manager.name=TokenRewardManager",
        "reward.reward_manager.module.path=pkg://redpencil.integrations.verl",
        f"+reward.reward_kwargs.redpencil_url={url}",
        f"actor_rollout_ref.model.path={folder}",
    ]
    recipe = (ROOT / "recipes" / "cluster" / "verl-70b.sh").read_text()
    named = [re.sub(r"\"?\$\w+\"?", str(folder), key) for key in re.findall(r"^\t(\S+=.*?) \\$", recipe, re.MULTILINE)]
    assert len(named) > 30
    assert "verl agrees" in check("verl", case_of(folder, url) | {"overrides": overrides, "recipe": named})


@pytest.mark.slow
@pytest.mark.external
def test_skyrl_takes_the_rewards_of_redpencil_and_estimates_the_same_advantages(
    reward_folder: Callable[..., Path], serve_reward: Callable[..., str]
) -> None:
    interpreter("skyrl")
    folder = reward_folder()
    url = serve_reward(folder)
    assert "SkyRL agrees" in check("skyrl", case_of(folder, url))
