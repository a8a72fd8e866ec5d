"""What rules tell of the tokens of an answer, with texts in the place of token ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ragdecode.decoding.request import TokenRecord

#: Fields of a neighbour that are token ids.
_IDS = ("before", "behind")

Text = Callable[[Sequence[int]], str]


def explained(records: Sequence[TokenRecord], text: Text) -> list[dict[str, Any]]:
    """One object a token: ``position``, ``token``, ``text``, ``logprob``, and ``rules``, what each tells of it.

    Args:
        records: Those of an answer.
        text: Token ids to text.

    Returns:
        Nothing if no rule tells anything of any token.
    """
    if not any(record.explained for record in records):
        return []
    return [
        {
            "position": record.position,
            "token": record.token,
            "text": text([record.token]),
            "logprob": record.logprob,
            "rules": {name: _worded(told, text) for name, told in record.explained.items()},
        }
        for record in records
    ]


def _worded(told: Mapping[str, Any], text: Text) -> dict[str, Any]:
    """The same with texts."""
    found = dict(told)
    if "neighbours" in told:
        found["neighbours"] = [
            {name: text(value) if name in _IDS else value for name, value in one.items()} for one in told["neighbours"]
        ]
    if "others" in told:
        found["others"] = [{**one, "text": text([one["token"]])} for one in told["others"]]
    return found
