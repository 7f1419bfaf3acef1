import functools
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import THOROUGH
from PIL import Image

from sslbook import checkpoint, cli, encoders, pretrained, sets
from sslbook.files import alone
from sslbook.methods import METHODS, reading

# the weekly run trains every method, the others one of each family
ONE_OF_EACH_FAMILY = {METHODS[name].family: method for method, name in cli.NAMES.items()}.values()
TRAINED = cli.NAMES if THOROUGH else ONE_OF_EACH_FAMILY


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


@pytest.mark.parametrize("method", TRAINED)
def test_a_method_trains_and_its_encoder_can_be_judged(run, method, tmp_path):
    printed = run("pretrain", method, "--quiet", "--epochs", 1)
    out = tmp_path / f"runs/{method}-shapes-0"
    assert f"{out.relative_to(tmp_path)}/encoder.safetensors" in printed
    log = json.loads((out / "log.json").read_text())
    assert log["method"] == cli.NAMES[method] and log["config"]["epochs"] == len(log["curve"]) == 1
    assert 0 <= log["report"]["kNN"] <= 1 and log["machine"]["torch"] == torch.__version__ and "command" in log
    assert printed.startswith(f"{cli.NAMES[method]}: a ") and "the recipe of the smoke budget for shapes" in printed
    assert f"{log_steps(log)} steps of {log['config']['batch_size']} images" in printed.splitlines()[0]
    judged = json.loads(run("evaluate", out))
    for entry in ("report", "baselines", "protocol"):
        assert judged[entry] == log[entry], "the images, their number and the answers are those of the training"
    table = [line.split() for line in printed.splitlines()[1:]]
    rows = {cli.NAMES[method]: judged["report"]} | judged["baselines"]
    assert [words[0] for words in table[1:4]] == list(rows) == [cli.NAMES[method], "untrained", "pixels"]
    for words, answers in zip(table[1:4], rows.values()):
        assert words[1:] == [f"{x:.3f}" for x in answers.values()]
    k = judged["protocol"]["k"]
    assert k < 200 and f"512 labels, 1 % of them are 8; kNN with k = {k}" in printed, "no more than the smallest class"
    assert printed.splitlines()[-1].startswith(f"loss {log['curve'][-1]['loss']:.3f} after ")
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


def photos(folder, classes, n=12, shade=90):
    folder.mkdir(exist_ok=True)
    for c in range(classes):
        (folder / f"class {c}").mkdir(parents=True, exist_ok=True)
        for i in range(n):
            Image.new("RGB", (40, 50), (200 * c, 20 * i, shade)).save(folder / f"class {c}/{i}.png")


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
def test_a_folder_of_photos(run, tmp_path, how, monkeypatch, capsys):
    photos(tmp_path / "mine", 2)
    photos(tmp_path / "others", 2, n=4)
    common = ["--size", 24, "--test", "others"]
    run("pretrain", "simclr", "--data", "mine", *common, *how, "--batch-size", 8, "--quiet", "--epochs", 2)
    log = json.loads((tmp_path / "runs/simclr-mine-0/log.json").read_text())
    assert log["config"]["size"] == [24, 24] and log["config"]["images"] == 24 and log["report"]["linear"] > 0.5
    assert log["config"]["views"][0]["blur"] == 0.5, "SimCLR's own views, no longer the shapes'"
    assert log["protocol"] == {"k": 12, "labels": 24, "1 % of labels": 2, "test labels": 8}
    monkeypatch.chdir(tmp_path / "others")  # photos, size and --test are those of the log and the file, from anywhere
    judged = json.loads(run("evaluate", "../runs/simclr-mine-0"))
    assert judged["report"] == log["report"] and judged["baselines"] == log["baselines"]
    monkeypatch.chdir(tmp_path)
    assert "say --test FOLDER" in refusal(run, "evaluate", "runs/simclr-mine-0", "--data", "mine")
    (tmp_path / "mine").rename(tmp_path / "moved")
    said = refusal(run, "evaluate", "runs/simclr-mine-0")
    assert f"log.json names the images {tmp_path}/mine, which are not there: say --data" in said
    cli.main(["evaluate", "runs/simclr-mine-0", "--data", "moved", "--test", "others", "--size", "32"])
    assert "trained at 24 px, and is judged at 32 px" in capsys.readouterr().err


