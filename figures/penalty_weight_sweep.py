"""Rodríguez-Muñoz et al. 2024, Fig. 5: clean and robust accuracy against the penalty's weight.

python figures/penalty_weight_sweep.py FOLDER…, of gradlens train --penalty gradnorm --grid weight=.1,.3,1
"""

from _render import TRAININGS, render

render("penalty_weight_sweep", *TRAININGS)
