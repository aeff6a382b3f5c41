from __future__ import annotations

from gradlens.core.registry import edge_map
from gradlens.probes.edges.filters import Images, Maps, derivatives, luminance


@edge_map
def sobel(images: Images) -> Maps:
    """Sobel gradient magnitude of the luminance, ``(B, 1, H, W)``, in [0, 1].

    ``sqrt((d²_row + d²_col) / 2)`` with kernels that sum to one on each side and replicated borders:
    scikit-image's ``filters.sobel``. 0 is flat; 1 would be a step from black to white.
    """
    down, along = derivatives(luminance(images), (0.5, 0.25), "replicate")
    return ((down**2 + along**2) / 2).sqrt()
