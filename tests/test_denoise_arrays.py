"""`temlib.denoise`: arrays, dask arrays and HyperSpy signals in, the same kind out."""

import subprocess
import sys

import numpy as np
import pytest

import temlib
from temlib import networks
from temlib.errors import ModelFileError
from temlib.inference import denoise_image
from temlib.provenance import sha256

MOVIE = np.random.default_rng(4).poisson(6, (5, 20, 30)).astype(np.uint16)


@pytest.fixture(scope="module")
def expected(tiny_card):
    """The movie frame by frame."""
    network = networks.load(tiny_card)
    return np.stack([denoise_image(frame, network) for frame in MOVIE])


def close(result, expected):
    same_shape = np.shape(result) == np.shape(expected)
    return same_shape and np.allclose(np.asarray(result), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


# Arrays


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "i4", "u8", "f2", "f4", ">f8"])
def test_numbers_of_any_type_give_float32_of_the_same_shape(tiny_card, expected, dtype):
    given = MOVIE.astype(dtype)
    before = given.copy()
    result = temlib.denoise(given, model=tiny_card)
    assert (type(result), result.dtype, result.shape) == (np.ndarray, np.float32, MOVIE.shape)
    assert close(result, expected)
    np.testing.assert_array_equal(given, before)


def test_a_frame_is_denoised_as_in_a_movie(tiny_card, expected):
    assert close(temlib.denoise(MOVIE[3], model=str(tiny_card)), expected[3])


def test_the_result_is_in_the_unit_of_the_input(tiny_card, expected):
    assert close(temlib.denoise(44.0 * MOVIE, model=tiny_card), 44 * expected)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (np.ones(7), r"array of shape \(7,\)"),
        (np.ones((2, 3, 4, 5)), r"array of shape \(2, 3, 4, 5\)"),
        (np.ones((0, 3)), r"array of shape \(0, 3\)"),
        (np.ones((9, 8), complex), r"numbers of type complex128: .* Take their abs\(\)"),
        (np.ones((9, 8), bool), r"numbers of type bool: .* Convert them with astype\(float\)"),
        (np.full((9, 8), "a"), "numbers of type <U1"),
        (np.ones((9, 8, 3)), "colour image"),
        (np.zeros((9, 8), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colour image"),
        (np.where(np.eye(4), np.nan, 1), r"pixels that are NaN or infinite: "),
        (np.stack([np.eye(4), np.full((4, 4), np.inf)]), "NaN or infinite in frame 1: "),
    ],
)
def test_what_holds_no_frames_is_told_in_one_sentence(tiny_card, data, sentence):
    with pytest.raises(ValueError, match=sentence):
        temlib.denoise(data, model=tiny_card)


@pytest.mark.parametrize("data", [[[1, 2], [3, 4]], "movie.dm4", None])
def test_what_is_no_array_is_told_what_is_needed(tiny_card, data):
    with pytest.raises(TypeError, match="a NumPy array, a dask array or a HyperSpy signal is needed"):
        temlib.denoise(data, model=tiny_card)


def test_an_unknown_network_is_told():
    with pytest.raises(ModelFileError, match="There is no network 'finest'"):
        temlib.denoise(MOVIE, model="finest")


def test_a_card_that_was_replaced_is_loaded_again(tmp_path):
    torch = pytest.importorskip("torch")
    from temlib.export import export
    from temlib.plain_unet import PlainUNet

    def write_card(pattern):
        network = PlainUNet(stem=2, widths=(4, 6), depth=1)
        torch.nn.init.zeros_(network.head.weight)
        network.head.bias.data = torch.tensor(pattern).ravel()  # of 2 x 2 pixels, whatever the frame
        export(network, tmp_path / "mine.json", {})

    flat = np.full((8, 12), 50.0)
    for pattern in ([[0.5, 1.0], [1.5, 1.0]], [[1.25, 0.875], [0.875, 1.0]]):  # with a mean of 1
        write_card(pattern)
        assert close(temlib.denoise(flat, model=tmp_path / "mine.json"), np.tile(50 * np.array(pattern), (4, 6)))


def test_importing_temlib_loads_neither_torch_nor_the_runtime():
    code = "import sys, temlib; temlib.denoise; print(sorted({'torch', 'openvino', 'hyperspy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


