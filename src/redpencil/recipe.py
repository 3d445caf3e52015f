"""Reading recipes: typed, validated YAML.

Precedence: default < recipe file < `--set section.key=value`. Unknown keys are errors that name the nearest key.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from redpencil.config import FILE_KEYS, Recipe
from redpencil.errors import RedpencilError
from redpencil.sections import parse_section


def shipped_recipe(name: str) -> Path:
    """Path of a recipe that ships with redpencil, such as `quickstart`."""
    package = Path(__file__).parent
    for folder in (package / "recipes", package.parents[1] / "recipes"):
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise RedpencilError(f"no recipe called {name!r} ships with redpencil", way_out="give the path of a YAML file")


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `a.b=c` overrides, in order.

    Relative paths under `files` start at the recipe's folder, those of overrides at the working directory.

    Raises:
        RedpencilError: naming file, key and the nearest known key, if anything does not fit.
    """
    path = Path(path)
    try:
        data = _load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RedpencilError(
            f"cannot read the recipe ({error.strerror})",
            file=path,
            way_out="give a YAML file, such as recipes/quickstart.yaml",
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a date with a 13th month
        raise RedpencilError(f"not valid YAML: {error}", file=path, way_out="correct the YAML") from None
    if not isinstance(data, dict):
        raise RedpencilError(
            "a recipe is a mapping of keys to values", file=path, way_out="see recipes/quickstart.yaml"
        )
    _resolve_files(data, path.parent)
    for override in overrides:
        _override(data, override)
    _resolve_files(data, Path())
    return parse_section(data, Recipe, file=path)


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would drop the first without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        found: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in found:
                    raise yaml.composer.ComposerError(
                        "while reading a mapping", node.start_mark, f"found the key {key.value!r} twice", key.start_mark
                    )
                found.add(key.value)
        return node


def with_flags(recipe: Recipe, flags: Mapping[str, Any]) -> Recipe:
    """The recipe with what command-line flags set; a flag of None leaves the recipe's value.

    Raises:
        RedpencilError: if a value does not fit.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    # Only what is given is validated anew: the rest is, and keeps which of its keys were set.
    parse_section({"world": {}, **given}, Recipe)
    return recipe.model_copy(update=given)


def _load_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def default_recipe(overrides: Sequence[str] = ()) -> Recipe:
    """The defaults of every key, on the small world, with `a.b=c` overrides applied in order.

    Raises:
        RedpencilError: as `load_recipe`.
    """
    data: dict[str, Any] = {"world": {}}
    for override in overrides:
        _override(data, override)
    return parse_section(data, Recipe)


def _resolve_files(data: Mapping[str, Any], folder: Path) -> None:
    """Make the relative paths under `files` absolute, in place."""
    files = data.get("files")
    if not isinstance(files, dict):
        return
    for key in FILE_KEYS:
        if isinstance(files.get(key), str):
            files[key] = str(folder.absolute() / Path(files[key]).expanduser())


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not all([*parents, last]):
        raise RedpencilError(f"--set wants key=value, not {override!r}", way_out="for example --set ppo.kl_coef=0.1")
    if parents and parents[0] in ("arms", "reward_models") and data.get(parents[0]) is None:
        # The default entries stay when one of them is changed.
        entries = Recipe.model_fields[parents[0]].get_default(call_default_factory=True)
        data[parents[0]] = {name: entry.model_dump(exclude_unset=True) for name, entry in entries.items()}
    place = data
    for parent in parents:
        if not isinstance(place.get(parent), dict):
            place[parent] = {}
        place = place[parent]
    try:
        place[last] = _load_yaml(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RedpencilError(f"--set {key}: the value {value!r} is not valid YAML", way_out="quote the value") from None
