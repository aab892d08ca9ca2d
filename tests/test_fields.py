import numpy as np
import pandas as pd
import pytest
import tifffile

from temlib.discover import find_sets, split_by_hash
from temlib.errors import PairMismatchError, TemlibError
from temlib.fields import index_folder, load_set, read_fields, write_fields
from temlib.frames import write_gatan_tiff
from temlib.pairing import Set
from temlib.paths import save_npz

HDE, LDE = (48, 64), (6, 8)


def put(path, shape, pixel_size_nm=None):
    """A frame of noise; the HDE pixels are as much smaller as its frame is larger."""
    counts = np.random.default_rng(0).integers(1, 999, shape)
    edge = 2.9885 * LDE[0] / shape[0] if pixel_size_nm is None else pixel_size_nm
    write_gatan_tiff(path, counts, pixel_size_nm=edge, exposure_s=0.0033, counts_per_e=44)
    return path


def authors_layout(folder, n_sets):
    """Three files a set in name order: HDE, LDE, LDE."""
    for number in range(3 * n_sets):
        put(folder / f"{number:04d}.tif", LDE if number % 3 else HDE)


def pairs(fields):
    """What belongs together, as names of files."""
    return [(row.hde.rsplit("/", 1)[1], row.lde.rsplit("/", 1)[1]) for row in fields.itertuples()]


# A folder without fields.csv


def test_a_set_is_one_hde_and_the_two_lde_frames_after_it_as_the_authors_have_it(tmp_path):
    authors_layout(tmp_path / "Ni", 2)
    fields, refusals = index_folder(tmp_path)
    assert refusals == []
    assert pairs(fields) == [
        ("0000.tif", "0001.tif"),
        ("0000.tif", "0002.tif"),
        ("0003.tif", "0004.tif"),
        ("0003.tif", "0005.tif"),
    ]
    assert list(fields.field) == ["Ni_0000", "Ni_0000", "Ni_0003", "Ni_0003"]
    assert set(fields.material) == {"Ni"}


def test_the_table_holds_exposure_dose_and_pixel_size_of_the_lde_frames(tmp_path):
    put(tmp_path / "0000.tif", HDE)
    put(tmp_path / "0001.tif", LDE)
    counts = tifffile.imread(tmp_path / "0001.tif")
    [row] = index_folder(tmp_path)[0].itertuples()
    assert row.exposure_s == 0.0033
    assert row.dose_e_per_px == pytest.approx(counts.mean() / 44)
    assert row.pixel_size_nm == pytest.approx(2.9885)


def test_names_are_ordered_by_their_numbers_not_by_their_letters(tmp_path):
    for number, shape in ((8, HDE), (9, LDE), (10, LDE), (11, HDE), (12, LDE)):
        put(tmp_path / f"frame{number}.tif", shape)
    assert pairs(index_folder(tmp_path)[0]) == [
        ("frame8.tif", "frame9.tif"),
        ("frame8.tif", "frame10.tif"),
        ("frame11.tif", "frame12.tif"),
    ]


@pytest.mark.parametrize(
    "names",
    [
        ("hde/a.tif", "lde/a_1.tif", "lde/a_2.tif"),
        ("a_hde.tif", "a_lde_1.tif", "a_lde_2.tif"),
        ("HDE-a.tif", "LDE-a-1.tif", "LDE-a-2.tif"),
        ("hde/0007.tif", "lde/0008.tif", "lde/0009.tif"),
        ("LDE/hde_a.tif", "LDE/a.tif", "LDE/a_2.tif"),
    ],
)
def test_names_and_folders_say_which_is_which_at_equal_size(tmp_path, names):
    for name in names:
        put(tmp_path / name, LDE)
    fields, refusals = index_folder(tmp_path)
    assert refusals == []
    assert pairs(fields) == [tuple(name.split("/")[-1] for name in (names[0], lde)) for lde in names[1:]]


