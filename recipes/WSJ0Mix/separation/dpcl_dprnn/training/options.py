"""From the command line and a HyperPyYAML file to hparams, with errors that
the user can act on.
"""

import difflib
import importlib.util
import logging
import math
import os
import pathlib
import re

import speechbrain as sb
import torch
import yaml
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.run_opts import RunOptions

from ..common.distributed import on_main
from ..common.errors import UserError, first_line
from ..common.moved import moved_names, with_new_names
from .machine import reuse_memory
from .resuming import Settings

# Numbers from the first to the second: whole ones, or null, where that is said
RANGES = {
    "num_spks": (1, math.inf, "whole"),
    "sample_rate": (1, math.inf, "whole"),
    "batch_size": (1, math.inf, "whole"),
    "seed": (0, math.inf, "whole"),
    "training_crop": (1e-9, math.inf),
    "max_batch_seconds": (1e-9, math.inf, "null"),
    "lr": (0, math.inf),
    # SpeechBrain would turn the gradients around by a negative one.
    "max_grad_norm": (1e-9, math.inf),
    "grad_accumulation_factor": (1, math.inf, "whole"),
    "warmup_steps": (0, math.inf),
    "lr_fall": (0, 1),
    "clip_quantile": (0, 1, "null"),
    "average_decay": (1e-9, 1 - 1e-9, "null"),
    "max_minutes": (1e-9, math.inf, "null"),
    "total_steps": (1, math.inf),
    "number_of_epochs": (1, math.inf),
}
DTYPES = ("float32", "float16")  # of exported weights
NEEDED = ("num_spks", "sample_rate", "batch_size", "seed", "training_crop")
# What a reference raises, or what a file builds
BROKEN = (AttributeError, ImportError, KeyError, TypeError, ValueError)
# Run options that are as good as hparams
TRAINED_WITH = (
    "precision",
    "max_grad_norm",
    "grad_accumulation_factor",
    "remove_vector_weight_decay",
)


def begin(argv):
    """Begin a run, or go on with one.

    Joins the other processes, reads and checks the hparams and SpeechBrain's
    run options, and refuses to go on with others than the run began with.

    Arguments
    ---------
    argv : list of str
        The command line after the program's name.

    Returns
    -------
    hparams_file : str
    hparams : dict
    run_opts : speechbrain.utils.run_opts.RunOptions
    settings : resuming.Settings

    Raises
    ------
    UserError
    """
    hparams_file, run_opts, overrides = parse_command_line(argv)
    if run_opts.debug and "WORLD_SIZE" in os.environ:
        raise UserError("--debug runs in one process: leave out torchrun.")
    try:
        sb.utils.distributed.ddp_init_group(run_opts)
    except ValueError as error:  # more processes than GPUs
        raise UserError(first_line(error)) from error
    if run_opts.device == "cpu":
        reuse_memory()
    hparams, overrides = load_hparams(hparams_file, overrides)
    text = pathlib.Path(hparams_file).read_text(encoding="utf-8")
    given = run_opts.overridden_args
    force = {
        name: run_opts[name]
        if name in given
        else hparams.get(name, run_opts[name])
        for name in TRAINED_WITH
    }
    settings = Settings(text, overrides, force)
    if not (run_opts.test_only or run_opts.debug):
        on_main(settings.check, checkpointer=hparams["checkpointer"])
    settle_run_options(hparams, run_opts, force)
    return hparams_file, hparams, run_opts, settings


def open_loggers(text_logger, extra, folder):
    """SpeechBrain's loggers of an experiment's folder, on the main process.

    The first is made by `text_logger`. An extra one, "tensorboard" or "wandb",
    that is not known or not installed is a `UserError`.
    """
    if extra not in (None, "tensorboard", "wandb"):
        raise UserError(
            f"extra_logger is {extra!r}; it may be null, tensorboard or wandb."
        )
    if extra and importlib.util.find_spec(extra) is None:
        raise UserError(
            f"extra_logger: {extra} is not installed. Run pip install {extra}."
        )
    if not if_main_process():
        return []
    loggers = [text_logger()]
    if extra == "tensorboard":
        loggers.append(_Tensorboard(f"{folder}/tensorboard"))
    if extra == "wandb":
        import wandb
        from speechbrain.utils.train_logger import WandBLogger

        name = "-".join(pathlib.Path(folder).parts[-2:])
        options = {"project": "dpcl_dprnn", "dir": folder, "name": name}
        # A run that goes on after a stop is one run there too.
        options |= {"id": name, "resume": "allow"}
        loggers.append(WandBLogger(wandb.init, **options))
    return loggers


