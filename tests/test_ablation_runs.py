import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.models import resnet18

from temlib import ablation_runs, ablation_verdicts, ablations, camera, models
from temlib.ablation_runs import judge, train, trained_and_judged
from temlib.ablation_samples import augmentation, clipped_l2, exposed, learning_arrays, simulated_sets
from temlib.ablations import CORRECTED, TESTS, VARIANTS
from temlib.errors import ProfileError

OPTIONS = {
    "steps": 5,
    "crop_px": 32,
    "batch_size": 2,
    "learning_rate": 1e-3,
    "average_decay": 0.9,
    "precision": "32-true",
    "pretrained": "imagenet",
}


def a_set(name="FeNi_train_000", shape=(64, 96), drift_px=(0.0, 0.0)):
    """One field with a square particle, as `simulated_sets` gives it; not square itself."""
    transmission = np.ones(shape, np.float32)
    transmission[20:40, 30:60] = 0.5
    rng = np.random.default_rng(len(name))
    return {
        "field": name,
        "lde": rng.poisson(4.5 * np.stack([transmission, transmission])).astype(np.float32),
        "background_e": np.array([4.5, 4.0]),
        "hde_area": 1000 * np.roll(transmission, np.rint(drift_px).astype(int), (0, 1)),
        "hde_authors": 1000 * transmission + rng.normal(0, 10, shape).astype(np.float32),
        "hde_background_e": np.float64(1000.0),
        "drift_px": np.array(drift_px),
        "transmission": transmission,
    }


@pytest.fixture
def sets():
    return {part: [a_set(f"{material}_{part}_000") for material in ("Ni", "SiC")] for part in ("train", "val")}


@pytest.fixture
def small_networks(monkeypatch):
    """Networks of one layer in the place of the U-Nets; a list of the architectures that were built."""
    built = []

    def build(weights, architecture):
        built.append(architecture)
        return torch.nn.Conv2d(1, 1, 3, padding=1), weights

    monkeypatch.setattr(models, "build_unet", build)
    return built


# What a variant learns from


def of(sets, **changes):
    return learning_arrays(sets, CORRECTED | changes, 32)


def test_corrected_samples_are_relative_to_the_film_and_all_corners_are_learnt_from():
    one = a_set()
    inputs, targets = of([one])
    assert inputs.shape == targets.shape == (8, 1, 32, 32)
    np.testing.assert_allclose(inputs[1, 0], one["lde"][1, :32, :32] / 4.0 - 1, rtol=1e-6)
    np.testing.assert_allclose(inputs[7, 0], one["lde"][1, 32:, 64:] / 4.0 - 1, rtol=1e-6)
    np.testing.assert_allclose(targets[2, 0], one["transmission"][:32, 64:] - 1, atol=1e-6)


def test_faithful_samples_lie_on_the_scales_of_their_extremes():
    inputs, targets = learning_arrays([a_set()], CORRECTED | VARIANTS["authors' preprocessing"], 64)
    assert inputs.min() == targets.min() == 0 and inputs.max() == targets.max() == 1


def test_the_drift_of_the_hde_frame_is_removed_only_where_asked():
    one = a_set(drift_px=(3.0, -2.0))
    whole = {"augmentation": "crops at 32"}  # nothing is cut off beforehand
    _, aligned = of([one], **whole)
    _, as_recorded = of([one], aligned=False, **whole)
    assert np.abs(aligned[0, 0] + 1 - one["transmission"]).max() < 0.1
    np.testing.assert_allclose(as_recorded[0, 0] + 1, np.roll(one["transmission"], (3, -2), (0, 1)), atol=1e-6)


def test_one_exposure_two_or_their_sum():
    one = a_set()
    both, first, summed = (of([one], exposures=name)[0] for name in ("both", "first", "summed"))
    assert [len(x) for x in (both, first, summed)] == [8, 4, 4]
    np.testing.assert_array_equal(first[0], both[0])
    # (lde_1 + lde_2) / (4.5 + 4.0) - 1
    np.testing.assert_allclose(summed[0, 0], one["lde"].sum(axis=0)[:32, :32] / 8.5 - 1, rtol=1e-5, atol=1e-6)


