"""Parquet files and what the library `datasets` opens, all without a network."""

import csv
import datetime
import gzip
import json
import os
import socket
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from redpencil.errors import RedpencilError
from redpencil.formats import datasets as datasets_module
from redpencil.formats.datasets import open_source
from redpencil.formats.text_files import Place

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
    assert "train, test" in str(caught.value.hint)
    datasets.DatasetDict({"only": splits["test"]}).save_to_disk(str(tmp_path / "one"))
    assert len(values_of(tmp_path / "one")) == 3


def test_a_folder_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    datasets.Dataset.from_list(ROWS[:5]).to_json(str(folder / "train.jsonl"))
    datasets.Dataset.from_list(ROWS[5:7]).to_json(str(folder / "test.jsonl"))
    assert values_of(folder) == ROWS[:5]
    assert values_of(folder, split="test") == ROWS[5:7]
    with pytest.raises(RedpencilError, match="no split called 'dev'") as caught:
        rows_of(str(folder), split="dev")
    assert "train, test" in str(caught.value.hint)
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
    with pytest.raises(RedpencilError, match="cannot read how it describes the data"):
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
            assert [row.values for row in source.rows] == [{"a": 1}]
    assert values_of("hf://owner/name", split="test") == [{"a": 1}]
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
    assert (caught.value.file, "--name" in str(caught.value.hint)) == ("hf://nobody/nothing", True)


def test_a_data_set_that_breaks_off() -> None:
    def rows() -> Iterator[dict[str, int]]:
        yield {"a": 1}
        raise OSError("gone\nfor good")

    found = datasets_module._source(datasets.IterableDataset.from_generator(rows), "x", "hf://x").rows
    assert next(found).values == {"a": 1}
    with pytest.raises(RedpencilError, match=r"cannot read past row 1 \(gone\)"):
        next(found)


def test_without_the_extra_the_hint_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("pyarrow.parquet", "datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    for given in (tmp_path / "data.parquet", tmp_path, "hf://owner/name"):
        with pytest.raises(RedpencilError) as caught:
            rows_of(given)
        assert caught.value.hint == "pip install 'redpencil[data]'"


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table([pyarrow.array(["1"]), pyarrow.array(["2"])], names=["a", "a"]), path)
    with pytest.raises(RedpencilError, match="two columns have one name") as caught:
        rows_of(path)
    assert (caught.value.file, caught.value.field) == (str(path), "a")


ROWS_SOURCES, TEXT = 3_000, "0123456789" * 1_000


def test_a_file_is_told_by_what_it_holds(tmp_path: Path) -> None:
    for name in ("a.json", "a.jsonl", "a.txt", "a"):
        for content in (b'[{"a": 1}]', b'{"a": 1}\n', b' \xef\xbb\xbf\n{"a": 1}'[1:], b'\n [\n{"a": 1}\n]'):
            for packed in (content, gzip.compress(content)):
                (tmp_path / name).write_bytes(packed)
                with open_source(str(tmp_path / name)) as source:
                    assert [row.values for row in source.rows] == [{"a": 1}]


def test_what_is_not_there_or_no_rows_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(RedpencilError, match="no such file or folder") as caught,
        open_source(str(tmp_path / "none.json")),
    ):
        pass
    assert "hf://OWNER/NAME" in str(caught.value.hint)
    (tmp_path / "a.jsonl").write_text("{}\n")
    for options in ({"split": "train"}, {"config": "edit"}):
        with (
            pytest.raises(RedpencilError, match="no splits or configurations"),
            open_source(str(tmp_path / "a.jsonl"), **options),
        ):
            pass
    (tmp_path / "empty").write_bytes(b"")
    with open_source(str(tmp_path / "empty")) as source:
        assert list(source.rows) == []


def test_a_place_without_lines_names_the_row() -> None:
    assert str(Place("f", 17, 20).error("bad", field="a")) == "f:20 [a]: bad"
    assert str(Place("f", 17).error("bad", field="a")) == "f [a]: row 17: bad"
    located = Place("f", 17).locate(RedpencilError("bad", field="a", hint="mend"))
    assert str(located) == "f [a]: row 17: bad\n  hint: mend"
    assert Place("f", 17).locate(located) is located


def test_the_position_goes_up_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"a": "{TEXT}"}}\n' * 100)
    with open_source(str(tmp_path / "a.jsonl")) as source:
        seen = [source.position() for _ in source.rows]
        assert seen == sorted(seen)
        assert source.position() == (1001, 1001)


def test_an_open_file_is_closed_and_the_reader_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n" + "1\n" * 100_000)
    before = csv.field_size_limit()
    with open_source(str(tmp_path / "a.csv")) as source:
        assert next(source.rows).values == {"a": "1"}
    assert (list(source.rows), csv.field_size_limit()) == ([], before)


def write_jsonl(path: Path) -> None:
    with path.open("w") as out:
        out.writelines(json.dumps({"a": TEXT, "n": number}) + "\n" for number in range(ROWS_SOURCES))


def write_packed(path: Path) -> None:
    with gzip.open(path, "wt", compresslevel=1) as out:
        out.writelines(json.dumps({"a": TEXT, "n": number}) + "\n" for number in range(ROWS_SOURCES))


def write_csv(path: Path) -> None:
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["a", "n"])
        writer.writerows([TEXT, number] for number in range(ROWS_SOURCES))


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.jsonl", write_jsonl), ("a.jsonl.gz", write_packed), ("a.csv", write_csv)],
)
def test_thirty_megabytes_take_few_of_memory(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    tracemalloc.start()
    try:
        with open_source(str(tmp_path / name)) as source:
            count = sum(1 for _ in source.rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == ROWS_SOURCES
    assert peak < 8_000_000


def test_a_large_parquet_file_takes_little_memory(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `data` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    # Rows differ, so that nothing compresses; one row group holds them all.
    table = pyarrow.table({"a": [f"{number:05d}" * 2_000 for number in range(ROWS_SOURCES)]})
    parquet.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    del table
    assert (tmp_path / "a.parquet").stat().st_size > 29_000_000
    before = pyarrow.total_allocated_bytes()
    most = 0
    count = 0
    with open_source(str(tmp_path / "a.parquet")) as source:
        for _ in source.rows:
            count += 1
            most = max(most, pyarrow.total_allocated_bytes() - before)
    assert count == ROWS_SOURCES
    assert most < 16_000_000  # pages and a batch; the same for a file four times as large


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for given in (str(tmp_path / "pipe"), "/dev/full"):
        with pytest.raises(RedpencilError, match="not a plain file"), open_source(given):
            pass
