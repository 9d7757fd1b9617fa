"""Finding and reading model folders, here or on the Hugging Face Hub.

HyperPyYAML tags can run any program: of a stranger's hyperparams, only those
of known classes are let through.
"""

import contextlib
import logging
import pathlib
import re
import tempfile

import numpy as np
import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml.error import YAMLError
from speechbrain.utils.fetching import fetch
from yaml import YAMLError as PyYAMLError

from ..common.errors import UserError, first_line
from ..common.moved import with_new_names
from ..model.separator import Separator
from .model_folder import FITTED, NEEDED

logger = logging.getLogger(__name__)

# What comes with the package: a model, and a recording to try it on
PRETRAINED = pathlib.Path(__file__).parents[1] / "pretrained"
MODEL = PRETRAINED / "voices"
EXAMPLE = PRETRAINED / "example.flac"
REQUIRED = ("modules", "num_spks", "sample_rate")
KEPT = ("modules", *FITTED, *NEEDED)
KNOWN_CLASSES = frozenset(
    [
        "dpcl_dprnn.model.encoders.LearnedDecoder",
        "dpcl_dprnn.model.encoders.LearnedEncoder",
        "dpcl_dprnn.model.encoders.STFTDecoder",
        "dpcl_dprnn.model.encoders.STFTEncoder",
        "dpcl_dprnn.model.networks.BLSTMSeparator",
        "dpcl_dprnn.model.networks.DualPathSeparator",
        "dpcl_dprnn.model.networks.EmbeddingHead",
        "dpcl_dprnn.model.separator.Separator",
        "speechbrain.lobes.models.dual_path.DPTNetBlock",
        "speechbrain.lobes.models.dual_path.Decoder",
        "speechbrain.lobes.models.dual_path.Dual_Path_Model",
        "speechbrain.lobes.models.dual_path.Encoder",
        "speechbrain.lobes.models.dual_path.SBConformerEncoderBlock",
        "speechbrain.lobes.models.dual_path.SBRNNBlock",
        "speechbrain.lobes.models.dual_path.SBTransformerBlock",
        "speechbrain.utils.parameter_transfer.Pretrainer",
    ]
)
REFERENCES = ("!ref", "!copy")
PLAIN = "tag:yaml.org,2002:"
PLAIN_TYPES = ("map", "seq", "str", "int", "float", "bool", "null", "merge")
PRETRAINER = "!new:speechbrain.utils.parameter_transfer.Pretrainer"


@contextlib.contextmanager
def find_files(source, names, savedir=None):
    """The paths of files of a folder; or of `user/name` on the Hub or a URL.

    What is fetched goes to `savedir`. By default that is the cache, or for a
    URL a folder that is removed after the block.
    """
    with tempfile.TemporaryDirectory(prefix="dpcl_dprnn-") as scratch:
        if savedir is None and "://" in str(source):  # SpeechBrain needs one
            savedir = scratch
        yield [_find_file(source, name, savedir) for name in names]


def _find_file(source, name, savedir):
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
        Whether to build known classes only.

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
        if not missing and not (
            isinstance(hparams["modules"], dict)
            and isinstance(hparams["modules"].get("separator"), Separator)
        ):
            missing = ["modules: separator"]
        if missing:
            raise UserError(
                f"{path} has no {missing[0]}: it is no model of this kind."
            )
        _check_values(hparams, path)
        # Not SpeechBrain's run options, which decide how the program runs.
        return {key: hparams[key] for key in KEPT if key in hparams}
    except (YAMLError, PyYAMLError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"{path} is damaged: {line}. Copy it again.") from error
    except UserError:
        raise
    except Exception as error:  # whatever the file may hold
        raise UserError(
            f"{path} is damaged, or not of this version: {first_line(error)}."
        ) from error


def _check_values(hparams, path):
    """Refuse values whose failure, later on, would not name them."""
    count = hparams["num_spks"]
    gains = hparams.get("output_gains") or []
    counting = hparams.get("speaker_counting") or []
    if np.shape(counting) == (count - 1, 2):
        logger.warning(
            "%s: how to count speakers is of an earlier version, and left out; "
            "train.py --test_only of its run fits it anew.",
            path,
        )
        counting = hparams["speaker_counting"] = []
    lines = hparams.get("expected_improvement", {})
    fits = {
        "num_spks": isinstance(count, int) and count > 0,
        "sample_rate": isinstance(hparams["sample_rate"], int)
        and hparams["sample_rate"] > 0,
        "output_gains": np.shape(gains) in ((0,), (count,)),
        "speaker_counting": not counting or np.shape(counting)[:-1] == (count,),
        "kmeans": isinstance(hparams.get("kmeans", {}), dict),
        "best_head": hparams.get("best_head", "") in ("", "masks", "kmeans"),
        "expected_improvement": isinstance(lines, dict)
        and all(np.shape(line) == (2,) for line in lines.values())
        and np.isfinite(np.array([*lines.values()], float)).all(),
    }
    np.isfinite(gains), np.isfinite(counting)  # fail if they are no numbers
    for key, fit in fits.items():
        if not fit:
            raise UserError(
                f"{path}: {key} is {hparams[key]!r}, which does not fit this "
                "model. Export it again."
            )