def test_photos_to_judge_by_are_matched_before_a_training(run, tmp_path):
    photos(tmp_path / "mine", 2)
    photos(tmp_path / "three", 3)
    photos(tmp_path / "one", 1)
    photos(tmp_path / "flat", 0)
    Image.new("RGB", (40, 50)).save(tmp_path / "mine/lies about.png")  # half sorted: has no label, is trained on
    Image.new("RGB", (40, 50)).save(tmp_path / "flat/photo.png")
    train = ["pretrain", "simclr", "--size", "24", "--batch-size", "8", "--epochs", "1", "--quiet"]
    for data, test, message in (
        ("mine", "three", "test images are of the class 'class 2', which no train image has"),
        ("one", "one", "there is one class only: nothing to tell apart"),
        ("mine", "flat", "no test image has a label: photos need a sub-folder for each class"),
        ("flat", "mine", "--test asks for classes, and --data has none: it needs a sub-folder for each class"),
    ):
        assert message in refusal(run, *train, "--data", data, "--test", test, "--probe-every", 0)
        assert not (tmp_path / f"runs/simclr-{data}-0/log.json").exists()
    run(*train, "--data", "mine", "--test", "one", "--out", "x")
    log = json.loads((tmp_path / "x/log.json").read_text())
    assert log["config"]["images"] == 25 and log["protocol"]["labels"] == 24 and log["protocol"]["test labels"] == 12


