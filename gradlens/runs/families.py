"""Which models resemble each other and do not count as independent."""

from __future__ import annotations

import re

from gradlens.runs.record import Run


def family_of(run: Run) -> str:
    """The manifest's group, else the letters that an architecture's name begins with: resnet, swin, vit."""
    model = run.provenance.get("model") or {}
    group = (model.get("display") or {}).get("group")
    arch = str(run.provenance.get("arch") or model.get("arch") or run.label)
    letters = re.match(r"[a-z]+", arch.rpartition(":")[2].lower())
    return str(group or (letters.group() if letters else arch))
