"""`compute.generation_batch_size` holds wherever a model of this process answers."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from redpencil.cli.job_options import JobOptions, prepare
from redpencil.models.decoding import Decoder
from redpencil.models.local import LocalProvider
from redpencil.pipeline.asking import provider_for
from redpencil.pipeline.context import Context
from redpencil.pipeline.execute import Event
from redpencil.pipeline.run import run_recipe

SIZE = 3
ARMS = (
    "arms={p: {reward_model: token_edits}, g: {method: grpo, reward_model: token_edits}, d: {method: dpo}, "
    "f: {method: figa}, n: {method: best_of_n, reward_model: token_edits}}",
    "reward_models={token_edits: {pairs: edits}}",
    "reward.max_steps=2",
    *(
        f"{method}.{key}"
        for method in ("ppo", "grpo")
        for key in ("total_steps=1", "eval_steps=1", "response_length=8")
    ),
    *("ppo.rollout_batch_size=8", "grpo.rollout_batch_size=2", "grpo.group_size=4", "best_of_n.n=2"),
    *("dpo.max_steps=1", "dpo.batch_size=8", "figa.max_steps=1", "figa.batch_size=8", "sft.max_steps=20"),
    *("sampling.response_length=8", f"compute.generation_batch_size={SIZE}"),
)


def test_every_stage_that_samples_answers_so_many_prompts_at_once(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, stage = Decoder._draw, ""
    rows: dict[str, list[int]] = defaultdict(list)

    def draw(self: Decoder, logits: torch.Tensor, slots: Any) -> torch.Tensor:
        rows[stage].append(len(self._rows))
        return own(self, logits, slots)

    def listen(event: Event) -> None:
        nonlocal stage
        stage = event.stage

    monkeypatch.setattr(Decoder, "_draw", draw)
    run_recipe(tiny(*ARMS), tmp_path / "run", jobs=1, listener=listen)
    assert rows.keys() >= {"reference", "samples", "ppo-p", "grpo-g", "dpo-d", "figa-f", "outputs-n", "outputs-sft"}
    assert {stage: max(sizes) for stage, sizes in rows.items()} == dict.fromkeys(rows, SIZE)


def test_a_local_judge_answers_so_many_conversations_at_once(tiny: Any, tmp_path: Path) -> None:
    judge = "judge={provider: local, model: /no/model}"
    recipes = tiny(judge), tiny(judge, f"compute.generation_batch_size={SIZE}")
    for recipe, size in zip(recipes, (recipes[0].sampling.batch_size, SIZE), strict=True):
        provider = provider_for(recipe.judge, Context(recipe, tmp_path, 3))
        assert isinstance(provider, LocalProvider)
        assert provider.batch_size == size


def test_a_local_editor_answers_so_many_conversations_at_once(tmp_path: Path) -> None:
    app, sizes = typer.Typer(), []

    @app.command()
    def command(context: typer.Context) -> None:
        (tmp_path / "model").mkdir()
        options = JobOptions(model=str(tmp_path / "model"), set_=[f"compute.generation_batch_size={SIZE}"])
        made = prepare(context, "local", options, out=tmp_path / "out", inputs=[], template=None)
        provider = made.make_provider()
        assert isinstance(provider, LocalProvider)
        sizes.append(provider.batch_size)

    CliRunner().invoke(app, [], catch_exceptions=False)
    assert sizes == [SIZE]
