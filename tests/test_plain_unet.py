import numpy as np
import pytest

torch = pytest.importorskip("torch")

from temlib.plain_unet import PlainUNet, gflop  # noqa: E402


def small(depth=1):
    torch.manual_seed(0)
    return PlainUNet(2, (4, 6, 8), depth).eval()


def test_a_frame_keeps_its_shape():
    network = small()
    assert network.stride_px == 8
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 16, 40)).shape == (2, 1, 16, 40)


@pytest.mark.parametrize("depth", [1, 2])
def test_no_pixel_reaches_farther_than_the_halo(depth):
    network = small(depth).double()
    size = 2 * network.halo_px + 64
    frames = torch.zeros(1, 1, size, size, dtype=torch.double, requires_grad=True)
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if "weight" in name:
                weights.abs_()  # nothing cancels
    middle = size // 2
    network(frames + 2)[0, 0, middle, middle].backward()
    reached = np.argwhere(frames.grad[0, 0].numpy())
    assert np.abs(reached - middle).max() <= network.halo_px
    assert np.abs(reached - middle).max() > network.halo_px / 4


def test_operations_of_one_convolution_are_counted_by_hand():
    network = PlainUNet(4, (16,), 1)
    # 32 x 32 frame: 8 x 8 places, 3 x 3 taps, 16 channels in and out, twice, two operations each
    assert gflop(network.eval(), 32) == pytest.approx(2 * 2 * 64 * 9 * 16 * 16 / 1e9)
