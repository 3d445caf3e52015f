"""Heads of reward and value models, and backbones that are cut or frozen, of several architectures."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from redpencil.models.checkpoints import load_head, load_policy, load_reward_model
from redpencil.models.forward import READ_TWICE, collate, reads_twice, token_rewards, token_values
from redpencil.models.heads import freeze_layers, head_of, keep_layers
from redpencil.models.runtime import Runtime
from redpencil.models.saving import export
from redpencil.models.sidecar import RewardCard

Folder = Callable[..., Path]
KINDS = ("llama", "qwen2", "qwen3", "gpt2", "bert")
CARD = RewardCard("token", 0.0, 1.0, 0.0, 1.0, "{prompt}", "edits")


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_model_with_two_heads_is_saved_and_read_as_it_was(
    folder: Folder, runtime: Runtime, tmp_path: Path, kind: str
) -> None:
    model = load_head(folder(kind), "token", runtime, trained=False, zero_head=True, heads=2)
    assert model.module.config.id2label == {0: "within", 1: "overall"}
    keep_layers(model.module, 1)
    setattr(model.module.config, READ_TWICE, True)
    torch.manual_seed(0)
    torch.nn.init.normal_(head_of(model.module).weight)
    batch = collate([[5], [6, 7, 8]], [[9, 10, 3], [11, 3]], 0, torch.device("cpu"))
    with torch.no_grad():
        expected = token_rewards(model.module, batch)
    export(model, tmp_path / "saved", card=CARD)
    again = load_reward_model(tmp_path / "saved", runtime, level="token").model
    with torch.no_grad():
        torch.testing.assert_close(token_rewards(again.module, batch), expected)
    assert again.module.config.num_hidden_layers == 1
    assert reads_twice(again.module)
    # a value model that starts from it has one new head, and reads once
    value = load_head(tmp_path / "saved", "token", runtime, trained=True, zero_head=True).module
    assert head_of(value).out_features == 1
    assert not reads_twice(value)
    with torch.no_grad():
        assert not token_values(value, batch).any()
    mine, theirs = value.base_model.state_dict(), again.module.base_model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_backbone_computes_what_the_layers_below_do(folder: Folder, runtime: Runtime, kind: str) -> None:
    whole, cut = (load_head(folder(kind), "token", runtime, trained=False, zero_head=True).module for _ in range(2))
    keep_layers(cut, 1)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        hidden = whole.base_model(ids, output_hidden_states=True).hidden_states
        found = cut.base_model(ids, output_hidden_states=True).hidden_states
    assert len(found) == 2
    torch.testing.assert_close(found[0], hidden[0])
    layers = [m for m in cut.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 1]
    assert layers
    first = next(m for m in whole.modules() if isinstance(m, torch.nn.ModuleList))[0]
    for name, value in first.state_dict().items():
        assert torch.equal(value, layers[0][0].state_dict()[name])


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_layers_and_embeddings_want_no_gradient(folder: Folder, runtime: Runtime, kind: str) -> None:
    model = load_head(folder(kind), "token", runtime, trained=True, zero_head=True).module
    total = sum(p.requires_grad for p in model.parameters())
    freeze_layers(model, 1)
    embeddings = model.get_input_embeddings().weight
    assert not embeddings.requires_grad
    assert head_of(model).weight.requires_grad
    kept = [name for name, p in model.named_parameters() if p.requires_grad]
    assert 0 < len(kept) < total
    assert not [name for name in kept if ".0." in name or "embed" in name or "wte" in name or "wpe" in name]
    assert [name for name in kept if ".1." in name]


def test_a_backbone_that_differs_from_its_configuration_is_not_patched_up(
    folder: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    """Only the head may be new where shapes do not fit."""
    import json
    import shutil

    from redpencil.errors import RedpencilError

    broken = tmp_path / "broken"
    shutil.copytree(folder("llama"), broken)
    content = json.loads((broken / "config.json").read_text())
    content["intermediate_size"] *= 2
    (broken / "config.json").write_text(json.dumps(content))
    with pytest.raises(RedpencilError, match=r"lacks \d+ weights"):
        load_head(broken, "token", runtime, trained=True, zero_head=True)
    assert load_policy(folder("llama"), runtime, trained=False)
