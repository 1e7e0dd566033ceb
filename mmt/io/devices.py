"""Devices that torch computes on. Imports no torch."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

from mmt.errors import MMTError


class _Movable(Protocol):
    def to(self, device: str) -> Self: ...


_Thing = TypeVar("_Thing", bound=_Movable)


def to_device(thing: _Thing, device: str) -> _Thing:
    """Moves a network to a device, such as ``cuda``.

    Raises:
        MMTError: there is no such device, or it does not work.
    """
    try:
        return thing.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise MMTError(
            f"device '{device}' cannot be used ({reason}). Use cpu, or a device that is there."
        ) from None
