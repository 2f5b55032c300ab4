import numpy as np
import pytest
import torch
from small_i3d import small_i3d

from co2net.backbone import identity
from co2net.backbone.crc32c import crc32c, masked_crc32c
from co2net.backbone.i3d import I3D
from co2net.backbone.identity import checksum, identify, published, weights_sha256


@pytest.mark.parametrize(
    ("message", "crc"),
    [
        # RFC 3720, B.4, and the catalog's check value
        (b"", 0x00000000),
        (b"a", 0xC1D04330),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
    ids=["empty", "a", "check", "zeros", "ones", "rising", "falling"],
)
def test_known_checksums(message, crc):
    assert crc32c(np.frombuffer(message, np.uint8)) == crc


@pytest.mark.parametrize("size", [1, 3, 255, 256, 257, 4099, 70001])
def test_it_equals_the_bitwise_definition(size):
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    crc = 0xFFFFFFFF
    for byte in data.tolist():
        crc ^= byte
        for _bit in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c(data) == crc ^ 0xFFFFFFFF


def test_masking_rotates_and_adds():
    zeros = np.zeros(8, np.float32)
    assert masked_crc32c(zeros) == ((0x8A9136AA >> 15 | 0x8A9136AA << 17) + 0xA282EAD8) % 2**32


def test_convolutions_are_summed_in_the_layout_of_tensorflow():
    weight = torch.arange(2 * 3 * 4 * 5 * 6, dtype=torch.float32).reshape(2, 3, 4, 5, 6)
    there = np.ascontiguousarray(weight.numpy().transpose(2, 3, 4, 1, 0))
    assert checksum(weight) == masked_crc32c(there)


def test_the_published_checksums_name_every_tensor_of_the_network():
    with torch.device("meta"):
        state = I3D(channels=3).state_dict()
    names = {name for name in state if not name.endswith(("bn.weight", "num_batches_tracked"))}
    assert set(published()) == {"rgb_imagenet", "flow_imagenet", "rgb_scratch", "flow_scratch"}
    for checksums in published().values():
        assert set(checksums) == names
    # TF checkpoint index of rgb_imagenet: RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w
    assert published()["rgb_imagenet"]["Conv3d_1a_7x7.conv3d.weight"] == 1301742067
    assert published()["rgb_scratch"]["logits.conv3d.bias"] != 2324149748


@pytest.fixture
def known(monkeypatch):
    """A state dict, as if it were published as rgb_scratch."""
    state = small_i3d().state_dict()
    checksums = {
        name: checksum(value)
        for name, value in state.items()
        if not name.endswith(("bn.weight", "num_batches_tracked"))
    }
    other = {name: crc ^ 1 for name, crc in checksums.items()}
    monkeypatch.setattr(
        identity, "published", lambda: {"rgb_imagenet": other, "rgb_scratch": checksums}
    )
    return state


def test_published_weights_are_named(known):
    assert identify(known) == "rgb_scratch"


@pytest.mark.parametrize(
    "name", ["Mixed_4d.b2b.conv3d.weight", "logits.conv3d.bias", "Mixed_3b.b0.bn.weight"]
)
def test_one_other_number_makes_them_unknown(known, name):
    known[name].view(-1)[0] += 1e-6 + known[name].view(-1)[0] * 1e-6
    assert identify(known) == "unknown"


def test_weights_of_other_sizes_are_unknown():
    assert identify(small_i3d(divisor=16).state_dict()) == "unknown"


def test_the_hash_is_of_the_numbers_alone():
    state = small_i3d().state_dict()
    reordered = dict(reversed([*state.items()]))
    without = {name: value for name, value in state.items() if "num_batches" not in name}
    changed = {**state, "logits.conv3d.bias": state["logits.conv3d.bias"] + 1}
    assert weights_sha256(state) == weights_sha256(reordered) == weights_sha256(without)
    assert weights_sha256(state) != weights_sha256(changed)
