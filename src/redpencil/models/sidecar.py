"""What a checkpoint says of itself beside its weights: level and card of a reward model, template and codec."""

import math
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from redpencil.adapters import ADAPTER, SIDECAR, model_config
from redpencil.config.compute import RewardLevel
from redpencil.errors import RedpencilError
from redpencil.models.codec import CHAT, Codec, load_codec, read_object, same_encoding, same_tokenizer
from redpencil.models.heads import HEADS

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


def architecture_of(folder: Path) -> str:
    """Return the class that wrote a checkpoint, such as `LlamaForCausalLM`."""
    names = model_config(folder).get("architectures")
    return str(names[0]) if isinstance(names, list) and names else "an unknown architecture"


def reward_level(folder: Path, level: RewardLevel | None = None) -> RewardLevel:
    """Tell from its configuration whether a checkpoint is a token or a sequence reward model.

    Raises:
        RedpencilError: if it is neither, or of another level than asked for, or has outputs that are no rewards.
    """
    kind = architecture_of(folder)
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
