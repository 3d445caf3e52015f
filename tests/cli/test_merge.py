"""`redpencil merge`: whole models of adapters."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from redpencil.config.training import LoraConfig
from redpencil.models.checkpoints import load_head, load_policy, load_reward_model
from redpencil.models.forward import collate, response_logprobs, token_rewards
from redpencil.models.lora import trained_parameters
from redpencil.models.runtime import make_runtime
from redpencil.models.saving import export
from redpencil.models.sidecar import RewardCard
from redpencil.text import read_json

CARD = RewardCard("token", 0.25, 2.0, 0.25, 1.0, "{prompt}", trained_on="edits")


@pytest.fixture
def adapters(tmp_path: Path) -> dict[str, Path]:
    """A base, and a policy and a token reward model on it, with weights as training might leave them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    base = tmp_path / "base"
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<end>": 1, "a": 2, "b": 3}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>").save_pretrained(base)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=4, eos_token_id=1, max_position_embeddings=16, initializer_range=0.3, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(base)
    runtime, lora = make_runtime("cpu", "float32"), LoraConfig(r=2, alpha=4)
    policy = load_policy(base, runtime, trained=True, lora=lora)
    reward = load_head(base, "token", runtime, trained=True, zero_head=True, lora=lora)
    for model, name, card in ((policy, "policy", None), (reward, "reward", CARD)):
        for weight in trained_parameters(model.module).values():
            torch.nn.init.normal_(weight, std=0.3)
        export(model, tmp_path / name, card=card)
    return {name: tmp_path / name for name in ("base", "policy", "reward")}


def test_the_whole_model_computes_the_same_without_its_base(
    adapters: dict[str, Path], redpencil: Callable[..., Any], tmp_path: Path
) -> None:
    runtime = make_runtime("cpu", "float32")
    batch = collate([[2, 3], [3]], [[2], [3, 2, 1]], 0, runtime.device)
    logprobs = response_logprobs(load_policy(adapters["policy"], runtime, trained=False).module, batch)
    rewards = token_rewards(load_reward_model(adapters["reward"], runtime).model.module, batch)
    for name in ("policy", "reward"):
        outcome = redpencil("merge", adapters[name], "--out", tmp_path / f"whole-{name}")
        assert outcome.code == 0
        assert f"whole model: {tmp_path / f'whole-{name}'}" in outcome.err
    for folder in adapters.values():
        shutil.rmtree(folder)
    policy, reward = load_policy(tmp_path / "whole-policy", runtime, trained=False), tmp_path / "whole-reward"
    torch.testing.assert_close(response_logprobs(policy.module, batch), logprobs, rtol=1e-6, atol=3e-6)
    loaded = load_reward_model(reward, runtime)
    torch.testing.assert_close(token_rewards(loaded.model.module, batch), rewards, rtol=1e-6, atol=3e-6)
    assert loaded.card == CARD
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "whole-policy")
    torch.testing.assert_close(response_logprobs(plain, batch), logprobs, rtol=1e-6, atol=3e-6)


def test_it_is_half_the_size_in_bfloat16(
    adapters: dict[str, Path], redpencil: Callable[..., Any], tmp_path: Path
) -> None:
    for dtype in ("float32", "bfloat16"):
        assert redpencil("merge", adapters["policy"], "--out", tmp_path / dtype, "--dtype", dtype).code == 0
    full, half = ((tmp_path / dtype / "model.safetensors").stat().st_size for dtype in ("float32", "bfloat16"))
    assert half < 0.7 * full
    assert read_json(tmp_path / "bfloat16" / "config.json")["dtype"] == "bfloat16"


def test_what_cannot_be_merged_is_said(
    adapters: dict[str, Path], redpencil: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = redpencil("merge", adapters["base"], "--out", tmp_path / "out")
    assert (outcome.code, "no adapter" in outcome.err) == (1, True)
    outcome = redpencil("merge", adapters["policy"], "--out", adapters["base"])
    assert (outcome.code, "there already" in outcome.err) == (1, True)
    assert redpencil("merge", adapters["policy"], "--out", tmp_path / "out", "--dtype", "float8").code == 2
    shutil.rmtree(adapters["base"])
    outcome = redpencil("merge", adapters["policy"], "--out", tmp_path / "out")
    assert outcome.code == 1
    assert "base model" in outcome.err
    assert not (tmp_path / "out").exists()
