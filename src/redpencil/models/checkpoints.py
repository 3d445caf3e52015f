"""Load models from local folders: policies, reward models, value models."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from redpencil.adapters import CONFIG, SIDECAR, WEIGHTS, base_of, has_config, is_adapter, model_config
from redpencil.config.compute import RewardLevel
from redpencil.config.training import LoraConfig
from redpencil.digests import check_written
from redpencil.errors import RedpencilError
from redpencil.models.chat import first_line
from redpencil.models.codec import Codec, read_object, same_encoding
from redpencil.models.forward import READ_TWICE, Batch, collate, reads_twice
from redpencil.models.heads import BACKBONE, HEADS, head_of
from redpencil.models.log_ratio import LogRatio, Parts, check_parts, parts_of
from redpencil.models.lora import Bases, check_base, is_own, merge, open_view, plays_role, role_of
from redpencil.models.parallel import distributed_options, local, prepare, shard
from redpencil.models.runtime import Runtime, seeded
from redpencil.models.sharing import Sharing, alike, sharing_of
from redpencil.models.sidecar import (
    LEVELS,
    RewardCard,
    architecture_of,
    codec_of_checkpoint,
    codec_of_reward_model,
    own_codec,
    read_card,
    reward_level,
)
from redpencil.runs import check_finished


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model with the tokenizer and prompt template that it reads, and the device and number format it computes in."""

    module: PreTrainedModel
    codec: Codec
    runtime: Runtime

    @property
    def name(self) -> str:
        """The folder that it was loaded from."""
        return str(self.module.name_or_path)

    @property
    def context(self) -> int | None:
        """The most tokens that it reads, prompt and response together; None if its configuration sets no limit."""
        return context_of(self.module)

    @property
    def readings(self) -> int:
        """How often it reads a response."""
        return 2 if reads_twice(self.module) else 1

    @property
    def sharing(self) -> Sharing:
        """Whether it reads once what several texts begin with."""
        return sharing_of(self.module, self.runtime.device)

    def collate(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Batch:
        """Pad texts into a batch, of which the model reads once, if it can, what those to one prompt begin with."""
        sequences = [(*prompt, *response) for prompt, response in zip(prompts, responses, strict=True)]
        plan = self.sharing.plan(sequences, alike(prompts))
        return collate(prompts, responses, self.codec.pad_id, self.runtime.device, plan)

    def response_room(self, prompt: int) -> int | None:
        """The most tokens of a response behind a prompt of so many; None if its configuration sets no limit."""
        if self.context is None:
            return None
        return max(0, self.context - prompt) // self.readings


@dataclass(frozen=True, slots=True)
class RewardModel:
    """A loaded reward model and its card.

    `same_encoding` is False where the responses that it scores come in the tokens of a policy with another tokenizer
    or prompt template, so that it has to read them as text.
    """

    model: LanguageModel
    card: RewardCard
    same_encoding: bool = True


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' report that a head is newly initialised, which a new head always is."""
    before = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _load(auto: Any, folder: Path, dtype: torch.dtype, *, new_head: bool = False, **options: Any) -> PreTrainedModel:
    kind = auto.__name__.removeprefix("AutoModelFor")
    # Code that comes with a checkpoint is never run: left to itself, transformers would ask the user whether to.
    try:
        with quiet():
            loaded: tuple[PreTrainedModel, dict[str, Any]] = auto.from_pretrained(
                str(folder),
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # a damaged file makes the libraries raise nearly anything
        _check_attention(options.get("attn_implementation"), folder, error)
        raise RedpencilError(
            f"cannot be loaded as a {kind} model ({first_line(error)})",
            file=folder,
            hint="give a folder that save_pretrained wrote, of a supported architecture",
        ) from error
    model, report = loaded
    report["missing_keys"] = [*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])]
    # Missing weights would silently be random numbers, as when a reward model is given as a policy.
    missing = [name for name in report["missing_keys"] if not (new_head and is_own(name, model))]
    if missing:
        raise RedpencilError(
            f"it lacks {len(missing)} weights of a {kind} model, such as {min(missing)}",
            file=folder,
            hint="give a complete checkpoint of the right kind; a reward model is not a policy",
        )
    _check_unread(report["unexpected_keys"], model, folder)
    return model


def _check_unread(unread: Iterable[str], model: PreTrainedModel, folder: Path) -> None:
    """Refuse weights that a model has no place for in its backbone, as where config.json names fewer layers.

    What belongs to a part that the model has not at all does not count, such as a head or a reader of images.
    """
    modules = dict(model.named_modules())
    for name in sorted(unread):
        parts = name.split(".")[:-1]
        while parts and ".".join(parts) not in modules:
            parts.pop()
        inner = modules[".".join(parts)]
        if not parts or is_own(name, model) or not isinstance(inner, nn.ModuleList | nn.Linear | nn.Embedding):
            continue
        raise RedpencilError(
            f"its weights have {name}, for which the model of its config.json has no place",
            file=folder,
            hint="put back the config.json that the weights were written with",
        )


