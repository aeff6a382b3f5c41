"""Class selectivity against images a class, from ``analyses/results/selectivity_bias.json``.

python figures/selectivity_bias.py
"""

import json
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from gradlens.plotting import paper_style, save
from gradlens.plotting.style import COLORS, MUTED

ROOT = Path(__file__).parent.parent
# Markers differ in size and are hollow, since lines coincide where there is no class signal.
LINES = {
    "null": {"label": "index of permuted labels", "color": COLORS[4], "ls": "--", "marker": "s", "ms": 6},
    "raw": {"label": "index", "color": COLORS[1], "marker": "o", "ms": 2.5},
    "adjusted": {"label": "adjusted index", "color": COLORS[0], "marker": "^", "ms": 5},
    "omega_squared": {"label": "ω²", "color": COLORS[2], "marker": "D", "ms": 2.5},
}

result = json.loads((ROOT / "analyses" / "results" / "selectivity_bias.json").read_text())
table = pd.DataFrame(result["rows"])
signals, kinds = table["signal"].unique(), table["units"].unique()

with paper_style():
    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    panels = figure.subplots(len(signals), len(kinds), sharex=True, sharey=True)
    for row, signal in zip(panels, signals, strict=True):
        for ax, kind in zip(row, kinds, strict=True):
            rows = table[(table["signal"] == signal) & (table["units"] == kind)]
            for measure, style in LINES.items():
                ax.plot(rows["images a class"], rows[measure].str[0].astype(float), mfc="none", **style)
            ax.axhline(0, color=MUTED, lw=0.5, zorder=0)
        row[0].set_ylabel(signal.replace(" of", "\nof"))
    for ax, kind in zip(panels[0], kinds, strict=True):
        active = table.loc[table["units"] == kind, "active"].iloc[0]
        ax.set_title(f"{kind} ({active:.0%} active)")
    panels[0, 0].set(xscale="log", ylim=(-0.05, 1.03), xticks=[1, 2, 5, 10, 20, 50])
    panels[0, 0].set_xticks([], minor=True)
    panels[0, 0].set_xticklabels([1, 2, 5, 10, 20, 50])
    figure.supxlabel(f"images a class ({result['classes']:,} classes, simulated units)", fontsize=8)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(LINES))
    print(save(figure, ROOT / "docs" / "selectivity_bias.png"))
