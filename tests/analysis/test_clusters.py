"""What counts as one sample: what the user says, else what the data know; recorded, counted and told."""

import numpy as np
import pytest
from refusals import refused
from torch import nn

from gradlens import analyze, compare, load_data, load_model
from gradlens.analysis.clusters import clusters_of
from gradlens.data._embedded import PHOTOGRAPHS
from gradlens.stats.intervals import mean_interval


@pytest.fixture(scope="module")
def photos():
    return load_data("photos").limit(24)


@pytest.fixture(scope="module")
def model():
    net = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(48, 8))
    return load_model(net, mean=(0.5,) * 3, std=(0.25,) * 3, device="cpu")


def run_of(model, data, **options):
    return analyze(model, data, ["sample_asymmetry"], examples=0, progress=False, **options)


@pytest.fixture(scope="module")
def run(model, photos):
    return run_of(model, photos)


def test_crops_of_a_photograph_are_one_cluster(run):
    assert set(run.samples["cluster"]) == set(PHOTOGRAPHS)
    names = [load_data("photos").class_names[k] for k in run.samples["label"]]
    assert run.samples["cluster"].tolist() == names
    wanted = mean_interval(run.samples["l1"], cluster=names)
    assert (run.summary["l1_mean"], run.summary["l1_mean_low"], run.summary["l1_mean_high"]) == pytest.approx(wanted)
    assert any("8 clusters, which count as the samples" in note for note in run.table().notes)


def test_shapes_on_a_photograph_are_one_cluster():
    data = load_data("shapes").limit(6)
    found = clusters_of(data)
    assert found.index.tolist() == data.indices.tolist()
    assert set(found) <= set(PHOTOGRAPHS)
    source = data.source
    for index, name in found.items():
        *_, inside, outside, _ = source._drawn(index)
        assert name == outside != inside
    assert clusters_of(load_data("digits")) is None


def test_what_the_user_says_comes_first(photos, tmp_path):
    assert clusters_of(photos, "path") is None
    assert clusters_of(photos, "label").tolist() == photos.labels.astype(str).tolist()
    halves = np.arange(24) // 12
    assert clusters_of(photos, halves).tolist() == halves.astype(str).tolist()
    table = tmp_path / "meta.csv"
    lines = [f"{photos.path(i)},{k % 5},p{k % 3}" for k, i in enumerate(photos.indices)]
    table.write_text("\n".join(["image,cluster,patient", *lines[::-1]]))
    assert clusters_of(photos, table).tolist() == [str(k % 5) for k in range(24)]
    assert clusters_of(photos, f"{table}:patient").tolist() == [f"p{k % 3}" for k in range(24)]


@pytest.mark.parametrize(
    ("lines", "column", "told"),
    [
        (["image,cluster", "no/such,1"], "", "no cluster of 24 of 24 images"),
        (["image,patient"], "", "unknown column"),
        (["image,cluster"], ":patients", "unknown column"),
    ],
)
def test_a_table_that_does_not_say_it_is_refused(photos, tmp_path, lines, column, told):
    table = tmp_path / "meta.csv"
    table.write_text("\n".join(lines))
    with refused(told):
        clusters_of(photos, f"{table}{column}")


def test_what_is_no_table_or_no_list_of_the_images_is_refused(photos):
    with refused("cannot read nowhere.csv"):
        clusters_of(photos, "nowhere.csv")
    with refused("one for each of the 24 images"):
        clusters_of(photos, [1, 2])


def test_one_cluster_says_so(model, photos):
    run = run_of(model, photos, clusters=["all"] * 24)
    assert run.summary["l1_mean_low"] is None
    assert "no ±: all images are of one cluster" in run.table().notes


def test_comparisons_count_clusters(run, model, photos):
    other = run.named("other")
    other.samples = run.samples.assign(l1=run.samples["l1"] * np.linspace(1, 2, 24))
    clustered, each = (compare([run, other], columns=["l1"], clusters=c) for c in (None, "path"))
    frame = clustered.frame.iloc[0]
    wanted = mean_interval(other.samples["l1"] - run.samples["l1"], cluster=run.samples["cluster"])
    assert (frame["difference"], frame["low"], frame["high"]) == pytest.approx(wanted)
    assert frame["clusters"] == 8
    assert "clusters" not in each.frame
    assert any("8 clusters" in note for note in clustered.notes)
    by_label = compare([run, other], columns=["l1"], clusters="label").frame.iloc[0]
    assert by_label["low"] == pytest.approx(frame["low"])


def test_runs_that_disagree_are_refused(run):
    other = run.named("other")
    other.samples = run.samples.assign(cluster="all")
    with refused("different clusters"):
        compare([run, other])
    with refused("unknown column of every run 'patient'"):
        compare([run, other], clusters="patient")
    # One that recorded none takes the other's word.
    other.samples = run.samples.drop(columns="cluster")
    assert compare([run, other]).frame["clusters"].max() == 8
    other.samples = run.samples.assign(cluster="all")
    run_all = run.named("all")
    run_all.samples = other.samples.assign(l1=2 * run.samples["l1"] + np.arange(24))
    frame = compare([run_all, other], columns=["l1"]).frame
    assert frame["missing"].tolist() == ["all images are of one cluster"]
    assert np.isnan(frame["low"]).all()
