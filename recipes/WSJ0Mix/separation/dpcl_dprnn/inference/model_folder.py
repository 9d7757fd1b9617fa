"""Model folders: a trained separator that stands alone, ready for the Hub.

    hyperparams.yaml   what to build, in HyperPyYAML
    separator.ckpt     its weights
    README.md          the model card

after SpeechBrain's conventions for pretrained models.
"""

import datetime
import importlib.metadata
import io
import pathlib
import re
import shutil

import torch
from hyperpyyaml.core import recursive_update
from ruamel.yaml import YAML

from .. import __version__
from ..common.files import atomic_path, write_text

HPARAMS, WEIGHTS, CARD = "hyperparams.yaml", "separator.ckpt", "README.md"
NEEDED = (
    "separator",
    "sample_rate",
    "num_spks",
    "threshold_db",
    "kmeans",
    "mixture_consistency",
)
# Of an `unmixer.Unmixer`, which `calibration.calibrated` finds
FITTED = (
    "output_gains",
    "speaker_counting",
    "best_head",
    "expected_improvement",
)
ENDING = """
# Fitted to the validation data: the scale of the outputs; how to count
# speakers: for 1, 2, ... the offset and the weights of its logit; the head that
# separated better; and for each head the slope and intercept of the SI-SNRi
# that is to be expected, in dB, over the cosine of the voices' mean embeddings
output_gains: {output_gains}
speaker_counting: {speaker_counting}
best_head: "{best_head}"
expected_improvement: {expected_improvement}

modules:
    separator: !ref <separator>

pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        separator: !ref <separator>
"""
NAMES = {"masks": "mask head", "kmeans": "embedding head, k-means"}
CARD_TEXT = """---
library_name: speechbrain
license: {licence}
pipeline_tag: audio-to-audio
tags:
- speechbrain
- speech-separation
- source-separation
- deep-clustering
- dual-path-rnn
metrics:
- SI-SNRi
- SDRi
---

# {experiment}

Trained to separate up to {num_spks} people who talk at once on one microphone, at {sample_rate} Hz.
Trained with the recipe "speech separation with deep clustering and dual-path RNNs", version {version}.

```python
from dpcl_dprnn.inference import SpeechSeparator

separator = SpeechSeparator.from_hparams(source="PATH OF THIS FOLDER")
voices = separator.separate_file("mixture.wav")  # [1, samples, speakers]
```

| | |
|---|---|
| training data | {data} |
| parameters | {parameters:,} |
| epoch | {epoch} |
| seed | {seed} |
| counts speakers | {counts} |
| head by default | {best} |
| licence | {licence} |
| versions | dpcl-dprnn {version}, speechbrain {speechbrain}, torch {torch} |
| made on | {date} |

## Scores on the test set, mean (s.d.)

{scores}

The improvements (SI-SNRi, SDRi) are over the mixture, in dB.
The weights carry what the training data allow: check their licence before you share them.
"""


def export_model(
    folder, hparams_text, overrides, unmixer, about, dtype="float32"
):
    """Write a model folder, whole or not at all.

    Arguments
    ---------
    folder : str or Path
        Where; a model folder that is there is replaced.
    hparams_text : str
        The hparams file of training.
    overrides : str
        YAML of the keys that were set on the command line.
    unmixer : unmixer.Unmixer
        With the trained separator.
    about : dict
        For the card: what `summary.json` has.
    dtype : str
        Of the weights: "float32" or "float16".
    """
    folder = pathlib.Path(folder)
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    counting, heads = unmixer.speaker_counting, unmixer.heads
    text = inference_hparams(hparams_text, overrides, unmixer)
    write_text(fresh / HPARAMS, text)
    write_text(fresh / CARD, model_card(about, counting, heads[0]))
    state = {
        name: weights.to("cpu", getattr(torch, dtype))
        for name, weights in unmixer.separator.state_dict().items()
    }
    with atomic_path(fresh / WEIGHTS) as path:
        torch.save(state, path)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def inference_hparams(text, overrides, unmixer):
    """The part of an hparams file that inference needs.

    Arguments
    ---------
    text : str
        The hparams file of training.
    overrides : str
        YAML of the keys to set in it.
    unmixer : unmixer.Unmixer
        With what was fitted.

    Returns
    -------
    str
        HyperPyYAML: the keys that the separator is built of, as they stand
        in the file with their comments, and SpeechBrain's `modules` and
        `pretrainer`.

    Example
    -------
    >>> from dpcl_dprnn.unmixing.unmixer import Unmixer
    >>> print(inference_hparams('''
    ... size: 1  # m
    ... data: !PLACEHOLDER
    ... separator: !new:collections.Counter
    ...     a: !ref <size>
    ... ''', "size: 2", Unmixer(None, 2)).split("\\n\\n")[0])
    size: 2
    separator: !new:collections.Counter
        a: !ref <size>
    """
    yaml = YAML()
    tree = yaml.load(text)
    blocks = _blocks(text, tree)
    changes = yaml.load(overrides) or {}
    recursive_update(tree, changes)
    needed, waiting = set(), [name for name in NEEDED if name in tree]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            if name in changes:
                stream = io.StringIO()
                yaml.dump({name: tree[name]}, stream)
                blocks[name] = stream.getvalue()
            waiting += set(re.findall(r"<(\w+)[\[>]", blocks[name])) & set(tree)
    kept = "".join(block for name, block in blocks.items() if name in needed)
    fitted = {name: _rounded(getattr(unmixer, name)) for name in FITTED}
    return kept + ENDING.format(**fitted)


def _rounded(value):
    """The same with six digits of each number."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.6g}")


def _blocks(text, tree):
    """The text of each top-level key, with the comment lines above it."""
    lines, starts = text.splitlines(keepends=True), []
    for name in tree:
        start = tree.lc.key(name)[0]
        while start and lines[start - 1].startswith("#"):
            start -= 1
        starts.append(start - (start > 0 and not lines[start - 1].strip()))
    ends = [*starts[1:], len(lines)]
    return {
        name: "".join(lines[start:end])
        for name, start, end in zip(tree, starts, ends, strict=True)
    }


def model_card(about, counting=(), head="masks"):
    """The text of README.md, with the metadata that the Hub reads."""
    counts = f"1 to {len(counting)}" if counting else "no"
    data = [about.get(key) or "" for key in ("data_folder", "speech_folder")]
    folders = ", ".join(data).split(", ")
    names = [pathlib.Path(each).name for each in folders if each]
    facts = {
        "data": ", ".join(names) or "unknown",
        "counts": counts,
        "best": NAMES[head],
        "scores": _score_table(about["heads"]),
        "version": __version__,
        "speechbrain": importlib.metadata.version("speechbrain"),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }
    return CARD_TEXT.format(**about | facts)


def _score_table(heads):
    columns = list(next(iter(heads.values())))
    lines = [
        "| head | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for head, scores in heads.items():
        cells = [
            "undefined"
            if scores[name]["mean"] is None
            else f"{scores[name]['mean']:.2f} ({scores[name]['std']:.2f})"
            for name in columns
        ]
        lines.append(f"| {NAMES[head]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
