"""Run in verl's own environment: token rewards through its reward loop, and its advantages of them.

It reads one JSON object from its standard input and fails where verl's numbers are not those in it.
"""

import asyncio
import json
import sys

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from tensordict import TensorDict
from verl import DataProto
from verl.experimental.reward_loop import RewardLoopWorker
from verl.trainer.ppo import core_algos
from verl.trainer.ppo.reward import load_reward_manager

from redpencil.errors import RedpencilError

CASE = json.load(sys.stdin)


def padded(rows: list[list[int]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        part = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, part], mask[index, part] = torch.tensor(row), 1
    return ids, mask


def batch_of(prompts: list[list[int]], responses: list[list[int]]) -> DataProto:
    prompt_ids, prompt_mask = padded(prompts, left=True)
    response_ids, response_mask = padded(responses, left=False)
    tensors = {
        **{"prompts": prompt_ids, "responses": response_ids, "response_mask": response_mask},
        "input_ids": torch.cat([prompt_ids, response_ids], dim=1),
        "attention_mask": torch.cat([prompt_mask, response_mask], dim=1),
    }
    return DataProto(
        batch=TensorDict(tensors, batch_size=len(prompts)),
        non_tensor_batch={"data_source": np.array(["x"] * len(prompts), dtype=object)},
    )


def config_of(*overrides: str) -> object:
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose(config_name="ppo_trainer", overrides=[*CASE["overrides"], *overrides])


with initialize_config_module("verl.trainer.config", version_base=None):
    recipe = compose(config_name="ppo_trainer", overrides=CASE["recipe"])
assert recipe.reward.reward_model.rollout.engine_kwargs.vllm.pooler_config.task == "token_classify"
asked = load_reward_manager(recipe, None, reward_router_address="host:1")
assert (asked.client.server.url, asked.client.model) == ("http://host:1", recipe.reward.reward_model.model_path)

data = batch_of(CASE["prompts"], CASE["responses"])
worker = RewardLoopWorker(config_of("algorithm.adv_estimator=gae"))
assert type(worker.reward_manager).__name__ == "TokenRewardManager"
outputs = asyncio.run(worker.compute_score_batch(data))
# The lines of RewardLoopManager.compute_rm_score, without its Ray actors.
rm_scores = type(worker.reward_manager).assemble_rm_scores(data, [item["reward_score"] for item in outputs])
extra = [item["reward_extra_info"]["token_reward_sum"] for item in outputs]

expected = torch.tensor(CASE["rewards"])
torch.testing.assert_close(rm_scores, expected, atol=1e-5, rtol=1e-5)
torch.testing.assert_close(torch.tensor(extra), expected.sum(dim=1), atol=1e-4, rtol=1e-5)

mask, values = data.batch["response_mask"].float(), torch.tensor(CASE["values"])
advantages, returns = core_algos.compute_gae_advantage_return(rm_scores, values, mask, CASE["gamma"], CASE["lambda"])
torch.testing.assert_close(returns * mask, torch.tensor(CASE["returns"]) * mask, atol=1e-4, rtol=1e-4)
torch.testing.assert_close(advantages * mask, torch.tensor(CASE["advantages"]) * mask, atol=1e-3, rtol=1e-3)

# An agent loop with several outputs pads the parts apart; the last one is scored.
several = {"prompt_len": [2, 3], "response_len": [1, 3]}
rows = DataProto(
    batch=TensorDict(
        {
            "prompts": torch.tensor([[4, 5, 0], CASE["prompts"][0]]),
            "responses": torch.tensor([[6, 0, 0], CASE["responses"][0]]),
            "attention_mask": torch.tensor([[1, 1, 1, 0, 0, 0], [1] * 6]),
        },
        batch_size=2,
    ),
    non_tensor_batch={name: np.array(value) for name, value in several.items()},
)
last = asyncio.run(worker.compute_score(rows))["reward_score"]
torch.testing.assert_close(torch.tensor(last), expected[0, :3], atol=1e-5, rtol=1e-5)

for estimator in ("grpo", "rloo", "remax", "reinforce_plus_plus_baseline"):
    with pytest.raises(RedpencilError, match="sums the rewards of a response"):
        RewardLoopWorker(config_of(f"algorithm.adv_estimator={estimator}"))
print("verl agrees")
