"""The speakers of a mixture: who is heard, how loud, what is known of them, and
how well an ideal mask would separate them.
"""

import csv
import logging
import pathlib

import numpy as np

from ..common.errors import UserError
from ..common.names import utterances_and_gains
from ..model.encoders import STFTDecoder, STFTEncoder
from ..model.losses import audible_sources
from ..model.targets import dominant_source

logger = logging.getLogger(__name__)

COLUMNS = ("gender", "sex", "register")  # the first that there is


def audible(sources):
    """Those of sources [C, T] that are not silent; the first if all are."""
    heard = audible_sources(sources[None])[0]
    return sources[heard] if heard.any() else sources[:1]


def level_difference(sources):
    """By how much the loudest of sources [C, T] is above the softest one, in
    dB; NaN for a single one.
    """
    if len(sources) < 2:
        return float("nan")
    power = np.square(sources, dtype=np.float64).sum(axis=1)
    return float(10 * np.log10(power.max() / power.min()))


def ideal_voices(mixture, sources, sample_rate):
    """What the ideal binary mask, the ceiling of binary masks, makes of tensors
    `mixture` [T] and `sources` [C, T]: [C, T].

    On an STFT with windows of 32 ms and a hop of 8 ms.
    """
    n_fft, hop = sample_rate * 4 // 125, sample_rate // 125
    encoder = STFTEncoder(n_fft, hop).to(sources.device)
    decoder = STFTDecoder(n_fft, hop).to(sources.device)
    masks = dominant_source(encoder(sources)[None])[0].permute(2, 1, 0)
    return decoder(masks * encoder(mixture[None]), len(mixture))


def speaker_groups(place):
    """Read the group of each speaker from a table.

    Arguments
    ---------
    place : str, Path or list of them
        Of several the first counts. A CSV file with the columns `speaker` and
        `gender` (`sex` and `register`, high or low, do too), in any case, or a
        folder that may have one named `speakers.csv`. "" for none.

    Returns
    -------
    dict of str to str

    Raises
    ------
    UserError
        When a file that was named is not of that form; that of a folder is
        passed over with a warning.
    """
    if isinstance(place, list | tuple):
        place = place[0]
    if not place:
        return {}
    path = pathlib.Path(place)
    if not path.is_dir():
        return _read(path)
    path = path / "speakers.csv"
    try:
        return _read(path) if path.is_file() else {}
    except UserError as error:  # nobody asked for it
        logger.warning("Speakers are not grouped. %s", error)
        return {}


def _read(path):
    """`speaker_groups` of a file."""
    groups = {}
    try:
        # With a mark at the start, as spreadsheets write it, or without.
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            names = [name.strip().lower() for name in rows.fieldnames or ()]
            rows.fieldnames = names
            column = next((name for name in COLUMNS if name in names), None)
            if "speaker" not in names or column is None:
                raise UserError(
                    f"{path} needs the columns speaker and gender, after a "
                    "line that names them."
                )
            for row in rows:
                speaker, group = (
                    (row[name] or "").strip() for name in ("speaker", column)
                )
                if not (speaker and group):
                    missing = column if speaker else "speaker"
                    raise UserError(
                        f"{path}, line {rows.line_num}: no {missing}. Fill it "
                        "in, or remove the line."
                    )
                groups[speaker] = group
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Cannot read {path}: {error}.") from error
    return groups


def groups_of(snt_id, groups):
    """The groups, of `speaker_groups`, of a mixture's speakers in their order,
    by its name, see `names.utterances_and_gains`; [] when one is unknown.

    Utterances begin with the name of their speaker.

    Example
    -------
    >>> groups_of("40na010x_1.98_01xo031a_-1.98", {"40n": "F", "01x": "M"})
    ['F', 'M']
    >>> groups_of("19-198-0000_260-123-1", {"19": "F", "260": "M"})
    ['F', 'M']
    >>> groups_of("0-7_19-198-0000_1.98_260-123-1_-1.98", {"19": "F"})
    []
    """
    found = []
    for utterance in utterances_and_gains(snt_id)[0]:
        speakers = [s for s in groups if _is_of(utterance, s)]
        if not speakers:
            return []
        found.append(groups[max(speakers, key=len)])
    return found


def _is_of(utterance, speaker):
    """Whether an utterance begins with a speaker's name: not 198 with 19."""
    rest = utterance[len(speaker) :]
    split_number = speaker[-1:].isdigit() and rest[:1].isdigit()
    return utterance.startswith(speaker) and not split_number
