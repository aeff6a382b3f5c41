"""The doctor names versions, hardware and data, also data that cannot be opened."""

import torch

from gradlens import load_data
from gradlens.cli.doctor import diagnose


def test_the_doctor_names_versions_hardware_and_data(tmp_path):
    facts = diagnose(tmp_path, lambda: load_data("digits"))
    assert torch.__version__.split("+")[0] in facts["versions"]
    assert "297 images, 10 classes" in facts["data"]
    assert facts["unreadable"].startswith("0 of 200")


def test_the_doctor_reports_data_that_cannot_be_opened(tmp_path):
    assert "not opened" in diagnose(tmp_path, lambda: load_data("nowhere"))["data"]
