"""A recipe file, and the error that a text in it leads to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from redpencil.errors import RedpencilError
from redpencil.recipe import load_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The smallest recipe."""
    path = tmp_path / "recipe.yaml"
    path.write_text("world: {}\n")
    return path


@pytest.fixture
def mistake() -> Callable[..., RedpencilError]:
    """`mistake(path, text, "a.b=c")`: the error of a recipe of this text, with overrides."""

    def read(path: Path, text: str, *overrides: str) -> RedpencilError:
        path.write_text(text)
        with pytest.raises(RedpencilError) as caught:
            load_recipe(path, overrides)
        return caught.value

    return read
