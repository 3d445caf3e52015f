"""LoRA (Hu et al., 2021): adapters for several roles on one frozen base in memory.

Policy, reference, value model and reward models are views of one base: each is an object of its own transformers class,
with its own head, around the same backbone, and each computes with its own adapter, or with none. So code that holds a
model need not know whether it is one. PEFT makes the adapters and computes with them; which of them is active is
decided here, at each forward pass, which goes through the base as the root of all views (so that it can be sharded as a
whole). The base computes in the runtime's number format, adapters and heads are float32.
"""

import copy
import functools
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.pytorch_utils import Conv1D

from redpencil.adapters import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    WEIGHTS,
    base_digest,
    base_of,
    is_adapter,
    model_config,
    way_to,
)
from redpencil.config.training import LoraConfig
from redpencil.digests import update_with_samples
from redpencil.errors import RedpencilError
from redpencil.models.heads import head_of, keep_layers
from redpencil.models.parallel import prepare, shard
from redpencil.models.parallel import whole as gathered
from redpencil.models.runtime import Runtime

if TYPE_CHECKING:
    from peft import LoraConfig as PeftConfig

_ROLE: Final = "redpencil_role"
_ROUTED: Final = (_ROLE, "root", "forward", "as_forward", "activation_checkpointing_enable")
"""What a view has of its own, beside its class's."""
_PREFIX: Final = "base_model.model."
"""What PEFT puts before the names of weights in a file."""
_EMBEDDED: Final = "lora_embedding_A"
"""The part of PEFT's layer that an adapter of an embedding has; a head that shares its weights would not have it."""
_TASKS: Final = {"ForTokenClassification": "TOKEN_CLS", "ForSequenceClassification": "SEQ_CLS"}
Load = Callable[..., PreTrainedModel]
"""`load(auto, folder, new_head=..., **options)` loads a whole model."""


@dataclass(frozen=True, slots=True)
class Role:
    """A view's base, and the name and kind of its adapter; None for the base as it is."""

    base: "LoraBase"
    adapter: str | None
    peft: "PeftConfig | None" = None


def role_of(module: nn.Module) -> Role | None:
    """Return the role of a view; None for any other model."""
    role: Role | None = getattr(module, _ROLE, None)
    return role