def _attention(runtime: Runtime) -> dict[str, Any]:
    return {} if runtime.attention is None else {"attn_implementation": runtime.attention}


def _options(runtime: Runtime, *, trained: bool, reference: bool = False) -> dict[str, Any]:
    return {**_attention(runtime), **distributed_options(runtime, trained=trained, reference=reference)}


def _check_attention(attention: str | None, folder: Path, error: Exception) -> None:
    """Say so if a model was not loaded since it has not the attention that was asked for."""
    if attention is not None and "attention implementation" in str(error):
        raise RedpencilError(
            f"the model has no {attention} attention",
            file=folder,
            field="compute.attn_implementation",
            hint="leave compute.attn_implementation out, which takes what the model has",
        ) from error


def _finish(module: PreTrainedModel, codec: Codec, runtime: Runtime, folder: Path, *, trained: bool) -> LanguageModel:
    _check_embeddings(module, codec, folder)
    disable_dropout(module)
    if role_of(module) is None:
        offloaded = runtime.offload and runtime.fsdp_size > 1 and not trained
        if not offloaded and not getattr(module.config, "distributed_config", None):
            module.to(runtime.device)  # type: ignore[arg-type]
        # What was read as shards is written as a whole, by `export`.
        module.config.distributed_config = None
        module.requires_grad_(trained)
    _check_weights(module, folder)
    if trained or role_of(module) is None:
        module.train(trained)
    if role_of(module) is None:
        shard(module, runtime, trained=trained)
        prepare(module)
    if trained and runtime.checkpointing and module.supports_gradient_checkpointing:
        checkpoint_activations(module)
    return LanguageModel(module, codec, runtime)


def _open(
    auto: Any,
    folder: Path,
    runtime: Runtime,
    *,
    lora: LoraConfig | None,
    bases: Bases | None,
    trained: bool,
    reference: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """Open a checkpoint as a view of a base, or without `lora`, to be trained, as a whole model with what it adapts."""
    whole = (trained or reference) and lora is None
    if runtime.tp_size > 1 and not whole:
        raise RedpencilError(
            "adapters cannot be trained or read under tensor parallelism",
            file=folder,
            field="compute.tp_size",
            hint="set compute.tp_size to 1 and compute.fsdp, or merge the adapter (`redpencil merge`)",
        )

    def load(kind: Any, base: Path, **options: Any) -> PreTrainedModel:
        module = _load(kind, base, torch.float32 if whole else runtime.dtype, **_attention(runtime), **options)
        moved: PreTrainedModel = module.to(runtime.device)  # type: ignore[arg-type]
        return moved

    alone = whole or bases is None
    bases = Bases() if whole or bases is None else bases
    view = open_view(folder, auto, load=load, bases=bases, lora=lora, trained=trained, changes=changes)
    if alone and not whole:
        bases.shard(runtime)
    return merge(view) if whole else view


def checkpoint_activations(module: PreTrainedModel) -> None:
    """Keep only what enters each layer; `gradient_checkpointing_enable` is the name in older versions."""
    enable = getattr(module, "activation_checkpointing_enable", None) or module.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _check_embeddings(module: PreTrainedModel, codec: Codec, folder: Path) -> None:
    """Refuse a tokenizer with tokens that the model does not know, as when it is another model's.

    Special tokens that were added beyond the vocabulary, as for images, do not count, unless they are the codec's.
    """
    tokenizer, embeddings = codec.tokenizer, module.get_input_embeddings()
    added = [token for token, content in tokenizer.added_tokens_decoder.items() if not content.special]
    largest = max(tokenizer.vocab_size - 1, codec.eos_id, codec.pad_id, *added)
    known: int = embeddings.num_embeddings  # type: ignore[assignment]
    if largest >= known:
        raise RedpencilError(
            f"the tokenizer gives token {largest}, the model knows {known} tokens",
            file=folder,
            field="vocab_size",
            hint="put the tokenizer that the model was trained with beside it",
        )


def _check_weights(module: PreTrainedModel, folder: Path) -> None:
    """Refuse weights that are not finite numbers: the texts that meet them may come late, and some never do."""
    for name, parameter in module.named_parameters():
        weight = local(parameter.detach())
        if weight.is_floating_point() and weight.numel() and not all(map(math.isfinite, torch.aminmax(weight))):
            raise RedpencilError(
                f"its weight {name} holds a number that is not finite",
                file=folder,
                hint="the checkpoint is damaged, or its training broke down: give another one",
            )


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout to 0: old and new log-probabilities of PPO must come from the same function.

    Attention keeps its probability as a number, not as a dropout layer (`attention_dropout` in Llama).
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def has_weights(folder: Path) -> bool:
    """Tell whether a model folder holds weights."""
    return any(next(folder.glob(pattern), None) is not None for pattern in WEIGHTS)


def load_policy(
    folder: str | Path,
    runtime: Runtime,
    *,
    trained: bool,
    codec: Codec | None = None,
    seed: int = 0,
    fresh: bool = False,
    reference: bool = False,
    lora: LoraConfig | None = None,
    bases: Bases | None = None,
) -> LanguageModel:
    """Load a causal language model.

    Args:
        folder: the checkpoint.
        runtime: device and number format.
        trained: True for float32 weights that want gradients, False for frozen ones in the runtime's format.
        codec: its tokenizer and prompt template; by default those of the folder.
        seed: of fresh weights.
        fresh: True to make random weights for a folder that has none and says that it wants them; see
            `check_model_folder`.
        reference: True for a frozen policy that a trained one is compared with. It has float32 weights too: with others
            its log-probabilities would differ from those of equal weights in training, by half a nat for a response.
        lora: trains an adapter on the frozen model in place of all weights; fresh ones are trained as a whole.
        bases: the models in memory that adapters share; the caller shards them when all models are there.

    Raises:
        RedpencilError: if the folder is missing or does not hold a causal language model.
    """
    folder = check_model_folder(folder, fresh=fresh)
    kind = architecture_of(folder)
    if kind.endswith((*LEVELS, "ForMaskedLM")):
        raise RedpencilError(
            f"{kind} is not a policy", file=folder, field="architectures", hint="give a causal language model"
        )
    codec = codec or codec_of_checkpoint(folder)
    dtype = torch.float32 if trained or reference else runtime.dtype
    if has_weights(folder) and plays_role(folder, lora):
        with seeded(seed, torch.device("cpu")):
            view = _open(
                AutoModelForCausalLM, folder, runtime, lora=lora, bases=bases, trained=trained, reference=reference
            )
        return _finish(view, codec, runtime, folder, trained=trained)
    if has_weights(folder):
        options = _options(runtime, trained=trained, reference=reference)
        return _finish(_load(AutoModelForCausalLM, folder, dtype, **options), codec, runtime, folder, trained=trained)
    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        # Without `dtype` a configuration that names bfloat16 would give weights that small steps cannot move.
        with seeded(seed, torch.device("cpu")):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype, **_attention(runtime))  # type: ignore[no-untyped-call]
    except Exception as error:  # as in `_load`
        _check_attention(runtime.attention, folder, error)
        raise RedpencilError(
            f"no model can be made from its configuration ({first_line(error)})",
            file=folder,
            hint="give a folder with config.json",
        ) from error
    return _finish(model, codec, runtime, folder, trained=trained)


