"""Which pixels are measured: the user's word, the file's, the architecture's; against timm's transform and autograd."""

import json

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from commands import run
from PIL import Image
from plain_numbers import saved, timms
from refusals import refused
from timm.data import create_transform

import gradlens as gl
from gradlens.core.types import Preprocess

ARCH = "test_resnet"


@pytest.fixture
def pictures(tmp_path):
    """Four classes of two pictures, 48 × 48 as PNG, so that no decoder differs."""
    rng = np.random.default_rng(0)
    for k in range(8):
        folder = tmp_path / "data" / "val" / f"c{k % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(folder / f"{k}.png")
    return tmp_path / "data"


@pytest.fixture
def ckpt(tmp_path):
    """What a training with timm leaves of it, without arguments."""
    torch.manual_seed(0)
    net = timm.create_model(ARCH, num_classes=4).eval()
    return net, saved(tmp_path, {"state_dict": net.state_dict()})


def plain(net, data, size=48, crop_pct=1.0, interpolation="bilinear"):
    """Each picture's ‖∇ loss‖₁ by path, with timm's evaluation transform and autograd alone."""
    transform = create_transform(size, crop_pct=crop_pct, interpolation=interpolation, normalize=False)
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in timms(ARCH))
    found = {}
    for path in sorted(data.rglob("*.png")):
        pixels = transform(Image.open(path)).float().div(255)[None].requires_grad_()
        loss = F.cross_entropy(net((pixels - mean) / std), torch.tensor([int(path.parent.name[1])]))
        found[f"{path.parent.name}/{path.name}"] = float(torch.autograd.grad(loss, pixels)[0].abs().sum())
    return found


def check(run, wanted, size):
    found = dict(zip(run.samples["path"], run.samples["l1"], strict=True))
    assert set(found) == set(wanted)
    for path, value in wanted.items():
        assert found[path] == pytest.approx(value, rel=1e-5)
    assert run.summary["img_size"] == size


def measured(model, data, **options):
    return gl.analyze(model, data, ["sample_asymmetry"], progress=False, examples=0, **options)


def test_pictures_of_one_smaller_size_are_not_enlarged_and_that_is_said(pictures, ckpt, caplog):
    net, spec = ckpt
    found = measured(gl.load_model(spec, arch=ARCH), gl.load_data(pictures))
    check(found, plain(net, pictures), 48)
    assert "img size 48, crop pct 1 (the pictures' own" in caplog.text
    assert found.provenance["stated"]["img_size"] == {
        "value": 48,
        "by": "default",
        "where": "the pictures' own, which are all of that size",
    }


def test_pictures_of_several_sizes_take_the_architectures(pictures, ckpt, caplog):
    net, spec = ckpt
    Image.new("RGB", (40, 60), "red").save(pictures / "val" / "c0" / "other.png")
    config = timm.get_pretrained_cfg(ARCH)
    own = {"size": config.input_size[-1], "crop_pct": config.crop_pct}
    check(measured(gl.load_model(spec, arch=ARCH), gl.load_data(pictures)), plain(net, pictures, **own), own["size"])
    assert f"img size {own['size']}" in caplog.text


def test_a_network_that_takes_one_size_alone_enlarges_and_says_so(pictures, caplog):
    found = measured(
        gl.load_model("timm:vit_tiny_patch16_224:num_classes=4,depth=1", weights="random"), gl.load_data(pictures)
    )
    assert found.summary["img_size"] == 224
    assert "the network takes no 48 × 48" in caplog.text


@pytest.mark.parametrize("way", ["bound", "analyze", "load_model", "file"])
@pytest.mark.parametrize(("crop", "size"), [(0.5, 32), (1.0, 64)])
def test_what_is_stated_is_what_is_measured(pictures, ckpt, tmp_path, caplog, way, crop, size):
    net, spec = ckpt
    how, data = Preprocess(size, crop, "bilinear"), gl.load_data(pictures)
    if way == "file":
        args = {"model": ARCH, "num_classes": 4, "img_size": size, "crop_pct": crop, "interpolation": "bilinear"}
        spec = saved(tmp_path, {"state_dict": net.state_dict(), "args": args}, "stated.pth")
    model = gl.load_model(spec, arch=ARCH, preprocess=how if way == "load_model" else None)
    found = measured(model, data.bind(how) if way == "bound" else data, preprocess=how if way == "analyze" else None)
    check(found, plain(net, pictures, size, crop, "bilinear"), size)
    assert "img size" not in caplog.text
    assert found.provenance["stated"]["img_size"]["by"] == ("file" if way == "file" else "user")


