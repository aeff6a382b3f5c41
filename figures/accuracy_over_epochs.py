"""Rodríguez-Muñoz et al. 2024, Fig. 4: accuracy against epoch, by activation.

python figures/accuracy_over_epochs.py FOLDER…, of gradlens train --grid activation=relu,gelu
"""

from _render import TRAININGS, render

render("accuracy_over_epochs", *TRAININGS)
