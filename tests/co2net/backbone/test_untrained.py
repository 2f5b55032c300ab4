"""Untrained backbones: the seed decides, and features tell clips apart."""

import torch

from co2net.backbone.untrained import untrained_i3d


def test_the_seed_decides_and_features_differ_from_clip_to_clip():
    model = untrained_i3d("flow", 3)
    again, other = untrained_i3d("flow", 3).state_dict(), untrained_i3d("flow", 4).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, again[name])
    assert any(not torch.equal(value, other[name]) for name, value in again.items())
    still = torch.zeros(1, 2, 16, 224, 224)
    right, down = still.clone(), still.clone()
    right[:, 0, :, 80:150, 80:150] = 0.3
    down[:, 1, :, 80:150, 80:150] = 0.3
    with torch.no_grad():
        rows, _ = model(torch.cat([still, right, down]))
    assert rows.shape == (3, 64)
    directions = rows / rows.norm(dim=1, keepdim=True)
    cosines = directions @ directions.T
    assert cosines[0, 1] < 0.99
    assert cosines[1, 2] < 0.995
