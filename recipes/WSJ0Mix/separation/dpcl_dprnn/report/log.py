"""Learning curves from SpeechBrain's train_log.txt."""

import contextlib
import re

# "epoch: 3, lr: 1.77e-03 - train pit: -1.00e+01, ... - valid pit: -9.66"
ITEM = re.compile(r"(?:^|, | - )([^,:]+): ([^,\s]+)")


def read_log(path):
    """Read the epochs of a log, `{"epoch": 3.0, "train pit": -10.0, ...}`.

    A resumed run may log an epoch again. It goes on from there, so an epoch
    replaces all that the log had from its number on.
    """
    epochs = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            items = {}
            for name, value in ITEM.findall(line):
                with contextlib.suppress(ValueError):  # words are left out
                    items[name] = float(value)
            if "epoch" in items:
                number = items["epoch"]
                epochs = [each for each in epochs if each["epoch"] < number]
                epochs.append(items)
    return epochs


def curves(epochs):
    """Sort the epochs of `read_log` into `{part: {stage: (epochs, values)}}`.

    The total loss comes first, the learning rate (of no stage) and the seconds
    of an epoch last. Parts of the loss that are always 0, as they do not
    apply, are left out.

    Example
    -------
    >>> curves([{"epoch": 1.0, "lr": 0.1, "train loss": 2.0}])
    {'loss': {'train': ([1.0], [2.0])}, 'lr': {'': ([1.0], [0.1])}}
    """
    found = {}
    for items in epochs:
        for name, value in items.items():
            stage, _, part = name.rpartition(" ")
            if part != "epoch":
                xs, ys = found.setdefault(part, {}).setdefault(stage, ([], []))
                xs.append(items["epoch"])
                ys.append(value)
    last = ("lr", "seconds")
    found = {
        part: stages
        for part, stages in found.items()
        if part in last or any(any(ys) for _, ys in stages.values())
    }
    order = sorted(found, key=lambda part: (part in last, part != "loss", part))
    return {part: found[part] for part in order}