class LoraBase(nn.Module):
    """A frozen model in memory, and the views of it."""

    def __init__(self, folder: Path, origin: PreTrainedModel) -> None:
        super().__init__()
        self.folder = folder
        self.origin = origin
        self.views = nn.ModuleList()
        self.config = origin.config
        self._active: str | None = None
        self._adapters = 0
        origin.requires_grad_(requires_grad=False)

    def forward(self, adapter: str | None, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function that computes with the base, while an adapter is active."""
        with self.playing(adapter):
            return function(*args, **kwargs)

    @contextmanager
    def playing(self, adapter: str | None) -> Iterator[None]:
        """Compute with an adapter, or with none."""
        before = self._active
        self._switch(adapter)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, adapter: str | None) -> None:
        self._active = adapter
        for layer in self._layers:
            # PEFT's own switches also change which weights want gradients.
            setattr(layer, "_disable_adapters", adapter is None)  # noqa: B010
            setattr(layer, "_active_adapter", [adapter])  # noqa: B010

    @functools.cached_property
    def _layers(self) -> list[nn.Module]:
        from peft.tuners.tuners_utils import BaseTunerLayer

        return [module for module in self.origin.modules() if isinstance(module, BaseTunerLayer)]

    def view(self, auto: Any, config: Any, *, zero_head: bool) -> PreTrainedModel:
        """Make a view of the base: a model of the class that `auto` chooses, with a head of its own if it is no policy.

        Raises:
            RedpencilError: if the class has more between backbone and head than one layer, and the base has not.
        """
        with torch.device("meta"):
            view: PreTrainedModel = auto.from_config(config)
        prefix, origin = view.base_model_prefix, self.origin
        if type(getattr(view, prefix)) is not type(getattr(origin, prefix, None)):
            raise _unsupported(view, self.folder)
        for name, child in list(view.named_children()):
            source = getattr(origin, name, None)
            if name == prefix or auto is AutoModelForCausalLM:
                setattr(view, name, source)
            elif type(source) is type(child) and _shapes(source) == _shapes(child):
                setattr(view, name, copy.deepcopy(source))
            elif child is head_of(view):
                child.to_empty(device=origin.device).to(origin.dtype)
            elif next(child.parameters(), None) is not None:
                raise _unsupported(view, self.folder)
        if auto is not AutoModelForCausalLM:
            for name, parameter in view.named_parameters():
                if is_own(name, view):
                    parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
        elif origin.generation_config is not None:
            view.generation_config = copy.deepcopy(origin.generation_config)
        if zero_head:
            for parameter in head_of(view).parameters():
                nn.init.zeros_(parameter)
        self.views.append(view)
        self._route(view, Role(self, None))
        return view

    def _route(self, view: PreTrainedModel, role: Role) -> None:
        """Let the forward passes of a view go through the base, with its adapter."""
        own = type(view).forward.__get__(view)

        @functools.wraps(own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            return self(role.adapter, own, *args, **kwargs)

        def enable(options: dict[str, Any] | None = None) -> None:
            chosen = {"use_reentrant": False, "context_fn": self._again, **(options or {})}
            named = getattr(type(view), "_activation_checkpointing_enable", None)
            (named or type(view).gradient_checkpointing_enable)(view, chosen)  # the name in older versions

        def as_forward(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            return self(role.adapter, function, view, *args, **kwargs)

        for name, value in zip(_ROUTED, (role, self, forward, as_forward, enable), strict=True):
            object.__setattr__(view, name, value)

    def _again(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """The contexts of a layer that is computed again in the backward pass: with the adapter of now."""
        return nullcontext(), self.playing(self._active)

    def adapt(self, view: PreTrainedModel, peft: "PeftConfig", *, trained: bool) -> None:
        """Add a new adapter, which changes nothing yet, and let a view compute with it.

        Raises:
            RedpencilError: if the backbone has none of the modules that it is for.
        """
        from peft import inject_adapter_in_model

        # Names are looked for in those of weights, so that none may be the beginning of another.
        name, backbone = f"adapter{self._adapters:04}", getattr(view, view.base_model_prefix)
        wanted = {weight: weight.requires_grad for weight in self.parameters()}
        asked = set() if isinstance(peft.target_modules, str) else set(peft.target_modules or ())
        read = peft.base_model_name_or_path is not None
        problem = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that there are several adapters
                inject_adapter_in_model(peft, backbone, name)
        except ValueError as error:
            problem = str(error).splitlines()[0]
        adapted = [path for path, module in backbone.named_modules() if name in getattr(module, "lora_A", ())]
        missing = sorted(one for one in asked if not any(f".{path}".endswith(f".{one}") for path in adapted))
        missing += [path for path, module in backbone.named_modules() if name in getattr(module, _EMBEDDED, ())]
        if missing or problem:
            raise RedpencilError(
                f"the model takes no such adapter ({problem or f'it has no linear layer {missing[0]}'})",
                file=view.name_or_path,
                field="target_modules" if read else "lora.target_modules",
                hint=_MERGE
                if read
                else "name linear layers of the model, such as [q_proj, v_proj], or leave it at all-linear",
            )
        self._adapters += 1
        vars(self).pop("_layers", None)
        half = self.origin.dtype not in (torch.float32, torch.float64)
        for layer in self._layers:
            setattr(layer, "cast_input_dtype_enabled", not half)  # noqa: B010  # autocast does
        for key, weight in backbone.named_parameters():
            if f".{name}" in key:
                weight.data = weight.data.to(torch.promote_types(weight.dtype, torch.float32))
            weight.requires_grad_(wanted.get(weight, trained))
        self._switch(self._active)
        self._route(view, Role(self, name, peft))


def _shapes(module: nn.Module) -> list[tuple[str, torch.Size]]:
    return [(name, weight.shape) for name, weight in module.named_parameters()]


def _unsupported(view: nn.Module, folder: Path) -> RedpencilError:
    return RedpencilError(
        f"{type(view).__name__} cannot share the backbone of this model",
        file=folder,
        field="lora",
        hint="leave lora out, or use an architecture such as Llama, Qwen, Mistral, Gemma or GPT-2",
    )


def is_own(weight: str, model: PreTrainedModel) -> bool:
    """Tell whether a weight belongs to the head, or to the pooler in front of it, and not to the backbone."""
    return not weight.startswith(f"{model.base_model_prefix}.") or ".pooler." in weight


# Which weights are a model's own.


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of a model that training changes, by name; of a view without those of other views."""
    role = role_of(module)
    return {
        name: weight
        for name, weight in module.named_parameters()
        if weight.requires_grad and (role is None or ".lora_" not in name or f".{role.adapter}" in name)
    }


def adapter_weights(view: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the weights of a view's adapter and head, by their names in PEFT's file."""
    role = role_of(view)
    assert role is not None
    part = f".{role.adapter}"
    heads = role.peft is not None and role.peft.task_type in _TASKS.values()
    return {
        _PREFIX + name.replace(part, ""): weight
        for name, weight in view.named_parameters()
        if part in name or (heads and is_own(name, view))
    }


# Views of the model of a folder.


@dataclass
class Bases:
    """The bases that are in memory already, for models that are to share them."""

    found: dict[tuple[str, int | None], LoraBase] = field(default_factory=dict)

    def get(self, folder: Path, layers: int | None, load: Callable[[], PreTrainedModel]) -> LoraBase:
        """Return the base of a folder, cut behind so many layers; load it if it is not there."""
        key = (str(folder.resolve()), layers)
        if key not in self.found:
            self.found[key] = LoraBase(folder, load())
        return self.found[key]

    def shard(self, runtime: Runtime) -> None:
        """Shard the bases, when all adapters are there: FSDP does not know of those that come later."""
        for base in self.found.values():
            shard(base, runtime, trained=any(weight.requires_grad for weight in base.parameters()))
            prepare(base)


def plays_role(folder: Path, lora: LoraConfig | None) -> bool:
    """Tell whether the model of a folder is loaded as a view of a base."""
    return lora is not None or is_adapter(folder)


def open_view(
    folder: Path,
    auto: Any,
    *,
    load: Load,
    bases: Bases,
    lora: LoraConfig | None,
    trained: bool,
    changes: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """Make a view of the model of a folder, whole or adapter.

    One that is trained gets a new adapter, or goes on with that of the folder.

    Args:
        folder: the checkpoint.
        auto: chooses the view's class.
        load: loads the base.
        bases: those in memory.
        lora: how a new adapter is made.
        trained: whether the adapter wants gradients.
        changes: to the configuration, for a new head that starts at 0.

    Raises:
        RedpencilError: if the model cannot be loaded, or the folder's adapter is not one that `lora` asks for.
    """
    if find_spec("peft") is None:
        raise RedpencilError("adapters need the package peft", file=folder, hint="pip install 'redpencil[lora]'")
    adapted = is_adapter(folder)
    whole, stored = base_of(folder) if adapted else folder, model_config(folder)
    own = model_config(whole)
    kinds = own.get("architectures") or [""]
    causal = kinds[0] in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    suffix = auto.__name__.removeprefix("AutoModel")
    layers: Any = stored.get("num_hidden_layers")

    def load_base() -> PreTrainedModel:
        new = not causal and not kinds[0].endswith(suffix)
        heads = {key: stored[key] for key in ("id2label", "label2id") if key in stored} | dict(changes or {})
        origin = load(AutoModelForCausalLM if causal else auto, whole, new_head=new, **(heads if new else {}))
        if layers != own.get("num_hidden_layers"):
            keep_layers(origin, layers)
        return origin

    base = bases.get(whole, None if layers == own.get("num_hidden_layers") else layers, load_base)
    config = type(base.origin.config).from_dict(dict(stored)) if adapted else copy.deepcopy(base.origin.config)
    for key, value in (changes or {}).items():
        setattr(config, key, value)
    view = base.view(auto, config, zero_head=changes is not None)
    view.name_or_path = str(folder)
    if adapted or (trained and lora is not None):
        peft = _read_peft(folder) if adapted else _new_peft(lora)
        peft.task_type = _TASKS.get(suffix, "CAUSAL_LM")
        base.adapt(view, peft, trained=trained)
        if adapted:
            _read_adapter(view, folder, zero_head=changes is not None)
            if trained and lora is not None:
                _check_same(view, folder, lora)
    for name, weight in view.named_parameters():
        if auto is not AutoModelForCausalLM and is_own(name, view):
            weight.requires_grad_(trained)
    return view


def _new_peft(lora: LoraConfig | None) -> "PeftConfig":
    from peft import LoraConfig as PeftConfig

    assert lora is not None
    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    alpha: Any = lora.alpha  # a whole number by its type, which nothing needs
    return PeftConfig(r=lora.r, lora_alpha=alpha, target_modules=modules)


def _read_peft(folder: Path) -> "PeftConfig":
    from peft import LoraConfig as PeftConfig

    try:
        peft = PeftConfig.from_pretrained(str(folder))
        kind = str(getattr(peft.peft_type, "value", peft.peft_type))
    except Exception as error:  # PEFT raises nearly anything
        raise RedpencilError(
            f"PEFT cannot read it ({str(error).splitlines()[0]})",
            file=folder / ADAPTER_CONFIG,
            hint="restore the file, or train the adapter again",
        ) from error
    if kind != "LORA" or not isinstance(peft, PeftConfig):
        raise RedpencilError(
            f"an adapter of the kind {kind}, where LORA is the only one that is read",
            file=folder / ADAPTER_CONFIG,
            field="peft_type",
            hint=_MERGE,
        )
    peft.inference_mode, peft.lora_dropout = False, 0.0
    return peft


@torch.no_grad()
def _read_adapter(view: PreTrainedModel, folder: Path, *, zero_head: bool) -> None:
    """Put the saved weights of a folder into a view's adapter, and into its head if that is not a new one."""
    try:
        saved: dict[str, Tensor] = load_file(folder / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise RedpencilError(
            f"the weights of the adapter cannot be read ({str(error).splitlines()[0]})",
            file=folder / ADAPTER_WEIGHTS,
            hint="restore the file, or train the adapter again",
        ) from error
    wanted = adapter_weights(view)
    if zero_head:
        wanted = {name: weight for name, weight in wanted.items() if ".lora_" in name}
        saved = {name: weight for name, weight in saved.items() if ".lora_" in name}
    wrong = sorted({*wanted} ^ {*saved}) or [name for name in wanted if wanted[name].shape != saved[name].shape]
    if wrong:
        raise RedpencilError(
            f"its weights are not those of a LoRA adapter of this base, such as {wrong[0]}",
            file=folder / ADAPTER_WEIGHTS,
            hint=_MERGE,
        )
    for name, weight in wanted.items():
        weight.copy_(saved[name])


_MERGE: Final = "merge it with its base (PEFT's merge_and_unload) and give the folder of the merged model"


def _check_same(view: PreTrainedModel, folder: Path, lora: LoraConfig) -> None:
    """Refuse to train an adapter on that is not as the recipe asks for."""
    role = role_of(view)
    assert role is not None
    assert role.peft is not None
    peft, has = role.peft, {module for module in view.modules() if role.adapter in getattr(module, "lora_A", ())}
    if isinstance(lora.target_modules, str):
        inside = {part for module in has for part in module.modules() if part is not module}
        linear = {module for module in view.base_model.modules() if isinstance(module, (nn.Linear, Conv1D))}
        alike = linear <= inside
    else:
        alike = {*lora.target_modules} == {*(peft.target_modules or ())}
    if not alike or (peft.r, peft.lora_alpha) != (lora.r, lora.alpha) or peft.rank_pattern or peft.alpha_pattern:
        raise RedpencilError(
            f"its adapter has r={peft.r}, alpha={peft.lora_alpha} on {len(has)} modules, the recipe asks for "
            f"r={lora.r}, alpha={lora.alpha} on {lora.target_modules}",
            file=folder,
            field="lora",
            hint="set lora as the adapter has it, or merge it with its base first (`redpencil merge`)",
        )


# What is written.


def adapter_states(view: PreTrainedModel) -> dict[str, Tensor]:
    """Return the weights of a view's adapter and head as PEFT's file has them; every process takes part."""
    states: dict[str, Tensor] = dict(adapter_weights(view))
    for name, child in view.named_children():
        if name != view.base_model_prefix:
            saved = child.state_dict(prefix=f"{_PREFIX}{name}.")  # of a standardised head, as it is saved
            states |= {key: saved[key] for key in states.keys() & saved.keys()}
    return {name: gathered(weight.detach()).cpu().contiguous() for name, weight in states.items()}


def save_adapter(view: PreTrainedModel, weights: dict[str, Tensor], folder: Path) -> dict[str, Any]:
    """Write a view's `adapter_states` as PEFT does; returns what redpencil.json says about them.

    Raises:
        SafetensorError: if they cannot be written.
    """
    role = role_of(view)
    assert role is not None
    assert role.peft is not None
    base, peft = role.base.folder, copy.copy(role.peft)
    peft.base_model_name_or_path, peft.inference_mode = str(base.resolve()), True
    own = {name.removeprefix(_PREFIX).rpartition(".")[0] for name in weights if ".lora_" not in name}
    peft.modules_to_save = sorted(own) or None
    if isinstance(peft.target_modules, set):  # whose order differs from process to process
        peft.target_modules = sorted(peft.target_modules)
    folder.mkdir(parents=True)
    peft.save_pretrained(str(folder))
    save_file(weights, folder / ADAPTER_WEIGHTS, {"format": "pt"})
    if view.can_generate() and view.generation_config is not None:
        view.generation_config.save_pretrained(str(folder))
    view.config.architectures = [type(view).__name__]
    config = json.loads(view.config.to_json_string())
    return {"base": way_to(base, folder), "weights": weights_digest(base), "config": config}


def weights_digest(folder: Path) -> str:
    """Digest the weights of a base model: names and sizes of their files, and 64 stretches of each."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)}):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        update_with_samples(digest, path)
    return digest.hexdigest()


def check_base(folder: Path) -> None:
    """Refuse an adapter whose base has other weights than when it was trained.

    Raises:
        RedpencilError: naming both folders.
    """
    base, digest = base_of(folder), base_digest(folder)
    if digest is not None and digest != weights_digest(base):
        raise RedpencilError(
            f"its base model in {base} has other weights than when the adapter was trained",
            file=folder,
            hint="put the base's weights back, or train the adapter again",
        )


@torch.no_grad()
def merge(view: PreTrainedModel) -> PreTrainedModel:
    """Make a whole model of a view, in place: the adapter's product is added to the base's weights."""
    role = role_of(view)
    assert role is not None
    for name, layer in list(view.named_modules()):
        if role.adapter in getattr(layer, "lora_A", ()):
            layer.merge(adapter_names=[role.adapter])
            parent, _, last = name.rpartition(".")
            setattr(view.get_submodule(parent), last, layer.get_base_layer())
    for name in _ROUTED:
        object.__delattr__(view, name)
    return view
