"""Sampling that was killed goes on behind the batches that it has kept, and answers as if it had not been."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from redpencil.config.methods import SamplingConfig
from redpencil.models import sampling
from redpencil.models.checkpoints import LanguageModel, load_policy
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import HFSampler, Sample

PROMPTS = [[5 + number % 9] * (1 + number % 4) for number in range(14)]
CONFIG = SamplingConfig(response_length=6, batch_size=4)
SEED = 7


@pytest.fixture
def policy(folder: Callable[..., Path], runtime: Runtime) -> LanguageModel:
    return load_policy(folder("llama"), runtime, trained=False)


@pytest.fixture
def expected(policy: LanguageModel) -> list[Sample]:
    return HFSampler(policy).sample(PROMPTS, CONFIG, seed=SEED)


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the portions that were sampled."""
    sizes: list[int] = []

    class Watched(sampling.Decoder):
        def run(self, *rest: Any) -> Any:
            sizes.append(len(self.prompt_ids))
            return super().run(*rest)

    monkeypatch.setattr(sampling, "Decoder", Watched)
    return sizes


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A portion is a batch."""
    monkeypatch.setattr(sampling, "PORTION", 1)


class KilledError(Exception):
    """Stands for whatever ends a process."""


def killed_after(batches: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, _note: str) -> None:
        if done >= min(4 * batches, total):
            raise KilledError

    return progress


def attempt(policy: LanguageModel, kept: Path, batches: int) -> None:
    with pytest.raises(KilledError):
        HFSampler(policy, kept).sample(PROMPTS, CONFIG, seed=SEED, progress=killed_after(batches))


@pytest.mark.parametrize("kills", [[1], [3], [4], [1, 1, 2], [2, 3]])
def test_it_goes_on_where_it_was(
    policy: LanguageModel, tmp_path: Path, expected: list[Sample], sampled: list[int], kills: list[int]
) -> None:
    for batches in kills:
        attempt(policy, tmp_path / "kept", batches)
    told: list[int] = []
    sampler = HFSampler(policy, tmp_path / "kept")
    found = sampler.sample(PROMPTS, CONFIG, seed=SEED, progress=lambda done, *_: told.append(done))
    assert found == expected
    assert len(set(expected)) > 4
    assert sampled == [4, 4, 4, 2]  # each batch once, whatever was killed
    assert told == sorted(told)
    assert {4, 8, 12, 14} <= set(told)


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def cut(path: Path) -> int:
    path.write_bytes(path.read_bytes()[:-5])
    return 2


def without_its_end(path: Path) -> int:
    path.write_bytes(path.read_bytes()[:-1])
    return 2


def a_bit(path: Path) -> int:
    one, two, three = lines(path)
    path.write_bytes(one + two[:90] + bytes([two[90] ^ 1]) + two[91:] + three)
    return 1


def zeros(path: Path) -> int:
    with path.open("ab") as file:
        file.write(bytes(4096))
    return 3


def lost_in_the_middle(path: Path) -> int:
    one, _, three = lines(path)
    path.write_bytes(one + three)
    return 1


def emptied(path: Path) -> int:
    path.write_bytes(b"")
    return 0


@pytest.mark.parametrize("damage", [cut, without_its_end, a_bit, zeros, lost_in_the_middle, emptied])
def test_what_is_damaged_is_sampled_again(
    policy: LanguageModel, tmp_path: Path, expected: list[Sample], sampled: list[int], damage: Callable[[Path], int]
) -> None:
    attempt(policy, tmp_path / "kept", 3)
    [path] = (tmp_path / "kept").iterdir()
    whole = damage(path)
    for _ in range(2):  # and what was written behind the damage is whole
        sampled.clear()
        assert HFSampler(policy, tmp_path / "kept").sample(PROMPTS, CONFIG, seed=SEED) == expected
        assert sampled == [4, 4, 4, 2][whole:]
        whole = 4


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"config": CONFIG.model_copy(update={"temperature": 0.9})},
        {"config": CONFIG.model_copy(update={"batch_size": 3})},
        {"prompts": [*PROMPTS[:-1], [5]]},
        {"weights": True},
        {"ends": True},
    ],
)
def test_another_call_takes_nothing(
    policy: LanguageModel, runtime: Runtime, tmp_path: Path, change: dict[str, Any]
) -> None:
    attempt(policy, tmp_path / "kept", 3)
    call = {"config": CONFIG, "seed": SEED, **change}
    prompts, asked = call.pop("prompts", PROMPTS), policy
    if call.pop("weights", False):
        copy = shutil.copytree(policy.name, tmp_path / "copy")
        with torch.no_grad():
            policy.module.get_output_embeddings().weight.mul_(-1)
        policy.module.save_pretrained(copy)
        asked = load_policy(copy, runtime, trained=False, codec=policy.codec)
    if call.pop("ends", False):
        [first] = HFSampler(policy).sample(prompts[:1], CONFIG, seed=0)
        asked = replace(policy, codec=replace(policy.codec, ends=policy.codec.ends | {first.ids[0]}))
    expected = HFSampler(asked).sample(prompts, **call)
    assert HFSampler(asked, tmp_path / "kept").sample(prompts, **call) == expected
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_without_a_place_to_write_it_samples_all_the_same(
    policy: LanguageModel, tmp_path: Path, expected: list[Sample]
) -> None:
    (tmp_path / "file").write_text("")
    for place in ("file", "missing/kept"):
        assert HFSampler(policy, tmp_path / place).sample(PROMPTS, CONFIG, seed=SEED) == expected
    assert [path.name for path in tmp_path.iterdir() if path.name in ("file", "missing")] == ["file"]


def test_a_full_disk_leaves_nothing(policy: LanguageModel, tmp_path: Path, expected: list[Sample]) -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # room for one batch
    try:
        assert HFSampler(policy, tmp_path / "kept").sample(PROMPTS, CONFIG, seed=SEED) == expected
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "kept").exists()
