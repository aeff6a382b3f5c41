"""A look at single pictures has the numbers that a run has of them, needs no label, and its figure fits a column."""

import numpy as np
import pytest
import torch
from boxes import colliding, cut
from drawn import shown, titles
from PIL import Image
from refusals import refused
from skimage.feature import canny
from torch import nn

import gradlens as gl
from gradlens.plotting import numbers


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two photographs of different size, in a folder."""
    folder = tmp_path_factory.mktemp("pictures")
    from sklearn.datasets import load_sample_images

    flower, china = load_sample_images().images
    Image.fromarray(flower).resize((60, 48)).save(folder / "flower.png")
    Image.fromarray(china).resize((90, 70)).save(folder / "china.png")
    return folder


@pytest.fixture(scope="module")
def models():
    made = []
    for seed, name in enumerate(["one", "two"]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.GELU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
        net.append(nn.Linear(128, 5))
        how = gl.Preprocess(size=40, crop_pct=0.9)
        made.append(gl.load_model(net, mean=(0.5,) * 3, std=(0.3,) * 3, device="cpu", preprocess=how))
        made[-1].card.__dict__["name"] = name
    return made


def test_the_numbers_are_those_of_a_run(models, pictures):
    run = gl.analyze(models[0], str(pictures), progress=False, batch_size=1)
    seen = gl.look(models[0], [pictures / "china.png", pictures / "flower.png"]).table.frame
    assert seen["picture"].tolist() == run.samples["path"].tolist()
    for name in ("l1", "share_r", "share_g", "share_b", "confidence", "loss", "edge_partial_contour_local"):
        np.testing.assert_allclose(seen[name], run.samples[name], rtol=1e-5, err_msg=name)
    assert seen["prediction"].astype(int).tolist() == run.samples["prediction"].tolist()
    assert seen["label"].isna().all()


def test_shares_are_those_of_plain_autograd(models, pictures):
    row = gl.look(models[1], pictures / "china.png", 3, objective="true_logit").table.frame.iloc[0]
    data = gl.load_data(str(pictures)).bind(models[1].card.preprocess)
    image = data.image(0)[None].requires_grad_()
    (gradient,) = torch.autograd.grad(models[1](image)[0, 3], image)
    size = gradient[0].abs().double().numpy()
    gray = (image[0].detach().double() * torch.tensor([0.2125, 0.7154, 0.0721]).view(3, 1, 1)).sum(0)
    edges = canny(gray.numpy(), 1.0, 0.1, 0.2)
    assert row["l1"] == pytest.approx(size.sum(), rel=1e-5)
    assert row["share_on_edges"] == pytest.approx(size[:, edges].sum() / size.sum(), rel=1e-5)
    assert row["edge_area"] == pytest.approx(edges.mean())
    np.testing.assert_allclose(
        row[["share_r", "share_g", "share_b"]].tolist(), size.sum((1, 2)) / size.sum(), rtol=1e-5
    )


def test_a_picture_says_the_same_alone_and_among_others(models, pictures):
    paths = [pictures / "china.png", pictures / "flower.png"]
    both = gl.look(models, paths, objective=["loss", "margin"]).table.frame
    alone = gl.look(models[1], Image.open(paths[1]), objective="margin").table.frame
    own = both[(both["picture"] == "flower.png") & (both["model"] == "two") & (both["objective"] == "margin")]
    assert len(both) == 2 * 2 * 2
    np.testing.assert_array_equal(own[["l1", "share_on_edges"]], alone[["l1", "share_on_edges"]])


@pytest.mark.parametrize(("venue", "columns"), [("cvpr", 1), ("neurips", 2)])
def test_the_figure_shows_every_gradient_on_its_own_scale(venue, columns, models, pictures):
    seen = gl.look(models, [pictures / "china.png"], objective="loss,margin", venue=venue, columns=columns)
    said, rows = titles(seen.figure), seen.table.frame
    assert said[:2] == ["china.png", "Canny edges"]
    assert [" ".join(title.split()) for title in said[2:]] == [
        f"{row.model}, {row.objective} {row.prediction} ({100 * row.confidence:.0f} %)" for row in rows.itertuples()
    ]
    pixels = [shown(ax) for ax in seen.figure.axes if ax.images][2:]
    assert len(pixels) == 4
    assert all(picture.min() == 0 or picture.max() == 1 for picture in pixels)
    handed = numbers(seen.figure)
    np.testing.assert_allclose(handed.loc[handed["series"] == "edges", "x"].astype(float), rows["share_on_edges"])
    assert (cut(seen.figure), colliding(seen.figure)) == ([], [])


def test_a_gray_model_has_no_channels_to_share(pictures):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 3))
    model = gl.load_model(net, mean=(0.5,), std=(0.5,), device="cpu", preprocess=gl.Preprocess(size=40))
    seen = gl.look(model, pictures / "china.png")
    assert seen.table.frame[["share_r", "share_g", "share_b"]].isna().all(axis=None)
    assert set(numbers(seen.figure)["series"]) == {"Sequential", "edges"}


def test_a_class_is_given_by_number_or_name_and_no_other(models, pictures):
    with refused("2 labels", "1 picture"):
        gl.look(models, pictures / "china.png", [1, 2])
    with refused("tabby", "number"):
        gl.look(models, pictures / "china.png", "tabby")
    with refused("label 5", "which has 5"):
        gl.look(models, pictures / "china.png", "5")
    with refused("no picture", "cat.jpg"):
        gl.look(models, pictures / "cat.jpg")
    with refused("ndarray", "gl.probe"):
        gl.look(models, np.zeros((3, 8, 8)))
