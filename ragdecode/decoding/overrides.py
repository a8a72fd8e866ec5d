"""Settings that a monitor's rewind changes for the rest of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from ragdecode.decoding.request import Sampling
from ragdecode.decoding.rule import Rule
from ragdecode.errors import InputError


def apply_overrides(
    rules: Sequence[Rule], sampling: Sampling, overrides: Mapping[str, Any]
) -> tuple[Sequence[Rule], Sampling]:
    """Rules and sampling with ``sampling.<field>`` and ``<rule>.<setting>`` replaced; the given ones stay as they are.

    Raises:
        InputError: A key names no rule of the chain and no setting, or the value is not possible there.
    """
    changed = list(rules)
    for key, value in overrides.items():
        owner, _, setting = key.partition(".")
        if owner == "sampling" and setting in {item.name for item in fields(Sampling)}:
            sampling = replace(sampling, **{setting: value})
            continue
        index = next((i for i, rule in enumerate(changed) if rule.part_name == owner), None)
        if index is None or setting not in type(changed[index].settings).model_fields:
            names = ", ".join(["sampling", *(rule.part_name for rule in rules)])
            raise InputError(f"a rewind cannot override {key!r}", hint=f"write <name>.<setting>, names here: {names}")
        changed[index] = _changed(changed[index], setting, value)
    return changed, sampling


def _changed(rule: Rule, setting: str, value: Any) -> Rule:
    """The rule with one setting replaced."""
    from pydantic import ValidationError

    try:
        settings = type(rule.settings).model_validate({**rule.settings.model_dump(), setting: value})
    except ValidationError as error:
        raise InputError(f"a rewind cannot set {rule.part_name}.{setting} to {value!r}: {error}") from error
    new = type(rule)(settings)
    if _shape(new) != _shape(rule):
        raise InputError(
            f"a rewind cannot set {rule.part_name}.{setting} to {value!r}: it changes which rows the rule reads, or how"
        )
    return new


def _shape(rule: Rule) -> tuple[object, ...]:
    """What a request's rows, and what is read of them, were made for."""
    asked = rule.expand, rule.hidden, rule.evidence, rule.verification
    return list(rule.views), dict(rule.declares), *asked
