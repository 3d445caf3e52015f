"""Folders in and out: what loads, what plain transformers makes of what we save, and what is refused."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForMaskedLM,
    Gemma2Config,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForTokenClassification,
    RobertaConfig,
    RobertaForTokenClassification,
)
from transformers.modeling_layers import GradientCheckpointingLayer

from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import context_of, has_weights, load_head, load_policy, load_reward_model
from redpencil.models.codec import load_codec
from redpencil.models.forward import collate, sequence_rewards, token_rewards
from redpencil.models.heads import head_of
from redpencil.models.runtime import Runtime
from redpencil.models.saving import export
from redpencil.models.sidecar import RewardCard
from redpencil.runs import open_stage, write_json

Folder = Callable[..., Path]
DECODERS = ("llama", "qwen2", "qwen3", "gpt2")
IDS = [5, 6, 7, 8, 3]


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("kind", DECODERS)
def test_a_policy_is_what_transformers_loads(folder: Folder, runtime: Runtime, kind: str) -> None:
    policy = load_policy(folder(kind), runtime, trained=False)
    plain = AutoModelForCausalLM.from_pretrained(folder(kind))
    with torch.no_grad():
        torch.testing.assert_close(policy.module(torch.tensor([IDS])).logits, plain(torch.tensor([IDS])).logits)
    assert not any(p.requires_grad for p in policy.module.parameters())
    assert all(p.requires_grad for p in load_policy(folder(kind), runtime, trained=True).module.parameters())
    assert policy.context == context_of(policy.module) == 48
    assert policy.name == str(folder(kind))
    assert policy.runtime is runtime


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("kind", [*DECODERS, "bert"])
def test_plain_transformers_gives_the_same_rewards(
    folder: Folder, runtime: Runtime, tmp_path: Path, kind: str, level: str
) -> None:
    codec = load_codec(folder(kind))
    trained = load_head(folder(kind, level), level, runtime, trained=True, zero_head=False, codec=codec)
    export(trained, tmp_path / "checkpoint", card=RewardCard(level, 0, 1, 0, 1, "{prompt}", "edits"))
    auto = AutoModelForTokenClassification if level == "token" else AutoModelForSequenceClassification
    plain = auto.from_pretrained(tmp_path / "checkpoint").eval()
    module = load_reward_model(tmp_path / "checkpoint", runtime, level=level).model.module
    # the response ends with EOS, which the tokenizer of GPT-2 also pads with
    prompt, response = IDS[:2], [*IDS[2:-1], codec.eos_id]
    batch = collate([prompt, [9]], [response, [10, 11, 12, 10, 12]], codec.pad_id, runtime.device)
    with torch.no_grad():
        logits = plain(torch.tensor([prompt + response])).logits
        if level == "token":
            torch.testing.assert_close(token_rewards(module, batch)[0, :3], logits[0, 2:, 0], rtol=1e-4, atol=1e-5)
        else:
            torch.testing.assert_close(sequence_rewards(module, batch)[0], logits[0, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("kind", [*DECODERS, "bert"])
def test_a_new_head_on_a_backbone_starts_at_zero(folder: Folder, runtime: Runtime, kind: str, level: str) -> None:
    source = folder(kind, "policy") if kind != "bert" else folder(kind, "token")
    module = load_head(source, level, runtime, trained=True, zero_head=True).module
    batch = collate([IDS[:2]], [IDS[2:]], 1, runtime.device)
    rewards = token_rewards(module, batch) if level == "token" else sequence_rewards(module, batch)
    assert rewards.abs().max() == 0
    # only the head is new: it learns, so it must see the backbone's hidden states
    rewards.sum().backward()
    assert head_of(module).weight.grad.abs().max() > 0


def test_the_backbone_of_a_new_head_is_that_of_the_checkpoint(folder: Folder, runtime: Runtime) -> None:
    policy = load_policy(folder("llama"), runtime, trained=False)
    value = load_head(folder("llama"), "token", runtime, trained=False, zero_head=True)
    for name, weight in policy.module.model.state_dict().items():
        assert torch.equal(value.module.model.state_dict()[name], weight), name


@pytest.mark.parametrize("kind", DECODERS)
def test_a_configuration_without_weights_gives_a_fresh_model(
    folder: Folder, runtime: Runtime, tmp_path: Path, kind: str
) -> None:
    fresh = copy(folder(kind), tmp_path / "fresh")
    (fresh / "model.safetensors").unlink()
    assert has_weights(folder(kind))
    assert not has_weights(fresh)
    with pytest.raises(RedpencilError, match="it holds no weights") as caught:
        load_policy(fresh, runtime, trained=True, fresh=True)
    assert 'write {"fresh": true} into redpencil.json' in str(caught.value.hint)
    write_json(fresh / "redpencil.json", {"fresh": True})
    first, same, other = (load_policy(fresh, runtime, trained=True, seed=seed, fresh=True).module for seed in (1, 1, 2))
    assert type(first) is type(load_policy(folder(kind), runtime, trained=True).module)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_a_fresh_model_is_trained_in_float32_whatever_its_configuration_says(folder: Folder, tmp_path: Path) -> None:
    fresh = copy(folder("llama"), tmp_path / "fresh")
    (fresh / "model.safetensors").unlink()
    edit_json(fresh / "config.json", dtype="bfloat16")
    write_json(fresh / "redpencil.json", {"fresh": True})
    for dtype in (torch.float32, torch.bfloat16):
        policy = load_policy(fresh, Runtime(torch.device("cpu"), dtype), trained=True, fresh=True)
        assert {weight.dtype for weight in policy.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_training_mode_has_no_dropout(folder: Folder, runtime: Runtime, tmp_path: Path, kind: str) -> None:
    source = copy(folder(kind), tmp_path / "dropping")
    edit_json(source / "config.json", attention_dropout=0.5, attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    model = load_policy(source, runtime, trained=True).module
    assert model.training
    first, second = (model(torch.tensor([IDS])).logits for _ in range(2))
    assert torch.equal(first, second)


def test_a_reward_model_of_another_level_is_refused(folder: Folder, runtime: Runtime) -> None:
    with pytest.raises(RedpencilError, match="level token is needed, LlamaForSequenceClassification is of level seq"):
        load_reward_model(folder("llama", "sequence"), runtime, level="token")
    with pytest.raises(RedpencilError, match="level sequence is needed"):
        load_reward_model(folder("bert", "token"), runtime, level="sequence")


def test_a_policy_is_not_a_reward_model(folder: Folder, runtime: Runtime) -> None:
    with pytest.raises(RedpencilError, match="LlamaForCausalLM is not a reward model"):
        load_reward_model(folder("llama"), runtime)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_a_reward_model_is_not_a_policy(folder: Folder, runtime: Runtime, kind: str, level: str) -> None:
    # transformers would put a random output layer on it and say nothing
    with pytest.raises(RedpencilError, match="is not a policy"):
        load_policy(folder(kind, level), runtime, trained=False)


def test_a_masked_language_model_is_not_a_policy(runtime: Runtime, tmp_path: Path) -> None:
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(RedpencilError, match="is not a policy"):
        load_policy(tmp_path, runtime, trained=False)
    # but it is a backbone for a reward model; only its pooler is new
    for level in ("token", "sequence"):
        load_head(tmp_path, level, runtime, trained=True, zero_head=True)


def test_two_labels_are_not_a_reward(runtime: Runtime, tmp_path: Path) -> None:
    config = LlamaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    for labels in (2, 3):
        config.num_labels = labels
        LlamaForTokenClassification(config).save_pretrained(tmp_path / str(labels))
        with pytest.raises(RedpencilError, match=f"{labels} outputs"):
            load_reward_model(tmp_path / str(labels), runtime)


def test_an_architecture_with_its_own_positions_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    config = RobertaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    config.num_labels = 1
    RobertaForTokenClassification(config).save_pretrained(tmp_path)
    with pytest.raises(RedpencilError, match="counts positions from its pad id"):
        load_reward_model(tmp_path, runtime)


@pytest.mark.parametrize("head", ["policy", "token"])
@pytest.mark.parametrize("content", [b"", b"hello", None], ids=["empty", "text", "cut"])
def test_damaged_weights_are_refused(
    folder: Folder, runtime: Runtime, tmp_path: Path, head: str, content: bytes | None
) -> None:
    damaged = copy(folder("llama", head), tmp_path / "damaged")
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000] if content is None else content)
    load = load_policy if head == "policy" else load_reward_model
    options = {"trained": False} if head == "policy" else {}
    with pytest.raises(RedpencilError, match="cannot be loaded") as raised:
        load(damaged, runtime, **options)
    assert raised.value.file == str(damaged)
    assert raised.value.hint


@pytest.mark.parametrize("missing", ["model.layers.1.mlp.up_proj.weight", "lm_head.weight"])
def test_missing_weights_are_refused_and_not_made_up(
    folder: Folder, runtime: Runtime, tmp_path: Path, missing: str
) -> None:
    part = copy(folder("llama"), tmp_path / "part")
    weights = load_file(part / "model.safetensors")
    del weights[missing]
    save_file(weights, part / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RedpencilError, match=f"lacks 1 weights of a CausalLM model, such as {missing}"):
        load_policy(part, runtime, trained=False)
    if missing.startswith("model."):
        with pytest.raises(RedpencilError, match="lacks 1 weights"):
            load_head(part, "token", runtime, trained=True, zero_head=True)


@pytest.mark.parametrize(
    ("kind", "changes", "unread"),
    [
        ("llama", {"num_hidden_layers": 1, "layer_types": None}, r"model\.layers\.1\."),
        ("qwen2", {"num_hidden_layers": 1, "layer_types": None}, r"model\.layers\.1\."),
        ("gpt2", {"n_layer": 1}, r"transformer\.h\.1\."),
        ("qwen3", {"num_hidden_layers": 1, "layer_types": None}, r"model\.layers\.1\."),
    ],
)
def test_a_configuration_that_leaves_weights_unread_is_refused(
    folder: Folder, runtime: Runtime, tmp_path: Path, kind: str, changes: dict[str, Any], unread: str
) -> None:
    for level in ("policy", "token", "sequence"):
        edited = copy(folder(kind, level), tmp_path / f"edited-{level}")
        edit_json(edited / "config.json", **changes)
        load: Any = partial(load_policy, trained=False) if level == "policy" else load_reward_model
        with pytest.raises(RedpencilError, match=f"its weights have {unread}.* no place") as caught:
            load(edited, runtime)
        assert "config.json" in str(caught.value.hint)
        with pytest.raises(RedpencilError, match=f"its weights have {unread}"):
            load_head(edited, "token", runtime, trained=True, zero_head=True)


def test_a_bias_that_the_configuration_switched_off_is_not_left_out(
    folder: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    edited = copy(folder("llama"), tmp_path / "edited")
    weights = load_file(edited / "model.safetensors")
    bias = {"model.layers.0.self_attn.q_proj.bias": weights["model.layers.0.self_attn.q_proj.weight"][:, 0].clone()}
    save_file({**weights, **bias}, edited / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RedpencilError, match=r"its weights have model\.layers\.0\.self_attn\.q_proj\.bias"):
        load_policy(edited, runtime, trained=False)


def test_what_belongs_to_a_part_that_the_model_has_not_is_left_out(
    folder: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    more = copy(folder("llama"), tmp_path / "more")
    weights = load_file(more / "model.safetensors")
    others = {name: torch.ones(2) for name in ("model.visual.blocks.0.weight", "v_head.weight", "score.bias")}
    # Old checkpoints keep what is computed.
    others["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file({**weights, **others}, more / "model.safetensors", metadata={"format": "pt"})
    load_policy(more, runtime, trained=False)
    load_head(more, "token", runtime, trained=True, zero_head=True)


def test_a_reward_model_without_its_head_is_refused(folder: Folder, runtime: Runtime, tmp_path: Path) -> None:
    part = copy(folder("llama", "token"), tmp_path / "part")
    weights = load_file(part / "model.safetensors")
    save_file({k: w for k, w in weights.items() if "score" not in k}, part / "model.safetensors", {"format": "pt"})
    with pytest.raises(RedpencilError, match=r"lacks 2 weights of a TokenClassification model, such as score\.bias"):
        load_reward_model(part, runtime)


def test_weights_of_other_shapes_are_refused(folder: Folder, runtime: Runtime, tmp_path: Path) -> None:
    other = copy(folder("llama"), tmp_path / "other")
    edit_json(other / "config.json", hidden_size=32)
    with pytest.raises(RedpencilError, match="cannot be loaded"):
        load_policy(other, runtime, trained=False)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_type": "nope"}'])
@pytest.mark.parametrize("weights", [True, False])
def test_a_damaged_configuration_is_refused(
    folder: Folder, runtime: Runtime, tmp_path: Path, content: str, weights: bool
) -> None:
    damaged = copy(folder("llama"), tmp_path / "damaged")
    (damaged / "config.json").write_text(content)
    if not weights:
        (damaged / "model.safetensors").unlink()
    for load in (
        lambda: load_policy(damaged, runtime, trained=False),
        lambda: load_reward_model(damaged, runtime),
        lambda: load_head(damaged, "token", runtime, trained=True, zero_head=True),
    ):
        with pytest.raises(RedpencilError):
            load()


@pytest.mark.parametrize("weights", [True, False])
def test_code_that_comes_with_a_checkpoint_is_never_run(
    folder: Folder, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: bool
) -> None:
    foreign = copy(folder("llama"), tmp_path / "foreign")
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    heads = {"AutoModelForTokenClassification": "own.Own", "AutoTokenizer": [None, "own.OwnTokenizer"]}
    edit_json(foreign / "config.json", model_type="own", auto_map={**classes, **heads})
    edit_json(foreign / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=heads)
    (foreign / "own.py").write_text("raise SystemExit('the code was run')\n")
    if not weights:
        (foreign / "model.safetensors").unlink()
        write_json(foreign / "redpencil.json", {"fresh": True})
    monkeypatch.setattr("builtins.input", lambda _="": "y")  # what transformers would ask
    for load in (
        lambda: load_policy(foreign, runtime, trained=False, fresh=True),
        *([lambda: load_head(foreign, "token", runtime, trained=True, zero_head=True)] if weights else []),
        lambda: load_codec(foreign),
    ):
        with pytest.raises(RedpencilError, match=r"custom code|trust_remote_code"):
            load()


def test_a_folder_without_a_configuration_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RedpencilError, match=r"config\.json is missing"):
            load_policy(path, runtime, trained=False)
        with pytest.raises(RedpencilError, match=r"config\.json is missing"):
            load_reward_model(path, runtime)


def test_an_unknown_head_is_named() -> None:
    config = LlamaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    with pytest.raises(RedpencilError, match="LlamaForCausalLM has no linear head"):
        head_of(LlamaForCausalLM(config))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": []}'])
def test_a_damaged_tokenizer_is_refused(folder: Folder, tmp_path: Path, content: str) -> None:
    damaged = copy(folder("llama"), tmp_path / "damaged")
    (damaged / "tokenizer.json").write_text(content)
    with pytest.raises(RedpencilError, match="no tokenizer can be loaded"):
        load_codec(damaged)


@pytest.mark.parametrize("marked", [True, False])
def test_a_folder_without_weights_is_no_model(folder: Folder, runtime: Runtime, tmp_path: Path, marked: bool) -> None:
    policy, reward = copy(folder("llama"), tmp_path / "policy"), copy(folder("llama", "token"), tmp_path / "reward")
    for lost in (policy, reward):
        (lost / "model.safetensors").unlink()
        (lost / "training.safetensors.txt").write_text("")
        if marked:
            write_json(lost / "redpencil.json", {"fresh": True})
    for load in (
        lambda: load_policy(policy, runtime, trained=False),
        lambda: load_policy(policy, runtime, trained=True),
        lambda: load_head(policy, "token", runtime, trained=True, zero_head=True),
        lambda: load_reward_model(reward, runtime),
    ):
        with pytest.raises(RedpencilError, match="it holds no weights"):
            load()


def test_a_tokenizer_with_more_tokens_than_the_model_knows_is_refused(
    folder: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    larger = copy(folder("llama"), tmp_path / "larger")
    tokenizer = load_codec(larger).tokenizer
    known = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(larger)
    load_policy(larger, runtime, trained=False)  # a special token that no text gives
    tokenizer.add_tokens(["quokka"])
    tokenizer.save_pretrained(larger)
    for load in (
        lambda: load_policy(larger, runtime, trained=True),
        lambda: load_head(larger, "token", runtime, trained=True, zero_head=True),
    ):
        with pytest.raises(RedpencilError, match=rf"gives token {known + 1}, the model knows {known} tokens") as caught:
            load()
        assert (caught.value.file, caught.value.field) == (str(larger), "vocab_size")


def test_a_checkpoint_of_a_stage_that_was_changed_is_not_loaded(
    folder: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    with open_stage(tmp_path / "sft", "sft", seed=0, config={}, inputs={}) as stage:
        assert stage is not None
        copy(folder("llama"), stage.folder / "checkpoint")
    checkpoint = tmp_path / "sft" / "checkpoint"
    load_policy(checkpoint, runtime, trained=False)
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    weights[-4096:] = bytes(4096)
    (checkpoint / "model.safetensors").write_bytes(weights)
    load_policy(copy(checkpoint, tmp_path / "copy"), runtime, trained=False)
    with pytest.raises(RedpencilError, match=r"'sft' wrote: checkpoint/model\.safetensors has changed"):
        load_policy(checkpoint, runtime, trained=False)


def test_attention_of_the_recipe_is_that_of_the_models(folder: Callable[..., Path]) -> None:
    eager = Runtime(torch.device("cpu"), torch.float32, attention="eager")
    for model in (
        load_policy(folder("llama"), eager, trained=True),
        load_head(folder("llama"), "token", eager, trained=True, zero_head=True),
    ):
        assert model.module.config._attn_implementation == "eager"


def test_attention_that_a_model_has_not(tmp_path: Path, folder: Callable[..., Path]) -> None:
    shutil.copytree(folder("llama"), tmp_path / "model")
    config = Gemma2Config(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, head_dim=8
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    sdpa = Runtime(torch.device("cpu"), torch.float32, attention="sdpa")
    with pytest.raises(RedpencilError, match="has no sdpa attention") as raised:
        load_policy(tmp_path / "model", sdpa, trained=False)
    assert raised.value.field == "compute.attn_implementation"


def test_only_trained_models_compute_activations_again(folder: Callable[..., Path]) -> None:
    saving = Runtime(torch.device("cpu"), torch.float32, checkpointing=True)
    for trained in (True, False):
        for model in (
            load_policy(folder("llama"), saving, trained=trained),
            load_head(folder("llama"), "token", saving, trained=trained, zero_head=True),
        ):
            layers = [layer for layer in model.module.modules() if isinstance(layer, GradientCheckpointingLayer)]
            assert layers
            assert all(layer.gradient_checkpointing == trained for layer in layers)


def test_a_reference_has_the_number_format_of_what_is_trained(folder: Callable[..., Path]) -> None:
    half = Runtime(torch.device("cpu"), torch.bfloat16)
    reference = load_policy(folder("llama"), half, trained=False, reference=True).module
    assert reference.dtype == torch.float32
    assert not any(weight.requires_grad for weight in reference.parameters())
    assert load_policy(folder("llama"), half, trained=False).module.dtype == torch.bfloat16
