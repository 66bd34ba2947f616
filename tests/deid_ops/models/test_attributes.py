"""The attribute network before it has learnt anything."""

from __future__ import annotations

import torch
from torch import nn

from deid_ops.models.attributes import AttributeNet
from deid_ops.models.refine import RIGHT_EYE
from deid_ops.swap.layout import N_POINTS


def test_attribute_net_starts_at_the_mean_face() -> None:
    mean = torch.rand(N_POINTS, 2) * 100
    net = AttributeNet(mean).eval()
    nn.init.zeros_(net.head[-1].weight)
    nn.init.zeros_(net.head[-1].bias)
    points, pose, expression, first = net.with_first_look(torch.rand(2, 3, 128, 128))
    assert torch.allclose(first[1], mean)
    for look in (net.looks.eye, net.looks.mouth):
        nn.init.zeros_(look.head[-1].weight)
    points = net(torch.rand(2, 3, 128, 128))[0]
    # the right eye is seen as a left one, which it is not in a face of random points
    rest = [i for i in range(N_POINTS) if i not in RIGHT_EYE.points]
    assert torch.allclose(points[1, rest], mean[rest], atol=1e-2)
    assert pose.shape == (2, 3)
    assert expression.shape == (2, 52)
