"""What this project uses of ninja although it is not public: these tests fail if a release changes it."""

import inspect

from ninja import NinjaAPI, Schema
from ninja.operation import Operation
from ninja.testing import TestClient
from pydantic import field_validator

from lockngen.web.problems import ProblemAPI

REMEDY = "ninja reads an operation's parameters differently now: adapt problems._with_known_parameters."


def test_unknown_parameters__are_refused_after_authentication_and_before_the_body():
    done = []

    class Body(Schema):
        name: str

        @field_validator("name")
        @classmethod
        def record(cls, name: str) -> str:
            done.append("body")
            return name

    api = ProblemAPI(urls_namespace="contract", auth=lambda request: done.append("authentication") or True)

    @api.post("/things")
    def create(request, body: Body, size: int = 1) -> dict:
        done.append(f"size {size}")
        return {}

    client = TestClient(api)
    answers = [client.post(f"/things?{query}", json={"name": "a"}) for query in ("size=2", "size=2&color=red")]

    assert [answer.status_code for answer in answers] == [200, 422], REMEDY
    assert done == ["authentication", "body", "size 2", "authentication"], REMEDY
    assert answers[1].json()["errors"][0]["field"] == "color"


def test_get_values__is_the_method_that_is_replaced():
    source = inspect.getsource(Operation.run)

    assert "self._get_values(request, kw, temporal_response)" in source, REMEDY
    assert list(inspect.signature(Operation._get_values).parameters)[:2] == ["self", "request"], REMEDY
    assert hasattr(NinjaAPI, "add_decorator"), REMEDY
