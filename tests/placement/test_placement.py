"""A placement is a bijection, checked against a layout written down cell by cell."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import placements

from tremap_brevitas import Memory
from tremap_brevitas.placement import LayerCodes, PlacedLayer, Placement, linear_placement


@given(placements())
def test_the_inverse_against_the_oracle(placement):
    layers = [(layer.name, layer.size, layer.bit_width) for layer in placement.layers]
    memory = placement.memory
    expected = oracle.linear_layout(layers, memory.words, memory.word_bits, placement.reuse)
    at_cell: dict[int, list[tuple[str, int, int]]] = {}
    for sites in placement.sites(np.arange(memory.cells)):
        for weight, bit, cell in zip(sites.weight, sites.bit, sites.source, strict=True):
            at_cell.setdefault(int(cell), []).append((sites.layer.name, int(weight), int(bit)))
    assert {c: sorted(v) for c, v in at_cell.items()} == {c: sorted(v) for c, v in expected.items()}


@given(placements())
def test_cell_and_sites_undo_each_other(placement):
    for layer in placement.layers:
        for weight in range(layer.size):
            for bit in range(layer.bit_width):
                cell = placement.cell(layer.name, weight, bit=bit)
                index = np.unravel_index(weight, layer.shape)
                assert placement.cell(layer.name, index, bit=bit) == cell
                assert str(placement.weights_at(cell)[0].layer) in {x.name for x in placement.layers}
                assert (layer.name, tuple(map(int, index)), bit) in [
                    (f.layer, f.index, f.bit) for f in placement.weights_at(cell)
                ]


@given(placements(reuse=False))
def test_without_reuse_every_bit_has_a_cell_of_its_own(placement):
    sites = placement.sites(np.arange(placement.memory.cells))
    assert sum(len(s.weight) for s in sites) == sum(layer.size * layer.bit_width for layer in placement.layers)
    used = np.concatenate([s.source for s in sites])
    assert len(np.unique(used)) == len(used)


def test_an_order_of_ones_own():
    order = np.array([3, 0, 2, 1])
    layer = PlacedLayer("fc", (2, 2), 4, "twos_complement", first_word=0, codes_per_word=2, order=order)
    placement = Placement(Memory(words=2, word_bits=8), (layer,))
    for position, weight in enumerate(order):
        assert placement.cell("fc", int(weight), bit=1) == 4 * position + 1
        assert placement.weights_at(4 * position + 1)[0].index == tuple(np.unravel_index(weight, (2, 2)))


@given(placements(), st.randoms(use_true_random=False))
def test_saving(tmp_path_factory, placement, random):
    layers = []
    for layer in placement.layers:
        order = list(range(layer.size))
        random.shuffle(order)
        keep = random.random() < 0.5
        layers.append(
            PlacedLayer(
                layer.name,
                layer.shape,
                layer.bit_width,
                layer.encoding,
                layer.first_word,
                layer.codes_per_word,
                None if keep else np.array(order),
            )
        )
    placement = Placement(placement.memory, tuple(layers), placement.reuse)
    loaded = Placement.load(placement.save(tmp_path_factory.mktemp("placement") / "p.npz"))
    assert loaded == placement
    assert str(loaded) == str(placement)


def test_a_code_never_straddles_two_words():
    placement = linear_placement([LayerCodes("a", (4,), 5, "binary")], Memory(words=2, word_bits=16))
    assert [placement.cell("a", i, bit=0) for i in range(4)] == [0, 5, 10, 16]
    assert placement.weights_at(15) == []


def test_overflow_says_how_many_bits_are_missing():
    layers = [LayerCodes("a", (9,), 8, "twos_complement")]
    with pytest.raises(ValueError, match="need 3 words, but the memory has 2 .*: 32 bits are missing; .*reuse=True"):
        linear_placement(layers, Memory(words=2, word_bits=32))
    assert linear_placement(layers, Memory(words=2, word_bits=32), reuse=True).tiles == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear_placement([], Memory(4, 8)), "at least one layer"),
        (lambda: linear_placement([LayerCodes("a", (1,), 9, "binary")], Memory(4, 8)), "layer 'a': a code of 9 bits"),
        (lambda: PlacedLayer("a", (2,), 8, "binary", 0, 1, np.array([0, 0])), "layer 'a': order must be a permutation"),
        (lambda: PlacedLayer("a", (), 17, "binary", 0, 1), "bit_width must be 1 to 16"),
        (
            lambda: Placement(Memory(4, 8), (PlacedLayer("a", (1,), 8, "binary", 0, 2),)),
            "layer 'a': 2 codes of 8 bits do not fit into a word of 8",
        ),
        (
            lambda: Placement(
                Memory(4, 8), (PlacedLayer("a", (2,), 8, "binary", 0, 1), PlacedLayer("b", (1,), 8, "binary", 1, 1))
            ),
            "layer 'b' begins at word 1, but layer 'a' ends at 2",
        ),
    ],
)
def test_bad_placements(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_questions():
    placement = linear_placement([LayerCodes("a", (2, 2), 8, "binary")], Memory(4, 8))
    with pytest.raises(KeyError, match="no layer 'b' in the placement; it has a"):
        placement.cell("b", 0, bit=0)
    with pytest.raises(ValueError, match=r"layer 'a': no weight \(2, 0\) in shape \(2, 2\)"):
        placement.cell("a", (2, 0), bit=0)
    with pytest.raises(ValueError, match="no bit 8 in codes of 8 bits"):
        placement.cell("a", 0, bit=8)
    with pytest.raises(ValueError, match="ascending"):
        placement.sites([3, 1])
    with pytest.raises(ValueError, match="not all inside"):
        placement.sites([99])
