"""Load and save models by local folder: policies, reward models, value models."""

import logging
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from redpencil.adapters import ADAPTER, CONFIG, SIDECAR, WEIGHTS, base_of, has_config, is_adapter, model_config
from redpencil.config import LoraConfig, RewardLevel
from redpencil.digests import check_written
from redpencil.errors import RedpencilError
from redpencil.files import sync_names, sync_tree
from redpencil.models.chat import first_line
from redpencil.models.codec import CHAT, Codec, load_codec, read_object, same_encoding, same_tokenizer
from redpencil.models.forward import READ_TWICE, Batch, collate, reads_twice
from redpencil.models.heads import BACKBONE, HEADS, head_of
from redpencil.models.log_ratio import ARCHITECTURE, LOG_RATIO, LogRatio, Parts, check_parts, parts_of, written
from redpencil.models.lora import (
    Bases,
    adapter_states,
    check_base,
    is_own,
    merge,
    open_view,
    plays_role,
    role_of,
    save_adapter,
)
from redpencil.models.parallel import distributed_options, local, prepare, shard, whole_state
from redpencil.models.runtime import Runtime, seeded
from redpencil.models.sharing import Sharing, alike, sharing_of
from redpencil.runs import check_finished, write_json

LARGEST_FILE = "10GB"
"""Weights beyond it go into several files."""
UNKNOWN = "unknown"
"""`trained_on` of a reward model without a card."""
LEVELS: dict[str, RewardLevel] = {"ForTokenClassification": "token", "ForSequenceClassification": "sequence"}


@dataclass(frozen=True, slots=True)
class RewardCard:
    """The measures that are stored with the weights of a reward model.

    All are measured on samples of the SFT policy. Per token, `center` is the mean reward and `scale` the standard
    deviation of a response's summed, centred rewards; per sequence, they are mean and standard deviation of R.
    `trajectory_center` and `trajectory_scale` are mean and standard deviation of R as Eq. 1 has it, the mean reward of
    a response's tokens (per sequence: the same as the first two).

    `training_loss` and `constant_loss` are the loss at the end of training and that of a model that rewards all alike;
    `learned` is whether the first is lower by more than noise. Cards of earlier versions have neither.
    """

    level: RewardLevel
    center: float
    scale: float
    trajectory_center: float
    trajectory_scale: float
    prompt_template: str
    trained_on: str
    training_loss: float | None = None
    constant_loss: float | None = None
    learned: bool | None = None


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
def _quiet() -> Iterator[None]:
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
        with _quiet():
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
    kind = _architecture(folder)
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


def _architecture(folder: Path) -> str:
    """Return the class that wrote a checkpoint, such as `LlamaForCausalLM`."""
    names = model_config(folder).get("architectures")
    return str(names[0]) if isinstance(names, list) and names else "an unknown architecture"


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


def reward_level(folder: Path, level: RewardLevel | None = None) -> RewardLevel:
    """Tell from its configuration whether a checkpoint is a token or a sequence reward model.

    Raises:
        RedpencilError: if it is neither, or of another level than asked for, or has outputs that are no rewards.
    """
    kind = _architecture(folder)
    actual = next((known for suffix, known in LEVELS.items() if kind.endswith(suffix)), None)
    if actual is None:
        raise RedpencilError(
            f"{kind} is not a reward model",
            file=folder,
            field="architectures",
            hint="give a checkpoint that `redpencil reward` wrote, or any ...ForTokenClassification / "
            "...ForSequenceClassification with one label",
        )
    if level is not None and actual != level:
        raise RedpencilError(
            f"a reward model of level {level} is needed, {kind} is of level {actual}",
            file=folder,
            field="architectures",
            hint=f"train one with `redpencil reward --set reward.level={level}`, or choose another kind of reward",
        )
    # config.json leaves out what is the default: 2 labels.
    names = model_config(folder).get("id2label")
    labels = len(names) if isinstance(names, dict) else 2
    two_heads = actual == "token" and names == {str(label): name for label, name in HEADS[2].items()}
    if labels != 1 and not two_heads:
        raise RedpencilError(
            f"it has {labels} outputs, a reward model has one",
            file=folder,
            field="id2label",
            hint="use num_labels=1",
        )
    return actual


