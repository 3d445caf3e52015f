"""`redpencil plan` on the shipped recipes for large models: no weights, no data, no network."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from redpencil.cli.main import app
from redpencil.cli.plan import _bytes

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize(
    ("size", "wanted"), [("80GB", 80 * 2**30), ("24 GiB", 24 * 2**30), ("512M", 2**29), ("1.5g", 1.5 * 2**30)]
)
def test_sizes(size: str, wanted: float) -> None:
    assert _bytes(size) == wanted


@pytest.mark.parametrize(("name", "memory"), [("alpacafarm-7b", "80GB"), ("qwen3-8b-lora", "24GB")])
def test_a_large_recipe_fits_where_it_says(name: str, memory: str) -> None:
    run = CliRunner().invoke(
        app, ["plan", str(RECIPES / f"{name}.yaml"), "--device", "cuda", "--memory", memory, "--json"]
    )
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["fits"]
    assert {"sft", "responses"} <= {stage["stage"] for stage in found["stages"]}
    # 7 to 8 billion weights: in bfloat16 on one card, or in float32 on eight
    assert all(3 * 2**30 < stage["weights"] < 25 * 2**30 for stage in found["stages"] if stage["stage"] != "responses")


def test_what_does_not_fit_is_said_with_what_would() -> None:
    arguments = ["plan", str(RECIPES / "qwen3-8b-lora.yaml"), "--device", "cuda", "--memory", "12GB"]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 1
    assert "sft does not fit" in run.output
    assert "compute.fsdp=true" in run.output
