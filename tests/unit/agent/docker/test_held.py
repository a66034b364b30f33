"""What an engine's list of images comes to."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.agent.docker.answers import ListedImage
from towline.agent.docker.held import difference, held, whole
from towline.wire.inventory import (
    MOST_IN_PART,
    MOST_NAMES,
    MOST_PARTS,
    ImageHeld,
    Inventory,
    hash_of,
)
from towline.wire.messages import inventory
from towline.wire.platform import Platform

START = "0123456789abcdef"
A, B, C = (f"sha256:{digit * 64}" for digit in "abc")
AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")


def listed(text: str | dict[str, Any]) -> ListedImage:
    return msgspec.convert(
        {"Id": A, "Size": 5, **(text if isinstance(text, dict) else {})}, ListedImage
    )


def the(image: ListedImage, **more: Any) -> ImageHeld:
    (found,) = held([image], more.get("used", {}), more.get("platforms", {}), AMD).values()
    return found


def manifest(platform: str, *, available: bool = True) -> dict[str, Any]:
    os, architecture = platform.split("/")
    data = {"Platform": {"os": os, "architecture": architecture}}
    return {"ID": B, "Available": available, "ImageData": data, "Kind": "image"}


ATTESTATION = {"ID": C, "Available": True, "Kind": "attestation"}


def read(messages: list[Inventory]) -> list[Inventory]:
    """Return messages as a controller reads them."""
    return [inventory(f"inventory.{A[7:39]}", msgspec.json.encode(each))[1] for each in messages]


def many(count: int, length: int = 10) -> dict[str, ImageHeld]:
    names = (f"docker.io/library/{'n' * length}:{number}" for number in range(count))
    return {
        f"sha256:{n:064x}": ImageHeld(f"sha256:{n:064x}", [], [name])
        for n, name in enumerate(names)
    }


def test_names_are_in_full_and_sorted_and_digests_stand_by_themselves() -> None:
    found = the(
        listed(
            {
                # What the containerd store and Podman list of what was pulled by its digest.
                "RepoTags": [
                    "nginx:1.27",
                    "localhost:5000/a:1",
                    f"localhost:5000/a@{B}",
                    "busybox",
                ],
                "RepoDigests": [f"nginx@{C}", f"localhost:5000/a@{B}"],
                "Created": 1704067200,
            }
        )
    )
    assert found.names == [
        "docker.io/library/busybox:latest",
        "docker.io/library/nginx:1.27",
        "localhost:5000/a:1",
    ]
    assert found.digests == [f"docker.io/library/nginx@{C}", f"localhost:5000/a@{B}"]
    assert (found.size, found.created) == (5, 1704067200.0)


def test_what_is_no_name_is_left_out_and_hides_no_other() -> None:
    tags = ["<none>:<none>", "A:B:C", "", "nginx:1", f"{'x' * 300}.io/{'a' * 250}:1"]
    found = the(listed({"RepoTags": tags, "RepoDigests": ["<none>@<none>", "nginx@sha256:0"]}))
    assert (found.names, found.digests) == (["docker.io/library/nginx:1"], [])


@pytest.mark.parametrize("created", [-62135596800, 0, None, 1e300])
def test_what_no_image_was_made_at_is_not_said(created: float | None) -> None:
    found = the(listed({"Created": created, "Size": -1}))
    assert (found.created, found.size) == (None, 0)


def test_of_several_platforms_the_engines_own_is_said() -> None:
    both = listed({"Manifests": [ATTESTATION, manifest("linux/arm64"), manifest("linux/amd64")]})
    assert the(both).platform == "linux/amd64"
    other = [ATTESTATION, manifest("linux/arm64"), manifest("linux/amd64", available=False)]
    assert the(listed({"Manifests": other})).platform == "linux/arm64"


def test_an_index_of_which_no_image_is_there_is_not_held() -> None:
    away = [manifest("linux/amd64", available=False), ATTESTATION]
    assert held([listed({"Manifests": away})], {}, {}, AMD) == {}
    assert the(listed({"Manifests": [ATTESTATION]})).platform == ""


def test_where_the_list_does_not_say_a_platform_what_was_asked_counts() -> None:
    assert the(listed({}), platforms={A: ARM}).platform == "linux/arm64"
    assert the(listed({}), platforms={A: Platform("lin ux", "é")}).platform == ""


def test_an_id_is_in_full_and_so_is_that_of_who_uses_it() -> None:
    found = the(listed({"Id": "a" * 64}), used={A: 1, "a" * 64: 2, B: 1})
    assert (found.id, found.used) == (A, 3)


def test_an_image_that_is_listed_once_for_each_name_is_one() -> None:
    pair = [listed({"RepoTags": ["a:1"]}), listed({"RepoTags": ["b:1"], "RepoDigests": [f"b@{B}"]})]
    (found,) = held(pair, {}, {}, None).values()
    assert found.names == ["docker.io/library/a:1", "docker.io/library/b:1"]
    assert found.digests == [f"docker.io/library/b@{B}"]


def test_a_change_says_what_is_new_or_another_and_what_is_gone() -> None:
    before = {id: ImageHeld(id) for id in (A, B)}
    after = {A: ImageHeld(A, used=1), C: ImageHeld(C)}
    (message,) = read(difference(START, before, "b" * 32, after, hash_of(after.values())))
    assert message == Inventory(START, hash_of(after.values()), "b" * 32, [after[A], after[C]], [B])


def test_what_was_never_said_is_said_in_whole() -> None:
    (message,) = difference(START, {}, "", {}, "h")
    assert message == Inventory(START, "h")


@pytest.mark.parametrize(("count", "length"), [(MOST_IN_PART + 1, 10), (1500, 240)])
def test_more_than_fits_into_a_message_is_sent_in_parts(count: int, length: int) -> None:
    images = many(count, length)
    few = {A: ImageHeld(A)}
    for messages in (whole(START, images, "h"), difference(START, few, "b", images, "h")):
        found = read(messages)
        assert len(found) > 1
        assert [each.part for each in found] == list(range(len(found)))
        assert {each.parts for each in found} == {len(found)}
        assert {image.id: image for each in found for image in each.images} == images
        assert not any(each.base for each in found)
    gone = read(difference(START, images, "b", few, "h"))
    assert len(gone) == 1
    assert not gone[0].base


def test_more_than_is_sent_at_all_is_left_out_of_what_is_held() -> None:
    names = [f"{'n' * 200}:{number}" for number in range(MOST_NAMES + 50)]
    image = listed({"RepoTags": names, "RepoDigests": [f"a@sha256:{n:064x}" for n in range(50)]})
    assert len(the(image).names) == MOST_NAMES
    images = [msgspec.structs.replace(image, id=f"sha256:{n:064x}") for n in range(220)]
    found = held(images, {}, {}, None)
    assert 0 < len(found) < len(images)
    messages = read(whole(START, found, hash_of(found.values())))
    assert len(messages) == MOST_PARTS
    assert {image.id: image for each in messages for image in each.images} == found


TEXTS = st.text(max_size=30) | st.sampled_from(["nginx:1", f"nginx@{B}", "<none>:<none>", "a" * 64])


@given(
    st.lists(
        st.fixed_dictionaries(
            {"Id": TEXTS},
            optional={
                "RepoTags": st.none() | st.lists(TEXTS),
                "RepoDigests": st.none() | st.lists(TEXTS),
                "Size": st.none() | st.integers(-(2**62), 2**62),
                "Created": st.none() | st.integers(-(2**62), 2**62),
                "Manifests": st.none() | st.lists(st.just(manifest("linux/arm64"))),
            },
        )
    ),
    st.dictionaries(TEXTS, st.integers(1, 5)),
    st.dictionaries(TEXTS, st.builds(Platform, TEXTS, TEXTS, TEXTS)),
)
def test_whatever_an_engine_lists_controllers_read_what_is_sent(
    images: list[dict[str, Any]], used: dict[str, int], platforms: dict[str, Platform]
) -> None:
    found = held([listed(each) for each in images], used, platforms, None)
    assert list(found) == sorted(found)
    assert read(whole(START, found, "h")) == [Inventory(START, "h", images=list(found.values()))]


def test_a_digest_that_is_the_id_is_known_in_each_repository_that_has_a_name() -> None:
    # As Engine 29 lists it: the digest in one of them, now this one and now that.
    for one in ("a", "b"):
        image = listed({"RepoTags": ["a:1", "b:2"], "RepoDigests": [f"{one}@{A}"]})
        assert the(image).digests == [f"docker.io/library/{each}@{A}" for each in ("a", "b")]
    # In the classic store each repository has its own.
    classic = listed({"RepoTags": ["a:1", "b:2"], "RepoDigests": [f"a@{B}"]})
    assert the(classic).digests == [f"docker.io/library/a@{B}"]
