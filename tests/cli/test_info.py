"""`keys` and `doctor`: recipe keys, and checks of the machine."""

import importlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from redpencil.cli import info
from redpencil.config.compute import ComputeConfig, SamplerConfig
from redpencil.config.data import FilesConfig
from redpencil.config.methods import PPOConfig
from redpencil.config.recipe import Recipe
from redpencil.config.training import AlignConfig, RewardConfig, SFTConfig
from redpencil.providers.cache import open_cache
from redpencil.web.database import open_database


def test_every_key_is_listed_with_type_default_and_meaning(redpencil: Callable[..., Any]) -> None:
    rows = {row["key"]: row for row in json.loads(redpencil("keys", "--json").out)}
    sections = {"compute": ComputeConfig, "ppo": PPOConfig, "sft": SFTConfig, "reward": RewardConfig}
    for section, model in {**sections, "files": FilesConfig}.items():
        # what `compute` sets for all sections is listed there alone
        keys = {f"{section}.{name}" for name, field in model.model_fields.items() if not field.exclude}
        nested = tuple(f"{key}." for key in keys)
        assert {key for key in rows if key.startswith(f"{section}.") and not key.startswith(nested)} == keys
    servers = {key.rpartition(".")[2] for key in rows if key.startswith("compute.sampler.")}
    assert servers == set(SamplerConfig.model_fields)
    assert "compute.reward_servers.<level>.url" in rows
    assert "compute.micro_batch_size" in rows
    assert "sft.micro_batch_size" not in rows
    assert all(row["description"] for row in rows.values())
    assert rows["ppo.kl_coef"] == {
        "key": "ppo.kl_coef",
        "type": "float",
        "default": "0.02",
        "description": PPOConfig.model_fields["kl_coef"].description,
    }
    assert rows["align.anchor"]["type"] == "none | divergence"
    assert rows["reward.frozen_layers"]["type"] == "int | all"
    assert not [row for row in rows.values() if "Annotated" in row["type"]]
    assert rows["sft.learning_rate"]["default"] == "2e-05"
    assert rows["ppo.kl_target"]["type"] == "float | null"
    assert rows["ppo.center_rewards"]["default"] == "true"
    assert (rows["files.model"]["type"], rows["files.model"]["default"]) == ("path", "required")
    assert (rows["seeds"]["type"], rows["seeds"]["default"]) == ("list of int", "[0]")
    assert rows["arms.<name>.reward_model"]["type"] == "text | null"
    assert set(Recipe.model_fields) == {key.split(".")[0] for key in rows}


def test_one_section_for_a_person(redpencil: Callable[..., Any]) -> None:
    lines = redpencil("keys", "align").out.splitlines()
    assert lines[0] == "align.alignment  lcs | positional  lcs"
    assert lines[1].startswith("    lcs aligns words")
    assert sum(not line.startswith(" ") for line in lines) == len(AlignConfig.model_fields)


@pytest.mark.parametrize("section", ["pp", "name"])
def test_an_unknown_section(mistake: Callable[..., str], section: str) -> None:
    said = mistake("keys", section)
    assert f"no section called {section!r}" in said
    assert "world, files, compute, compute.sampler, compute.reward_servers, lora, " in said
    assert "sft, align, reward, sampling, ppo, grpo, best_of_n, dpo, figa, distill, reward_models, arms" in said


def checks(outcome: Any) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(outcome.out)["checks"]}


def test_a_healthy_machine(redpencil: Callable[..., Any]) -> None:
    outcome = redpencil("doctor", "--json")
    found = checks(outcome)
    assert outcome.code == 0
    assert json.loads(outcome.out)["ok"]
    assert found["torch"]["value"] == metadata.version("torch")
    assert {"python", "redpencil", "transformers", "recipe recommended"} <= found.keys()
    assert {"GPUs that torch sees", "device `auto`", "torch threads", "CPU cores", "memory", "disk"} <= found.keys()
    assert not {"pytest", "ruff"} & found.keys()
    assert found["recipe recommended"]["value"] == "1 seed, 5 policies to compare"
    assert found["recipe ablations"]["value"] == "3 seeds, 16 variants"
    assert found["recipe jfleg-reward"]["value"] == "3 seeds, 9 reward models alone"  # whose files are not there


def test_the_table_says_the_same(redpencil: Callable[..., Any]) -> None:
    text = redpencil("doctor").out
    assert "BAD" not in text
    assert f"torch                 {metadata.version('torch')}" in text