def check_model_folder(folder: str | Path, *, fresh: bool = False) -> Path:
    """Refuse a folder that holds no model, or one that is not what a stage wrote.

    Weights that were lost must not become random ones in silence. So a folder without weights is a model only where
    one may start `fresh`, and only if `{"fresh": true}` is in its redpencil.json, as the world's model has it.

    Raises:
        RedpencilError: naming the folder.
    """
    folder = Path(folder)
    if not has_config(folder):
        raise RedpencilError(
            f"not a model folder: {CONFIG} is missing", file=folder, hint="give a folder that save_pretrained wrote"
        )
    check_written(folder)
    parts = parts_of(folder)
    if parts is not None:
        check_model_folder(parts.policy)
        check_model_folder(parts.reference)
        check_parts(folder)
        return folder
    if is_adapter(folder):
        check_model_folder(base_of(folder))
        check_base(folder)
    path = folder / SIDECAR
    wanted = fresh and path.is_file() and read_object(path).get("fresh") is True
    if not wanted and not has_weights(folder):
        start = f'; to start from random weights, write {{"fresh": true}} into {SIDECAR} in it' if fresh else ""
        raise RedpencilError("it holds no weights", file=folder, hint=f"give a complete checkpoint{start}")
    return folder


def load_head(
    folder: str | Path,
    level: RewardLevel,
    runtime: Runtime,
    *,
    trained: bool,
    zero_head: bool,
    codec: Codec | None = None,
    seed: int = 0,
    heads: int = 1,
    lora: LoraConfig | None = None,
    bases: Bases | None = None,
) -> LanguageModel:
    """Load a model with one output per token or per sequence, on the backbone of any checkpoint.

    With `zero_head` there are new `heads` that start at 0, so that a new reward or value model gives 0 before it has
    learned. `codec`, `seed`, `lora` and `bases` are as in `load_policy`.

    Raises:
        RedpencilError: if the folder is missing or damaged, or its architecture is not supported.
    """
    folder = check_model_folder(folder)
    auto = AutoModelForTokenClassification if level == "token" else AutoModelForSequenceClassification
    fresh: dict[str, Any] = {}
    if zero_head:
        fresh = {"id2label": HEADS[heads], "label2id": {v: k for k, v in HEADS[heads].items()}}
    with seeded(seed, torch.device("cpu")):
        if plays_role(folder, lora):
            changes = fresh if zero_head else None
            model = _open(auto, folder, runtime, lora=lora, bases=bases, trained=trained, changes=changes)
        else:
            # A value model may start from a reward model with another number of heads.
            options = {**fresh, "ignore_mismatched_sizes": True} if zero_head else {}
            options |= _options(runtime, trained=trained)
            model = _load(auto, folder, torch.float32 if trained else runtime.dtype, new_head=zero_head, **options)
    if level == "token" and any(hasattr(module, "create_position_ids_from_input_ids") for module in model.modules()):
        raise RedpencilError(
            f"{type(model).__name__} counts positions from its pad id, which left padding does not allow",
            file=folder,
            hint="use an architecture such as Llama, Qwen, Mistral, Gemma, GPT-2 or BERT",
        )
    if zero_head:
        setattr(model.config, READ_TWICE, False)
        setattr(model.config, BACKBONE, None)
        head = head_of(model)
        nn.init.zeros_(head.weight)
        if head.bias is not None:
            nn.init.zeros_(head.bias)
    codec = codec or codec_of_checkpoint(folder)
    return _finish(model, codec, runtime, folder, trained=trained)


