"""The client that other trainers ask by, against the real service."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.integrations.client import (
    PoolingClient,
    RewardClient,
    _joined,
    client_from_environment,
    vocabulary_digest,
)
from redpencil.maths.reward_losses import join_heads
from redpencil.models.checkpoints import load_reward_model
from redpencil.models.runtime import Runtime
from redpencil.providers.json_server import JsonServer
from redpencil.training.scoring import score_tokens

PROMPTS = [[2, 4, 5], [4], [6, 7, 8, 9]]
RESPONSES = [[5, 6, 3], [7], [8, 9, 10, 11, 3]]
RUNTIME = Runtime(torch.device("cpu"), torch.float32)
Folder = Callable[..., Path]
Serve = Callable[..., str]


def expected(folder: Path) -> list[list[float]]:
    """(r - 0.25) / 2, as the card has it."""
    model = load_reward_model(folder, RUNTIME).model
    return [((row - 0.25) / 2).tolist() for row in score_tokens(model, PROMPTS, RESPONSES)]


def close(found: list[list[float]], wanted: list[list[float]]) -> bool:
    return [pytest.approx(row, abs=1e-5) for row in wanted] == found


def server_at(url: str, **options: object) -> JsonServer:
    return JsonServer(url, timeout=20, patience=1, **options)


@pytest.mark.parametrize("options", [{}, {"heads": 2}, {"twice": True}, {"heads": 2, "twice": True}], ids=str)
def test_both_clients_give_the_rewards_of_this_process_standardised_by_the_card(
    reward_folder: Folder, serve_reward: Serve, options: dict[str, object]
) -> None:
    folder = reward_folder(**options)
    url = serve_reward(folder)
    own = RewardClient(server_at(url)).rewards(PROMPTS, RESPONSES)
    pooled = PoolingClient(server_at(url), str(folder), folder).rewards(PROMPTS, RESPONSES)
    assert close(own, expected(folder))
    assert close(pooled, expected(folder))
    assert len({round(value, 4) for row in own for value in row}) > 5


@given(st.lists(st.tuples(*[st.floats(-9, 9)] * 2), min_size=1, max_size=6))
def test_two_heads_are_joined_as_in_training(row: list[tuple[float, float]]) -> None:
    within, overall = torch.tensor(row, dtype=torch.float64).T[:, None]
    wanted = join_heads(within, overall, torch.ones_like(within, dtype=torch.bool))[0]
    assert _joined(row) == pytest.approx(wanted.tolist(), abs=1e-9)


def test_requests_that_wait_are_scored_together_and_each_gets_its_own(
    reward_folder: Folder, serve_reward: Serve
) -> None:
    folder = reward_folder()
    client, wanted = RewardClient(server_at(serve_reward(folder))), expected(folder)
    found: dict[int, list[list[float]]] = {}

    def ask(index: int) -> None:
        row = index % 3
        found[index] = client.rewards([PROMPTS[row]], [RESPONSES[row]])

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert all(close(found[index], [wanted[index % 3]]) for index in found)


def test_a_policy_with_another_vocabulary_is_refused(reward_folder: Folder, serve_reward: Serve) -> None:
    folder = reward_folder()
    words = load_reward_model(folder, RUNTIME).model.codec.tokenizer.get_vocab()
    url = serve_reward(folder)
    same = RewardClient(server_at(url), vocabulary_digest(dict(reversed(words.items()))))
    assert close(same.rewards(PROMPTS, RESPONSES), expected(folder))
    other = RewardClient(server_at(url), vocabulary_digest({**words, "cat": words["dog"], "dog": words["cat"]}))
    with pytest.raises(RedpencilError, match="their vocabularies differ"):
        other.rewards(PROMPTS, RESPONSES)


def test_a_server_of_a_sequence_model_and_a_wrong_checkpoint_are_named(
    reward_folder: Folder, serve_reward: Serve, tmp_path: Path
) -> None:
    sequence = reward_folder("sequence")
    url = serve_reward(sequence)
    with pytest.raises(RedpencilError, match="does not give one finite number for each token") as caught:
        RewardClient(server_at(url)).rewards(PROMPTS, RESPONSES)
    assert caught.value.file == url
    with pytest.raises(RedpencilError, match="not the card of a token reward model"):
        PoolingClient(server_at(url), "x", sequence).rewards(PROMPTS, RESPONSES)
    with pytest.raises(RedpencilError, match="cannot be read"):
        PoolingClient(server_at(url), "x", tmp_path).rewards(PROMPTS, RESPONSES)


def test_address_and_key_come_from_the_environment(
    reward_folder: Folder, serve_reward: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = reward_folder()
    for name in ("REDPENCIL_REWARD_URL", "REDPENCIL_REWARD_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RedpencilError, match="no reward server is named") as caught:
        client_from_environment()
    assert caught.value.field == "REDPENCIL_REWARD_URL"
    monkeypatch.setenv("REDPENCIL_REWARD_URL", serve_reward(folder, "sk-secret-12345678"))
    with pytest.raises(RedpencilError, match="HTTP 401 a key is needed"):
        client_from_environment().rewards(PROMPTS, RESPONSES)
    monkeypatch.setenv("REDPENCIL_REWARD_KEY", "sk-secret-12345678")
    tokenizer = load_reward_model(folder, RUNTIME).model.codec.tokenizer
    assert close(client_from_environment(tokenizer).rewards(PROMPTS, RESPONSES), expected(folder))


def test_files_for_other_trainers_load_nothing_that_these_pin() -> None:
    script = (
        "import sys\n"
        "import redpencil.integrations.client\n"
        "assert 'torch' not in sys.modules\n"
        "import redpencil.integrations.verl, redpencil.integrations.skyrl\n"
        "heavy = ('transformers', 'tokenizers', 'pydantic', 'redpencil.config', 'redpencil.models')\n"
        "loaded = [name for name in heavy if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_the_digest_of_a_vocabulary_is_of_its_content_alone() -> None:
    assert vocabulary_digest({"a": 0, "é": 1}) == vocabulary_digest(json.loads('{"\\u00e9": 1, "a": 0}'))
    assert len({vocabulary_digest(words) for words in ({"a": 0}, {"a": 1}, {"b": 0}, {})}) == 4
