"""Device, number format, threads, seeds."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from redpencil.config.compute import ComputeConfig
from redpencil.errors import RedpencilError
from redpencil.models.runtime import Runtime, make_runtime, seeded, sizes_of, slow_format


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


@pytest.mark.parametrize(
    ("sizes", "world", "expected"),
    [
        ({}, 8, (1, 1)),
        ({"fsdp": True}, 8, (1, 8)),
        ({"fsdp": 4}, 8, (1, 4)),
        ({"fsdp": True}, 16, (1, 8)),  # two machines of 8: a copy on each
        ({"tp_size": 8}, 8, (8, 1)),
        ({"fsdp": True, "tp_size": 2}, 1, (1, 1)),
    ],
)
def test_how_processes_are_divided(
    monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int | bool], world: int, expected: tuple[int, int]
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(min(world, 8)))
    assert sizes_of(ComputeConfig.model_validate(sizes), world) == expected


@pytest.mark.parametrize("sizes", [{"tp_size": 2}, {"tp_size": 8, "fsdp": True}, {"tp_size": 16}])
def test_tensor_parallelism_is_of_all_processes_or_none(sizes: dict[str, int | bool]) -> None:
    with pytest.raises(RedpencilError, match="does not give the gradients of one process") as raised:
        sizes_of(ComputeConfig.model_validate(sizes), 8)
    assert raised.value.field == "compute.tp_size"


@pytest.mark.parametrize("sizes", [{"fsdp": 3}, {"fsdp": 16}])
def test_processes_that_cannot_be_divided(sizes: dict[str, int]) -> None:
    with pytest.raises(RedpencilError, match="8 processes cannot be divided") as raised:
        sizes_of(ComputeConfig.model_validate(sizes), 8)
    assert raised.value.field == "compute.fsdp"


@pytest.mark.parametrize(
    ("tp_size", "shares"), [(1, [[0, 4], [1, 5], [2], [3]]), (2, [[0, 2, 4], [0, 2, 4], [1, 3, 5], [1, 3, 5]])]
)
def test_rows_are_shared_by_groups_that_compute_together(tp_size: int, shares: list[list[int]]) -> None:
    runtimes = [Runtime(torch.device("cpu"), torch.float32, rank, 4, tp_size) for rank in range(4)]
    assert [list(runtime.share(range(6))) for runtime in runtimes] == shares


RANK = """
import json, sys
from dataclasses import replace
import torch
from redpencil.errors import RedpencilError
from redpencil.models.runtime import make_runtime

runtime = make_runtime("cpu")
rank, done = runtime.rank, []

def work(item):
    done.append(item)
    return {"item": item, "tensor": torch.full((item,), float(item))}

def spread(items):
    return [(row["item"], row["tensor"].tolist()) for row in runtime.spread(items, work)]

def fail_in_the_second():
    if rank == 1:
        raise RedpencilError("no", file="x.json", hint="try")

try:
    runtime.together(fail_in_the_second)
    found = None
except RedpencilError as error:
    found = str(error)
pair = replace(runtime, tp_size=2)  # both compute the same row: it counts once
print(json.dumps({
    "place": [runtime.writes, rank, runtime.world_size],
    "share": list(runtime.share(range(7))),
    "sum": runtime.sum({"tokens": 10.0 ** rank, "rows": 1 / 3}),
    "pair": [pair.sum({"rows": 3.0}), list(pair.share([1, 2])), pair.gather([1, 2]), pair.spread([5], lambda row: row)],
    "gather": runtime.gather(list(runtime.share("abcde"))),
    "nothing": runtime.gather([]),
    "spread": spread([1, 2, 3]),
    "alone": spread([4]),
    "none": spread([]),
    "done": done,
    "everyone": runtime.everyone(rank),
    "tell": runtime.tell(f"from {rank}"),
    "error": found,
}))
"""


def test_two_processes_share_rows_and_tell_each_other() -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = str(place.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK],
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    first, second = (json.loads(rank.communicate(timeout=300)[0]) for rank in ranks)
    assert [first.pop("place"), second.pop("place")] == [[True, 0, 2], [False, 1, 2]]
    assert [first.pop("share"), second.pop("share")] == [[0, 2, 4, 6], [1, 3, 5]]
    assert [first.pop("done"), second.pop("done")] == [[1, 3, 4], [2, 1, 4]]  # as many passes in each
    assert first == second
    assert first["sum"] == {"tokens": 11.0, "rows": 2 / 3}
    assert first["pair"] == [{"rows": 3.0}, [1, 2], [1, 2], [5]]
    assert (first["gather"], first["nothing"]) == (list("abcde"), [])
    assert first["spread"] == [[1, [1.0]], [2, [2.0, 2.0]], [3, [3.0, 3.0, 3.0]]]
    assert (first["alone"], first["none"]) == ([[4, [4.0] * 4]], [])
    assert (first["everyone"], first["tell"]) == ([0, 1], "from 0")
    assert first["error"] == "x.json: no\n  hint: try"


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


def test_the_peak_of_memory_is_what_was_taken_and_stays_when_it_is_gone() -> None:
    code = """
import torch
from redpencil.models.runtime import peak_memory
cpu = torch.device("cpu")
peaks = [peak_memory(cpu)]
values = torch.ones(2**27)
peaks.append(peak_memory(cpu))
del values
print(*peaks, peak_memory(cpu))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, grown, after = map(float, done.stdout.split())
    assert 0.05 < before < 2  # GiB of torch and transformers
    assert grown == pytest.approx(before + 0.5, abs=0.1)
    assert after == pytest.approx(grown, abs=0.01)
