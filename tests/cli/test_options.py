"""The recipe of a command: default < recipe < `--set` < flag."""

from pathlib import Path

import pytest

from redpencil.cli.options import codec_of, examples, settings
from redpencil.errors import RedpencilError
from redpencil.recipe import load_recipe


def test_without_a_recipe_everything_has_the_papers_default(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("world: {}\n")
    assert settings(None, None) == load_recipe(tmp_path / "r.yaml")
    assert settings(None, ["ppo.kl_coef=0.3"]).ppo.kl_coef == 0.3


def test_each_overrides_what_comes_before_it(tiny: Path) -> None:
    assert settings(tiny, None).seeds == (3,)
    assert settings(tiny, ["seeds=[4]", "device=cuda"]).seeds == (4,)
    loaded = settings(tiny, ["seeds=[4]", "device=cuda"], seed=0, device="cpu", template="Q: {prompt}")
    assert (loaded.seeds, loaded.compute.device, loaded.prompt_template) == ((0,), "cpu", "Q: {prompt}")


def test_a_mistake_without_a_recipe_is_named_too() -> None:
    with pytest.raises(RedpencilError, match=r"\[sft\.max_step\]: unknown key"):
        settings(None, ["sft.max_step=1"])


def test_the_template_is_the_checkpoints_unless_one_is_named(tiny_run: object, tiny: Path, tmp_path: Path) -> None:
    run: Path = tiny_run.folder  # type: ignore[attr-defined]
    checkpoint = run / "sft" / "checkpoint"
    named = tmp_path / "r.yaml"
    named.write_text("world: {}\nprompt_template: 'Q {prompt}'\n")
    assert codec_of(settings(None, None), checkpoint).template == "<bos> {prompt} <answer>"
    assert codec_of(settings(named, None), checkpoint).template == "Q {prompt}"
    assert codec_of(settings(named, None, template="{prompt}"), checkpoint).template == "{prompt}"
    assert codec_of(settings(None, None), run / "world" / "model").template == "{prompt}"
    assert codec_of(settings(tiny, None), run / "world" / "model").template == "<bos> {prompt} <answer>"


def test_examples_stand_on_lines_of_their_own() -> None:
    assert examples("redpencil a", "redpencil b [c]") == "Examples:\n\n$ redpencil a\n\n$ redpencil b \\[c]"