def test_frames_of_one_name_are_paired_even_where_a_partner_is_missing(tmp_path):
    for name in ("hde/a.tif", "lde/a.tif", "hde/b.tif", "lde/c.tif", "hde/d.tif", "lde/d.tif"):
        put(tmp_path / name, HDE if name.startswith("hde") else LDE)
    fields, refusals = index_folder(tmp_path)
    assert pairs(fields) == [("a.tif", "a.tif"), ("d.tif", "d.tif")]
    assert [sentence.split(":")[0] for sentence in refusals] == [
        "hde/b.tif has no LDE frame of the same name",
        "lde/c.tif has no HDE frame of the same name",
    ]


def test_letters_beside_hde_are_no_role(tmp_path):
    put(tmp_path / "shde.tif", HDE)  # not "hde"
    put(tmp_path / "slde.tif", LDE)
    assert pairs(index_folder(tmp_path)[0]) == [("shde.tif", "slde.tif")]


def test_time_decides_where_the_order_of_names_makes_no_sets(tmp_path):
    minutes = {"small 1": 1, "large 1": 0, "small 2": 3, "large 2": 2}  # by name: both large ones first
    for name, minute in minutes.items():
        shape = HDE if name.startswith("large") else LDE
        counts = np.random.default_rng(0).integers(1, 999, shape).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{name}.tif", counts, datetime=f"2021:02:26 09:{minute:02d}:00")
    fields, refusals = index_folder(tmp_path)
    assert refusals == []
    assert pairs(fields) == [("large 1.tif", "small 1.tif"), ("large 2.tif", "small 2.tif")]


def test_time_does_not_hide_that_an_hde_frame_is_missing(tmp_path):
    in_time = ["z HDE", "b", "c", "d", "e", "y HDE", "ya", "yb", "x HDE", "xa", "xb"]  # before d another one was
    for minute, name in enumerate(in_time):
        counts = np.random.default_rng(0).integers(1, 999, HDE if "HDE" in name else LDE).astype(np.uint16)
        file = tmp_path / f"{name.replace(' HDE', '')}.tif"  # by name the first two have no HDE frame
        tifffile.imwrite(file, counts, datetime=f"2021:02:26 09:{minute:02d}:00")
    fields, refusals = index_folder(tmp_path)
    expected = {("y.tif", "ya.tif"), ("y.tif", "yb.tif"), ("x.tif", "xa.tif"), ("x.tif", "xb.tif")}
    assert set(pairs(fields)) == expected and len(refusals) == 1 and "z.tif is followed by 4" in refusals[0]


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        ("Ni_hde Ni_lde Ni_2_lde Ni_3_hde Ni_3_lde", "Ni_2_lde"),
        ("Ni_hde Ni_lde Ni_2_lde", "Ni_2_lde"),
        ("Ni_hde Ni_lde Ni_2_lde Ni_3_hde Ni_3_lde_1 Ni_3_lde_2", "Ni_2_lde"),
        ("hde/Ni lde/Ni lde/Ni_2 hde/Ni_3 lde/Ni_3", "Ni_2"),
    ],
)
def test_an_lde_frame_whose_own_hde_frame_is_missing_is_not_lent_to_a_shorter_name(tmp_path, names, refused):
    for name in names.split():
        put(tmp_path / f"{name}.tif", HDE if "hde" in name else LDE)
    fields, refusals = index_folder(tmp_path)
    assert len(refusals) == 1 and refused in refusals[0]
    assert {f"{name.split('/')[-1]}.tif" for name in names.split()} - set(np.ravel(pairs(fields))) == {f"{refused}.tif"}


def test_a_number_after_the_role_is_that_of_an_exposure(tmp_path):
    for name in ("A_hde", "A_lde", "A_lde_2", "B_hde", "B_lde"):
        put(tmp_path / f"{name}.tif", HDE if "hde" in name else LDE)
    fields, refusals = index_folder(tmp_path)
    assert refusals == [] and ("A_hde.tif", "A_lde_2.tif") in pairs(fields)


