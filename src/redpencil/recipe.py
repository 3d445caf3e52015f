"""Reading recipes: typed, validated YAML.

Precedence: default < recipe file < `--set section.key=value`. Unknown keys are errors that name the nearest key.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from redpencil.config.arms import check_entry_name
from redpencil.config.asked import EditorConfig, JudgeConfig
from redpencil.config.compute import MOVED
from redpencil.config.data import FILE_KEYS
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError, naming
from redpencil.rounds import unrolled
from redpencil.sections import Section, load_yaml, parse_section


def shipped_recipe(name: str) -> Path:
    """Return the path of a recipe that ships with redpencil, such as `quickstart`."""
    package = Path(__file__).parent
    for folder in (package / "recipes", package.parents[1] / "recipes"):
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise RedpencilError(f"no recipe called {name!r} ships with redpencil", hint="give the path of a YAML file")


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `a.b=c` overrides, in order.

    Relative paths under `files` start at the recipe's folder, those of overrides at the working directory.

    Raises:
        RedpencilError: naming file, key and the nearest known key, if anything does not fit.
    """
    path = Path(path)
    data = _read(path, "recipes/recommended.yaml")
    if "groups" in data:
        raise RedpencilError("this is an ablation recipe", file=path, hint="run it with `redpencil ablate`")
    with naming(path):
        _resolve_files(data, path.parent)
    for override in overrides:
        _override(data, override)
    _resolve_files(data, Path())
    return _parse(data, path)


def _parse(data: Mapping[str, Any], file: Path | None = None) -> Recipe:
    """Validate a recipe, and what follows from its rounds."""
    recipe = parse_section(data, Recipe, file=file)
    with naming(file) if file is not None else nullcontext():
        unrolled(recipe)
    return recipe


class AblationConfig(Section):
    """A base recipe and, in groups that each vary one thing, variants of it; each is run with every seed.

    The first variant of a group, often the base itself, is what the others of the group are compared with.
    """

    name: str = Field("ablations", description="Name of the ablations and of their folder.")
    base: Path | dict[str, Any] = Field(
        description="The recipe that is varied: its keys, or its file, relative to the folder of this one."
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="Keys, as in `--set`, and values that differ from the base in all runs."
    )
    seeds: tuple[int, ...] | None = Field(
        None, min_length=1, description="Seeds of every variant; default: the base's."
    )
    arm: str = Field(
        "token",
        description="The arm whose win rate is compared, with its reward model; of several rounds the last one's.",
    )
    groups: dict[str, dict[str, dict[str, Any]]] = Field(
        min_length=1,
        description="By group and variant: keys as in `--set` that differ from the base, and values. A group's first "
        "variant is what its others are compared with.",
    )

    @model_validator(mode="after")
    def _names_of_folders(self) -> "AblationConfig":
        if self.name.strip() in ("", ".", "..") or set(self.name) & set("/\\\0"):
            raise ValueError(f"the name {self.name!r} cannot name a folder")
        for group, variants in self.groups.items():
            check_entry_name("groups", group)
            for variant in variants:
                check_entry_name(f"groups.{group}", variant)
            if len(variants) < 2:
                raise ValueError(f"groups.{group} has nothing to compare: give two variants or more")
        return self


@dataclass(frozen=True, slots=True)
class Ablations:
    """An ablation recipe with the recipes that it runs: `base`, and one for each variant by group and name."""

    config: AblationConfig
    base: Recipe
    groups: Mapping[str, Mapping[str, Recipe]]


def is_ablation(path: str | Path) -> bool:
    """Tell an ablation recipe, which has groups of variants, from a recipe.

    Raises:
        RedpencilError: if it cannot be read as YAML.
    """
    return "groups" in _read(Path(path), "recipes/recommended.yaml")


def load_ablations(path: str | Path, seeds: Sequence[int] | None = None) -> Ablations:
    """Read an ablation recipe and the recipes that follow from it; `seeds` replace its own.

    Relative paths in it start at its folder, those in a base that is a file of its own at that file's.

    Raises:
        RedpencilError: naming file, group, variant and key, if anything does not fit.
    """
    path = Path(path)
    config = parse_section(_read(path, "recipes/ablations.yaml"), AblationConfig, file=path)
    if isinstance(config.base, Path):
        file = path.parent / config.base
        data = _read(file, "recipes/recommended.yaml")
        with naming(file):
            _resolve_files(data, file.parent)
    else:
        data = deepcopy(config.base)
    _put(data, config.overrides)
    if seeds or config.seeds:
        data["seeds"] = tuple(seeds or config.seeds or ())
    data["name"] = config.name
    with naming(path):
        _resolve_files(data, path.parent)
    base = _parse(data, path)
    groups: dict[str, dict[str, Recipe]] = {}
    for group, variants in config.groups.items():
        groups[group] = {name: _variant(path, data, group, name, keys) for name, keys in variants.items()}
    for where, recipe in (("the base", base), *(row for rows in groups.values() for row in rows.items())):
        if config.arm not in recipe.arms:
            raise RedpencilError(
                f"{where} has no arm {config.arm!r}", file=path, field="arm", hint=f"one of: {', '.join(base.arms)}"
            )
    return Ablations(config, base, groups)


