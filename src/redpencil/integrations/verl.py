"""Token rewards in verl 0.9.1: a reward manager for its reward loop, which pays every token of a response.

    reward.reward_manager.source=importlib
    reward.reward_manager.module.path=pkg://redpencil.integrations.verl
    reward.reward_manager.name=TokenRewardManager

verl's `RewardLoopManager` calls `run_single` for each response and hands what it returned to `assemble_rm_scores`, so a
list of rewards can take the place of a number. Only `algorithm.adv_estimator=gae` and `reinforce_plus_plus` keep them
apart; `grpo` and others sum a response first, and are refused. docs/engines.md says which of verl's settings lead here.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from redpencil.errors import RedpencilError
from redpencil.integrations.client import Client, PoolingClient, client_from_environment
from redpencil.providers.json_server import JsonServer

DENSE: Final = ("gae", "reinforce_plus_plus")
"""Estimators of advantages that read every token's reward."""


class TokenRewardManager:
    """Pays every token of a response what a reward server says. It has the methods of verl's `RewardManagerBase`.

    The server is `reward.reward_kwargs.redpencil_url` or REDPENCIL_REWARD_URL, for `redpencil serve-reward`; else the
    router of the reward model that verl itself serves by vLLM.
    """

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        """Take verl's arguments; functions that compute scores are not used.

        Raises:
            RedpencilError: if advantages would be estimated from sums, or no server is named.
        """
        del compute_score, reward_model_tokenizer
        estimator = str(config.algorithm.adv_estimator)
        if estimator not in DENSE:
            raise RedpencilError(
                f"{estimator} sums the rewards of a response, so that token rewards would be lost",
                field="algorithm.adv_estimator",
                hint=f"set it to {' or '.join(DENSE)}",
            )
        self.client: Client = _client(config, tokenizer, reward_router_address)

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Score a trajectory: the last row of a DataProto, whose other rows are earlier outputs of the same one.

        Returns:
            `reward_score`: a list with the reward of each token of the response, without padding.
        """
        prompt, response = token_ids_of(data[-1:])
        ask = partial(self.client.rewards, [prompt], [response])
        [rewards] = await asyncio.get_running_loop().run_in_executor(None, ask)
        return {"reward_score": rewards, "reward_extra_info": {"token_reward_sum": sum(rewards)}}

    @classmethod
    def assemble_rm_scores(cls, data: Any, scores: Sequence[Sequence[float]]) -> Tensor:
        """Lay out rewards on the tokens of the responses: [B, T] float32, 0 on padding.

        Raises:
            RedpencilError: if a response has another number of tokens than of rewards.
        """
        width = data.batch["prompts"].size(1)
        mask = data.batch["attention_mask"][:, width:].bool()
        laid: Tensor = torch.zeros_like(data.batch["responses"], dtype=torch.float32)
        for index, row in enumerate(scores):
            if len(row) != int(mask[index].sum()):
                raise RedpencilError(f"{len(row)} rewards for the {int(mask[index].sum())} tokens of response {index}")
            laid[index, mask[index]] = torch.tensor(list(row), dtype=torch.float32, device=laid.device)
        return laid


def token_ids_of(data: Any) -> tuple[list[int], list[int]]:
    """Return the token ids of the prompt and of the response in a DataProto of one row, without padding."""
    row = data[0]
    prompt, response = row.batch["prompts"], row.batch["responses"]
    lengths = [row.non_tensor_batch.get(name) for name in ("prompt_len", "response_len")]
    if None not in lengths:  # verl's agent loop pads the parts and their mask apart
        return prompt[: int(lengths[0])].tolist(), response[: int(lengths[1])].tolist()
    mask = row.batch["attention_mask"].bool()
    return prompt[mask[: len(prompt)]].tolist(), response[mask[len(prompt) :]].tolist()


def _client(config: Any, tokenizer: Any, router: str | None) -> Client:
    options = config.reward.get("reward_kwargs") or {}
    url = options.get("redpencil_url")
    if url is None and router is not None:
        folder = str(config.reward.reward_model.model_path)
        return PoolingClient(JsonServer(f"http://{router}", field="reward_router_address"), folder, Path(folder))
    return client_from_environment(tokenizer, url)


def no_score(*_: Any, **__: Any) -> float:
    """Stand where verl wants a function of its own, so that its reward workers ask the manager and not the model.

    Raises:
        RedpencilError: if anybody calls it.
    """
    raise RedpencilError("token rewards come from the reward manager", field="reward.reward_manager.name")
