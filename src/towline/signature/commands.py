"""Which commands there are: operations and endpoints share them."""

from __future__ import annotations


class Commands:
    """The commands of operations and endpoints, by their words, and whose each of them is."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, ...], object] = {}

    def add(self, command: str, owner: object) -> None:
        """Add a command.

        Args:
            command: its one or two words.
            owner: the operation or endpoint that it runs.

        Raises:
            ValueError: another has it, or has one that begins with the one word of the other.
        """
        words = tuple(command.split())
        if not 1 <= len(words) <= 2:
            raise ValueError(f"{owner!r}: a command has one or two words, not {command!r}")
        for others, other in self._owners.items():
            shared = min(len(words), len(others))
            if words[:shared] == others[:shared]:
                raise ValueError(
                    f"{owner!r} clashes with {other!r}: `towline {command}` and `towline "
                    f"{' '.join(others)}` can't both be commands. Give one of them another: verb= "
                    "of an operation, command= of an endpoint"
                )
        self._owners[words] = owner

    def remove(self, command: str) -> None:
        """Take a command out again."""
        del self._owners[tuple(command.split())]


commands = Commands()
"""Those of the one catalog of operations, and of the one list of endpoints."""
