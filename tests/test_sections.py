"""Sections by themselves: what is refused, and in which words."""

import time
from itertools import pairwise
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from redpencil.errors import RedpencilError
from redpencil.sections import MOST_NODES, Section, load_yaml, parse_section


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


def test_a_key_that_another_library_has_read_as_a_boolean_is_told_of() -> None:
    class Arm(Section):
        on: str | None = None
        off: int = Field(1)
        start: str | None = None

    dumped = yaml.safe_dump(yaml.safe_load("{on: figa, off: 2}"))
    assert dumped == "false: 2\ntrue: figa\n"
    for data in (load_yaml(dumped), yaml.safe_load(dumped), {"true": "figa"}):
        with pytest.raises(RedpencilError, match="unknown key") as caught:
            parse_section(data, Arm)
        meant, read = ("on", "true") if str(caught.value.field).lower() == "true" else ("off", "false")
        assert caught.value.hint == (
            f'did you mean "{meant}"? a writer of YAML 1.1 takes a bare {meant} for {read}: write the key in quotes'
        )
    with pytest.raises(RedpencilError) as caught:
        parse_section({"true": 1, "name": "x"}, Toy)
    assert caught.value.hint is not None
    assert "YAML" not in caught.value.hint, "it has no such key"


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


def test_a_number_too_great_for_32_bits_is_refused() -> None:
    class Sizes(Section):
        width: int = 1
        rate: float = 1.0
        seed: int = 0

    assert parse_section({"width": 2**31 - 1, "rate": 1e30, "seed": 10**30}, Sizes).width == 2_147_483_647
    for key, value, most in (("width", 2**31, "2,147,483,647"), ("rate", 1e31, "1e+30"), ("seed", 10**31, "1e+30")):
        with pytest.raises(RedpencilError, match="more than anything computes with") as caught:
            parse_section({key: value}, Sizes)
        assert (caught.value.field, caught.value.hint) == (key, f"numbers are at most {most}")


LETTERS = "abcdefghijklmnopqrstuvwxyz"
BOMBS = {
    # Each line doubles what the one before it holds: 417 bytes that took 18 seconds.
    "merges": "\n".join(["a: &a {x: 1}", *(f"{n}: &{n} {{<<: [*{o}, *{o}]}}" for o, n in pairwise(LETTERS))]),
    "merges of other keys": "\n".join(
        ["a: &a {x: 1}", *(f"{n}: &{n} {{{n}: 1, <<: [*{o}, *{o}]}}" for o, n in pairwise(LETTERS))]
    ),
    "lists": "\n".join(["a: &a [x, x]", *(f"{n}: &{n} [*{o}, *{o}]" for o, n in pairwise(LETTERS))]),
    "mappings": "\n".join(["a: &a {x: 1}", *(f"{n}: &{n} {{x: *{o}, y: *{o}}}" for o, n in pairwise(LETTERS))]),
    "keys": "\n".join(["a: &a [x]", *(f"? &{n} [*{o}, *{o}]\n: 1" for o, n in pairwise(LETTERS))]),
    "flat": "[" + "1," * MOST_NODES + "]",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_few_lines_do_not_grow_to_gigabytes(bomb: str) -> None:
    began = time.process_time()
    with pytest.raises(yaml.YAMLError, match="more than 100,000 values"):
        load_yaml(BOMBS[bomb])
    assert time.process_time() - began < (30 if bomb == "flat" else 1)


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {b: *a}", "&a {<<: *a}", "&a [[1, [*a]]]", "? &a [*a]\n: 1"])
def test_an_anchor_inside_of_itself_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="inside of itself"):
        load_yaml(text)


@pytest.mark.parametrize("text", ["a: 1\na: 2", "x:\n  a: 1\n  'a': 2", "- {a: 1, b: 2, a: 3}", "<<: {}\n<<: {}"])
def test_a_key_that_occurs_twice_is_refused_however_deep(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="twice"):
        load_yaml(text)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(plain)
def test_any_other_yaml_is_read_as_it_is(content: Any) -> None:
    assert load_yaml(yaml.safe_dump(content)) == content
    assert load_yaml(yaml.safe_dump([content, content])) == [content, content]  # by an anchor
    assert load_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}") == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}


def test_keys_are_names_even_where_yaml_1_1_has_true_and_false() -> None:
    assert load_yaml("{on: a, yes: no, Off: {no: true}, 1: off}") == {
        "on": "a", "yes": False, "Off": {"no": True}, 1: False
    }  # fmt: skip
