"""Galleries show kept images and gradients, on the scale that they say."""

import numpy as np
import pytest
from drawables import a_run, drawn, footnote, texts
from refusals import refused
from synthetic import models, synthetic

from gradlens import Run, UserError
from gradlens.plotting import draw, numbers
from gradlens.plotting.pictures import class_names, class_of, common_examples


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return models(2)


def test_the_gallery_writes_each_gradients_l1_and_centres_on_gray(runs):
    figure = draw("gradient_gallery", runs)
    gradient = runs[0].examples["gradient"][0].astype(float) * runs[0].examples["scale"][0]
    assert f"L1 {np.abs(gradient).sum():.3g}" in set(numbers(figure)["text"])
    zero = synthetic("flat", 0)
    zero.examples["gradient"] = np.zeros_like(zero.examples["gradient"])
    shown = draw("gradient_gallery", [zero]).axes[1].images[0].get_array()
    np.testing.assert_allclose(shown, 0.5)


def test_a_shared_scale_compares_models_and_the_papers_does_not(runs):
    loud = synthetic("loud", 0)
    loud.examples["scale"] = loud.examples["scale"] * 10

    def contrast(scale: str) -> list[float]:
        axes = draw(f"gradient_gallery:scale={scale}", [runs[0], loud]).axes[1:3]
        return [float(np.std(ax.images[0].get_array())) for ax in axes]

    quiet_shared, loud_shared = contrast("shared")
    quiet_alone, loud_alone = contrast("image")
    assert loud_shared > 5 * quiet_shared
    assert loud_alone == pytest.approx(quiet_alone)


def test_a_gallery_fills_the_width_and_stands_upright_in_a_column():
    wide = [ax for ax in draw("gradient_gallery", models(1)).axes if ax.get_visible()]
    assert len({round(ax.get_subplotspec().rowspan.start) for ax in wide}) == 2, "two images in a row"
    narrow = draw("gradient_gallery", models(6), venue="cvpr", columns=1).axes
    assert [ax.get_ylabel() for ax in narrow[::4]][:3] == ["image", "natural", "robust"]
    assert [len(ax.images) for ax in narrow] == [1] * 28


def test_galleries_refuse_other_images_under_the_same_index(runs):
    other = synthetic("other", 1)
    other.samples["path"] = "elsewhere/" + other.samples["path"]
    with pytest.raises(UserError, match="image 0 is dog/00000 in run natural and elsewhere/dog/00000 in other"):
        draw("gradient_gallery", [runs[0], other])


def test_gray_images_are_drawn_in_gray():
    run = synthetic("gray", 0)
    for what in ("image", "gradient"):
        run.examples[what] = run.examples[what][:, :1]
    for name in ("gradient_gallery", "edge_overlay"):
        first = draw(name, [run]).axes[0].images[0]
        np.testing.assert_allclose(*np.ptp(first.cmap(first.norm(first.get_array()))[..., :3], axis=-1).ravel()[:2])


def test_the_perturbation_gallery_shows_what_is_kept_on_one_scale():
    quiet, loud = a_run("quiet", 0), a_run("loud", 1)
    loud.arrays["perturbations/perturbation"] = (2 * loud.arrays["perturbations/perturbation"]).astype(np.float16)
    figure = drawn("perturbation_gallery", quiet, loud)
    shown = [ax.images[0].get_array() for ax in figure.axes[:3]]
    np.testing.assert_allclose(shown[0], quiet.arrays["perturbations/image"][0].transpose(1, 2, 0), atol=1e-3)
    for run, picture, size in ((quiet, shown[1], 0.25), (loud, shown[2], 0.5)):
        sign = np.sign(run.arrays["perturbations/perturbation"][0].transpose(1, 2, 0))
        np.testing.assert_allclose(picture, 0.5 + size * sign, atol=1e-3)
    assert sorted(texts(figure)) == sorted(2 * ["withstands", "breaks", "wrong before"])
    assert "pgd10, linf, 4/255" in footnote(figure)


def test_a_perturbation_of_nothing_is_gray():
    run = a_run()
    run.arrays["perturbations/perturbation"] = np.zeros_like(run.arrays["perturbations/perturbation"])
    np.testing.assert_allclose(drawn("perturbation_gallery", run).axes[1].images[0].get_array(), 0.5)


def test_perturbations_of_other_attacks_or_images_are_not_mixed():
    first, second = a_run("first"), a_run("second")
    second.arrays["perturbations/attack"] = np.array("fgsm,linf,4/255")
    with refused("pgd10", "fgsm"):
        drawn("perturbation_gallery", first, second)
    second.arrays |= {"perturbations/attack": np.array("pgd10,linf,4/255"), "perturbations/index": np.array([7, 8, 9])}
    with refused("no common image"):
        drawn("perturbation_gallery", first, second)
    second.arrays["perturbations/index"] = first.arrays["perturbations/index"]
    second.samples["path"] = "elsewhere/" + second.samples["path"]
    with refused("no common image"):
        drawn("perturbation_gallery", first, second)


def test_the_perturbation_gallery_keeps_to_the_selected_images():
    assert len(drawn("perturbation_gallery", a_run().select("index != 0")).axes) == 4


def test_a_gallery_shows_an_image_of_each_class_first():
    run = synthetic("sorted", 0, kept=6)
    kept = run.samples["index"].isin(run.examples["index"])
    run.samples.loc[kept, "path"] = [f"{name}/{k}" for k, name in enumerate(("ant", "ant", "ant", "bee", "bee", "cat"))]
    run.samples["label"] = run.samples["path"].str.startswith("bee").astype(int)
    assert common_examples([run], 3) == [0, 9, 15]


def test_classes_are_called_by_name_where_anything_names_them():
    run = synthetic("named", 0)
    assert class_names(run) == {0: "dog", 1: "cat"}
    run.provenance["model"] = {"class_names": ["hound", "tiger"]}
    assert class_of(run, 1) == "tiger"
    bare = synthetic("bare", 0)
    bare.samples["path"] = "val/x.png"
    assert class_names(bare) == {}
