"""What a run of train.py ends with, to compare with that of another run."""

import contextlib
import hashlib
import zipfile

import torch
import yaml

from dpcl_dprnn.report.log import read_log

OTHERS = ("settings.ckpt", "SHA256SUMS")  # they name folders


def outcome(folder):
    """What two runs of the same have in common, by its name: digests of the
    newest and the best checkpoint at the end of an epoch, of the averages of
    every epoch, of the scores and of the model.
    """
    metas = {path: read(path / "CKPT.yaml") for path in checkpoints(folder)}
    ends = {path: meta for path, meta in metas.items() if meta["end-of-epoch"]}
    newest = max(ends, key=lambda path: ends[path]["unixtime"])
    # Of equal ones the newer, as SpeechBrain does
    best = min(ends, key=lambda x: (ends[x]["loss"], -ends[x]["unixtime"]))
    found = {
        f"{kind} {path.name}": digest(read(path))
        for kind, checkpoint in (("newest", newest), ("best", best))
        for path in checkpoint.iterdir()
        if path.name not in OTHERS
    }
    for path in (*folder.glob("test_*.csv"), folder / "summary.json"):
        found[path.name] = digest(path.read_bytes())
    found["model"] = digest(read(folder / "model" / "separator.ckpt"))
    for averages in read_log(folder / "train_log.txt"):
        found[f"log of epoch {averages['epoch']:.0f}"] = digest(averages)
    return found


def differences(one, other):
    """The names of what differs in two outcomes."""
    names = sorted({*one, *other})
    return [name for name in names if one.get(name) != other.get(name)]


def checkpoints(folder):
    """The folders of the checkpoints of a run."""
    return sorted(folder.glob("save/CKPT+*"))


def newest(folder):
    """How far the newest checkpoint is: its step of the optimiser, whether it
    is of an epoch's end, and its time; zeros where there is none.
    """
    places = [(0, False, 0.0)]
    for path in checkpoints(folder):
        with contextlib.suppress(OSError):  # it is being deleted
            meta = read(path / "CKPT.yaml")
            step = read(path / "brain.ckpt")["optimizer_step"]
            places.append((step, meta["end-of-epoch"], meta["unixtime"]))
    return max(places, key=lambda place: place[-1])


def read(path):
    """What is in a file of a checkpoint."""
    if zipfile.is_zipfile(path):
        return torch.load(path, map_location="cpu")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def digest(value):
    """SHA-256 of tensors, numbers and text, but for times."""
    sha = hashlib.sha256()
    for piece in pieces(value):
        sha.update(piece)
    return sha.hexdigest()


def pieces(value):
    """The bytes of a value, bit for bit."""
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            if "seconds" not in str(key) and key != "unixtime":
                yield repr(key).encode()
                yield from pieces(value[key])
    elif isinstance(value, list | tuple):
        yield b"["
        for each in value:
            yield from pieces(each)
    elif isinstance(value, torch.Tensor):
        yield f"{value.dtype} {value.shape}".encode()
        yield value.numpy().tobytes()
    else:
        yield repr(value).encode()
