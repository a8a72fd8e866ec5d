"""The governor of a pipeline's drafts, over what steps cost on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ragdecode.models.progress import Progress
from ragdecode.models.store import cache_folder
from ragdecode.spec.decode import DecodeSpec
from ragdecode.spec.pipeline import EngineSpec

if TYPE_CHECKING:
    from ragdecode.decoding.backend import Backend
    from ragdecode.decoding.speculation.governor import Governor
    from ragdecode.decoding.speculation.step_cost import StepCosts
    from ragdecode.models.causal import CausalModel


def open_governor(decode: DecodeSpec, costs: StepCosts) -> Governor:
    """The governor that ``decode.governor`` names, which is not ``off``."""
    from ragdecode.decoding.speculation.governor_throughput import Throughput
    from ragdecode.decoding.speculation.governor_ucb import Bandit

    return Bandit(costs) if decode.governor == "ucb" else Throughput(costs)


def measure_steps(
    keys: Sequence[str],
    backends: Mapping[str, Backend],
    models: Mapping[str, CausalModel],
    engine: EngineSpec,
    nodes: int,
    progress: Progress,
) -> StepCosts:
    """What a pass of each model costs on this machine: measured once, then read from the user's cache folder.

    Args:
        keys: The models whose passes verify; at least one.
        backends: Them, ready to run.
        models: Them on disk, for their fingerprints.
        engine: How they run.
        nodes: Nodes that a step feeds at most, over all rows.
        progress: Told of a measurement.

    Raises:
        RunError: There is no memory for a row.
    """
    from ragdecode.decoding.speculation.calibration import SIZES, calibrated
    from ragdecode.decoding.speculation.step_cost import StepCosts

    sizes = SIZES if nodes <= SIZES[-1] else (*SIZES, 2 * SIZES[-1])
    tables = {}
    for key in keys:
        stage = f"measuring step costs of {models[key].spec.name or key}, once"
        identity = {"model": models[key].fingerprint, "linear": engine.linear}
        tables[key] = calibrated(
            backends[key],
            identity,
            cache_folder() / "steps",
            sizes=sizes,
            started=lambda stage=stage: progress(stage, 0, 1),  # type: ignore[misc]
        )
    return StepCosts(tables)
