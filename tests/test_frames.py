import logging

import h5py
import mrcfile
import numpy as np
import pytest
import rsciio.hspy
import rsciio.tiff
import rsciio.zspy
import tifffile
from skimage.io import imsave

from temlib import calibration
from temlib.errors import FrameError
from temlib.frames import read_frame, write_gatan_tiff
from temlib.writers import rosetta_signal

COUNTS = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000


def write(path, counts=COUNTS, *, pixel_size_nm=2.5, exposure_s=0.004, counts_per_e=40, **options):
    write_gatan_tiff(
        path,
        counts,
        pixel_size_nm=pixel_size_nm,
        exposure_s=exposure_s,
        counts_per_e=counts_per_e,
        **options,
    )
    return path


def hyperspy_signal(data, unit="nm", navigate=0, **metadata):
    """What HyperSpy hands to RosettaSciIO's writers."""
    axes = [
        {
            "_type": "UniformDataAxis",
            "name": f"axis {i}",
            "size": size,
            "scale": 2.5,
            "offset": 0.0,
            "units": unit,
            "navigate": i < navigate,
            "is_binned": False,
        }
        for i, size in enumerate(data.shape)
    ]
    metadata = {"General": {"title": ""}, "Signal": {"signal_type": ""}, **metadata}
    return rosetta_signal(axes, metadata) | {"data": data}


# The Gatan TIFF writer


def test_a_written_frame_reads_back_in_electrons_with_its_calibration(tmp_path):
    frame = read_frame(write(tmp_path / "a.tif", pixel_size_nm=(2.5, 3.0), title="silicate"))
    np.testing.assert_allclose(frame.image, COUNTS / 40, rtol=1e-6)
    assert frame.image.dtype == np.float32
    assert (frame.unit, frame.counts_per_e, frame.origin_counts) == ("e-", 40, 0)
    assert frame.pixel_size_nm == pytest.approx((2.5, 3.0))
    assert frame.exposure_s == 0.004
    assert frame.notes == ()


def test_unequal_pixel_edges_are_kept_but_make_no_square_pixel(tmp_path):
    def square(edges):
        return read_frame(write(tmp_path / "a.tif", pixel_size_nm=edges)).square_pixel_nm

    assert square((2.5, 3.0)) is None
    assert square((2.5, 2.501)) == pytest.approx(2.5)
    assert square(None) is None


def test_rosettasciio_reads_the_written_calibration_as_it_reads_the_papers(tmp_path):
    [signal] = rsciio.tiff.file_reader(str(write(tmp_path / "a.tif", pixel_size_nm=(2.5, 3.0))))
    height, width = signal["axes"]
    assert (height["units"], width["units"]) == ("ƒÊm", "ƒÊm")  # as the paper's frames
    assert (height["scale"], width["scale"]) == pytest.approx((0.0025, 0.003))
    noise = signal["metadata"]["Signal"]["Noise_properties"]["Variance_linear_model"]
    assert signal["metadata"]["Signal"]["quantity"] == "e-"
    assert noise == {"gain_factor": 1 / 40, "gain_offset": 0.0}


def test_a_frame_written_twice_has_the_same_bytes_and_no_date(tmp_path):
    first, second = write(tmp_path / "a.tif"), write(tmp_path / "b.tif")
    assert first.read_bytes() == second.read_bytes()
    with tifffile.TiffFile(first) as tiff:
        assert not {"DateTime", "Software"} & {tag.name for tag in tiff.pages[0].tags}


def test_a_frame_written_without_calibration_says_what_it_lacks(tmp_path):
    path = write(tmp_path / "a.tif", pixel_size_nm=None, exposure_s=None, counts_per_e=None)
    frame = read_frame(path)
    np.testing.assert_array_equal(frame.image, COUNTS)
    assert (frame.unit, frame.pixel_size_nm, frame.exposure_s) == ("counts", None, None)
    assert len(frame.notes) == 2


