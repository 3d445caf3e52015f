"""The base of every part of a recipe, and what a user is told of a mistake in one."""

import difflib
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from redpencil.errors import RedpencilError

T = TypeVar("T", bound=BaseModel)
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlevel = 3
"""What a user wrote, cut short: a few lines of YAML can stand for gigabytes."""


class Section(BaseModel):
    """A part of a recipe: unknown keys are refused, values are frozen."""

    # Defaults are validated so that 3 and 3.0 of a float key have one form, and stages that use them one fingerprint.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        known = list(cls.model_fields)
        for key, value in data.items() if isinstance(data, Mapping) else ():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
                hint = f"did you mean {near!r}? known keys: {', '.join(known)}"
                problem = PydanticCustomError("unknown_key", "unknown key", {"hint": hint})
                raise ValidationError.from_exception_data(
                    cls.__name__, [{"type": problem, "loc": (str(key),), "input": value}]
                )
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
        elif first["type"] != "unknown_key" and first["loc"]:
            problem += f" (found {_SHORT.repr(first['input'])})"
        field = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise RedpencilError(problem, file=file, field=field or None, hint=hint) from None
