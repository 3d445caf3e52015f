"""Text to token ids and back, for tokenizers with and without pad, EOS and chat template."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from redpencil.errors import RedpencilError
from redpencil.models.codec import CHAT, Codec, load_codec, same_encoding, same_tokenizer

Folder = Callable[..., Path]
CHATML = (
    "{% for message in messages %}<s> {{ message.role }} {{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}the{% endif %}"
)


def test_a_prompt_and_its_response_are_tokenised_separately(folder: Folder) -> None:
    codec = load_codec(folder("llama"), "<s> {prompt} Paris")
    words = codec.tokenizer.get_vocab()
    [prompt] = codec.encode_prompts(["the cat"])
    assert prompt == [2, words["the"], words["cat"], words["Paris"]]
    [tokens] = codec.encode_responses(["a dog"])
    assert tokens.ids == (words["a"], words["dog"], 3)
    assert tokens.offsets == ((0, 1), (2, 5), (5, 5))
    assert tokens.has_eos


def test_each_response_may_be_finished_or_not(folder: Folder) -> None:
    codec = load_codec(folder("llama"))
    texts = ["a dog", "the cat", "a mat"]
    mixed = codec.encode_responses(texts, finished=[True, False, True])
    finished, cut = codec.encode_responses(texts), codec.encode_responses(texts, finished=False)
    assert mixed == [finished[0], cut[1], finished[2]]
    assert codec.encode_responses([]) == codec.encode_responses([], finished=[]) == []
    with pytest.raises(ValueError, match="zip"):
        codec.encode_responses(texts, finished=[True])


def test_an_unfinished_response_has_no_end(folder: Folder) -> None:
    codec = load_codec(folder("llama"))
    [tokens] = codec.encode_responses(["a dog"], finished=False)
    assert tokens.ids == codec.encode_responses(["a dog"])[0].ids[:-1]
    assert not tokens.has_eos


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_responses_come_back(folder: Folder, kind: str) -> None:
    codec = load_codec(folder(kind))
    texts = ["the cat sat on the mat .", "a red dog"]
    assert codec.decode([tokens.ids for tokens in codec.encode_responses(texts)]) == texts


@given(st.text(max_size=30))
def test_bytes_come_back_whatever_the_text(byte_codec: Codec, text: str) -> None:
    [tokens] = byte_codec.encode_responses([text])
    assert byte_codec.decode([tokens.ids]) == [text]
    assert all(0 <= start <= end <= len(text) for start, end in tokens.offsets)


@pytest.fixture(scope="session")
def byte_codec(folder: Folder) -> Codec:
    return load_codec(folder("gpt2"))


def test_gpt2_has_no_pad_of_its_own(folder: Folder) -> None:
    codec = load_codec(folder("gpt2"))
    assert codec.pad_id == codec.eos_id == len(codec.tokenizer) - 1


def test_a_pad_token_that_is_not_the_end_token_is_preferred(folder: Folder, tmp_path: Path) -> None:
    assert load_codec(folder("llama")).pad_id == 1
    tokenizer = load_codec(folder("llama")).tokenizer
    tokenizer.pad_token = "</s>"
    tokenizer.save_pretrained(tmp_path)
    codec = load_codec(tmp_path)
    assert (codec.pad_id, codec.eos_id) == (0, 3)  # the unknown token


def test_bert_ends_with_its_separator(folder: Folder) -> None:
    codec = load_codec(folder("bert"))
    assert codec.eos_id == codec.tokenizer.sep_token_id
    [prompt] = codec.encode_prompts(["the cat"])
    # [CLS] the cat; the tokenizer's own [SEP] waits for the end of the response
    assert prompt == [codec.tokenizer.cls_token_id, *codec.tokenizer.convert_tokens_to_ids(["the", "cat"])]
    assert codec.encode_responses(["a"])[0].ids[-1] == codec.eos_id


def test_the_chat_template_of_the_tokenizer(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="no chat template") as raised:
        load_codec(folder("llama"), CHAT)
    assert raised.value.field == "prompt_template"
    tokenizer = load_codec(folder("llama")).tokenizer
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(tmp_path)
    codec = load_codec(tmp_path, CHAT)
    words = codec.tokenizer.get_vocab()
    # "user" is not in this vocabulary: id 0
    assert codec.encode_prompts(["a cat", "dog"]) == [
        [2, 0, words["a"], words["cat"], words["the"]],
        [2, 0, words["dog"], words["the"]],
    ]


def test_a_template_without_a_place_for_the_prompt(folder: Folder) -> None:
    for template in ("", "prompt", "{}", "{ prompt }"):
        with pytest.raises(RedpencilError, match=r"no \{prompt\}"):
            load_codec(folder("llama"), template)


def test_braces_and_backslashes_in_a_prompt_stay(folder: Folder) -> None:
    codec = load_codec(folder("gpt2"), "Q: {prompt}\nA:")
    text = r"{x} {prompt} \1 {{}}"
    assert codec.decode(codec.encode_prompts([text])) == [f"Q: {text}\nA:"]


def test_a_missing_folder_and_a_missing_tokenizer_are_refused(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="no such model folder"):
        load_codec(tmp_path / "missing")
    with pytest.raises(RedpencilError, match="no tokenizer can be loaded"):
        load_codec(tmp_path)
    shutil.copy(folder("llama") / "config.json", tmp_path)
    with pytest.raises(RedpencilError, match="no tokenizer can be loaded") as raised:
        load_codec(tmp_path)
    assert raised.value.file == str(tmp_path)
    assert "tokenizer.json" in raised.value.hint


def test_a_slow_tokenizer_has_no_offsets(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    with pytest.raises(RedpencilError, match="no character offsets"):
        load_codec(tmp_path)


def test_a_tokenizer_without_an_end_token(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path)
    with pytest.raises(RedpencilError, match="no end-of-sequence token"):
        load_codec(tmp_path)


def test_the_context_comes_from_the_model_beside_the_tokenizer(folder: Folder, tmp_path: Path) -> None:
    assert {load_codec(folder(kind)).context for kind in ("llama", "qwen3", "gpt2", "bert")} == {48}
    load_codec(folder("llama")).tokenizer.save_pretrained(tmp_path)
    assert load_codec(tmp_path).context is None


def test_rows_that_are_too_long_or_empty_are_unfit(folder: Folder) -> None:
    codec = load_codec(folder("gpt2"))
    assert codec.unfit([1], [2] * 47, 512) is None
    assert codec.unfit([1], [2] * 48, 512) == "longer than the model's context"
    assert codec.unfit([1], [2] * 48, 48) == "longer than max_length"
    assert codec.unfit([], [2], 48) == "empty prompt"


def test_tokens_as_a_person_reads_them(folder: Folder) -> None:
    codec = load_codec(folder("llama"))
    assert codec.token_texts(codec.encode_responses(["the cat"])[0].ids) == ["the", "cat", "</s>"]


@pytest.mark.parametrize("template", ["{{ 1 / 0 }}", "{% for", "{{ raise_exception('no') }}"])
def test_a_chat_template_that_fails_is_reported(folder: Folder, template: str) -> None:
    tokenizer = load_codec(folder("llama")).tokenizer
    tokenizer.chat_template = template
    with pytest.raises(RedpencilError, match="chat template fails") as raised:
        Codec(tokenizer, "chat", 0, 1).encode_prompts(["hello"])
    assert raised.value.field == "chat_template"


def changed(folder: Path, tmp_path: Path, **changes: object) -> Codec:
    """The codec of a copy of a folder, with other entries in its tokenizer.json."""
    copied = Path(shutil.copytree(folder, tmp_path / "copied", dirs_exist_ok=True))
    path = copied / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return load_codec(copied)


def test_tokenizers_that_make_the_same_ids(folder: Folder, tmp_path: Path) -> None:
    codec = load_codec(folder("llama"))
    assert same_tokenizer(codec, load_codec(folder("llama", "token")))
    assert same_tokenizer(codec, load_codec(folder("qwen3")))  # another architecture, the same tokenizer
    assert same_tokenizer(codec, changed(folder("llama"), tmp_path, decoder={"type": "Fuse"}))  # only decoding differs
    assert same_tokenizer(codec, changed(folder("llama"), tmp_path, version="1.0", truncation=None))
    assert not same_tokenizer(codec, load_codec(folder("gpt2")))
    assert not same_tokenizer(codec, changed(folder("llama"), tmp_path, normalizer={"type": "Lowercase"}))
    assert not same_tokenizer(codec, changed(folder("llama"), tmp_path, pre_tokenizer={"type": "Whitespace"}))
    vocabulary = json.loads((folder("llama") / "tokenizer.json").read_text())["model"]
    vocabulary["vocab"]["cat"], vocabulary["vocab"]["dog"] = vocabulary["vocab"]["dog"], vocabulary["vocab"]["cat"]
    assert not same_tokenizer(codec, changed(folder("llama"), tmp_path, model=vocabulary))
    added = load_codec(shutil.copytree(folder("llama"), tmp_path / "added"))
    added.tokenizer.add_tokens(["<new>"])
    added.tokenizer.save_pretrained(tmp_path / "added")
    assert not same_tokenizer(codec, load_codec(tmp_path / "added"))
    assert not same_tokenizer(codec, replace(codec, eos_id=2))


def test_codecs_that_make_the_same_ids_of_prompts_and_responses(folder: Folder, tmp_path: Path) -> None:
    codec = load_codec(folder("llama"), "<s> {prompt}")
    assert same_encoding(codec, load_codec(folder("llama", "token"), "<s> {prompt}"))
    assert not same_encoding(codec, load_codec(folder("llama")))
    chats = []
    for number, template in enumerate(("[{{ messages[0]['content'] }}]", "({{ messages[0]['content'] }})")):
        copied = Path(shutil.copytree(folder("llama"), tmp_path / str(number)))
        (copied / "chat_template.jinja").write_text(template)
        chats.append(load_codec(copied, "chat"))
    assert same_encoding(chats[0], chats[0])
    assert not same_encoding(*chats)
