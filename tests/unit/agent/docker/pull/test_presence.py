"""What an engine has of an image, for which platform: in doubt the engine is asked to pull."""

import pytest

from towline.agent.docker.answers import Image, ImageData, Manifest, ManifestPlatform, Version
from towline.agent.docker.pull import presence
from towline.wire.platform import Platform
from towline.wire.reference import Reference

DIGEST, ID = f"sha256:{'d' * 64}", f"sha256:{'1' * 64}"
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def classic(architecture: str, variant: str = "", id: str = ID) -> Image:
    return Image(id, 1, os="linux", architecture=architecture, variant=variant)


def listed(*manifests: tuple[str, str, bool]) -> Image:
    """Return an image as a containerd store has it: architecture, variant, whether it is there."""
    found = [
        Manifest(str(number), available, ImageData(ManifestPlatform("linux", name, variant)))
        for number, (name, variant, available) in enumerate(manifests)
    ]
    attestation = Manifest("attestation", True)
    return Image(
        DIGEST, 1, os="linux", architecture=manifests[0][0], manifests=[*found, attestation]
    )


@pytest.mark.parametrize(
    ("image", "platform", "sure"),
    [
        (classic("amd64"), AMD64, True),
        (classic("arm64"), AMD64, False),
        (classic("arm64", "v8"), ARM64, True),
        (classic("amd64", "v3"), AMD64, False),
        (classic("arm", "v6"), Platform.parse("linux/arm/v7"), False),
        (classic("amd64"), None, False),
        # A containerd store that lists no manifests has a part of it, perhaps.
        (classic("amd64", id=DIGEST), AMD64, False),
        (listed(("amd64", "", True)), AMD64, True),
        (listed(("amd64", "", False)), AMD64, False),
        (listed(("arm64", "", True), ("amd64", "", False)), AMD64, False),
        (listed(("arm64", "", True), ("amd64", "", False)), ARM64, True),
        # Which of the two it would be the engine alone knows.
        (listed(("amd64", "", True), ("amd64", "v3", False)), AMD64, False),
        (listed(("amd64", "v3", True)), AMD64, False),
        (listed(("amd64", "", True)), None, False),
    ],
)
def test_only_what_a_pull_would_bring_for_sure_is_taken_for_it(
    image: Image, platform: Platform | None, sure: bool
) -> None:
    assert presence.is_what_a_pull_brings(image, DIGEST, platform) is sure


@pytest.mark.parametrize(
    ("image", "platform", "is_for"),
    [
        (classic("amd64"), AMD64, True),
        (classic("arm64"), AMD64, False),
        (classic("arm64"), None, True),
        (listed(("arm64", "", True), ("amd64", "", False)), AMD64, False),
        (listed(("arm64", "", False), ("amd64", "", True)), AMD64, True),
    ],
)
def test_an_image_for_another_platform_is_not_there(
    image: Image, platform: Platform | None, is_for: bool
) -> None:
    assert presence.is_for(image, platform) is is_for


def test_an_engine_may_bring_another_variant_but_no_other_architecture() -> None:
    arm = Platform.parse("linux/arm/v7")
    assert presence.could_be_for(classic("arm", "v6"), arm)
    assert presence.could_be_for(Image(ID, 1), arm)
    assert not presence.could_be_for(classic("arm64"), arm)
    # A containerd store that doesn't list manifests shows one of several, by its own preference.
    shown = Image(DIGEST, 1, repo_digests=[f"app@{DIGEST}"], os="linux", architecture="amd64")
    assert presence.could_be_for(shown, arm)
    assert not presence.could_be_for(listed(("arm", "v7", False), ("amd64", "", True)), arm)


def test_of_several_digests_none_is_guessed() -> None:
    reference = Reference.parse("registry.example/app:1")
    names = [f"registry.example/app@{DIGEST}", f"registry.example/app@{ID}", "<none>@<none>"]
    names.append(f"elsewhere.example/app@{ID}")
    assert presence.digests(Image(ID, 1, repo_digests=names), reference) == {DIGEST, ID}
    assert presence.digest(Image(ID, 1, repo_digests=names), reference) is None
    assert presence.digest(Image(ID, 1, repo_digests=names[:1]), reference) == DIGEST
    pinned = Reference.parse(f"registry.example/app@{ID}")
    assert presence.digest(Image(ID, 1, repo_digests=names), pinned) == ID


def test_names_of_docker_hub_are_known_as_engines_shorten_them() -> None:
    image = Image(ID, 1, repo_digests=[f"app@{DIGEST}", f"else/app@{ID}"])
    assert presence.digests(image, Reference.parse("docker.io/library/app:1")) == {DIGEST}
    assert presence.digests(Image(ID, 1), Reference.parse("app:1")) == set()


def test_what_is_there_of_an_image_is_told_apart_by_id_platform_and_what_of_it_is_there() -> None:
    both = listed(("amd64", "", True), ("arm64", "", True))
    kinds = [
        *(classic("amd64"), classic("arm64"), classic("amd64", id=DIGEST)),
        *(both, listed(("amd64", "", True), ("arm64", "", False))),
    ]
    assert len({each.content for each in kinds}) == len(kinds)
    # What an index names, and isn't there, makes no difference.
    assert listed(("amd64", "", True), ("arm64", "", False)).content == (
        listed(("amd64", "", True)).content
    )


@pytest.mark.parametrize(
    ("os", "architecture", "platform"),
    [
        ("linux", "amd64", AMD64),
        ("linux", "arm64", ARM64),
        # Which variant it takes the engine doesn't say.
        ("linux", "arm", None),
        ("linux", "", None),
        ("", "amd64", None),
    ],
)
def test_what_an_engine_pulls_for_is_known_where_it_says_all_of_it(
    os: str, architecture: str, platform: Platform | None
) -> None:
    assert Version("1.41", "20.10", os, architecture).platform == platform
