"""``list`` names every method of every kind."""

from commands import run


def test_list_names_every_kind(place, capsys):
    assert run(place, "list") == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("pgd", "canny", "edge_overlay", "sampled_logit", "class_selectivity"))
