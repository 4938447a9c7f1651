"""The gallery of corruptions, drawn with matplotlib.

Run it as ``python docs/gallery.py docs/images``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from drawings import composite, phantom
from matplotlib.figure import Figure
from monai_sf.transforms.corrupt import corrupt_severities
from monai_sf.transforms.randomness import case_seed
from monai_sf.transforms.severities import CORRUPTIONS, MAX_SEVERITY, MODALITIES

_GAP = 3


def tiles(modality: str, size: int = 160) -> npt.NDArray[np.float32]:
    """Tile every kind and severity on a drawn image of a modality.

    Args:
        modality: one of `MODALITIES`.
        size: height and width of one tile, in pixels.

    Returns:
        One picture (5 · size + gaps, 6 · size + gaps, 3) in [0, 1]: kinds below each other, severities 0 to 5
        side by side.
    """
    image = torch.from_numpy(phantom(modality, size))
    rows = []
    for kind in CORRUPTIONS:
        seed = case_seed(0, kind, modality)
        levels = corrupt_severities(image, kind, range(MAX_SEVERITY + 1), modality=modality, seeds=seed)
        rows.append(np.concatenate([_framed(composite(level.numpy())) for level in levels], 1))
    return np.concatenate(rows, 0)


def _framed(tile: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.pad(tile, ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=1)


def draw(modality: str, size: int = 160) -> Figure:
    """Draw the tiles of a modality with the names of kinds and severities."""
    step = size + 2 * _GAP
    figure = Figure(figsize=(7.5, 5.75), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1)  # else the first letter of a label is cut
    axes = figure.subplots()
    axes.imshow(tiles(modality, size))
    axes.set_xticks([step * (column + 0.5) for column in range(MAX_SEVERITY + 1)])
    axes.set_xticklabels(["clean", *map(str, range(1, MAX_SEVERITY + 1))])
    axes.set_yticks([step * (row + 0.5) for row in range(len(CORRUPTIONS))])
    axes.set_yticklabels([kind.replace("_", "\n") for kind in CORRUPTIONS])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one picture per modality, ``corruptions_<modality>.webp``."""
    parser = argparse.ArgumentParser(description="Draw every corruption on an image of each modality.")
    parser.add_argument("folder", type=Path, help="where to write the pictures")
    parser.add_argument("--size", type=int, default=160, help="pixels of one tile")
    options = parser.parse_args(arguments)
    for modality in MODALITIES:
        file = options.folder / f"corruptions_{modality}.webp"
        draw(modality, options.size).savefig(file, dpi=160, pil_kwargs={"quality": 80, "method": 6})


if __name__ == "__main__":
    main()
