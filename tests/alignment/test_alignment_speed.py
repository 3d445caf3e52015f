"""The benchmark of alignment, on few edits; how fast it is depends on the machine and is not asked here."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "alignment_speed.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("alignment_speed", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_measures_words_and_masks(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["alignment_speed.py", "--count", "300", "--repeats", "1"])
    benchmark.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("300 edits from ")
    assert [line.split()[0] for line in lines[2:]] == ["words", "masks", "tokenised"]
    assert all(int(line.split()[-1].replace(",", "")) > 0 for line in lines[2:])


def test_made_up_edits_stand_in_for_missing_data(benchmark: ModuleType, tmp_path: Path) -> None:
    found = benchmark.run(200, 1, tmp_path / "missing.json")
    assert found["from"] == "made-up texts"
    assert found["edits"] == found["different"] == 200
    assert 70 < found["words_per_text"] < 90
    assert set(found["edits_per_second"]) == {"words", "masks", "tokenised_masks"}


def test_words_are_exchanged_on_both_sides_alike(benchmark: ModuleType) -> None:
    seeds = [("a b c d", "a b x d")]
    edits = list(benchmark.many_edits(seeds, 50))
    assert edits == list(benchmark.many_edits(seeds, 50))
    assert len(set(edits)) > 10
    for before, after in edits:
        first, second = before.split(), after.split()
        assert [first[0], first[1], first[3]] == [second[0], second[1], second[3]]
