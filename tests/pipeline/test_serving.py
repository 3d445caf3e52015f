"""The service of a reward model: its paths, and what it refuses."""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    PreTrainedTokenizerFast,
)

from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import RewardModel, load_reward_model
from redpencil.models.runtime import Runtime
from redpencil.models.sidecar import RewardCard
from redpencil.pipeline.serving import RewardService, bind_service
from redpencil.records import Response
from redpencil.runs import write_json
from redpencil.training.scoring import encode_samples, score_sequences, score_tokens

WORDS = ("<pad>", "<unk>", "<s>", "</s>", *["the", "cat", "dog", "sat", "ran"])
Ask = Callable[..., tuple[int, Any]]


def reward_model(folder: Path, level: str) -> RewardModel:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    roles = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), WORDS[:4], strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
    kind = LlamaForTokenClassification if level == "token" else LlamaForSequenceClassification
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    module = kind(LlamaConfig(vocab_size=len(WORDS), max_position_embeddings=16, num_labels=1, **sizes))
    torch.nn.init.normal_(module.score.weight)
    module.save_pretrained(folder)
    card = RewardCard(level, 0.5, 4.0, 0.1, 0.5, prompt_template="<s> {prompt}", trained_on="edits")

    write_json(folder / "redpencil.json", {"prompt_template": "<s> {prompt}", "reward": asdict(card)})
    return load_reward_model(folder, Runtime(torch.device("cpu"), torch.float32))


@pytest.fixture(scope="module")
def rewards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RewardModel]:
    return {level: reward_model(tmp_path_factory.mktemp(level), level) for level in ("token", "sequence")}


@pytest.fixture
def ask(rewards: dict[str, RewardModel]) -> Iterator[Ask]:
    """`ask(path, body, level="token", key="", headers={})`: status and content of the answer."""
    with ExitStack() as stack:
        running: dict[tuple[str, str], int] = {}

        def start(level: str, key: str) -> int:
            server = bind_service(RewardService(rewards[level], key), "127.0.0.1", 0)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return int(server.server_address[1])

        def send(path: str, body: Any = None, *, level: str = "token", key: str = "", **headers: str) -> Any:
            port = running.setdefault((level, key), 0) or start(level, key)
            running[level, key] = port
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            data = body if isinstance(body, bytes) else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, None if body is None else data, headers)
            reply = connection.getresponse()
            content = reply.status, json.loads(reply.read())
            connection.close()
            return content

        yield send


def test_token_ids_get_the_rewards_of_the_card_or_raw(ask: Ask, rewards: dict[str, RewardModel]) -> None:
    prompts, responses = [[2, 4], [2, 4, 5]], [[5, 7, 3], [6]]
    raw = score_tokens(rewards["token"].model, prompts, responses)
    status, answer = ask("/rewards", {"prompts": prompts, "responses": responses})
    assert status == 200
    assert answer["rewards"] == [pytest.approx(((row - 0.5) / 4).tolist(), abs=1e-6) for row in raw]
    _, answer = ask("/rewards", {"prompts": prompts, "responses": responses, "raw": True})
    assert answer["rewards"] == [pytest.approx(row.tolist(), abs=1e-6) for row in raw]
    assert ask("/rewards", {"prompts": [], "responses": []})[1]["rewards"] == []


def test_texts_are_read_through_the_models_own_tokenizer_and_template(
    ask: Ask, rewards: dict[str, RewardModel]
) -> None:
    rows = [Response("1", "the cat", "sat ran"), Response("2", "dog", "ran", finished=False)]
    encoded = encode_samples(rows, rewards["token"].model.codec)
    raw = score_tokens(rewards["token"].model, *zip(*encoded, strict=True))
    body = {"prompts": ["the cat", "dog"], "responses": ["sat ran", "ran"], "finished": [True, False]}
    _, answer = ask("/rewards", body)
    assert answer["tokens"] == [[7, 8, 3], [8]]
    assert answer["rewards"] == [pytest.approx(((row - 0.5) / 4).tolist(), abs=1e-6) for row in raw]


def test_a_sequence_model_gives_one_number(ask: Ask, rewards: dict[str, RewardModel]) -> None:
    prompts, responses = [[2, 4], [2, 4, 5]], [[5, 7, 3], [6]]
    raw = score_sequences(rewards["sequence"].model, prompts, responses)
    _, answer = ask("/rewards", {"prompts": prompts, "responses": responses}, level="sequence")
    assert answer["rewards"] == pytest.approx(((raw - 0.5) / 4).tolist(), abs=1e-6)
    _, answer = ask("/classify", {"input": [2, 4, 5, 7, 3], "use_activation": False}, level="sequence")
    assert answer["data"][0]["probs"] == pytest.approx([float(raw[0])], abs=1e-6)
    assert ask("/pooling", {}, level="sequence")[0] == 404


