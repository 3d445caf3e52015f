"""Write checkpoints: trained models, reward models made of two policies, and adapters merged into their base."""

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from redpencil.adapters import ADAPTER, CONFIG, SIDECAR, model_config
from redpencil.errors import RedpencilError
from redpencil.files import sync_names, sync_tree
from redpencil.models.chat import first_line
from redpencil.models.checkpoints import LanguageModel, check_model_folder, load_head, load_policy, quiet
from redpencil.models.codec import CHAT, Codec, read_object
from redpencil.models.heads import HEADS
from redpencil.models.log_ratio import ARCHITECTURE, LOG_RATIO, Parts, written
from redpencil.models.lora import adapter_states, role_of, save_adapter
from redpencil.models.parallel import whole_state
from redpencil.models.runtime import Runtime
from redpencil.models.sidecar import (
    LEVELS,
    UNKNOWN,
    RewardCard,
    architecture_of,
    codec_of_checkpoint,
    read_card,
    reward_level,
)
from redpencil.runs import write_json

LARGEST_FILE = "10GB"
"""Weights beyond it go into several files."""


def export(model: LanguageModel, folder: Path, *, card: RewardCard | None = None, shared: Path | None = None) -> None:
    """Write a plain Hugging Face checkpoint with its tokenizer, and what redpencil adds in a small JSON file.

    Of a model with an adapter, that is written as PEFT does, without the base. A folder that is there is replaced as a
    whole. `shared` is a file that the backbone's weights are linked to, and written to first if it is not there:
    checkpoints of one frozen backbone then take the room of one.

    Of several processes all take part, to gather the weights, and the first one writes.
    """
    weights = whole_state(model.module) if role_of(model.module) is None else adapter_states(model.module)
    if model.runtime.writes:
        written = model.runtime.checkpoint_dtype
        if written != torch.float32:
            weights = {
                name: value.to(written) if value.dtype == torch.float32 else value for name, value in weights.items()
            }
        _write(model, weights, folder, card, shared)
    model.runtime.tell(None)


def _write(
    model: LanguageModel, weights: dict[str, Tensor], folder: Path, card: RewardCard | None, shared: Path | None
) -> None:
    module, codec = model.module, model.codec
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    content = _of_codec(codec)
    # Sequence models of transformers read the last token that is not padding, so EOS must not be declared padding.
    hides_eos = card is not None and codec.pad_id == codec.eos_id
    with quiet():
        module.config.pad_token_id = None if hides_eos else codec.pad_id
        _name_ends(module, codec)
        try:
            if role_of(module) is not None:
                content[ADAPTER] = save_adapter(module, weights, new)
            elif shared is None:
                module.save_pretrained(str(new), state_dict=weights, max_shard_size=LARGEST_FILE)
            else:
                _save_linked(module, weights, new, shared)
        except SafetensorError as error:  # as for a full disk
            raise RedpencilError(
                f"cannot write the weights ({first_line(error)})",
                file=folder,
                hint="make room on the disk, or choose another --out",
            ) from error
    if model.runtime.checkpoint_dtype != torch.float32 and (new / "config.json").is_file():
        config = {
            **read_object(new / "config.json"),
            "dtype": str(model.runtime.checkpoint_dtype).removeprefix("torch."),
        }
        write_json(new / "config.json", config)
    codec.tokenizer.save_pretrained(str(new))
    _name_tokenizer_end(new / "tokenizer_config.json", codec)
    if card is not None:
        content["reward"] = asdict(card)
    write_json(new / SIDECAR, content)
    sync_tree(new)
    shutil.rmtree(folder, ignore_errors=True)
    new.replace(folder)
    sync_names(folder.parent)


def write_log_ratio(folder: Path, parts: Parts, codec: Codec, card: RewardCard) -> None:
    """Write the folder of a reward model that is made of two policies; it has no weights of its own."""
    folder.mkdir(parents=True)
    config = {**model_config(parts.policy), "architectures": [ARCHITECTURE], "id2label": HEADS[1]}
    write_json(folder / CONFIG, config)
    codec.tokenizer.save_pretrained(str(folder))
    _name_tokenizer_end(folder / "tokenizer_config.json", codec)
    content = {**_of_codec(codec), LOG_RATIO: written(folder, parts), "reward": asdict(card)}
    write_json(folder / SIDECAR, content)


def _of_codec(codec: Codec) -> dict[str, Any]:
    """What redpencil.json says of how prompts are encoded."""
    content: dict[str, Any] = {"prompt_template": codec.template}
    if codec.template == CHAT and codec.chat is not None:
        content["chat_template_kwargs"] = dict(codec.chat_template_kwargs)
        content["chat_template_date"] = codec.chat_template_date.isoformat()
    return content


def write_merged(folder: Path, out: Path, dtype: str) -> None:
    """Write the whole model of an adapter and its base, with tokenizer and card.

    Raises:
        RedpencilError: if the folder does not hold an adapter of a policy or a reward model.
    """
    # By itself, whatever other processes there are: one of several may merge while the others wait.
    folder, runtime = check_model_folder(folder), Runtime(torch.device("cpu"), torch.float32)
    if architecture_of(folder).endswith(tuple(LEVELS)):
        level = reward_level(folder)
        card: RewardCard | None = read_card(folder, level)
        codec = codec_of_checkpoint(folder)
        model = load_head(folder, level, runtime, trained=True, zero_head=False, codec=codec)
    else:
        model, card = load_policy(folder, runtime, trained=True), None
    model.module.to(getattr(torch, dtype))
    export(model, out, card=card if card is None or card.trained_on != UNKNOWN else None)


def _save_linked(module: PreTrainedModel, weights: dict[str, Tensor], folder: Path, shared: Path) -> None:
    """Save a model in two shards; that of the backbone is a link to `shared`, or a copy where links are impossible."""
    weights = {name: value.contiguous() for name, value in weights.items()}
    prefix = f"{module.base_model_prefix}."
    backbone, head = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    places = {name: backbone if name.startswith(prefix) else head for name in weights}
    module.config.architectures = [type(module).__name__]
    module.config.save_pretrained(str(folder))
    if not shared.is_file():
        shared.parent.mkdir(parents=True, exist_ok=True)
        part = shared.with_name(f".{shared.name}.{os.getpid()}")
        save_file({name: weights[name] for name in weights if places[name] == backbone}, part, {"format": "pt"})
        part.replace(shared)
    try:
        os.link(shared, folder / backbone)
    except OSError:
        shutil.copy2(shared, folder / backbone)
    save_file({name: weights[name] for name in weights if places[name] == head}, folder / head, {"format": "pt"})
    size = sum(value.numel() * value.element_size() for value in weights.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": places})


def _name_ends(module: PreTrainedModel, codec: Codec) -> None:
    """Let the configuration of a model name the end tokens of its codec, first the one that it learned."""
    ends = [codec.eos_id, *sorted(codec.ends - {codec.eos_id})]
    if module.config.eos_token_id is not None:
        module.config.eos_token_id = codec.eos_id
    if module.can_generate() and module.generation_config is not None:
        module.generation_config.eos_token_id = ends if len(ends) > 1 else codec.eos_id


def _name_tokenizer_end(path: Path, codec: Codec) -> None:
    """Let a saved tokenizer name the end token that was trained on, if its own is another one or none."""
    tokenizer = codec.tokenizer
    own = getattr(tokenizer, "sep_token_id", None) if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    if own != codec.eos_id:
        write_json(path, {**read_object(path), "eos_token": tokenizer.convert_ids_to_tokens(codec.eos_id)})