class _Tensorboard:
    """SpeechBrain's, which counts calls, with the number of the epoch, that
    goes on where a run does.
    """

    def __init__(self, folder):
        from speechbrain.utils.train_logger import TensorboardLogger

        self.logger = TensorboardLogger(folder)

    def log_stats(self, meta, train_stats=None, valid_stats=None, **test):
        """As SpeechBrain's loggers do."""
        before = meta.get("epoch", meta.get("epoch loaded")) - 1
        stats = {"train_stats": train_stats, "valid_stats": valid_stats, **test}
        self.logger.global_step = {"meta": before} | {
            name.removesuffix("_stats"): dict.fromkeys(part or (), before)
            for name, part in stats.items()
        }
        self.logger.log_stats(meta, **stats)


def parse_command_line(argv):
    """Read the command line as SpeechBrain does, mended in some places.

    SpeechBrain splits values that hold an "=", which stay whole here, and
    trips over a key that is given twice, of which the last one counts here,
    and over `--remove_vector_weight_decay=False` where the file has it True.
    Where there is no GPU, the CPU is the default; a GPU that is asked for and
    not there is a `UserError`.

    Returns
    -------
    hparams_file : str
    run_opts : speechbrain.utils.run_opts.RunOptions
    overrides : str
        YAML.
    """
    whole = [a for a in argv if a.startswith("--") and a.count("=") > 1]
    # SpeechBrain's flags know no "=False" to set back what the file sets.
    whole += [a for a in argv if a.endswith("=False") and _is_flag(a)]
    rest = [a for a in argv if a not in whole]
    no_gpu = not torch.cuda.is_available()
    if no_gpu or sb.parse_arguments(rest)[1].device == "cpu":
        # First, so that what the user says comes later and wins.
        rest = ["--device=cpu", "--distributed_backend=gloo", *rest]
    hparams_file, run_opts, overrides = sb.parse_arguments(rest)
    if no_gpu and run_opts.device.startswith("cuda"):
        raise UserError(
            f"--device={run_opts.device}: PyTorch finds no GPU here. Use "
            "--device=cpu, or install a PyTorch that fits the GPU's driver."
        )
    lines = [line for line in overrides.split("\n") if line]
    lines += [argument[2:].replace("=", ": ", 1) for argument in whole]
    last = {line.split(":", 1)[0]: line for line in lines}
    return hparams_file, run_opts, "\n".join(last.values())


def _is_flag(argument):
    """Whether an argument sets one of SpeechBrain's options of no value."""
    name = argument.removeprefix("--").partition("=")[0]
    return isinstance(RunOptions().as_dict().get(name), bool)


def load_hparams(path, overrides, data=None):
    """Read a HyperPyYAML file.

    Returns the hparams and the overrides, YAML, to which an empty `data_folder`
    is added where a `speech_folder` does; or `data`, if it is given, for either
    folder that the user would have to give. A file or an override that is
    not valid, or a key that is missing, is a `UserError`.
    """
    # Of plots, that are not made. Its level would not do: SpeechBrain sets it.
    logging.getLogger("speechbrain.utils.train_logger").addFilter(
        lambda record: "torchvision" not in record.getMessage()
    )
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {path}: {error}.") from error
    try:
        keys, changes = YAML().load(text), YAML().load(overrides) or {}
        _check_keys(keys, changes, path)
        settings = {**keys, **changes}
        folders = ("data_folder", "speech_folder")
        missing = [key for key in folders if _to_be_given(settings.get(key))]
        given = {}
        if data is not None:
            given = dict.fromkeys(missing, data)
        elif settings.get("speech_folder") and "data_folder" in missing:
            given = {"data_folder": ""}
        settings |= given
        overrides += "".join(f'\n{key}: "{given[key]}"\n' for key in given)
        _check_values(settings, path)
        for old in moved_names(f"{text}\n{overrides}"):
            raise UserError(
                f"{path} names {old}, which is now {with_new_names(old)}. "
                "Change it there."
            )
        return load_hyperpyyaml(text, overrides), overrides
    except (YAMLError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"{path} or an override of it: {line}") from error
    except OSError as error:
        raise UserError(
            f"Cannot write to {error.filename} ({error.strerror}). Choose "
            "another --output_folder."
        ) from error
    except BROKEN as error:
        raise UserError(_explain(error, path)) from error


def _to_be_given(value):
    """Whether a value of a HyperPyYAML file is to be given by the user."""
    tag = getattr(value, "tag", None)
    return getattr(tag, "value", None) == "!PLACEHOLDER"


