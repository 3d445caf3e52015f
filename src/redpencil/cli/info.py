"""`keys` and `doctor`: every recipe key, and a check of this machine."""

import importlib
import os
import platform
import re
import shlex
import shutil
import sqlite3
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import typer
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from redpencil.cli.options import JsonOption, examples, option
from redpencil.cli.output import check_out_file, console, print_json
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError
from redpencil.files import of_database, others_may, whole_file
from redpencil.providers.cache import APPLICATION_ID
from redpencil.recipe import is_ablation, load_ablations, load_recipe, shipped_recipe
from redpencil.rounds import unrolled

app = typer.Typer()
ENTRIES: Final = ("arms", "reward_models")
"""Sections whose entries have names that the user chooses."""
INTRODUCTION: Final = """\
# Recipe keys

`redpencil keys --markdown docs/recipes.md` writes this page. Do not edit it by hand.

A recipe is a YAML file. A key's value is its default, unless the recipe says otherwise, unless `--set` on the command
line says otherwise: `--set ppo.kl_coef=0.1`, as often as needed. A key that does not exist is an error that names the
nearest one. Give either `world` or `files`. `redpencil doctor RECIPE.yaml` checks a recipe without running it.
"""
ENTRIES_NOTE: Final = """\
These are named entries, with names of your own. An entry holds only what differs from the section that it refines.
Where the recipe has no `{name}`, it is:
"""
GIB: Final = 2**30
ENOUGH_DISK, ENOUGH_MEMORY = 1.0, 2.0
"""GiB that the quickstart needs."""
EXTRAS: Final = ("llm", "data", "web", "sentencepiece")
"""Extras that a user may want; the others are for work on redpencil itself."""


@app.command(epilog=examples("redpencil keys", "redpencil keys ppo", "redpencil keys --json"))
def keys(
    section: Annotated[
        str | None, typer.Argument(metavar="SECTION", help="Only this section, such as ppo. Default: all.")
    ] = None,
    json: JsonOption = False,
    markdown: Annotated[Path | None, option("FILE", "Write all keys as a Markdown page instead.")] = None,
) -> None:
    """List every recipe key with its type, default and meaning."""
    models = _sections()
    sections = {"": [_row(name, field) for name, field in Recipe.model_fields.items() if name not in models]}
    for name, (prefix, model) in models.items():
        fields = model.model_fields.items()
        sections[name] = [_row(f"{prefix}.{key}", field) for key, field in fields if not field.exclude]
    if markdown is not None:
        check_out_file(markdown)
        abouts = {name: (model.__doc__ or "").strip() for name, (_, model) in models.items()}
        with whole_file(markdown) as out:
            out.write(keys_page(sections, abouts).encode())
        return
    if section is not None and section not in sections:
        raise RedpencilError(
            f"no section called {section!r}", hint=f"one of: {', '.join(name for name in sections if name)}"
        )
    chosen = sections if section is None else {section: sections[section]}
    if json:
        print_json([row for rows in chosen.values() for row in rows])
        return
    for row in (row for rows in chosen.values() for row in rows):
        line = Text.assemble((row["key"], "bold"), "  ", (row["type"], "cyan"), f"  {row['default']}")
        console.print(line)
        console.print(Padding(row["description"], (0, 0, 0, 4)), soft_wrap=False)


def _sections() -> dict[str, tuple[str, type[BaseModel]]]:
    """Find the recipe's sections: the prefix of their keys, and the model of the section or of its entries."""
    sections = {}
    for name, field in Recipe.model_fields.items():
        model = _section_in(field)
        if model is not None:
            sections[name] = (f"{name}.<name>" if name in ENTRIES else name, model)
            for key, inner in model.model_fields.items():
                nested = None if inner.exclude else _section_in(inner)
                if nested is not None:
                    entry = ".<level>" if get_origin(inner.annotation) is dict else ""
                    sections[f"{name}.{key}"] = (f"{name}.{key}{entry}", nested)
    return sections


def _section_in(field: FieldInfo) -> type[BaseModel] | None:
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _row(key: str, field: FieldInfo) -> dict[str, str]:
    default = "required" if field.is_required() else _plain(field.get_default(call_default_factory=True))
    return {
        "key": key,
        "type": _type_name(field.annotation),
        "default": default,
        "description": field.description or "",
    }


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(_type_name(part) for part in arguments)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    if annotation is type(None):
        return "null"
    name = getattr(origin or annotation, "__name__", str(annotation))
    return {"Path": "path", "str": "text", "dict": "mapping"}.get(name, name)


