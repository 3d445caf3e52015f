"""The end token as one fact: tokenizer, chat template and generation configuration."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from redpencil.errors import RedpencilError
from redpencil.models.codec import CHAT, load_codec, same_tokenizer

Folder = Callable[..., Path]
BASE = {"eos": "<|endoftext|>", "ends": [0, 2]}


def changed(source: Path, target: Path, file: str, **values: object) -> Path:
    folder = target if source == target else Path(shutil.copytree(source, target))
    path = folder / file
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({key: value for key, value in {**content, **values}.items() if value is not None}))
    return folder


@pytest.mark.parametrize(
    ("name", "options", "template", "end", "every"),
    [
        ("chatml", {}, CHAT, 2, {2}),
        ("chatml", BASE, CHAT, 2, {0, 2}),
        ("chatml", BASE, "{prompt}", 0, {0, 2}),
        ("chatml", {"eos": "<|endoftext|>"}, CHAT, 2, {0, 2}),
        ("chatml", {**BASE, "special": False}, CHAT, 2, {0, 2}),
        ("llama3", {}, CHAT, 4, {1, 4}),
        ("llama2", {}, CHAT, 2, {2}),
        ("gemma", {}, CHAT, 5, {1, 5}),
        ("gemma", {}, "{prompt}", 1, {1, 5}),
        ("t5", {}, "{prompt}", 1, {1}),
        ("bert", {}, "{prompt}", 3, {3}),
    ],
)
def test_what_ends_responses(
    family: Folder, name: str, options: dict[str, object], template: str, end: int, every: set[int]
) -> None:
    codec = load_codec(family(name, **options), template)
    assert (codec.eos_id, codec.ends) == (end, every)
    assert codec.encode_responses(["hello"])[0].ids[-1] == end


def test_an_end_that_stands_behind_a_marker_with_white_space_is_the_first(family: Folder) -> None:
    codec = load_codec(family("phi"), CHAT)  # <|end|>, a line end, and then the tokenizer's own end
    assert codec.tokenizer.convert_ids_to_tokens(codec.eos_id) == "<|end|>"


def test_a_template_that_ends_answers_with_text_leaves_the_tokenizers_end(family: Folder) -> None:
    tokenizer = load_codec(family("chatml")).tokenizer
    for source in ("{{ messages[-1].content }}", "{{ messages[-1].content }}\nUser: <|im_end|>"):
        folder = changed(family("chatml"), Path(tokenizer.name_or_path).parent / f"text{len(source)}", "x.json")
        (folder / "chat_template.jinja").write_text(source)
        assert load_codec(folder, CHAT).eos_id == tokenizer.eos_token_id


def test_contradictions_are_told(family: Folder, tmp_path: Path) -> None:
    assert load_codec(family("chatml"), CHAT).findings == ()
    [finding] = load_codec(family("chatml", **BASE), CHAT).findings
    assert "responses end with '<|im_end|>' (2), as the chat template writes it" in finding
    assert "the end token of the tokenizer is '<|endoftext|>' (0)" in finding
    assert load_codec(family("chatml", **BASE)).findings == ()  # 0 is among those of the configuration
    folder = changed(family("chatml"), tmp_path / "other", "generation_config.json", eos_token_id=0)
    for template in (CHAT, "{prompt}"):
        [finding] = load_codec(folder, template).findings
        assert "generation_config.json names '<|endoftext|>' (0)" in finding
        assert load_codec(folder, template).ends == {0, 2}


def test_config_json_speaks_where_there_is_no_generation_config(family: Folder, tmp_path: Path) -> None:
    folder = changed(family("chatml"), tmp_path / "one", "config.json", eos_token_id=0)
    assert load_codec(folder).ends == {0, 2}
    changed(folder, folder, "generation_config.json", eos_token_id=[2])
    assert load_codec(folder).ends == {2}
    (folder / "generation_config.json").write_text("{}")
    assert load_codec(folder).ends == {0, 2}


def test_a_tokenizer_without_an_end_takes_that_of_the_configuration(family: Folder, tmp_path: Path) -> None:
    folder = changed(family("llama2"), tmp_path / "one", "tokenizer_config.json", eos_token=None)
    changed(folder, folder, "generation_config.json", eos_token_id=2)
    assert load_codec(folder).eos_id == 2
    for named in ([2, 0], 300, None):  # not one token, an ordinary one, none
        changed(folder, folder, "generation_config.json", eos_token_id=named)
        with pytest.raises(RedpencilError, match="no end-of-sequence token"):
            load_codec(folder)
    changed(folder, folder, "generation_config.json", eos_token_id=[2, 0])
    with pytest.raises(RedpencilError, match="no end-of-sequence token"):
        load_codec(folder)


@pytest.mark.parametrize("named", ["</s>", [1, "x"], True, -1, {}])
def test_something_else_than_token_ids_is_refused(family: Folder, tmp_path: Path, named: object) -> None:
    folder = changed(family("llama2"), tmp_path / "one", "generation_config.json", eos_token_id=named)
    with pytest.raises(RedpencilError, match="not a token id") as raised:
        load_codec(folder)
    assert raised.value.field == "eos_token_id"
    assert str(raised.value.file).endswith("generation_config.json")


def test_a_reward_model_of_another_end_has_another_tokenizer(family: Folder) -> None:
    folder = family("chatml", **BASE)
    policy, trained_before = load_codec(folder, CHAT), load_codec(folder, CHAT, as_trained=True)
    assert (policy.eos_id, trained_before.eos_id) == (2, 0)
    assert not same_tokenizer(policy, trained_before)
    assert trained_before.findings == ()


def test_a_template_that_writes_the_first_turn_alone_says_nothing_of_ends(family: Folder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(family("chatml"), tmp_path / "first"))
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}<|endoftext|>")
    codec = load_codec(folder, CHAT)
    assert (codec.eos_id, codec.findings) == (2, ())


def test_an_end_that_is_no_marker_is_control_too(family: Folder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(family("phi"), tmp_path / "word"))
    tokenizer = load_codec(folder).tokenizer
    tokenizer.add_tokens(["STOP"])
    tokenizer.save_pretrained(folder)
    stop = tokenizer.convert_tokens_to_ids("STOP")
    assert stop in load_codec(folder).encode_responses(["STOP"])[0].ids
    changed(folder, folder, "generation_config.json", eos_token_id=[0, stop])
    codec = load_codec(folder)
    assert stop not in codec.encode_responses(["hello STOP"])[0].ids
    assert codec.decode([codec.encode_responses(["hello STOP"])[0].ids]) == ["hello STOP"]


FRAME = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
OPENING = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


@pytest.mark.parametrize(
    "source",
    [
        FRAME
        + "{% if not loop.last %}<|im_end|>\n{% endif %}{% endfor %}"
        + OPENING,  # only where another turn follows
        "{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}"
        + FRAME
        + "<|im_end|>\n{% endfor %}"
        + OPENING,
    ],
)
def test_templates_that_show_their_end_late(family: Folder, tmp_path: Path, source: str) -> None:
    folder = Path(shutil.copytree(family("chatml", **BASE), tmp_path / "late"))
    (folder / "chat_template.jinja").write_text(source)
    codec = load_codec(folder, CHAT)
    assert codec.eos_id == 2
    turns = [{"role": "system", "content": "a"}, {"role": "user", "content": "<|im_start|>"}]
    assert codec.encode_conversations([turns])[0].count(1) == 3


def test_a_turn_that_begins_is_no_end(family: Folder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(family("chatml"), tmp_path / "begins"))
    (folder / "chat_template.jinja").write_text(FRAME + "{% endfor %}" + OPENING)
    changed(folder, folder, "tokenizer_config.json", eos_token="<|endoftext|>")
    assert load_codec(folder, CHAT).eos_id == 0


def test_an_end_that_the_tokenizer_does_not_have_is_told(family: Folder, tmp_path: Path) -> None:
    folder = changed(family("chatml"), tmp_path / "one", "generation_config.json", eos_token_id=99999)
    [finding] = load_codec(folder, CHAT).findings
    assert "names a token that it does not have (99999)" in finding
