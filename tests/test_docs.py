"""The documentation names only what exists: files, functions, tests, links, commands, recipe keys, rows."""

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from redpencil import records
from redpencil.alignment.words import diff_words
from redpencil.cli.main import COMMANDS, app, load_command
from redpencil.config.data import FilesConfig
from redpencil.config.methods import METHODS
from redpencil.config.recipe import Recipe
from redpencil.providers.prices import PriceTable
from redpencil.recipe import (
    AblationConfig,
    default_recipe,
    is_ablation,
    load_ablations,
    load_recipe,
    shipped_recipe,
)
from redpencil.report.terminal import redline_plain
from redpencil.sections import load_yaml, parse_section
from redpencil.web.project import ProjectConfig

ROOT = Path(__file__).parents[1]
WRITTEN_BY_MAKE = "docs/results-study.md"
PAGES = [
    *sorted(path for path in (ROOT / "docs").glob("*.md") if path != ROOT / WRITTEN_BY_MAKE),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]
COMMAND = typer.main.get_command(app)

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"(?P<path>(?:src|tests|docs|recipes)/[\w./-]+)(?:::(?P<name>\w+(?:\.\w+)?))?")
SECTIONS = ("world", "files", "compute", "sft", "align", "reward", "sampling", *METHODS)
KEY = re.compile(rf"(?:{'|'.join(SECTIONS)})\.[a-z_]+")


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def inline(page: Path) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Label and content of each code block; indented ones have no label."""
    yield from FENCE.findall(page.read_text(encoding="utf-8"))
    yield from (("", match[0]) for match in re.finditer(r"(?:^    \S.*\n)+", prose(page), re.MULTILINE))


def table(page: Path, heading: str) -> list[list[str]]:
    """Body rows of the tables under a heading."""
    section = page.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = [number for number, line in enumerate(lines) if set(line) <= set("|-: ")]
    headers = {number - 1 for number in rules}
    return [row for number, row in enumerate(rows) if number not in headers | set(rules)]


@cache
def names_in(path: Path) -> frozenset[str]:
    """Functions, classes and constants at the top of a module, and methods as Class.method."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)


@each_page
def test_every_file_function_and_test_exists(page: Path) -> None:
    for text in inline(page):
        found = NAMED.fullmatch(text)
        assert found or "::" not in text, f"{text}: write it as src/redpencil/room/file.py::name"
        if found is None or text == WRITTEN_BY_MAKE:
            continue
        path = ROOT / found["path"]
        assert path.exists(), text
        assert found["name"] is None or found["name"] in names_in(path), text


@each_page
def test_every_recipe_key_exists(page: Path) -> None:
    for text in inline(page):
        if KEY.fullmatch(text):
            section, key = text.split(".")
            assert key in keys_of(section), text


def keys_of(section: str) -> list[str]:
    config = FilesConfig if section == "files" else type(getattr(default_recipe(), section))
    return [name for name, field in config.model_fields.items() if not field.exclude]


