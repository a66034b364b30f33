"""The labels that mean a node: those that it carries, and those above them."""

from towline.endpoints.targets import labels_of
from towline.wire.target import Label


def test_a_label_with_a_dotted_value_is_several_targets() -> None:
    labels = [Label("group", "web.dev.eu"), Label("rack", "r1")]
    assert [*labels_of(labels)] == ["group:web", "group:web.dev", "group:web.dev.eu", "rack:r1"]
