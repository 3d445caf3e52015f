"""What judges and editors share that are LLMs: their caches, and a cost at which they stop and go on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.pipeline.asking import cache_file
from redpencil.pipeline.context import Context
from redpencil.pipeline.editing import edit_answers
from redpencil.records import HAS_TEXT, EditOutcome, Response
from redpencil.runs import Stage


@pytest.mark.parametrize(("section", "stage", "end"), [("judge", "judge", ""), ("editor", "needed", ".needed")])
def test_each_seed_and_stage_has_a_response_cache_of_its_own(
    tiny: Any, tmp_path: Path, section: str, stage: str, end: str
) -> None:
    llm, named = f"{section}={{provider: openai, model: m}}", f"{section}.cache={tmp_path / 'answers'}"

    def file(seed: int, *overrides: str) -> Path:
        context = Context(tiny(llm, *overrides), tmp_path / f"seed-{seed}", seed)
        return cache_file(context, getattr(context.recipe, section), stage)

    assert file(3) == tmp_path / "seed-3" / f"{stage}.cache"
    assert file(3, named) == tmp_path / f"answers{end}"
    of_seeds = [file(seed, named, "seeds=[3,4]").name for seed in (3, 4)]
    assert of_seeds == [f"answers{end}.seed-3", f"answers{end}.seed-4"]


def test_a_cost_that_is_reached_stops_the_stage_and_nothing_is_paid_twice(
    tiny: Any, tmp_path: Path, stub: tuple[str, Callable[[], int]]
) -> None:
    address, paid = stub
    llm = f"editor={{provider: openai, model: gpt-5-mini, base_url: '{address}', concurrency: 1, max_cost: 1.0e-9}}"
    rows = {
        name: [Response(f"{name}{n}", f"describe item {n}", f"{name} one two three four five {n}") for n in range(4)]
        for name in ("sft", "token")
    }

    def edit(*overrides: str) -> tuple[list[EditOutcome], float]:
        context, stage = Context(tiny(llm, *overrides), tmp_path, 3), Stage("needed", tmp_path, 3)
        edits = edit_answers(context, stage, rows, measuring=True)
        return [row.outcome for of_name in edits.values() for row in of_name], stage.notes["cost"]

    with pytest.raises(RedpencilError, match="and the editor is not done") as raised:
        edit()
    assert raised.value.field == "editor.max_cost"
    first = paid()
    assert 1 <= first < 8
    outcomes, cost = edit("editor.max_cost=5")
    assert len(outcomes) == 8
    assert set(outcomes) <= set(HAS_TEXT)
    assert cost > 0
    whole = paid()
    assert 8 <= whole <= 16  # once each, and again what kept too little
    assert edit("editor.max_cost=5") == (outcomes, 0)
    assert paid() == whole
