"""Tensors of a training on disk: what is read is what was written, and damage is found."""

from pathlib import Path

import pytest
import torch
from torch import nn

from redpencil.errors import RedpencilError
from redpencil.models.runtime import Runtime
from redpencil.training.saved_tensors import (
    is_sound,
    make_moments,
    moments_of,
    read_tensors,
    sizes_in,
    weights_of,
    write_tensors,
)

CPU = Runtime(torch.device("cpu"), torch.float32)


def stepped(seed: int, steps: int = 2) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A layer with a frozen neighbour, after so many steps of Adam."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[0].requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW(model[1].parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).sum().backward()
        optimizer.step()
    return model, optimizer


def test_only_what_is_trained_is_named() -> None:
    model, optimizer = stepped(0)
    assert set(weights_of("policy", model)) == {"policy.model.1.weight", "policy.model.1.bias"}
    assert {name.rsplit(".", 1)[1] for name in moments_of("policy", model, optimizer)} == {
        "step",
        "exp_avg",
        "exp_avg_sq",
    }
    assert not moments_of("policy", *stepped(0, steps=0))


def test_an_optimiser_that_never_stepped_takes_up_what_was_written(tmp_path: Path) -> None:
    model, optimizer = stepped(0)
    written = {**weights_of("policy", model), **moments_of("policy", model, optimizer)}
    digests = write_tensors(tmp_path / "tensors", written, CPU)
    assert is_sound(tmp_path / "tensors", digests, CPU)
    assert sizes_in(tmp_path / "tensors") == {name: tensor.shape for name, tensor in written.items()}

    other, fresh = stepped(1, steps=0)
    make_moments("policy", other, fresh, sizes_in(tmp_path / "tensors"))
    into = {**weights_of("policy", other), **moments_of("policy", other, fresh)}
    assert not torch.equal(into["policy.model.1.weight"], written["policy.model.1.weight"])
    read_tensors(tmp_path / "tensors", into, CPU)
    assert set(into) == set(written)
    assert all(torch.equal(into[name], written[name]) for name in written)
    assert torch.equal(other[1].weight, model[1].weight)  # in place
    assert torch.equal(fresh.state[other[1].weight]["exp_avg"], optimizer.state[model[1].weight]["exp_avg"])


@pytest.mark.parametrize("damage", ["cut off", "another byte", "gone"])
def test_a_damaged_file_is_not_sound(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "tensors"
    digests = write_tensors(folder, weights_of("policy", stepped(0)[0]), CPU)
    (file,) = folder.glob("*.distcp")
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[:-1] if damage == "cut off" else content[:-1] + bytes([content[-1] ^ 1]))
    assert not is_sound(folder, digests, CPU)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises((RedpencilError, OSError)):
        write_tensors(tmp_path / "file" / "tensors", weights_of("policy", stepped(0)[0]), CPU)