def test_material_is_the_parent_folder_and_split_the_folder_that_says_so(tmp_path):
    for place in ("Ni/train", "Ni/Validation", "val/SiC", "HDE and LDE/train/FeNi"):
        authors_layout(tmp_path / place, 1)
    fields, _ = index_folder(tmp_path)
    found = {(row.field, row.material, row.split) for row in fields.itertuples()}
    assert found == {
        ("Ni_train_0000", "Ni", "train"),
        ("Ni_Validation_0000", "Ni", "val"),
        ("val_SiC_0000", "SiC", "val"),
        ("HDE-and-LDE_train_FeNi_0000", "FeNi", "train"),
    }


def test_the_folder_itself_is_the_material_where_frames_lie_in_it(tmp_path):
    authors_layout(tmp_path / "alumina" / "train", 1)
    assert set(index_folder(tmp_path / "alumina" / "train")[0].material) == {"alumina"}
    assert set(index_folder(tmp_path / "alumina")[0].material) == {"alumina"}


def test_the_split_is_a_hash_of_the_field_the_same_on_every_machine(tmp_path):
    for material in ("Ni", "SiC"):
        authors_layout(tmp_path / material, 3)
    fields, _ = index_folder(tmp_path)
    # sha256sum of the names, modulo 6 with bc: 1, 2, 5 and 0, 1, 1; 0 is validation
    assert set(fields.field[fields.split == "val"]) == {"SiC_0000"}


def test_about_one_field_in_six_goes_to_validation():
    sets = [Set(hde=None, name=f"field_{i}") for i in range(600)]
    split_by_hash(sets)
    share = sum(s.split == "val" for s in sets) / 600
    assert abs(share - 1 / 6) < 3 * np.sqrt(1 / 6 * 5 / 6 / 600)  # three standard deviations


@pytest.mark.parametrize("n_sets", [2, 3])
def test_a_few_fields_fill_both_parts(tmp_path, n_sets):
    authors_layout(tmp_path, n_sets)
    assert set(index_folder(tmp_path)[0].split) == {"train", "val"}


# What is refused, while the rest is kept


def good_sets(folder):
    fields, refusals = index_folder(folder)
    return sorted(set(fields.field)), refusals


@pytest.mark.parametrize("number", [3, 4, 5])
def test_an_unreadable_file_costs_its_set_and_no_other(tmp_path, number):
    authors_layout(tmp_path, 3)
    broken = tmp_path / f"{number:04d}.tif"
    broken.write_bytes(broken.read_bytes()[:200])
    sets, refusals = good_sets(tmp_path)
    assert sets == ["0000", "0006"]
    assert any(sentence.startswith(broken.name) for sentence in refusals)


def test_a_missing_hde_frame_does_not_lend_its_lde_frames_to_another_set(tmp_path):
    authors_layout(tmp_path, 3)
    (tmp_path / "0003.tif").unlink()
    fields, refusals = index_folder(tmp_path)
    assert pairs(fields) == [(f"{hde:04d}.tif", f"{hde + i:04d}.tif") for hde in (0, 6) for i in (1, 2)]
    assert len(refusals) == 2 and all("has no HDE frame before it" in sentence for sentence in refusals)


def test_a_missing_hde_frame_is_noticed_where_files_are_named_by_their_time(tmp_path):
    for time in ("120000", "120200"):
        put(tmp_path / f"{time}.tif", HDE)
    for time in ("120007", "120009", "120107", "120109", "120207", "120209"):  # that of 120100 is missing
        put(tmp_path / f"{time}.tif", LDE)
    fields, refusals = index_folder(tmp_path)
    assert pairs(fields) == [("120200.tif", "120207.tif"), ("120200.tif", "120209.tif")]
    assert len(refusals) == 1 and "120000.tif is followed by 4 LDE frames, most by 2" in refusals[0]


def test_a_set_that_lacks_an_lde_frame_does_not_make_the_others_doubtful(tmp_path):
    for time in ("120000", "120100", "120200"):
        put(tmp_path / f"{time}.tif", HDE)
    for time in ("120007", "120009", "120107", "120109", "120207"):
        put(tmp_path / f"{time}.tif", LDE)
    fields, refusals = index_folder(tmp_path)
    assert len(fields) == 5 and refusals == []