def test_each_exposure_is_the_other_one_s_target():
    inputs, targets = of([a_set()], learns_from="LDE")
    np.testing.assert_array_equal(targets.reshape(4, 2, 32, 32), inputs.reshape(4, 2, 32, 32)[:, ::-1])


def test_a_share_of_the_fields_is_drawn_by_the_seed_and_holds_every_material():
    fields = [a_set(f"{material}_train_00{i}") for i in range(4) for material in ("Ni", "SiC")]
    for number, one in enumerate(fields):  # so that each is known by its film
        one["lde"] = np.full_like(one["lde"], number)
        one["background_e"] = np.ones(2)
    half = CORRECTED | {"fields_share": 0.5}
    drawn = [np.unique(learning_arrays(fields, half, 32, seed)[0] + 1) for seed in range(6)]
    assert all(np.sum(numbers % 2 == 0) == np.sum(numbers % 2 == 1) == 2 for numbers in drawn)
    assert len({tuple(numbers) for numbers in drawn}) > 1


def test_the_scales_of_input_and_target_are_chosen_apart():
    inputs, targets = of([a_set()], input_scale="extremes")
    assert inputs.min() == 0 and inputs.max() == 1 and targets.min() < -0.4
    unmoved = a_set() | {"drift_px": np.zeros(2)}
    inputs, targets = learning_arrays([unmoved], CORRECTED | {"target_scale": "extremes"}, 64)
    assert targets.min() == pytest.approx(0, abs=1e-12) and inputs.max() > 1  # but for the spline's last digit


def test_a_hit_on_one_pixel_sets_the_scale_at_its_full_height_whatever_the_drift():
    one = a_set()
    one["hde_authors"] = one["hde_area"] = np.full_like(one["hde_area"], 1000.0)
    one["hde_authors"][30, 30], one["hde_authors"][5, 5] = 1400.0, 0.0  # film at 1000 / 1400
    _, targets = of([one | {"drift_px": np.array([0.5, 0.5])}], target="authors' resize", target_scale="extremes")
    assert np.median(targets) == pytest.approx(1000 / 1400, abs=1e-3)


def test_fields_are_exposed_at_the_doses_in_turn():
    whole = {"augmentation": "crops at 32"}
    one = a_set(shape=(96, 160))
    at = {dose: exposed(one, dose)["background_e"].mean() for dose in (20.0, 60.0)}
    # far from zero nothing is clipped, and the film reads its dose; the light varies by some per cent
    assert list(at.values()) == pytest.approx([20.0, 60.0], rel=0.1)
    # in relative units the noise of one electron a pixel is larger than that of 60
    noisy, quiet = of([one, one], doses_e_per_px=[2.0, 60.0], **whole)[0].std(axis=(1, 2, 3)).reshape(2, 2)
    assert noisy.min() > 2 * quiet.max()


# Augmentation: pixels that tell where they come from


def places(shape=(96, 160), n=40):
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    image = torch.from_numpy((1000.0 * rows + cols)[None, None])
    return torch.stack([torch.stack([image[0], -image[0]])] * n)  # inputs, and targets of the opposite sign


def corners(name):
    cut = augmentation(name, 64)(places(), np.random.default_rng(3))
    assert cut.shape == (40, 2, 1, 64, 64)
    assert torch.equal(cut[:, 0], -cut[:, 1])  # of one place
    first = cut[:, 0, 0, 0, 0].numpy().astype(int)
    return first // 1000, first % 1000


def test_crops_at_32_begin_where_segments_do():
    rows, cols = corners("crops at 32")
    assert set(rows) == {0, 32} and set(cols) == {0, 32, 64, 96}


def test_crops_anywhere_begin_anywhere():
    rows, cols = corners("crops anywhere")
    assert rows.max() <= 32 and cols.max() <= 96
    assert len(set(cols % 32)) > 10


def test_quarter_turns_turn_half_of_the_samples():
    both = places((64, 64))
    turned = augmentation("quarter turns", 64)(both, np.random.default_rng(3))
    upright = np.rot90(both[0].numpy(), 1, (-2, -1))
    kinds = [np.array_equal(x, upright) for x in turned.numpy()]
    assert all(kind or torch.equal(x, both[0]) for kind, x in zip(kinds, turned, strict=True))
    assert 10 < sum(kinds) < 30


# The loss of what the camera reads


