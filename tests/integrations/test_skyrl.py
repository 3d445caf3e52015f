"""The generator on answers of SkyRL's form; with SkyRL itself it is tried in test_trainers.py."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.integrations.skyrl import TokenRewardGenerator, check_estimator


class Client:
    """Pays a token its id over ten."""

    def rewards(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> list[list[float]]:
        self.prompts = prompts
        return [[token / 10 for token in row] for row in responses]


class Inner:
    """Answers two prompts; the second response holds an observation, which the policy did not write."""

    name = "inner"

    def __init__(self, rewards: Any) -> None:
        self.rewards = rewards

    async def generate(self, input_batch: Any, disable_tqdm: bool = False) -> dict[str, Any]:
        self.asked = (input_batch, disable_tqdm)
        return {
            **{"prompt_token_ids": [[1], [2, 3]], "response_ids": [[4, 5], [6, 7, 8]]},
            **{"loss_masks": [[1, 1], [1, 0, 1]], "rewards": self.rewards, "stop_reasons": ["stop", "length"]},
        }


def test_every_token_of_the_policy_is_paid_and_all_else_is_kept() -> None:
    inner, client = Inner([1.0, 2.0]), Client()
    generator = TokenRewardGenerator(inner, client)
    output = asyncio.run(generator.generate("batch", disable_tqdm=True))
    assert inner.asked == ("batch", True)
    assert client.prompts == [[1], [2, 3]]
    assert output["rewards"] == [[0.4, 0.5], [0.6, 0.0, 0.8]]
    assert {key: value for key, value in output.items() if key != "rewards"} == {
        **{"prompt_token_ids": [[1], [2, 3]], "response_ids": [[4, 5], [6, 7, 8]]},
        **{"loss_masks": [[1, 1], [1, 0, 1]], "stop_reasons": ["stop", "length"]},
    }
    assert generator.name == "inner"


@pytest.mark.parametrize("own", [[1.0, 2.0], [[0.0, 1.0], [0.0, 0.0, 2.0]]])
def test_rewards_of_the_environment_are_added_where_it_is_asked_for(own: Any) -> None:
    generator = TokenRewardGenerator(Inner(own), Client(), keep_environment=True)
    rewards = asyncio.run(generator.generate("batch"))["rewards"]
    assert rewards == [pytest.approx([0.4, 1.5]), pytest.approx([0.6, 0.0, 2.8])]


def test_estimators_that_sum_are_refused() -> None:
    for name in ("gae", "reinforce++"):
        check_estimator(name)
    for name in ("grpo", "rloo", "maxrl"):
        with pytest.raises(RedpencilError, match=f"{name} sums the rewards") as caught:
            check_estimator(name)
        assert caught.value.field == "trainer.algorithm.advantage_estimator"
