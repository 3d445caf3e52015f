"""`scripts/gpu_check.sh` in its small form, on this processor."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "gpu_check.sh"
NUMBER = r"[\d.,e+-]+"


@pytest.mark.parametrize("kinds", ["lora", pytest.param("full lora", marks=pytest.mark.long)])
def test_the_small_form_trains_and_writes_its_table(tmp_path: Path, kinds: str) -> None:
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "SIZE": "tiny",
        "KINDS": kinds,
        "OUT": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(["sh", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "table.md").read_text()
    rows = re.findall(
        rf"^\| (full|lora) \| (\S+) \| ({NUMBER}) \| ({NUMBER}) \| {NUMBER} \| ({NUMBER}) \|$", table, re.M
    )
    assert [row[:2] for row in rows] == [
        (kind, stage) for kind in kinds.split() for stage in ("sft", "reward-edits", "ppo-edits")
    ]
    for _, _, planned, measured, speed in rows:
        assert 0 <= float(planned) < float(measured)  # a small model is little beside the libraries of its process
        assert float(speed.replace(",", "")) > 0
    away = dict(re.findall(rf"^\| (float32 in chunks|bfloat16 [a-z ]+) \| ({NUMBER}) \|", table, re.M))
    assert float(away["float32 in chunks"]) < 1e-4
    assert 0 < float(away["bfloat16 in chunks"]) < 0.2
    assert 0 < float(away["bfloat16 at once"]) < 0.2
