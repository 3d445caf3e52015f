"""Token rewards in SkyRL 0.3.0: a generator whose responses are paid by a reward server, token by token.

SkyRL's trainer takes `rewards: list[list[float]]` of a generator as they are. So this one lets another generator
answer, and puts the server's rewards in the place of what its environments gave:

    class Experiment(BasePPOExp):
        def get_generator(self, cfg, tokenizer, inference_engine_client):
            generator = super().get_generator(cfg, tokenizer, inference_engine_client)
            return TokenRewardGenerator(generator, client_from_environment(tokenizer))

`trainer.algorithm.advantage_estimator` must be `gae` or `reinforce++`: `grpo` and `rloo` sum a response first.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.integrations.client import Client

DENSE: Final = ("gae", "reinforce++")
"""Estimators of advantages that read every token's reward."""


def check_estimator(name: str) -> None:
    """Refuse an estimator of advantages that sums the rewards of a response.

    Raises:
        RedpencilError: naming it.
    """
    if str(name) not in DENSE:
        raise RedpencilError(
            f"{name} sums the rewards of a response, so that token rewards would be lost",
            field="trainer.algorithm.advantage_estimator",
            hint=f"set it to {' or '.join(DENSE)}",
        )


class TokenRewardGenerator:
    """Lets another generator answer, and pays its responses token by token. It has SkyRL's interface of generators.

    Args:
        generator: SkyRL's, such as SkyRLGymGenerator.
        client: asks the reward server.
        keep_environment: add the rewards that the generator's environments gave, where they are there for each token.
    """

    def __init__(self, generator: Any, client: Client, *, keep_environment: bool = False) -> None:
        self.generator, self.client, self.keep_environment = generator, client, keep_environment

    def __getattr__(self, name: str) -> Any:
        """Be what the other generator is in all else."""
        return getattr(self.generator, name)

    async def generate(self, input_batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Generate as the other one does, and replace `rewards` by one number for each token of each response.

        Tokens that the policy did not write, where `loss_masks` is 0, are paid nothing.
        """
        output = await self.generator.generate(input_batch, *args, **kwargs)
        prompts, responses = output["prompt_token_ids"], output["response_ids"]
        ask = partial(self.client.rewards, prompts, responses)
        rewards = await asyncio.get_running_loop().run_in_executor(None, ask)
        paid = [
            [reward if counts else 0.0 for reward, counts in zip(row, mask, strict=True)]
            for row, mask in zip(rewards, output["loss_masks"], strict=True)
        ]
        if self.keep_environment:
            paid = [_sum(row, own) for row, own in zip(paid, output["rewards"], strict=True)]
        return {**output, "rewards": paid}


def _sum(row: Sequence[float], own: Any) -> list[float]:
    if isinstance(own, Sequence):
        return [reward + more for reward, more in zip(row, own, strict=True)]
    return [*row[:-1], row[-1] + float(own)] if row else []
