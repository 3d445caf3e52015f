"""The base of all parts of a recipe, and the error that a user gets for a mistake in one."""

import difflib
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from redpencil.errors import RedpencilError

T = TypeVar("T", bound=BaseModel)
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlevel = 3
"""Shortens a user's value for an error message: with anchors, a few lines of YAML can expand to gigabytes."""


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
                raise mistake(cls.__name__, "unknown key", (str(key),), value, hint)
        return data


def mistake(title: str, problem: str, place: tuple[str, ...], value: Any, hint: str) -> ValidationError:
    """An error at a key that a validator of the section above it found."""
    return ValidationError.from_exception_data(title, [{"type": hinted(problem, hint), "loc": place, "input": value}])


def hinted(problem: str, hint: str) -> PydanticCustomError:
    """An error that a field's validator raises, with a hint."""
    # As a value, so that braces in it are not taken for places of a template.
    return PydanticCustomError("mistake", "{problem}", {"problem": problem, "hint": hint})


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
        data: Any = yaml.safe_load(text)
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
