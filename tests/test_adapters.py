"""Folders of adapters: where their base is, after moves, copies and losses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from redpencil.adapters import base_digest, base_of, has_config, is_adapter, model_config, point_to, way_to
from redpencil.digests import hash_input
from redpencil.errors import RedpencilError


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write(tmp_path / "run" / "base" / "config.json", {"architectures": ["LlamaForCausalLM"], "id2label": None})
    return tmp_path / "run" / "base"


@pytest.fixture
def adapter(base: Path) -> Path:
    folder = base.parent / "stage" / "checkpoint"
    write(folder / "adapter_config.json", {"base_model_name_or_path": str(base), "task_type": "TOKEN_CLS"})
    added = {"base": "../../base", "weights": "12ab", "config": {"architectures": ["LlamaForTokenClassification"]}}
    write(folder / "redpencil.json", {"adapter": added})
    return folder


def test_an_adapter_is_told_from_a_whole_model(base: Path, adapter: Path, tmp_path: Path) -> None:
    assert [is_adapter(folder) for folder in (base, adapter, tmp_path)] == [False, True, False]
    assert [has_config(folder) for folder in (base, adapter, tmp_path)] == [True, True, False]


def test_the_configuration_is_that_of_the_whole_model(base: Path, adapter: Path) -> None:
    assert model_config(base)["architectures"] == ["LlamaForCausalLM"]
    assert model_config(adapter) == {"architectures": ["LlamaForTokenClassification"]}
    assert base_digest(adapter) == "12ab"
    (adapter / "redpencil.json").unlink()
    with pytest.raises(RedpencilError, match="TOKEN_CLS"):
        model_config(adapter)
    write(adapter / "adapter_config.json", {"base_model_name_or_path": str(base), "task_type": "CAUSAL_LM"})
    assert model_config(adapter) == model_config(base)
    assert base_digest(adapter) is None


def test_the_base_is_found_by_either_way(base: Path, adapter: Path, tmp_path: Path) -> None:
    assert base_of(adapter) == base
    moved = Path(shutil.move(base.parent, tmp_path / "elsewhere"))
    assert base_of(moved / "stage" / "checkpoint") == moved / "base"
    lone = Path(shutil.copytree(moved / "stage" / "checkpoint", tmp_path / "lone"))
    with pytest.raises(RedpencilError) as error:
        base_of(lone)
    assert str(base) in error.value.problem
    assert error.value.field == "base_model_name_or_path"
    (tmp_path / "link").symlink_to(moved / "stage")
    assert base_of(tmp_path / "link" / "checkpoint") == moved / "base"


@pytest.mark.parametrize("named", [None, 7, "", "nowhere"])
def test_a_base_that_is_not_named_is_said(adapter: Path, named: object) -> None:
    write(adapter / "adapter_config.json", {"base_model_name_or_path": named})
    write(adapter / "redpencil.json", {"adapter": "odd"})
    with pytest.raises(RedpencilError, match="base model") as error:
        base_of(adapter)
    assert error.value.file == str(adapter / "adapter_config.json")


def test_an_adapter_on_an_adapter_is_refused(adapter: Path, base: Path) -> None:
    write(base / "adapter_config.json", {})
    with pytest.raises(RedpencilError, match="adapter itself"):
        base_of(adapter)


def test_a_copy_points_to_the_base_of_its_original_not_to_a_namesake(adapter: Path, base: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "other" / "stage" / "checkpoint"))
    write(tmp_path / "other" / "base" / "config.json", {"architectures": ["Other"]})
    assert base_of(copy) != base
    point_to(copy, base_of(adapter))
    assert base_of(copy) == base
    content: Any = json.loads((copy / "redpencil.json").read_text())
    assert content["adapter"] == {
        **json.loads((adapter / "redpencil.json").read_text())["adapter"],
        "base": way_to(base, copy),
    }


def test_the_base_counts_in_the_hash_of_its_adapter(adapter: Path, base: Path) -> None:
    before = hash_input(adapter)
    assert hash_input(adapter) == before
    (base / "model.safetensors").write_bytes(b"other")
    assert hash_input(adapter) != before


def test_files_that_are_no_objects_are_named(adapter: Path) -> None:
    write(adapter / "adapter_config.json", [])
    with pytest.raises(RedpencilError) as error:
        base_of(adapter)
    assert error.value.file == str(adapter / "adapter_config.json")
