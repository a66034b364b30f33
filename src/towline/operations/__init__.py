"""The domains, one module each. Importing this package fills the catalog."""

from __future__ import annotations

import importlib

from towline.errors import InvalidConfiguration
from towline.operations import docker, node

__all__ = ["docker", "load_extra", "node"]


def load_extra(modules: list[str]) -> None:
    """Import modules with further operations.

    Raises:
        InvalidConfiguration: one can't be imported.
    """
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InvalidConfiguration(
                f"The module of operations {name!r} can't be imported.", str(error)
            ) from error