def keys_page(sections: Mapping[str, Sequence[Mapping[str, str]]], abouts: Mapping[str, str]) -> str:
    """Render all recipe keys as a Markdown page.

    Args:
        sections: rows with key, type, default and description, by section; the top level is called "".
        abouts: a sentence about each section, by its name.
    """
    parts = [INTRODUCTION]
    for name, rows in sections.items():
        parts.append(f"## {name or 'Top level'}\n")
        if name in abouts:
            parts.append(f"{abouts[name]}\n")
        parts.append(_markdown_table(rows))
        if name in ENTRIES:
            parts += [ENTRIES_NOTE.format(name=name), f"```yaml\n{_default_entries(name)}```\n"]
    return "\n".join(parts)


def _markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for row in rows:
        default = "required" if row["default"] == "required" else f"`{row['default']}`"
        cells = (f"`{row['key']}`", row["type"], default, row["description"])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default_entries(name: str) -> str:
    entries = Recipe.model_fields[name].get_default(call_default_factory=True)
    plain = {entry: values.model_dump(exclude_unset=True) for entry, values in entries.items()}
    return yaml.safe_dump({name: plain}, sort_keys=False)


@dataclass(frozen=True, slots=True)
class Check:
    """One result. `ok` is False if redpencil cannot work like this; an `optional` package may be missing."""

    name: str
    value: str
    ok: bool = True
    hint: str = ""
    optional: bool = False


