"""Requests made from the OpenAPI document, right and wrong ones: none is answered with 5xx."""

from __future__ import annotations

from contextlib import suppress

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.service.running import running


def test_no_request_of_the_schema_breaks_the_service(serve):
    service = serve(decode={"max_new_tokens": 2})
    with running(service) as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        paths = []
        for operation in (found.ok() for found in schema.get_all_operations()):
            paths.append(operation.path)
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

                @settings(
                    max_examples=10,
                    derandomize=True,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                @given(operation.as_strategy(generation_mode=mode))
                def answered(case):
                    response = case.call(base_url=address, timeout=30)
                    assert response.status_code < 500, (case.body, response.text)

                with suppress(Unsatisfiable):  # without parameters no request of it can be wrong
                    answered()
        assert {"/v1/ask", "/v1/retrieve", "/v1/chat/completions"} <= set(paths)
