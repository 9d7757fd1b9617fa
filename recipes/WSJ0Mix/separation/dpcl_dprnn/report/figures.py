"""Figures of scores and of learning curves, as pictures for a page.

Figures are objects of their own: nothing of pyplot's state is used.
"""

import base64
import contextlib
import io
import math

import numpy as np

from .statistics import FEWEST

LARGEST = 1e30  # that curves are drawn of
# Okabe and Ito's colours, told apart by the colour-blind too.
COLOURS = {
    "masks": "#0072B2",
    "kmeans": "#D55E00",
    "train": "#555555",
    "valid": "#009E73",
    "": "#555555",
}
MARKERS = {"masks": "o", "kmeans": "^"}
NAMES = {"masks": "mask head", "kmeans": "embedding head (k-means)"}
PARTS = {  # of a training log: what each is, with its unit
    "loss": "total loss (weighted sum)",
    "pit": "pit: negative SI-SNR (dB)",
    "dpcl": "dpcl: deep clustering loss",
    "level": "level: distance from that of the sources (dB)",
    "lr": "learning rate",
    "seconds": "time of an epoch (s)",
}
STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 120,
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.fontsize": 9,
    "legend.framealpha": 0.8,
    "savefig.dpi": "figure",
}
SIZE = (4.4, 3.0)  # inches


def minus(text):
    """A number's text with real minus signs."""
    return text.replace("-", "−")


def shown(value, digits=2, sign=""):
    """A number, or a dash where it is None or not finite, as the page shows it;
    with "+" also the sign of a positive one.

    Example
    -------
    >>> shown(-1.234), shown(-0.001), shown(2.0, 1, "+"), shown(None)
    ('−1.23', '0.00', '+2.0', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:{sign}.{digits}f}"
    return minus(text) if float(text) else text.lstrip("+-")


@contextlib.contextmanager
def style(**changes):
    """Draw by the report's style, whatever the user's settings are."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE | changes]):
        yield


def new_axes(xlabel, ylabel, size=SIZE):
    """An empty figure with one pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    axes = figure.add_subplot()
    # Room for labels in inches. A layout engine takes as long as drawing.
    width, height = size
    figure.subplots_adjust(
        left=0.8 / width,
        right=1 - 0.1 / width,
        bottom=0.5 / height,
        top=1 - 0.3 / height,
    )
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_axisbelow(True)
    return figure, axes


def picture(figure, alt):
    """Turn a figure into what an `<img>` needs: `src` (a data URL of a PNG),
    `alt` (what it shows, in words), `width` and `height` in pixels.
    """
    content = io.BytesIO()
    # Without the version of matplotlib, so that equal figures are equal.
    figure.savefig(content, format="png", metadata={"Software": None})
    width, height = (figure.get_size_inches() * figure.dpi).astype(int).tolist()
    data = base64.b64encode(content.getvalue()).decode("ascii")
    return {
        "src": f"data:image/png;base64,{data}",
        "alt": alt,
        "width": width,
        "height": height,
    }


def histogram(scores):
    """A `picture` of how improvements are distributed: `{head: values
    [utterances]}` in dB, not all NaN; NaN ones are left out.
    """
    scores = {head: v[np.isfinite(v)] for head, v in scores.items()}
    everything = np.concatenate(list(scores.values()))
    low, high = everything.min(), everything.max()
    margin = 0.5 if low == high else 0.0
    # Few utterances make few bars, and all heads have the same.
    count = min(30, max(8, math.isqrt(len(everything))))
    edges = np.linspace(low - margin, high + margin, count + 1)
    with style():
        figure, axes = new_axes(xlabel="SI-SNRi (dB)", ylabel="utterances")
        for head, values in scores.items():
            axes.hist(
                values,
                edges,
                histtype="stepfilled",
                facecolor=(COLOURS[head], 0.35),
                edgecolor=COLOURS[head],
                linewidth=1.5,
                label=NAMES[head],
            )
            if len(values):
                axes.axvline(values.mean(), color=COLOURS[head], linestyle="--")
        axes.axvline(0, color="black", linewidth=0.8)
        axes.yaxis.get_major_locator().set_params(integer=True)
        _legend_above(axes)
        return picture(
            figure,
            "Histogram of the SI-SNR improvement of the test utterances; "
            "dashed lines are means.",
        )


def scatter(inputs, scores):
    """A `picture` of improvements `{head: values [speakers]}` against the
    SI-SNR of the mixture [speakers], both in dB; NaN ones are left out.
    """
    with style():
        figure, axes = new_axes(
            xlabel="a speaker's SI-SNR in the mixture (dB)",
            ylabel="its SI-SNRi (dB)",
        )
        for head, values in scores.items():
            axes.scatter(
                inputs,
                values,
                s=24 if len(values) < 300 else 8,
                marker=MARKERS[head],
                color=COLOURS[head],
                alpha=0.5,
                linewidths=0,
                label=NAMES[head],
            )
        axes.axhline(0, color="black", linewidth=0.8)
        axes.locator_params(axis="x", nbins=5)
        _legend_above(axes, markerscale=1 if len(inputs) < 300 else 2)
        return picture(
            figure,
            "SI-SNR improvement of each speaker against its SI-SNR in the "
            "unprocessed mixture.",
        )


def level_figure(labels, statistics):
    """A `picture` of mean improvements `{head: [Statistic, ...]}`, one for each
    of the classes of the speakers' level difference.
    """
    with style():
        figure, axes = new_axes(
            xlabel="level difference of the speakers (dB)",
            ylabel="mean SI-SNRi (dB)",
        )
        for index, (head, row) in enumerate(statistics.items()):
            # Side by side, so that intervals do not cover each other.
            place = 0.16 * (index - (len(statistics) - 1) / 2)
            # None, of what is undefined, becomes NaN, which is not drawn.
            _, means, _, low, high = np.array(row, dtype=np.float64).T
            axes.errorbar(
                place + np.arange(len(row)),
                means,
                yerr=[means - low, high - means],
                color=COLOURS[head],
                marker=MARKERS[head],
                linestyle="none",
                capsize=3,
                label=NAMES[head],
            )
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlim(-0.6, len(labels) - 0.4)
        _legend_above(axes)
        return picture(
            figure,
            "Mean SI-SNR improvement by the level difference between the "
            f"loudest and the quietest speaker; 95 % intervals from {FEWEST} "
            "utterances on.",
        )


def curve_figure(part, stages):
    """A `picture` of a part of the loss, `{"train" or "valid": (epochs,
    values)}` of `log.curves`.
    """
    with style():
        name = PARTS.get(part, part)
        figure, axes = new_axes(xlabel="epoch", ylabel=name)
        longest = max(len(epochs) for epochs, _ in stages.values())
        for stage, (epochs, values) in stages.items():
            # What a diverging run gives cannot be drawn.
            values = np.array(values)
            values[~(np.abs(values) < LARGEST)] = np.nan
            axes.plot(
                epochs,
                values,
                color=COLOURS.get(stage, "#CC79A7"),
                linestyle="--" if stage == "train" else "-",
                marker="o" if longest < 30 else None,
                markersize=3,
                label={"valid": "validation", "train": "training"}.get(stage),
            )
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(stages) > 1:
            axes.legend()
        return picture(figure, f"Learning curve of {name}.")


def _legend_above(axes, **changes):
    """A legend that covers no data."""
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=2,
        frameon=False,
        **changes,
    )
