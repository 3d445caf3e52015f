"""A reward model made of two policies: its rewards by hand, and its folder without weights."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import check_model_folder, load_policy, load_reward_model
from redpencil.models.forward import collate, token_rewards
from redpencil.models.log_ratio import LOG_RATIO, Parts, parts_of
from redpencil.models.runtime import Runtime
from redpencil.models.saving import write_log_ratio
from redpencil.models.sidecar import RewardCard, codec_of_checkpoint, reward_level
from redpencil.runs import write_json
from redpencil.text import read_json

Folder = Callable[..., Path]
CARD = RewardCard("token", 0.5, 2.0, 0.5, 1.0, "{prompt}", trained_on="edits")
PROMPTS, RESPONSES = [[5], [6, 7, 8, 9]], [[15, 16, 3], [18, 19, 20, 17, 3]]


@pytest.fixture
def made(folder: Folder, tmp_path: Path) -> Path:
    """The reward model of two policies beside each other, of which one has moved."""
    for name in ("sft", "dpo"):
        shutil.copytree(folder("llama"), tmp_path / "run" / name)
    weights = tmp_path / "run" / "dpo" / "model.safetensors"
    torch.manual_seed(0)
    save_file({name: value + 0.05 * torch.randn_like(value) for name, value in load_file(weights).items()}, weights)
    out = tmp_path / "run" / "reward" / "checkpoint"
    codec = codec_of_checkpoint(tmp_path / "run" / "sft")
    write_log_ratio(out, Parts(tmp_path / "run" / "dpo", tmp_path / "run" / "sft", 0.3), codec, CARD)
    return out


def test_the_reward_of_a_token_is_beta_times_its_log_ratio(made: Path, runtime: Runtime) -> None:
    reward = load_reward_model(made, runtime, level="token")
    assert (reward.card, reward.model.name, reward.model.readings) == (CARD, str(made), 1)
    batch = collate(PROMPTS, RESPONSES, 1, runtime.device)
    dpo, sft = (load_policy(made.parents[1] / name, runtime, trained=False).module for name in ("dpo", "sft"))
    with torch.no_grad():
        found = token_rewards(reward.model.module, batch)
        for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            ids = torch.tensor([prompt + response])
            logs = [torch.log_softmax(model(input_ids=ids).logits[0], dim=-1) for model in (dpo, sft)]
            for column, token in enumerate(response):
                at = len(prompt) + column - 1
                expected = 0.3 * float(logs[0][at, token] - logs[1][at, token])
                assert float(found[row, column]) == pytest.approx(expected, abs=1e-4)
    assert not found[~batch.response_mask].any()
    assert float(found.abs().max()) > 0.01
    assert not any(parameter.requires_grad for parameter in reward.model.module.parameters())


def test_it_reads_what_the_policy_reads_and_is_of_the_level_token(made: Path, runtime: Runtime) -> None:
    codec = codec_of_checkpoint(made.parents[1] / "sft")
    assert load_reward_model(made, runtime, policy_codec=codec).same_encoding
    assert reward_level(made) == "token"
    with pytest.raises(RedpencilError, match="level sequence is needed"):
        reward_level(made, "sequence")
    assert not list(made.glob("*.safetensors"))


def test_all_folders_can_be_moved_together(made: Path, tmp_path: Path, runtime: Runtime) -> None:
    made.parents[1].rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "reward" / "checkpoint"
    parts = parts_of(moved)
    assert parts is not None
    assert parts.policy.resolve() == tmp_path / "elsewhere" / "dpo"
    load_reward_model(moved, runtime)


def test_a_policy_that_is_gone_or_has_changed_is_named(made: Path) -> None:
    dpo = made.parents[1] / "dpo"
    weights = dpo / "model.safetensors"
    before = weights.read_bytes()
    save_file({name: value * 1.01 for name, value in load_file(weights).items()}, weights)
    with pytest.raises(RedpencilError, match="has other weights than when") as caught:
        check_model_folder(made)
    assert caught.value.file == str(made)
    weights.write_bytes(before)
    check_model_folder(made)
    weights.unlink()
    with pytest.raises(RedpencilError, match="no weights"):
        check_model_folder(made)


@pytest.mark.parametrize("said", [{}, [], {"policy": "a"}, {"policy": "a", "reference": "b", "beta": "much"}])
def test_a_folder_that_does_not_say_what_it_is_made_of_is_refused(made: Path, said: object) -> None:
    write_json(made / "redpencil.json", {**read_json(made / "redpencil.json"), LOG_RATIO: said})
    with pytest.raises(RedpencilError, match="of which policies") as caught:
        check_model_folder(made)
    assert (caught.value.file, caught.value.field) == (str(made / "redpencil.json"), LOG_RATIO)