def test_the_clipped_loss_is_least_at_the_transmission_though_clipped_frames_read_more():
    rng = np.random.default_rng(5)
    shots = {
        part: camera.expose(np.full((200, 300), part), dose_e_per_px=4.5, camera=camera.ONEVIEW_BIN8, rng=rng) / 44.0
        for part in (0.3, 1.0)
    }
    read_e = shots[1.0].mean()
    target = torch.from_numpy(shots[0.3] / read_e - 1)[None, None]
    loss = clipped_l2(4.5, read_e)
    tried = np.linspace(0, 1, 101)
    best = {
        name: tried[np.argmin([float(of_output(torch.full_like(target, t - 1), target)) for t in tried])]
        for name, of_output in {"plain": torch.nn.functional.mse_loss, "clipped": loss}.items()
    }
    assert best["plain"] > 0.4  # what the frames read
    assert best["clipped"] == pytest.approx(0.3, abs=0.03)


# Trained, judged and kept


def test_off_32_judges_the_same_pixels_and_the_same_noise(sets):
    raw = torch.nn.Conv2d(1, 1, 1)  # gives back what it gets
    torch.nn.init.ones_(raw.weight), torch.nn.init.zeros_(raw.bias)
    at, off = (
        judge(raw, CORRECTED, sets["val"], TESTS[name], seed=1, pixel_size_nm=3.0) for name in ("usual", "off 32")
    )
    np.testing.assert_allclose(at["mse"], off["mse"], rtol=1e-4)
    np.testing.assert_allclose(at["variance"], off["variance"], rtol=1e-6)
    # crops of 64 columns begin at 0 and 16 and share 48; of 64 x 48 pixels 20 x 30 have half the film's transmission
    share = 20 * 30 / (64 * 48)
    assert at["variance"].tolist() == pytest.approx([0.25 * share * (1 - share)] * 2)


def test_two_exposures_summed_are_nearer_to_the_truth_than_one(sets):
    raw = torch.nn.Conv2d(1, 1, 1)
    one, two = (
        judge(raw, CORRECTED | {"exposures": name}, sets["val"], TESTS["usual"], seed=1, pixel_size_nm=3.0)["mse"]
        for name in ("both", "summed")
    )
    assert (two < one).all()


def test_what_was_judged_is_kept_and_what_was_cut_off_goes_on(sets, small_networks, monkeypatch, tmp_path):
    wanted = {"corrected": ["usual", "off 32"], "authors' code": ["usual"], "Gaussian filter": ["usual"]}
    options = {"pixel_size_nm": 3.0, "report": lambda line: None, **OPTIONS}
    whole = trained_and_judged(tmp_path / "whole", sets, wanted, seeds=[1, 2], **options)
    assert len(small_networks) == 4  # a filter is not trained
    assert len(whole) == 2 * (2 + 1 + 1) * 2  # seeds, tests and fields

    def cut_off(*args, **kwargs):
        if len(small_networks) == 6:
            raise KeyboardInterrupt
        return train(*args, **kwargs)

    monkeypatch.setattr(ablation_runs, "train", cut_off)
    with pytest.raises(KeyboardInterrupt):
        trained_and_judged(tmp_path / "cut", sets, wanted, seeds=[1, 2], **options)
    monkeypatch.setattr(ablation_runs, "train", train)
    gone_on = trained_and_judged(tmp_path / "cut", sets, wanted, seeds=[1, 2], **options)
    assert len(small_networks) == 8  # two before, two after
    pd.testing.assert_frame_equal(gone_on, whole)
    trained_and_judged(tmp_path / "cut", sets, wanted, seeds=[1, 2], **(options | {"steps": 10}))
    assert len(small_networks) == 12  # other steps are another training
    assert not list(tmp_path.rglob("*.ckpt"))


