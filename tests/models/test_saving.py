"""What is written of a trained model, and that it is read again."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from redpencil.models.checkpoints import load_head, load_policy, load_reward_model
from redpencil.models.codec import CHAT, load_codec, same_encoding
from redpencil.models.forward import collate, token_rewards
from redpencil.models.heads import head_of
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import end_tokens
from redpencil.models.saving import export
from redpencil.models.sidecar import RewardCard

Folder = Callable[..., Path]
CARD = RewardCard("token", 0.5, 2.0, 0.25, 4.0, "{prompt}", "edits")


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


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
    monkeypatch.setattr("redpencil.models.saving.LARGEST_FILE", "10KB")
    policy = load_policy(folder("llama"), runtime, trained=True)
    export(policy, tmp_path / "large")
    assert len(list((tmp_path / "large").glob("model-*-of-*.safetensors"))) > 1
    again = load_policy(tmp_path / "large", runtime, trained=True)
    for one, other in zip(policy.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(one, other)
