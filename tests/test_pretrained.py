import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from sslbook import pretrained, results
from sslbook.budget import BUDGETS
from sslbook.checkpoint import CheckpointError
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


def about(**entries):
    return {"sslbook": json.dumps(dict(method="MAE", encoder="vit_micro", arguments=ARGUMENTS) | entries)}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path, whole: path.write_bytes(whole[: len(whole) // 2]), "cut off"),
        (lambda path, whole: path.write_bytes(b""), "cut off"),
        (lambda path, whole: path.write_bytes(pickle.dumps({"a": print})), "cut off"),
        (lambda path, whole: save_file({"a": torch.ones(1)}, path), "'sslbook'"),
        (lambda path, whole: save_file({"a": torch.ones(1)}, path, about()), "Error.s. in loading state_dict for MAE"),
        (lambda path, whole: save_file({"a": torch.ones(1)}, path, about(method="os")), "no method 'os'"),
        (lambda path, whole: save_file({"a": torch.ones(1)}, path, about(encoder="nn")), "an encoder 'nn'"),
    ],
)
def test_other_files_are_refused(saved, write, message):
    path, _ = saved
    write(path, path.read_bytes())
    with pytest.raises(CheckpointError, match=rf"one\.safetensors is not a file of sslbook\.pretrained .*{message}"):
        pretrained.load(path)


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