def test_every_variant_makes_as_many_steps(sets, small_networks, monkeypatch):
    made = []
    monkeypatch.setattr(ablation_runs.training, "fit", lambda network, arrays, *args, **kwargs: made.append(arrays))
    for variant in ("corrected", "one exposure", "1/2 of the fields", "noise2noise"):
        train(sets["train"], CORRECTED | VARIANTS[variant], seed=1, **(OPTIONS | {"steps": 30}))
    assert {len(inputs) for inputs, _ in made} == {30 // 5 * 2}  # steps of two samples, in each of five rounds
    train(sets["train"], CORRECTED | VARIANTS["twice the steps"], seed=1, **(OPTIONS | {"steps": 30}))
    assert len(made[-1][0]) == 2 * 30 // 5 * 2


def test_the_gaussian_is_the_best_of_each_material(sets):
    coarse = sets["val"][0]
    fine = coarse | {"field": "SiC_val_000", "transmission": np.where(np.indices((64, 96)).sum(0) % 4 < 2, 1.0, 0.3)}
    options = {"seed": 1, "pixel_size_nm": 3.0}
    alone, both = (judge(None, CORRECTED, fields, TESTS["usual"], **options) for fields in ([coarse], [coarse, fine]))
    assert both["mse"][0] == alone["mse"][0]  # though the stripes want another width


def test_other_weights_to_start_from_change_the_pretrained_variant_only(sets, small_networks, tmp_path):
    wanted = {"corrected": ["usual"], "pretrained": ["usual"]}
    for name in ("a", "b"):
        (tmp_path / f"{name}.pth").write_bytes(name.encode())
        options = OPTIONS | {"pretrained": str(tmp_path / f"{name}.pth")}
        trained_and_judged(tmp_path / "kept", sets, wanted, seeds=[1], pixel_size_nm=3.0, report=str, **options)
    assert len(small_networks) == 3


def test_without_pretrained_weights_the_comparison_is_not_available(sets, monkeypatch, tmp_path):
    def unreachable(*args, encoder_weights, **kwargs):
        if encoder_weights == "imagenet":
            raise OSError("the hub cannot be reached")
        return torch.nn.Conv2d(1, 1, 3, padding=1)

    monkeypatch.setattr(models.smp, "Unet", unreachable)
    table = ablations.comparisons(["ImageNet instead of random weights"])
    said = []
    found = trained_and_judged(
        tmp_path, sets, ablations.what_to_judge(table), seeds=[1], pixel_size_nm=3.0, report=said.append, **OPTIONS
    )
    assert ablation_verdicts.verdicts(table, found)["verdict"].tolist() == ["not available here"]
    assert said[-1] == "2/2 pretrained, seed 1: the weights to start from are not available here"


def test_pretrained_weights_may_be_a_file(sets, monkeypatch, tmp_path):
    torch.manual_seed(3)
    state = resnet18(weights=None).state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    monkeypatch.setattr(ablation_runs.training, "fit", lambda *args, **kwargs: None)
    options = OPTIONS | {"pretrained": str(tmp_path / "resnet18.pth")}
    network = train(sets["train"], CORRECTED | VARIANTS["pretrained"], seed=1, **options)
    torch.testing.assert_close(network.encoder.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


@pytest.mark.parametrize("variant", ["U-Net++", "FPN", "Linknet", "MAnet"])
def test_every_architecture_gives_an_image_of_the_size_it_gets(variant):
    network, _ = models.build_unet("random", VARIANTS[variant]["architecture"])
    with torch.inference_mode():
        assert network.eval()(torch.zeros(1, 1, 64, 96)).shape == (1, 1, 64, 96)


def test_steps_that_are_no_whole_rounds_are_refused(sets):
    with pytest.raises(ProfileError, match="ablation_steps = 7: a multiple of 5"):
        train(sets["train"], CORRECTED, seed=1, **(OPTIONS | {"steps": 7}))


def test_simulated_sets_take_turns_of_material_and_are_read_again_as_they_were(tmp_path):
    options = {"seed": 1, "size_px": 96, "binning": 2, "pixel_size_nm": 6.0, "max_drift_px": 2.0}
    numbers = {"n_train": 2, "n_test": 1, "report": lambda line: None}
    made = simulated_sets(tmp_path, **numbers, **options)
    materials = [one["field"].split("_")[0] for one in made["train"]]
    assert len(set(materials[:5])) == len(set(materials[5:])) == 5
    assert len(made["val"]) == 5
    again = simulated_sets(tmp_path, **numbers, **options)
    for one, other in zip(made["train"], again["train"], strict=True):
        np.testing.assert_array_equal(one["lde"], other["lde"])
    assert made["train"][0]["lde"].shape == (2, 96, 96)
