"""Tokenizers from the files of other libraries."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from redpencil.errors import RedpencilError
from redpencil.models.codec import load_codec

CORPUS = "Hello there, a few words. The cat sat on the mat, and a dog ran. Words are words, there and here.\n"


def test_a_sentencepiece_model_needs_a_package_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)  # it cannot be imported then
    for name in ("tokenizer.model", "spiece.model", "source.spm", "sentencepiece.bpe.model"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
        with pytest.raises(RedpencilError, match=r"sentencepiece model; missing: sentencepiece") as raised:
            load_codec(folder)
        assert raised.value.file == str(folder / name)
        assert "redpencil[sentencepiece]" in raised.value.hint


def test_a_folder_with_tokenizer_json_needs_no_sentencepiece_model(tmp_path: Path, family: Callable[..., Path]) -> None:
    made = tmp_path / "both"
    shutil.copytree(family("llama2"), made)
    (made / "tokenizer.model").write_bytes(b"\nbroken")
    assert load_codec(made).eos_id == 2


def test_other_files_are_not_taken_for_sentencepiece_models(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")  # as tiktoken writes it
    with pytest.raises(RedpencilError, match="no tokenizer can be loaded"):
        load_codec(tmp_path)


@pytest.fixture
def sentencepiece_folder(tmp_path: Path) -> Path:
    """A folder with a small sentencepiece model, as Llama 2 came out with."""
    trainer = pytest.importorskip("sentencepiece", reason="needs the extra sentencepiece").SentencePieceTrainer
    (tmp_path / "corpus.txt").write_text(CORPUS * 20)
    trainer.train(
        input=str(tmp_path / "corpus.txt"),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return tmp_path


def test_a_sentencepiece_model_is_read_by_its_class(sentencepiece_folder: Path) -> None:
    (sentencepiece_folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    codec = load_codec(sentencepiece_folder)
    processor = importlib.import_module("sentencepiece").SentencePieceProcessor(
        model_file=str(sentencepiece_folder / "tokenizer.model")
    )
    [tokens] = codec.encode_responses(["The dog sat there."], finished=False)
    assert list(tokens.ids) == processor.encode("The dog sat there.")


def test_a_sentencepiece_model_that_would_be_read_wrongly_is_refused(sentencepiece_folder: Path) -> None:
    with pytest.raises(RedpencilError, match="cuts texts otherwise") as raised:
        load_codec(sentencepiece_folder)
    assert raised.value.field == "tokenizer_class"
    assert "tokenizer_config.json" in raised.value.hint
