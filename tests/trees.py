"""Small data sets of noise, laid out as researchers have them on their disks.

Each maker returns the data folder for train.py. Names differ between splits,
and lengths within one: 0.6 s, 0.7 s, ...
"""

import csv
import functools

import numpy as np
import soundfile

ELSEWHERE = "/home/someone/data"  # the machine that made the data


def write_split(
    folder, mixtures, count=2, num_spks=2, rate=8000, source="s{}", suffix=""
):
    """Write mixtures and sources of a split; `{name: samples}`.

    The mixtures named `both` or `single` hold noise, and then there is a
    folder of noise too.
    """
    lengths = {}
    for number in range(count):
        name = f"{folder.name}{number}a_0.5_{number}b_-0.5"
        length = rate * (6 + number) // 10
        rng = np.random.default_rng([number, *folder.name.encode()])
        voices = rng.integers(-3000, 3000, (num_spks, length), np.int16)
        noise = rng.integers(-300, 300, length, np.int16)
        signals = {source.format(n + 1): v for n, v in enumerate(voices)}
        for kind in mixtures:
            clean = voices[0] if "single" in kind else voices.sum(axis=0)
            noisy = "single" in kind or "both" in kind
            signals[kind] = (clean + noise * noisy).astype(np.int16)
            if noisy:
                signals["noise"] = noise
        for kind, samples in signals.items():
            path = folder / kind / f"{name}{suffix or '.wav'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples, rate)
        lengths[name] = length
    return lengths


def make_wsj0mix(folder, num_spks=2, rate=8000, mode="min", count=2):
    for split in ("tr", "cv", "tt"):
        place = folder / f"wav{rate // 1000}k" / mode / split
        write_split(place, ["mix"], count, num_spks, rate)
    return folder


def make_custom(folder, num_spks=2, rate=8000, count=2, suffix=".wav"):
    for split in ("train", "valid", "test"):
        write_split(
            folder / split,
            *(["mixture"], count, num_spks, rate, "source{}", suffix),
        )
    return folder


def make_wham(
    folder,
    rate=8000,
    mode="min",
    count=2,
    mixtures=("mix_clean", "mix_both", "mix_single"),
    source="s{}",
):
    for split in ("tr", "cv", "tt"):
        place = folder / f"wav{rate // 1000}k" / mode / split
        write_split(place, mixtures, count, 2, rate, source)
    return folder


def make_librimix(
    folder,
    num_spks=2,
    rate=8000,
    mode="min",
    count=2,
    splits=("train-360", "train-100", "dev", "test"),
    mixtures=("mix_clean", "mix_both", "mix_single"),
):
    """As the scripts of LibriMix leave it, with absolute paths in the CSV."""
    place = folder / f"wav{rate // 1000}k" / mode
    there = f"{ELSEWHERE}/Libri{num_spks}Mix/wav{rate // 1000}k/{mode}"
    for split in splits:
        lengths = write_split(place / split, mixtures, count, num_spks, rate)
        for kind in mixtures:
            write_metadata(place, split, kind, lengths, num_spks, there)
    return folder


def make_mini_librimix(folder, count=2):
    """As MiniLibriMix.zip unpacks: relative paths in the CSV, no test."""
    for split in ("train", "val"):
        lengths = write_split(folder / split, ["mix_clean", "mix_both"], count)
        for kind in ("mix_clean", "mix_both"):
            write_metadata(folder, split, kind, lengths, 2, "MiniLibriMix")
    return folder


def write_metadata(root, split, kind, lengths, num_spks, there):
    """The CSV file of the mixtures, and one of metrics beside it."""
    sources = range(1, 2 if "single" in kind else num_spks + 1)
    columns = ["mixture_ID", "mixture_path"]
    columns += [f"source_{number}_path" for number in sources]
    kinds = [kind, *(f"s{number}" for number in sources)]
    if kind != "mix_clean":
        columns, kinds = [*columns, "noise_path"], [*kinds, "noise"]
    folder = root / "metadata"
    folder.mkdir(exist_ok=True)
    (folder / f"metrics_{split}_{kind}.csv").write_text("mixture_ID\n")
    path = folder / f"mixture_{split}_{kind}.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, "length"])
        for name, length in lengths.items():
            paths = [f"{there}/{split}/{each}/{name}.wav" for each in kinds]
            writer.writerow([name, *paths, length])


def make_folders(folder, num_spks=2, count=2):
    """A folder for each mixture: `train/ID/mixture.wav`, `s1.wav`, ..."""
    for split in ("train", "valid", "test"):
        names = write_split(folder / split, ["mixture"], count, num_spks)
        for name in names:
            for kind in ["mixture", *(f"s{n + 1}" for n in range(num_spks))]:
                path = folder / split / kind / f"{name}.wav"
                place = folder / split / name
                place.mkdir(exist_ok=True)
                path.rename(place / f"{kind}.wav")
        for kind in ["mixture", *(f"s{n + 1}" for n in range(num_spks))]:
            (folder / split / kind).rmdir()
    return folder


def make_scp(folder, sounds, num_spks=2, nested=False):
    """Lists of a wsj0-mix that `sounds` gets: `tr_mix.scp`, `tr_s1.scp`, ...

    `nested` ones are `tr/mix.scp`, `tr/spk1.scp`, ..., and the names on their
    lines have no suffix. Paths are absolute.
    """
    make_wsj0mix(sounds, num_spks)
    for split in ("tr", "cv", "tt"):
        for number in range(num_spks + 1):
            kind = f"s{number}" if number else "mix"
            files = sorted((sounds / "wav8k" / "min" / split / kind).iterdir())
            path = folder / f"{split}_{kind}.scp"
            if nested:
                path = folder / split / f"{kind.replace('s', 'spk')}.scp"
            path.parent.mkdir(parents=True, exist_ok=True)
            names = [f.stem if nested else f.name for f in files]
            lines = [f"{n} {f}\n" for n, f in zip(names, files, strict=True)]
            path.write_text("".join(lines), encoding="utf-8")
    return folder


def make_lists(folder, num_spks=2, nested=False):
    """Lists, of files in a folder beside them."""
    return make_scp(folder, folder / "else where", num_spks, nested)


MAKERS = {
    "folders": make_folders,
    "wsj0-mix": make_wsj0mix,
    "wsj0-3mix": functools.partial(
        make_wsj0mix, num_spks=3, rate=16000, mode="max"
    ),
    "custom": functools.partial(
        make_custom, num_spks=4, rate=11025, suffix=".flac"
    ),
    "WHAM!": make_wham,
    "WHAMR!": functools.partial(
        make_wham,
        mixtures=("mix_clean_anechoic", "mix_both_anechoic"),
        source="s{}_anechoic",
    ),
    "LibriMix": make_librimix,
    "Libri3Mix": functools.partial(
        make_librimix, num_spks=3, mixtures=["mix_clean"]
    ),
    "MiniLibriMix": make_mini_librimix,
    "scp": make_lists,
    "nested scp": functools.partial(make_lists, num_spks=3, nested=True),
}
