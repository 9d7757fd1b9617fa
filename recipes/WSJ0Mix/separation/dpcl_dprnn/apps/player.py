"""What a page shows of a separation: each track heard, seen and saved."""

import os
import pathlib
import time
import typing
import urllib.parse

import jinja2
import numpy as np

from ..common.errors import UserError
from ..common.files import atomic_path, write_text
from ..inference.recordings import (
    HIGHEST,
    FileRecording,
    count_frames,
    resampled,
)
from ..report.figures import new_axes, picture, style
from ..report.spectra import SPEAKERS, shared_scale, stft, track_figure
from ..sound.audio import write_wav

FULL_SCALE = 32767 / 32768  # the highest 16-bit sample
WIDTH = 7.0  # inches
SURE = 0.7  # confidence below which a number is a guess
HARDLY = 2.0  # dB of improvement, below which voices sound like the mixture
PLAYABLE = ".aac .flac .m4a .mp3 .mp4 .oga .ogg .opus .wav .webm".split()
LONGEST_SEEN = 300.0  # seconds of a recording that spectrograms are drawn of


class Track(typing.NamedTuple):
    """A waveform to hear, to see and to download."""

    sound: pathlib.Path  # WAV
    picture: pathlib.Path  # PNG


def separate(separator, path, folder, max_seconds, n_spks=None, head=None):
    """Separate a file, and write what there is to hear and to see.

    Arguments
    ---------
    separator : separator.SpeechSeparator
    path : str or None
        The mixture, as the browser sent it.
    folder : str or Path
        Where to write.
    max_seconds : float
        Longer mixtures are refused.
    n_spks, head
        As of `SpeechSeparator.separate_batch`.

    Returns
    -------
    told : str
        What was done, for the user.
    tracks : list of Track
        The mixture and each voice.
    """
    if path is None:
        raise UserError("There is no mixture yet: drop or record one.")
    samples, rate, warnings = read_mixture(path, max_seconds)
    start = time.perf_counter()
    voices = separator.separate_signal(samples, rate, n_spks=n_spks, head=head)
    taken = time.perf_counter() - start
    quieter, gain = turned_down(voices.waveforms)
    figures = spectrograms(
        [samples, *voices.waveforms], rate, separator.sample_rate
    )
    name = pathlib.Path(path)
    parts = ["mixture", *(f"s{i + 1}" for i in range(len(quieter)))]
    tracks = [
        write_track(pathlib.Path(folder, f"{name.stem}_{part}"), *track, rate)
        for part, *track in zip(
            parts, [turned_down(samples)[0], *quieter], figures, strict=True
        )
    ]
    seconds = len(samples) / rate
    told = describe(name.name, seconds, voices, taken, gain)
    return " ".join([told, *(f"Warning: {each}." for each in warnings)]), tracks


def read_mixture(path, max_seconds):
    """The samples [T] and the rate of a file that is not too large, and what
    the user ought to know about it.

    Errors have its name alone, for the user does not know our folders.
    """
    name = pathlib.Path(path).name
    try:
        check_size(name, FileRecording(path, channel=0), max_seconds)
        recording = FileRecording(path)  # which reads all of several channels
        samples = np.concatenate(list(recording.blocks()))
        return samples, recording.rate, recording.warnings
    except UserError as error:
        raise UserError(str(error).replace(str(path), name)) from error


def check_size(name, recording, max_seconds):
    """Refuse what is too large, going by its header.

    All channels together may have as many samples as one channel of
    `max_seconds` at 384 kHz.
    """
    frames, rate = recording.frames, recording.rate
    channels = recording.channels
    if rate > HIGHEST:
        raise UserError(
            f"{name} has {rate} samples per second, and {HIGHEST} is the "
            "limit: convert it to a lower rate."
        )
    if frames > max_seconds * rate:
        raise UserError(
            f"{name} lasts {frames / rate:.1f} s, and {max_seconds:g} s is "
            "the limit: cut it, or start app.py with a higher --max_seconds."
        )
    if frames * channels > max_seconds * HIGHEST:
        raise UserError(
            f"{name} has {frames * channels} samples in {channels} "
            f"channels, and {max_seconds * HIGHEST:.0f} is the limit: convert "
            "it to mono."
        )


def turned_down(signals):
    """Turn signals down, all alike, if one would clip; return the gain too.

    Example
    -------
    >>> signals, gain = turned_down(np.array([[0.5, -2.0], [0.1, 0.3]]))
    >>> signals.round(3)
    array([[ 0.25, -1.  ],
           [ 0.05,  0.15]])
    """
    peak = np.abs(signals).max(initial=0.0)
    gain = FULL_SCALE / float(peak) if peak > 1.0 else 1.0
    return signals * gain, gain


