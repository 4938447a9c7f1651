"""The figure of risk–coverage curves and their areas.

Run it as ``python docs/areas_figure.py docs/images/areas.svg``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from monai_sf.metrics import augrc, aurc, risk_coverage_curve

#: Readable on white and on black.
_GREY, _COLOURS = "#787878", {"none": "#d55e00", "good": "#3a8fd6", "perfect": "#16a37a"}
_CASES, _ERRORS = 300, 60


def scores() -> tuple[dict[str, npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    """Return three confidences (N,) of one classifier, and its errors (N,)."""
    random = np.random.default_rng(0)
    error = (np.arange(_CASES) < _ERRORS).astype(float)
    noise = random.normal(size=_CASES)
    return {"none": noise, "good": noise - 1.5 * error, "perfect": noise - 20 * error}, error


def draw(path: Path) -> None:
    """Draw selective and generalized risk over coverage side by side."""
    confidences, error = scores()
    mpl.rcParams["svg.hashsalt"] = "areas"  # equal ids in every drawing
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, name, metric in zip(
        panels, ("selective_risks", "generalized_risks"), (aurc, augrc), strict=True
    ):
        for score, confidence in confidences.items():
            curve = risk_coverage_curve(confidence, error)
            risks = getattr(curve, name)
            label = f"{score}: {metric(confidence, error):.3f}"
            axes.plot(curve.coverages, risks, color=_COLOURS[score], label=label, linewidth=1.8)
            if score == "good":
                axes.fill_between(curve.coverages, risks, color=_COLOURS[score], alpha=0.2, linewidth=0)
        axes.set(xlim=(0, 1), ylim=(0, 0.4), xlabel="coverage: share of trusted cases")
        axes.tick_params(colors=_GREY)
        axes.xaxis.label.set_color(_GREY)
        axes.yaxis.label.set_color(_GREY)
        axes.spines[:].set_color(_GREY)
        axes.spines[["top", "right"]].set_visible(False)
        axes.patch.set_alpha(0)
        axes.legend(frameon=False, labelcolor=_GREY, title=metric.__name__.upper(), loc="upper left")
        axes.get_legend().get_title().set_color(_GREY)
    panels[0].set_ylabel("selective risk")
    panels[1].set_ylabel("generalized risk")
    figure.savefig(path, transparent=True, metadata={"Date": None})


def main() -> None:
    """Draw the figure to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    draw(parser.parse_args().path)


if __name__ == "__main__":
    main()
