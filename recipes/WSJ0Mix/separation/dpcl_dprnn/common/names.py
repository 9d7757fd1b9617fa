"""What the name of a mixture tells: its utterances, and how loud each is."""

import re

# In dB, after an utterance; 0 in wsj0-3mix. No more digits without a point:
# those number an utterance.
GAIN = r"_(-?(?:\d+\.\d+|\d)(?:e-\d+)?)"
MADE_LIVE = re.compile(r"^\d+-\d+_")  # epoch and number, of mixtures on the fly


def utterances_and_gains(name, count=None):
    """Read the name of a mixture, without suffix: its utterances, and their
    gains in dB, where it tells.

    Utterances are each followed by their gain, as in wsj0-mix, or have no
    underscores, as in LibriMix. There are `count` or, by default, as many as
    can be.

    Example
    -------
    >>> utterances_and_gains("40na010x_1.9857_01xo031a_-1.9857")
    (['40na010x', '01xo031a'], [1.9857, -1.9857])
    >>> utterances_and_gains("4077-13754-0001_5142-33396-0065")
    (['4077-13754-0001', '5142-33396-0065'], [])
    """
    if count is not None:
        match = re.fullmatch("_".join([f"(.+){GAIN}"] * count), name)
        parts = match.groups() if match else ()
    else:
        whole = re.search(f"{GAIN}$", name)
        pairs = re.findall(f"(.+?){GAIN}(?:_|$)", MADE_LIVE.sub("", name))
        parts = [part for pair in pairs for part in pair] if whole else ()
    if not parts:
        return name.split("_"), []
    return list(parts[::2]), [float(gain) for gain in parts[1::2]]
