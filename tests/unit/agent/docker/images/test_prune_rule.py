"""Which images may go: whatever images and rules there are, nothing goes that is to stay."""

from hypothesis import given
from hypothesis import strategies as st

from towline.agent.docker.images.prune_rule import Candidate, Rules, choose
from towline.operations.image import parse_image
from towline.operations.image_results import Kept

NOW = 1_800_000_000.0
DIGESTS = [f"sha256:{number:064x}" for number in range(8)]
REPOSITORIES = ["docker.io/library/a", "registry.example:5000/b", "registry.example:5000/b/c"]
NAMES = [f"{repository}:{tag}" for repository in REPOSITORIES for tag in ("1", "2")]
BY_DIGEST = [f"{repository}@{digest}" for repository in REPOSITORIES for digest in DIGESTS]
AGES = st.floats(0.0, 1000.0)

images = st.lists(
    st.builds(
        lambda id, names, digests, age, later, used: Candidate(
            id, names, digests, NOW - age, NOW - min(age, later), used
        ),
        st.sampled_from(DIGESTS),
        st.sets(st.sampled_from(NAMES), max_size=2),
        st.sets(st.sampled_from(BY_DIGEST), max_size=2),
        *(AGES, AGES, st.booleans()),
    ),
    unique_by=lambda image: image.id,
)
protected = st.lists(
    st.sampled_from([*NAMES, *BY_DIGEST, *DIGESTS, DIGESTS[3][:19]]).map(parse_image), max_size=3
)


@given(images, st.integers(0, 3), AGES, protected)
def test_nothing_goes_that_is_to_stay_and_all_else_does(
    found: list[Candidate], keep: int, older_than: float, meant: list[object]
) -> None:
    rules = Rules(keep, older_than, tuple(meant))  # type: ignore[arg-type]
    going, kept = choose(found, rules, NOW)
    assert len(going) + kept.used + kept.wanted + kept.newest + kept.young == len(found)
    gone = {image.id for image in going}
    texts = {str(each) for each in meant}
    for image in found:
        known = {image.id, *image.names, *image.digests}
        known |= {each.partition("@")[2] for each in image.digests}
        named = bool(known & texts) or any(
            each.startswith(DIGESTS[3][:19]) for each in known if DIGESTS[3][:19] in texts
        )
        named = named or any(text.endswith(f"@{image.id}") for text in texts)
        newest = any(_rank(image, repository, found) < keep for repository in REPOSITORIES)
        stays = image.used or named or newest or NOW - image.since < older_than
        assert (image.id in gone) is not stays


def _rank(image: Candidate, repository: str, found: list[Candidate]) -> float:
    """Return how many images of a repository are newer; many for one that is not of it."""

    def is_of(each: Candidate) -> bool:
        names = (*each.names, *each.digests)
        return any(
            name.partition("@")[0] in (repository, f"{repository}:1", f"{repository}:2")
            for name in names
        )

    def age(each: Candidate) -> tuple[float, float, str]:
        return each.created, each.since, each.id

    if not is_of(image):
        return float("inf")
    return sum(is_of(each) and age(each) > age(image) for each in found)


def test_the_oldest_go_first_and_what_stays_says_why() -> None:
    found = [
        Candidate("new", [NAMES[0]], created=3.0),
        Candidate("old", [NAMES[1]], created=1.0),
        Candidate("used", created=2.0, used=True),
        Candidate("dangling", created=2.5),
        Candidate("wanted", [NAMES[2]], created=0.5),
    ]
    going, kept = choose(found, Rules(1, 0.0, (parse_image(NAMES[2]),)), NOW)
    assert [image.id for image in going] == ["old", "dangling"]
    assert kept == Kept(used=1, wanted=1, newest=1)
