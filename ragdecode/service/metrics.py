"""What `/metrics` tells, in the form of Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ragdecode.pipeline.answer import Answer
from ragdecode.service.desk import Desk

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SHARES = tuple(tenth / 10 for tenth in range(1, 11))


class Metrics:
    """Counters and gauges of one service; names begin with ``ragdecode_``.

    Args:
        desk: Where questions wait.
    """

    def __init__(self, desk: Desk) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        Gauge("ragdecode_queue_waiting", "Questions that wait", registry=registry).set_function(lambda: desk.waiting)
        Gauge("ragdecode_questions_running", "Questions that are worked on", registry=registry).set_function(
            lambda: desk.working
        )
        self._requests = Counter(
            "ragdecode_http_requests", "Requests by route and status", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "ragdecode_http_seconds", "Time until a response was complete", ["route"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._tokens = Counter("ragdecode_tokens", "Tokens of answers", ["pipeline"], registry=registry)
        self._prompt = Counter("ragdecode_prompt_tokens", "Tokens of prompts", ["pipeline"], registry=registry)
        self._drafted = Counter("ragdecode_drafted_tokens", "Draft tokens verified", ["pipeline"], registry=registry)
        self._accepted = Counter("ragdecode_accepted_tokens", "Draft tokens accepted", ["pipeline"], registry=registry)
        self._answers = Counter(
            "ragdecode_answers", "Answers by how they ended", ["pipeline", "finish_reason"], registry=registry
        )
        self._first = Histogram(
            "ragdecode_first_token_seconds", "Time from a question's arrival to its first text", ["pipeline"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._whole = Histogram(
            "ragdecode_answer_seconds", "Time from a question's arrival to its answer", ["pipeline"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._retrieval = Histogram(
            "ragdecode_retrieve_seconds", "Time for retrieval", ["pipeline"], buckets=_SECONDS, registry=registry
        )
        self._batch = Histogram(
            "ragdecode_batch_size", "Questions decoded together, seen at each token", buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )  # fmt: skip
        self._faithfulness = Histogram(
            "ragdecode_sentence_faithfulness", "Faithfulness of sentences", ["pipeline"], buckets=_SHARES,
            registry=registry,
        )  # fmt: skip

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A response is complete."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def token(self, batch: int) -> None:
        """A token came; so many questions are decoded together."""
        self._batch.observe(batch)

    def first(self, pipeline: str, arrived: float) -> None:
        """The first text of an answer came."""
        self._first.labels(pipeline).observe(time.monotonic() - arrived)

    def answer(self, answer: Answer, arrived: float) -> None:
        """An answer is complete."""
        name, stats = answer.pipeline, answer.stats
        self._whole.labels(name).observe(time.monotonic() - arrived)
        self._retrieval.labels(name).observe(answer.seconds.retrieve)
        self._answers.labels(name, answer.finish_reason).inc()
        self._tokens.labels(name).inc(stats.new_tokens)
        self._prompt.labels(name).inc(stats.prompt_tokens)
        self._drafted.labels(name).inc(stats.drafted)
        self._accepted.labels(name).inc(stats.accepted)
        for sentence in answer.sentences:
            if sentence.faithfulness is not None:
                self._faithfulness.labels(name).observe(sentence.faithfulness)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
