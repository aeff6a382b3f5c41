"""Rodríguez-Muñoz et al. 2024, Fig. 2: accuracy against ε.

python figures/accuracy_against_eps.py RUN…, of runs with --analyzers minimal_eps
"""

from _render import RUNS, render

render("accuracy_against_eps", *RUNS)
