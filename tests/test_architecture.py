"""The house is as docs/architecture.md shows it: what an addition touches, names, circles, and tests beside sources."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "redpencil"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FILES = sorted(path for path in SRC.rglob("*.py") if path.name != "__init__.py" and "versions" not in path.parts)


def rows(heading: str) -> list[list[str]]:
    """The body rows of the table under a heading."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@cache
def words(path: Path) -> frozenset[str]:
    """The names, attributes and words in strings of a file's code; docstrings and comments do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.keyword | ast.arg):
            found.add(node.arg or "")
        elif isinstance(node, ast.alias):
            found.update(node.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            found.update((node.module or "").split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            found.update(re.findall(r"\w+", node.value))
    return frozenset(found)


@pytest.mark.parametrize("row", rows("How do I add"), ids=lambda row: row[0])
def test_an_addition_touches_the_files_that_the_page_names(row: list[str]) -> None:
    _, example, files = row
    named = {ROOT / path for path in re.findall(r"`(src/[\w/]+\.py)`", files)}
    name = example.strip("`")
    touched = {path for path in FILES if name in words(path)} | {path for path in FILES if path.stem == name}
    # Formulas and uses of a method are named after what they compute; its own file and its row are found by its name.
    assert touched <= named
    assert {path for path in named if name in words(path) or path.stem == name} == touched
    assert len(touched) >= 2 or name == "grpo"


def test_a_row_in_the_table_of_methods_is_enough_for_the_rest() -> None:
    """A method that nobody else has heard of gets a command, a recipe section check, a plan and a label."""
    from redpencil.config.methods import METHODS

    for method in METHODS.values():
        module, _, function = method.run.partition(":")
        path = ROOT / "src" / Path(*module.split(".")).with_suffix(".py")
        assert function in {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    own = {*(SRC / "config").glob("*.py"), *(SRC / "training" / f"{name}.py" for name in METHODS)}
    for name in ("grpo", "dpo"):
        others = [path for path in FILES if path not in own and name in words(path)]
        assert not others, f"{name} is known by name in {others}"


def test_one_name_in_two_rooms_has_a_reason() -> None:
    rooms: defaultdict[str, set[str]] = defaultdict(set)
    for path in FILES:
        rooms[path.stem].add(path.parent.name)
    twice = {name: where for name, where in rooms.items() if len(where) > 1}
    told = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in rows("One name in two rooms")}
    assert twice == told


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules of redpencil that a file imports anywhere: at its top, inside functions, for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("redpencil"):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(found)


def circles(graph: Mapping[str, frozenset[str]]) -> Iterator[list[str]]:
    """Paths that lead back to where they began."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> Iterator[list[str]]:
        if name in path:
            yield [*path[path.index(name) :], name]
        elif name not in done:
            for other in sorted(graph[name] & graph.keys()):
                yield from visit(other, [*path, name])
            done.add(name)

    for name in graph:
        yield from visit(name, [])


def test_no_files_import_each_other() -> None:
    graph = {".".join(path.relative_to(SRC.parent).with_suffix("").parts): imports(path) for path in FILES}
    assert list(circles(graph)) == []
    assert list(circles({"a": frozenset("b"), "b": frozenset("ca"), "c": frozenset()})) == [["a", "b", "a"]]


def test_tests_mirror_the_sources() -> None:
    tests = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    missing = [
        path.relative_to(SRC) for path in FILES if path.relative_to(SRC).with_name(f"test_{path.stem}.py") not in tests
    ]
    assert [str(path) for path in missing if str(path) not in TESTED_ELSEWHERE] == []
    assert TESTED_ELSEWHERE.keys() <= {str(path) for path in missing}


TESTED_ELSEWHERE = {
    "__main__.py": "by processes that torchrun starts: faults/test_processes.py",
    "config/data.py": "by recipes that have the sections: config/test_recipe.py, pipeline/test_inputs.py",
    "formats/preference_pairs.py": "by each format that has pairs",
    "models/reward_server.py": "by both scorers: training/test_scoring.py",
    "providers/client.py": "by both clients: test_anthropic_client.py, test_openai_client.py",
    "report/paper.py": "figures of the paper, in test_tables.py and test_headline.py",
    "web/errors.py": "by all that raises them, test_app.py first",
    "web/migrations/env.py": "test_migrations.py",
    "web/routes/models.py": "by the routes, and test_openapi.py",
}
"""Sources without a test file of their own, and where they are tested."""
