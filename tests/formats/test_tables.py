"""Parquet files and what the library `datasets` opens, all without a network."""

import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.formats import tables
from redpencil.formats.sources import open_source

pyarrow = pytest.importorskip("pyarrow", reason="the extra `data` is not installed")
datasets = pytest.importorskip("datasets", reason="the extra `data` is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

ROWS = [{"prompt": f"p{number}", "n": number, "turns": [{"role": "user", "content": "é"}]} for number in range(200)]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def rows_of(given: Path | str, **options: Any) -> list[Any]:
    with open_source(str(given), **options) as source:
        return list(source.rows)


def values_of(given: Path | str, **options: Any) -> list[Any]:
    return [row.values for row in rows_of(given, **options)]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"  # told by what it holds
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path, row_group_size=70)
    with open_source(str(path)) as source:
        rows = list(source.rows)
        assert source.position() == (200, 200)
    assert [row.values for row in rows] == ROWS
    assert [(row.place.row, row.place.line) for row in rows] == [(number, None) for number in range(1, 201)]


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(RedpencilError, match="not a whole Parquet file"):
        rows_of(path)
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    with pytest.raises(RedpencilError, match="damaged after row 0"):
        rows_of(path)


def test_a_value_that_cannot_be_read_is_named_by_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    data = pyarrow.py_buffer(b"a\xffc")
    offsets = pyarrow.array([0, 1, 2, 3], pyarrow.int32()).buffers()[1]
    texts = pyarrow.StringArray.from_buffers(3, offsets, data)
    days = pyarrow.array([datetime.date(2024, 1, day) for day in (1, 2, 3)])
    parquet.write_table(pyarrow.table({"text": texts, "day": days}), path)
    first, bad, last = rows_of(path)
    assert (first.values["text"], last.values["day"]) == ("a", datetime.date(2024, 1, 3))
    assert bad.error is not None
    assert (bad.error.field, bad.error.problem.startswith("row 2: a value that cannot be read")) == ("text", True)


def test_a_saved_data_set(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    assert values_of(tmp_path / "saved") == ROWS
    with pytest.raises(RedpencilError, match="has no splits"):
        rows_of(str(tmp_path / "saved"), split="train")


def test_saved_splits(tmp_path: Path) -> None:
    splits = {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:3])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    assert len(values_of(tmp_path / "saved")) == 200
    assert values_of(tmp_path / "saved", split="test") == ROWS[:3]
    with pytest.raises(RedpencilError, match="no split called 'dev'") as caught:
        rows_of(str(tmp_path / "saved"), split="dev")
    assert "train, test" in str(caught.value.way_out)
    datasets.DatasetDict({"only": splits["test"]}).save_to_disk(str(tmp_path / "one"))
    assert len(values_of(tmp_path / "one")) == 3


def test_a_folder_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    datasets.Dataset.from_list(ROWS[:5]).to_json(str(folder / "train.jsonl"))
    datasets.Dataset.from_list(ROWS[5:7]).to_json(str(folder / "test.jsonl"))
    assert values_of(folder) == ROWS[:5]
    assert values_of(folder, split="test") == ROWS[5:7]
    with pytest.raises(RedpencilError, match="cannot open the data set"):
        rows_of(str(folder), split="dev")


def test_a_folder_without_data(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="cannot open the data set") as caught:
        rows_of(tmp_path)
    assert caught.value.file == str(tmp_path)


def test_a_folder_with_a_script_runs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "folder.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(RedpencilError):
        rows_of(folder)
    assert not (tmp_path / "ran").exists()


def test_the_hub_is_asked_only_by_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load_dataset(*given: Any, **options: Any) -> list[dict[str, int]]:
        asked.append((*given, options))
        return [{"a": 1}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for name in ("owner/name", "datasets/owner/name"):
        with pytest.raises(RedpencilError, match="no such file or folder"):
            rows_of(name)
    assert asked == []
    for name in ("hf://owner/name", "hf://datasets/owner/name/"):
        with open_source(name, config="edit") as source:
            assert (source.name, [row.values for row in source.rows]) == ("name-train", [{"a": 1}])
    assert asked == [("owner/name", "edit", {"split": "train", "streaming": True})] * 2


def test_the_hub_out_of_reach_is_a_clear_message() -> None:
    with pytest.raises(RedpencilError, match="cannot open the data set") as caught:
        rows_of("hf://nobody/nothing")
    assert (caught.value.file, "--split" in str(caught.value.way_out)) == ("hf://nobody/nothing", True)


def test_a_data_set_that_breaks_off() -> None:
    def rows() -> Iterator[dict[str, int]]:
        yield {"a": 1}
        raise OSError("gone\nfor good")

    found = tables._source(rows(), "x", "hf://x", 0).rows
    assert next(found).values == {"a": 1}
    with pytest.raises(RedpencilError, match=r"cannot go on after row 1 \(gone\)"):
        next(found)


def test_without_the_extra_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("pyarrow.parquet", "datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    for given in (tmp_path / "data.parquet", tmp_path, "hf://owner/name"):
        with pytest.raises(RedpencilError) as caught:
            rows_of(given)
        assert caught.value.way_out == "pip install 'redpencil[data]'"
