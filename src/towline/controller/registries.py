"""Refusing what is about a registry that is not allowed, before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from towline.errors import Forbidden
from towline.operation import AnyOperation
from towline.runtime.registries import Registries

WHAT = "No image may come from that registry"
MEND = (
    "Name an image of a registry that is allowed, or have the setting 'registries' of all "
    "controllers name this one"
)


class AllowedRegistries:
    """The registries that a controller lets be asked.

    Args:
        registries: by its settings.
    """

    def __init__(self, registries: Registries) -> None:
        self._registries = registries

    def check(self, registry: str) -> None:
        """Refuse a registry that is not allowed.

        Args:
            registry: as `parse_registry` returns it.

        Raises:
            Forbidden: it is not.
        """
        problem = self._registries.problem(registry)
        if problem is not None:
            raise Forbidden.because(WHAT, problem, MEND)

    def check_job(self, operation: AnyOperation, parameters: Mapping[str, Any]) -> None:
        """Refuse an operation that would ask a registry that is not allowed; raises as `check`.

        Args:
            parameters: the operation's, validated.
        """
        if not operation.takes_credential:
            return
        registry = operation.credential_for(parameters)
        if registry is not None:
            self.check(registry)
        elif self._registries.patterns is not None:
            problem = "which one a reference to a fact means is known on the node alone"
            raise Forbidden.because(WHAT, problem, MEND)
