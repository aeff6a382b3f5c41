"""Rodríguez-Muñoz et al. 2024, Fig. 6: the gradient's size over all, correct and wrong images.

python figures/conditional_norm_distribution.py [RUN…]
"""

from _render import RUNS, render

render("conditional_norm_distribution", *RUNS)
