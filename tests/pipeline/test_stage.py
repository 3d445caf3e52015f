"""A stage's description goes to a worker process as it is."""

import pickle
from pathlib import Path
from typing import Any

from redpencil.pipeline.plan import plan_run


def test_every_stage_of_a_plan_survives_the_way_to_a_worker(tiny: Any, tmp_path: Path) -> None:
    for spec in plan_run(tiny(), tmp_path, 3):
        arrived = pickle.loads(pickle.dumps(spec))
        assert (arrived.key, arrived.folder, arrived.config) == (spec.key, spec.folder, spec.config)
        assert arrived.context.recipe == spec.context.recipe
