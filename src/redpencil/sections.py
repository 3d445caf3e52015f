"""The base of all parts of a recipe, and the error that a user gets for a mistake in one."""

import difflib
import re
import reprlib
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final, NoReturn, Self, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from redpencil.errors import RedpencilError
from redpencil.text import HALF_PAIR, has_half_pair

T = TypeVar("T", bound=BaseModel)
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlevel = 3
"""Shortens a user's value for an error message: with anchors, a few lines of YAML can expand to gigabytes."""


IMMENSE: Final = 1e30
"""Greater numbers overflow in computations with 32 bits, in the middle of a training."""
MOST_COUNTED: Final = 2**31 - 1
"""Greater whole numbers do not fit into the counters of libraries; seeds may."""


_BARE: Final[Mapping[str, tuple[str, ...]]] = {"true": ("on", "yes", "y"), "false": ("off", "no", "n")}
"""What YAML 1.1 reads as the one or the other where it is not in quotes."""


class Section(BaseModel):
    """A part of a recipe. Unknown keys are refused; values cannot be changed."""

    # Defaults are validated so that 3 and 3.0 of a float key have one form, and stages that use them one fingerprint.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        known = [name for name, field in cls.model_fields.items() if not field.exclude]
        for key, value in data.items() if isinstance(data, Mapping) else ():
            if key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
                hint = f"did you mean {near!r}? known keys: {', '.join(known)}"
                bare = next((name for name in _BARE.get(str(key).lower(), ()) if name in known), None)
                if bare is not None:
                    hint = f'did you mean "{bare}"? a writer of YAML 1.1 takes a bare {bare} for {str(key).lower()}: '
                    hint += "write the key in quotes"
                raise mistake(cls.__name__, "unknown key", (str(key),), value, hint)
            kind = cls.model_fields[key].annotation
            kinds = {kind, *get_args(kind)}
            if isinstance(value, bool) and bool not in kinds and {int, float} & kinds:  # pydantic would take true for 1
                raise mistake(
                    cls.__name__, f"a number is needed, not {str(value).lower()}", (str(key),), value, "give one"
                )
        return data

    @model_validator(mode="after")
    def _refuse_immense_numbers(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if not isinstance(value, int | float):
                continue
            most = MOST_COUNTED if isinstance(value, int) and not name.endswith("seed") else IMMENSE
            if abs(value) > most:
                hint = f"numbers are at most {most:,}" if most == MOST_COUNTED else f"numbers are at most {most:g}"
                raise mistake(type(self).__name__, "more than anything computes with", (name,), value, hint)
        return self


def mistake(title: str, problem: str, place: tuple[str, ...], value: Any, hint: str) -> ValidationError:
    """An error at a key that a validator of the section above it found."""
    return ValidationError.from_exception_data(title, [{"type": hinted(problem, hint), "loc": place, "input": value}])


def hinted(problem: str, hint: str) -> PydanticCustomError:
    """An error that a field's validator raises, with a hint."""
    # As a value, so that braces in it are not taken for places of a template.
    return PydanticCustomError("mistake", "{problem}", {"problem": problem, "hint": hint})


def without_secrets(section: type[Section], data: Any, hint: str) -> Any:
    """Refuse keys that a section does not have and that sound like secrets, without showing their values."""
    for key in data if isinstance(data, Mapping) else ():
        if key not in section.model_fields and re.search(r"key|secret|password|token|auth", str(key), re.IGNORECASE):
            raise mistake(section.__name__, "a recipe holds no secrets", (str(key),), "...", hint)
    return data


def parse_section(data: Mapping[str, Any], kind: type[T], *, file: str | Path | None = None) -> T:
    """Validate `data` as one section of a recipe.

    Raises:
        RedpencilError: naming the key, and the nearest known one if the key is unknown.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        problem = first["msg"].removeprefix("Value error, ")
        hint = first.get("ctx", {}).get("hint", "correct the value in the recipe or with --set")
        if first["type"] == "missing":
            hint = "add the key to the recipe or with --set"
        elif first["type"] != "mistake" and first["loc"]:
            problem += f" (found {_SHORT.repr(first['input'])})"
        field = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise RedpencilError(problem, file=file, field=field or None, hint=hint) from None


MOST_NODES: Final = 100_000
"""Values of a YAML file, with those of an anchor counted at each place that names it."""


_BOOLEAN: Final = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """Refuses what YAML would drop without a word, and a few lines that would grow to gigabytes."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        alias: yaml.Event | None = None
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()  # type: ignore[no-untyped-call]
        node = cast(yaml.Node, super().compose_node(parent, index))
        if alias is not None and id(node) not in self.sizes:  # it is not complete yet
            self._refuse(alias, "found an anchor inside of itself")
        if alias is None:
            self.sizes[id(node)] = size = 1 + sum(self.sizes[id(child)] for child in _children(node))
            if max(size, len(self.sizes)) > MOST_NODES:
                self._refuse(node, f"found more than {MOST_NODES:,} values, with those of anchors")
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if has_half_pair(node.value):
            # Two escapes of halves that make a character are one in JSON, and here.
            node.value = node.value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            if has_half_pair(node.value):
                self._refuse(node, f"found {HALF_PAIR}")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    self._refuse(key, f"found the key {key.value!r} twice")
                keys.add(key.value)
                if key.tag == _BOOLEAN:  # `on` and `yes` are names here, as in YAML 1.2
                    key.tag = "tag:yaml.org,2002:str"
        return node

    def _refuse(self, at: Any, problem: str) -> NoReturn:
        raise yaml.composer.ComposerError(None, None, problem, at.start_mark)


def _children(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return chain.from_iterable(node.value)
    return node.value if isinstance(node, yaml.SequenceNode) else ()


def load_yaml(text: str) -> Any:
    """Read YAML of plain values, `MOST_NODES` at most.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: if it is not that.
    """
    return yaml.load(text, Loader=_Loader)


def read_text(path: Path, what: str) -> str:
    """Read a user's text file, with or without a byte order mark; `what` it is, for errors, such as "the prices".

    Raises:
        RedpencilError: if it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RedpencilError(f"cannot read {what} ({error.strerror})", file=path, hint="check the path") from None
    except UnicodeDecodeError as error:
        problem = f"not valid UTF-8 at byte {error.start}"
        raise RedpencilError(problem, file=path, hint="convert the file to UTF-8") from None


def parse_yaml(text: str, kind: type[T], *, what: str, file: Path, hint: str) -> T:
    """Parse and validate the YAML of a user's file that is no recipe; `what` it is, such as "a price table".

    Raises:
        RedpencilError: naming the key, with `hint`, or with the nearest known key if it is unknown.
    """
    try:
        data = load_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise RedpencilError(f"not valid YAML: {problem}", file=file, hint="correct the YAML") from None
    if not isinstance(data, dict):
        raise RedpencilError(f"{what} is a mapping", file=file, hint=hint)
    try:
        return parse_section(data, kind, file=file)
    except RedpencilError as error:
        hint = error.hint if error.hint and error.hint.startswith("did you mean") else hint
        raise RedpencilError(error.problem, file=file, field=error.field, hint=hint) from None
