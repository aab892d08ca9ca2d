import pytest

smp = pytest.importorskip("segmentation_models_pytorch", reason="the extra [paper] is not installed")

from temlib.stages import stage_table  # noqa: E402


@pytest.fixture(scope="module")
def network():
    return smp.Unet("resnet18", in_channels=1, encoder_weights=None)


def test_an_encoder_of_resnet_18_has_the_shapes_of_its_paper(network):
    # He et al. 2015, table 1: 64, 64, 128, 256, 512 channels at 1/2, 1/4, ... 1/32 of the edge
    stages = stage_table(network, (96, 64))
    encoder = stages[stages.stage == "encoder"]
    assert list(encoder.channels) == [64, 64, 128, 256, 512]
    assert list(encoder.rows) == [48, 24, 12, 6, 3]
    assert list(encoder.cols) == [32, 16, 8, 4, 2]


def test_the_encoder_counts_the_parameters_of_resnet_18_without_classifier_and_colours(network):
    # torchvision gives 11 689 512; minus 512 x 1000 + 1000 (classifier) and 64 x 7 x 7 x 2 (two colours)
    stages = stage_table(network, 64)
    assert stages[stages.stage == "encoder"].parameters.sum() == 11_689_512 - 513_000 - 6_272


def test_no_parameter_of_the_network_is_left_out(network):
    assert stage_table(network, 64).parameters.sum() == sum(p.numel() for p in network.parameters())


def test_skips_join_blocks_of_one_size(network):
    stages = stage_table(network, (96, 64)).set_index("block")
    skips = stages[stages.skip_from != ""]
    assert list(skips.skip_from) == ["layer 3", "layer 2", "layer 1", "stem"]
    for skip in skips.itertuples():
        giver = stages.loc[skip.skip_from]
        assert (giver["rows"], giver["cols"]) == (skip.rows, skip.cols)


def test_the_network_is_left_in_training_and_without_hooks(network):
    network.train()
    stage_table(network, 64)
    assert network.training
    assert not network.encoder.relu._forward_hooks
