"""``doctor`` explains how data are understood."""

from commands import run


def test_the_doctor_explains_the_data(place, capsys):
    assert run(place, "doctor --data digits") == 0
    assert "297 images" in capsys.readouterr().out
