"""Leavitt & Morcos 2020: class selectivity by layer.

python figures/selectivity_by_layer.py [RUN…]
"""

from _render import RUNS, render

render("selectivity_by_layer", *RUNS)
