"""WSJ0 as users have it: where its utterances are.

MERL's lists name an utterance `wsj0/si_tr_s/01t/01to030v.wav`; on the discs
of the LDC it is a file like `11-1.1/WSJ0/SI_TR_S/01T/01TO030V.WV1`. What the
two have in common is the key, `si_tr_s/01t/01to030v`.
"""

import os
import pathlib

from ..common.errors import UserError, few
from ..common.files import pass_over, walk
from .wsj0_tables import look_up

# Best first: a converted file may come from the wrong microphone.
KINDS = ("wv1", "sph", "flac", "wav")
SECOND_MICROPHONE = ("wv2",)


def utterance_key(path):
    """What identifies an utterance: folder, speaker and name, lower case.

    Example
    -------
    >>> utterance_key("wsj0/si_tr_s/01t/01to030v.wav")
    'si_tr_s/01t/01to030v'
    >>> utterance_key("/cd/11-1.1/WSJ0/SI_TR_S/01T/01TO030V.WV1")
    'si_tr_s/01t/01to030v'
    """
    *folders, name = str(path).lower().rsplit("/", 3)[-3:]
    return "/".join([*folders, name.rpartition(".")[0] or name])


def find_utterances(wsj0, wanted=None, kinds=KINDS):
    """Find the utterances below a folder, in whatever nesting of discs.

    Linked folders are followed, and names may be upper or lower case. Of an
    utterance that is there several times, the best kind is taken, and of
    one kind the first path.

    Arguments
    ---------
    wsj0 : str or Path
        Any folder above or at `si_tr_s`, `si_dt_05`, `si_et_05`.
    wanted : iterable, optional
        Paths as in the lists, or keys; all others are passed over.
    kinds : tuple
        Suffixes to take, best first.

    Returns
    -------
    dict
        `{"si_tr_s/01t/01to030v": Path, ...}`, see `utterance_key`.

    Raises
    ------
    UserError
        When there is no such folder.
    """
    found = find_files(wsj0, kinds)
    if wanted is not None:
        wanted = {utterance_key(path) for path in wanted}
        found = {key: found[key] for key in found.keys() & wanted}
    return {
        key: pathlib.Path(next(files[kind] for kind in kinds if kind in files))
        for key, files in found.items()
    }


def find_files(wsj0, kinds=(*KINDS, *SECOND_MICROPHONE), on_error=pass_over):
    """Find all files of the utterances below a folder.

    Arguments
    ---------
    wsj0, kinds
        See `find_utterances`.
    on_error : callable
        Gets the `OSError` of each folder that cannot be read.

    Returns
    -------
    dict
        `{"si_tr_s/01t/01to030v": {"wv1": path, "wv2": path}, ...}`; of one
        kind, the first path.

    Raises
    ------
    UserError
        When there is no such folder.
    """
    if not os.path.isdir(wsj0):
        raise UserError(f"{wsj0} is not a folder. Give the folder of WSJ0.")
    found = {}
    for path in walk(os.path.abspath(wsj0), on_error):
        kind = path.rpartition(".")[2].lower()
        if kind in kinds:
            files = found.setdefault(utterance_key(path), {})
            files[kind] = min(files.get(kind, path), path)
    return found


def locate(lists, index, wsj0):
    """Find the file of each utterance that the lists name.

    Arguments
    ---------
    lists : dict
        Of `read_lists`.
    index : dict
        Of `find_utterances`.
    wsj0 : str or Path
        The folder that the index is of.

    Returns
    -------
    dict
        `{"wsj0/si_tr_s/01t/01to030v.wav": Path, ...}`.

    Raises
    ------
    UserError
        When utterances are missing, or there from the second microphone only.
    """
    found, missing, first = look_up(lists, index, utterance_key)
    if missing:
        seconds = find_utterances(wsj0, missing, SECOND_MICROPHONE)
        hint = "Give the folder that holds all of WSJ0."
        if seconds:
            hint = (
                f"{len(seconds)} of them are there as .wv2 only, the second "
                "microphone: .wv1 is needed. Copy the .wv1 files too."
            )
        raise UserError(
            f"{wsj0} lacks {len(missing)} of the {len(found) + len(missing)} "
            f"utterances of the lists: {few(missing)} (first in {first}). "
            f"{hint}"
        )
    return found
