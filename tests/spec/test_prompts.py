"""The catalogue's prompt reads naturally with passages and without."""

from __future__ import annotations

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ragdecode.spec.load import load_document

ENVIRONMENT = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)


@pytest.mark.parametrize("environment", [ENVIRONMENT, ImmutableSandboxedEnvironment()], ids=["trimmed", "plain"])
def test_grounded(environment):
    system, user = (
        environment.from_string(message.content) for message in load_document("prompts", "grounded").spec.messages
    )
    passages = [{"rank": 1, "text": "One."}, {"rank": 2, "text": "Two."}]
    assert user.render(question="Q?", passages=passages) == "Context:\nOne.\n\nTwo.\n\nQuestion: Q?"
    assert user.render(question="Q?", passages=[]) == "Question: Q?"
    assert "from the context" in system.render(passages=passages)
    assert system.render(passages=[]) == "Answer the question in one or two short sentences."
