"""What the rows of kernels.py and kernels_gpu.py say: break-even densities, plots, a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RIVALS = "torch BSR", "STK"
"""Baselines that are sparse themselves; every other is the dense library"""


def break_even(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """The highest density at which ours is as fast as dense, by block and pass, on a line between measured densities.

    1 where it is faster even at density 1; None where it is slower at all.
    """
    found: dict[str, float | None] = {}
    for key, curve in curves(rows).items():
        faster = [at for at, (_, speedup) in enumerate(curve) if speedup >= 1]
        if not faster or faster[-1] == len(curve) - 1:
            found[key] = curve[-1][0] if faster else None
            continue
        (d0, s0), (d1, s1) = curve[faster[-1] : faster[-1] + 2]
        found[key] = d0 + (d1 - d0) * (s0 - 1) / (s0 - s1)
    return found


def curves(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """(density, speed-up over the dense library) by shape, block, dtype and pass, of three densities and more."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row["baseline"] not in RIVALS and row["storage"] == "dense":
            key = ", ".join(str(row[name]) for name in ("shape", "batch", "block", "dtype", "pass"))
            found.setdefault(key, []).append((row["density"], row["speedup"]))
    return {key: sorted(points) for key, points in found.items() if len(points) > 2}


def draw(rows: list[dict[str, Any]], path: Path, peak: float | None) -> None:
    """Speed-up over density and break-even densities; for a GPU also TFLOP/s of the kept blocks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    on_gpu = all("tflops" in row for row in rows)
    figure, (left, middle, *others) = pyplot.subplots(1, 2 + on_gpu, figsize=(14 + 7 * on_gpu, 6))
    for key, points in curves(rows).items():
        left.plot(*zip(*points, strict=True), marker=".", label=key)
    left.axhline(1, color="grey", linewidth=0.5)
    left.set(xlabel="density", ylabel="speed-up over dense", yscale="log")
    left.legend(fontsize=6)
    even = break_even(rows)
    middle.barh(list(even), [density or 0 for density in even.values()])
    middle.tick_params(axis="y", labelsize=6)
    middle.set(xlabel="break-even density", xlim=(0, 1))
    for axes in others:
        _draw_rate(axes, rows, peak)
    figure.tight_layout()
    figure.savefig(path, dpi=120, bbox_inches="tight")


def _draw_rate(axes: Any, rows: list[dict[str, Any]], peak: float | None) -> None:
    forward = [row for row in rows if row["pass"] == "forward" and row["baseline"] not in RIVALS]
    for block in sorted({row["block"] for row in forward}):
        own = [row for row in forward if row["block"] == block]
        axes.scatter([row["density"] for row in own], [row["tflops"] for row in own], s=12, label=block)
    if peak:
        axes.axhline(peak, color="grey", linewidth=0.5)
    axes.set(xlabel="density", ylabel="TFLOP/s of kept blocks, forward")
    axes.legend(fontsize=6)


def show(rows: list[dict[str, Any]], even: dict[str, float | None], peak: float | None) -> None:
    table = Table(
        "layer", "block", "density", "dtype", "pass", "against", "ms", "ours, ms", "speed-up", "TFLOP/s", "peak"
    )
    for row in rows:
        table.add_row(
            row["shape"], row["block"], f"{row['density']:.2f}", row["dtype"], row["pass"], row["baseline"],
            f"{row['baseline_ms']:.3f}", f"{row['ours_ms']:.3f}", f"{row['speedup']:.2f}", f"{row['tflops']:.0f}",
            f"{row['tflops'] / peak:.0%}" if peak and row["dtype"] != "float32" else "",
        )  # fmt: skip
    Console(width=200).print(table)
    for key, density in even.items():
        print(f"break-even: {key}: {'never' if density is None else f'{density:.2f}'}")
