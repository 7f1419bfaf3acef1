import functools
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from sslbook import checkpoint, cli, encoders, pretrained, sets


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Call the command line in an empty folder: what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSLBOOK_BUDGET", "smoke")

    def call(*arguments):
        cli.main(list(map(str, arguments)))
        return capsys.readouterr().out

    return call


def refusal(run, *arguments):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    return str(stopped.value)


@pytest.mark.parametrize("method", cli.NAMES)
def test_every_method_trains_and_its_encoder_can_be_judged(run, method, tmp_path):
    printed = run("pretrain", method, "--quiet", "--epochs", 1)
    out = tmp_path / f"runs/{method}-shapes-0"
    assert f"{out.relative_to(tmp_path)}/encoder.safetensors" in printed
    log = json.loads((out / "log.json").read_text())
    assert log["method"] == cli.NAMES[method] and log["config"]["epochs"] == len(log["curve"]) == 1
    assert 0 <= log["report"]["kNN"] <= 1 and log["machine"]["torch"] == torch.__version__ and "command" in log
    report = json.loads(run("evaluate", out))
    assert report.keys() == log["report"].keys()
    assert [path.name for path in checkpoint.steps(out / "checkpoints")] == [f"step-{log_steps(log):09}.pt"]


def log_steps(log):
    return log["config"]["epochs"] * (log["config"]["images"] // log["config"]["batch_size"])


def test_what_is_said_is_done(run, tmp_path):
    settings = dict(epochs=3, batch_size=64, optimizer="lars", lr=0.2, weight_decay=0.01, warmup_epochs=0.5, seed=4)
    said = [x for name, value in settings.items() for x in (f"--{name.replace('_', '-')}", value)]
    more = "--set temperature=0.3 dim=16 --views byol --encoder vit_micro --out x --keep 3 --checkpoint-every 0.5"
    run("pretrain", "SimCLR", *said, *more.split(), "--probe-every", 0, "--quiet", "--data", "shapes")
    log = json.loads((tmp_path / "x/log.json").read_text())
    assert {name: log["config"][name] for name in settings} == settings
    assert log["arguments"] == {"temperature": 0.3, "dim": 16} and log["encoder"] == "vit_micro"
    assert log["config"]["views"][1]["solarize"] == 0.2 and not any("knn" in row for row in log["curve"])
    assert len(list((tmp_path / "x/checkpoints").iterdir())) == 3
    assert pretrained.load_encoder(tmp_path / "x/encoder.safetensors").features_dim == 96


def test_a_vit_gets_the_recipe_s_views_in_its_own_size(run, tmp_path):
    more = "--encoder vit_micro --epochs 1 --probe-every 0 --quiet --out x"
    run("pretrain", "simclr", *more.split())
    view = json.loads((tmp_path / "x/log.json").read_text())["config"]["views"][0]
    assert (view["size"], view["hue"]) == (32, 0.5)


def test_a_stopped_training_goes_on_only_if_told_to(run, tmp_path):
    run("pretrain", "simclr", "--quiet", "--out", "whole", "--epochs", 3)
    run("pretrain", "simclr", "--quiet", "--out", "again", "--epochs", 3, "--keep", 9, "--resume")
    last, *_ = reversed(checkpoint.steps(tmp_path / "again/checkpoints"))
    last.unlink()
    (tmp_path / "again/encoder.safetensors").unlink()
    assert "again/checkpoints holds a training: --resume goes on" in refusal(
        run, "pretrain", "simclr", "--out", "again", "--epochs", 3
    )
    other = refusal(run, "pretrain", "simclr", "--out", "again", "--epochs", 4, "--resume", "--quiet")
    assert "run with other settings (epochs: 3 there, 4 now)" in other
    run("pretrain", "simclr", "--quiet", "--out", "again", "--epochs", 3, "--resume")
    one, two = (pretrained.load_encoder(tmp_path / f"{run}/encoder.safetensors") for run in ("whole", "again"))
    assert all(torch.equal(x, two.state_dict()[name]) for name, x in one.state_dict().items())
    one, two = (json.loads((tmp_path / f"{run}/log.json").read_text()) for run in ("whole", "again"))
    assert one["report"] == two["report"] and len(two["curve"]) == 3


def photos(folder, classes, n=12):
    for c in range(classes):
        (folder / f"class {c}").mkdir(parents=True)
        for i in range(n):
            Image.new("RGB", (40, 50), (200 * c, 20 * i, 90)).save(folder / f"class {c}/{i}.png")


@pytest.mark.parametrize("how", [[], ["--stream", "--workers", 1]], ids=["in memory", "streamed"])
def test_photos_that_cant_be_read_are_listed_beside_the_log(run, tmp_path, how, capsys):
    photos(tmp_path / "mine", 2)
    (tmp_path / "mine/class 0/broken.jpg").write_bytes(b"no picture")
    (tmp_path / "mine/class 1/raw.CR2").write_bytes(b"no picture")
    options = ["--size", "24", "--batch-size", "5", "--epochs", "1", "--quiet", *map(str, how)]
    cli.main(["pretrain", "simclr", "--data", "mine", *options])
    printed = capsys.readouterr()
    assert "skipped.json (2 photos)" in printed.out
    assert all(line.startswith("sslbook: ") for line in printed.err.splitlines()), "no line of code below a warning"
    skipped = json.loads((tmp_path / "runs/simclr-mine-0/skipped.json").read_text())
    reasons = {os.path.basename(file): reason for file, reason in skipped.items()}
    assert set(reasons) == {"broken.jpg", "raw.CR2"} and "export it as JPEG" in reasons["raw.CR2"]


@pytest.mark.parametrize("how", [[], ["--stream", "--workers", 1]], ids=["in memory", "streamed"])
def test_a_folder_of_photos(run, tmp_path, how):
    photos(tmp_path / "mine", 2)
    photos(tmp_path / "others", 2, n=4)
    common = ["--size", 24, "--test", "others"]
    run("pretrain", "simclr", "--data", "mine", *common, *how, "--batch-size", 8, "--quiet", "--epochs", 2)
    log = json.loads((tmp_path / "runs/simclr-mine-0/log.json").read_text())
    assert log["config"]["size"] == [24, 24] and log["config"]["images"] == 24 and log["report"]["linear"] > 0.5
    assert log["config"]["views"][0]["blur"] == 0.5, "SimCLR's own views, no longer the shapes'"
    assert json.loads(run("evaluate", "runs/simclr-mine-0", *common))["linear"] > 0.5
    assert "say --test FOLDER" in refusal(run, "evaluate", "runs/simclr-mine-0", "--size", 24)
    photos(tmp_path / "three", 3)
    assert "has the classes ['class 0', 'class 1'] and --test three" in refusal(
        run, "pretrain", "simclr", "--data", "mine", "--test", "three", "--quiet", "--out", "x"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pretrain simclr --data nowhere", "--data nowhere is neither a folder nor one of shapes, cifar10"),
        ("pretrain simclr --data shapes --test x", "--test belongs to a folder of photos"),
        ("pretrain simclr --set temperature=-1 --quiet", "temperature must be positive, got -1"),
        ("pretrain simclr --set warmth=1", "--set: SimCLR has no argument 'warmth'; it has dim, hidden, temperature"),
        ("pretrain simclr --set temperature", "--set takes NAME=VALUE, got 'temperature'"),
        ("pretrain simclr --set temperature=hot", "--set temperature: 'hot' is neither a number nor true or false"),
        ("pretrain mae --encoder resnet18", "MAE needs a ViT: --encoder vit_micro, vit_tiny or vit_base"),
        ("pretrain simclr --batch-size 4000", "between 2 and the 512 images, got 4000"),
        ("pretrain simclr --epochs 0", "epochs must be at least 1, got 0"),
        ("pretrain simclr --out taken", "taken/checkpoints is or lies below a file"),
        ("evaluate nothing", "has no log.json that names the images: say --data"),
        ("evaluate nothing --data shapes", "nothing is not a file of sslbook.pretrained"),
        ("evaluate taken --data shapes", "taken is not a file of sslbook.pretrained"),
    ],
)
def test_mistakes_end_with_one_line_that_helps(run, arguments, message, tmp_path):
    (tmp_path / "taken").write_text("a file")
    said = refusal(run, *arguments.split())
    assert said.startswith("sslbook: ") and message in said and "\n" not in said


