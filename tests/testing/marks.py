"""Marks that tests of several rooms carry."""

import pytest

from tests.testing.engine import EngineKind

ONE_KIND = pytest.mark.parametrize("engine_kind", [EngineKind.CLASSIC], indirect=True, ids=str)
"""For tests whose nodes have engines, while the engine's kind has no part in what they show."""