def test_an_hde_frame_without_lde_frames_is_refused(tmp_path):
    authors_layout(tmp_path, 2)
    put(tmp_path / "0006.tif", HDE)
    sets, [sentence] = good_sets(tmp_path)
    assert sets == ["0000", "0003"]
    assert "0006.tif has no LDE frame after it" in sentence


def test_two_files_of_one_name_cost_their_set(tmp_path):
    authors_layout(tmp_path, 2)
    put(tmp_path / "0004.tiff", LDE)
    sets, [sentence] = good_sets(tmp_path)
    assert sets == ["0000"]
    assert "0004.tif and" in sentence and "0004.tiff have one name" in sentence


def test_two_hde_frames_of_one_name_cost_their_set(tmp_path):
    for name in ("hde/a.tif", "a_hde.tif", "lde/a.tif", "hde/b.tif", "lde/b.tif"):
        put(tmp_path / name, LDE)
    sets, [sentence] = good_sets(tmp_path)
    assert sets == ["b"]
    assert "have one name" in sentence


@pytest.mark.parametrize("shape", [(50, 64), (48, 56), (96, 64)])
def test_an_hde_frame_that_is_no_whole_multiple_of_its_lde_frame_costs_its_set(tmp_path, shape):
    authors_layout(tmp_path, 2)
    put(tmp_path / "0003.tif", shape, pixel_size_nm=2.9885 / 8)
    sets, [sentence] = good_sets(tmp_path)
    assert sets == ["0000"]
    assert f"0003.tif is {shape}, 0004.tif is (6, 8): an HDE edge must be a whole multiple" in sentence


def test_frames_that_show_different_areas_are_no_pair(tmp_path):
    put(tmp_path / "0000.tif", HDE, pixel_size_nm=1.0)
    put(tmp_path / "0001.tif", LDE, pixel_size_nm=2.9885)
    sets, [sentence] = good_sets(tmp_path)
    assert sets == []
    assert "0000.tif shows 48 nm along an edge, 0001.tif 17.93 nm" in sentence


def test_lde_frames_of_two_sizes_are_no_set(tmp_path):
    authors_layout(tmp_path, 1)
    put(tmp_path / "0002.tif", (3, 4))
    assert "the LDE frames of a set must have one size" in good_sets(tmp_path)[1][0]


def test_a_stack_is_no_frame_of_a_pair(tmp_path):
    authors_layout(tmp_path, 2)
    tifffile.imwrite(tmp_path / "0004.tif", np.random.default_rng(0).random((5, *LDE)), photometric="minisblack")
    sets, [sentence] = good_sets(tmp_path)
    assert sets == ["0000"]
    assert "0004.tif is a stack of 5 images" in sentence


def test_a_folder_of_lde_frames_is_told_about_denoise_in_one_sentence(tmp_path):
    for number in range(4):
        put(tmp_path / f"{number}.tif", LDE)
    fields, [sentence] = index_folder(tmp_path)
    assert fields.empty
    assert "no usable HDE frame" in sentence and "`temlib denoise`" in sentence


