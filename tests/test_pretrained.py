import os
import pickle
import random

import pytest
import torch
from safetensors.torch import save_file

from sslbook import pretrained, results
from sslbook.budget import BUDGETS
from sslbook.checkpoint import CheckpointError
from sslbook.encoders import ConvNet
from sslbook.methods import MAE
from sslbook.vit import vit_micro

ARGUMENTS = dict(mask_ratio=0.5, decoder_dim=16, decoder_depth=1, decoder_heads=2)


@pytest.fixture
def saved(tmp_path):
    method = MAE(vit_micro(), **ARGUMENTS)
    pretrained.save(tmp_path / "one.safetensors", method, "vit_micro", ARGUMENTS)
    return tmp_path / "one.safetensors", method


def test_what_is_saved_comes_back_rounded_to_half(saved):
    path, method = saved
    back = pretrained.load(path)
    assert isinstance(back, MAE) and not back.training and back.keep == 32
    for name, x in method.state_dict().items():
        y = back.state_dict()[name]
        assert y.dtype == torch.float32 and torch.equal(y, x.half().float()), name


def test_loading_draws_no_random_numbers(saved):
    before = torch.manual_seed(5).get_state()
    pretrained.load(saved[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_name_lists_the_names():
    with pytest.raises(ValueError, match=r"mae-imagenet is neither a file nor one of .*mae-shapes"):
        pretrained.load("mae-imagenet")


def write_as(path, tensors, **entries):
    """A file whose checksum is right, whatever it says."""
    pretrained._write(path, tensors, dict(method="MAE", encoder="vit_micro", arguments=ARGUMENTS) | entries)


ONE = {"a": torch.ones(20)}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path, whole: path.write_bytes(whole[: len(whole) // 2]), "cut off"),
        (lambda path, whole: path.write_bytes(b""), "cut off"),
        (lambda path, whole: path.write_bytes(pickle.dumps({"a": print})), "cut off"),
        (lambda path, whole: save_file(ONE, path), "'sslbook'"),
        (lambda path, whole: save_file(ONE, path, {"sslbook": "[]"}), ""),
        (lambda path, whole: save_file(ONE, path, {"sslbook": "{}"}), "no checksum"),
        (lambda path, whole: write_as(path, ONE), "Error.s. in loading state_dict for MAE"),
        (lambda path, whole: write_as(path, ONE, method="os"), "no method 'os'"),
        (lambda path, whole: write_as(path, ONE, encoder="nn"), "an encoder 'nn'"),
        (lambda path, whole: write_as(path, ONE, encoder="vit_large"), "an encoder 'vit_large'"),
        (lambda path, whole: write_as(path, ONE, encoder=3), "startswith"),
        (
            lambda path, whole: write_as(path, ONE, arguments=dict(decoder_depth=100_000)),
            "decoder_depth=100000 is more",
        ),
        (lambda path, whole: write_as(path, ONE, arguments=dict(decoder_depth="a")), ""),
        (lambda path, whole: write_as(path, {"a": torch.tensor([1, torch.nan])}), "a holds NaN"),
    ],
)
def test_other_files_are_refused(saved, write, message):
    path, _ = saved
    write(path, path.read_bytes())
    with pytest.raises(CheckpointError, match=rf"one\.safetensors is not a file of sslbook\.pretrained .*{message}"):
        pretrained.load(path)


@pytest.mark.parametrize("size", [0, -8, 1e300, "32", None, [32], 10**9, 2**63])
@pytest.mark.parametrize("name", ["vit_micro", "vit_base"])
def test_an_encoder_of_a_size_that_its_tensors_lack_is_refused_and_takes_no_memory(name, size, tmp_path):
    pretrained._write(tmp_path / "x.safetensors", ONE, dict(encoder=name, size=size))
    with pytest.raises(CheckpointError):
        pretrained.load_encoder(tmp_path / "x.safetensors")


@pytest.mark.parametrize("weight", [torch.nan, torch.inf])
def test_an_encoder_with_weights_that_are_no_numbers_is_refused(weight, tmp_path):
    encoder = ConvNet()
    torch.nn.init.constant_(encoder[0][0].weight, weight)
    pretrained.save_encoder(tmp_path / "x.safetensors", encoder, "convnet", 32)
    with pytest.raises(CheckpointError, match=r"0\.0\.weight holds NaN or infinite numbers"):
        pretrained.load_encoder(tmp_path / "x.safetensors")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes there")
def test_a_pipe_does_not_hang_it(tmp_path):
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="there is no file"):
        pretrained.load_encoder(tmp_path / "x.safetensors")


def test_a_file_says_what_it_is(tmp_path):
    pretrained.save_encoder(tmp_path / "x.safetensors", ConvNet(), "convnet", 48)
    assert pretrained.read_about(tmp_path / "x.safetensors") == dict(encoder="convnet", size=48, input=[0, 1])


def test_one_flipped_bit_is_found_wherever_it_is(tmp_path):
    path, draw = tmp_path / "x.safetensors", random.Random(0)
    pretrained.save_encoder(path, ConvNet(4), "convnet", 32)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for i in range(300):
        damaged, at = bytearray(whole), draw.randrange(header if i % 2 else len(whole))
        damaged[at] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            pretrained.read_about(path)


@pytest.mark.parametrize("name", pretrained.names())
def test_what_ships_is_small_and_does_what_its_log_says(name):
    path = pretrained.FOLDER / f"{name}.safetensors"
    assert path.stat().st_size < 8e6
    [log] = results.read("pretrained", name)
    method = pretrained.load(name)
    _, test = BUDGETS["cpu"].load()
    torch.manual_seed(0)
    error, mean_colour = method.errors(test.images / 255)
    assert error == pytest.approx(log["report"]["error of hidden patches"], rel=0.1)
    assert mean_colour > 3 * error