@app.command(
    epilog=examples(
        "redpencil doctor", "redpencil doctor my-recipe.yaml", "redpencil doctor llama", "redpencil doctor --json"
    ),
)
def doctor(
    recipes: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RECIPE.yaml...",
            help="Recipes to check, besides the shipped ones, with the files that they name; or model folders; or "
            "databases.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check versions, device, threads, memory, disk, recipes and models. Exit code 1 if something needed is missing.

    Of a model it says how its tokenizer ends responses and what its prompt template does; of the databases of
    `annotate` and the response caches in this folder, who may read them.
    """
    folders = [path for path in recipes or () if path.is_dir()]
    databases = [path for path in recipes or () if _is_database(path)]
    rest = [path for path in recipes or () if path not in folders and path not in databases]
    checks = [*_versions(), *_torch(), *_machine(), *_recipes(rest)]
    checks += [check for folder in folders for check in _model(folder, None, {})]
    checks += _rights([*(path for path in sorted(Path.cwd().iterdir()) if _is_database(path)), *databases])
    healthy = all(check.ok for check in checks)
    if json:
        print_json({"ok": healthy, "checks": [asdict(check) for check in checks]})
    else:
        table = Table.grid(padding=(0, 2))
        for check in checks:
            mark = Text("-", "dim") if check.optional else Text("ok", "green") if check.ok else Text("BAD", "bold red")
            table.add_row(mark, check.name, check.value + (f"\n{check.hint}" if check.hint else ""))
        console.print(table, soft_wrap=False)
    if not healthy:
        raise typer.Exit(1)


def _versions() -> Iterator[Check]:
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Check("python", platform.python_version(), supported, "" if supported else "use Python 3.11 to 3.13")
    yield Check("redpencil", metadata.version("redpencil"))
    for requirement in metadata.requires("redpencil") or []:
        name = re.split(r"[\s;<>=!~\[(]", requirement, maxsplit=1)[0]
        extra = re.search(r"""extra == ["'](\w+)["']""", requirement)
        if extra is not None and extra[1] not in EXTRAS:
            continue
        try:
            yield Check(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            if extra is None:
                yield Check(name, "missing", ok=False, hint=f"pip install '{requirement}'")
            else:
                yield Check(name, f"not installed: pip install 'redpencil[{extra[1]}]'", optional=True)


def _torch() -> Iterator[Check]:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        yield Check("torch loads", f"no: {error}", ok=False, hint="install torch anew")
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
    yield Check("GPUs that torch sees", names or "none")
    yield Check("device `auto`", "cuda in bfloat16" if count else "cpu in float32")
    set_by_user = os.environ.get("OMP_NUM_THREADS")
    requested = f", OMP_NUM_THREADS={set_by_user}" if set_by_user else ""
    yield Check("torch threads", f"{torch.get_num_threads()} by default{requested}; stages use the recipe's `threads`")


def _machine() -> Iterator[Check]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("CPU cores", f"{usable} usable of {os.cpu_count()}")
    memory = _memory()
    if memory is not None:
        enough = memory >= ENOUGH_MEMORY
        hint = "" if enough else f"the quickstart needs {ENOUGH_MEMORY:g} GiB; try --jobs 1"
        yield Check("memory", f"{memory:.1f} GiB", enough, hint)
    free = shutil.disk_usage(Path.cwd()).free / GIB
    enough = free >= ENOUGH_DISK
    yield Check(
        "disk", f"{free:.1f} GiB free here", enough, "" if enough else f"free {ENOUGH_DISK:g} GiB, or use --out"
    )


def _memory() -> float | None:
    """Read the memory of the machine in GiB; None if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    except (AttributeError, ValueError, OSError):
        return None


_START_OF_LOG: Final = 1 << 20
"""Bytes of an SQLite log in which the schema of a new database stands."""


def _is_database(path: Path) -> bool:
    """Return whether a file holds a project of `annotate` or answers of a provider."""
    try:
        if not path.is_file():  # a pipe would wait for somebody to write into it
            return False
        with path.open("rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                return False
        # Of a command that runs or was killed all may be in the log yet.
        logged = of_database(path.resolve())[1]
        if logged.is_file():
            with logged.open("rb") as file:
                start = file.read(_START_OF_LOG)
            if b"redpencil_version" in start or APPLICATION_ID.to_bytes(4, "big") in start:
                return True
        # An immutable file is read as it is: SQLite writes nothing beside it.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            table = "SELECT 1 FROM sqlite_schema WHERE name = 'redpencil_version'"
            return application == APPLICATION_ID or connection.execute(table).fetchone() is not None
    except (OSError, sqlite3.Error):
        return False


def _rights(databases: Sequence[Path]) -> Iterator[Check]:
    for path in dict.fromkeys(map(Path.absolute, databases)):
        exposed = [file.name for file in of_database(path.resolve()) if file.exists() and others_may(file)]
        value = f"others may read {', '.join(exposed)}" if exposed else "only you may read it"
        hint = (
            f"chmod 600 {shlex.quote(str(path))}*; the command that uses it does the same when it starts"
            if exposed
            else ""
        )
        yield Check(f"rights of {path.name}", value, not exposed, hint)


def _recipes(others: Sequence[Path]) -> Iterator[Check]:
    try:
        shipped = sorted(shipped_recipe("recommended").parent.glob("*.yaml"))
    except RedpencilError as error:
        yield Check("recipe recommended", "missing", ok=False, hint=str(error))
        shipped = []
    for path in (*shipped, *others):
        name = f"recipe {path.stem if path in shipped else path}"
        try:
            yield Check(name, _contents(path, reads_files=path in others))
        except RedpencilError as error:
            yield Check(name, "does not validate", ok=False, hint=str(error))
        if path in shipped:  # its files, if it names some, are the user's to make
            continue
        yield from _compute(path)
        with suppress(RedpencilError):  # told already
            if not is_ablation(path) and (recipe := load_recipe(path)).files is not None:
                yield from _model(recipe.files.model, recipe.prompt_template, recipe.chat_options)


def _compute(path: Path) -> Iterator[Check]:
    """Say what the `compute` section of a recipe starts here."""
    from redpencil.pipeline.execute import starts

    with suppress(RedpencilError):  # told already
        compute = load_ablations(path).base.compute if is_ablation(path) else load_recipe(path).compute
        try:
            yield Check(f"compute of {path}", starts(compute))
        except RedpencilError as error:
            yield Check(f"compute of {path}", "it does not fit this machine", ok=False, hint=str(error))


def _model(folder: Path, template: str | None, options: Mapping[str, Any]) -> Iterator[Check]:
    """Check a model's tokenizer with a prompt template; None is the one that it was trained with, or its own."""
    from redpencil.models.checkpoints import check_model_folder
    from redpencil.models.codec import load_codec
    from redpencil.models.sidecar import chat_options_of, template_of

    try:
        check_model_folder(folder, fresh=True)
        codec = load_codec(folder, template or template_of(folder, "") or None, **(options or chat_options_of(folder)))
        ends = codec.tokenizer.convert_ids_to_tokens(codec.eos_id)
        yield Check(f"model {folder}", f"responses end with {ends!r} ({codec.eos_id})", hint="\n".join(codec.remarks))
    except RedpencilError as error:
        yield Check(f"model {folder}", "it cannot be used", ok=False, hint=str(error))


def _contents(path: Path, *, reads_files: bool) -> str:
    """Summarise a recipe, or an ablation recipe; with `reads_files` read the files that it names, as a run would.

    Raises:
        RedpencilError: if it does not validate, or one of its files is missing or does not fit.
    """
    if is_ablation(path):
        ablations = load_ablations(path)
        seeds, rest = ablations.base.seeds, f"{sum(map(len, ablations.groups.values()))} variants"
        recipes = [ablations.base, *(recipe for variants in ablations.groups.values() for recipe in variants.values())]
    else:
        recipes = [load_recipe(path)]
        plain = unrolled(recipes[0])
        arms, models = plain.arms, plain.reward_models
        rest = f"{len(arms)} policies to compare" if arms else f"{len(models)} reward models alone"
        seeds = recipes[0].seeds
    if reads_files and any(
        recipe.files or any(model.folder for model in recipe.reward_models.values()) for recipe in recipes
    ):
        from redpencil.pipeline.inputs import check_inputs  # slow to import

        check_inputs(recipes)
    return f"{len(seeds)} seed{'s' * (len(seeds) > 1)}, {rest}"