def _check_keys(keys, overrides, path, within=""):
    """Refuse overrides of keys that the file does not have.

    What is handed on to a library as it is, such as the options of a
    dataloader, may have more keys than the file.
    """
    for key, value in overrides.items():
        if key not in keys:
            close = difflib.get_close_matches(str(key), map(str, keys))
            raise UserError(
                f"--{within}{key} is neither a key of {path} nor a run "
                "option. "
                + (
                    f"Did you mean {' or '.join(close)}?"
                    if close
                    else f"The keys are {', '.join(map(str, keys))}."
                )
            )
        nested = isinstance(value, dict) and isinstance(keys[key], dict)
        if nested and not str(key).endswith("_opts"):
            _check_keys(keys[key], value, path, f"{within}{key}.")


def _explain(error, path):
    """One line on what HyperPyYAML, or a class that it built, found wrong."""
    message = first_line(error.args[-1] if error.args else error)
    missing = re.match("'(.*)' is a !PLACEHOLDER", message)
    if missing:
        key = missing[1]
        other = " or --speech_folder=..." if key == "data_folder" else ""
        return (
            f"{path} needs {key}. Add --{key}=...{other} to the command line."
        )
    return f"{path} or an override of it: {message}"


def _check_values(settings, path):
    """Refuse values whose failure, later on, would not name them."""
    for key in RANGES:
        if key in settings or key in NEEDED:
            _check_range(key, settings.get(key), path)
    if settings.get("speech_folder") and not settings.get("speech_cache"):
        raise UserError(
            "speech_cache is empty. Name a folder for the decoded speech."
        )
    if not (settings.get("data_folder") or settings.get("speech_folder")):
        raise UserError(
            "--data_folder is empty. Name the folder of the mixtures, or a "
            "folder of speakers with --speech_folder."
        )


def _check_range(key, value, path):
    """Refuse what is not one of the numbers of `RANGES`."""
    lowest, highest, *more = RANGES[key]
    if hasattr(value, "tag") or (value is None and "null" in more):
        return  # a reference, not yet a value; or none
    kind = int if "whole" in more else int | float
    number = isinstance(value, kind) and not isinstance(value, bool)
    if not number or not lowest <= value <= highest:
        limit = f"from {lowest:.0f} to {highest:.0f}"
        if highest == math.inf:
            limit = "above 0" if lowest else "of 0 or more"
        raise UserError(
            f"{key} is {value!r} in {path} or on the command line; a "
            f"{'whole ' if 'whole' in more else ''}number {limit} is "
            f"needed{', or null' if 'null' in more else ''}."
        )


def settle_run_options(hparams, run_opts, force):
    """Check and mend SpeechBrain's run options, as far as it would not.

    Of two intervals of checkpoints, which it refuses, the one on the command
    line is left. `force` has the options in force that training depends on.
    """
    for key in ("grad_accumulation_factor", "max_grad_norm"):
        _check_range(key, force[key], run_opts.param_file)
    if force["precision"] == "fp16" and run_opts.device == "cpu":
        raise UserError(
            "--precision=fp16 is for GPUs. Use bf16 or fp32 on a CPU."
        )
    given = run_opts.overridden_args
    if "optimizer_step_limit" in given:  # it takes it as text
        try:
            run_opts.optimizer_step_limit = int(run_opts.optimizer_step_limit)
        except ValueError as error:
            raise UserError(
                f"optimizer_step_limit is {run_opts.optimizer_step_limit!r}; a "
                "whole number is needed."
            ) from error
    intervals = ("ckpt_interval_minutes", "ckpt_interval_steps")
    for one, other in (intervals, intervals[::-1]):
        if one in given and other not in given and other in hparams:
            hparams[other] = 0


def check_evaluation(hparams):
    """Refuse to have voices sum to mixtures that are more than their sources,
    and weights of an unknown kind.
    """
    live = hparams["dynamic_mixing"] if hparams["speech_folder"] else {}
    more = hparams["mixture_type"] == "both" or (
        live.get("noise_folder")
        or live.get("codec_probability")
        or (live.get("room_folder") and live.get("room_target_ms") is not None)
    )
    if more and hparams["mixture_consistency"]:
        raise UserError(
            "The mixtures are more than the sum of their sources (noise, "
            "echoes, codecs), which mixture_consistency would put into the "
            "voices. Set --mixture_consistency=False."
        )
    if hparams["model_dtype"] not in DTYPES:
        raise UserError(
            f"model_dtype is {hparams['model_dtype']!r}; it may be "
            f"{' or '.join(DTYPES)}."
        )
