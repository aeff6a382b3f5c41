"""Rodríguez-Muñoz et al. 2024, Fig. 7: |g| of the pixels in each colour channel.

python figures/channel_distribution.py [RUN…]
"""

from _render import RUNS, render

render("channel_distribution", *RUNS)
