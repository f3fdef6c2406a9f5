"""The service keeps to its own description: requests drawn from /openapi.json, and requests that break it."""

from types import SimpleNamespace

import pytest
import schemathesis
from fakes import TableScorer, examples
from schemathesis.specs.openapi import checks

from cprs_core.engine import Engine
from cprs_core.server.app import create_app
from cprs_core.server.auth import Keys
from cprs_core.server.settings import Settings

KEY = {"Authorization": "Bearer " + "k" * 24}
SETTINGS = Settings(keys=Keys(["k" * 24]), max_documents=20)


def without_lifespan(app):
    """The application, which schemathesis would end after every test."""

    async def call(scope, receive, send):
        assert scope["type"] == "http"
        await app(scope, receive, send)

    return call


def described():
    """The description, which no model is needed for."""
    app = create_app(SimpleNamespace(engine=Engine([TableScorer()])), SETTINGS)
    app.state.service.close()
    return schemathesis.openapi.from_asgi("/openapi.json", without_lifespan(app), headers=KEY)


schema = described()


@pytest.fixture(scope="module")
def app(compressor):
    app = create_app(compressor, SETTINGS)
    yield without_lifespan(app)
    app.state.service.close()


@schema.parametrize()
@examples(25)
def test_every_answer_is_as_described(case, app):
    reply = case.call(app=app, headers=KEY)
    case.validate_response(reply, excluded_checks=[checks.positive_data_acceptance])
    assert "x-request-id" in reply.headers
    if reply.status_code >= 400:
        assert reply.headers["content-type"] == ["application/problem+json"]
        assert reply.json()["detail"]
