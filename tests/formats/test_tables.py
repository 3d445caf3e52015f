"""Parquet files and what the library `datasets` opens, all without a network."""

import datetime
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
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


def name_of(path: Path, **options: Any) -> str:
    """What ids begin with, so that those of two splits differ."""
    with open_source(str(path), **options) as source:
        return source.name


def test_a_saved_data_set(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    assert values_of(tmp_path / "saved") == ROWS
    assert name_of(tmp_path / "saved") == "saved"
    with pytest.raises(RedpencilError, match="has no splits"):
        rows_of(str(tmp_path / "saved"), split="train")


def test_saved_splits(tmp_path: Path) -> None:
    splits = {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:3])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    assert len(values_of(tmp_path / "saved")) == 200
    assert values_of(tmp_path / "saved", split="test") == ROWS[:3]
    assert (name_of(tmp_path / "saved"), name_of(tmp_path / "saved", split="test")) == ("saved-train", "saved-test")
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
    assert (name_of(folder), name_of(folder, split="test")) == ("folder-train", "folder-test")
    with pytest.raises(RedpencilError, match="no split called 'dev'") as caught:
        rows_of(str(folder), split="dev")
    assert "train, test" in str(caught.value.way_out)
    (folder / "train.jsonl").unlink()
    assert values_of(folder) == ROWS[5:7], "the only split there is"


def test_a_folder_with_the_name_of_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the library `json` is a reader of its own, which would take all files of the working directory."""
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "train.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "train.jsonl").write_text('{"a": 2}\n')
    monkeypatch.chdir(tmp_path)
    assert values_of("json") == [{"a": 1}]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The hosts that anything asks for; none answers."""
    hosts: list[object] = []

    def refuse(host: object, *_: object, **__: object) -> None:
        hosts.append(host)
        raise socket.gaierror("no network in tests")

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return hosts


ELSEWHERE = ["https://example.com/a.jsonl", "hf://datasets/owner/name/a.parquet", "zip://a.jsonl::https://host/a.zip"]


@pytest.mark.parametrize("address", ELSEWHERE)
@pytest.mark.parametrize("files", ["{0}", "[train.jsonl, '{0}']", "[{{split: train, path: ['{0}']}}]"])
@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
def test_a_folder_that_names_data_elsewhere(
    tmp_path: Path, name: str, files: str, address: str, asked: list[object]
) -> None:
    about = f"configs:\n- config_name: default\n  data_files: {files.format(address)}\n"
    (tmp_path / "train.jsonl").write_text('{"a": 1}\n')
    (tmp_path / name).write_text(f"---\n{about}---\n" if name == "README.md" else about)
    with pytest.raises(RedpencilError, match="a folder never uses the network") as caught:
        rows_of(tmp_path)
    assert (caught.value.file, caught.value.field, asked) == (str(tmp_path / name), "configs", [])


def test_a_readme_may_name_files_of_the_folder_and_link_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "other.jsonl").write_text('{"a": 2}\n')
    (tmp_path / "README.md").write_text(
        "---\nsource: https://example.com\nconfigs:\n- config_name: c\n  data_files: mine.jsonl\n---\nhf://o/n\n"
    )
    assert values_of(tmp_path) == values_of(tmp_path, config="c") == [{"a": 1}]
    (tmp_path / "README.md").write_text("---\n{a: [\n---\n")
    with pytest.raises(RedpencilError, match="cannot read what it says of the data"):
        rows_of(tmp_path)


def test_pictures_at_an_address_are_not_fetched(tmp_path: Path, asked: list[object]) -> None:
    path = {"bytes": None, "path": "hf://datasets/owner/name/a.png"}
    picture = datasets.Dataset.from_dict({"a": [path]}, features=datasets.Features({"a": datasets.Image()}))
    (tmp_path / "folder").mkdir()
    parquet.write_table(picture.data.table, tmp_path / "folder" / "train.parquet")
    assert values_of(tmp_path / "folder") == [{"a": path}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.Dataset, "_estimate_nbytes", lambda _: 1)  # it would ask how large the picture is
        picture.save_to_disk(str(tmp_path / "saved"))
    assert values_of(tmp_path / "saved") == [{"a": path}]
    assert asked == []


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
    row = datasets.Dataset.from_list([{"a": 1}]).to_iterable_dataset()

    def load_dataset(*given: Any, **options: Any) -> Any:
        asked.append((*given, options))
        return datasets.IterableDatasetDict({"train": row, "test": row})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for name in ("owner/name", "datasets/owner/name"):
        with pytest.raises(RedpencilError, match="no such file or folder"):
            rows_of(name)
    assert asked == []
    for name in ("hf://owner/name", "hf://datasets/owner/name/"):
        with open_source(name, config="edit") as source:
            assert (source.name, [row.values for row in source.rows]) == ("name-train", [{"a": 1}])
    with open_source("hf://owner/name", split="test") as source:
        assert source.name == "name-test"
    assert asked == [("hf://datasets/owner/name", given, {"streaming": True}) for given in ("edit", "edit", None)]
    # `csv` is a reader of the library, not a data set.
    for name in ("hf://csv", "hf://a/b/c", "hf://"):
        with pytest.raises(RedpencilError, match="not the name of a data set"):
            rows_of(name)
    assert len(asked) == 3


def test_a_folder_of_the_same_name_is_not_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "owner" / "name" / "train.jsonl").write_text('{"a": 1}\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RedpencilError, match="cannot open the data set"):
        rows_of("hf://owner/name")


def test_the_hub_out_of_reach_is_a_clear_message() -> None:
    with pytest.raises(RedpencilError, match="cannot open the data set") as caught:
        rows_of("hf://nobody/nothing")
    assert (caught.value.file, "--name" in str(caught.value.way_out)) == ("hf://nobody/nothing", True)


def test_a_data_set_that_breaks_off() -> None:
    def rows() -> Iterator[dict[str, int]]:
        yield {"a": 1}
        raise OSError("gone\nfor good")

    found = tables._source(datasets.IterableDataset.from_generator(rows), "x", "hf://x").rows
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


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table([pyarrow.array(["1"]), pyarrow.array(["2"])], names=["a", "a"]), path)
    with pytest.raises(RedpencilError, match="two columns have one name") as caught:
        rows_of(path)
    assert (caught.value.file, caught.value.field) == (str(path), "a")
