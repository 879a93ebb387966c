"""Channels through operators that few networks have: they move where the function allows it, and stay where it does not."""

import brevitas.nn as qnn
import pytest
import torch
from reorderable import FIXED, conv, fc
from torch import nn
from torch.nn import functional

import tremap_brevitas as tm
from tremap_brevitas.prepare.reordering import channel_groups, prove_groups

VECTORS = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
PICTURES = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
WORDS = torch.tensor([[1, 6, 0], [2, 2, 5]])
SEQUENCES = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Layers, and what is done with them."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.layers, self.run = nn.ModuleDict(layers), forward

    def forward(self, x):
        return self.run(x, **self.layers)


def heads(x):
    return x.view(2, 5, 2, 4).transpose(1, 2)


def attended(x, q, k, v, out, mask=None):
    attended = functional.scaled_dot_product_attention(heads(q(x)), heads(k(x)), heads(v(x)), attn_mask=mask)
    return out(attended.transpose(1, 2).reshape(2, 5, 8))


def attention(mask=None):
    def forward(x, q, k, v, out):
        return attended(x, q, k, v, out, mask)

    return Net(forward, q=fc(6, 8), k=fc(6, 8), v=fc(6, 8), out=fc(8, 3)), SEQUENCES


OF_ATTENTION = {
    **{f"q{n}": "q[0] k[0]" for n in ("", " #2")},
    **{f"v{n}": "v[0] out[1]" for n in ("", " #2")},
    "q blocks": "q[0] k[0] v[0] out[1]",
}
OPERATORS = {
    "attention": (attention, OF_ATTENTION),
    "attention with a mask": (lambda: attention(torch.ones(5, 5, dtype=torch.bool).tril()), OF_ATTENTION),
    "embedding": (
        lambda: (
            Net(lambda x, table, end: end(table(x)), table=qnn.QuantEmbedding(7, 6, weight_quant=FIXED), end=fc(6, 2)),
            WORDS,
        ),
        {"table": "table[1] end[1]"},
    ),
    "largest values": (
        lambda: (Net(lambda x, one, end: end(one(x).topk(3, dim=1).values), one=fc(5, 8), end=fc(3, 2)), VECTORS),
        {"one": "one[0]"},
    ),
    "sorted values": (
        lambda: (Net(lambda x, one, end: end(one(x).sort(dim=1)[0]), one=fc(5, 8), end=fc(8, 2)), VECTORS),
        {"one": "one[0]"},
    ),
    "where the largest is": (
        lambda: (Net(lambda x, one, end: end(one(x)) * one(x).argmax(1, keepdim=True), one=fc(5, 8), end=fc(8, 2)), VECTORS),
        {},
    ),
    "the largest and where it is": (
        lambda: (Net(lambda x, one, end: one(x).max(1)[0] * one(x).max(1)[1], one=fc(5, 8), end=fc(8, 2)), VECTORS),
        {},
    ),
    "pixel shuffle": (
        lambda: (
            Net(lambda x, one, end: end(functional.pixel_shuffle(one(x), 2).mean((2, 3))), one=conv(2, 12), end=fc(3, 2)),
            PICTURES,
        ),
        {**{f"one{n}": "one[0]" for n in ("", " #2", " #3")}, "one blocks": "one[0] end[1]"},
    ),
    "copies": (
        lambda: (Net(lambda x, one, end: end(one(x).repeat(1, 2)), one=fc(5, 4), end=fc(8, 2)), VECTORS),
        {"one": "one[0] end[1]"},
    ),
    "turned": (
        lambda: (Net(lambda x, one, end: end(one(x).roll(3, 1)), one=fc(5, 8), end=fc(8, 2)), VECTORS),
        {"one": "one[0] end[1]"},
    ),
    "groups of channels normalized": (
        lambda: (
            Net(
                lambda x, one, norm, end: end(norm(one(x))).mean((2, 3)),
                one=conv(2, 6),
                norm=nn.GroupNorm(2, 6),
                end=conv(6, 2),
            ),
            PICTURES,
        ),
        {"one": "one[0] end[1]", "one #2": "one[0] end[1]", "one blocks": "one[0] end[1]"},
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_channels_move_through(name):
    make, expected = OPERATORS[name]
    model, x = make()
    net = tm.place(tm.make_faulty(model.eval()), tm.Memory(words=5_000, word_bits=32))
    groups = channel_groups(net, x, prove=False).groups
    named = {}
    for group in groups:
        sides = (f"{side.layer.removeprefix('layers.')}[{side.axis}]" for side in group.sides)
        named[group.name.removeprefix("layers.")] = " ".join(sides)
    assert named == expected
    assert all(worst < 1e-12 for worst in prove_groups(net, groups, x, seed=1).values())