class _SafeLoader(ruamel.yaml.SafeLoader):
    """Lets HyperPyYAML teach it known classes only.

    The rule is kept where objects are made, so that no way of writing a tag
    gets round it.
    """

    @classmethod
    def add_constructor(cls, tag, constructor):
        """Not that of tuples: it runs Python tags within them."""
        if tag != "!tuple":
            super().add_constructor(tag, constructor)

    @classmethod
    def add_implicit_resolver(cls, tag, regexp, first=None, **options):
        """Nor does a text in parentheses stand for a tuple."""
        if tag != "!tuple":
            super().add_implicit_resolver(tag, regexp, first, **options)

    @classmethod
    def add_multi_constructor(cls, tag_prefix, multi_constructor):
        """Only of classes, each of which is looked at once more."""

        def _construct(loader, name, node):
            tag = _unsafe_tag(node)
            if tag:
                raise UserError(f"The hyperparams: {_refusal(tag)}")
            return multi_constructor(loader, name, node)

        if tag_prefix in ("!new:", "!name:"):
            super().add_multi_constructor(tag_prefix, _construct)


def load_known(text, path, overrides=None):
    """Build what a HyperPyYAML text describes, if it has known classes only.

    Arguments
    ---------
    text : str
        The content of the file.
    path : str or Path
        Its name, for errors.
    overrides : dict, optional
        Keys to set.

    Returns
    -------
    dict

    Raises
    ------
    UserError
        Names the first tag that could do something else, and its line.

    Example
    -------
    >>> load_known("a: 1\\nb: !ref <a> + 1", "x.yaml")
    {'a': 1, 'b': 2}
    >>> load_known("a: !apply:os.getcwd []", "x.yaml")
    Traceback (most recent call last):
    dpcl_dprnn.common.errors.UserError: x.yaml, line 1: the tag !apply:os.getcwd could run any program, and is not one of this package's or SpeechBrain's known classes. If you trust where the model comes from, say so: --trust_model, or safe=False in Python.
    """
    _check_tags(text, path)
    # What references make of it is left to the loader.
    return load_hyperpyyaml(text, overrides, False, _SafeLoader)


def _check_tags(text, path):
    """Refuse every tag but references and known classes."""
    root = ruamel.yaml.Loader(text).get_single_node()
    waiting, seen = [root] if root else [], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        tag = _unsafe_tag(node)
        if tag:
            line = node.start_mark.line + 1
            raise UserError(f"{path}, line {line}: {_refusal(tag)}")
        if isinstance(node, ruamel.yaml.MappingNode):
            waiting += [part for pair in reversed(node.value) for part in pair]
        elif isinstance(node, ruamel.yaml.SequenceNode):
            waiting += reversed(node.value)


def _refusal(tag):
    return (
        f"the tag {tag} could run any program, and is not one of this "
        "package's or SpeechBrain's known classes. If you trust where the "
        "model comes from, say so: --trust_model, or safe=False in Python."
    )


def _unsafe_tag(node):
    """The tag of a node if it is not to be let through, or None."""
    tag = str(node.tag or "")
    if isinstance(node, ruamel.yaml.ScalarNode):
        # HyperPyYAML reads the inside of "(...)" with a loader that runs
        # Python tags.
        if tag == "!tuple" or re.match(r"\s*\(", node.value):
            return f"!tuple {node.value}"
    kind, _, name = tag.partition(":")
    if kind in ("!new", "!name") and name in KNOWN_CLASSES:
        # It could be told to fetch files, or to load them by a function.
        keys = [key.value for key, _ in _pairs(node)]
        extra = tag == PRETRAINER and (not keys or keys != ["loadables"])
        return f"{tag} with {' and '.join(keys)}" if extra else None
    if tag in REFERENCES and "**" not in str(node.value):
        return None
    if tag.startswith(PLAIN) and tag.removeprefix(PLAIN) in PLAIN_TYPES:
        return None
    return tag.replace(PLAIN, "!!") or "!"


def _pairs(node):
    return node.value if isinstance(node, ruamel.yaml.MappingNode) else ()