def test_pooling_gives_every_token_that_was_sent(ask: Ask, rewards: dict[str, RewardModel]) -> None:
    whole = score_tokens(rewards["token"].model, [[2]], [[4, 5, 7]])[0].tolist()
    _, answer = ask("/pooling", {"input": [[2, 4, 5, 7], [2, 4]], "use_activation": False, "task": "token_classify"})
    [first, second] = answer["data"]
    assert [len(first["data"]), len(second["data"])] == [4, 2]
    assert [row[0] for row in first["data"][1:]] == pytest.approx(whole, abs=1e-6)
    assert first["data"][1] == pytest.approx(second["data"][1], abs=1e-6)


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("/rewards", b"{", 400, "not a JSON object"),
        ("/rewards", [1], 400, "not a JSON object"),
        ("/rewards", {}, 400, "lists of one length"),
        ("/rewards", {"prompts": [[2]], "responses": []}, 400, "lists of one length"),
        ("/rewards", {"prompts": [[2]], "responses": ["a"]}, 400, "token ids, or texts"),
        ("/rewards", {"prompts": [[2.5]], "responses": [[3]]}, 400, "token ids, or texts"),
        ("/rewards", {"prompts": [[True]], "responses": [[3]]}, 400, "token ids, or texts"),
        ("/rewards", {"prompts": [[-1]], "responses": [[3]]}, 400, "token ids, or texts"),
        ("/rewards", {"prompts": [[]], "responses": [[3]]}, 400, "a prompt is empty"),
        ("/rewards", {"prompts": [[2]], "responses": [[99]]}, 400, "token 99, the model knows 9"),
        ("/rewards", {"prompts": [[2]], "responses": [[4] * 16]}, 400, "17 tokens, the reward model reads 16"),
        ("/rewards", {"prompts": ["a"], "responses": ["b"], "finished": [True] * 2}, 400, "`finished`"),
        ("/rewards", {"prompts": [], "responses": [], "vocabulary": "x"}, 409, "vocabularies differ"),
        ("/pooling", {"input": [2, 4]}, 400, "use_activation=false"),
        ("/pooling", {"input": "the cat", "use_activation": False}, 400, "token ids"),
        ("/pooling", {"input": [99], "use_activation": False}, 400, "token 99"),
        ("/classify", {}, 404, "/rewards, /pooling"),
        ("/v1/completions", {}, 404, "no such path"),
    ],
)
def test_what_cannot_be_answered_is_refused_and_the_next_is_answered(
    ask: Ask, path: str, body: Any, status: int, problem: str
) -> None:
    got, answer = ask(path, body)
    assert (got, problem in answer["error"]["message"]) == (status, True), answer
    assert ask("/rewards", {"prompts": [[2]], "responses": [[4]]})[0] == 200


def test_a_key_guards_all_but_its_health(ask: Ask) -> None:
    key = "sk-0123456789"
    body = {"prompts": [[2]], "responses": [[4]]}
    assert ask("/rewards", body, key=key)[0] == 401
    assert ask("/rewards", body, key=key, Authorization="Bearer wrong")[0] == 401
    assert ask("/rewards", body, key=key, Authorization=f"Bearer {key}")[0] == 200
    assert ask("/v1/models", key=key)[0] == 404
    assert ask("/health", key=key) == (200, {"status": "ok"})


def test_it_says_what_it_serves(ask: Ask, rewards: dict[str, RewardModel]) -> None:
    [card] = ask("/v1/models")[1]["data"]
    assert (card["root"], card["max_model_len"]) == (rewards["token"].model.name, 16)


def test_a_taken_address_is_named(rewards: dict[str, RewardModel]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(RedpencilError, match=f"cannot listen on 127.0.0.1:{port}") as caught:
            bind_service(RewardService(rewards["token"]), "127.0.0.1", port)
    assert caught.value.field == "--port"


def test_a_reward_that_is_no_number_is_an_error_of_the_service(ask: Ask, rewards: dict[str, RewardModel]) -> None:
    weight = rewards["token"].model.module.score.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
    try:
        status, answer = ask("/rewards", {"prompts": [[2]], "responses": [[4]]})
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert status == 500
    assert "the reward nan" in answer["error"]["message"]


def test_whatever_breaks_is_answered_and_the_next_request_is_too(ask: Ask, rewards: dict[str, RewardModel]) -> None:
    module = rewards["token"].model.module
    kept, module.score = module.score, torch.nn.Linear(3, 1)  # which the hidden states do not fit
    try:
        status, answer = ask("/rewards", {"prompts": [[2]], "responses": [[4]]})
    finally:
        module.score = kept
    assert (status, answer["error"]["message"]) == (500, "RuntimeError")
    assert ask("/rewards", {"prompts": [[2]], "responses": [[4]]})[0] == 200


def test_a_body_of_any_announced_length_is_refused(ask: Ask) -> None:
    for length in ("64000001", "9" * 5000, "-1", "1e3"):
        assert ask("/rewards", b"{}", **{"Content-Length": length})[0] == 413