def context_of(model: nn.Module) -> int | None:
    """Return the most tokens that a model reads, prompt and response together; None if there is no limit."""
    context: int | None = getattr(model.config, "max_position_embeddings", None)
    return context


def load_reward_model(
    folder: str | Path,
    runtime: Runtime,
    *,
    level: RewardLevel | None = None,
    policy_codec: Codec | None = None,
    codec: Codec | None = None,
    lora: LoraConfig | None = None,
    bases: Bases | None = None,
    weights: bool = True,
) -> RewardModel:
    """Load a trained reward model, frozen, with its card.

    Args:
        folder: the checkpoint.
        runtime: device and number format.
        level: the level that it must have; None for any.
        policy_codec: the codec of the policy whose responses it will score; it decides `same_encoding`.
        codec: its own tokenizer and prompt template, where the user names them; by default those of the folder.
        lora: as in `load_policy`, for a model that shares its base with one that is trained.
        bases: as in `load_policy`.
        weights: False for a model that another process computes: it has shapes alone, and takes no memory.

    Raises:
        RedpencilError: if the folder does not hold a reward model, or one of another level than asked for.
    """
    folder = check_model_folder(folder)
    check_finished(folder)
    actual = reward_level(folder, level)
    card = read_card(folder, actual)
    if codec is None and policy_codec is not None:
        codec = own_codec(folder, card, policy_codec) or policy_codec
    codec = codec or codec_of_reward_model(folder, card)
    parts = parts_of(folder) if weights else None
    if parts is not None:
        model = _load_log_ratio(folder, parts, runtime, codec, lora, bases)
    elif weights:
        model = load_head(folder, actual, runtime, trained=False, zero_head=False, codec=codec, lora=lora, bases=bases)
    else:
        model = LanguageModel(_shapes(folder, actual), codec, runtime)
        _check_embeddings(model.module, codec, folder)
    return RewardModel(model, card, same_encoding=policy_codec is None or same_encoding(codec, policy_codec))


def _load_log_ratio(
    folder: Path, parts: Parts, runtime: Runtime, codec: Codec, lora: LoraConfig | None, bases: Bases | None
) -> LanguageModel:
    policy, reference = (
        load_policy(part, runtime, trained=False, codec=codec, lora=lora, bases=bases).module
        for part in (parts.policy, parts.reference)
    )
    module: Any = LogRatio(policy, reference, parts.beta, folder)
    return LanguageModel(module, codec, runtime)


def _shapes(folder: Path, level: RewardLevel) -> PreTrainedModel:
    """Make a reward model of its configuration alone, on torch's device for shapes without numbers."""
    auto = AutoModelForTokenClassification if level == "token" else AutoModelForSequenceClassification
    try:
        content = model_config(folder)
        config = type(AutoConfig.for_model(content["model_type"])).from_dict(dict(content))
        with torch.device("meta"):
            module: PreTrainedModel = auto.from_config(config)  # type: ignore[no-untyped-call]
    except Exception as error:  # as in `_load`
        raise RedpencilError(
            f"no model can be made from its configuration ({first_line(error)})",
            file=folder,
            hint="give a folder with config.json",
        ) from error
    module.name_or_path = str(folder)
    return module.requires_grad_(False)
