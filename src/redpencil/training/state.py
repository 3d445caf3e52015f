"""The state of a stage in the middle of training: saved now and then, and taken up where it was when killed.

A state is all that decides the rest of a training: weights, optimisers and schedules, the step, and a few plain values
such as an adaptive KL coefficient or the best checkpoint so far. The best checkpoint so far is kept
with it. Batches, prompts and samples follow from the seed and the step, so that they need no state.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from redpencil.errors import RedpencilError
from redpencil.files import sync_names, sync_tree
from redpencil.models.runtime import Runtime
from redpencil.runs import STATE_FOLDER, Stage, saved_states
from redpencil.stopping import Stopped, request
from redpencil.training.saved_tensors import (
    Tensors,
    is_sound,
    make_moments,
    moments_of,
    read_tensors,
    sizes_in,
    weights_of,
    write_tensors,
)
from redpencil.training.update import Optimization

CHECKPOINT: Final = "checkpoint"
TENSORS: Final = "tensors"
KEPT: Final = 2
"""States that stay on disk: the last one, and the one before in case the last is damaged."""


@dataclass
class TrainState:
    """Everything that a training needs to continue from a step.

    `save_every` is the number of steps between saved states; None saves none. `extra` holds plain values (numbers,
    texts, and mappings of them), which may change between steps; `resume` puts the saved ones back in place. All
    processes of `runtime` save and resume together; another number of them may resume than has saved.
    """

    stage: Stage
    models: Mapping[str, nn.Module]
    optimizations: Mapping[str, Optimization]
    save_every: int | None
    extra: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    runtime: Runtime = field(default_factory=lambda: Runtime(torch.device("cpu"), torch.float32))

    def resume(self) -> bool:
        """Take up the last state that an earlier attempt at the stage has saved; False if there is none.

        Raises:
            RedpencilError: if no saved state can be read.
        """
        folders = self.runtime.tell(saved_states(self.stage.shared_folder))
        for folder in reversed(folders):
            progress = self.runtime.tell(_progress_of(folder))
            if progress is None or not is_sound(folder / TENSORS, progress["digests"], self.runtime):
                continue
            self._restore(folder / TENSORS, progress)
            if self.runtime.writes:
                self._restore_checkpoint(folder / CHECKPOINT)
            self.runtime.tell(None)
            return True
        if folders:
            raise RedpencilError(
                "none of the saved training states can be read",
                file=self.stage.shared_folder,
                hint="delete this folder; the stage then starts from its beginning",
            )
        return False

    def _tensors(self) -> Tensors:
        tensors: Tensors = {}
        for name, model in self.models.items():
            tensors |= weights_of(name, model)
            if name in self.optimizations:
                tensors |= moments_of(name, model, self.optimizations[name].optimizer)
        return tensors

    def _restore(self, folder: Path, progress: Mapping[str, Any]) -> None:
        saved = sizes_in(folder)
        for name, optimization in self.optimizations.items():
            make_moments(name, self.models[name], optimization.optimizer, saved)
        read_tensors(folder, self._tensors(), self.runtime)
        for name, optimization in self.optimizations.items():
            groups, schedule = optimization.optimizer.param_groups, progress["schedulers"][name]
            # All groups have one rate; how many there are depends on how weights are sharded.
            optimization.scheduler.load_state_dict(
                {key: value[:1] * len(groups) if isinstance(value, list) else value for key, value in schedule.items()}
            )
            for group, rate in zip(groups, optimization.scheduler.get_last_lr(), strict=True):
                group["lr"] = rate
        for name, value in progress["extra"].items():
            if isinstance(value, dict) and name in self.extra:
                self.extra[name].clear()
                self.extra[name].update(value)
            else:
                self.extra[name] = value
        self.step = progress["step"]
        self.stage.go_back_to(self.step, seconds=progress["seconds"])

    def _restore_checkpoint(self, saved: Path) -> None:
        """Put the best checkpoint of that step back: one that was exported later need not come again bit for bit."""
        for name in (CHECKPOINT, f"{CHECKPOINT}.new"):
            shutil.rmtree(self.stage.folder / name, ignore_errors=True)
        if saved.is_dir():
            _link_tree(saved, self.stage.folder / CHECKPOINT)

    def steps(self, total: int) -> Iterator[int]:
        """Count the steps that are left, from 1; after each, save the state if it is time to.

        Raises:
            Stopped: after a step in which a process was asked to stop; its state is saved.
        """
        request.hold()
        while self.step < total:
            yield self.step + 1
            self.step += 1
            # All stop after the same step, whichever was asked.
            asked = bool(self.runtime.sum({"asked": float(request.made)})["asked"])
            if asked or (self.save_every is not None and self.step % self.save_every == 0 and self.step < total):
                self.save()
            if asked:
                raise Stopped(f"{self.stage.name} has stopped after step {self.step} of {total}, and saved its state")

    def save(self) -> None:
        """Write the state beside the stage's artefacts, under its name only when it is complete."""
        root = self.stage.shared_folder / STATE_FOLDER
        target, new = root / f"step-{self.step}", root / f"step-{self.step}.new"
        if self.runtime.writes:
            shutil.rmtree(new, ignore_errors=True)
            (new / TENSORS).mkdir(parents=True)
        self.runtime.tell(None)
        digests = write_tensors(new / TENSORS, self._tensors(), self.runtime)
        self.runtime.together(lambda: None)  # The folder moves when every process has read its files.
        if self.runtime.writes:
            self._complete(new, target, digests)
        self.runtime.tell(None)

    def _complete(self, new: Path, target: Path, digests: Mapping[str, str]) -> None:
        if (self.stage.folder / CHECKPOINT).is_dir():
            _link_tree(self.stage.folder / CHECKPOINT, new / CHECKPOINT)
        progress = {
            "step": self.step,
            "seconds": self.stage.seconds,
            "extra": self.extra,
            "schedulers": {name: each.scheduler.state_dict() for name, each in self.optimizations.items()},
            "digests": digests,
        }
        (new / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        sync_tree(new)
        new.replace(target)
        sync_names(target.parent)
        for old in saved_states(self.stage.shared_folder)[:-KEPT]:
            shutil.rmtree(old)


def _progress_of(folder: Path) -> dict[str, Any] | None:
    """What a state holds beside its tensors; None if it is damaged."""
    try:
        content = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    keys = ("step", "seconds", "extra", "schedulers", "digests")
    return content if isinstance(content, dict) and all(key in content for key in keys) else None


def _link_tree(source: Path, target: Path) -> None:
    """Copy a folder by hard links, or file by file where the system has none; its files are never written in place."""

    def link(original: str, copy: str) -> None:
        try:
            os.link(original, copy)
        except OSError:
            shutil.copy2(original, copy)

    shutil.copytree(source, target, copy_function=link)
