"""Plots for results/: SVG by matplotlib, the same octets for the same figures.

Text stays text, so that a page's reader can search it; colours are those of Okabe and Ito, which
people who see fewer colours can tell apart."""

import math

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({
    "svg.fonttype": "none",
    "svg.hashsalt": "rondo",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
})

from matplotlib import pyplot as plt  # noqa: E402, after the backend is chosen
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # noqa: E402

PALETTE = ["#999999", "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73", "#CC79A7"]
NICE_RATES = [number * 10**power for power in range(2, 7) for number in (1, 2, 5)]
NINES = [0, 0.9, 0.99, 0.999, 0.9999]


class Colours:
    """One colour per subject, the same in every plot of a report."""

    def __init__(self, subjects):
        self.by_subject = {
            subject: PALETTE[index % len(PALETTE)] for index, subject in enumerate(subjects)
        }

    def __getitem__(self, subject):
        return self.by_subject[subject]


def short_number(value, _position=None):
    """1500 as "1.5 k", 2000000 as "2 M"."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def microseconds(value, _position=None):
    """250 as "250 µs", 1500 as "1.5 ms"."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g} µs"


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def bars(path, panels, groups, subjects):
    """A row of panels, in each a group of bars per load. `panels` are (title, formatter, values),
    `values` maps (group, subject) to (median, least, most); the thin line is least to most. A bar
    that is missing was not measured."""
    colours = Colours(subjects)
    figure, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 3.6), squeeze=False)
    for axis, (title, formatter, values) in zip(axes[0], panels, strict=True):
        width = 0.84 / len(subjects)
        for turn, subject in enumerate(subjects):
            places, medians, down, up = [], [], [], []
            for place, group in enumerate(groups):
                if (group, subject) in values:
                    median, least, most = values[group, subject]
                    places.append(place + (turn - (len(subjects) - 1) / 2) * width)
                    medians.append(median)
                    down.append(median - least)
                    up.append(most - median)
            axis.bar(places, medians, width * 0.92, yerr=[down, up], color=colours[subject],
                     label=subject, error_kw={"elinewidth": 0.8, "ecolor": "#444444"})
        axis.set_yscale("log")
        axis.set_title(title)
        axis.set_xticks(range(len(groups)), groups)
        axis.grid(axis="x", visible=False)
        axis.yaxis.set_major_formatter(FuncFormatter(formatter))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.tick_params(length=0)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(subjects),
                  bbox_to_anchor=(0.5, -0.1))
    save(figure, path)


def latency_by_rate(path, title, curves, subjects):
    """p99 against calls/s, one line per subject: `curves` maps it to [(rate, p50, p99), …]."""
    colours = Colours(subjects)
    figure, axis = plt.subplots(figsize=(7.2, 4.2))
    for subject in subjects:
        points = curves.get(subject, [])
        rates = [point[0] for point in points]
        axis.plot(rates, [point[2] for point in points], "o-", color=colours[subject],
                  label=f"{subject}, p99", markersize=4)
        axis.plot(rates, [point[1] for point in points], "--", color=colours[subject],
                  linewidth=1, alpha=0.7)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_title(title)
    axis.set_xlabel("calls/s (dashed: p50)")
    rates = sorted({round(point[0]) for points in curves.values() for point in points})
    whole = [rate for rate in NICE_RATES if rates and rates[0] * 0.9 <= rate <= rates[-1] * 1.1]
    axis.xaxis.set_major_locator(FixedLocator(whole))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(short_number))
    axis.yaxis.set_major_formatter(FuncFormatter(microseconds))
    axis.legend(loc="upper left", fontsize=9)
    save(figure, path)


def percentiles(path, title, curves, subjects):
    """Latency by percentile: `curves` maps a subject to [(quantile, µs), …]. Each further nine
    takes as much room as the one before."""
    colours = Colours(subjects)
    figure, axis = plt.subplots(figsize=(7.2, 4.2))
    for subject in subjects:
        points = [point for point in curves.get(subject, []) if point[0] < 1]
        axis.plot([-math.log10(1 - quantile) for quantile, _ in points],
                  [micros for _, micros in points], color=colours[subject], label=subject)
    axis.set_yscale("log")
    axis.set_title(title)
    axis.set_xticks([-math.log10(1 - nine) for nine in NINES],
                    [f"{nine * 100:g} %" for nine in NINES])
    axis.set_xlim(0, 4.2)
    axis.yaxis.set_major_formatter(FuncFormatter(microseconds))
    axis.legend(loc="upper left", fontsize=9)
    save(figure, path)
