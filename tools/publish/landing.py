"""Write the landing page's moving picture, and the still: `python -m tools.publish.landing`.

Sixteen networks with two weights, output u * w, are first asked for 0 and then for 1. Under plain
decay they settle at the symmetric point and stay there; under syre they leave it.
"""

from __future__ import annotations

import io
import sys

import torch
from PIL import Image
from torch import Tensor

import syre_helpers as sh
from tools.build import chapters, files

STATIC = chapters.BOOK / "_static"
SEEDS, LR, DECAY, SIGMA = 16, 0.02, 0.5, 0.15
# Steps asked for 0, then for 1, and how many steps pass between two frames.
FIRST, SECOND, BETWEEN = 1200, 360, 20
ARMS = {"plain decay": 0.0, "syre": SIGMA}


def simulate(sigma_0: float) -> list[Tensor]:
    """Return the weights (seeds, 2) of every frame, for a bias of this size."""
    generator = torch.Generator().manual_seed(0)
    weights = 1.2 * torch.randn(SEEDS, 2, generator=generator)
    pulls = [
        sh.Syre(DECAY, sigma_0=sigma_0, seed=seed).pull({"pair": torch.zeros(2)})
        for seed in range(SEEDS)
    ]
    centre = torch.stack([pull.centre["pair"] for pull in pulls])
    frames = []
    for step in range(FIRST + SECOND):
        # What happens at the start and after the change is slow to watch; the wait between is not.
        if step % BETWEEN == 0 and (step < 300 or step >= FIRST - 100):
            frames.append(weights)
        target = 0.0 if step < FIRST else 1.0
        error = weights.prod(1, keepdim=True) - target
        gradient = 2 * error * weights.flip(1)
        weights = weights - LR * (gradient + DECAY * (weights - centre))
    return [*frames, *[weights] * 10]


def draw(number: int, paths: dict[str, list[Tensor]]) -> Image.Image:
    """Return one frame."""
    waiting = 300 // BETWEEN + 100 // BETWEEN
    target = 0 if number < waiting else 1
    figure, axes = sh.plots.subplots(1, 2, size=(6.4, 3.7), sharey=True)
    colours = sh.plots.arm_palette(list(paths))
    line = torch.linspace(0.4, 2.5, 50)
    for ax, (arm, frames) in zip(axes, paths.items(), strict=True):
        for sign in (1, -1) if target else ():
            ax.plot(sign * line, sign / line, color=sh.plots.NEUTRAL, lw=1, ls=":")
        if not target:
            ax.axhline(0, color=sh.plots.NEUTRAL, lw=1, ls=":")
            ax.axvline(0, color=sh.plots.NEUTRAL, lw=1, ls=":")
        x, y = frames[number].T
        ax.scatter(x, y, s=34, color=colours[arm], edgecolors="none", alpha=0.85)
        ax.set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), xticks=[], yticks=[], xlabel="weight u")
        ax.set_title(arm, color=colours[arm], fontweight="bold")
        ax.set_aspect("equal")
    axes[0].set_ylabel("weight w")
    # Axes of equal aspect leave their labels less room than the layout believes.
    figure.set_layout_engine("constrained", rect=(0, 0.03, 1, 0.97))
    figure.suptitle(f"asked for u w = {target}", color=sh.plots.NEUTRAL, fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, transparent=True)
    return Image.open(buffer).convert("RGBA")


def main() -> int:
    """Draw all frames and write the two files."""
    paths = {arm: simulate(sigma) for arm, sigma in ARMS.items()}
    frames = [draw(k, paths) for k in range(len(paths["syre"]))]
    moving = io.BytesIO()
    frames[0].save(
        moving, "WEBP", save_all=True, append_images=frames[1:], duration=130, loop=0,
        quality=60, method=4, minimize_size=True,
    )  # fmt: skip
    still = io.BytesIO()
    frames[-1].save(still, "WEBP", quality=80)
    files.write(STATIC / "landing.webp", moving.getvalue())
    files.write(STATIC / "landing-still.webp", still.getvalue())
    for arm, path in paths.items():
        off = (path[-1].prod(1) - 1).abs()
        print(f"{arm}: {int((off < 0.5).sum())} of {SEEDS} networks have learned the 1")
    print(f"{len(frames)} frames, {len(moving.getvalue()) / 1e3:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
