"""Folders in and out: what loads, what plain transformers makes of what we save, and what is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
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
    AutoTokenizer,
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
from redpencil.models.checkpoints import (
    RewardCard,
    chat_options_of,
    codec_of_checkpoint,
    context_of,
    export,
    has_weights,
    load_head,
    load_policy,
    load_reward_model,
    template_of,
)
from redpencil.models.codec import CHAT, load_codec, same_encoding
from redpencil.models.forward import collate, sequence_rewards, token_rewards
from redpencil.models.heads import head_of
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import end_tokens
from redpencil.runs import open_stage, write_json

Folder = Callable[..., Path]
DECODERS = ("llama", "qwen2", "qwen3", "gpt2")
CARD = RewardCard("token", 0.5, 2.0, 0.25, 4.0, "{prompt}", "edits")
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


def test_a_model_comes_with_the_codec_of_its_folder_or_the_one_that_is_named(
    folder: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    source = copy(folder("llama"), tmp_path / "with-template")
    (source / "redpencil.json").write_text('{"prompt_template": "Q: {prompt}"}')
    other = load_codec(source, "{prompt} :")
    for load in (
        lambda **named: load_policy(source, runtime, trained=False, **named),
        lambda **named: load_head(source, "token", runtime, trained=False, zero_head=True, **named),
    ):
        assert load().codec.template == "Q: {prompt}"
        assert load(codec=other).codec is other
    assert load_policy(folder("llama"), runtime, trained=False).codec.template == "{prompt}"


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


def test_the_card_comes_back(folder: Folder, runtime: Runtime, tmp_path: Path) -> None:
    codec = load_codec(folder("llama"), "Q: {prompt} A:")
    model = load_head(folder("llama"), "token", runtime, trained=True, zero_head=True, codec=codec)
    export(model, tmp_path, card=CARD)
    assert load_reward_model(tmp_path, runtime, level="token").card == CARD
    assert template_of(tmp_path) == "Q: {prompt} A:"
    assert template_of(folder("llama"), default="none") == "none"


def test_a_card_of_an_earlier_version_does_not_say_whether_the_model_has_learned(
    folder: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    model = load_head(folder("llama", "token"), "token", runtime, trained=True, zero_head=False)
    export(model, tmp_path, card=CARD)
    content = json.loads((tmp_path / "redpencil.json").read_text())
    for key in ("training_loss", "constant_loss", "learned"):
        del content["reward"][key]
    (tmp_path / "redpencil.json").write_text(json.dumps(content))
    assert load_reward_model(tmp_path, runtime).card == CARD
    assert CARD.learned is None


def test_a_reward_model_without_a_card_has_centre_0_and_scale_1(folder: Folder, runtime: Runtime) -> None:
    card = load_reward_model(folder("bert", "sequence"), runtime).card
    assert (card.level, card.center, card.scale, card.trained_on) == ("sequence", 0.0, 1.0, "unknown")


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"reward": []},
        {"reward": {"level": "token"}},
        {"reward": asdict(CARD) | {"scale": 0.0}},
        {"reward": asdict(CARD) | {"scale": "one"}},
        {"reward": asdict(CARD) | {"center": "one"}},
        {"reward": asdict(CARD) | {"center": None}},
        {"reward": asdict(CARD) | {"level": "sequence"}},
    ],
)
def test_a_damaged_card_is_refused(folder: Folder, runtime: Runtime, tmp_path: Path, content: object) -> None:
    damaged = copy(folder("llama", "token"), tmp_path / "damaged")
    (damaged / "redpencil.json").write_text(json.dumps(content))
    with pytest.raises(RedpencilError, match=r"card|JSON object"):
        load_reward_model(damaged, runtime)


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


def test_a_reward_model_without_a_card_and_its_codec(folder: Folder, runtime: Runtime, tmp_path: Path) -> None:
    policy_codec = load_codec(folder("llama"), "{prompt} :")
    # with the policy's tokenizer it gets the policy's template, so it reads the policy's token ids
    same = load_reward_model(folder("llama", "token"), runtime, policy_codec=policy_codec)
    assert same.same_encoding
    assert same.model.codec.template == "{prompt} :"
    # without a policy there is nothing to differ from
    alone = load_reward_model(folder("llama", "token"), runtime)
    assert alone.same_encoding
    assert alone.model.codec.template == "{prompt}"
    foreign = copy(folder("gpt2", "token"), tmp_path / "foreign")
    other = load_reward_model(foreign, runtime, policy_codec=policy_codec)
    assert not other.same_encoding
    assert other.model.codec.template == "{prompt}"
    (foreign / "chat_template.jinja").write_text("[{{ messages[0]['content'] }}]")
    chat = load_reward_model(foreign, runtime, policy_codec=policy_codec)
    assert not chat.same_encoding
    assert chat.model.codec.template == "chat"
    assert chat.model.codec.tokenizer.chat_template == "[{{ messages[0]['content'] }}]"
    assert load_reward_model(foreign, runtime).model.codec.template == "chat"
    (foreign / "redpencil.json").write_text('{"prompt_template": "Q: {prompt}"}')
    named = load_reward_model(foreign, runtime, policy_codec=policy_codec)
    assert (named.model.codec.template, named.card.prompt_template) == ("Q: {prompt}", "Q: {prompt}")
    assert (named.card.trained_on, named.same_encoding) == ("unknown", False)


def test_a_codec_that_the_user_names_is_used(folder: Folder, runtime: Runtime) -> None:
    policy_codec = load_codec(folder("llama"), "{prompt} :")
    own = load_codec(folder("llama"), "{prompt} ,")
    named = load_reward_model(folder("llama", "token"), runtime, codec=own)
    assert (named.model.codec, named.same_encoding) == (own, True)
    other = load_reward_model(folder("llama", "token"), runtime, codec=own, policy_codec=policy_codec)
    assert (other.model.codec, other.same_encoding) == (own, False)


def test_a_card_names_the_template_that_prompts_were_learned_in(
    folder: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    codec = load_codec(folder("llama"), "{prompt} :")
    model = load_head(folder("llama"), "token", runtime, trained=True, zero_head=True, codec=codec)
    export(model, tmp_path / "reward", card=replace(CARD, prompt_template="{prompt} :"))
    assert load_reward_model(tmp_path / "reward", runtime, policy_codec=codec).same_encoding
    policy_codec = load_codec(folder("llama"), "{prompt} ,")
    reward = load_reward_model(tmp_path / "reward", runtime, policy_codec=policy_codec)
    assert not reward.same_encoding
    assert reward.model.codec.template == "{prompt} :"


# The end token and the chat template are facts that go with a checkpoint.

BASE = {"eos": "<|endoftext|>", "ends": [0, 2]}
"""A base model: its own end token is not the one that the chat template writes behind answers."""


def test_an_exported_policy_agrees_with_itself_in_its_end_token(
    chat_model: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    source = chat_model("chatml", **BASE)
    codec = load_codec(source, CHAT)
    assert (codec.eos_id, codec.ends, len(codec.findings)) == (2, {0, 2}, 1)
    export(load_policy(source, runtime, trained=True, codec=codec), tmp_path / "checkpoint")
    again = load_policy(tmp_path / "checkpoint", runtime, trained=False)
    assert (again.codec.eos_id, again.codec.ends, again.codec.findings) == (2, {0, 2}, ())
    assert same_encoding(again.codec, codec)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint")
    assert plain.generation_config.eos_token_id == [2, 0]
    assert plain.config.eos_token_id == 2
    assert AutoTokenizer.from_pretrained(tmp_path / "checkpoint").eos_token == "<|im_end|>"
    assert end_tokens(again) == {0, 2}


def test_an_exported_policy_with_one_end_names_one(folder: Folder, runtime: Runtime, tmp_path: Path) -> None:
    export(load_policy(folder("llama"), runtime, trained=True), tmp_path / "checkpoint")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint").generation_config.eos_token_id == 3


def test_a_reward_model_keeps_the_end_that_it_learned(chat_model: Folder, runtime: Runtime, tmp_path: Path) -> None:
    source = chat_model("chatml", "token", **BASE)
    policy_codec = load_codec(source, CHAT)
    trained = load_head(source, "token", runtime, trained=True, zero_head=False, codec=policy_codec)
    card = replace(CARD, prompt_template=CHAT)
    export(trained, tmp_path / "new", card=card)
    new = load_reward_model(tmp_path / "new", runtime, policy_codec=policy_codec)
    assert new.same_encoding
    assert new.model.codec.eos_id == 2
    # One from before: its tokenizer says what responses ended with, and that was not the template's end.
    before = copy(tmp_path / "new", tmp_path / "before")
    edit_json(before / "tokenizer_config.json", eos_token="<|endoftext|>")
    old = load_reward_model(before, runtime, policy_codec=policy_codec)
    assert not old.same_encoding
    assert old.model.codec.eos_id == 0


def test_how_a_chat_template_is_filled_goes_with_a_checkpoint(
    chat_model: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    source = chat_model("chatml")
    options = {"chat_template_kwargs": {"enable_thinking": False}, "chat_template_date": date(2025, 1, 31)}
    codec = load_codec(source, CHAT, **options)
    export(load_policy(source, runtime, trained=True, codec=codec), tmp_path / "checkpoint")
    assert chat_options_of(tmp_path / "checkpoint") == options
    assert chat_options_of(source) == {}
    again = load_policy(tmp_path / "checkpoint", runtime, trained=False).codec
    assert again.chat_options == options
    assert again.encode_prompts(["hello"]) == codec.encode_prompts(["hello"])
    named = codec_of_checkpoint(tmp_path / "checkpoint", chat_template_kwargs={})
    assert (named.chat_template_kwargs, named.chat_template_date) == ({}, date(2025, 1, 31))
    head = load_head(source, "token", runtime, trained=True, zero_head=True, codec=codec)
    export(head, tmp_path / "reward", card=replace(CARD, prompt_template=CHAT))
    assert load_reward_model(tmp_path / "reward", runtime, policy_codec=codec).same_encoding
    assert not load_reward_model(tmp_path / "reward", runtime, policy_codec=load_codec(source, CHAT)).same_encoding


@pytest.mark.parametrize(
    "wrong",
    [
        {"chat_template_kwargs": []},
        {"chat_template_kwargs": "x"},
        {"chat_template_date": "today"},
        {"chat_template_date": 3},
        {"chat_template_date": None},
    ],
)
def test_a_file_that_fills_a_chat_template_wrongly_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    (tmp_path / "redpencil.json").write_text(json.dumps({"prompt_template": "chat", **wrong}))
    with pytest.raises(RedpencilError, match="chat template") as raised:
        chat_options_of(tmp_path)
    assert raised.value.file == str(tmp_path / "redpencil.json")
    assert next(iter(wrong)) in str(raised.value.field)


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


def test_a_checkpoint_with_a_shared_backbone_is_a_plain_one(
    folder: Folder, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_head(folder("llama"), "token", runtime, trained=True, zero_head=True)
    torch.nn.init.normal_(head_of(model.module).weight)
    shared, whole, batch = (
        tmp_path / "store" / "b.safetensors",
        tmp_path / "whole",
        collate([[5]], [[6, 7]], 0, torch.device("cpu")),
    )
    card = RewardCard("token", 0.0, 1.0, 0.0, 1.0, "{prompt}", "edits")
    export(model, whole, card=card)
    export(model, tmp_path / "first", card=card, shared=shared)
    export(model, tmp_path / "second", card=card, shared=shared)

    def no_links(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", no_links)
    export(model, tmp_path / "copied", card=card, shared=shared)
    names = {path.name for path in (tmp_path / "first").iterdir()}
    assert {"model-00001-of-00002.safetensors", "model.safetensors.index.json", "config.json"} <= names
    part = "model-00001-of-00002.safetensors"
    inodes = {(tmp_path / name / part).stat().st_ino for name in ("first", "second")} | {shared.stat().st_ino}
    assert len(inodes) == 1
    assert (tmp_path / "copied" / part).stat().st_ino not in inodes
    with torch.no_grad():
        expected = token_rewards(load_reward_model(whole, runtime).model.module, batch)
        for name in ("first", "second", "copied"):
            found = token_rewards(load_reward_model(tmp_path / name, runtime).model.module, batch)
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_trained_weights_can_be_written_in_half_the_room(folder: Folder, runtime: Runtime, tmp_path: Path) -> None:
    policy = load_policy(folder("llama"), runtime, trained=True)
    export(policy, tmp_path / "whole")
    export(replace(policy, runtime=replace(runtime, checkpoint_dtype=torch.bfloat16)), tmp_path / "half")
    whole, half = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "half"))
    assert {weight.dtype for weight in half.values()} == {torch.bfloat16}
    assert all(torch.equal(half[name], weight.bfloat16()) for name, weight in whole.items())
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("whole", "half")]
    assert [config.pop("dtype") for config in configs] == ["float32", "bfloat16"]
    assert configs[0] == configs[1]
    # What is trained stays as it is, and what starts from the checkpoint is trained in float32.
    assert {weight.dtype for weight in policy.module.parameters()} == {torch.float32}
    again = load_policy(tmp_path / "half", runtime, trained=True).module
    assert {weight.dtype for weight in again.parameters()} == {torch.float32}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto").dtype == torch.bfloat16


def test_a_large_checkpoint_is_written_in_several_files(
    folder: Folder, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redpencil.models.checkpoints.LARGEST_FILE", "10KB")
    policy = load_policy(folder("llama"), runtime, trained=True)
    export(policy, tmp_path / "large")
    assert len(list((tmp_path / "large").glob("model-*-of-*.safetensors"))) > 1
    again = load_policy(tmp_path / "large", runtime, trained=True)
    for one, other in zip(policy.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(one, other)


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
