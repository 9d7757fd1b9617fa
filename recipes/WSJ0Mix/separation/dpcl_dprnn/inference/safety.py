"""Opening a stranger's hyperparams file: HyperPyYAML tags can run any program,
so that only those of known classes are let through.
"""

import io
import re

import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml, resolve_references

from ..common.errors import UserError

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
        """Nor does "(...)" stand for a tuple."""
        if tag != "!tuple":
            super().add_implicit_resolver(tag, regexp, first, **options)

    @classmethod
    def add_multi_constructor(cls, tag_prefix, multi_constructor):
        """Only of classes, each of which is looked at once more."""

        def construct(loader, name, node):
            tag = _unsafe_tag(node)
            if tag:
                raise UserError(f"The hyperparams: {_refusal(tag)}")
            return multi_constructor(loader, name, node)

        if tag_prefix in ("!new:", "!name:"):
            super().add_multi_constructor(tag_prefix, construct)


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
    check_tags(text, path)
    resolved = resolve_references(text, overrides).getvalue()
    # Again: references put values in other places, and without their quotes.
    check_tags(resolved, path)
    return load_hyperpyyaml(io.StringIO(resolved), loader=_SafeLoader)


def check_tags(text, path):
    """Refuse every tag but references and known classes.

    Arguments
    ---------
    text : str
        YAML.
    path : str or Path
        Its name, for errors.

    Raises
    ------
    UserError
        Names the tag and its line.
    """
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
