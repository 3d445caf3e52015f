"""`keys`: every recipe key with its type, default and meaning. Their one home is `config`."""

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.padding import Padding
from rich.text import Text

from redpencil.cli.keys_page import keys_page
from redpencil.cli.options import JsonOption, examples
from redpencil.cli.output import check_out_file, console, print_json
from redpencil.config import ArmConfig, Recipe, RewardModelConfig
from redpencil.errors import RedpencilError

app = typer.Typer(rich_markup_mode="rich")
ENTRIES: dict[str, tuple[str, type[BaseModel]]] = {
    "arms": ("arms.<name>", ArmConfig),
    "reward_models": ("reward_models.<name>", RewardModelConfig),
}


@app.command(rich_help_panel="Help", epilog=examples("redpencil keys", "redpencil keys ppo", "redpencil keys --json"))
def keys(
    section: Annotated[
        str | None, typer.Argument(metavar="SECTION", help="Only this section, such as ppo. Default: all.")
    ] = None,
    json: JsonOption = False,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all keys as a Markdown page instead.")
    ] = None,
) -> None:
    """List every recipe key with its type, default and meaning."""
    sections = {"": list(_top())} | {name: list(_of_section(name)) for name in _section_names()}
    if markdown is not None:
        check_out_file(markdown)
        abouts = {name: (_section_model(name).__doc__ or "").strip() for name in _section_names()}
        markdown.write_text(keys_page(sections, abouts), encoding="utf-8")
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


def _section_names() -> list[str]:
    return [name for name, field in Recipe.model_fields.items() if name in ENTRIES or _model_of(field) is not None]


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    options = [field.annotation, *get_args(field.annotation)]
    return next((kind for kind in options if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _top() -> Iterator[dict[str, str]]:
    sections = _section_names()
    return (_row(name, field) for name, field in Recipe.model_fields.items() if name not in sections)


def _of_section(name: str) -> Iterator[dict[str, str]]:
    prefix = ENTRIES[name][0] if name in ENTRIES else name
    return (
        _row(f"{prefix}.{key}", field) for key, field in _section_model(name).model_fields.items() if not field.exclude
    )


def _section_model(name: str) -> type[BaseModel]:
    model = ENTRIES[name][1] if name in ENTRIES else _model_of(Recipe.model_fields[name])
    assert model is not None
    return model


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
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(_type_name(part) for part in arguments)
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    if annotation is type(None):
        return "null"
    return {"Path": "path", "str": "text", "dict": "mapping"}.get(
        getattr(origin or annotation, "__name__", ""), getattr(origin or annotation, "__name__", str(annotation))
    )
