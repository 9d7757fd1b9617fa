"""The page that separates one mixture at a time in the browser, with Gradio.

Gradio is an extra, so it is imported where it is needed.
"""

import contextlib
import html
import os
import re
import tempfile

from ..common.errors import UserError, first_line
from .player import separate

BY_KMEANS = 4  # speakers to choose from
HEADS = {"": "the better one", "masks": "masks", "kmeans": "k-means"}

TITLE = "Separate voices"
INTRODUCTION = (
    f"# {TITLE}\n\nPeople who talk at once in one recording, each alone. "
    "Sound stays on the computer that serves this page, and is deleted "
    "within an hour or so."
)
CHECK_EVERY, KEEP = 600, 3600  # s, for files of the page
READ = 30  # s that a message is shown
OLDEST = (6, 31)  # Gradio that has the options of `launch`

# Gradio fetches fonts unless it is told the names of those of the system.
FONTS = ("system-ui", "sans-serif")
MONOSPACED = ("ui-monospace", "monospace")


def import_gradio():
    """Gradio, told to call nobody; `UserError` without what it takes."""
    needed = ".".join(map(str, OLDEST))
    remedy = f"pip install 'gradio>={needed}' matplotlib"
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"The page needs Gradio and Matplotlib ({first_line(error)}): "
            f"{remedy}"
        ) from error
    version = getattr(gradio, "__version__", "of no version")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        raise UserError(
            f"The page needs Gradio {needed} or newer, and this is "
            f"{version}: {remedy}"
        )
    return gradio


def theme():
    """A look that needs nothing from other hosts."""
    return import_gradio().themes.Default(font=FONTS, font_mono=MONOSPACED)


def build_page(separator, max_seconds):
    """The page, to be launched with `theme`.

    Arguments
    ---------
    separator : separator.SpeechSeparator
    max_seconds : float
        Longer mixtures are refused.

    Returns
    -------
    gradio.Blocks
    """
    gr = import_gradio()
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(CHECK_EVERY, KEEP)
    ) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            mixture = gr.Audio(
                type="filepath",
                label=f"Mixture: a recording of up to {max_seconds:g} s",
                buttons=[],
            )
            with gr.Column():
                inputs = [mixture, *_choices(gr, separator)]
                button = gr.Button("Separate", variant="primary")
                result = gr.Textbox(label="Result", interactive=False)
        names = ["Mixture"]
        names += [f"Voice {n}" for n in _numbers(separator)]
        rows = [_row(gr, name) for name in names]
        outputs = [result, *(part for row in rows for part in row)]

        def _show(told="", tracks=()):
            tracks = [*tracks, *[None] * (len(rows) - len(tracks))]
            return [told, *(x for track in tracks for x in _fill(gr, track))]

        def _run(path, n_spks, head):
            with _errors_shown(gr):
                folder = tempfile.mkdtemp(dir=mixture.GRADIO_CACHE)
                return path, *separate(
                    separator, path, folder, max_seconds, n_spks, head or None
                )

        def _show_if_loaded(path, done):
            return _show(*done[1:]) if done[0] == path else _show()

        # What is shown is always of the mixture that is loaded: it may be
        # another by the time that a separation ends.
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        done = gr.State()
        shown = button.click(
            _run,
            inputs,
            done,
            show_progress_on=result,
            concurrency_limit=1,  # which bounds the memory
            trigger_mode="always_last",  # for another mixture meanwhile
            api_visibility="private",
        ).success(_show_if_loaded, [mixture, done], outputs, **quiet)
        mixture.change(_show, None, outputs, cancels=shown, **quiet)
    return page


@contextlib.contextmanager
def _errors_shown(gr):
    """Show errors on the page; those not of the user's in the log, too."""
    try:
        yield
    except Exception as error:
        users = isinstance(error, UserError)
        told = str(error)
        if not users:
            told = f"The separation failed: {first_line(error)}"
        raise gr.Error(
            html.escape(told, quote=False),
            duration=READ,
            print_exception=not users,
        ) from error


def _numbers(separator):
    """The numbers of speakers to choose from."""
    most = BY_KMEANS if "kmeans" in separator.heads else 1
    return range(1, max(most, separator.num_spks) + 1)


def _choices(gr, separator):
    """What the user decides: the number of speakers and the head."""
    counts = [*_numbers(separator), *["auto"] * separator.counts]
    heads = [(HEADS[head], head) for head in ("", *separator.heads)]
    return [
        gr.Radio(
            [(str(count), count) for count in counts],
            value="auto" if separator.counts else separator.num_spks,
            label="Number of speakers",
        ),
        gr.Radio(
            heads,
            value="",
            label="Head",
            visible=len(separator.heads) > 1,
        ),
    ]


def _row(gr, name):
    """A player, a download and a picture, hidden until there is sound."""
    with gr.Row(visible=False) as row:
        with gr.Column(scale=1):
            # The browser's own player works with the keyboard.
            player = gr.Audio(
                label=name,
                interactive=False,
                buttons=[],
                waveform_options={"show_recording_waveform": False},
            )
            download = gr.DownloadButton(f"Download {name.lower()}", size="sm")
        picture = gr.Image(
            label=f"Spectrogram of {name.lower()}",
            alt_text=f"Spectrogram of {name.lower()}",
            show_label=False,
            interactive=False,
            buttons=[],
            scale=2,
        )
    return row, player, download, picture


def _fill(gr, track):
    """Updates of a row that show a track, or that hide the row."""
    if track is None:
        return gr.update(visible=False), None, None, None
    sound, picture = str(track.sound), str(track.picture)
    return gr.update(visible=True), sound, sound, picture
