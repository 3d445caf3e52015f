"""One rule for training that breaks down, whatever the method: name step and rows, and keep the last good weights.

Training breaks down where a loss, the norm of a gradient, a weight or a probability is not a finite number, at the last
step too. Weights are good if they gave a finite loss and gradient. They go into `last-good/` of the stage's folder,
which `redpencil.runs.open_stage` then keeps aside. A recipe may have some such steps left out
(`redpencil.training.step.Skips`), if they are found before they change a weight.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from redpencil.errors import DivergedError, NotFiniteError
from redpencil.models.checkpoints import LanguageModel
from redpencil.models.forward import Batch, response_logprobs
from redpencil.models.saving import export
from redpencil.runs import LAST_GOOD, write_json
from redpencil.training.scoring import in_parts
from redpencil.training.step import TrainingStep, listed
from redpencil.training.update import LOWER, Optimization


@contextmanager
def watching(step: TrainingStep, model: LanguageModel, optimizations: Mapping[str, Optimization]) -> Iterator[None]:
    """Watch over a step of training: where it breaks down, keep the last good weights of `model`.

    A step that may be left out ends the block, and training goes on behind it.

    Args:
        step: the step; weights go into the folder of its stage, with `diverged.json`, which names all rows.
        model: what the stage trains.
        optimizations: those of all models that it trains.

    Raises:
        DivergedError: naming the step and the rows.
    """
    folder = step.skips.stage.folder
    try:
        try:
            yield
        except NotFiniteError as error:
            step.skip(error)
    except DivergedError as error:
        rows = [step.names[row] for row in error.rows] or list(step.names)
        if any(each.last_good.weights for each in optimizations.values()):
            for each in optimizations.values():
                each.last_good.restore(each.parameters)
            export(model, folder / LAST_GOOD)
            write_json(folder / "diverged.json", {"step": step.number, "rows": rows, "problem": error.problem})
        raise DivergedError(
            f"training broke down at step {step.number}: {error.problem}; rows {listed(rows)}",
            file=error.file,
            hint=error.hint,
        ) from error


@torch.no_grad()
def check_policy(policy: LanguageModel, batch: Batch, temperature: float, size: int) -> None:
    """Refuse a policy that gives responses no finite probabilities; it is run on `size` rows at a time.

    Raises:
        DivergedError: naming the rows of the batch.
    """

    def score(part: Batch) -> list[Tensor | None]:
        with policy.runtime.autocast():
            return [response_logprobs(policy.module, part, temperature)]

    [logprobs] = in_parts(batch, size, policy.runtime, score, policy.sharing)
    assert logprobs is not None
    wrong = ~logprobs.isfinite().all(dim=-1)
    if bool(wrong.any()):
        error = DivergedError("after the step the policy's probabilities are not finite numbers", hint=LOWER)
        error.rows = wrong.nonzero()[:, 0].tolist()
        raise error
