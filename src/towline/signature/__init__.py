"""A function's keyword parameters, read as those of a request.

Operations and endpoints are typed functions. What their requests may bring, and in which place of a
request each parameter stands, is read here from the signature, once.
"""

from towline.signature.markers import (
    Body,
    Check,
    Filled,
    Flag,
    Header,
    Options,
    Parameter,
    Place,
    Query,
    Upload,
)
from towline.signature.reading import (
    BODIES,
    PLACEHOLDER,
    Signature,
    camel,
    of_function,
    of_group,
)

__all__ = [
    "BODIES",
    "PLACEHOLDER",
    "Body",
    "Check",
    "Filled",
    "Flag",
    "Header",
    "Options",
    "Parameter",
    "Place",
    "Query",
    "Signature",
    "Upload",
    "camel",
    "of_function",
    "of_group",
]
