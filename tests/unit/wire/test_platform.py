"""Platforms as people write them."""

import pytest

from towline.wire.platform import InvalidPlatform, Platform


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/arm/v7", "linux/arm"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("windows/amd64", "windows/amd64"),
        ("linux/ppc64le", "linux/ppc64le"),
    ],
)
def test_one_platform_is_one_whatever_it_was_written_as(text: str, canonical: str) -> None:
    assert str(Platform.parse(text)) == canonical
    assert Platform.parse(canonical) == Platform.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "linux", "arm64", "linux/", "/amd64", "linux//v8", "linux/arm64/v8/x", "Linux/AMD64"),
        *("linux/arm64 ", "linux/arm64\n", "linux/" + "a" * 100, "linux/amd64(10.0)", "linux/ä"),
    ],
)
def test_what_is_no_platform_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidPlatform, match=r"OS/ARCHITECTURE.*'linux/arm64'") as refused:
        Platform.parse(text)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/aarch64/v8", "linux/arm64/v8"),
        ("linux/armv7l/v7", "linux/arm/v7"),
    ],
)
def test_another_name_of_an_architecture_is_refused_with_the_one_that_is_meant(
    text: str, meant: str
) -> None:
    with pytest.raises(InvalidPlatform, match=f"write '{meant}'"):
        Platform.parse(text)
