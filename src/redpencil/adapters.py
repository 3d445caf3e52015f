"""Folders that hold an adapter alone, as PEFT writes them: where its base model is, and the configuration of the whole.

What redpencil adds stands in redpencil.json, under `adapter`: the way to the base from this folder, so that both can be
moved together; a digest of the base's weights; and the configuration of the model, which is the base's but for its
class, heads and end tokens. There is no config.json, for with one transformers would look for the base's weights here.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.text import read_json

ADAPTER_CONFIG: Final = "adapter_config.json"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "config.json"
SIDECAR: Final = "redpencil.json"
WEIGHTS: Final = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin")
"""Files of weights in the folder of a model."""
ADAPTER: Final = "adapter"
"""The key of redpencil.json with what redpencil adds to an adapter."""
BASE: Final = "base_model_name_or_path"


def is_adapter(folder: Path) -> bool:
    """Tell the folder of an adapter from that of a whole model."""
    return (folder / ADAPTER_CONFIG).is_file()


def base_of(folder: Path) -> Path:
    """Find the folder of an adapter's base model: by the way from its own folder, or else where PEFT would look.

    Raises:
        RedpencilError: if there is none, or it is an adapter itself.
    """
    named, added = _mapping(folder / ADAPTER_CONFIG).get(BASE), _added(folder).get("base")
    places = [folder / place for place in (added, named) if isinstance(place, str) and place]
    found = next((place for place in places if (place / CONFIG).is_file()), None)
    if found is None:
        tried = " or ".join(dict.fromkeys(os.path.normpath(place) for place in places)) or "a place that it names"
        raise RedpencilError(
            f"the base model of this adapter is not at {tried}",
            file=folder / ADAPTER_CONFIG,
            field=BASE,
            hint=f"put the base model back, or write the path of its folder there as {BASE}",
        )
    if is_adapter(found):
        raise RedpencilError(
            "the base model of this adapter is an adapter itself",
            file=folder / ADAPTER_CONFIG,
            field=BASE,
            hint="merge the base first (`redpencil merge`)",
        )
    return Path(os.path.realpath(found))


def base_digest(folder: Path) -> str | None:
    """Return the digest of the base's weights that an adapter was trained on; None if another program wrote it."""
    digest = _added(folder).get("weights")
    return digest if isinstance(digest, str) else None


def way_to(base: Path, folder: Path) -> str:
    """Return the path of a base model from the folder of an adapter, links resolved."""
    return os.path.relpath(os.path.realpath(base), os.path.realpath(folder))


def point_to(folder: Path, base: Path) -> None:
    """Let a copy of an adapter find its base, which the original found by a way that may lead elsewhere from here."""
    path = folder / ADAPTER_CONFIG
    path.write_text(json.dumps({**_mapping(path), BASE: str(base)}, indent=2), encoding="utf-8")
    added = _added(folder)
    if added:
        path = folder / SIDECAR
        content = {**_mapping(path), ADAPTER: {**added, "base": way_to(base, folder)}}
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")


def has_config(folder: Path) -> bool:
    """Tell whether a folder says what model it holds."""
    return is_adapter(folder) or (folder / CONFIG).is_file()


def model_config(folder: Path) -> Mapping[str, Any]:
    """Read the configuration of the model that a folder holds, whether as a whole or as an adapter.

    Raises:
        RedpencilError: if it cannot be read, or the adapter of another program is not one of a causal language model.
    """
    if not is_adapter(folder):
        return _mapping(folder / CONFIG)
    config = _added(folder).get("config")
    if isinstance(config, Mapping):
        return config
    task = _mapping(folder / ADAPTER_CONFIG).get("task_type")
    if task not in (None, "CAUSAL_LM"):
        raise RedpencilError(
            f"an adapter of another program for {task}, which does not say what its heads are",
            file=folder / ADAPTER_CONFIG,
            field="task_type",
            hint="merge it with its base (PEFT's merge_and_unload) and give the folder of the merged model",
        )
    return _mapping(base_of(folder) / CONFIG)


def _added(folder: Path) -> Mapping[str, Any]:
    path = folder / SIDECAR
    added = _mapping(path).get(ADAPTER) if path.is_file() else None
    return added if isinstance(added, Mapping) else {}


def _mapping(path: Path) -> Mapping[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise RedpencilError("not a JSON object", file=path, hint="save the model folder again")
    return content
