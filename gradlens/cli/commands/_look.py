"""``gradlens look``: single pictures by one or several checkpoints, as numbers and a figure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from gradlens.cli.options import Common, ModelsOptions
from gradlens.cli.terminal import say
from gradlens.core.registry import command
from gradlens.core.types import UserError


@command
@dataclass(frozen=True, kw_only=True)
class Look(Common, ModelsOptions):
    """Look at single pictures by checkpoints: gradients, edges, L1 norms, and their parts by channel and on edges."""

    checkpoints: Positional[tuple[str, ...]]
    """Checkpoints as for info, and pictures: ckpt.pt other.pt cat.jpg dog.png"""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """A file for the figure: .png, .pdf or .svg; without it the numbers alone."""
    label: UseAppendAction[tuple[str, ...]] = ()
    """Class of each picture, by number or by the model's name of it; may be given again. Default: the prediction."""
    objective: str = "loss"
    """Objectives whose gradients are shown: loss,true_logit,margin,…"""
    venue: str = "neurips"
    """Whose width: aaai, aistats, cvpr, eccv, iccv, iclr, icml, jmlr, neurips, tmlr, uai or wacv."""
    columns: int = 2
    """1: as wide as a column of the venue, 2: as its text."""

    def run(self) -> dict[str, Any]:
        from gradlens.plotting import check_format, save

        if self.out:
            check_format(self.out)
        pictures, checkpoints = _told_apart(self.checkpoints)
        models = [load() for load in replace(self, checkpoints=checkpoints).chosen().values()]
        from gradlens.session.look import look

        seen = look(
            models,
            pictures,
            self.label or None,
            objective=self.objective,
            venue=self.venue,
            columns=self.columns,
        )
        seen.table.show()
        if self.out:
            say(f"wrote {save(seen.figure, self.out)}")
        return {**seen.table.as_json(), **({"figure": str(self.out)} if self.out else {})}


def _told_apart(words: tuple[str, ...]) -> tuple[list[Path], tuple[str, ...]]:
    """The pictures, which are files that end as such, and the checkpoints."""
    from PIL import Image

    endings = Image.registered_extensions()
    pictures = [Path(word) for word in words if Path(word).suffix.lower() in endings]
    missing = next((path for path in pictures if not path.is_file()), None)
    if missing or not pictures:
        found = f"no picture at {missing}" if missing else "no picture given"
        raise UserError(f"{found}; give image files behind the checkpoints: gradlens look ckpt.pt cat.jpg")
    return pictures, tuple(word for word in words if Path(word) not in pictures)
