"""Device, number format, threads, seeds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from redpencil.config import ComputeConfig
from redpencil.errors import RedpencilError
from redpencil.models.runtime import make_runtime, seeded, slow_format


def test_auto_takes_what_there_is() -> None:
    runtime = make_runtime()
    if torch.cuda.is_available():
        assert (runtime.device.type, runtime.dtype) == ("cuda", torch.bfloat16)
    else:
        assert (runtime.device.type, runtime.dtype) == ("cpu", torch.float32)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_number_format_is_used_in_forward_passes(dtype: str) -> None:
    runtime = make_runtime("cpu", dtype)
    with runtime.autocast():
        out = torch.nn.Linear(2, 2)(torch.ones(1, 2))
    assert out.dtype == runtime.dtype == getattr(torch, dtype)


def test_threads_are_set() -> None:
    before = torch.get_num_threads()
    try:
        make_runtime("cpu", threads=2)
        assert torch.get_num_threads() == 2
        make_runtime("cpu", threads=None)
        assert torch.get_num_threads() == 2
        make_runtime("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("device", ["gpu", "", "cuda:99"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(RedpencilError, match="device") as raised:
        make_runtime(device)
    assert raised.value.field == "device"


def test_seeded_draws_depend_on_the_seed_alone_and_leave_the_generator_as_it_was() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with seeded(5, torch.device("cpu")):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeded(5, torch.device("cpu")):
        assert torch.equal(torch.rand(3), first)
    with seeded(6, torch.device("cpu")):
        assert not torch.equal(torch.rand(3), first)


def test_a_device_that_torch_knows_and_redpencil_does_not() -> None:
    with pytest.raises(RedpencilError, match="unknown device 'meta'"):
        make_runtime("meta")


def test_a_device_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(RedpencilError, match=r"'mps' is not on this machine \(0 GPUs of this kind found\)"):
        make_runtime("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    runtime = make_runtime("mps")
    assert (runtime.device, runtime.dtype) == (torch.device("mps"), torch.float32)


def test_one_process_has_all_rows_and_its_sums_are_its_own() -> None:
    runtime = make_runtime("cpu")
    assert (runtime.rank, runtime.world_size, runtime.writes) == (0, 1, True)
    assert list(runtime.share([1, 2, 3])) == [1, 2, 3]
    assert runtime.sum({"a": 1.5}) == {"a": 1.5}


RANK = """
import json, os, sys
import torch
import torch.distributed as dist
from redpencil.models.runtime import Runtime

rank, rendezvous = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
runtime = Runtime(torch.device("cpu"), torch.float32, rank=rank, world_size=2)
print(json.dumps([runtime.writes, list(runtime.share(range(7))), runtime.sum({"tokens": 10.0 ** rank, "rows": 1 / 3})]))
dist.destroy_process_group()
"""


def test_two_processes_share_rows_and_add_up(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RANK]
    ranks = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "meeting")], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    answers = [json.loads(rank.communicate(timeout=120)[0]) for rank in ranks]
    assert [answer[0] for answer in answers] == [True, False]
    assert [answer[1] for answer in answers] == [[0, 2, 4, 6], [1, 3, 5]]
    assert answers[0][2] == answers[1][2] == {"tokens": 11.0, "rows": 2 / 3}


@pytest.mark.parametrize("name", ["flash_attention_2", "flash_attention_3", "flex_attention"])
def test_attention_that_needs_a_gpu(name: str) -> None:
    with pytest.raises(RedpencilError, match=f"{name} needs a CUDA GPU") as raised:
        make_runtime("cpu", compute=ComputeConfig.model_validate({"attn_implementation": name}))
    assert raised.value.field == "compute.attn_implementation"
    assert "sdpa" in str(raised.value.hint)


def test_attention_and_activations_of_the_recipe() -> None:
    compute = ComputeConfig(attn_implementation="eager", gradient_checkpointing=True)
    runtime = make_runtime("cpu", compute=compute)
    assert (runtime.attention, runtime.checkpointing) == ("eager", True)
    assert (make_runtime("cpu").attention, make_runtime("cpu").checkpointing) == (None, False)


@pytest.mark.parametrize(
    ("flags", "slow"),
    [
        ("flags\t\t: fpu sse avx2 avx512f avx512_bf16", False),
        ("flags\t\t: fpu amx_bf16 amx_tile", False),
        ("flags\t\t: fpu sse avx2 avx512f", True),
        ("Features\t: fp asimd i8mm bf16", False),
        ("Features\t: fp asimd", True),
        ("model name: one that tells no flags", False),
    ],
)
def test_a_processor_that_emulates_bfloat16_is_said(tmp_path: Path, flags: str, slow: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    said = slow_format(make_runtime("cpu", "bfloat16"), tmp_path / "cpuinfo")
    assert (said is not None) == slow
    assert slow_format(make_runtime("cpu", "float32"), tmp_path / "cpuinfo") is None
    assert slow_format(make_runtime("cpu", "bfloat16"), tmp_path / "none") is None
