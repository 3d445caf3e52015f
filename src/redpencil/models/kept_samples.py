"""Responses that were sampled already, portion by portion, so that sampling that was killed goes on where it was.

A file has a line for each portion: its rows, their tokens, and the state of the generator behind it, so that what comes
next is drawn as if nothing had happened. A line has a checksum; at the first that is damaged the rest is left out.
"""

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import redpencil
from redpencil.config.methods import SamplingConfig
from redpencil.digests import hash_input
from redpencil.models.checkpoints import LanguageModel
from redpencil.models.runtime import Runtime

Answers = list[list[int]]


def key_of(
    policy: LanguageModel,
    prompt_ids: Sequence[Sequence[int]],
    config: SamplingConfig,
    ends: Sequence[int],
    seed: int,
    backend: str,
) -> str:
    """Digest all that decides what a policy, whose weights are those of its folder, answers, and what samples it."""
    runtime = policy.runtime
    place = (runtime.device.type, str(runtime.dtype), runtime.data_rank, runtime.data_size, runtime.tp_size)
    asked = hashlib.sha256(repr([list(row) for row in prompt_ids]).encode()).hexdigest()
    parts = [redpencil.__version__, torch.__version__, hash_input(Path(policy.name)), *place]
    return hashlib.sha256(json.dumps([*parts, backend, config.model_dump(), ends, seed, asked]).encode()).hexdigest()


@dataclass
class KeptSamples:
    """The file of one call of a sampler, `folder/<key>.jsonl`; of several processes that share the work, each has one.

    Those that compute one row together read one file, and the first of them writes it. Where it cannot be written,
    sampling goes on without it, and the folder goes.
    """

    folder: Path
    key: str
    runtime: Runtime
    _lines: list[bytes] = field(default_factory=list)
    _taken: int = 0
    _works: bool = True

    def __post_init__(self) -> None:
        """Read the portions that are there."""
        with suppress(OSError):
            self._lines = self._path.read_bytes().splitlines(keepends=True)

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.key[:32]}.jsonl"

    def take(self, rows: Sequence[int]) -> Answers | None:
        """Return the answers to the next portion if it is there, and put the generator where it was behind them."""
        line = _parsed(self._lines[0]) if self._lines else None
        if line is None or line["rows"] != list(rows):
            if self._lines:  # What follows was drawn behind something that is lost.
                self._lines.clear()
                with suppress(OSError):
                    os.truncate(self._path, self._taken)
            return None
        self._taken += len(self._lines.pop(0))
        state = bytearray(base64.b64decode(line["state"]))
        _set_state(self.runtime.device, torch.frombuffer(state, dtype=torch.uint8))
        answers: Answers = line["answers"]
        return answers

    def add(self, rows: Sequence[int], answers: Answers) -> None:
        """Append a portion that was sampled just now."""
        if not self._works or self.runtime.rank % self.runtime.tp_size:
            return
        state = base64.b64encode(_state(self.runtime.device).numpy().tobytes()).decode()
        content = json.dumps({"rows": list(rows), "answers": answers, "state": state})
        check = hashlib.sha256(content.encode()).hexdigest()
        try:
            self.folder.mkdir(exist_ok=True)
            with self._path.open("ab") as file:
                file.write(f"{check} {content}\n".encode())
        except OSError:
            self._works = False
            shutil.rmtree(self.folder, ignore_errors=True)


def _parsed(line: bytes) -> dict[str, Any] | None:
    check, _, content = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or hashlib.sha256(content).hexdigest().encode() != check:
        return None
    parsed: dict[str, Any] = json.loads(content)
    return parsed


def _state(device: torch.device) -> torch.Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_state(device: torch.device, state: torch.Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
