"""How the figures of the report look, and how they get into its page.

Figures are objects of their own: nothing of pyplot's state is used.
"""

import base64
import contextlib
import io
import math

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
    "silence": "silence: level of silent sources (dB)",
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
    """A number as the page shows it.

    Arguments
    ---------
    value : float or None
    digits : int
        After the point.
    sign : str
        "+" shows that of positive numbers.

    Returns
    -------
    str
        A dash where the value is undefined.

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


def new_axes(title=None, xlabel=None, ylabel=None, size=SIZE):
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
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.set_axisbelow(True)
    return figure, axes


def picture(figure, alt):
    """Turn a figure into what an `<img>` needs.

    Arguments
    ---------
    figure : matplotlib.figure.Figure
    alt : str
        What it shows, for those who cannot see it.

    Returns
    -------
    dict
        `src` (a data URL of a PNG), `alt`, `width` and `height` in pixels.
    """
    content = io.BytesIO()
    # Without the version of matplotlib, so that equal figures are equal.
    figure.savefig(content, format="png", metadata={"Software": None})
    width, height = (figure.get_size_inches() * figure.dpi).astype(int)
    data = base64.b64encode(content.getvalue()).decode("ascii")
    return {
        "src": f"data:image/png;base64,{data}",
        "alt": alt,
        "width": int(width),
        "height": int(height),
    }
