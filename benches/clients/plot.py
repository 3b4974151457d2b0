"""Draws results/clients/*.svg from the runs: the rates side by side, and Rondo's gain by figure.
The same runs give the same files, octet for octet."""

import statistics

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

COLORS = {"Rondo": "#1f6feb", "RabbitMQ": "#f08c3a"}
INK = "#30363d"
GRID = "#d8dee4"
# Title, key, and whether more of it is better.
FIGURES = [
    ("calls/s", "calls_per_s", True),
    ("p50", "p50_us", False),
    ("p99", "p99_us", False),
    ("broker CPU per call", "broker_cpu_us_per_call", False),
]
STYLE = {
    # Words stay words: they can be searched, and take the reader's font.
    "svg.fonttype": "none",
    # Otherwise the ids inside of the file differ from run to run.
    "svg.hashsalt": "rondo",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.left": False,
    "figure.facecolor": "white",
}


def draw(folder, runs, brokers):
    plt.rcParams.update(STYLE)
    uses = list(dict.fromkeys((run["client"], run["load"]) for run in runs))
    save(rates(uses, runs, brokers), folder / "calls.svg")
    if len(brokers) == 2:
        save(all_gains(uses, runs), folder / "gain.svg")


def save(figure, path):
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    # matplotlib ends some lines with blanks.
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n")


def values(runs, use, broker, key):
    return [
        run[key] for run in runs
        if (run["client"], run["load"]) == use and run["broker"] == broker
    ]


def label(use):
    return f"{use[0]}  {use[1].replace('x', '×')}"


def rates(uses, runs, brokers):
    """Bars of the medians, whiskers from the least to the most round."""
    figure, axes = plt.subplots(figsize=(8.5, 0.55 * len(uses) + 1.4), layout="constrained")
    height = 0.8 / len(brokers)
    most = max(run["calls_per_s"] for run in runs)
    for index, broker in enumerate(brokers):
        for row, use in enumerate(uses):
            mine = values(runs, use, broker, "calls_per_s")
            median = statistics.median(mine)
            place = row - 0.4 + height * (index + 0.5)
            axes.barh(
                place, median, height * 0.9, color=COLORS[broker],
                xerr=[[median - min(mine)], [max(mine) - median]],
                error_kw={"ecolor": INK, "elinewidth": 0.8},
                label=broker if row == 0 else None,
            )
            axes.text(max(mine) + most * 0.01, place, f"{median:,.0f}", va="center", fontsize=8)
    axes.set_yticks(range(len(uses)), [label(use) for use in uses])
    axes.invert_yaxis()
    axes.set_xlim(0, most * 1.12)
    axes.set_xlabel("calls/s")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.grid(color=GRID)
    title = "Calls per second, by client (requesters × workers × calls in flight)"
    axes.set_title(title, loc="left")
    axes.legend(frameon=False, loc="lower right")
    return figure


def all_gains(uses, runs):
    """A dot per way of using a client, its line from the least to the most round; 1 is equal."""
    size = (11, 0.38 * len(uses) + 1.6)
    figure, panels = plt.subplots(1, len(FIGURES), sharey=True, figsize=size, layout="constrained")
    for axes, (title, key, is_more_better) in zip(panels, FIGURES, strict=True):
        for row, use in enumerate(uses):
            rondo, rabbit = (values(runs, use, broker, key) for broker in ("Rondo", "RabbitMQ"))
            ratios = [
                one / other if is_more_better else other / one
                for one, other in zip(rondo, rabbit, strict=True)
            ]
            median = statistics.median(ratios)
            color = COLORS["Rondo"] if median >= 1 else COLORS["RabbitMQ"]
            axes.plot([min(ratios), max(ratios)], [row, row], color=color, linewidth=2)
            axes.plot([median], [row], "o", color=color)
            axes.annotate(
                f"{median:.2f}×", (median, row), (0, 6), textcoords="offset points", ha="center",
                fontsize=8,
            )
        axes.axvline(1, color=INK, linewidth=0.8)
        axes.set_title(f"{'more' if is_more_better else 'less'} {title}", loc="left", fontsize=10)
        # Half as good is as far from equal as twice as good.
        axes.set_xscale("log", base=2)
        least, most = axes.get_xlim()
        axes.set_xlim(min(least * 0.8, 0.5), max(most * 1.25, 4))
        axes.xaxis.grid(color=GRID)
        axes.xaxis.set_major_formatter("{x:g}×")
    panels[0].set_yticks(range(len(uses)), [label(use) for use in uses])
    panels[0].set_ylim(len(uses) - 0.5, -0.8)
    title = "What Rondo gives over RabbitMQ, by client: how many times better"
    figure.suptitle(title, x=0.01, ha="left")
    return figure