def test_few_steps_and_a_loss_above_chance_are_said(run, tmp_path, monkeypatch, capsys):
    photos(tmp_path / "mine", 2)
    train = ["pretrain", "simclr", "--data", "mine", "--size", "24", "--batch-size", "8", "--quiet"]
    run(*train, "--epochs", "2", "--out", "x")
    monkeypatch.setattr(cli.METHODS["SimCLR"].method, "chance", lambda method, batch_size: 0.1)
    capsys.readouterr()
    cli.main([*train, "--epochs", "2", "--out", "y"])
    printed = capsys.readouterr()
    assert "sslbook: 6 steps are few: --epochs 120 makes 360" in printed.err
    assert "above chance: 0.10 is that of a network to which all images look alike" in printed.err
    assert printed.out.splitlines()[-1].endswith("to load it: sslbook.pretrained.load_encoder(path)")
    assert "python -m sslbook evaluate y" in printed.out


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("[1, 2]", "x/log.json is not the log of a training: say --data"),
        ('{"data": 3}', "x/log.json is not the log of a training"),
        ('{"data": "shapes", "test": []}', "x/log.json is not the log of a training"),
        ("{", "x/log.json is damaged (Expecting"),
        ("", "x/log.json is damaged (Expecting value"),
        ("{}", "x has no log.json that names the images: say --data"),
    ],
)
def test_a_log_that_is_none_is_named(run, log, message, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/log.json").write_text(log)
    assert message in refusal(run, "evaluate", "x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pretrain simclr --data nowhere", "--data nowhere is neither a folder nor one of shapes, cifar10"),
        ("pretrain simclr --data shapes --test x", "--test belongs to a folder of photos"),
        ("pretrain simclr --set temperature=0 --quiet", "temperature must be positive, got 0"),
        ("pretrain simclr --data shapes --size 32", "--size belongs to a folder of photos"),
        ("pretrain simclr --set warmth=1", "--set: SimCLR has no argument 'warmth'; it has dim, hidden, temperature"),
        ("pretrain simclr --set temperature", "--set takes NAME=VALUE, got 'temperature'"),
        ("pretrain simclr --set temperature=hot", "--set temperature: 'hot' is no number"),
        ("pretrain simclr --set temperature=null", "--set temperature: 'null' is no number"),
        ("pretrain simclr --set temperature=Infinity", "--set temperature must be at least 0 and finite, got Infinity"),
        ("pretrain simclr --set dim=64.5", "--set dim: '64.5' is no whole number"),
        ("pretrain dino --set centring=no", "centring must be one of "),
        ("pretrain byol --set hidden=0", "--set hidden must be at least 1 and finite, got 0"),
        ("pretrain simclr --set temperature=-1", "--set temperature must be at least 0 and finite, got -1"),
        ("pretrain byol --set predictor_lr=-1", "--set predictor_lr must be at least 0 and finite, got -1"),
        ("pretrain moco --set symmetric=3", "--set symmetric: '3' is neither true nor false"),
        ("pretrain moco --set K=999999999999", "--set: MoCo can't be made with {'K': 999999999999"),
        ("pretrain mae --data photos --size 60", "vit_micro takes images whose side is a multiple of 8 px, got 60"),
        ("pretrain simclr --stream", "--stream belongs to a folder of photos; shapes is held in memory"),
        ("pretrain simclr --workers 2", "--workers belongs to --stream"),
        ("pretrain simclr --data photos --stream --workers 9999999", "workers must lie between 0 and"),
        ("pretrain simclr --data photos --stream --workers -1", "--workers must be at least 0, got -1"),
        ("pretrain simclr --device graphics", "there is no device 'graphics', there is cpu"),
        ("pretrain simclr --device cuda:77", "there is no device 'cuda:77', there is cpu"),
        ("pretrain simclr --device meta", "there is no device 'meta', there is cpu"),
        ("evaluate nothing --data shapes --device graphics", "nothing is not a file of sslbook.pretrained"),
        *((f"pretrain simclr --lr {x}", f"--lr must be at least 0 and finite, got {x}") for x in ("inf", "nan", -1.0)),
        ("pretrain simclr --lr 0", "lr must be positive and finite, got 0"),
        ("pretrain simclr --weight-decay -1", "--weight-decay must be at least 0 and finite, got -1.0"),
        ("pretrain simclr --warmup-epochs inf", "--warmup-epochs must be at least 0 and finite, got inf"),
        ("pretrain simclr --warmup-epochs 1e30", "--warmup-epochs 1e+30 is more than the training's 2"),
        ("pretrain simclr --checkpoint-every inf", "--checkpoint-every must be at least 0 and finite, got inf"),
        ("pretrain simclr --keep 0", "--keep must be at least 1, got 0"),
        ("pretrain simclr --probe-every -1", "--probe-every must be at least 0, got -1"),
        ("pretrain simclr --seed 99999999999999999999", "--seed must lie between 0 and 2**63"),
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
    photos(tmp_path / "photos", 1)
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
    for name in encoders.IMAGE_ENCODERS:
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


def test_help_names_what_set_takes(run, capsys):
    with pytest.raises(SystemExit):
        run("pretrain", "--help")
    said = capsys.readouterr().out
    for name, entry in reading("images").items():
        for argument in list(inspect.signature(entry.method).parameters)[1:]:
            assert re.search(rf"^  {name.lower()}: .*\b{argument}\b", said, re.MULTILINE)


def test_values_of_every_kind_reach_the_method(run, tmp_path):
    run("pretrain", "byol", "--quiet", "--epochs", 1, "--set", "dim=16", "tau=1", "schedule=False", "--out", "x")
    assert json.loads((tmp_path / "x/log.json").read_text())["arguments"].items() >= {
        ("dim", 16), ("tau", 1.0), ("schedule", False)
    }  # fmt: skip
    run("pretrain", "gan", "--quiet", "--epochs", 1, "--set", "loss=hinge", "--out", "y")
    assert json.loads((tmp_path / "y/log.json").read_text())["arguments"]["loss"] == "hinge"


def test_a_resumed_run_has_the_arguments_and_the_photos_of_before(run, tmp_path):
    photos(tmp_path / "mine", 2)
    common = ["pretrain", "simclr", "--data", "mine", "--size", 24, "--epochs", 1, "--quiet", "--resume", "--out", "x"]
    common += ["--batch-size", 8]
    run(*common)
    log = (tmp_path / "x/log.json").read_bytes()
    assert "temperature: 0.1 there, 0.25 now" in refusal(run, *common, "--set", "temperature=0.25")
    photos(tmp_path / "mine", 2, shade=7)
    assert "(checksum of the images: " in refusal(run, *common)
    assert (tmp_path / "x/log.json").read_bytes() == log


def test_few_photos_get_a_batch_of_a_quarter(run, tmp_path, capsys):
    photos(tmp_path / "mine", 2)
    cli.main(["pretrain", "simclr", "--data", "mine", "--size", "24", "--epochs", "1", "--quiet", "--out", "x"])
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "sslbook: 24 images: the batch size is 6, the recipe's 128"
    assert "4 steps are few" in said[1] and "above chance" in said[2] and len(said) == 3
    assert json.loads((tmp_path / "x/log.json").read_text())["config"]["batch_size"] == 6


def test_two_runs_do_not_write_into_one_folder(run, tmp_path, monkeypatch):
    monkeypatch.setattr(cli.Checkpoints, "PATIENCE", 0.1)
    with alone("x"):
        said = refusal(run, "pretrain", "simclr", "--quiet", "--out", "x")
    assert said == "sslbook: another process writes to x: wait for its end, or take another folder"
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_stop_says_how_to_go_on(sent, code, tmp_path):
    process = start(["-m", "sslbook", "pretrain", "simclr", "--epochs", "500", "--out", "x"], tmp_path)
    deadline = time.monotonic() + 180
    while not (tmp_path / "x/log.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(sent)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code and "sslbook: stopped; the same command with --resume goes on" in error
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