@pytest.mark.parametrize("arguments", ["", "pretrain", "pretrain dinosaur", "pretrain simclr --lr fast", "evaluate"])
def test_wrong_usage_exits_with_2(run, arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments.split())
    assert stopped.value.code == 2 and "usage: sslbook" in capsys.readouterr().err


def test_the_data_choose_the_budget(monkeypatch):
    parse = cli._parser().parse_args
    monkeypatch.setenv("SSLBOOK_BUDGET", "cpu")
    assert cli._plan(parse(["pretrain", "simclr", "--data", "cifar10"])).name == "cifar10-cpu"
    assert cli._plan(parse(["pretrain", "simclr", "--data", "cifar10", "--budget", "gpu"])).name == "gpu"
    for same in ([], ["--data", "shapes"], ["--data", "some/folder"]):
        assert cli._plan(parse(["pretrain", "simclr", *same])).name == "cpu"


def test_encoders_of_every_name_and_their_files(tmp_path):
    for name in encoders.ENCODERS:
        size = 32 if name != "vit_base" else 64
        encoder = encoders.make_encoder(name, size).eval()
        pretrained.save_encoder(tmp_path / "x.safetensors", encoder, name, size)
        loaded = pretrained.load_encoder(tmp_path / "x.safetensors")
        images = torch.rand(2, 3, size, size)
        assert torch.equal(loaded(images), encoder(images)) and loaded(images).shape == (2, encoder.features_dim)
    assert encoders.make_encoder("resnet18", 224).conv1.kernel_size == (7, 7)
    with pytest.raises(ValueError, match="no encoder 'vgg'; there are convnet, resnet18"):
        encoders.make_encoder("vgg")
    pretrained.save_encoder(tmp_path / "x.safetensors", encoders.ConvNet(8), "convnet", 32)
    with pytest.raises(checkpoint.CheckpointError, match=r"x.safetensors is not a file of sslbook.pretrained \(Error"):
        pretrained.load_encoder(tmp_path / "x.safetensors")


