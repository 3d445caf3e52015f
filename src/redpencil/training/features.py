"""Hidden states of a backbone that is not trained: computed once, and kept on disk, so that a head trains in seconds.

On little data a linear head on a language model's hidden states is as good as training the whole model, or better. The
states depend on model and text alone, so all passes, seeds, folds and losses share them.
"""

import hashlib
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from redpencil.adapters import ADAPTER_CONFIG, CONFIG, WEIGHTS, base_of, is_adapter
from redpencil.config.compute import RewardLevel
from redpencil.digests import known_sha256
from redpencil.errors import RedpencilError
from redpencil.files import whole_file
from redpencil.models.checkpoints import LanguageModel
from redpencil.models.forward import hidden_states, last_hidden, reads_twice
from redpencil.models.heads import BACKBONE, head_of
from redpencil.runs import Progress
from redpencil.training.batches import neighbours

Row = tuple[Sequence[int], Sequence[int]]
"""Prompt ids and response ids."""
BATCH_TOKENS: Final = 4096
"""Tokens, with padding, of one forward pass."""


def hidden_rows(
    model: LanguageModel, level: RewardLevel, rows: Sequence[Row], store: Path | None, progress: Progress
) -> list[Tensor]:
    """Compute the last hidden states of responses, float32 on the CPU.

    Args:
        model: whose head reads them.
        level: token: [T, H], at each token of the response; sequence: [1, H], where a sequence model reads.
        rows: prompts and responses; one that occurs twice is computed once.
        store: a folder that keeps them by model and text; None keeps nothing.
        progress: called with the texts done and in total.
    """
    if level == "sequence" and not reads_twice(model.module) and all(response for _, response in rows):
        return [states[-1:] for states in hidden_rows(model, "token", rows, store, progress)]
    distinct: list[Row] = list(dict.fromkeys((tuple(prompt), tuple(response)) for prompt, response in rows))
    files: dict[Row, Path | None] = dict.fromkeys(distinct)
    if store is not None:
        files = _files(model, level, distinct, store)
    width = head_of(model.module).in_features
    found = {row: _load(file, row, level, width) for row, file in files.items()}
    # What one process found, another may not: a file may have come in between.
    lacking = {row for rows in model.runtime.everyone([row for row in distinct if found[row] is None]) for row in rows}
    # Texts to one prompt are read together, and rounding depends on which: so all of them once more.
    asked = {prompt for prompt, _ in lacking}
    missing = [row for row in distinct if row[0] in asked]
    done = 0

    def work(part: list[Row]) -> list[Tensor]:
        nonlocal done
        computed = _compute(model, level, part)
        for row, states in zip(part, computed, strict=True):
            if found[row] is None:
                _keep(files[row], states)
        done += len(part) * model.runtime.data_size
        progress(min(done, len(missing)), len(missing), "hidden states")
        return computed

    batches = _batches(model, missing)
    for part, computed in zip(batches, model.runtime.spread(batches, work), strict=True):
        found.update((row, states) for row, states in zip(part, computed, strict=True) if row in lacking)
    wanted = (found[tuple(prompt), tuple(response)] for prompt, response in rows)
    return [states for states in wanted if states is not None]


def _files(model: LanguageModel, level: RewardLevel, rows: Sequence[Row], store: Path) -> dict[Row, Path | None]:
    """The file of each row: named by the backbone, how it reads and computes, and the tokens."""
    settings = (level, model.module.config.num_hidden_layers, reads_twice(model.module), model.runtime.dtype)
    base = hashlib.sha256(repr((backbone_of(model), *map(str, settings))).encode())
    folder = store / base.hexdigest()[:32]
    files: dict[Row, Path | None] = {}
    for prompt, response in rows:
        name = hashlib.sha256(repr((tuple(prompt), tuple(response))).encode()).hexdigest()[:40]
        files[prompt, response] = folder / f"{name}.npz"
    return files


def backbone_of(model: LanguageModel) -> str:
    """Name the backbone of a model by its weights, or as its configuration does if its head alone was trained."""
    known = getattr(model.module.config, BACKBONE, None)
    if known is not None:
        return str(known)
    folder = Path(model.name)
    # As a whole: weights that were trained on may differ from those before in a few matrices only.
    folders = [folder, base_of(folder)] if is_adapter(folder) else [folder]
    read = [
        file
        for each in folders
        for file in (
            each / (ADAPTER_CONFIG if is_adapter(each) else CONFIG),
            *sorted(path for pattern in WEIGHTS for path in each.glob(pattern)),
        )
    ]
    named = [type(model.module.base_model).__name__, *map(known_sha256, read)]
    return hashlib.sha256(" ".join(named).encode()).hexdigest()


def weights_file(model: LanguageModel, store: Path) -> Path:
    """Name the file of a store that checkpoints with the same frozen backbone share."""
    config = model.module.config
    settings = (backbone_of(model), config.num_hidden_layers, type(model.module).__name__)
    return store / f"{hashlib.sha256(repr(settings).encode()).hexdigest()[:32]}.safetensors"


def keeps_backbone(model: LanguageModel) -> bool:
    """Tell whether the head of a model alone was trained, so that hidden states of its backbone may be there."""
    return getattr(model.module.config, BACKBONE, None) is not None


def _load(file: Path | None, row: Row, level: RewardLevel, width: int) -> Tensor | None:
    """What a file holds; None if it is not there, or is damaged, so that it is computed again."""
    if file is None or not file.is_file():
        return None
    try:
        with file.open("rb") as source, np.load(source, allow_pickle=False) as content:  # an archive has checksums
            states = content["states"]
    except Exception:  # a damaged file makes the libraries raise nearly anything
        return None
    fits = states.shape == (len(row[1]) if level == "token" else 1, width) and states.dtype == np.float32
    return torch.from_numpy(states) if fits else None


def _keep(file: Path | None, states: Tensor) -> None:
    """Write a file, if that can be done: without it the states are computed again, by whoever needs them."""
    if file is None:
        return
    archive = io.BytesIO()
    np.savez(archive, states=states.numpy())
    # A full disk, a folder that is read only, or another stage that is writing the same file at this moment.
    with suppress(OSError, RedpencilError), whole_file(file) as out:
        out.write(archive.getbuffer())


def _batches(model: LanguageModel, rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of similar length, those to one prompt together, as many as fit into `BATCH_TOKENS`."""
    length = [len(row[0]) + model.readings * len(row[1]) for row in rows]
    batches: list[list[Row]] = []
    longest = 0
    for i in neighbours([row[0] for row in rows], length):
        longest = max(longest, length[i])
        if not batches or (len(batches[-1]) + 1) * longest > BATCH_TOKENS:
            batches.append([])
            longest = length[i]
        batches[-1].append(rows[i])
    return batches


@torch.no_grad()
def _compute(model: LanguageModel, level: RewardLevel, rows: Sequence[Row]) -> list[Tensor]:
    prompts, responses = [row[0] for row in rows], [row[1] for row in rows]
    batch = model.collate(prompts, responses)
    mask = batch.response_mask.cpu()
    with model.runtime.autocast():
        if level == "sequence":
            return list(last_hidden(model.module, batch).float().cpu()[:, None])
        states = hidden_states(model.module, batch).float().cpu()
    return [row[counts].clone() for row, counts in zip(states, mask, strict=True)]
