"""The README's figure, from the runs of ``gradlens demo``.

python figures/gradient_gallery.py [DEMO_FOLDER]
"""

import sys
from pathlib import Path

from _render import RUNS

from gradlens import Run
from gradlens.plotting import draw, save

demo = Path(sys.argv[1] if len(sys.argv) > 1 else "gradlens-demo")
runs = [Run.load(demo / name) for name in RUNS]
figure = draw("gradient_gallery", runs)
print(save(figure, Path(__file__).parent.parent / "docs" / "gradient_gallery.png", runs))
