"""One stage of a plan, as the executor sees it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redpencil.runs import Stage

if TYPE_CHECKING:
    from redpencil.pipeline.context import Context

Work = Callable[["Context", Stage], None]


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of one seed: `key` is unique in the plan, `folder` is where it writes."""

    key: str
    name: str
    folder: Path
    seed: int
    needs: tuple[str, ...]
    config: Mapping[str, Any]
    inputs: Mapping[str, Path]
    work: Work
    context: "Context"
