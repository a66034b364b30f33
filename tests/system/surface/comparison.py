"""Our schemas compared with those of the surface: what contradicts them, and what is missing."""

from collections.abc import Iterator

from tests.system.surface.facts import Schema, resolved

TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}
BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "pattern", "default")

LARGEST = 2**53
"""Beyond it no integer is sure to arrive in JSON (RFC 8259, section 6): such a maximum is none."""


class Comparison:
    """Compares schemas; `differences` are sentences, `missing` the places of fields we lack.

    Parameters: `ours` and `theirs` are what schemas refer to, by name. `sent` says whether clients
    send what the schemas describe: then we may ask for less than the surface, else answer more.
    """

    def __init__(
        self, ours: dict[str, Schema], theirs: dict[str, Schema], *, sent: bool = False
    ) -> None:
        self._ours = ours
        self._theirs = theirs
        self._sent = sent
        self.differences: list[str] = []
        self.missing: list[str] = []

    def compare(self, ours: Schema, theirs: Schema, where: str = "") -> None:
        """Compare two schemas, and all that they hold."""
        ours, theirs = resolved(ours, self._ours), resolved(theirs, self._theirs)
        self.differences += [f"{where}: {why}" for why in self._kinds(ours, theirs)]
        if "items" in theirs:
            self.compare(ours.get("items", {}), theirs["items"], f"{where}[]")
        values = theirs.get("additionalProperties")
        if values:
            for each in ours.get("properties", {}).values():
                self.compare(each, values, f"{where}.*")
            if "additionalProperties" in ours:
                self.compare(ours["additionalProperties"], values, f"{where}.*")
        known = ours.get("properties", {})
        for name, field in theirs.get("properties", {}).items():
            if name in known:
                self.compare(known[name], field, f"{where}.{name}")
            else:
                self.missing.append(f"{where}.{name}".removeprefix("."))
        mine, others = set(ours.get("required", ())), set(theirs.get("required", ()))
        if self._sent:
            self.differences += [f"{where}: wants {name}" for name in sorted(mine - others)]
        else:
            self.differences += [f"{where}: may lack {name}" for name in sorted(others - mine)]

    def _kinds(self, ours: Schema, theirs: Schema) -> Iterator[str]:
        if "type" not in theirs:
            return
        kind = _kind(ours)
        if kind != theirs["type"] and (kind, theirs["type"]) != ("integer", "number"):
            yield f"{kind} for {theirs['type']}"
        if theirs.get("format") in ("date-time", "uuid") and ours.get("format") != theirs["format"]:
            yield f"format {ours.get('format')} for {theirs['format']}"
        mine, others = ours.get("enum"), theirs.get("enum")
        if "const" in ours:
            mine = [ours["const"]]
        if others is not None and mine is None:
            yield f"any for one of {others}"
        elif mine is not None and others is not None:
            less, more = (mine, others) if self._sent else (others, mine)
            if beyond := sorted(set(more) - set(less)):
                yield f"{beyond} beside {less}"
        elif mine is not None and self._sent:
            yield f"only {mine}"
        for bound in BOUNDS if self._sent else ():
            mine, others = ours.get(bound), theirs.get(bound)
            boundless = bound == "maximum" and others is None and mine and mine > LARGEST
            if mine != others and not boundless:
                yield f"{bound} {mine} for {others}"


def _kind(schema: Schema) -> str | None:
    if "type" in schema:
        return str(schema["type"])
    values = [schema["const"]] if "const" in schema else schema.get("enum", [])
    kinds = {TYPES[type(value)] for value in values}
    return kinds.pop() if len(kinds) == 1 else None
