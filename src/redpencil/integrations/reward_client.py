"""Token rewards from a reward server, for the trainers of others.

It imports the standard library and light files of redpencil alone, because each of these trainers pins versions of
torch and transformers that are not redpencil's. The server is `redpencil serve-reward`, which standardises rewards by
the card of the model, or vLLM, which knows no card: then it is read from the checkpoint.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from redpencil.errors import RedpencilError
from redpencil.providers.json_server import JsonServer, key_from
from redpencil.providers.served_rewards import token_scores

URL: Final = "REDPENCIL_REWARD_URL"
"""Environment variable with the address of `redpencil serve-reward`."""
KEY: Final = "REDPENCIL_REWARD_KEY"
"""Environment variable with its API key, if it wants one."""
CONCURRENCY: Final = 16


def vocabulary_digest(vocabulary: Mapping[str, int]) -> str:
    """Name a vocabulary by what is in it: the same on both sides where token ids mean the same tokens."""
    rows = json.dumps(sorted(vocabulary.items()), ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(rows.encode()).hexdigest()


class Client(Protocol):
    """Gives the rewards of token ids."""

    def rewards(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the rewards of each response's tokens."""


@dataclass(frozen=True, slots=True)
class RewardClient:
    """Asks `redpencil serve-reward` for standardised token rewards.

    Args:
        server: its address, key and patience.
        vocabulary: of the policy's tokenizer, as `vocabulary_digest` names it; a server whose model reads other tokens
            refuses. "" for no such check.
    """

    server: JsonServer
    vocabulary: str = ""

    def rewards(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the rewards of each response's tokens, the end token included.

        Args:
            prompts: token ids, without padding.
            responses: token ids, without padding.

        Raises:
            RedpencilError: if the server cannot be reached, refuses, or gives other than a number for each token.
        """
        body = {"prompts": list(map(list, prompts)), "responses": list(map(list, responses))}
        answer = self.server.post("/rewards", body | ({"vocabulary": self.vocabulary} if self.vocabulary else {}))
        rewards = answer.get("rewards") if isinstance(answer, dict) else None
        return _checked(self.server, rewards, responses)


@dataclass(frozen=True, slots=True)
class PoolingClient:
    """Asks vLLM for raw token rewards, and standardises them by the card of the checkpoint that it serves.

    Args:
        server: vLLM, or a router in front of it.
        model: its name for the reward model.
        folder: the checkpoint, with config.json and redpencil.json.
    """

    server: JsonServer
    model: str
    folder: Path
    _facts: dict[str, Any] = field(default_factory=dict, repr=False)

    def rewards(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> list[list[float]]:
        """Return the rewards of each response's tokens; as `RewardClient.rewards`.

        Raises:
            RedpencilError: also if the checkpoint is not a token reward model of redpencil's.
        """
        if not self._facts:
            self._facts.update(_facts_of(self.folder))
        facts = self._facts
        rows = list(zip(prompts, responses, strict=True))
        scores = token_scores(
            *(self.server, self.model, rows),
            heads=facts["heads"],
            twice=facts["twice"],
            concurrency=CONCURRENCY,
        )
        raw = [_joined(row) if facts["heads"] == 2 else [numbers[0] for numbers in row] for row in scores]
        paid = [[(reward - facts["center"]) / facts["scale"] for reward in row] for row in raw]
        return _checked(self.server, paid, responses)


def _joined(row: Sequence[Sequence[float]]) -> list[float]:
    """What two heads say together: see `redpencil.maths.reward_losses.join_heads`."""
    count = max(len(row), 1)
    level = (sum(overall for _, overall in row) - sum(within for within, _ in row)) / count
    return [within + level for within, _ in row]


def _facts_of(folder: Path) -> dict[str, Any]:
    """Centre, scale, heads and readings of a token reward model."""
    hint = "name the checkpoint folder that `redpencil reward` wrote"
    found = {}
    for name in ("config.json", "redpencil.json"):
        try:
            found[name] = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RedpencilError(f"it cannot be read ({error})", file=folder / name, hint=hint) from None
    config, card = found["config.json"], found["redpencil.json"].get("reward", {})
    if card.get("level") != "token":
        raise RedpencilError("not the card of a token reward model", file=folder / "redpencil.json", hint=hint)
    labels = config.get("id2label") or {}
    return {
        **{"center": float(card["center"]), "scale": float(card["scale"])},
        **{"heads": 2 if sorted(labels.values()) == ["overall", "within"] else 1},
        "twice": bool(config.get("read_twice", False)),
    }


def _checked(server: JsonServer, rewards: Any, responses: Sequence[Sequence[int]]) -> list[list[float]]:
    whole = isinstance(rewards, list) and len(rewards) == len(responses)
    if not whole or any(
        not isinstance(row, list)
        or len(row) != len(response)
        or not all(type(reward) in (int, float) and abs(reward) < float("inf") for reward in row)
        for row, response in zip(rewards, responses, strict=True)
    ):
        raise RedpencilError(
            "it does not give one finite number for each token of each response",
            file=server.address,
            hint="serve a token reward model with `redpencil serve-reward`; see docs/engines.md",
        )
    return [list(map(float, row)) for row in rewards]


def client_from_environment(tokenizer: Any = None, url: str | None = None) -> RewardClient:
    """Make a client of the server that the environment names.

    Args:
        tokenizer: the policy's, of transformers; its vocabulary is sent along.
        url: the server's address, in place of the one in the environment.

    Raises:
        RedpencilError: if no server is named.
    """
    address = url or os.environ.get(URL, "")
    if not address:
        raise RedpencilError(
            "no reward server is named", field=URL, hint=f"export {URL}=http://host:8300, in every worker"
        )
    key = key_from(KEY, KEY) if os.environ.get(KEY) else ""
    vocabulary = "" if tokenizer is None else vocabulary_digest(tokenizer.get_vocab())
    return RewardClient(JsonServer(address, key, field=URL), vocabulary)