def start(command, folder):
    environment = os.environ | {"SSLBOOK_BUDGET": "smoke", "OMP_NUM_THREADS": "1"}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # a shell's background job ignores Ctrl-C, and so would its children
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, preexec_fn=listen, **pipes)


def test_control_c_says_how_to_go_on(tmp_path):
    process = start(["-m", "sslbook", "pretrain", "simclr", "--epochs", "500", "--out", "x"], tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "x/log.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "sslbook: stopped; the same command with --resume goes on" in error
    assert "Traceback" not in error and checkpoint.steps(tmp_path / "x/checkpoints")


def test_torchrun_gives_what_one_process_gives(tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    train = ["-m", "sslbook", "pretrain", "byol", "--data", "shapes", "--epochs", "1", "--quiet", "--out"]
    logs = []
    for before, out in ((torchrun, "two"), ([], "one")):
        process = start([*before, *train, out], tmp_path)
        printed, error = process.communicate(timeout=120)
        assert process.returncode == 0, error[-2000:]
        assert printed.count("encoder.safetensors") == 1, "one process speaks"
        logs.append(json.loads((tmp_path / out / "log.json").read_text()))
    assert [log["processes"] for log in logs] == [2, 1]
    assert logs[0]["curve"][0]["loss"] == pytest.approx(logs[1]["curve"][0]["loss"], rel=1e-3)
    assert sets.NAMES[0] == logs[0]["data"]
