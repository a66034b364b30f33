"""The domains, one module each. Importing this package registers their operations."""

from __future__ import annotations

import importlib
import os

from towline.errors import InvalidConfiguration
from towline.operations import docker, node

__all__ = ["docker", "load_extra", "node"]


def load_extra(modules: list[str] | None = None) -> None:
    """Import modules with further operations.

    Args:
        modules: their names; by default those in `TOWLINE_OPERATIONS`, separated by commas.

    Raises:
        InvalidConfiguration: one can't be imported.
    """
    if modules is None:
        modules = [name for name in os.environ.get("TOWLINE_OPERATIONS", "").split(",") if name]
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InvalidConfiguration(
                f"The module of operations {name!r} can't be imported.", str(error)
            ) from error