def _variant(path: Path, base: Mapping[str, Any], group: str, name: str, keys: Mapping[str, Any]) -> Recipe:
    data: dict[str, Any] = {**deepcopy(dict(base)), "name": f"{base['name']}, {group}: {name}"}
    try:
        _put(data, keys)
        _resolve_files(data, path.parent)
        recipe = _parse(data, path)
    except RedpencilError as error:
        field = ".".join(part for part in ("groups", group, name, error.field) if part)
        raise RedpencilError(error.problem, file=path, field=field, hint=error.hint) from None
    if recipe.seeds != tuple(base.get("seeds", (0,))):
        raise RedpencilError(
            "a variant cannot have its own seeds: it is compared seed by seed",
            file=path,
            field=f"groups.{group}.{name}.seeds",
            hint="give seeds for all variants, at the top level",
        )
    return recipe


def _put(data: dict[str, Any], keys: Mapping[str, Any]) -> None:
    for key, value in keys.items():
        _set_key(data, key, deepcopy(value))


def _read(path: Path, example: str) -> dict[str, Any]:
    try:
        data = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RedpencilError(
            f"cannot read the recipe ({error.strerror})", file=path, hint=f"give a YAML file, such as {example}"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a date with a 13th month
        raise RedpencilError(f"not valid YAML: {error}", file=path, hint="correct the YAML") from None
    if not isinstance(data, dict):
        raise RedpencilError("a recipe is a mapping of keys to values", file=path, hint=f"see {example}")
    return data


def with_flags(recipe: Recipe, flags: Mapping[str, Any]) -> Recipe:
    """Set what command-line flags say; a flag of None leaves the recipe's value.

    Raises:
        RedpencilError: if a value does not fit.
    """
    changes = {name: value for name, value in flags.items() if value is not None}
    # Only the changes are validated: the rest is valid, and keeps which of its keys were set.
    validated = parse_section({"world": {}, **changes}, Recipe)
    if "device" in changes:
        del changes["device"]
        changes["compute"] = recipe.compute.model_copy(update={"device": validated.compute.device})
    return recipe.model_copy(update=changes)


def default_recipe(overrides: Sequence[str] = ()) -> Recipe:
    """Make a recipe of all defaults, on the small world, and apply `a.b=c` overrides in order.

    Raises:
        RedpencilError: as `load_recipe`.
    """
    data: dict[str, Any] = {"world": {}}
    for override in overrides:
        _override(data, override)
    return _parse(data)


def _resolve_files(data: Mapping[str, Any], folder: Path) -> None:
    """Make the relative paths under `files`, `judge` and `editor`, and of ready-made models, absolute, in place."""
    entries = data.get("reward_models")
    models = entries.items() if isinstance(entries, dict) else ()
    sections = [(f"reward_models.{name}", entry, ("folder",)) for name, entry in models]
    for name, kind in (("judge", JudgeConfig), ("editor", EditorConfig)):
        asked = data.get(name)
        if isinstance(asked, dict):
            # The judge has built-in templates, whose names are no paths.
            own = ("template",) if re.search(r"[./]", str(asked.get("template", ""))) else ()
            folder_of_model = ("model",) if asked.get("provider") == "local" else ()
            project = ("project",) if "://" not in str(asked.get("project", "://")) else ()
            sections.append((name, asked, (*kind.FILES, *own, *folder_of_model, *project)))
    for name, section, keys in [("files", data.get("files"), FILE_KEYS), *sections]:
        if not isinstance(section, dict):
            continue
        for key in keys:
            if isinstance(section.get(key), str):
                section[key] = _absolute(section[key], folder, f"{name}.{key}")


def _absolute(path: str, folder: Path, key: str) -> str:
    try:
        return str(folder.absolute() / Path(path).expanduser())
    except RuntimeError:
        problem = f"no user has the home folder of {path!r}"
        raise RedpencilError(problem, field=key, hint="write the whole path") from None


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise RedpencilError(f"--set takes key=value, not {override!r}", hint="for example --set ppo.kl_coef=0.1")
    try:
        content = load_yaml(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RedpencilError(f"--set {key}: the value {value!r} is not valid YAML", hint="quote the value") from None
    _set_key(data, key, content)


def _set_key(data: dict[str, Any], key: str, value: Any) -> None:
    """Set `a.b.c`, in place; missing sections are added."""
    *parents, last = _replace_old_names(data, key.strip().split("."), value)
    if not all([*parents, last]):
        raise RedpencilError(f"{key!r} is not a key", hint="write it as section.key, such as ppo.kl_coef")
    if parents and parents[0] in ("arms", "reward_models") and data.get(parents[0]) is None:
        # The default entries stay when one of them is changed.
        entries = Recipe.model_fields[parents[0]].get_default(call_default_factory=True)
        data[parents[0]] = {name: entry.model_dump(exclude_unset=True) for name, entry in entries.items()}
    place = data
    for parent in parents:
        if not isinstance(place.get(parent), dict):
            place[parent] = {}
        place = place[parent]
    place[last] = value


def _replace_old_names(data: dict[str, Any], path: list[str], value: Any) -> list[str]:
    """Return the path with present names in place of those before version 0.2; `data` gives up its old name for it.

    So a value of `--set` wins whether the recipe, or `--set`, has the old name or the present one.
    """
    if path[0] in MOVED:
        path = ["compute", *path]
    if path[0] == "compute":
        for key in path[1:2] or (value if isinstance(value, Mapping) else ()):
            if key in MOVED:
                data.pop(key, None)
    entries = data.get("arms")
    arm = entries.get(path[1]) if path[0] == "arms" and len(path) > 2 and isinstance(entries, dict) else None
    method = str(arm.get("method", "ppo")) if isinstance(arm, dict) else "ppo"
    if path[0] == "arms" and len(path) > 2 and path[2] in (method, "options"):
        path = [*path[:2], "options", *path[3:]]
        if isinstance(arm, dict) and isinstance(arm.get(method), dict):
            arm["options"] = {**arm.pop(method), **(arm.get("options") or {})}
    return path
