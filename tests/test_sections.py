"""Sections by themselves: what is refused, and in which words."""

from typing import Literal

import pytest
from pydantic import Field, ValidationError

from redpencil.errors import RedpencilError
from redpencil.sections import Section, parse_section


class Toy(Section):
    """A section."""

    width: int = Field(1, gt=0)
    colour: Literal["red", "blue"] = "red"
    name: str = Field()


def mistake(**data: object) -> RedpencilError:
    with pytest.raises(RedpencilError) as caught:
        parse_section({"name": "x", **data}, Toy, file="toy.yaml")
    return caught.value


def test_values_are_read_and_then_fixed() -> None:
    toy = parse_section({"width": "3", "name": "x"}, Toy)
    assert (toy.width, toy.colour) == (3, "red")
    with pytest.raises(ValidationError):
        toy.width = 4  # type: ignore[misc]


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    error = mistake(witdh=3)
    assert (error.problem, error.file, error.field) == ("unknown key", "toy.yaml", "witdh")
    assert error.hint == "did you mean 'width'? known keys: width, colour, name"


def test_a_value_that_does_not_fit_is_shown() -> None:
    error = mistake(width=0)
    assert (error.field, error.problem) == ("width", "Input should be greater than 0 (found 0)")
    assert "found 'green'" in mistake(colour="green").problem


def test_a_key_that_is_needed_and_missing_is_named() -> None:
    with pytest.raises(RedpencilError) as caught:
        parse_section({}, Toy)
    assert (caught.value.file, caught.value.field) == (None, "name")
    assert caught.value.hint == "add the key to the recipe or with --set"


def test_a_number_that_is_none_is_refused() -> None:
    class Real(Section):
        rate: float

    with pytest.raises(RedpencilError, match="finite number"):
        parse_section({"rate": float("nan")}, Real)
