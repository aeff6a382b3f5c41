"""Rodríguez-Muñoz et al. 2024, Fig. 3: what an attack adds to the same images.

python figures/perturbation_gallery.py RUN…, of runs with --analyzers perturbations
"""

from _render import RUNS, render

render("perturbation_gallery", *RUNS)