@pytest.mark.parametrize("counts", [COUNTS + 0.5, COUNTS - 1.0, COUNTS * 60.0, COUNTS[None]])
def test_the_writer_refuses_what_16_bits_of_one_image_cannot_hold(tmp_path, counts):
    with pytest.raises(ValueError, match="whole numbers"):
        write(tmp_path / "a.tif", counts)
    assert list(tmp_path.iterdir()) == []


# Electrons, pixel size, exposure


def gatan_tags(*, unit=b"e-", origin=None, scale=None, pixel=None, pixel_unit=b"nm"):
    tags = [(65022, "s", 0, unit, True)]
    tags += [(65024, "d", 1, origin, True)] if origin is not None else []
    tags += [(65025, "d", 1, scale, True)] if scale is not None else []
    if pixel is not None:
        tags += [(65003, "s", 0, pixel_unit, True), (65004, "s", 0, pixel_unit, True)]
        tags += [(65009, "d", 1, pixel, True), (65010, "d", 1, pixel, True)]
    return tags


def test_electrons_are_counts_less_the_origin_times_the_scale(tmp_path):
    tags = gatan_tags(origin=100.0, scale=0.5)
    tifffile.imwrite(tmp_path / "a.tif", np.uint16([[100, 102], [104, 50], [110, 100]]), extratags=tags)
    frame = read_frame(tmp_path / "a.tif")
    np.testing.assert_array_equal(frame.image, [[0, 1], [2, -25], [5, 0]])
    np.testing.assert_array_equal(
        frame.image * frame.counts_per_e + frame.origin_counts, [[100, 102], [104, 50], [110, 100]]
    )


@pytest.mark.parametrize(
    "tags",
    [
        gatan_tags(unit=b"Counts", origin=0.0, scale=0.5),
        gatan_tags(scale=0.0),
        gatan_tags(scale=-1.0),
        gatan_tags(),
    ],
    ids=["another unit", "scale zero", "scale negative", "no scale"],
)
def test_a_frame_without_a_usable_electron_scale_stays_in_counts_and_says_so(tmp_path, caplog, tags):
    tifffile.imwrite(tmp_path / "a.tif", COUNTS, extratags=tags)
    with caplog.at_level(logging.WARNING):
        frame = read_frame(tmp_path / "a.tif")
    np.testing.assert_array_equal(frame.image, COUNTS)
    assert (frame.unit, frame.counts_per_e) == ("counts", None)
    assert "a.tif" in caplog.text and "counts" in caplog.text


@pytest.mark.parametrize("unit", ["e-", "e⁻", "electrons", "Electrons (Counts)", "$e^-$", "e-/px", "e"])
def test_every_spelling_of_electrons_is_understood(unit):
    signal = {"metadata": {"Signal": {"quantity": unit}}}
    assert calibration.electron_calibration(signal, []) == (0, 1)


@pytest.mark.parametrize("unit", ["eV", "e-/s", "Counts", "", "electronvolt"])
def test_other_units_are_not_taken_for_electrons(unit):
    assert calibration.electron_calibration({"metadata": {"Signal": {"quantity": unit}}}, []) is None


def pixel_size(scale, unit):
    notes = []
    axes = [{"scale": scale, "units": unit}] * 2
    return calibration.pixel_size_nm({"axes": axes}, notes), notes


@pytest.mark.parametrize(
    ("scale", "unit"),
    [
        *[(2.5e-9, unit) for unit in ("m", "meter", "Metre")],
        *[(2.5e-6, unit) for unit in ("mm", "millimeter")],
        *[(2.5e-3, unit) for unit in ("um", "µm", "\N{GREEK SMALL LETTER MU}m", "ƒÊm", "Âµm", "Î¼m", r"\u00B5m")],
        *[(2.5e-3, unit) for unit in ("micron", "Microns", "micrometer", "micrometre", "micrometers\0")],
        *[(2.5, unit) for unit in ("nm", "nanometer", " nm ")],
        *[(2500.0, unit) for unit in ("pm", "picometer")],
        *[(25.0, unit) for unit in ("A", "Å", "\N{ANGSTROM SIGN}", "Angstrom", "Ångström", "angstroms")],
    ],
)
def test_every_spelling_of_a_length_gives_nanometres(scale, unit):
    size, notes = pixel_size(scale, unit)
    assert size == pytest.approx((2.5, 2.5))
    assert notes == []