def test_a_recipe_that_does_not_validate(redpencil: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("wrld: {}\n")
    outcome = redpencil("doctor", tiny, tmp_path / "bad.yaml", "--json")
    found = checks(outcome)
    assert outcome.code == 1
    assert found[f"recipe {tiny}"]["ok"]
    bad = found[f"recipe {tmp_path / 'bad.yaml'}"]
    assert not bad["ok"]
    assert "did you mean 'world'?" in bad["hint"]
    assert "BAD" in redpencil("doctor", tmp_path / "bad.yaml").out


def test_what_a_recipe_starts_is_said(
    redpencil: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    wide = tmp_path / "wide.yaml"
    wide.write_text(tiny.read_text() + "compute: {processes: 4, jobs: 3}\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = checks(redpencil("doctor", wide, "--json"))[f"compute of {wide}"]
    assert found["value"] == "3 stages at a time, 4 processes for a stage, on the CPU with 1 thread each"
    monkeypatch.setattr("redpencil.pipeline.launch.gpus_of", lambda _: ["0", "1"])
    outcome = redpencil("doctor", wide, "--json")
    found = checks(outcome)[f"compute of {wide}"]
    assert (outcome.code, found["ok"]) == (1, False)
    assert "4 processes, and 2 GPUs" in found["hint"]


def test_a_missing_package(redpencil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def without_scipy(name: str) -> str:
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without_scipy)
    outcome = redpencil("doctor", "--json")
    scipy = checks(outcome)["scipy"]
    assert (outcome.code, scipy["ok"], scipy["value"]) == (1, False, "missing")
    assert scipy["hint"].startswith("pip install 'scipy")


def test_a_torch_that_does_not_load(redpencil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise OSError(f"{name}: libgomp is missing")

    monkeypatch.setattr(importlib, "import_module", broken)
    outcome = redpencil("doctor", "--json")
    assert outcome.code == 1
    assert checks(outcome)["torch loads"]["value"] == "no: torch: libgomp is missing"


def test_a_gpu(redpencil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, get_device_name=lambda index: f"GPU {index}"
    )
    torch = SimpleNamespace(cuda=cuda, get_num_threads=lambda: 1)
    monkeypatch.setattr(importlib, "import_module", lambda _: torch)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = checks(redpencil("doctor", "--json"))
    assert found["GPUs that torch sees"]["value"] == "GPU 0, GPU 1"
    assert found["device `auto`"]["value"] == "cuda in bfloat16"
    assert "OMP_NUM_THREADS=1" in found["torch threads"]["value"]


def test_too_little_of_everything(redpencil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    monkeypatch.setattr(info, "_memory", lambda: 0.5)
    outcome = redpencil("doctor", "--json")
    found = checks(outcome)
    assert outcome.code == 1
    assert not found["disk"]["ok"]
    assert not found["memory"]["ok"]


def test_a_system_that_does_not_tell_its_memory(redpencil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf")
    assert "memory" not in checks(redpencil("doctor", "--json"))


def test_extras_that_are_not_there_are_no_failure(
    redpencil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = metadata.version
    extras = {"anthropic": "llm", "openai": "llm", "aiolimiter": "llm", "datasets": "data", "pyarrow": "data",
              "fastapi": "web"}  # fmt: skip
    assert extras.keys() <= checks(redpencil("doctor", "--json")).keys()

    def without(name: str) -> str:
        if name in extras:
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without)
    outcome = redpencil("doctor", "--json")
    assert outcome.code == 0
    for name, extra in extras.items():
        found = checks(outcome)[name]
        assert (found["ok"], found["value"]) == (True, f"not installed: pip install 'redpencil[{extra}]'")
    assert re.search(r"^- +openai +not installed", redpencil("doctor").out, re.MULTILINE)


@pytest.mark.parametrize("missing", ["files.edits", "reward_models.mine.folder"])
@pytest.mark.parametrize("ablated", [False, True])
def test_a_recipe_is_not_ok_when_a_file_that_it_names_is_missing(
    redpencil: Callable[..., Any], tmp_path: Path, missing: str, ablated: bool
) -> None:
    rows = {"comparisons": "c", "edits": "e", "prompts": "p", "validation_prompts": "v", "evaluation_prompts": "w"}
    recipe: dict[str, Any] = {"world": {}, "reward_models": {"mine": {"pairs": "edits", "folder": "gone"}}}
    recipe["arms"] = {"mine": {"reward_model": "mine"}}
    if missing == "files.edits":
        recipe = {"files": {"model": ".", "judge": ".", **rows}}
        for name in set(rows.values()) - {"e"}:
            (tmp_path / name).write_text("")
    if ablated:
        groups = {"group": {"base": {}, "other": {"ppo.kl_coef": 0.1}}}
        recipe = {"base": recipe, "groups": groups, "arm": "token" if "files" in recipe else "mine"}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    outcome = redpencil("doctor", tmp_path / "recipe.yaml", "--json")
    found = checks(outcome)[f"recipe {tmp_path / 'recipe.yaml'}"]
    assert (outcome.code, found["ok"]) == (1, False)
    assert missing in found["hint"]


def test_databases_that_others_may_read_are_told(
    redpencil: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_database(tmp_path / "edits.db").dispose()
    (tmp_path / "elsewhere").mkdir()
    with open_cache(tmp_path / "elsewhere" / "out.cache") as cache:
        cache.mark_sent("00" * 32, "m")
    with closing(sqlite3.connect(tmp_path / "other programs.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    for path in tmp_path.glob("**/*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    files = [tmp_path / "edits.db", tmp_path / "elsewhere" / "out.cache"]
    for healthy in (False, True):
        outcome = redpencil("doctor", files[1], "--json")
        found = {name: check for name, check in checks(outcome).items() if name.startswith("rights of")}
        assert set(found) == {"rights of edits.db", "rights of out.cache"}
        assert [check["ok"] for check in found.values()] == [healthy] * 2
        assert outcome.code == (0 if healthy else 1)
        for file in files:
            file.chmod(0o600)
    (tmp_path / "edits.db-wal").touch(0o640)
    assert "edits.db-wal" in checks(redpencil("doctor", "--json"))["rights of edits.db"]["value"]


def test_a_database_that_is_all_in_its_log_yet_is_known(
    redpencil: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_cache(tmp_path / "out.cache") as cache:  # as a command does that runs, or was killed
        cache.mark_sent("00" * 32, "m")
        for file in tmp_path.iterdir():
            file.chmod(0o644)
        found = checks(redpencil("doctor", "--json"))["rights of out.cache"]
    assert not found["ok"]
    assert "out.cache, out.cache-wal" in found["value"]


def test_pipes_and_names_that_are_no_text_in_this_folder_do_no_harm(
    redpencil: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    odd = tmp_path / os.fsdecode(b"it's \xff.db")
    open_database(odd).dispose()
    odd.chmod(0o644)
    (found,) = [check for name, check in checks(redpencil("doctor", "--json")).items() if name.startswith("rights")]
    assert found["hint"].startswith("chmod 600 '")
    assert redpencil("doctor").code == 1


def test_a_model_and_what_its_template_does(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    markers = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    made = Tokenizer(models.BPE({piece: i for i, piece in enumerate((*markers, "a"))}, []))
    made.add_special_tokens(markers)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=markers[0])
    tokenizer.save_pretrained(tmp_path / "plain")
    chat = (
        "{{ strftime_now('%Y') }}{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    )
    tokenizer.chat_template = chat
    tokenizer.save_pretrained(tmp_path / "chat")
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]: {{ m.content }}\n{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "text")
    for name in ("plain", "chat", "text"):
        (tmp_path / name / "config.json").write_text('{"model_type": "llama"}')
        (tmp_path / name / "redpencil.json").write_text('{"fresh": true}')
    outcome = redpencil("doctor", "--json", *(tmp_path / name for name in ("plain", "chat", "text")))
    found = checks(outcome)
    assert outcome.code == 0
    plain, chatting, text = (found[f"model {tmp_path / name}"] for name in ("plain", "chat", "text"))
    assert (plain["value"], plain["hint"]) == ("responses end with '<|endoftext|>' (0)", "")
    assert chatting["value"] == "responses end with '<|im_end|>' (2)"
    for remark in ("the end token of the tokenizer is '<|endoftext|>' (0)", "date: 2024-07-26", "no system messages"):
        assert remark in chatting["hint"]
    assert "imitate" in text["hint"]
    assert "imitate" not in chatting["hint"]


def test_the_model_of_a_recipe_is_checked_with_its_template(
    redpencil: Callable[..., Any], tmp_path: Path, files_recipe: Path
) -> None:
    outcome = redpencil("doctor", files_recipe, "--json")
    found = checks(outcome)
    assert outcome.code == 1
    assert not found[f"model {tmp_path / 'missing'}"]["ok"]
    assert "config.json is missing" in found[f"model {tmp_path / 'missing'}"]["hint"]


@pytest.fixture
def files_recipe(tmp_path: Path) -> Path:
    """A recipe on files of a user, whose model is missing."""
    names = ("comparisons", "edits", "prompts", "validation_prompts", "evaluation_prompts", "judge")
    lines = ["files:", "  model: missing", *(f"  {name}: {name}" for name in names)]
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path
