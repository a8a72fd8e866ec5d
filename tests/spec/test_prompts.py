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
    assert user.render(question="Q?", passages=passages) == "[1] One.\n\n[2] Two.\n\nQuestion: Q?"
    assert user.render(question="Q?", passages=[]) == "Question: Q?"
    assert "passages" in system.render(passages=passages)
    assert system.render(passages=[]) == "You answer questions. Answer in one or two short sentences."
