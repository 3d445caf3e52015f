"""Hidden states of a backbone that is not trained: computed once, and kept on disk, so that a head trains in seconds.

On little data a linear head on a language model's hidden states is as good as training the whole model, or better. The
states depend on model and text alone, so all passes, seeds, folds and losses share them.
"""

import hashlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from redpencil.config import RewardLevel
from redpencil.digests import update_with_samples
from redpencil.models.checkpoints import WEIGHTS, LanguageModel
from redpencil.models.forward import collate, hidden_states, last_hidden, reads_twice
from redpencil.models.heads import BACKBONE
from redpencil.runs import Progress

Row = tuple[Sequence[int], Sequence[int]]
"""Prompt ids and response ids."""
BATCH_TOKENS: Final = 4096
"""Tokens, with padding, of one forward pass."""
_DIGEST_BYTES: Final = hashlib.sha256().digest_size


def hidden_rows(
    model: LanguageModel, level: RewardLevel, rows: Sequence[Row], store: Path | None, progress: Progress
) -> list[Tensor]:
    """Compute the last hidden states of responses, float32 on the CPU.

    Args:
        model: whose head reads them.
        level: token: [T, H], at each token of the response; sequence: [1, H], where a sequence model reads, which is
            the last of them.
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
    found = {row: _load(file) for row, file in files.items()}
    missing = [row for row in distinct if found[row] is None]
    done = 0
    for part in _batches(model, missing):
        for row, states in zip(part, _compute(model, level, part), strict=True):
            found[row] = states
            file = files[row]
            if file is not None:
                _keep(file, states)
        done += len(part)
        progress(done, len(missing), "hidden states")
    wanted = (found[tuple(prompt), tuple(response)] for prompt, response in rows)
    return [states for states in wanted if states is not None]


def _files(model: LanguageModel, level: RewardLevel, rows: Sequence[Row], store: Path) -> dict[Row, Path | None]:
    """The file of each row: named by the backbone, how it reads and computes, and the tokens."""
    settings = (level, model.module.config.num_hidden_layers, reads_twice(model.module), model.runtime.dtype)
    base = hashlib.sha256(repr((backbone_of(model), *map(str, settings))).encode())
    folder = store / base.hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[Row, Path | None] = {}
    for prompt, response in rows:
        name = hashlib.sha256(repr((tuple(prompt), tuple(response))).encode()).hexdigest()[:40]
        files[prompt, response] = folder / f"{name}.npy"
    return files


def backbone_of(model: LanguageModel) -> str:
    """Name the backbone of a model by its weights, or as its configuration does if its head alone was trained."""
    known = getattr(model.module.config, BACKBONE, None)
    if known is not None:
        return str(known)
    digest = hashlib.sha256(type(model.module.base_model).__name__.encode())
    for path in sorted(path for pattern in WEIGHTS for path in Path(model.name).glob(pattern)):
        update_with_samples(digest, path)
    return digest.hexdigest()


def keeps_backbone(model: LanguageModel) -> bool:
    """Tell whether the head of a model alone was trained, so that hidden states of its backbone may be there."""
    return getattr(model.module.config, BACKBONE, None) is not None


def _keep(file: Path, states: Tensor) -> None:
    """Write states with a digest behind them; several processes may do so at once, and the last one wins."""
    content = io.BytesIO()
    np.save(content, states.numpy())
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as out:
        out.write(content.getvalue() + hashlib.sha256(content.getvalue()).digest())
    Path(out.name).replace(file)


def _load(file: Path | None) -> Tensor | None:
    """What a file holds; None if it is not there, or is damaged, so that it is computed again."""
    try:
        content = b"" if file is None else file.read_bytes()
    except OSError:
        return None
    states, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(states).digest() != digest:
        return None
    return torch.from_numpy(np.load(io.BytesIO(states), allow_pickle=False))


def _batches(model: LanguageModel, rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of similar length, as many as fit into `BATCH_TOKENS`."""
    length = {row: len(row[0]) + model.readings * len(row[1]) for row in rows}
    batches: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: length[row]):
        if not batches or (len(batches[-1]) + 1) * length[row] > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches


@torch.no_grad()
def _compute(model: LanguageModel, level: RewardLevel, rows: Sequence[Row]) -> list[Tensor]:
    prompts, responses = [row[0] for row in rows], [row[1] for row in rows]
    batch = collate(prompts, responses, model.codec.pad_id, model.runtime.device)
    mask = batch.response_mask.cpu()
    with model.runtime.autocast():
        if level == "sequence":
            return list(last_hidden(model.module, batch).float().cpu()[:, None])
        states = hidden_states(model.module, batch).float().cpu()
    return [row[counts].clone() for row, counts in zip(states, mask, strict=True)]