def own_codec(folder: Path, card: RewardCard, policy_codec: Codec) -> Codec | None:
    """Return a reward model's tokenizer and prompt template, or None where it reads the policy's token ids as they are.

    A model without a card does not say how it learned prompts. With the policy's tokenizer it gets the policy's
    template; else its tokenizer's chat template, or without one the bare prompts. `{"prompt_template": ...}` in a
    redpencil.json in its folder says otherwise.

    Raises:
        RedpencilError: if the folder does not hold a fast tokenizer, or the template does not fit it.
    """
    plain, template = load_codec(folder), template_of(folder, "")
    if card.trained_on != UNKNOWN:
        template = card.prompt_template
    if not template:
        if same_tokenizer(replace(plain, eos_id=policy_codec.eos_id), policy_codec):
            return None
        template = CHAT if plain.chat is not None else "{prompt}"
    codec = codec_of_checkpoint(folder, template)
    return None if same_encoding(codec, policy_codec) else codec


def codec_of_reward_model(folder: Path, card: RewardCard) -> Codec:
    """Return a reward model's tokenizer and prompt template as `own_codec` finds them, where there is no policy."""
    codec = codec_of_checkpoint(folder, card.prompt_template)
    says = card.trained_on != UNKNOWN or template_of(folder, "")
    return codec if codec.chat is None or says else codec_of_checkpoint(folder, CHAT)


def read_card(folder: Path, level: RewardLevel) -> RewardCard:
    """Read the card of a checkpoint; a foreign reward model gets centre 0 and scale 1."""
    path = folder / SIDECAR
    content = read_object(path) if path.is_file() else None
    if content is None or (content and set(content) <= {"prompt_template", ADAPTER, *CHAT_OPTIONS}):
        return RewardCard(level, 0.0, 1.0, 0.0, 1.0, template_of(folder), trained_on=UNKNOWN)
    try:
        card = RewardCard(**content["reward"])
        losses = (card.training_loss or 0.0, card.constant_loss or 0.0)
        measures = (card.center, card.scale, card.trajectory_center, card.trajectory_scale, *losses)
        sound = card.level == level and all(map(math.isfinite, measures)) and min(card.scale, card.trajectory_scale) > 0
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise RedpencilError(
            f"not the card of a reward model of level {level}",
            file=path,
            field="reward",
            hint="train the reward model again, or delete the file",
        )
    return card


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
    with _quiet():
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
    if _architecture(folder).endswith(tuple(LEVELS)):
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


CHAT_OPTIONS = ("chat_template_kwargs", "chat_template_date")
"""The keys of a recipe and of redpencil.json that say how a chat template is filled."""


def codec_of_checkpoint(folder: str | Path, template: str | None = None, **chosen: Any) -> Codec:
    """Load the tokenizer of a checkpoint as it was trained with, by its redpencil.json.

    Args:
        folder: the checkpoint.
        template: another prompt template.
        chosen: other options of `load_codec` for the chat template.

    Raises:
        RedpencilError: as `load_codec`, or if redpencil.json says wrongly how the chat template is filled.
    """
    path = Path(folder) / SIDECAR
    content = read_object(path) if path.is_file() else {}
    options = {**chat_options_of(folder), **chosen}
    # A reward model that was trained here has learned the end token that its tokenizer names.
    return load_codec(folder, template or template_of(folder), **options, as_trained="reward" in content)


def chat_options_of(folder: str | Path) -> dict[str, Any]:
    """Return how a checkpoint's chat template was filled, as options of `load_codec`; nothing for a foreign one.

    Raises:
        RedpencilError: if its redpencil.json says it wrongly.
    """
    path = Path(folder) / SIDECAR
    content = read_object(path) if path.is_file() else {}
    options = {key: content[key] for key in CHAT_OPTIONS if key in content}
    try:
        if "chat_template_date" in options:
            options["chat_template_date"] = date.fromisoformat(options["chat_template_date"])
        if not isinstance(options.get("chat_template_kwargs", {}), dict):
            raise TypeError("chat_template_kwargs is not an object")
    except (TypeError, ValueError) as error:
        raise RedpencilError(
            f"it does not say how a chat template is filled ({error})",
            file=path,
            field=" or ".join(CHAT_OPTIONS),
            hint='write {"chat_template_kwargs": {...}, "chat_template_date": "2024-07-26"}, or leave them out',
        ) from None
    return options


def template_of(folder: str | Path, default: str = "{prompt}") -> str:
    """Return the prompt template that a checkpoint was trained with, or `default` for a foreign one."""
    path = Path(folder) / SIDECAR
    return str(read_object(path).get("prompt_template", default)) if path.is_file() else default
