"""Run in SkyRL's own environment: a generator whose rewards its trainer takes, and its advantages of them.

It reads one JSON object from its standard input and fails where SkyRL's numbers are not those in it.
"""

import asyncio
import json
import sys
import typing
from types import SimpleNamespace

import typing_extensions

typing.TypedDict = typing_extensions.TypedDict  # pydantic wants it so before Python 3.12

import torch  # noqa: E402
from skyrl.backends.skyrl_train.utils import ppo_utils  # noqa: E402
from skyrl.train.generators.base import GeneratorInterface  # noqa: E402
from skyrl.train.generators.utils import get_metrics_from_generator_output  # noqa: E402

from redpencil.errors import RedpencilError  # noqa: E402
from redpencil.integrations.client import client_from_environment  # noqa: E402
from redpencil.integrations.skyrl import TokenRewardGenerator, check_estimator  # noqa: E402

CASE = json.load(sys.stdin)


class Fixed(GeneratorInterface):
    """Answers with given token ids, and pays the last one."""

    batched = True

    async def generate(self, *_: object, **__: object) -> dict:
        responses = CASE["responses"]
        masks = [[1] * len(row) for row in responses]
        masks[-1][0] = 0  # an observation, not written by the policy
        return {
            **{"prompt_token_ids": CASE["prompts"], "response_ids": responses, "loss_masks": masks},
            **{"rewards": [1.0] * len(responses), "stop_reasons": ["stop"] * len(responses), "rollout_metrics": {}},
            **{"rollout_logprobs": None, "trajectory_ids": None},
        }


client = client_from_environment(url=CASE["url"])
generator = TokenRewardGenerator(Fixed(), client)
assert generator.batched
output = asyncio.run(generator.generate({"prompts": CASE["prompts"]}, disable_tqdm=True))
expected = [row[: len(ids)] for row, ids in zip(CASE["rewards"], CASE["responses"], strict=True)]
expected[-1][0] = 0.0
for found, wanted in zip(output["rewards"], expected, strict=True):
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), atol=1e-5, rtol=1e-5)
both = asyncio.run(TokenRewardGenerator(Fixed(), client, keep_environment=True).generate({}))
assert abs(both["rewards"][0][-1] - expected[0][-1] - 1.0) < 1e-5
assert output["response_ids"] == CASE["responses"]

# SkyRL's own metrics read them, and its trainer takes them for rewards of tokens.
metrics = get_metrics_from_generator_output(output, [str(index) for index in range(len(expected))])
total = sum(map(sum, expected)) / len(expected)
score = metrics["avg_score"] if isinstance(metrics, dict) else metrics[0]
assert abs(score - total) < 1e-4, (metrics, total)
from skyrl.train.trainer import RayPPOTrainer  # noqa: E402

options = SimpleNamespace(
    generator=SimpleNamespace(n_samples_per_prompt=1, step_wise_trajectories=False, merge_stepwise_output=False),
    trainer=SimpleNamespace(algorithm=SimpleNamespace(zero_variance_filter=False)),
)
trainer = SimpleNamespace(cfg=options, all_metrics={})
uids = [str(index) for index in range(len(expected))]
kept, _ = RayPPOTrainer.postprocess_generator_output(trainer, output, uids)
assert kept["rewards"] == output["rewards"]

mask = torch.tensor(CASE["mask"]).float()
advantages, returns = ppo_utils.compute_gae_advantage_return(
    torch.tensor(CASE["rewards"]), torch.tensor(CASE["values"]) * mask, mask, CASE["gamma"], CASE["lambda"]
)
torch.testing.assert_close(returns * mask, torch.tensor(CASE["returns"]) * mask, atol=1e-4, rtol=1e-4)
torch.testing.assert_close(advantages * mask, torch.tensor(CASE["advantages"]) * mask, atol=1e-3, rtol=1e-3)

for name in ("gae", "reinforce++"):
    check_estimator(name)
for name in ("grpo", "rloo"):
    try:
        check_estimator(name)
    except RedpencilError:
        continue
    raise AssertionError(f"{name} was not refused")
print("SkyRL agrees")
