"""Whether the types of a function are such that requests and answers can have them."""

from __future__ import annotations

from typing import Any

import msgspec

from towline.signature.markers import Place
from towline.signature.reading import Signature, check


def check_types(name: str, signature: Signature, result: Any) -> None:
    """Check the types of a function's parameters and of its result.

    Args:
        name: whose they are, for the text of errors.

    Raises:
        ValueError: there is no JSON of one of them, or a text where texts are due; or a default
            would be refused.
    """
    # It takes 10 ms to import, and only modules of further operations are checked.
    from msgspec import inspect

    structs = {place: signature.struct(place) for place in Place}
    try:
        msgspec.json.schema_components([*structs.values(), result])
    except TypeError as error:
        raise ValueError(f"{name}: a type can't be described as JSON: {error}") from error
    many = (
        inspect.CollectionType,
        inspect.DictType,
        inspect.StructType,
        inspect.DataclassType,
        inspect.TypedDictType,
    )
    texts = [Place.PATH, Place.QUERY, *([Place.BODY] if signature.takes_file else [])]
    for place in texts:
        described = inspect.type_info(structs[place])
        for field in described.fields if isinstance(described, inspect.StructType) else ():
            kind = field.type.type if isinstance(field.type, inspect.Metadata) else field.type
            kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
            if any(isinstance(each, many) for each in kinds):
                raise ValueError(
                    f"{name}: the parameter {field.name!r} stands in the {place.value} as a text, "
                    "which can't be a list or an object: put it into a JSON body"
                )
    for parameter in signature.parameters:
        if parameter.required or parameter.default is None:
            continue
        try:
            msgspec.convert(msgspec.to_builtins(parameter.default), parameter.hint)
            check(signature.checks, {parameter.name: parameter.default})
        except ValueError as error:
            raise ValueError(
                f"{name}: the default of the parameter {parameter.name!r} is not valid: {error}"
            ) from error
