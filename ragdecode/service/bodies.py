"""Bodies of requests and responses; what the OpenAPI document says of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class Body(BaseModel):
    """A request: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("the text has a NUL character")
    return text


Text = Annotated[str, AfterValidator(_no_nul)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_no_nul)]


class Message(Body):
    """An earlier message of a conversation."""

    role: Literal["user", "assistant"]
    """Who said it."""
    content: Text
    """What was said."""


class GivenPassage(Body):
    """Evidence that comes with a question."""

    text: Annotated[Text, StringConstraints(min_length=1)]
    """Its text."""
    id: Name | None = None
    """Its name in the answer; ``p1``, ``p2``, ... if left out."""
    source: Annotated[Text, StringConstraints(max_length=1000)] | None = None
    """Where it comes from, for people."""


class Tuning(Body):
    """Settings of one answer, in the place of the pipeline's."""

    max_new_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    """Longest answer, in tokens; the pipeline's is the most."""
    temperature: float | None = Field(default=None, ge=0, le=10)
    """0 takes the most probable token."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Keep the smallest set of tokens with this mass."""
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Seed of the noise; equal requests with equal seeds get equal answers."""
    stop: list[Annotated[Text, StringConstraints(min_length=1, max_length=100)]] = Field(default=[], max_length=8)
    """Texts that end the answer."""


class Ask(Body):
    """A question."""

    question: Text
    """What is asked."""
    pipeline: Name | None = None
    """Name of a pipeline, as `GET /v1/pipelines` lists them; the service's own if left out."""
    history: list[Message] | None = None
    """Earlier messages, oldest first; not together with ``conversation``."""
    conversation: Name | None = None
    """Id of a conversation: its messages are the history, and this turn is added to it. ``new`` begins one."""
    passages: list[GivenPassage] | None = None
    """Evidence in the place of retrieval, best first."""
    stream: bool = False
    """Answer with server-sent events."""
    alternatives: int = Field(default=0, ge=0, le=20)
    """Best tokens to record at each position; with any, the answer comes with a ``trace`` of its tokens."""
    explain: int = Field(default=5, ge=0, le=20)
    """Pieces of evidence that rules are to tell of each token, such as neighbours that voted."""
    settings: Tuning = Tuning()
    """Settings of this answer."""


class Retrieve(Body):
    """A search."""

    query: Text
    """What is looked for."""
    pipeline: Name | None = None
    """Name of a pipeline; the service's own if left out."""
    k: int = Field(default=10, ge=1)
    """The most passages to return."""


class FoundPassage(BaseModel):
    """A passage of the index."""

    id: str
    source: str
    text: str
    score: float
    rank: int
    metadata: dict[str, Any] = {}


class Found(BaseModel):
    """What a search found."""

    passages: list[FoundPassage]


class PipelineBody(BaseModel):
    """A pipeline."""

    name: str
    description: str
    headline: str
    searches: bool
    monitored: bool
    model: str
    default: bool


class ProblemBody(BaseModel):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    request_id: str = ""
