"""How much of a win rate is rounding: one recipe and seed, computed with several kinds of vector instructions.

The kinds add up the same numbers in another order, as another processor does. Nothing else differs, so what the results
differ by is what a run on another machine may differ by. `make numerics`.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from redpencil.results import RunResults, parse_results
from redpencil.runs import read_metrics
from redpencil.text import read_json

KINDS: Final = ("default", "avx2", "avx512")
"""Values of ATEN_CPU_CAPABILITY, from the fewest numbers at a time to the most."""
CLEAR: Final = 0.01
"""Share of a loss by which two runs have parted."""


def run(recipe: Path, out: Path, kind: str, settings: Sequence[str]) -> Path:
    """Run the recipe, or finish its run, with one kind of instructions; returns the run's folder."""
    folder = out / kind
    command = [sys.executable, "-m", "redpencil", "run", str(recipe), "--out", str(folder)]
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": kind, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *(part for one in settings for part in ("--set", one))], env=environment, check=True)
    return folder


def parted(folders: Sequence[Path], stage: str) -> int | None:
    """Return the first step of a stage at which the losses of two runs differ by over a hundredth, if there is one.

    The policy's loss is near 0 and changes sign in PPO, so its reward is compared there.
    """
    for rows in zip(*(read_metrics(folder / stage) for folder in folders), strict=False):
        values = [row.get("reward", row.get("loss")) for row in rows]
        if None not in values and max(values) - min(values) > CLEAR * max(map(abs, values)):
            return int(rows[0]["step"])
    return None


def table(results: Mapping[str, RunResults]) -> str:
    """Write the win rates by policy and kind, their spread, and the standard error over prompts."""
    kinds = list(results)
    lines = [f"{'policy':12}" + "".join(f"{kind:>10}" for kind in kinds) + f"{'spread':>10}{'error':>10}"]
    for policy, first in results[kinds[0]].win_rate.items():
        rates = [results[kind].win_rate[policy].value for kind in kinds]
        numbers = [*rates, statistics.stdev(rates), first.standard_error]
        lines.append(f"{policy:12}" + "".join(f"{number:10.1f}" for number in numbers))
    return "\n".join(lines)


def main() -> None:
    """Run all kinds, and say how the results differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", type=Path, default=Path("recipes/recommended.yaml"))
    parser.add_argument("--out", type=Path, default=Path("runs/numerics"))
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    chosen = parser.parse_args()
    folders = {kind: run(chosen.recipe, chosen.out, kind, chosen.settings) for kind in KINDS}
    files = {kind: folder / "results.json" for kind, folder in folders.items()}
    results = {kind: parse_results(read_json(file), RunResults, file) for kind, file in files.items()}
    print(table(results))
    print("spread: standard deviation over the kinds; error: standard error over prompts")
    for stage in results[KINDS[0]].stages:
        if all((folder / stage / "metrics.jsonl").is_file() for folder in folders.values()):
            step = parted(list(folders.values()), stage)
            print(
                f"{stage}: "
                + ("never apart by a hundredth" if step is None else f"apart by a hundredth at step {step}")
            )


if __name__ == "__main__":
    main()
