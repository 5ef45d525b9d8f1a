"""Observations of several rollouts as one batch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

from hud.agents.robot.adapter import load_torch
from hud.protocol.openpi import load_numpy


def kind_of(sample: Any) -> Hashable:
    """Return what two samples must have in common to be stacked: names, shapes and dtypes."""
    if isinstance(sample, Mapping):
        held = cast("Mapping[Any, Any]", sample)
        return tuple((name, kind_of(value)) for name, value in held.items())
    if _is_tensor(sample):
        return ("tensor", str(sample.dtype), tuple(sample.shape), str(sample.device))
    if _is_array(sample):
        return ("array", str(sample.dtype), tuple(sample.shape))
    return None


def stacked(samples: Sequence[Any]) -> Any:
    """Stack N samples of one kind.

    Arrays and tensors become `[N, …]`, mappings are stacked name by name, everything else is put
    in a list of N.
    """
    first = samples[0]
    if isinstance(first, Mapping):
        names = list(cast("Mapping[Any, Any]", first))
        return {name: stacked([sample[name] for sample in samples]) for name in names}
    if _is_tensor(first):
        return load_torch("a batch of tensors").stack(list(samples))
    if _is_array(first):
        return load_numpy().stack(list(samples))
    return list(samples)


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach") and hasattr(value, "shape")


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "__array__")
