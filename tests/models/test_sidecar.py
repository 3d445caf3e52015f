"""What a checkpoint says of itself: its card, its template and its codec."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import pytest

from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import load_head, load_policy, load_reward_model
from redpencil.models.codec import CHAT, load_codec
from redpencil.models.runtime import Runtime
from redpencil.models.saving import export
from redpencil.models.sidecar import RewardCard, chat_options_of, codec_of_checkpoint, template_of

Folder = Callable[..., Path]
CARD = RewardCard("token", 0.5, 2.0, 0.25, 4.0, "{prompt}", "edits")


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def test_a_model_comes_with_the_codec_of_its_folder_or_the_one_that_is_named(
    folder: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    source = copy(folder("llama"), tmp_path / "with-template")
    (source / "redpencil.json").write_text('{"prompt_template": "Q: {prompt}"}')
    other = load_codec(source, "{prompt} :")
    for load in (
        lambda **named: load_policy(source, runtime, trained=False, **named),
        lambda **named: load_head(source, "token", runtime, trained=False, zero_head=True, **named),
    ):
        assert load().codec.template == "Q: {prompt}"
        assert load(codec=other).codec is other
    assert load_policy(folder("llama"), runtime, trained=False).codec.template == "{prompt}"


def test_the_card_comes_back(folder: Folder, runtime: Runtime, tmp_path: Path) -> None:
    codec = load_codec(folder("llama"), "Q: {prompt} A:")
    model = load_head(folder("llama"), "token", runtime, trained=True, zero_head=True, codec=codec)
    export(model, tmp_path, card=CARD)
    assert load_reward_model(tmp_path, runtime, level="token").card == CARD
    assert template_of(tmp_path) == "Q: {prompt} A:"
    assert template_of(folder("llama"), default="none") == "none"


def test_a_card_of_an_earlier_version_does_not_say_whether_the_model_has_learned(
    folder: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    model = load_head(folder("llama", "token"), "token", runtime, trained=True, zero_head=False)
    export(model, tmp_path, card=CARD)
    content = json.loads((tmp_path / "redpencil.json").read_text())
    for key in ("training_loss", "constant_loss", "learned"):
        del content["reward"][key]
    (tmp_path / "redpencil.json").write_text(json.dumps(content))
    assert load_reward_model(tmp_path, runtime).card == CARD
    assert CARD.learned is None


def test_a_reward_model_without_a_card_has_centre_0_and_scale_1(folder: Folder, runtime: Runtime) -> None:
    card = load_reward_model(folder("bert", "sequence"), runtime).card
    assert (card.level, card.center, card.scale, card.trained_on) == ("sequence", 0.0, 1.0, "unknown")


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"reward": []},
        {"reward": {"level": "token"}},
        {"reward": asdict(CARD) | {"scale": 0.0}},
        {"reward": asdict(CARD) | {"scale": "one"}},
        {"reward": asdict(CARD) | {"center": "one"}},
        {"reward": asdict(CARD) | {"center": None}},
        {"reward": asdict(CARD) | {"level": "sequence"}},
    ],
)
def test_a_damaged_card_is_refused(folder: Folder, runtime: Runtime, tmp_path: Path, content: object) -> None:
    damaged = copy(folder("llama", "token"), tmp_path / "damaged")
    (damaged / "redpencil.json").write_text(json.dumps(content))
    with pytest.raises(RedpencilError, match=r"card|JSON object"):
        load_reward_model(damaged, runtime)


def test_a_reward_model_without_a_card_and_its_codec(folder: Folder, runtime: Runtime, tmp_path: Path) -> None:
    policy_codec = load_codec(folder("llama"), "{prompt} :")
    # with the policy's tokenizer it gets the policy's template, so it reads the policy's token ids
    same = load_reward_model(folder("llama", "token"), runtime, policy_codec=policy_codec)
    assert same.same_encoding
    assert same.model.codec.template == "{prompt} :"
    # without a policy there is nothing to differ from
    alone = load_reward_model(folder("llama", "token"), runtime)
    assert alone.same_encoding
    assert alone.model.codec.template == "{prompt}"
    foreign = copy(folder("gpt2", "token"), tmp_path / "foreign")
    other = load_reward_model(foreign, runtime, policy_codec=policy_codec)
    assert not other.same_encoding
    assert other.model.codec.template == "{prompt}"
    (foreign / "chat_template.jinja").write_text("[{{ messages[0]['content'] }}]")
    chat = load_reward_model(foreign, runtime, policy_codec=policy_codec)
    assert not chat.same_encoding
    assert chat.model.codec.template == "chat"
    assert chat.model.codec.tokenizer.chat_template == "[{{ messages[0]['content'] }}]"
    assert load_reward_model(foreign, runtime).model.codec.template == "chat"
    (foreign / "redpencil.json").write_text('{"prompt_template": "Q: {prompt}"}')
    named = load_reward_model(foreign, runtime, policy_codec=policy_codec)
    assert (named.model.codec.template, named.card.prompt_template) == ("Q: {prompt}", "Q: {prompt}")
    assert (named.card.trained_on, named.same_encoding) == ("unknown", False)


def test_a_codec_that_the_user_names_is_used(folder: Folder, runtime: Runtime) -> None:
    policy_codec = load_codec(folder("llama"), "{prompt} :")
    own = load_codec(folder("llama"), "{prompt} ,")
    named = load_reward_model(folder("llama", "token"), runtime, codec=own)
    assert (named.model.codec, named.same_encoding) == (own, True)
    other = load_reward_model(folder("llama", "token"), runtime, codec=own, policy_codec=policy_codec)
    assert (other.model.codec, other.same_encoding) == (own, False)


def test_a_card_names_the_template_that_prompts_were_learned_in(
    folder: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    codec = load_codec(folder("llama"), "{prompt} :")
    model = load_head(folder("llama"), "token", runtime, trained=True, zero_head=True, codec=codec)
    export(model, tmp_path / "reward", card=replace(CARD, prompt_template="{prompt} :"))
    assert load_reward_model(tmp_path / "reward", runtime, policy_codec=codec).same_encoding
    policy_codec = load_codec(folder("llama"), "{prompt} ,")
    reward = load_reward_model(tmp_path / "reward", runtime, policy_codec=policy_codec)
    assert not reward.same_encoding
    assert reward.model.codec.template == "{prompt} :"


def test_how_a_chat_template_is_filled_goes_with_a_checkpoint(
    chat_model: Folder, runtime: Runtime, tmp_path: Path
) -> None:
    source = chat_model("chatml")
    options = {"chat_template_kwargs": {"enable_thinking": False}, "chat_template_date": date(2025, 1, 31)}
    codec = load_codec(source, CHAT, **options)
    export(load_policy(source, runtime, trained=True, codec=codec), tmp_path / "checkpoint")
    assert chat_options_of(tmp_path / "checkpoint") == options
    assert chat_options_of(source) == {}
    again = load_policy(tmp_path / "checkpoint", runtime, trained=False).codec
    assert again.chat_options == options
    assert again.encode_prompts(["hello"]) == codec.encode_prompts(["hello"])
    named = codec_of_checkpoint(tmp_path / "checkpoint", chat_template_kwargs={})
    assert (named.chat_template_kwargs, named.chat_template_date) == ({}, date(2025, 1, 31))
    head = load_head(source, "token", runtime, trained=True, zero_head=True, codec=codec)
    export(head, tmp_path / "reward", card=replace(CARD, prompt_template=CHAT))
    assert load_reward_model(tmp_path / "reward", runtime, policy_codec=codec).same_encoding
    assert not load_reward_model(tmp_path / "reward", runtime, policy_codec=load_codec(source, CHAT)).same_encoding


@pytest.mark.parametrize(
    "wrong",
    [
        {"chat_template_kwargs": []},
        {"chat_template_kwargs": "x"},
        {"chat_template_date": "today"},
        {"chat_template_date": 3},
        {"chat_template_date": None},
    ],
)
def test_a_file_that_fills_a_chat_template_wrongly_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    (tmp_path / "redpencil.json").write_text(json.dumps({"prompt_template": "chat", **wrong}))
    with pytest.raises(RedpencilError, match="chat template") as raised:
        chat_options_of(tmp_path)
    assert raised.value.file == str(tmp_path / "redpencil.json")
    assert next(iter(wrong)) in str(raised.value.field)
