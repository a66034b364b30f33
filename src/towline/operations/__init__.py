"""The domains, one module each. Importing this package fills the catalog."""

from __future__ import annotations

import importlib

from towline.errors import InvalidConfiguration
from towline.operations import docker, image, node
from towline.signature import Signature
from towline.signature.types import check_types

__all__ = ["docker", "image", "load_extra", "node"]


def load_extra(modules: list[str]) -> None:
    """Import modules with further operations and endpoints.

    Raises:
        InvalidConfiguration: one can't be imported, or something in it can't be offered.
    """
    for name in modules:
        try:
            module = importlib.import_module(name)
            for each in vars(module).values():
                # An operation, or an endpoint.
                if isinstance(getattr(each, "signature", None), Signature):
                    check_types(each.name, each.signature, each.result)
        except ImportError as error:
            raise InvalidConfiguration(
                f"The module of operations {name!r} can't be imported.", str(error)
            ) from error
        except Exception as error:
            raise InvalidConfiguration(
                f"The module of operations {name!r} can't be used: {' '.join(str(error).split())}.",
                f"{type(error).__name__}; docs/operations.md and docs/endpoints.md say what "
                "functions in it may look like",
            ) from error