@pytest.mark.parametrize("edge_nm", [0.0, -2.5, 0.9e-3, 1.1e4, np.nan, np.inf])
def test_a_pixel_size_that_cannot_be_is_no_calibration_with_a_note(edge_nm):
    size, notes = pixel_size(edge_nm, "nm")
    assert size is None
    assert "1 pm to 10 um" in notes[0]


@pytest.mark.parametrize(
    ("unit", "word"),
    [("furlong", "furlong"), ("", "no pixel size"), (None, "no pixel size"), ("px", "no pixel size")],
)
def test_an_unknown_or_missing_unit_is_no_calibration_with_a_note(unit, word):
    size, notes = pixel_size(2.5, unit)
    assert size is None
    assert word in notes[0]


@pytest.mark.parametrize("edge_nm", [1e-3, 1e4])
def test_the_limits_of_a_pixel_size_are_still_believed(edge_nm):
    assert pixel_size(edge_nm, "nm")[0] == (edge_nm, edge_nm)


@pytest.mark.parametrize("unit", ["1/nm", "1 / nm", "nm^-1", "nm-1", "nm⁻¹", "1/Å", "mrad", "rad"])
def test_reciprocal_units_are_recognised(unit):
    assert calibration.is_reciprocal(unit)


@pytest.mark.parametrize("unit", ["nm", "µm", "m", "Angstrom", "", None, "e-"])
def test_lengths_are_not_taken_for_reciprocal(unit):
    assert not calibration.is_reciprocal(unit)


def test_an_exposure_that_a_file_states_in_two_ways_is_unknown():
    assert calibration.exposure_s({"a": {"Exposure (s)": 0.1}, "b": {"Exposure (s)": 0.1}}) == 0.1
    assert calibration.exposure_s({"a": {"Exposure (s)": 0.1}, "b": {"Exposure (s)": 0.2}}) is None
    assert calibration.exposure_s({"Exposure (s)": 0.0}) is None


def test_the_milliseconds_of_tvips_are_not_taken_for_seconds():
    tags, metadata = (
        {"TVIPS": {"ExposureTime": 500.0}},
        {"Acquisition_instrument": {"TEM": {"Camera": {"exposure": 0.5}}}},
    )
    assert calibration.exposure_s(tags, metadata) == 0.5 and calibration.exposure_s(tags) is None


# Formats, each written by other software


