"""``info`` tells what a file holds and what it lacks."""

from commands import run


def test_info_tells_a_files_weights_and_what_is_missing(place, capsys):
    assert run(place, "info good.pt") == 0
    said = capsys.readouterr().out
    assert "gelu" in said
    assert "3 sites" in said
    assert run(place, "info bare.pt") == 0
    assert "--arch" in capsys.readouterr().out
