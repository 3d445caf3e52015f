"""The API as it describes itself, tried out by schemathesis."""

import json

import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from sqlalchemy import Engine
from starlette.testclient import TestClient

from redpencil.records import Response
from redpencil.web.app import create_app, openapi_document
from redpencil.web.auth import add_person
from redpencil.web.items import import_responses
from redpencil.web.routes import team, transfers, work

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
schemathesis.serializer.alias("application/x-ndjson", "application/octet-stream")


@pytest.fixture
def admin(sqlite_engine: Engine) -> TestClient:
    import_responses(sqlite_engine, [Response(f"r{i}", "Q", f"Some words {i}") for i in range(50)])
    client = TestClient(create_app(sqlite_engine), raise_server_exceptions=False)
    client.post(f"/join/{add_person(sqlite_engine, 'Eve', 'admin')}", follow_redirects=False)
    client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
    return client


def test_the_document_describes_every_operation(admin: TestClient) -> None:
    document = admin.get("/api/openapi.json").json()
    described = {f"{method.upper()} {path}" for path, operations in document["paths"].items() for method in operations}
    assert described == set(operations())
    assert document["components"]["securitySchemes"]["session"]["name"] in admin.cookies
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in document["components"]["schemas"]


def test_the_document_is_for_people_who_are_signed_in(sqlite_engine: Engine) -> None:
    assert TestClient(create_app(sqlite_engine)).get("/api/openapi.json").status_code == 401


def operations() -> list[str]:
    routers = (work.router, team.router, transfers.router)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return [f"{method} {route.path}" for route in routes for method in route.methods]


@pytest.mark.slow
@pytest.mark.parametrize("label", operations())
def test_whatever_is_sent_is_answered_as_described(admin: TestClient, label: str) -> None:
    """Bodies, numbers and queries, right and wrong ones: no crash, a described status, the described JSON."""
    document = openapi_document(admin.app, cookie="session")
    for operations in document["paths"].values():
        for described in operations.values():
            del described["security"]  # every request is signed in here
    schema = schemathesis.openapi.from_dict(document)
    method, path = label.split(" ")
    operation = schema[path][method.lower()]
    cases = st.one_of(
        operation.as_strategy(generation_mode=mode)
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    )

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def check(case: schemathesis.Case) -> None:
        sent = case.as_transport_kwargs(base_url="http://testserver", headers=dict(admin.headers))
        sent.pop("cookies", None)
        if isinstance(sent.get("data"), bytes):
            sent["content"] = sent.pop("data")
        case.validate_response(admin.request(**sent), checks=CHECKS)

    check()