# Dask


def test_a_lazy_array_stays_lazy_whatever_its_chunks(tiny_card, expected):
    da = pytest.importorskip("dask.array")
    for chunks in ((2, 20, 30), (5, 7, 11), (1, 20, 15)):
        result = temlib.denoise(da.from_array(MOVIE, chunks=chunks), model=tiny_card)
        assert (isinstance(result, da.Array), result.shape, result.dtype) == (True, MOVIE.shape, np.float32)
        assert close(result, expected)
    assert close(temlib.denoise(da.from_array(MOVIE[1], chunks=8), model=tiny_card), expected[1])


def test_pixels_that_are_not_finite_are_told_when_a_lazy_array_is_computed(tiny_card):
    da = pytest.importorskip("dask.array")
    result = temlib.denoise(da.from_array(np.full((3, 8, 9), np.nan), chunks=(1, 8, 9)), model=tiny_card)
    with pytest.raises(ValueError, match="NaN or infinite"):
        result.compute()


# HyperSpy


@pytest.fixture
def signal():
    hs = pytest.importorskip("hyperspy.api")
    made = hs.signals.Signal2D(MOVIE)
    time, *image = made.axes_manager._axes
    time.name, time.scale, time.units = "time", 0.25, "s"
    for axis, scale in zip(image, (2.5, 3.0), strict=True):
        axis.scale, axis.units, axis.offset = scale, "nm", 7.0
    made.metadata.General.title = "silicate"
    made.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 200.0)
    made.original_metadata.set_item("ImageTags.Binning", 8)
    return made


@pytest.mark.parametrize("lazy", [False, True])
def test_a_signal_stays_one_with_its_axes_and_metadata(tiny_card, expected, signal, lazy):
    given = signal.as_lazy() if lazy else signal
    result = temlib.denoise(given, model=tiny_card)
    assert (type(result), result._lazy) == (type(given), lazy)
    assert [axis.get_axis_dictionary() for axis in result.axes_manager._axes] == [
        axis.get_axis_dictionary() for axis in signal.axes_manager._axes
    ]
    assert result.metadata.General.title == "silicate"
    assert result.metadata.Acquisition_instrument.TEM.beam_energy == 200
    assert result.original_metadata.ImageTags.Binning == 8
    assert result.metadata.Denoised.denoised_by == str(tiny_card)
    assert result.metadata.Denoised.card_sha256 == sha256(tiny_card)
    assert close(result.data, expected)
    assert "Denoised" not in signal.metadata
    np.testing.assert_array_equal(signal.data, MOVIE)


def test_a_single_image_and_a_grid_of_images_are_signals_too(tiny_card, expected, signal):
    hs = pytest.importorskip("hyperspy.api")
    assert close(temlib.denoise(signal.inav[2], model=tiny_card).data, expected[2])
    grid = hs.signals.Signal2D(MOVIE[:4].reshape(2, 2, 20, 30))
    assert close(temlib.denoise(grid, model=tiny_card).data, expected[:4].reshape(2, 2, 20, 30))
    assert close(temlib.denoise(grid.as_lazy(), model=tiny_card).data, expected[:4].reshape(2, 2, 20, 30))


def test_signals_without_images_are_told(tiny_card, signal):
    hs = pytest.importorskip("hyperspy.api")
    with pytest.raises(ValueError, match=r"signal of dimension 1 \(Signal1D\)"):
        temlib.denoise(hs.signals.Signal1D(np.ones((4, 5))), model=tiny_card)
    with pytest.raises(ValueError, match="numbers of type complex"):
        temlib.denoise(hs.signals.ComplexSignal2D(np.ones((4, 5), complex)), model=tiny_card)
    signal.axes_manager.signal_axes[0].units = "1/nm"
    with pytest.raises(ValueError, match="diffraction pattern"):
        temlib.denoise(signal, model=tiny_card)


def test_a_cluster_denoises_a_lazy_signal_each_worker_with_its_own_network(tiny_card, expected, signal):
    distributed = pytest.importorskip("distributed")
    lazy = temlib.denoise(signal.as_lazy(), model=tiny_card)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        frames = lazy.data.rechunk((1, 20, 30))
        assert close(client.compute(frames).result(timeout=120), expected)
