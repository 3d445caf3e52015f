"""Who judges and who edits, as a recipe says it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from redpencil.config.asked import JudgeConfig
from redpencil.errors import RedpencilError
from redpencil.recipe import load_recipe

Mistake = Callable[..., RedpencilError]


FILES = "model: m, comparisons: c, edits: e, prompts: p, validation_prompts: v, evaluation_prompts: x"


def test_without_a_section_the_judge_is_the_oracle_or_the_reward_model_of_the_files(recipe: Path) -> None:
    recipe.write_text("world: {}\n")
    assert load_recipe(recipe).who_judges == JudgeConfig(rule="oracle")
    recipe.write_text(f"files: {{{FILES}, judge: models/judge}}\n")
    assert load_recipe(recipe).who_judges == JudgeConfig(folder=recipe.parent / "models" / "judge")


@pytest.mark.parametrize(
    ("section", "decides", "while_training"),
    [
        ("{folder: models/judge}", {}, True),
        ("{rule: shorter}", {"rule": "shorter"}, True),
        ("{pattern: 'sorry|cannot', fewer: true}", {"pattern": "sorry|cannot", "fewer": True}, True),
        ("{verdicts: people.jsonl}", {}, False),
        (
            "{provider: anthropic, model: claude-x, max_cost: 2, cache: j.cache, concurrency: 3}",
            {"provider": "anthropic", "model": "claude-x"},
            False,
        ),
        (
            "{provider: openai, model: m, base_url: 'http://localhost:8000/v1', orders: one}",
            {"provider": "openai", "model": "m", "base_url": "http://localhost:8000/v1", "orders": "one"},
            False,
        ),
    ],
)
def test_a_recipe_names_its_judge(recipe: Path, section: str, decides: object, while_training: bool) -> None:
    recipe.write_text(f"files: {{{FILES}}}\njudge: {section}\n")
    judge = load_recipe(recipe).who_judges
    assert (judge.decides, judge.judges_training) == (decides, while_training)
    for path in (judge.folder, judge.verdicts, judge.cache):
        assert path is None or path.parent in (recipe.parent, recipe.parent / "models")
    written = recipe.with_name("again.yaml")
    written.write_text(yaml.safe_dump(load_recipe(recipe).model_dump(mode="json")))
    assert load_recipe(written) == load_recipe(recipe)


def test_a_template_that_is_a_file_and_a_local_model_start_at_the_recipes_folder(recipe: Path) -> None:
    recipe.write_text("world: {}\njudge: {provider: local, model: models/llm, template: ours.yaml}\n")
    judge = load_recipe(recipe).who_judges
    assert (judge.model, judge.template) == (str(recipe.parent / "models/llm"), str(recipe.parent / "ours.yaml"))
    built_in = load_recipe(recipe, ["judge.template=alpaca-eval", "judge.provider=openai"]).who_judges
    assert built_in.template == "alpaca-eval"


@pytest.mark.parametrize(
    ("judge", "field", "problem"),
    [
        ("{}", "judge", "name one judge: one of folder, rule, pattern, verdicts, provider"),
        ("{rule: longer, folder: f}", "judge", "name one judge"),
        ("{rule: best}", "judge.rule", "longer"),
        ("{rule: oracle}", "judge.rule", "the oracle knows the small world alone"),
        ("{rule: shorter, fewer: true}", "judge", "fewer says nothing of this judge"),
        ("{pattern: '('}", "judge.pattern", "not a regular expression"),
        ("{rule: longer, fewer: true}", "judge", "fewer says nothing of this judge"),
        ("{rule: longer, max_cost: 3}", "judge", "max_cost says nothing of this judge"),
        ("{verdicts: v, model: gpt}", "judge", "model says nothing of this judge"),
        ("{provider: openai}", "judge", "give the model that the provider is asked for"),
        ("{provider: nobody, model: m}", "judge.provider", "anthropic"),
        ("{provider: openai, model: m, api_key: sk-1}", "judge.api_key", "a recipe holds no secrets"),
        ("{provider: openai, model: m, auth_token: sk-1}", "judge.auth_token", "a recipe holds no secrets"),
        ("{provider: openai, model: m, base_url: 'http://me:sk-1@host/v1'}", "judge.base_url", "a user, a password"),
        ("{provider: openai, model: m, base_url: 'http://host/v1?key=sk-1'}", "judge.base_url", "a user, a password"),
        ("{provider: openai, model: m, modle: x}", "judge.modle", "unknown key"),
    ],
)
def test_a_judge_that_is_none_is_refused(recipe: Path, judge: str, field: str, problem: str, mistake: Mistake) -> None:
    error = mistake(recipe, f"files: {{{FILES}}}\njudge: {judge}\n")
    assert error.field == field
    assert problem in error.problem
    if field != "judge.base_url" or "password" in problem:
        assert "sk-1" not in (error.hint or "")


@pytest.mark.parametrize(
    ("section", "decides"),
    [
        ("{rule: references}", {"rule": "references"}),
        ("{edits: people.jsonl}", {}),
        (
            "{provider: openai, model: m, template: ask.txt, cache: c, max_cost: 3, concurrency: 2, min_kept: 0.2}",
            {"provider": "openai", "model": "m", "min_kept": 0.2},
        ),
    ],
)
def test_a_recipe_names_its_editor(recipe: Path, section: str, decides: object) -> None:
    recipe.write_text(f"files: {{{FILES}, judge: j}}\neditor: {section}\n")
    editor = load_recipe(recipe).editor
    assert editor is not None
    assert editor.decides == decides
    for path in (editor.edits, editor.template, editor.cache):
        assert path is None or path.parent == recipe.parent


@pytest.mark.parametrize(
    ("recipe_text", "field", "problem"),
    [
        (f"files: {{{FILES}}}\neditor: {{}}\n", "editor", "name one editor: one of rule, edits, project, provider"),
        (
            f"files: {{{FILES}}}\neditor: {{rule: scripted}}\n",
            "editor.rule",
            "the scripted editor knows the small",
        ),
        ("world: {}\neditor: {rule: references}\n", "editor.rule", "prompts of the small world have no references"),
        ("world: {}\njudge: {rule: references}\n", "judge.rule", "prompts of the small world have no references"),
        ("world: {}\neditor: {rule: scripted, edits: e}\n", "editor", "name one editor"),
        ("world: {}\neditor: {rule: scripted, min_kept: 0.1}\n", "editor", "min_kept says nothing of this editor"),
        ("world: {}\neditor: {edits: e, template: t}\n", "editor", "template says nothing of this editor"),
        ("world: {}\neditor: {provider: openai}\n", "editor", "give the model that the provider is asked for"),
        ("world: {}\neditor: {provider: openai, model: m, api_key: sk}\n", "editor.api_key", "holds no secrets"),
    ],
)
def test_an_editor_that_is_none_is_refused(
    recipe: Path, recipe_text: str, field: str, problem: str, mistake: Mistake
) -> None:
    error = mistake(recipe, recipe_text)
    assert error.field == field
    assert problem in error.problem


def test_your_own_files_need_a_judge_and_only_one(recipe: Path, mistake: Mistake) -> None:
    error = mistake(recipe, f"files: {{{FILES}}}\n")
    assert error.field == "files.judge"
    assert "field required" in error.problem
    assert "a section judge" in (error.hint or "")
    error = mistake(recipe, f"files: {{{FILES}, judge: j}}\njudge: {{rule: longer}}\n")
    assert "both name a judge" in error.problem
