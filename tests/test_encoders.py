import pytest
import torch
import torchvision
from torch import nn

from sslbook import encoders
from sslbook.heads import mlp_head


@pytest.mark.parametrize(
    "encoder", [encoders.ConvNet(), encoders.resnet18(), encoders.resnet50()], ids=["c", "18", "50"]
)
def test_pictures_become_features(encoder):
    features = encoder.eval()(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, encoder.features_dim) == (2, encoders.features_dim(encoder))


def test_the_small_stem_keeps_what_the_large_one_throws_away():
    """With the ImageNet stem a 32 px picture is 8 px wide before the first residual block."""
    widths = []
    for encoder in (encoders.resnet18(), encoders.resnet18(small_images=False)):
        encoder.layer1.register_forward_pre_hook(lambda _, x: widths.append(x[0].shape[-1]))
        encoder.eval()(torch.rand(1, 3, 32, 32))
    assert widths == [32, 8]


def test_with_the_large_stem_it_is_torchvision_s_resnet_without_its_classifier():
    theirs = torchvision.models.resnet18().state_dict()
    missing = encoders.resnet18(small_images=False).load_state_dict(theirs, strict=False)
    assert missing.missing_keys == [] and missing.unexpected_keys == ["fc.weight", "fc.bias"]


def test_zero_init_residual_starts_blocks_as_identities():
    assert encoders.resnet18(zero_init_residual=True).layer1[0].bn2.weight.abs().max() == 0
    assert encoders.resnet18().layer1[0].bn2.weight.min() == 1


def test_features_of_a_foreign_encoder_are_measured_and_its_mode_is_put_back():
    encoder = nn.Sequential(nn.Conv2d(3, 7, 3), nn.BatchNorm2d(7), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert encoders.features_dim(encoder) == 7 and encoder.training
    assert encoder[1].num_batches_tracked == 0


def layers(head):
    return [type(layer).__name__ for layer in head]


def test_heads():
    assert layers(mlp_head([4, 8, 2])) == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert layers(mlp_head([4, 8, 2], norm=False)) == ["Linear", "ReLU", "Linear"]
    assert layers(mlp_head([4, 2])) == ["Linear"]
    head = mlp_head([4, 8, 2], norm_output=True)
    assert layers(head)[-1] == "BatchNorm1d" and not head[-1].affine
    biases = [m.bias is not None for m in mlp_head([4, 8, 2]) if isinstance(m, nn.Linear)]
    assert biases == [False, True], "a norm takes the bias before it away"
    with pytest.raises(ValueError, match=r"at least two; got \[4\]"):
        mlp_head([4])


def test_views_of_one_size_go_through_a_network_together():
    large, small = torch.rand(2, 4, 3, 24, 24), torch.rand(2, 4, 3, 16, 16)
    views = [large[0], small[0], large[1], small[1]]
    network, batches = encoders.ConvNet(width=2), []
    network.register_forward_pre_hook(lambda module, arguments: batches.append(arguments[0].shape))
    outputs = encoders.forward_each_size(network, views)
    assert [tuple(shape) for shape in batches] == [(8, 3, 24, 24), (8, 3, 16, 16)]
    network.eval()
    for size, places in ((large, (0, 2)), (small, (1, 3))):
        together = encoders.ConvNet(width=2)
        together.load_state_dict(network.state_dict())
        for x, y in zip(together(size.flatten(0, 1)).chunk(2), (outputs[i] for i in places)):
            torch.testing.assert_close(x, y)
