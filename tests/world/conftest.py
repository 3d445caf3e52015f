"""The world and its oracle, built once."""

import pytest

from redpencil.world.facts import World, make_world
from redpencil.world.oracle import Oracle


@pytest.fixture(scope="session")
def world() -> World:
    """The world of facts seed 0."""
    return make_world(0)


@pytest.fixture(scope="session")
def oracle(world: World) -> Oracle:
    """Its oracle."""
    return Oracle(world)
