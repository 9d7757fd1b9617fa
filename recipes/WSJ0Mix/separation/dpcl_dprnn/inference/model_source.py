"""Finding and reading model folders, here or on the Hugging Face Hub."""

import pathlib
import re
import tempfile

import numpy as np
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml.error import YAMLError
from speechbrain.utils.fetching import fetch
from yaml import YAMLError as PyYAMLError

from ..common.errors import UserError, first_line
from ..common.moved import with_new_names
from ..model.separator import Separator
from .safety import load_known

REQUIRED = ("modules", "num_spks", "sample_rate")
OPTIONAL = (
    "threshold_db",
    "kmeans",
    "mixture_consistency",
    "output_gains",
    "speaker_counting",
)


def find_file(source, name, savedir):
    """The path of a file of a model folder, or of one on the Hub.

    Arguments
    ---------
    source : str or Path
        A folder; or `user/name` or a URL, where there is no such folder.
    name : str
    savedir : str, optional
        Where to put what is fetched.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    UserError
        When there is no such file.
    """
    folder = pathlib.Path(source).expanduser()
    if folder.is_dir():
        if not (folder / name).is_file():
            raise UserError(
                f"The model folder {source} has no {name}. Copy it whole, as "
                "training leaves it in OUTPUT_FOLDER/model."
            )
        return folder / name
    if not re.fullmatch(r"[\w.-]+/[\w.-]+|https?://.+", str(source)):
        raise UserError(
            f"{source} is not a folder. Give a model folder, such as "
            "OUTPUT_FOLDER/model."
        )
    try:
        if savedir is None and "://" in str(source):
            savedir = tempfile.mkdtemp(prefix="dpcl_dprnn-")
        if savedir is None and "://" in str(source):  # SpeechBrain needs one
            savedir = tempfile.mkdtemp(prefix="dpcl_dprnn-")
        return fetch(name, source=source, savedir=savedir)
    except Exception as error:  # of the network, of many kinds
        raise UserError(
            f"{source} is not a folder here, and {name} could not be fetched "
            f"from the network: {first_line(error)}."
        ) from error


def load_hparams(path, overrides, safe):
    """Build what the hparams file of a model folder describes.

    Arguments
    ---------
    path : str or Path
    overrides : dict, optional
        Keys to set.
    safe : bool
        Whether to build known classes only, see `safety`.

    Returns
    -------
    dict

    Raises
    ------
    UserError
        When the file is damaged, not of this kind, or not safe.
    """
    try:
        text = with_new_names(pathlib.Path(path).read_text(encoding="utf-8"))
        if safe:
            hparams = load_known(text, path, overrides)
        else:
            hparams = load_hyperpyyaml(text, overrides)
        missing = [key for key in REQUIRED if key not in hparams]
        if not missing and not _has_separator(hparams["modules"]):
            missing = ["modules: separator"]
        if missing:
            raise UserError(
                f"{path} has no {missing[0]}: it is no model of this kind."
            )
        _check_values(hparams, path)
        # Not SpeechBrain's run options, which decide how the program runs.
        keys = (*REQUIRED, *OPTIONAL)
        return {key: hparams[key] for key in keys if key in hparams}
    except (YAMLError, PyYAMLError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"{path} is damaged: {line}. Copy it again.") from error
    except UserError:
        raise
    except Exception as error:  # whatever the file may hold
        raise UserError(
            f"{path} is damaged, or not of this version: {first_line(error)}."
        ) from error


def _has_separator(modules):
    return isinstance(modules, dict) and isinstance(
        modules.get("separator"), Separator
    )


def _check_values(hparams, path):
    """Refuse values whose failure, later on, would not name them."""
    count = hparams["num_spks"]
    gains = hparams.get("output_gains") or []
    boundaries = hparams.get("speaker_counting") or []
    fits = {
        "num_spks": isinstance(count, int) and count > 0,
        "sample_rate": isinstance(hparams["sample_rate"], int)
        and hparams["sample_rate"] > 0,
        "output_gains": np.shape(gains) in ((0,), (count,)),
        "speaker_counting": np.shape(boundaries) in ((0,), (count - 1, 2)),
        "kmeans": isinstance(hparams.get("kmeans", {}), dict),
    }
    np.isfinite(gains), np.isfinite(boundaries)  # fail if they are no numbers
    for key, fit in fits.items():
        if not fit:
            raise UserError(
                f"{path}: {key} is {hparams[key]!r}, which does not fit this "
                "model. Export it again."
            )
