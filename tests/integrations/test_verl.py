"""The reward manager on data of verl's form; with verl itself it is tried in test_trainers.py."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from redpencil.errors import RedpencilError
from redpencil.integrations.reward_client import PoolingClient, RewardClient
from redpencil.integrations.verl import TokenRewardManager, no_score, token_ids_of
from redpencil.models.checkpoints import load_reward_model
from redpencil.models.runtime import Runtime
from redpencil.training.scoring import score_tokens

RUNTIME = Runtime(torch.device("cpu"), torch.float32)


class Data:
    """Rows of tensors and other values, as verl's DataProto gives them."""

    def __init__(self, batch: dict[str, torch.Tensor], others: dict[str, list[int]] | None = None) -> None:
        self.batch, self.non_tensor_batch = batch, others or {}

    def __getitem__(self, index: Any) -> Any:
        parts = {name: tensor[index] for name, tensor in self.batch.items()}
        return Data(parts, {name: values[index] for name, values in self.non_tensor_batch.items()})


def padded() -> Data:
    """Two rows: prompts are padded on the left, responses on the right."""
    return Data(
        {
            "prompts": torch.tensor([[0, 2, 4], [5, 6, 7]]),
            "responses": torch.tensor([[8, 3, 0], [9, 10, 3]]),
            "attention_mask": torch.tensor([[0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]),
        }
    )


def config_of(estimator: str = "gae", **options: str) -> Any:
    reward = {"reward_kwargs": options or None}
    model = SimpleNamespace(model_path="/checkpoint")
    return SimpleNamespace(
        algorithm=SimpleNamespace(adv_estimator=estimator),
        reward=SimpleNamespace(get=reward.get, reward_model=model),
    )


def test_padding_is_left_out_of_what_is_scored() -> None:
    assert token_ids_of(padded()[-1:]) == ([5, 6, 7], [9, 10, 3])
    assert token_ids_of(padded()[:1]) == ([2, 4], [8, 3])
    # an agent loop pads prompts and responses on the right, and their mask as a whole
    loop = Data(
        {
            "prompts": torch.tensor([[2, 4, 0]]),
            "responses": torch.tensor([[8, 3, 0, 0]]),
            "attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0, 0]]),
        },
        {"prompt_len": [2], "response_len": [2]},
    )
    assert token_ids_of(loop[-1:]) == ([2, 4], [8, 3])


def test_rewards_are_laid_on_the_tokens_of_each_response() -> None:
    laid = TokenRewardManager.assemble_rm_scores(padded(), [[0.5, -1.0], [1.0, 2.0, 3.0]])
    assert laid.dtype == torch.float32
    assert laid.tolist() == [[0.5, -1.0, 0.0], [1.0, 2.0, 3.0]]
    with pytest.raises(RedpencilError, match="1 rewards for the 2 tokens of response 0"):
        TokenRewardManager.assemble_rm_scores(padded(), [[0.5], [1.0, 2.0, 3.0]])


def test_a_trajectory_is_scored_by_the_service(
    reward_folder: Callable[..., Path], serve_reward: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = reward_folder()
    url = serve_reward(folder)
    reward = load_reward_model(folder, RUNTIME)
    [raw] = score_tokens(reward.model, [[5, 6, 7]], [[9, 10, 3]])
    wanted = pytest.approx(((raw - 0.25) / 2).tolist(), abs=1e-5)
    monkeypatch.setenv("REDPENCIL_REWARD_URL", url)
    for config in (config_of(), config_of(redpencil_url=url), config_of("reinforce_plus_plus")):
        manager = TokenRewardManager(config, reward.model.codec.tokenizer, no_score)
        found = asyncio.run(manager.run_single(padded()))
        assert found["reward_score"] == wanted
        assert found["reward_extra_info"] == {"token_reward_sum": pytest.approx(sum(found["reward_score"]))}


def test_it_asks_the_server_that_is_named_or_else_the_one_of_verl(monkeypatch: pytest.MonkeyPatch) -> None:
    own = TokenRewardManager(config_of(redpencil_url="http://a:1"), None, reward_router_address="b:2").client
    assert isinstance(own, RewardClient)
    assert own.server.url == "http://a:1"
    routed = TokenRewardManager(config_of(), None, reward_router_address="b:2").client
    assert isinstance(routed, PoolingClient)
    assert (routed.server.url, routed.model, routed.folder) == ("http://b:2", "/checkpoint", Path("/checkpoint"))
    monkeypatch.delenv("REDPENCIL_REWARD_URL", raising=False)
    with pytest.raises(RedpencilError, match="no reward server is named"):
        TokenRewardManager(config_of(), None)


@pytest.mark.parametrize("estimator", ["grpo", "rloo", "remax", "gpg", "reinforce_plus_plus_baseline", "opo"])
def test_estimators_that_sum_are_refused(estimator: str) -> None:
    with pytest.raises(RedpencilError, match=f"{estimator} sums the rewards") as caught:
        TokenRewardManager(config_of(estimator, redpencil_url="http://a:1"), None)
    assert caught.value.field == "algorithm.adv_estimator"


def test_no_function_of_a_score_is_called() -> None:
    with pytest.raises(RedpencilError, match="come from the reward manager"):
        no_score(data_source="x")
