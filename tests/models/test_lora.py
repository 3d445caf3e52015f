"""LoRA: several roles on one frozen base compute what as many models of their own would."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, PreTrainedModel

from redpencil.config.methods import SamplingConfig
from redpencil.config.training import LoraConfig
from redpencil.digests import hash_input
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import (
    LanguageModel,
    checkpoint_activations,
    load_head,
    load_policy,
    load_reward_model,
)
from redpencil.models.forward import (
    Batch,
    collate,
    hidden_states,
    response_logprobs,
    sequence_rewards,
    token_rewards,
    token_values,
)
from redpencil.models.heads import head_of
from redpencil.models.lora import Bases, LoraBase, adapter_weights, merge, role_of, trained_parameters
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import HFSampler
from redpencil.models.saving import export
from redpencil.models.sidecar import RewardCard

Folder = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # PEFT asks
KINDS = ("llama", "gpt2", "qwen2", "qwen3")
LORA = LoraConfig(r=4, alpha=8)
CARD = {"center": 0.0, "scale": 1.0, "trajectory_center": 0.0, "trajectory_scale": 1.0}


def batch_of(model: LanguageModel) -> Batch:
    return collate([[4, 5, 6], [7]], [[8, 9], [10, 11, 12]], model.codec.pad_id, model.runtime.device)


def stir(model: LanguageModel, seed: int, size: float = 0.2) -> None:
    """Let the weights that a model trains be what training might have made of them."""
    generator = torch.Generator().manual_seed(seed)
    for weight in trained_parameters(model.module).values():
        weight.data = torch.randn(weight.shape, generator=generator).to(weight) * size


@pytest.fixture
def saved(folder: Folder, runtime: Runtime, tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """`saved(kind)`: folders of a base, and on it of a policy, and a token and a sequence reward model."""

    def make(kind: str, lora: LoraConfig = LORA) -> dict[str, Path]:
        root = tmp_path / kind
        base = shutil.copytree(folder(kind), root / "base")
        policy = load_policy(base, runtime, trained=True, lora=lora)
        stir(policy, 1)
        export(policy, root / "policy")
        for seed, level in enumerate(("token", "sequence")):
            card = RewardCard(level, **CARD, prompt_template="{prompt}", trained_on="edits")
            model = load_head(root / "policy", level, runtime, trained=True, zero_head=True, lora=lora)
            stir(model, 2 + seed)
            export(model, root / level, card=card)
        return {name: root / name for name in ("base", "policy", "token", "sequence")}

    return make


def roles(folders: dict[str, Path], runtime: Runtime) -> dict[str, LanguageModel]:
    """What PPO holds, all on one base."""
    bases = Bases()

    def policy(*, trained: bool) -> LanguageModel:
        return load_policy(folders["policy"], runtime, trained=trained, lora=LORA, bases=bases)

    def reward(level: str) -> LanguageModel:
        return load_reward_model(folders[level], runtime, lora=LORA, bases=bases).model

    return {
        "policy": policy(trained=True),
        "reference": policy(trained=False),
        "token": reward("token"),
        "sequence": reward("sequence"),
        "value": load_head(folders["token"], "token", runtime, trained=True, zero_head=True, lora=LORA, bases=bases),
    }


def merged(folders: dict[str, Path], runtime: Runtime) -> dict[str, LanguageModel]:
    """The same as five whole models of their own, merged in float64."""
    models = {}
    for name in ("policy", "reference", "token", "sequence", "value"):
        model = roles(folders, runtime)[name]
        module = merge(model.module.double()).requires_grad_()
        models[name] = LanguageModel(module, model.codec, runtime)
    return models


def numbers(models: dict[str, LanguageModel]) -> dict[str, torch.Tensor]:
    batch = batch_of(models["policy"])
    mask = batch.response_mask
    return {
        "policy": response_logprobs(models["policy"].module, batch)[mask],
        "reference": response_logprobs(models["reference"].module, batch)[mask],
        "value": token_values(models["value"].module, batch)[mask],
        "token": token_rewards(models["token"].module, batch)[mask],
        "hidden": hidden_states(models["token"].module, batch)[mask],
        "sequence": sequence_rewards(models["sequence"].module, batch),
    }


def doubled(models: dict[str, LanguageModel]) -> dict[str, LanguageModel]:
    for model in models.values():
        model.module.double()
    return models


@pytest.mark.parametrize("kind", KINDS)
def test_one_base_answers_as_models_of_their_own_do(saved: Any, kind: str, runtime: Runtime) -> None:
    folders = saved(kind)
    shared, own = doubled(roles(folders, runtime)), merged(folders, runtime)
    for model in shared.values():
        assert role_of(model.module) is not None
    assert all(role_of(model.module) is None for model in own.values())
    found, wanted = numbers(shared), numbers(own)
    for name in wanted:
        assert float(found[name].detach().std()) > 0.001 or name == "value", name
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=1e-6)
    assert torch.equal(found["policy"], found["reference"])
    stir(shared["policy"], 9)
    assert float((numbers(shared)["policy"] - found["policy"]).detach().abs().max()) > 0.1
    torch.testing.assert_close(numbers(shared)["reference"], found["reference"], rtol=0, atol=0)


def adapted_gradients(model: PreTrainedModel, whole: PreTrainedModel, scale: float) -> dict[str, torch.Tensor]:
    """The gradients that an adapter has where its product with the base, `whole`, has those that it has.

    W = W0 + s B A, so that dL/dB = s dL/dW A^T and dL/dA = s B^T dL/dW; GPT-2 has W transposed.
    """
    found = {}
    for name, weight in trained_parameters(model).items():
        if ".lora_" not in name:
            found[name] = whole.get_parameter(name).grad
            continue
        path, _, rest = name.partition(".lora_")
        gradient = whole.get_parameter(f"{path}.weight").grad
        layer: Any = model.get_submodule(path)
        adapter = rest.split(".")[1]
        a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
        if layer.fan_in_fan_out:
            gradient = gradient.T
        found[name] = scale * (b.T @ gradient if rest.startswith("A") else gradient @ a.T)
        assert found[name].shape == weight.shape
    return found


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed again"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_merged_model_though_other_roles_compute_in_between(
    saved: Any, kind: str, runtime: Runtime, *, checkpointing: bool
) -> None:
    folders = saved(kind)
    shared, own = doubled(roles(folders, runtime)), merged(folders, runtime)
    if checkpointing:
        checkpoint_activations(shared["policy"].module)
    for models in (shared, own):  # a value head that is 0 has no gradient below it
        head = head_of(models["value"].module)
        head.weight.data = torch.linspace(-1, 1, head.weight.numel()).view_as(head.weight).double()
    found, wanted = numbers(shared), numbers(own)
    losses = [sum(every[name].square().sum() for name in ("policy", "value")) for every in (found, wanted)]
    for loss in losses:
        loss.backward()
    for name in ("policy", "value"):
        assert trained_parameters(shared[name].module)
        gradients = adapted_gradients(shared[name].module, own[name].module, LORA.alpha / LORA.r)
        for key, weight in trained_parameters(shared[name].module).items():
            assert weight.grad is not None, key
            torch.testing.assert_close(weight.grad, gradients[key], rtol=1e-5, atol=1e-6)
    trained = {id(w) for name in ("policy", "value") for w in trained_parameters(shared[name].module).values()}
    for model in shared.values():
        assert all(weight.grad is None for weight in model.module.parameters() if id(weight) not in trained)


def test_the_base_is_in_memory_once_and_each_role_trains_its_own_weights(saved: Any, runtime: Runtime) -> None:
    folders = saved("llama")
    models = roles(folders, runtime)
    assert len({id(role_of(model.module).base) for model in models.values()}) == 1  # type: ignore[union-attr]
    storages = {w.untyped_storage().data_ptr(): w.numel() for m in models.values() for w in m.module.parameters()}
    base = load_policy(folders["base"], runtime, trained=False).module.num_parameters()
    # Two layers, each with q 16x16, k and v 16x8, o 16x16, gate and up 16x32, down 32x16; rank 4.
    adapter = 2 * 4 * ((16 + 16) + 2 * (16 + 8) + (16 + 16) + 2 * (16 + 32) + (32 + 16))
    heads = 17 + 17 + 16
    assert sum(storages.values()) == base + 5 * adapter + heads
    assert {name: sum(w.numel() for w in trained_parameters(m.module).values()) for name, m in models.items()} == {
        "policy": adapter,
        "value": adapter + 17,
        **dict.fromkeys(("reference", "token", "sequence"), 0),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_without_adapter_the_base_is_what_it_was_bit_for_bit(folder: Folder, kind: str, runtime: Runtime) -> None:
    bases = Bases()
    policy = load_policy(folder(kind), runtime, trained=True, lora=LORA, bases=bases)
    value = load_head(folder(kind), "token", runtime, trained=True, zero_head=True, lora=LORA, bases=bases)
    reference = load_policy(folder(kind), runtime, trained=False, lora=LORA, bases=bases)
    plain, batch = load_policy(folder(kind), runtime, trained=False), batch_of(policy)
    before = response_logprobs(plain.module, batch)
    assert torch.equal(response_logprobs(policy.module, batch), before)
    assert not token_values(value.module, batch).any()
    stir(policy, 1)
    stir(value, 2)
    assert not torch.equal(response_logprobs(policy.module, batch), before)
    assert torch.equal(response_logprobs(reference.module, batch), before)
    config = SamplingConfig(response_length=6, temperature=0)
    prompts = [[4, 5], [6, 7, 8]]
    answers = HFSampler(plain).sample(prompts, config, seed=0)
    assert HFSampler(reference).sample(prompts, config, seed=0) == answers
    assert HFSampler(policy).sample(prompts, config, seed=0) != answers


def test_new_adapters_depend_on_the_seed(folder: Folder, runtime: Runtime) -> None:
    def drawn(seed: int) -> torch.Tensor:
        policy = load_policy(folder("llama"), runtime, trained=True, lora=LORA, seed=seed)
        return torch.cat([weight.detach().flatten() for weight in trained_parameters(policy.module).values()])

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


def test_a_base_in_bfloat16_has_adapters_in_float32_and_the_policy_starts_as_the_reference(
    saved: Any, runtime: Runtime
) -> None:
    half = Runtime(runtime.device, torch.bfloat16)
    models = roles(saved("llama"), half)
    for model in models.values():
        for name, weight in model.module.named_parameters():
            own = ".lora_" in name or name.startswith("score")
            assert weight.dtype == (torch.float32 if own else torch.bfloat16), name
    with half.autocast():
        found = numbers(models)
    assert torch.equal(found["policy"], found["reference"])
    with half.autocast():
        numbers(models)["policy"].sum().backward()
    assert all(
        w.grad is not None and w.grad.dtype == torch.float32
        for w in trained_parameters(models["policy"].module).values()
    )


# Folders.


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_by_peft_and_transformers(saved: Any, kind: str, runtime: Runtime) -> None:
    folders = saved(kind)
    policy = load_policy(folders["policy"], runtime, trained=False)
    batch = batch_of(policy)
    mask = batch.response_mask
    wanted = response_logprobs(policy.module, batch)[mask]
    by_peft = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folders["base"]), folders["policy"])
    alone = peft.AutoPeftModelForCausalLM.from_pretrained(folders["policy"])
    by_transformers = AutoModelForCausalLM.from_pretrained(folders["policy"])
    for model in (by_peft, alone, by_transformers):
        torch.testing.assert_close(response_logprobs(model.eval(), batch)[mask], wanted, rtol=0, atol=1e-6)
    merged = by_peft.merge_and_unload()
    torch.testing.assert_close(response_logprobs(merged, batch)[mask], wanted, rtol=0, atol=1e-5)
    token = load_reward_model(folders["token"], runtime).model
    whole = AutoModelForTokenClassification.from_pretrained(folders["base"], num_labels=1)
    heads = peft.PeftModel.from_pretrained(whole, folders["token"]).eval()
    expected = token_rewards(token.module, batch)[mask]
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(token_rewards(heads, batch)[mask], expected, rtol=0, atol=1e-6)
    targets = json.loads((folders["policy"] / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets), "the same training writes other bytes each time"
    assert len(targets) > 5
    assert len(list(folders["policy"].glob("*.safetensors"))) == 1
    size = (folders["policy"] / "adapter_model.safetensors").stat().st_size
    assert size < (folders["base"] / "model.safetensors").stat().st_size


@pytest.mark.parametrize("name", ["policy", "token", "sequence"])
def test_a_merged_model_is_a_whole_one_that_computes_the_same(
    saved: Any, name: str, runtime: Runtime, tmp_path: Path
) -> None:
    folders, out = saved("llama"), tmp_path / "merged"
    if name == "policy":
        model = load_policy(folders[name], runtime, trained=True)
    else:
        model = load_head(folders[name], name, runtime, trained=True, zero_head=False)  # type: ignore[arg-type]
    assert all(weight.requires_grad for weight in model.module.parameters())
    card = None if name == "policy" else RewardCard(name, **CARD, prompt_template="{prompt}", trained_on="edits")  # type: ignore[arg-type]
    export(model, out, card=card)
    assert not (out / "adapter_config.json").exists()
    found, wanted = numbers(roles({**folders, name: out}, runtime)), numbers(roles(folders, runtime))
    torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=1e-6)


def test_an_adapter_goes_on_learning_and_one_of_another_shape_is_refused(saved: Any, runtime: Runtime) -> None:
    folders = saved("llama")
    policy = load_policy(folders["policy"], runtime, trained=True, lora=LORA)
    for key, weight in trained_parameters(policy.module).items():
        assert float(weight.detach().abs().max()) > 0, key
    for changed in ({"r": 2}, {"alpha": 4}, {"target_modules": ("q_proj", "v_proj")}):
        with pytest.raises(RedpencilError, match="recipe asks for") as error:
            load_policy(folders["policy"], runtime, trained=True, lora=LORA.model_copy(update=changed))
        assert error.value.field == "lora"
        assert error.value.hint is not None
        assert "redpencil merge" in error.value.hint
    few = saved("qwen2", LORA.model_copy(update={"target_modules": ("q_proj", "v_proj")}))
    with pytest.raises(RedpencilError, match="recipe asks for"):
        load_policy(few["policy"], runtime, trained=True, lora=LORA)
    same = LORA.model_copy(update={"target_modules": ("v_proj", "q_proj")})
    assert len(trained_parameters(load_policy(few["policy"], runtime, trained=True, lora=same).module)) == 2 * 2 * 2


def test_modules_that_the_model_has_not_are_named(folder: Folder, runtime: Runtime) -> None:
    for modules in (("q_prj",), ("q_proj", "c_attn"), ("q_proj", "embed_tokens")):
        with pytest.raises(RedpencilError, match=modules[-1]) as error:
            load_policy(folder("llama"), runtime, trained=True, lora=LoraConfig(target_modules=modules))
        assert error.value.field == "lora.target_modules"


def test_twelve_adapters_of_one_base_are_kept_apart(folder: Folder, runtime: Runtime) -> None:
    bases = Bases()
    models = [load_policy(folder("llama"), runtime, trained=True, lora=LORA, bases=bases) for _ in range(12)]
    counts = {len(trained_parameters(model.module)) for model in models}
    assert counts == {len(adapter_weights(model.module)) for model in models} == {2 * 7 * 2}
    assert len({id(weight) for model in models for weight in trained_parameters(model.module).values()}) == 12 * 28


def test_a_run_that_is_moved_as_a_whole_still_works(saved: Any, runtime: Runtime, tmp_path: Path) -> None:
    folders = saved("llama")
    wanted = numbers(roles(folders, runtime))
    moved = shutil.move(tmp_path / "llama", tmp_path / "elsewhere" / "deep")
    found = numbers(roles({name: Path(moved) / name for name in folders}, runtime))
    for name in wanted:
        assert torch.equal(found[name], wanted[name]), name
    assert not folders["base"].exists()


def test_a_moved_adapter_finds_its_base_where_that_was_and_a_lost_base_is_named(
    saved: Any, runtime: Runtime, tmp_path: Path
) -> None:
    folders = saved("llama")
    moved = Path(shutil.move(folders["policy"], tmp_path / "other" / "place" / "policy"))
    load_policy(moved, runtime, trained=False)
    base = Path(shutil.move(folders["base"], tmp_path / "base"))
    with pytest.raises(RedpencilError, match="base model") as error:
        load_policy(moved, runtime, trained=False)
    assert str(folders["base"]) in error.value.problem
    assert error.value.field == "base_model_name_or_path"
    path = moved / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(base)}))
    load_policy(moved, runtime, trained=False)  # as the hint says
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": "../../../base"}))
    load_policy(moved, runtime, trained=False)


def test_a_base_with_other_weights_is_refused_and_changes_the_fingerprint(saved: Any, runtime: Runtime) -> None:
    folders = saved("llama")
    before = hash_input(folders["token"])
    other = load_policy(folders["base"], runtime, trained=False)
    next(other.module.parameters()).data[0, 0] += 1
    other.module.save_pretrained(folders["base"])
    assert hash_input(folders["token"]) != before
    for load in (
        lambda: load_policy(folders["policy"], runtime, trained=False),
        lambda: load_reward_model(folders["token"], runtime),
    ):
        with pytest.raises(RedpencilError, match="other weights") as error:
            load()
        assert str(folders["base"]) in str(error.value.problem)


def test_a_plain_peft_adapter_of_a_policy_is_read(folder: Folder, runtime: Runtime, tmp_path: Path) -> None:
    torch.manual_seed(3)
    options = peft.LoraConfig(
        r=3,
        lora_alpha=5,
        target_modules=["q_proj", "down_proj"],
        init_lora_weights=False,
        use_rslora=True,
        task_type="CAUSAL_LM",
    )
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder("qwen3")), options)
    model.save_pretrained(tmp_path / "foreign")
    for file in folder("qwen3").glob("tokenizer*"):
        shutil.copy(file, tmp_path / "foreign")
    policy = load_policy(tmp_path / "foreign", runtime, trained=False)
    batch = batch_of(policy)
    mask = batch.response_mask
    expected = response_logprobs(model.eval(), batch)[mask]
    torch.testing.assert_close(response_logprobs(policy.module, batch)[mask], expected, rtol=0, atol=1e-6)
    whole = load_policy(tmp_path / "foreign", runtime, trained=True)
    torch.testing.assert_close(response_logprobs(whole.module, batch)[mask], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        lambda: peft.IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj"], feedforward_modules=[]),
        lambda: peft.LoraConfig(target_modules=["q_proj"], use_dora=True, task_type="CAUSAL_LM"),
        lambda: peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM"),
        lambda: peft.LoraConfig(target_modules=["embed_tokens", "q_proj"], task_type="CAUSAL_LM"),
        lambda: peft.LoraConfig(target_modules=r".*(embed_tokens|q_proj)", task_type="CAUSAL_LM"),
    ],
    ids=["ia3", "dora", "whole modules", "embedding", "embedding by pattern"],
)
@pytest.mark.filterwarnings("ignore:Setting .save_embedding_layers.")
def test_other_kinds_of_adapters_are_refused_not_read_in_part(
    options: Callable[[], Any], folder: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder("qwen2")), options()).save_pretrained(
        tmp_path / "foreign"
    )
    for file in folder("qwen2").glob("tokenizer*"):
        shutil.copy(file, tmp_path / "foreign")
    with pytest.raises(RedpencilError) as error:
        load_policy(tmp_path / "foreign", runtime, trained=False)
    assert error.value.hint is not None
    assert "merge" in error.value.hint


def test_a_damaged_adapter_is_named(saved: Any, runtime: Runtime) -> None:
    folders = saved("llama")
    file = folders["policy"] / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(RedpencilError) as error:
        load_policy(folders["policy"], runtime, trained=False)
    assert str(file) == str(error.value.file)


def test_an_encoder_learns_a_reward_by_adapter(folder: Folder, runtime: Runtime, tmp_path: Path) -> None:
    base = folder("bert", "sequence")
    model = load_head(base, "sequence", runtime, trained=True, zero_head=True, lora=LORA)
    stir(model, 4)
    batch = batch_of(model)
    wanted = sequence_rewards(model.module, batch)
    export(
        model, tmp_path / "bert", card=RewardCard("sequence", **CARD, prompt_template="{prompt}", trained_on="edits")
    )
    found = sequence_rewards(load_reward_model(tmp_path / "bert", runtime).model.module, batch)
    assert float(wanted.detach().std()) > 0.001
    torch.testing.assert_close(found, wanted.detach(), rtol=0, atol=1e-6)


def test_a_whole_reward_model_lends_its_base_to_the_value_model(folder: Folder, runtime: Runtime) -> None:
    bases = Bases()
    reward = load_head(
        folder("llama", "token"), "token", runtime, trained=False, zero_head=False, lora=LORA, bases=bases
    )
    value = load_head(folder("llama", "token"), "token", runtime, trained=True, zero_head=True, lora=LORA, bases=bases)
    plain, batch = load_reward_model(folder("llama", "token"), runtime).model, batch_of(reward)
    stir(value, 1)
    assert role_of(reward.module).base is role_of(value.module).base  # type: ignore[union-attr]
    assert torch.equal(token_rewards(reward.module, batch), token_rewards(plain.module, batch))
    assert float(token_values(value.module, batch).detach().abs().max()) > 0


def test_the_base_is_one_root_for_all_its_views(folder: Folder, runtime: Runtime) -> None:
    """Every forward pass goes through the base's own, as sharding needs it."""
    bases = Bases()
    policy = load_policy(folder("llama"), runtime, trained=True, lora=LORA, bases=bases)
    value = load_head(folder("llama"), "token", runtime, trained=True, zero_head=True, lora=LORA, bases=bases)
    sequence = load_head(folder("llama"), "sequence", runtime, trained=True, zero_head=True, lora=LORA, bases=bases)
    role = role_of(policy.module)
    assert role is not None
    assert isinstance(role.base, LoraBase)
    calls: list[nn.Module] = []
    batch = batch_of(policy)
    response_logprobs(policy.module, batch)  # The first time a token goes through, to find out what is behind the head.
    role.base.register_forward_pre_hook(lambda module, _: calls.append(module))
    response_logprobs(policy.module, batch)
    token_values(value.module, batch)
    sequence_rewards(sequence.module, batch)
    assert len(calls) == 3
    every = {id(weight) for weight in role.base.parameters()}
    assert all(id(weight) in every for model in (policy, value, sequence) for weight in model.module.parameters())


def test_frozen_views_leave_the_backbone_in_training_so_that_layers_are_computed_again(
    folder: Folder, runtime: Runtime
) -> None:
    bases = Bases()
    again = replace(runtime, checkpointing=True)
    policy = load_policy(folder("llama"), again, trained=True, lora=LORA, bases=bases)
    load_head(folder("llama"), "token", again, trained=False, zero_head=True, lora=LORA, bases=bases)
    load_policy(folder("llama"), again, trained=False, lora=LORA, bases=bases)
    passes: list[nn.Module] = []
    backbone: Any = policy.module.base_model
    backbone.layers[0].mlp.register_forward_hook(lambda module, *_: passes.append(module))
    response_logprobs(policy.module, batch_of(policy)).sum().backward()
    assert len(passes) == 2
