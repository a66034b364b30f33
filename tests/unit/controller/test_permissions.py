"""Permissions: which there are."""

from __future__ import annotations

import json
import re

from towline import operations as _operations  # noqa: F401 - it fills the catalog
from towline.controller import auth
from towline.controller.http.openapi import document
from towline.operation import catalog


def test_the_permissions_of_endpoints_are_those_that_the_api_describes() -> None:
    described = json.dumps(document(catalog, "0"))
    asked = set(re.findall(r"Permission: `?(\w+:\w+)", described))
    of_operations = {operation.permission for operation in catalog}
    assert asked - of_operations == auth.OF_ENDPOINTS - of_operations
