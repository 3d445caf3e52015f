"""The world stage writes files that the next stages can read, the same ones for the same seed."""

from pathlib import Path

import pytest

from redpencil.config import WorldConfig
from redpencil.errors import RedpencilError
from redpencil.records import Example, Prompt, read_jsonl
from redpencil.runs import hash_input
from redpencil.world.build import write_world
from redpencil.world.oracle import Oracle

SMALL = WorldConfig(sft_examples=300, train_prompts=60, validation_prompts=20, evaluation_prompts=30)
PROMPT_FILES = ("prompts.jsonl", "validation_prompts.jsonl", "evaluation_prompts.jsonl")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "world"
    write_world(SMALL, 0, folder)
    return folder


def test_prompts_are_disjoint_and_corpora_use_training_prompts_only(written: Path) -> None:
    train, validation, evaluation = ({p.prompt for p in read_jsonl(written / f, Prompt)} for f in PROMPT_FILES)
    assert (len(train), len(validation), len(evaluation), len(train | validation | evaluation)) == (60, 20, 30, 110)
    for name, rows in (("sft.jsonl", 300), ("reference.jsonl", 100)):
        examples = list(read_jsonl(written / name, Example))
        assert len(examples) == rows
        assert {example.prompt for example in examples} <= train


def test_the_reference_corpus_has_about_half_of_the_flaws(oracle: Oracle, written: Path) -> None:
    def flaws(name: str) -> float:
        examples = list(read_jsonl(written / name, Example))
        return sum(len(oracle.inspect(e.prompt, e.response).flaws) for e in examples) / len(examples)

    assert flaws("reference.jsonl") / flaws("sft.jsonl") == pytest.approx(0.5, abs=0.12)


def test_the_model_folder_is_there(written: Path) -> None:
    names = {path.name for path in (written / "model").iterdir()}
    assert names == {"config.json", "tokenizer.json", "tokenizer_config.json"}


def test_the_same_seed_writes_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_world(SMALL, 0, tmp_path / "again")
    write_world(SMALL, 1, tmp_path / "other")
    assert hash_input(tmp_path / "again") == hash_input(written)
    for name in (*PROMPT_FILES, "sft.jsonl", "reference.jsonl"):
        assert hash_input(tmp_path / "other" / name) != hash_input(written / name)


def test_too_many_prompts_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="the world has 6912"):
        write_world(WorldConfig(train_prompts=7000), 0, tmp_path)
