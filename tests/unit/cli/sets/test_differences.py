"""What is another about a set is said in lines; what is written in another way is the same."""

from typing import Any

import pytest

from towline.cli.sets.differences import differences, said

BODY: dict[str, Any] = {
    "target": "site:ber,group:web",
    "images": ["nginx:1.27", {"image": "redis:7", "platform": "linux/arm64"}],
    "every": "900s",
    "window": "Mon,Tue,Wed 22:00-06:00 UTC",
    "options": {"canary": 1},
}


@pytest.mark.parametrize(
    "other",
    [
        {"target": "group:web,site:ber"},
        {
            "images": [
                {"image": "docker.io/library/nginx:1.27"},
                {"image": "redis:7", "platform": "linux/arm64/v8"},
            ]
        },
        {"every": "15m", "follow": "tag", "keep": None, "source": ""},
        {"window": "Mon-Wed 22:00-06:00   UTC"},
        {"options": {"canary": "1", "max_parallel": None}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_way_of_writing_is_no_difference(other: dict[str, Any]) -> None:
    assert differences(said(BODY), said({**BODY, **other})) == []


@pytest.mark.parametrize(
    ("other", "lines"),
    [
        ({"target": "group:web"}, ["target: group:web,site:ber -> group:web"]),
        (
            {"images": ["nginx:1.28", BODY["images"][1]]},
            ["images:", "  - nginx:1.27", "  + nginx:1.28"],
        ),
        ({"images": BODY["images"][::-1]}, ["images: in another order"]),
        ({"every": "1h"}, ["every: 15m -> 1h"]),
        ({"keep": 0}, ["keep: none -> 0"]),
        ({"options": {"max_parallel": "10%"}}, ["max_parallel: none -> 10%", "canary: 1 -> none"]),
        ({"source": "infra"}, ["source: none -> infra"]),
    ],
    ids=str,
)
def test_what_is_another_is_said(other: dict[str, Any], lines: list[str]) -> None:
    assert differences(said(BODY), said({**BODY, **other})) == lines


def test_of_a_new_set_is_said_what_is_not_as_usual() -> None:
    assert differences(None, said(BODY)) == [
        "target: group:web,site:ber",
        *("images:", "  + nginx:1.27", "  + redis:7 (linux/arm64)"),
        "window: Mon-Wed 22:00-06:00 UTC",
        "canary: 1",
    ]