@each_page
def test_every_link_resolves(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if path == ROOT / WRITTEN_BY_MAKE and not path.exists():
            assert f"--markdown {WRITTEN_BY_MAKE}" in (ROOT / "Makefile").read_text(encoding="utf-8")
            continue
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def anchors(page: Path) -> set[str]:
    """What headings are called in links: lower case, without punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_command_line_parses(page: Path) -> None:
    for _, block in blocks(page):
        for line in block.replace("\\\n", " ").splitlines():
            words = (
                shlex.split(line.strip(), comments=True)
                if re.match(r"\s*(\.venv/bin/)?(redpencil|make) ", line)
                else []
            )
            if words and words[0].endswith("redpencil"):
                command, rest = find_command(words[1:])
                command.make_context(command.name, list(rest)).close()
                check_overrides(rest)
            elif words:
                check_make(words)


@each_page
def test_every_command_in_a_sentence_exists(page: Path) -> None:
    for text in inline(page):
        words = shlex.split(text) if text.startswith(("redpencil ", "make ")) else []
        if words and words[0] == "make":
            check_make(words)
        elif words:
            command, rest = find_command(words[1:])
            known = {flag for parameter in command.params for flag in parameter.opts} | {"--help"}
            assert {word for word in rest if word.startswith("-")} <= known, text
            check_overrides(rest)


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    command: Any = COMMAND
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands or words[0] == "COMMAND", words
        if command is COMMAND and words[0] in COMMANDS:
            command = load_command(words[0])
        else:
            command = command.commands.get(words[0], command)
        words = words[1:]
    return command, words


def check_overrides(words: list[str]) -> None:
    overrides = [words[number + 1] for number, word in enumerate(words) if word == "--set"]
    recipe = next((ROOT / word for word in words if word.startswith("recipes/")), None)
    if recipe is not None and is_ablation(recipe):
        load_ablations(recipe)
    elif recipe is not None:
        load_recipe(recipe, overrides)
    else:
        default_recipe(overrides)


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in (word for word in words[1:] if "=" not in word):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), words


def test_the_readme_has_every_command() -> None:
    told = {shlex.split(text)[1] for text in inline(ROOT / "README.md") if text.startswith("redpencil ")}
    assert set(COMMANDS) <= told


def test_the_readme_has_a_place_for_results() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"<!-- results -->.*<!-- /results -->", readme, re.DOTALL)


def test_the_redline_of_the_readme_is_what_the_code_draws() -> None:
    picture = dict(
        line.split(maxsplit=1)
        for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
        if re.match(r"    (response|edit|align) ", line)
    )
    original, edited = picture["response"], picture["edit"]
    assert redline_plain(original, edited, diff_words(original, edited)) == picture["align"]


def test_the_page_of_recipe_keys_is_up_to_date(tmp_path: Path) -> None:
    written = tmp_path / "recipes.md"
    assert CliRunner().invoke(app, ["keys", "--markdown", str(written)]).exit_code == 0
    committed = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert committed == written.read_text(encoding="utf-8"), "run: redpencil keys --markdown docs/recipes.md"


def test_every_recipe_key_is_on_the_page() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for name in Recipe.model_fields:
        for key in [f"{name}.{key}" for key in keys_of(name)] if name in SECTIONS else [name]:
            assert f"| `{key}` |" in page or f"## {key}\n" in page


@each_page
def test_every_example_row_and_recipe_can_be_read(page: Path) -> None:
    for label, block in blocks(page):
        language, _, kind = label.partition(" ")
        if label == "yaml prices":
            parse_section(yaml.safe_load(block), PriceTable)
        elif label == "yaml project":
            parse_section(yaml.safe_load(block), ProjectConfig)
        elif label == "yaml ablations":
            parse_section(load_yaml(block), AblationConfig)
        elif language == "yaml":
            try:
                content = load_yaml(block)
            except yaml.YAMLError:  # the examples of judges, each under the same key
                content = yaml.safe_load(block)
            parse_section(content if "files" in content else {"world": {}, **content}, Recipe)
        elif language == "json" and kind == "card":
            check_card(json.loads(block))
        elif language == "json":
            record = records.parse_record(json.loads(block), getattr(records, kind))
            assert not record.meta, "the example has a key that the record does not know"


def check_card(content: Mapping[str, Any]) -> None:
    from redpencil.models.sidecar import RewardCard

    assert set(content) == {"prompt_template", "reward"}
    assert set(content["reward"]) == {field.name for field in fields(RewardCard)}


def test_every_kind_of_record_has_an_example() -> None:
    labels = {label for label, _ in blocks(ROOT / "docs" / "own-data.md")}
    assert {f"json {kind}" for kind in ("Prompt", "Example", "Response", "Edit", "Comparison", "Pair")} <= labels


def test_every_trap_is_in_the_table_with_a_test() -> None:
    rows = table(ROOT / "docs" / "paper.md", "Known traps")
    assert [row[0] for row in rows] == [str(number) for number in range(1, 21)]
    for row in rows:
        assert "`tests/" in row[3], row


def test_defaults_in_the_page_on_the_paper_are_those_of_the_recipe() -> None:
    recipe = default_recipe()
    rows = table(ROOT / "docs" / "paper.md", "Defaults")
    assert len(rows) > 20
    for key, _, default, *_ in rows:
        section, name = key.strip("`").split(".")
        assert yaml.safe_load(default.strip("`")) == pytest.approx(plain(getattr(getattr(recipe, section), name))), key


def test_options_of_the_shipped_recipes_are_as_told() -> None:
    recipes = {name: load_recipe(shipped_recipe(name)) for name in ("recommended", "study", "literal")}
    for key, ours, literal, _ in table(ROOT / "docs" / "paper.md", "What the shipped recipes switch on"):
        section, name = key.strip("`").split(".")
        for recipe_name, recipe in recipes.items():
            sections = {
                "align": recipe.align,
                "reward": recipe.reward_config("token_edits"),
                "ppo": recipe.options("token"),
            }
            told = literal if recipe_name == "literal" else ours
            assert yaml.safe_load(told.strip("`")) == getattr(sections[section], name), (recipe_name, key)


def plain(value: object) -> object:
    """As YAML reads a default that is printed short: 2e-05 is a text to it."""
    return f"{value:g}" if isinstance(value, float) and "e" in f"{value:g}" else value


def test_the_floors_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    for page in (ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"):
        heading = "Rooms and floors" if page.name == "architecture.md" else "Floors"
        told = [set(re.findall(r"`(\w+)`", row[1])) for row in table(page, heading)]
        rooms = [set(re.findall(r"\w+", layer)) for layer in layers]
        assert told[:-1] == rooms[: len(told) - 1]
        assert told[-1] == set().union(*rooms[len(told) - 1 :])


def test_the_picture_of_a_run_folder_has_every_stage() -> None:
    from redpencil.pipeline.plan import plan_run

    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    recipe = load_recipe(shipped_recipe("recommended"))
    for spec in plan_run(recipe, Path("runs"), 0):
        name = re.sub(
            r"^(ppo|dpo|figa|outputs)-(?!sft).*", r"\1-<arm>", re.sub(r"^reward-.*", "reward-<model>", spec.name)
        )
        assert f"{name}/" in page, name


def test_every_figure_in_the_results_of_the_readme_was_written_by_a_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("<!-- results -->") : text.index("<!-- /results -->")]
    figures = re.findall(r"(?<![\w.])\d*\.\d+(?![\w.])", section)
    written = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("results*.md"))
    known = set(re.findall(r"\d+\.\d+", written))
    missing = [figure for figure in figures if f"{float(figure):.{len(figure.split('.')[1])}f}" not in known]
    assert len(figures) > 20
    assert missing == []
