"""Sphinx: pages in Markdown, the tutorial run at every build, the reference from docstrings; nothing is fetched.

sphinx-build -W --keep-going -b html docs docs/_build
"""

import sys
from pathlib import Path

import gradlens

# For program.py, which fills in what the pages take from the program.
sys.path.insert(0, str(Path(__file__).parent))

project = "gradlens"
release = gradlens.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "program"]
exclude_patterns = ["_build"]

myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
# A training's progress goes to stderr.
nb_output_stderr = "remove"

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "gradlens"
html_static_path = ["_static"]
html_css_files = ["gradlens.css"]
html_copy_source = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
