"""The world and its oracle, built once."""

import pytest

from redpencil.world.domain import Domain
from redpencil.world.facts import FactsDomain, World
from redpencil.world.oracle import Oracle
from redpencil.world.summaries import SummariesDomain


@pytest.fixture(scope="session")
def facts() -> FactsDomain:
    """The facts of seed 0."""
    return FactsDomain(0)


@pytest.fixture(scope="session")
def world(facts: FactsDomain) -> World:
    """What is true in it."""
    return facts.world


@pytest.fixture(scope="session")
def oracle(facts: FactsDomain) -> Oracle:
    """Its oracle."""
    return Oracle(facts)


@pytest.fixture(scope="session")
def summaries() -> SummariesDomain:
    """The summaries of seed 0."""
    return SummariesDomain(0)


@pytest.fixture(scope="session", params=["facts", "summaries"])
def domain(request: pytest.FixtureRequest) -> Domain:
    """Each domain in turn."""
    return {"facts": FactsDomain, "summaries": SummariesDomain}[request.param](0)
