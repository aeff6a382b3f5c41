"""Rodríguez-Muñoz et al. 2024: how closely gradients follow edges, against their size.

python figures/edge_gradient_correlation.py [RUN…]
"""

from _render import RUNS, render

render("edge_gradient_correlation", *RUNS)
