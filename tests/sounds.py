"""Noise, and sound files of it."""

import subprocess

import numpy as np
import soundfile

from dpcl_dprnn.sound.ffmpeg import find_decoder

RATE = 8000


def noise(length, channels=None, seed=0):
    """Noise [T] or [T, channels], float32."""
    shape = length if channels is None else (length, channels)
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(shape)).astype(np.float32)


def write(path, samples, rate=RATE, subtype="FLOAT"):
    """Write a sound file, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def write_speakers(folder, speakers, rate=RATE, shortest=0.6, step=50):
    """An utterance each; `{its name: samples}`, all of other lengths."""
    lengths = {}
    for number, speaker in enumerate(speakers):
        length = round(rate * shortest) + step * number
        samples = noise(length, seed=[number, length])
        write(folder / speaker / f"{speaker}.wav", samples, rate, "PCM_16")
        lengths[speaker] = length * RATE // rate
    return lengths


def convert(path, target, *options):
    """Write a sound file as ffmpeg does, by its suffix; return its path."""
    command = [find_decoder(), "-v", "error", "-i", path, *options, target]
    subprocess.run(command, check=True)
    return target
