"""What becomes free where images share layers, held against a store that is really emptied."""

from hypothesis import given
from hypothesis import strategies as st

from towline.agent.docker.images.answers import HistoryEntry
from towline.agent.docker.images.layers import Layered, freed, layer_sizes

SIZES = {"a": 100, "b": 0, "c": 7, "d": 5000}
chains = st.lists(st.sampled_from("abcd"), max_size=4).map(tuple)
Chain = tuple[str, ...]


def stored(images: dict[str, Chain]) -> int:
    """Return how many bytes a store has, with each layer upon the same layers once."""
    links = {chain[: count + 1] for chain in images.values() for count in range(len(chain))}
    return sum(SIZES[link[-1]] for link in links)


def layered(
    id: str, images: dict[str, Chain], *, says_shared: bool = False, says_sizes: bool = True
) -> Layered:
    """Return an image as an engine would describe it."""
    chain = images[id]
    others = {
        other[: count + 1]
        for name, other in images.items()
        for count in range(len(other))
        if name != id
    }
    common = [count for count in range(len(chain)) if chain[: count + 1] in others]
    sizes = tuple(SIZES[layer] for layer in chain)
    shared = sum(sizes[count] for count in common)
    return Layered(
        *(id, sum(sizes), chain),
        shared if says_shared and shared else None,
        sizes if says_sizes else None,
    )


@given(st.dictionaries(st.sampled_from("12345"), chains), st.data(), st.booleans())
def test_what_is_freed_is_what_the_store_has_less_and_the_sum_of_all(
    images: dict[str, Chain], data: st.DataObject, says_shared: bool
) -> None:
    going = data.draw(st.permutations(sorted(images)).map(lambda ids: ids[: len(ids) // 2 + 1]))
    staying = {id: chain for id, chain in images.items() if id not in going}

    def known(ids: list[str], **says: bool) -> list[Layered]:
        return [layered(id, images, **says) for id in ids]

    found = freed(known(going, says_shared=says_shared), known([*staying], says_shared=says_shared))
    assert len(found) == len(going)
    assert sum(found) == stored(images) - stored(staying)
    # Who isn't told how large the layers are claims no more than that.
    least = freed(
        known(going, says_shared=says_shared, says_sizes=False),
        known([*staying], says_shared=says_shared),
    )
    assert 0 <= sum(least) <= sum(found)


def test_compressed_content_counts_by_what_the_engine_says_is_shared() -> None:
    # As Engine 29 has it: an image's size is that of its content and of what is unpacked.
    a = Layered("a", 1_232_733, ("base", "middle", "a"), 1_020_731, (311_296, 208_896, 110_592))
    b = Layered("b", 1_250_915, ("base", "middle", "b"), 1_020_731)
    assert freed([a], [b]) == [212_002]
    assert freed([a, b], []) == [212_002, 1_250_915]


def test_the_layers_of_a_history_are_those_that_made_one() -> None:
    def entries(*made: tuple[str, int]) -> list[HistoryEntry]:
        return [HistoryEntry(*each) for each in made][::-1]

    nop = "/bin/sh -c #(nop) "
    history = entries(
        *(("ADD rootfs", 5), (f"{nop}ENV A=b", 0), ("WORKDIR /app", 0)),
        *(("COPY . .", 7), (f'{nop} CMD ["sh"]', 0)),
    )
    assert layer_sizes(history, 3) == (5, 0, 7)
    assert layer_sizes(history, 2) == (5, 7)
    assert layer_sizes(history, 6) is None
    assert layer_sizes(history, 1) is None
    assert layer_sizes([], 0) == ()
