"""Reward models, and the real service of one: what another trainer asks."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    PreTrainedTokenizerFast,
)

from redpencil.models.checkpoints import load_reward_model
from redpencil.models.heads import HEADS
from redpencil.models.runtime import Runtime
from redpencil.models.sidecar import RewardCard
from redpencil.pipeline.serving import RewardService, bind_service

WORDS = ("<pad>", "<unk>", "<s>", "</s>", *["the", "cat", "dog", "sat", "ran", "on", "a", "mat", "rug", "big", "red"])
RUNTIME = Runtime(torch.device("cpu"), torch.float32)
Folder = Callable[..., Path]


@pytest.fixture(scope="session")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """`reward_folder(level="token", heads=1, twice=False)`: a checkpoint with random weights and a card."""

    def build(level: str = "token", heads: int = 1, twice: bool = False) -> Path:
        folder = tmp_path_factory.mktemp("reward")
        tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        roles = dict(zip(("pad_token", "unk_token", "bos_token", "eos_token"), WORDS[:4], strict=True))
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
        kind = LlamaForTokenClassification if level == "token" else LlamaForSequenceClassification
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        ends = {"pad_token_id": None, "eos_token_id": 3, "max_position_embeddings": 48, "id2label": HEADS[heads]}
        module = kind(LlamaConfig(vocab_size=len(WORDS), initializer_range=0.5, **sizes, **ends))
        module.config.read_twice = twice
        torch.nn.init.normal_(module.score.weight)
        module.save_pretrained(folder)
        card = RewardCard(level, 0.25, 2.0, 0.1, 0.5, prompt_template="{prompt}", trained_on="edits")
        (folder / "redpencil.json").write_text(json.dumps({"prompt_template": "{prompt}", "reward": asdict(card)}))
        return folder

    return build


@pytest.fixture
def serve_reward() -> Iterator[Callable[..., str]]:
    """`serve_reward(folder, key="")`: the address of the real service of a reward model."""
    with ExitStack() as stack:

        def start(folder: Path, key: str = "") -> str:
            service = RewardService(load_reward_model(folder, RUNTIME), key)
            server = bind_service(service, "127.0.0.1", 0)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield start