def test_folders_without_frames_files_and_missing_folders_are_told_apart(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    assert "holds no microscope file" in index_folder(tmp_path)[1][0]
    with pytest.raises(TemlibError, match=r"notes\.txt is no folder"):
        index_folder(tmp_path / "notes.txt")
    with pytest.raises(TemlibError, match="elsewhere does not exist"):
        index_folder(tmp_path / "elsewhere")


def test_what_a_file_does_not_say_is_noted_once_with_a_file_that_it_is_true_of(tmp_path, caplog):
    for number in range(3):
        tifffile.imwrite(tmp_path / f"{number}.tif", np.arange(12.0).reshape(3, 4))
    index_folder(tmp_path)
    assert "note on 0.tif and 2 more: the file gives no pixel size" in caplog.text
    assert caplog.text.count("no pixel size") == 1


def test_hidden_files_and_pictures_are_not_looked_at(tmp_path):
    authors_layout(tmp_path, 1)
    (tmp_path / "._0000.tif").write_bytes(b"what macOS leaves beside a file")
    (tmp_path / "0000.png").write_bytes(b"a screenshot")
    assert good_sets(tmp_path) == (["0000"], [])


def test_what_temlib_denoised_is_no_frame_of_a_set(tmp_path):
    authors_layout(tmp_path, 2)
    before, _ = index_folder(tmp_path)
    (tmp_path / "denoised").mkdir()
    put(tmp_path / "0001_denoised.tif", LDE)
    put(tmp_path / "denoised" / "0002_denoised.tif", LDE)
    after, refusals = index_folder(tmp_path)
    assert pairs(after) == pairs(before) and refusals == []


def test_every_file_of_a_folder_is_looked_at_once(tmp_path):
    authors_layout(tmp_path / "Ni", 2)
    _, _, recordings = find_sets(tmp_path)
    assert sorted(r.path.name for r in recordings) == [f"{i:04d}.tif" for i in range(6)]


# fields.csv


def table(folder, **changes):
    """A table of two sets in `folder`, whose frames exist."""
    authors_layout(folder, 2)
    columns = {
        "field": ["007", "007", "NA"],
        "material": ["NA", "NA", "Ni"],
        "split": ["train", "train", "val"],
        "hde": ["0000.tif", "0000.tif", "0003.tif"],
        "lde": ["0001.tif", "0002.tif", "0004.tif"],
        "exposure_s": ["0.5", "", "0.25"],
    }
    pd.DataFrame(columns | changes).to_csv(folder / "fields.csv", index=False)
    return folder / "fields.csv"


def test_names_stay_text_and_empty_numbers_are_unknown(tmp_path):
    fields = read_fields(table(tmp_path))
    assert list(fields.field) == ["007", "007", "NA"]
    assert list(fields.material) == ["NA", "NA", "Ni"]
    np.testing.assert_array_equal(fields.exposure_s, [0.5, np.nan, 0.25])
    assert fields.pixel_size_nm.isna().all()
    assert fields.lde[2] == str(tmp_path / "0004.tif")


def test_a_written_table_reads_back_from_another_folder(tmp_path):
    authors_layout(tmp_path / "frames", 2)
    fields, _ = index_folder(tmp_path / "frames")
    fields["drift_row_px"] = [0.25, 0.25, -1.5, -1.5]
    write_fields(fields, tmp_path / "run" / "data" / "fields.csv")
    assert "../../frames/0000.tif" in (tmp_path / "run" / "data" / "fields.csv").read_text()
    pd.testing.assert_frame_equal(
        read_fields(tmp_path / "run" / "data" / "fields.csv"), fields, check_dtype=False, rtol=1e-9
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lde": ["0001.tif", "0001.tif", "0004.tif"]}, "lists 0001.tif twice in 007"),
        ({"split": ["train", "val", "val"]}, "gives 007 2 values of split"),
        ({"hde": ["0000.tif", "0003.tif", "0003.tif"]}, "gives 007 2 values of hde"),
        ({"hde": ["0000.tif", "0000.tif", "0000.tif"]}, "lists 0000.tif under 007 and NA"),
        ({"split": ["train", "train", "test"]}, "puts NA into 'test'"),
        ({"exposure_s": ["0.5", "long", "1"]}, "gives exposure_s = 'long' for 007"),
        ({"exposure_s": ["0.5", "-1", "1"]}, "gives exposure_s = '-1' for 007"),
        ({"field": ["007", "007", "a/b"]}, "has the field 'a/b'"),
        ({"lde": ["0001.tif", "", "0004.tif"]}, "lacks the HDE or the LDE file of 007"),
        ({"lde": ["0001.tif", "0009.tif", "0004.tif"]}, "0009.tif, which does not exist"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path, changes, said):
    with pytest.raises(TemlibError) as raised:
        read_fields(table(tmp_path, **changes))
    assert said in str(raised.value) and "fields.csv" in str(raised.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("field,hde,lde\na,b,c\n", "lacks the column material, split"),
        ("field,material,split,hde,lde\n", "has no row"),
        ("", "is no table"),
        ('field,material\n"a,b\nc', "is no table"),
    ],
)
def test_a_file_that_is_no_table_of_fields_is_refused(tmp_path, content, said):
    (tmp_path / "fields.csv").write_text(content)
    with pytest.raises(TemlibError, match=said):
        read_fields(tmp_path / "fields.csv")


def test_a_missing_table_says_what_makes_it(tmp_path):
    with pytest.raises(TemlibError, match="temlib index"):
        read_fields(tmp_path / "fields.csv")


def test_a_folder_with_a_table_is_taken_as_the_table_says(tmp_path):
    fields, refusals = index_folder(table(tmp_path).parent)
    assert refusals == []
    assert list(fields.field) == ["007", "007", "NA"]
    np.testing.assert_allclose(fields.exposure_s, [0.5, 0.0033, 0.25])  # the file's where the table has none
    np.testing.assert_allclose(fields.pixel_size_nm, 2.9885)


def test_a_listed_set_that_cannot_be_used_is_left_out(tmp_path):
    table(tmp_path, lde=["0001.tif", "0009.tif", "0004.tif"])
    fields, [sentence] = index_folder(tmp_path)
    assert list(fields.field) == ["NA"]
    assert "0009.tif does not exist" in sentence and "The set 007 is left out" in sentence


# A set of frames


def test_a_set_is_loaded_as_its_hde_frame_and_its_lde_frames_in_order(tmp_path):
    hde, ldes = load_set(read_fields(table(tmp_path)), "007")
    assert hde.image.shape == HDE
    assert [lde.title for lde in ldes] == ["0001", "0002"]


def test_what_a_frame_does_not_know_comes_from_the_table_and_nothing_else(tmp_path):
    path = table(tmp_path, exposure_s=["0.5", "0.5", "0.25"], pixel_size_nm=["4.0", "4.0", ""])
    counts = np.random.default_rng(0).integers(1, 999, LDE)
    write_gatan_tiff(tmp_path / "0002.tif", counts, pixel_size_nm=None, exposure_s=None, counts_per_e=None)
    _, [knows, does_not] = load_set(read_fields(path), "007")
    assert (knows.exposure_s, knows.pixel_size_nm) == (0.0033, pytest.approx((2.9885, 2.9885)))
    assert (does_not.exposure_s, does_not.pixel_size_nm) == (0.5, (4.0, 4.0))


def test_a_set_of_unfit_sizes_is_refused_when_it_is_loaded(tmp_path):
    fields = read_fields(table(tmp_path))
    put(tmp_path / "0003.tif", (50, 64))
    with pytest.raises(PairMismatchError, match=r"0003.tif is \(50, 64\), 0004.tif is \(6, 8\)"):
        load_set(fields, "NA")
    with pytest.raises(TemlibError, match="no field 'Ni'"):
        load_set(fields, "Ni")


def stored_in_place_of_the_hde_frame(folder, **arrays):
    path = table(folder, hde=["0000.tif", "0000.tif", "0003.npz"])
    save_npz(folder / "0003.npz", **arrays)
    return read_fields(path)


def test_stored_targets_take_the_place_of_an_hde_frame(tmp_path):
    targets = {"hde": np.full(LDE, 1100.0), "hde_faithful": np.full(LDE, 1101.0)}
    fields = stored_in_place_of_the_hde_frame(tmp_path, **targets)
    hde, [lde] = load_set(fields, "NA")
    np.testing.assert_array_equal(hde["hde_faithful"], targets["hde_faithful"])
    assert lde.image.shape == LDE
    assert len(index_folder(tmp_path)[0]) == 3


@pytest.mark.parametrize("arrays", [{"hde": np.ones(LDE)}, {"hde": np.ones(LDE), "hde_faithful": np.ones(HDE)}])
def test_stored_targets_that_lack_one_are_refused(tmp_path, arrays):
    fields = stored_in_place_of_the_hde_frame(tmp_path, **arrays)
    with pytest.raises(TemlibError, match="lacks hde and hde_faithful of one shape"):
        load_set(fields, "NA")
    assert "The set NA is left out" in index_folder(tmp_path)[1][0]