def count_in_words(count, confidence=None, expected_si_snr_i=None):
    """How many voices there are, how sure that is if it was found out, and how
    well they are separated, in dB, as far as that can be told.

    Example
    -------
    >>> count_in_words(2, 0.62, 1.96)
    '2 voices (confidence in the number: 62%, a guess; expected SI-SNR improvement: 2.0 dB, hardly separated)'
    >>> count_in_words(3, None, 5.44)
    '3 voices (expected SI-SNR improvement: 5.4 dB)'
    >>> count_in_words(0, 1.0)
    'No voice'
    """
    many = {0: "No voice", 1: "1 voice"}.get(count, f"{count} voices")
    more = []
    if confidence is not None:
        guess = ", a guess" if confidence < SURE else ""
        more.append(f"confidence in the number: {confidence:.0%}{guess}")
    if expected_si_snr_i is not None:
        hardly = ", hardly separated" if expected_si_snr_i < HARDLY else ""
        shown = max(0.0, expected_si_snr_i)
        more.append(f"expected SI-SNR improvement: {shown:.1f} dB{hardly}")
    return f"{many} ({'; '.join(more)})" if count and more else many


def describe(name, seconds, voices, taken, gain):
    """What was done, in a few sentences."""
    many = count_in_words(
        voices.count, voices.confidence, voices.expected_si_snr_i
    )
    told = f"{many} in {name} ({seconds:.1f} s), separated in {taken:.2f} s."
    if gain < 1:
        quieter = -20 * np.log10(gain)
        told += f" All voices are {quieter:.1f} dB quieter, lest one clip."
    return told


def spectrograms(signals, rate, highest):
    """Figures with one colour scale, up to the rate that the model hears."""
    drawn = min(rate, highest)
    spectra = [stft(_resampled(x, rate, drawn), drawn) for x in signals]
    scale = shared_scale(spectra)
    figures = [track_figure(spectrum, scale, drawn) for spectrum in spectra]
    for figure in figures:
        figure.set_figwidth(WIDTH)
    return figures


def _resampled(signal, rate, wanted):
    """A signal [T] at another rate."""
    frames = count_frames(len(signal), rate, wanted)
    block = np.asarray(signal, dtype=np.float32)
    return np.concatenate([*resampled([block], rate, wanted, frames)])


def write_track(path, signal, figure, rate):
    """Write a signal and its picture to files that differ by their suffix."""
    track = Track(*(path.with_name(path.name + s) for s in (".wav", ".png")))
    write_wav(track.sound, signal, rate)
    with atomic_path(track.picture) as temporary:
        figure.savefig(temporary)
    return track


def write_page(path, recording, outputs, turns, told, highest, stays=True):
    """Write a page that shows a separation: who speaks when, each track heard
    and seen. It plays the files that are there, by their places beside it.

    Arguments
    ---------
    path : pathlib.Path
        Of the page; `path.stem` is what the recording is called.
    recording : recordings.FileRecording
    outputs : list of pathlib.Path
        The voices' files.
    turns : list of turns.Turn
    told : str
        What was done, for the user.
    highest : int
        The model's sampling rate in Hz: there is nothing to see above it.
    stays : bool
        Whether the recording's file will be there to be heard.
    """
    folder = path.parent.resolve()
    tracks = {"Mixture": recording}
    for number, output in enumerate(outputs, start=1):
        tracks[f"Voice {number}"] = FileRecording(output)
    pictures = [None] * len(tracks)
    seconds = recording.frames / recording.rate
    if seconds <= LONGEST_SEEN:
        signals = [
            _resampled(np.concatenate([*r.blocks()]), r.rate, highest)
            for r in tracks.values()
        ]
        pictures = [
            picture(figure, f"Spectrogram: {label} of {path.stem}.")
            for label, figure in zip(
                tracks, spectrograms(signals, highest, highest), strict=True
            )
        ]
    links = [_link(each.path, folder) for each in tracks.values()]
    suffix = pathlib.Path(recording.path).suffix.lower()
    if not stays or suffix not in PLAYABLE:
        links[0] = None
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(
            pathlib.Path(__file__).with_name("templates")
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("voices.html")
    write_text(
        path,
        template.render(
            name=path.stem,
            told=told,
            longest=LONGEST_SEEN,
            timeline=_timeline(turns, len(outputs), seconds) if turns else None,
            tracks=[
                {"label": label, "link": link, "picture": drawn}
                for label, link, drawn in zip(
                    tracks, links, pictures, strict=True
                )
            ],
        ),
    )


def _timeline(turns, count, seconds):
    """A picture of who speaks when."""
    with style():
        figure, axes = new_axes("time (s)", "", (WIDTH, 0.9 + 0.35 * count))
        for voice in range(count):
            spans = [
                (turn.start, turn.end - turn.start)
                for turn in turns
                if turn.voice == voice
            ]
            colour = SPEAKERS[voice % len(SPEAKERS)]
            axes.broken_barh(spans, (voice - 0.4, 0.8), color=colour)
        axes.set_xlim(0, seconds)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_yticks(
            range(count), [f"Voice {n}" for n in range(1, count + 1)]
        )
        axes.grid(False, axis="y")
        return picture(figure, "Who speaks when, a bar for each turn.")


def _link(path, folder):
    """A file's address as seen from a page's folder."""
    relative = os.path.relpath(pathlib.Path(path).resolve(), folder)
    return urllib.parse.quote(pathlib.Path(relative).as_posix())
