"""From the command line and a HyperPyYAML file to hparams, with errors that
the user can act on.
"""

import difflib
import re

import speechbrain as sb
import torch
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml.error import YAMLError

from .errors import UserError, first_line


def parse_command_line(argv):
    """Read the command line as SpeechBrain does, mended in two places.

    SpeechBrain splits values that hold an "="; here they stay whole. Where
    there is no GPU, the CPU is the default.

    Arguments
    ---------
    argv : list of str
        The command line after the program's name.

    Returns
    -------
    hparams_file : str
    run_opts : speechbrain.utils.run_opts.RunOptions
    overrides : str
        YAML.
    """
    whole = [a for a in argv if a.startswith("--") and a.count("=") > 1]
    rest = [a for a in argv if a not in whole]
    on_cpu = "--device=cpu" in argv or "--device cpu" in " ".join(argv)
    if on_cpu or not torch.cuda.is_available():
        # First, so that what the user says comes later and wins.
        rest = ["--device=cpu", "--distributed_backend=gloo", *rest]
    hparams_file, run_opts, overrides = sb.parse_arguments(rest)
    for argument in whole:
        key, value = argument[2:].split("=", 1)
        overrides += f"\n{key}: {value}"
    return hparams_file, run_opts, overrides


def load_hparams(path, overrides):
    """Read a HyperPyYAML file.

    Arguments
    ---------
    path : str
        The file.
    overrides : str
        YAML of the keys to set.

    Returns
    -------
    dict

    Raises
    ------
    UserError
        When the file or an override is not valid, an override is not a key
        of the file, or a key that has to be given is not.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return load_hyperpyyaml(file, overrides)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except KeyError as error:
        raise UserError(explain_unknown_key(str(error), path)) from error
    except ValueError as error:
        key = re.match("'(.*)' is a !PLACEHOLDER", str(error))
        if key is None:
            raise UserError(f"{path}: {error}") from error
        raise UserError(
            f"{path} does not know {key[1]}. Add --{key[1]}=... to the "
            "command line."
        ) from error
    except TypeError as error:  # of a constructor that the file names
        raise UserError(
            f"{path} or an override of it: {first_line(error)}"
        ) from error
    except YAMLError as error:
        line = " ".join(str(error).split())
        raise UserError(f"{path} or an override of it: {line}") from error


def explain_unknown_key(message, path):
    """Name the override that is not a key, and keys that look like it."""
    quoted = re.findall("'([^']*)'", message)
    if not quoted:
        return f"{path}: {message}"
    unknown, *keys = quoted
    close = difflib.get_close_matches(unknown, keys)
    hint = (
        f"Did you mean {' or '.join(close)}?"
        if close
        else (f"See the top-level keys of {path}.")
    )
    return f"--{unknown} is neither a key of {path} nor a run option. {hint}"
