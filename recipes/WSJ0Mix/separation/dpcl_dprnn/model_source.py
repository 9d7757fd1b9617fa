"""Finding and reading model folders, here or on the Hugging Face Hub."""

import pathlib
import re

from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml.error import YAMLError
from speechbrain.utils.fetching import fetch
from yaml import YAMLError as PyYAMLError

from .errors import UserError, first_line
from .safety import load_known

REQUIRED = ("modules", "num_spks", "sample_rate")


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
        text = pathlib.Path(path).read_text(encoding="utf-8")
        if safe:
            hparams = load_known(text, path, overrides)
        else:
            hparams = load_hyperpyyaml(text, overrides)
        missing = [key for key in REQUIRED if key not in hparams]
        if missing or "separator" not in hparams["modules"]:
            key = missing[0] if missing else "modules: separator"
            raise UserError(
                f"{path} has no {key}: it is no model of this kind."
            )
        return hparams
    except (YAMLError, PyYAMLError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"{path} is damaged: {line}. Copy it again.") from error
    except (
        AttributeError,
        ImportError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        raise UserError(f"{path}: {first_line(error)}.") from error
