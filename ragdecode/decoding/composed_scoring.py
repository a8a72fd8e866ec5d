"""How probable given answers are under a rule chain: teacher forcing over all views, the answers of a request at once.

The answers of a request are one draft tree, and its rules compose what follows every node of it, as when drafts are
verified. So the figures are those that decoding would report, had it picked these tokens one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from ragdecode.decoding.backend import Backend
from ragdecode.decoding.drafter import Draft, Drafter, DraftSession, Verified
from ragdecode.decoding.engine import Engine
from ragdecode.decoding.request import Request
from ragdecode.errors import InputError
from ragdecode.spec.settings import NoSettings

#: A request and the answers to score under it.
Asked = tuple[Request, Sequence[Sequence[int]]]


class ComposedScorer:
    """Scores answers over models that others may use too; it opens rows of its own.

    Args:
        backends: Models by key.
        max_batch: Requests that share a pass.
        prefill_tokens: Prompt tokens that one pass may read, over all requests.
        vocab_size: Tokens of the tokenizer; logits of padded embedding rows beyond are ignored.
        prefix_bytes: Memory for prefixes that later requests may begin with.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        *,
        max_batch: int = 8,
        prefill_tokens: int = 512,
        vocab_size: int | None = None,
        prefix_bytes: int = 0,
    ) -> None:
        self._engine = Engine(
            backends,
            max_batch=max_batch,
            prefill_tokens=prefill_tokens,
            vocab_size=vocab_size,
            prefix_bytes=prefix_bytes,
        )

    def __call__(self, asked: Sequence[Asked]) -> list[list[list[float]]]:
        """Composed log-probability of each token of each answer: after the rules, before constraints and sampling.

        Prompts, views and rules of a request count, and its sampling as far as rules look at it; drafters, constraints,
        monitors and ends do not. An answer goes on after an end token.

        Args:
            asked: Requests and the token ids of answers to them; answers may share beginnings.

        Returns:
            For each request and answer, in order, one natural logarithm a token.

        Raises:
            InputError: A request cannot be run, an answer does not fit its window or holds an unknown token, or a rule
                cannot be evaluated on drafts.
            RunError: Memory ran out.
        """
        sessions = []
        requests = []
        for place, (request, answers) in enumerate(asked):
            if any(not 0 <= token < self._engine.vocab_size for answer in answers for token in answer):
                raise InputError(f"request {request.id!r}: an answer to score holds a token that the model has not")
            drafter = _Given(self._engine, str(place), answers)
            sessions.append(drafter)
            if longest := max(map(len, answers), default=0):
                requests.append(
                    replace(
                        request,
                        id=str(place),
                        drafters=[drafter],
                        constraints=(),
                        monitors=(),
                        end_tokens=frozenset(),
                        stop_strings=(),
                        max_new_tokens=max(longest, 2),  # drafters are not asked for the last token
                        max_draft_nodes=max(1 + len(drafter.draft.tokens), 2),
                        verification="noise",
                        alternatives=0,
                        retrieve=None,
                    )
                )
        for _ in self._engine.run(requests):
            pass
        return [session.log_probs for session in sessions]


class _Given(Drafter):
    """Proposes the answers of one request as a tree, and reads them off the first verification."""

    part_name = "given"

    def __init__(self, engine: Engine, identity: str, answers: Sequence[Sequence[int]]) -> None:
        super().__init__(NoSettings())
        self.engine, self.identity, self.answers = engine, identity, answers
        self.draft = _tree(answers)
        self.log_probs: list[list[float]] = [[] for _ in answers]

    def start(self, request: Request) -> DraftSession:
        return _Session(self)


class _Session(DraftSession):
    def __init__(self, given: _Given) -> None:
        self._given = given
        self._done = False

    def propose(self, nodes: int) -> Draft:
        return self._given.draft

    def observe(self, verified: Verified) -> None:
        if self._done:
            return
        self._done = True
        given = self._given
        children = {
            (parent, token): node
            for node, (parent, token) in enumerate(zip(verified.parents, verified.tokens, strict=True))
            if node
        }
        places, tokens = [], []
        for answer in given.answers:
            node = 0
            for depth, token in enumerate(answer):
                places.append(node)
                tokens.append(token)
                if depth + 1 < len(answer):
                    node = children[node, token]
        device = verified.log_probs.device
        found = verified.log_probs[torch.tensor(places, device=device), torch.tensor(tokens, device=device)].tolist()
        start = 0
        for at, answer in enumerate(given.answers):
            given.log_probs[at] = found[start : start + len(answer)]
            start += len(answer)
        given.engine.cancel(given.identity)  # what it would decode itself is not wanted

    def rewind(self, length: int) -> None:
        raise AssertionError("nothing rewinds: there are no monitors")


def _tree(answers: Sequence[Sequence[int]]) -> Draft:
    """All answers but their last tokens, which are only predicted; equal beginnings once."""
    nodes: dict[tuple[int, int], int] = {}
    tokens: list[int] = []
    parents: list[int] = []
    for answer in answers:
        above = -1
        for token in answer[:-1]:
            node = nodes.get((above, token))
            if node is None:
                node = nodes[above, token] = len(tokens)
                tokens.append(token)
                parents.append(above)
            above = node
    return Draft(tokens, parents, [1.0] * len(tokens), whole=True)
