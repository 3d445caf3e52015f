"""Tokenizers of local folders, from the files of several libraries."""

import importlib.util
from pathlib import Path
from typing import Final

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from redpencil.errors import RedpencilError
from redpencil.models.chat import first_line

_SENTENCEPIECE: Final = ("sentencepiece", "google.protobuf")
"""The modules that transformers reads sentencepiece models with."""


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a local checkpoint folder.

    Raises:
        RedpencilError: if the folder does not hold a tokenizer with character offsets, or holds a sentencepiece model
            that cannot be read as it was made.
    """
    if not folder.is_dir():
        raise RedpencilError("no such model folder", file=folder, hint="give a folder that Hugging Face saved")
    sentencepiece = _sentencepiece_model(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a damaged file makes the libraries raise nearly anything
        raise RedpencilError(
            f"no tokenizer can be loaded ({first_line(error)})",
            file=folder,
            hint="copy tokenizer.json and tokenizer_config.json into the model folder",
        ) from error
    if not tokenizer.is_fast:
        raise RedpencilError(
            "the tokenizer gives no character offsets, which token masks need",
            file=folder,
            hint="use a fast tokenizer",
        )
    if sentencepiece is not None:
        _check_conversion(tokenizer, sentencepiece)
    return tokenizer


def _sentencepiece_model(folder: Path) -> Path | None:
    """Find the sentencepiece model of a folder without tokenizer.json.

    Raises:
        RedpencilError: if there is one, and a package that reads it is missing.
    """
    names = () if (folder / "tokenizer.json").is_file() else ("tokenizer.model", "spiece.model", "*.spm", "*bpe.model")
    models = [path for name in names for path in sorted(folder.glob(name)) if path.read_bytes()[:1] == b"\n"]
    missing = [name.removeprefix("google.") for name in _SENTENCEPIECE if not _is_installed(name)]
    if models and missing:
        raise RedpencilError(
            f"the packages sentencepiece and protobuf read a sentencepiece model; missing: {', '.join(missing)}",
            file=models[0],
            hint="pip install 'redpencil[sentencepiece]', or put the tokenizer.json of the same tokenizer beside it",
        )
    return models[0] if models else None


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def _check_conversion(tokenizer: PreTrainedTokenizerBase, model: Path) -> None:
    """Refuse a tokenizer that cuts texts otherwise than the sentencepiece model that it was made from."""
    processor = importlib.import_module("sentencepiece").SentencePieceProcessor(model_file=str(model))
    text = "Hello there, a few words."
    if processor.encode(text, out_type=str) != tokenizer.tokenize(text):
        raise RedpencilError(
            "transformers does not know the tokenizer class of the sentencepiece model, and cuts texts otherwise",
            file=model,
            field="tokenizer_class",
            hint='name it in tokenizer_config.json beside it, such as {"tokenizer_class": "LlamaTokenizer"}',
        )
