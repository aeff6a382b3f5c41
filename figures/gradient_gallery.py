"""Rodríguez-Muñoz et al. 2024, Fig. 1: loss gradients of the same images.

python figures/gradient_gallery.py [RUN…]; the README's is ``gradlens figure gradient_gallery:scale=image`` of the demo.
"""

from _render import RUNS, render

render("gradient_gallery:scale=image", *RUNS)
