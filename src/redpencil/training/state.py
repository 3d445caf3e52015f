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
import torch.distributed
from torch import nn

from redpencil.errors import RedpencilError
from redpencil.files import sync_names, sync_tree
from redpencil.models.lora import trained_parameters
from redpencil.runs import STATE_FOLDER, Stage, saved_states
from redpencil.stopping import Stopped, request
from redpencil.training.update import Optimization

CHECKPOINT: Final = "checkpoint"
KEPT: Final = 2
"""States that stay on disk: the last one, and the one before in case the last is damaged."""


@dataclass
class TrainState:
    """Everything that a training needs to continue from a step.

    `save_every` is the number of steps between saved states; None saves none. `extra` holds plain values (numbers,
    texts, and mappings of them), which may change between steps; `resume` puts the saved ones back in place.
    """

    stage: Stage
    models: Mapping[str, nn.Module]
    optimizations: Mapping[str, Optimization]
    save_every: int | None
    extra: dict[str, Any] = field(default_factory=dict)
    step: int = 0

    def resume(self) -> bool:
        """Take up the last state that an earlier attempt at the stage has saved; False if there is none.

        Raises:
            RedpencilError: if no saved state can be read.
        """
        folders = saved_states(self.stage.shared_folder)
        for folder in reversed(folders):
            try:
                content = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
                progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
            except Exception:  # a damaged file makes torch raise nearly anything
                continue
            self._restore(content, progress)
            self._restore_checkpoint(folder / CHECKPOINT)
            return True
        if folders:
            raise RedpencilError(
                "none of the saved training states can be read",
                file=self.stage.folder,
                hint="delete this folder; the stage then starts from its beginning",
            )
        return False

    def _restore(self, content: Mapping[str, Any], progress: Mapping[str, Any]) -> None:
        for name, model in self.models.items():
            for key, weight in trained_parameters(model).items():
                with torch.no_grad():
                    weight.copy_(content["models"][name][key])
        for name, optimization in self.optimizations.items():
            optimization.optimizer.load_state_dict(content["optimizers"][name])
            optimization.scheduler.load_state_dict(content["schedulers"][name])
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
        if self.stage.shared is not None:
            return
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
            asked = _asked_to_stop()
            if asked or (self.save_every is not None and self.step % self.save_every == 0 and self.step < total):
                self.save()
            if asked:
                raise Stopped(f"{self.stage.name} has stopped after step {self.step} of {total}, and saved its state")

    def save(self) -> None:
        """Write the state beside the stage's artefacts, under its name only when it is complete."""
        if self.stage.shared is not None:  # the first process has the same weights, and saves them
            return
        root = self.stage.folder / STATE_FOLDER
        target, new = root / f"step-{self.step}", root / f"step-{self.step}.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        content = {
            "models": {
                name: {key: weight.detach() for key, weight in trained_parameters(model).items()}
                for name, model in self.models.items()
            },
            "optimizers": {name: each.optimizer.state_dict() for name, each in self.optimizations.items()},
            "schedulers": {name: each.scheduler.state_dict() for name, each in self.optimizations.items()},
        }
        try:
            torch.save(content, new / "state.pt")
        except RuntimeError as error:  # as for a full disk
            raise RedpencilError(
                f"cannot write the training state ({str(error).splitlines()[0]})",
                file=target,
                hint="make room on the disk, or save fewer states (compute.save_every)",
            ) from error
        if (self.stage.folder / CHECKPOINT).is_dir():
            _link_tree(self.stage.folder / CHECKPOINT, new / CHECKPOINT)
        progress = {"step": self.step, "seconds": self.stage.seconds, "extra": self.extra}
        (new / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        sync_tree(new)
        new.replace(target)
        sync_names(root)
        for old in saved_states(self.stage.shared_folder)[:-KEPT]:
            shutil.rmtree(old)


def _asked_to_stop() -> bool:
    """Whether one of the processes that train was asked to stop; all of them stop after the same step."""
    asked = torch.tensor(float(request.made))
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(asked)
    return bool(asked)


def _link_tree(source: Path, target: Path) -> None:
    """Copy a folder by hard links, or file by file where the system has none; its files are never written in place."""

    def link(original: str, copy: str) -> None:
        try:
            os.link(original, copy)
        except OSError:
            shutil.copy2(original, copy)

    shutil.copytree(source, target, copy_function=link)