def test_an_mrc_file_gives_its_voxel_size(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(COUNTS)
        mrc.voxel_size = (30.0, 25.0, 1.0)  # x, y, z [angstrom]
    frame = read_frame(tmp_path / "a.mrc")
    np.testing.assert_array_equal(frame.image, COUNTS)
    assert frame.pixel_size_nm == pytest.approx((2.5, 3.0))
    assert frame.unit == "counts"


def test_an_mrc_stack_is_a_movie(tmp_path):
    movie = np.stack([COUNTS, COUNTS + 1]).astype(np.float32)
    (tmp_path / "movies").mkdir()
    with mrcfile.new(tmp_path / "movies" / "a.mrc") as mrc:
        mrc.set_data(movie)
        mrc.set_image_stack()
    np.testing.assert_array_equal(read_frame(tmp_path / "movies" / "a.mrc").image, movie)


def test_a_berkeley_emd_file_is_read(tmp_path):
    with h5py.File(tmp_path / "a.emd", "w") as emd:
        emd.attrs["version_major"], emd.attrs["version_minor"] = 0, 2
        group = emd.create_group("data/frame")
        group.attrs["emd_group_type"] = 1
        group["data"] = COUNTS.T  # Berkeley's files count x first, as RosettaSciIO reads them
        for dim, size, step in (("dim1", 4, 3.0), ("dim2", 3, 2.5)):
            group[dim] = step * np.arange(size)
            group[dim].attrs["name"], group[dim].attrs["units"] = dim, "[n_m]"
    frame = read_frame(tmp_path / "a.emd")
    np.testing.assert_array_equal(frame.image, COUNTS)
    assert frame.pixel_size_nm == pytest.approx((2.5, 3.0))


@pytest.mark.parametrize(("writer", "suffix"), [(rsciio.hspy, "hspy"), (rsciio.zspy, "zspy")])
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of zarr, while it is written
def test_a_hyperspy_file_gives_electrons_pixel_size_and_exposure(tmp_path, writer, suffix):
    noise = {"Variance_linear_model": {"gain_factor": 0.025, "gain_offset": 0.0}}
    signal = hyperspy_signal(
        COUNTS,
        Signal={"signal_type": "", "quantity": "e-", "Noise_properties": noise},
        Acquisition_instrument={"TEM": {"Camera": {"exposure": 0.004}}},
    )
    writer.file_writer(str(tmp_path / f"a.{suffix}"), signal)
    frame = read_frame(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(frame.image, COUNTS / 40, rtol=1e-6)
    assert (frame.unit, frame.exposure_s) == ("e-", 0.004)
    assert frame.pixel_size_nm == (2.5, 2.5)


@pytest.mark.parametrize(("unit", "pixels_per_unit"), [("nm", 1 / 2.5), ("micron", 400), (r"\u00B5m", 400)])
def test_an_imagej_tiff_gives_its_pixel_size_in_any_unit(tmp_path, unit, pixels_per_unit):
    tifffile.imwrite(
        tmp_path / "a.tif", COUNTS, imagej=True, resolution=(pixels_per_unit,) * 2, metadata={"unit": unit}
    )
    assert read_frame(tmp_path / "a.tif").pixel_size_nm == pytest.approx((2.5, 2.5))


def write_ome(path, image, rows, columns, unit, **others):
    """An OME-TIFF as tifffile writes one, with the pixel edges of its rows and columns."""
    sizes = {"PhysicalSizeY": rows, "PhysicalSizeX": columns}
    units = {"PhysicalSizeYUnit": unit, "PhysicalSizeXUnit": unit} if unit else {}
    tifffile.imwrite(path, image, ome=True, photometric="minisblack", metadata=sizes | units | others)
    return path


@pytest.mark.parametrize(
    ("unit", "per_nm"),
    [("nm", 1), ("µm", 1e-3), ("Å", 10), ("pm", 1000), (None, 1e-3)],  # without a unit OME means micrometres
)
def test_an_ome_tiff_gives_its_pixel_size_in_any_unit(tmp_path, unit, per_nm):
    frame = read_frame(write_ome(tmp_path / "a.ome.tif", COUNTS, 3 * per_nm, 2.5 * per_nm, unit))
    np.testing.assert_array_equal(frame.image, COUNTS)
    assert frame.pixel_size_nm == pytest.approx((3, 2.5))


def test_an_ome_tiff_with_several_images_in_time_is_a_movie_with_its_pixel_size(tmp_path):
    movie = np.stack([COUNTS, COUNTS + 1, COUNTS + 2, COUNTS + 3, COUNTS + 4])
    frame = read_frame(write_ome(tmp_path / "a.tif", movie, 3.0, 2.5, "nm", axes="TYX"))
    np.testing.assert_array_equal(frame.image, movie)
    assert frame.pixel_size_nm == (3, 2.5)


def test_an_ome_tiff_with_the_edge_of_one_axis_only_has_no_pixel_size(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", COUNTS, ome=True, metadata={"PhysicalSizeX": 2.5, "PhysicalSizeXUnit": "nm"})
    frame = read_frame(tmp_path / "a.tif")
    assert frame.pixel_size_nm is None
    assert "the file gives no pixel size, so lengths stay in pixels" in frame.notes


def test_of_two_images_in_an_ome_tiff_each_has_its_own_pixel_size():
    image = (
        '<Image><Pixels SizeX="{}" SizeY="{}" PhysicalSizeX="{}" PhysicalSizeY="{}" PhysicalSizeXUnit="nm"/></Image>'
    )
    images = image.format(4, 3, 2.5, 0.003) + image.format(2, 2, 40, 0.04)
    description = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{images}</OME>'
    axes = [{"size": 3, "scale": 1.0, "units": None}, {"size": 4, "scale": 1.0, "units": None}]
    signal = {"axes": axes, "original_metadata": {"ImageDescription": description}}
    assert calibration.pixel_size_nm(signal, []) == pytest.approx((3, 2.5))


@pytest.mark.parametrize("description", ["<OME", "<OME/>", "<OME><Pixels/></OME>", "a note"])
def test_a_description_that_gives_no_pixel_size_leaves_lengths_in_pixels(tmp_path, description):
    tifffile.imwrite(tmp_path / "a.tif", COUNTS, description=description, metadata=None)
    assert read_frame(tmp_path / "a.tif").pixel_size_nm is None


def test_a_multi_page_tiff_is_a_movie(tmp_path):
    movie = np.stack([COUNTS, COUNTS + 1, COUNTS + 2])
    tifffile.imwrite(tmp_path / "a.tif", movie, photometric="minisblack", compression="lzw")
    np.testing.assert_array_equal(read_frame(tmp_path / "a.tif").image, movie)


def test_of_two_images_in_one_file_the_larger_is_read_and_said(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(COUNTS[:2, :2], photometric="minisblack")
        tiff.write(COUNTS, photometric="minisblack")
    frame = read_frame(tmp_path / "a.tif")
    np.testing.assert_array_equal(frame.image, COUNTS)
    assert "2 images" in frame.notes[0]


def test_a_grey_png_is_read(tmp_path):
    imsave(tmp_path / "a.png", (COUNTS // 100).astype(np.uint8), check_contrast=False)
    np.testing.assert_array_equal(read_frame(tmp_path / "a.png").image, COUNTS // 100)


# What is no single-channel image


def test_a_colour_image_is_refused(tmp_path):
    colour = np.stack([COUNTS // 100] * 3, axis=-1).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb")
    imsave(tmp_path / "a.png", colour, check_contrast=False)
    for name in ("a.tif", "a.png"):
        with pytest.raises(FrameError, match=f"^{name} holds a colour image"):
            read_frame(tmp_path / name)


@pytest.mark.parametrize(
    ("signal", "what"),
    [
        (hyperspy_signal(COUNTS * 1j), "complex numbers"),
        (hyperspy_signal(COUNTS, unit="1/nm"), "a diffraction pattern"),
        (hyperspy_signal(COUNTS, unit="mrad"), "a diffraction pattern"),
        (hyperspy_signal(COUNTS[0], unit="eV"), "a spectrum"),
        (hyperspy_signal(COUNTS, navigate=1), "a spectrum"),
        (hyperspy_signal(np.ones((2, 3, 4, 5)), navigate=2), "a 4-dimensional"),
    ],
    ids=["complex", "diffraction", "angles", "spectrum", "line scan", "4-D scan"],
)
def test_what_is_no_image_is_refused_with_its_reason(tmp_path, signal, what):
    rsciio.hspy.file_writer(str(tmp_path / "a.hspy"), signal)
    with pytest.raises(FrameError, match=f"^a.hspy holds {what}"):
        read_frame(tmp_path / "a.hspy")
