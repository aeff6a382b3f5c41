"""A script is no notebook."""

from gradlens.core import notebook


def test_a_script_is_no_notebook():
    assert not notebook.in_notebook()
