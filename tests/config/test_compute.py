"""What `compute` says: devices, portions and servers, and where keys of stages are sent."""

from collections.abc import Callable
from pathlib import Path

import pytest

from redpencil.errors import RedpencilError
from redpencil.recipe import load_recipe

Mistake = Callable[..., RedpencilError]


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:11"])
def test_devices_are_known_when_the_recipe_is_read(recipe: Path, device: str) -> None:
    recipe.write_text(f"world: {{}}\ncompute: {{device: {device}}}\n")
    assert load_recipe(recipe).compute.device == device
    recipe.write_text(f"world: {{}}\ndevice: {device}\n")
    assert load_recipe(recipe).compute.device == device


@pytest.mark.parametrize(
    "device", ["gpu", "GPU", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:01", "cuda 0", "meta", "tpu", "{0}", "''"]
)
def test_a_device_that_does_not_exist_anywhere_is_refused_when_the_recipe_is_read(
    recipe: Path, device: str, mistake: Mistake
) -> None:
    error = mistake(recipe, f'world: {{}}\ncompute: {{device: "{device}"}}\n')
    assert (error.file, error.field) == (str(recipe), "compute.device")
    assert error.problem == f"unknown device {device!r}"
    assert error.hint == "auto, cpu, cuda, cuda:N such as cuda:0, or mps"
    assert mistake(recipe, f'world: {{}}\ndevice: "{device}"\n').field == "compute.device"


def test_a_forward_pass_takes_eight_rows_unless_the_recipe_says_otherwise(recipe: Path) -> None:
    recipe.write_text("world: {}\n")
    loaded = load_recipe(recipe)
    assert loaded.computed(loaded.sft).micro_batch_size == 8
    whole = load_recipe(recipe, ["compute.micro_batch_size=null"])
    assert whole.computed(whole.sft).micro_batch_size is None


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ("sft: {micro_batch_size: 4}", "sft.micro_batch_size"),
        ("ppo: {micro_batch_size: 4}", "ppo.micro_batch_size"),
        ("ppo: {generation_batch_size: 4}", "ppo.generation_batch_size"),
        (
            "arms: {a: {reward_model: token_edits, options: {micro_batch_size: 4}}}",
            "arms.a.options.micro_batch_size",
        ),
        (
            "reward_models: {token_edits: {pairs: edits, reward: {micro_batch_size: 4}}}",
            "reward_models.token_edits.reward.micro_batch_size",
        ),
    ],
)
def test_a_key_that_moved_to_compute_is_refused_with_its_new_place(
    recipe: Path, section: str, field: str, mistake: Mistake
) -> None:
    error = mistake(recipe, f"world: {{}}\n{section}\n")
    assert (error.file, error.field) == (str(recipe), field)
    assert error.hint == f"write compute.{field.rpartition('.')[2]}"


def test_what_compute_says_reaches_training_and_stays_out_of_what_is_recorded(recipe: Path) -> None:
    loaded = load_recipe(recipe, ["compute.micro_batch_size=4", "compute.save_every=7"])
    for config in (loaded.sft, loaded.reward_config("token_edits"), loaded.options("token"), loaded.dpo):
        assert config.micro_batch_size is None
        computed = loaded.computed(config)
        assert (computed.micro_batch_size, computed.generation_batch_size, computed.save_every) == (4, None, 7)
        assert computed.model_dump() == config.model_dump()
        assert "micro_batch_size" not in computed.model_dump()


# Servers that sample and score.


def test_a_server_is_named_once_and_reaches_what_samples_and_scores(recipe: Path) -> None:
    loaded = load_recipe(recipe, ["compute.sampler.url=http://host:8000/v1/", "compute.sampler.max_staleness=2"])
    assert loaded.compute.sampler is not None
    assert loaded.compute.sampler.url == "http://host:8000"  # as vLLM's other paths begin
    scored = load_recipe(recipe, ["compute.reward_servers.token.url=https://host/reward"])
    plain = load_recipe(recipe)
    for config in (loaded.sft, loaded.options("token")):
        assert loaded.computed(config).sampler == loaded.compute.sampler
        assert loaded.computed(config).model_dump() == plain.computed(config).model_dump()  # and no fingerprint
    assert scored.computed(scored.options("token")).reward_servers == {"token": scored.compute.reward_servers["token"]}


@pytest.mark.parametrize(
    ("override", "field", "problem"),
    [
        ("sampler.url=localhost:8000", "sampler.url", "not the address of a server"),
        ("sampler.url=ftp://host", "sampler.url", "not the address of a server"),
        ("sampler.url='http://a b'", "sampler.url", "not the address of a server"),
        ("sampler.url='http://host/?key=1'", "sampler.url", "not the address of a server"),
        ("sampler.url='http://user:secret@host'", "sampler.url", "a recipe holds no secrets"),
        ("sampler.api_key=sk-1", "sampler.api_key", "a recipe holds no secrets"),
        ("sampler.token=sk-1", "sampler.token", "a recipe holds no secrets"),
        ("sampler.api_key_variable=sk-live-1", "sampler.api_key_variable", "match pattern"),
        ("sampler.route=nccl", "sampler.route", "'disk' or 'lora'"),
        ("sampler.max_staleness=-1", "sampler.max_staleness", "greater than or equal to 0"),
        ("sampler.concurrency=0", "sampler.concurrency", "greater than 0"),
        ("sampler.timeout=0", "sampler.timeout", "greater than 0"),
        ("sampler.rout=disk", "sampler.rout", "unknown key"),
        ("reward_servers.token.route=disk", "reward_servers.token.route", "unknown key"),
        ("reward_servers.sentence.url=http://host", "reward_servers.sentence", "'token' or 'sequence'"),
        ("sampler.patience=true", "sampler.patience", "a number is needed"),
    ],
)
def test_a_server_that_cannot_be_is_refused(
    recipe: Path, override: str, field: str, problem: str, mistake: Mistake
) -> None:
    url = [] if "url" in override else [f"compute.{field.rpartition('.')[0]}.url=http://host:8000"]
    error = mistake(recipe, "world: {}\n", *url, f"compute.{override}")
    assert str(error.field).startswith(f"compute.{field}")
    assert problem in error.problem
    assert error.hint
    assert "sk-1" not in str(error)
    assert "secret@" not in str(error)


@pytest.mark.parametrize("field", ["sampler", "reward_servers"])
def test_a_server_in_the_section_of_a_stage_is_sent_to_compute(recipe: Path, field: str, mistake: Mistake) -> None:
    error = mistake(recipe, f"world: {{}}\nppo: {{{field}: {{url: http://host}}}}\n")
    assert error.hint == f"write compute.{field}"
