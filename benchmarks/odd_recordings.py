#!/usr/bin/env python3
"""Separate 300 files that are damaged, odd or no sound, and count what becomes
of them: separated, separated with a warning, refused; and what must not be:
a traceback, a hang, a voice that is shorter than the recording without a word.

    python benchmarks/odd_recordings.py --files 300 --seed 1
"""

import argparse
import collections
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
import soundfile

RECIPE = pathlib.Path(__file__).parents[1] / "recipes/WSJ0Mix/separation"
sys.path.insert(0, str(RECIPE))

from dpcl_dprnn.sound.ffmpeg import find_decoder  # noqa: E402

SECONDS = 1.0
LIMIT = 10.0  # seconds a file may take on average
# What is written how: by libsndfile (format, subtype) or by ffmpeg (options)
SNDFILE = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "gsm.wav": ("WAV", "GSM610"),
    "g721.wav": ("WAV", "G721_32"),
    "ulaw.wav": ("WAV", "ULAW"),
    "flac": ("FLAC", "PCM_24"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
}
FFMPEG = {
    "m4a": (),
    "fast.m4a": ("-movflags", "+faststart"),
    "amr": ("-ar", "8000", "-ac", "1"),
    "3gp": ("-ar", "8000", "-ac", "1"),
    "webm": (),
    "wma": (),
    "caf": ("-c:a", "alac"),
    "mkv": ("-c:a", "flac"),
}
# Cut, these do not say that there was more.
SILENT = {"ogg", "mp3", "amr", "webm", "mkv"}


def sound(rng, rate=8000, channels=1, seconds=SECONDS):
    """Noise whose level changes, [T, channels]."""
    frames = round(rate * seconds)
    return 0.1 * rng.standard_normal((frames, channels))


def make(folder, name, kind, samples, rate=8000):
    """Write a file of a kind; its content."""
    path = folder / f"{name}.{kind}"
    if kind in SNDFILE:
        format, subtype = SNDFILE[kind]
        soundfile.write(path, samples, rate, subtype, format=format)
    else:
        wav = folder / "source.wav"
        soundfile.write(wav, samples, rate)
        command = [find_decoder(), "-v", "error", "-y", "-i", wav]
        subprocess.run([*command, *FFMPEG[kind], path], check=True)
        wav.unlink()
    return path, bytearray(path.read_bytes())


def cut(content, rng):
    """The file ends too early."""
    return content[: rng.integers(1, len(content))]


def flip(content, rng):
    """Some bytes of the header are others."""
    for place in rng.integers(0, min(200, len(content)), rng.integers(1, 5)):
        content[place] = rng.integers(256)
    return content


def blot(content, rng):
    """A part is zeros."""
    start, end = sorted(rng.integers(0, len(content), 2))
    content[start:end] = bytes(end - start)
    return content


def resize(content, rng):
    """A WAV file's lengths are others."""
    said = rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, rng.integers(2**32)])
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", int(said))
    if rng.random() < 0.5:
        content[4:8] = struct.pack("<I", int(rng.integers(2**32)))
    return content


def append(content, rng):
    """Something follows."""
    return content + rng.bytes(int(rng.integers(1, 20000)))


def odd_files(folder, count, rng):
    """Write odd files; `{path: (what it is, frames that must be there)}`,
    with None where that cannot be said.
    """
    kinds = [*SNDFILE, *FFMPEG]
    files, number = {}, 0
    for name, content in {"empty.wav": b"", "text.m4a": b"A word.\n"}.items():
        (folder / name).write_bytes(content)
        files[folder / name] = "no sound", None
    os.mkfifo(folder / "pipe.wav")
    files[folder / "pipe.wav"] = "no sound", None
    (folder / "gone.flac").symlink_to(folder / "nowhere.flac")
    files[folder / "gone.flac"] = "no sound", None
    while len(files) < count:
        number += 1
        way = rng.choice("cut flip blot resize append shape suffix".split())
        kind = "wav" if way == "resize" else str(rng.choice(kinds))
        rate, samples = 8000, sound(rng)
        if way == "shape":
            kind = str(rng.choice(["wav", "flac", "float.wav", "aiff"]))
            rate = int(rng.choice([1000, 7919, 44100, 96000, 384000]))
            frames = int(rng.choice([0, 1, 2, 100, 9999]))
            samples = sound(rng, frames, int(rng.integers(1, 8)), 1.0)
        path, content = make(folder, f"{number:04}_{way}", kind, samples, rate)
        frames = len(samples)
        if way == "shape":
            frames = frames or None
        elif way == "suffix":
            other = path.with_suffix(str(rng.choice([".wav", ".m4a", ".mp3"])))
            path = path.rename(other)
        else:
            content = globals()[way](content, rng)
            path.write_bytes(content)
            if way in ("flip", "blot") or (way == "cut" and kind in SILENT):
                frames = None
        files[path] = f"{way} of {kind}", frames
    return files


def judge(facts, frames):
    """What became of a file, by what separate.py says of it."""
    if facts is None:
        return "NOT NAMED"
    if "error" in facts:
        return "refused"
    if facts["warnings"]:
        return "warned of"
    if frames is not None and facts["outputs"]:
        got = soundfile.info(facts["outputs"][0]).frames
        # WMA's blocks take some of the end, when it is written.
        if got < 0.95 * frames:
            return "SHORT WITHOUT A WORD"
    return "separated"


def main():
    """Make the files, separate them, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch, "in")
        folder.mkdir()
        rng = np.random.default_rng(args.seed)
        files = odd_files(folder, args.files, rng)
        command = [sys.executable, RECIPE / "separate.py", *files, "--json"]
        command += ["--output", pathlib.Path(scratch, "out"), "--overwrite"]
        try:
            done = subprocess.run(
                list(map(str, command)),
                capture_output=True,
                text=True,
                timeout=LIMIT * len(files),
            )
            said, errors, hung = done.stdout, done.stderr, 0
        except subprocess.TimeoutExpired as error:
            said, errors, hung = (error.stdout or b"").decode(), "", 1
        facts = {}
        for line in said.splitlines():
            each = json.loads(line)
            facts[each["input"]] = each
        table = collections.Counter()
        for path, (what, frames) in files.items():
            verdict = judge(facts.get(str(path)), frames)
            table[what.split(" of ")[0], verdict] += 1
            if verdict.isupper():
                print(f"{verdict}: {path.name}, {what}: {facts.get(str(path))}")
        for (way, verdict), count in sorted(table.items()):
            print(f"{way:10} {verdict:22} {count:4}")
        tracebacks = errors.count("Traceback")
        print(f"{len(files)} files, {tracebacks} tracebacks, {hung} hangs")
        bad = any(verdict.isupper() for _, verdict in table)
        sys.exit(bool(bad or tracebacks or hung))


if __name__ == "__main__":
    main()