def test_the_users_word_beats_the_files(pictures, ckpt, tmp_path):
    net, _ = ckpt
    args = {"model": ARCH, "num_classes": 4, "img_size": 64, "crop_pct": 1.0}
    spec = saved(tmp_path, {"state_dict": net.state_dict(), "args": args}, "stated.pth")
    line = f"analyze {spec} --data {pictures} --analyzers sample_asymmetry -o run --img-size 40"
    assert run(tmp_path, line) == 0
    check(gl.Run.load(tmp_path / "run"), plain(net, pictures, 40), 40)


@pytest.mark.parametrize("stated", ["--img-size 48", "--img-size 48 --crop-pct 1", "--img-size 48 --crop-pct .8"])
def test_a_size_from_the_shell(pictures, ckpt, tmp_path, capsys, stated):
    net, spec = ckpt
    line = f"analyze {spec} --arch {ARCH} --data {pictures} --analyzers sample_asymmetry -o run {stated}"
    assert run(tmp_path, line) == 0
    # Without a statement of the crop, pictures that have the stated size are not resized only to be cut again.
    check(gl.Run.load(tmp_path / "run"), plain(net, pictures, 48, 0.8 if ".8" in stated else 1.0), 48)
    assert "at 48 px" in capsys.readouterr().out


def test_a_vision_transformer_of_64_pixels_from_the_shell(pictures, tmp_path):
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=4, img_size=64).eval()
    spec = saved(tmp_path, net.state_dict())
    line = f"analyze {spec} --arch test_vit --img-size 64 --data {pictures} --analyzers sample_asymmetry -o run"
    assert run(tmp_path, line) == 0
    config = timm.get_pretrained_cfg("test_vit")
    check(gl.Run.load(tmp_path / "run"), plain(net, pictures, 64, config.crop_pct, config.interpolation), 64)


def test_a_manifest_states_it_too(pictures, ckpt, tmp_path):
    net, spec = ckpt
    table = (
        f'[mine]\npath = "{spec}"\narch = "{ARCH}"\nimg_size = [32, 40]\ncrop_pct = 1.0\ninterpolation = "bilinear"\n'
    )
    (tmp_path / "models.toml").write_text(table)
    line = f"analyze --models models.toml --data {pictures} --analyzers sample_asymmetry -o run"
    assert run(tmp_path, line) == 0
    check(gl.Run.load(tmp_path / "run"), plain(net, pictures, (32, 40), 1.0, "bilinear"), "32x40")


def test_arrays_are_the_models_input_and_are_not_resized(ckpt):
    model = gl.load_model(ckpt[1], arch=ARCH)
    data = gl.load_data((torch.rand(3, 3, 40, 40), [0, 1, 2]))
    assert measured(model, data).summary["img_size"] == 40
    assert measured(model, data, preprocess=Preprocess(40)).summary["img_size"] == 40
    with refused("arrays of 40 × 40", "64 × 64", "resize them first"):
        measured(model, data, preprocess=Preprocess(64))


@pytest.mark.parametrize(
    ("stated", "said"),
    [("--img-size big", "64, or height x width"), ("--crop-pct 0", "crop"), ("--interpolation x", "x")],
)
def test_a_statement_that_is_none_is_one_line(pictures, ckpt, tmp_path, capsys, stated, said):
    assert run(tmp_path, f"analyze {ckpt[1]} --arch {ARCH} --data {pictures} -o run {stated}") == 2
    err = capsys.readouterr().err.strip()
    assert said in err
    assert err.count("\n") == 0


def test_info_and_doctor_say_it(pictures, ckpt, tmp_path, capsys):
    assert run(tmp_path, f"info {ckpt[1]} --arch {ARCH} --img-size 256x128 --json") == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "256 × 128" in facts["preprocessing"]
    assert run(tmp_path, f"doctor --data {pictures} --img-size 32 --crop-pct 1") == 0
    assert "bicubic, center 32 × 32" in capsys.readouterr().out
