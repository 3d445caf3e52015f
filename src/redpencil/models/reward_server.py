"""A reward model whose forward passes another process computes: vLLM, or `redpencil serve-reward`."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from redpencil.config.compute import ServerConfig
from redpencil.errors import RedpencilError
from redpencil.maths.reward_losses import join_heads
from redpencil.models.checkpoints import RewardModel
from redpencil.models.forward import Batch, reads_twice
from redpencil.models.heads import head_of
from redpencil.models.vllm import connect, served_model
from redpencil.providers.json_server import JsonServer
from redpencil.providers.served_rewards import Row, sequence_scores, token_scores


@dataclass(frozen=True, slots=True)
class RewardServer:
    """Computes the raw rewards of a reward model by HTTP, from the token ids that the model reads.

    Args:
        reward: the reward model; its weights are not read.
        server: where it is served.
        name: the server's name for it.
        concurrency: requests in progress at once.
    """

    reward: RewardModel
    server: JsonServer
    name: str
    concurrency: int

    def rewards(self, batch: Batch) -> Tensor:
        """Raw rewards: [B, T] of a token model, 0 on padding; [B] of a sequence model.

        Raises:
            RedpencilError: if the server cannot be reached, or answers with other than such rewards.
        """
        device = batch.input_ids.device
        rows = list(map(_row, *(tensor.cpu() for tensor in (batch.input_ids, batch.attention_mask, batch.lengths))))
        if self.reward.card.level == "sequence":
            return torch.tensor(
                sequence_scores(self.server, self.name, rows, concurrency=self.concurrency), device=device
            )
        module = self.reward.model.module
        heads = head_of(module).out_features
        scores = token_scores(
            self.server, self.name, rows, heads=heads, twice=reads_twice(module), concurrency=self.concurrency
        )
        filled = torch.zeros(*batch.response_mask.shape, heads, device=device)
        for target, row in zip(filled, scores, strict=True):
            if row:
                target[: len(row)] = torch.tensor(row, device=device)
        if heads == 1:
            return filled[..., 0]
        return join_heads(filled[..., 0], filled[..., 1], batch.response_mask)


def _row(ids: Tensor, attention: Tensor, length: Tensor) -> Row:
    tokens = ids[attention.bool()].tolist()
    cut = len(tokens) - int(length)
    return tokens[:cut], tokens[cut:]


def connect_reward_model(reward: RewardModel, config: ServerConfig) -> RewardServer:
    """Find a reward model on a server.

    Raises:
        RedpencilError: if the server cannot be reached, has no such model or evidently another one, or if the model
            reads its first token where a server that pools reads the last.
    """
    field = f"compute.reward_servers.{reward.card.level}"
    if reward.card.level == "sequence" and not hasattr(reward.model.module, "score"):
        raise RedpencilError(
            f"{type(reward.model.module).__name__} is not scored by servers",
            file=reward.model.name,
            field=field,
            hint=f"leave out {field}, so that this process computes its rewards",
        )
    server = connect(config, field)
    served = served_model(server, config.model, field)
    root = served.get("root")
    other = isinstance(root, str) and Path(root).is_dir() and Path(root).resolve() != Path(reward.model.name).resolve()
    if other and config.model is None:
        raise RedpencilError(
            f"the server has the model in {root}, and {reward.model.name} is wanted",
            file=config.url,
            field=f"{field}.url",
            hint=f"serve that folder, or say with {field}.model={served['id']} that they are the same",
        )
    return RewardServer(reward, server, str(served["id"]), config.concurrency)
