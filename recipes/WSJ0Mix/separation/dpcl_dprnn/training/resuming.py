"""The hparams that a run began with: it goes on with the same, or not at all."""

import json

from hyperpyyaml.core import recursive_update
from ruamel.yaml import YAML
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)

from ..common.errors import UserError, few
from ..common.moved import with_new_names

# Keys that say where things lie, how long to go on or what to do afterwards:
# a run may go on with others.
FREE = set(
    """
    experiment_name output_folder save_folder train_log data_folder
    train_data valid_data test_data skip_prep speech_folder speech_cache
    pretrained num_workers recompute number_of_epochs total_steps max_minutes
    ckpt_interval_minutes ckpt_interval_steps nonfinite_patience
    chunk_cuts early_stopping_epochs valid_dataloader_opts test_dataloader_opts
    scoring_workers mixture_consistency perceptual_scores num_audio kmeans
    speaker_info model_licence model_dtype eval_precision train_logger extra_logger
    checkpointer
    """.split()
)
# Keys that came later, with what they were as good as before
LATER = {
    "dynamic_mixing.telephone_probability": 0.0,
    "dynamic_mixing.codec_probability": 0.0,
    "dynamic_mixing.speaker_level": 0,
    "dynamic_mixing.same_folder": 0.0,
    "loss_weights.level": 0.0,
    "mask_activation": "relu",
    "model.mask_activation": "<mask_activation>",
    "model.mask_activation.tag": "!ref",
}
# Keys that went: what they did is asked for by others today
GONE = ("loss_weights.silence",)
# What is built of other keys
BUILT = {"prepare", "file_datasets", "live_datasets", "unmixer", "evaluation"}
ORDER = ("batch_size", "shuffle", "drop_last")  # of the training data


@register_checkpoint_hooks
class Settings:
    """The hparams that a run began with, kept in its checkpoints.

    Arguments
    ---------
    hparams_text : str
        The hparams file.
    overrides : str
        YAML of the keys that were set on the command line.
    run_options : dict, optional
        Of SpeechBrain's, as they are in force, that are as good as hparams.

    Example
    -------
    >>> Settings("lr: 0.1\\nmodel: {layers: 2}", "lr: 0.2").values
    {'lr': 0.2, 'model.layers': 2}
    """

    def __init__(self, hparams_text, overrides="", run_options=None):
        tree = YAML().load(hparams_text)
        recursive_update(tree, YAML().load(overrides) or {})
        tree.update(run_options or {})
        self.values = dict(flat(tree))
        self.text, self.overrides = hparams_text, overrides

    @mark_as_saver
    def save(self, path):
        """Write them as JSON."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.values, file, indent=1)

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Leave them as they are: `check` is called before."""

    def check(self, checkpointer):
        """Refuse to go on with other settings than those of the checkpoint: a
        `UserError` names the keys, with the values of then and now.
        """
        folder = checkpointer.newest_whole()
        if folder is None or not (folder / "settings.ckpt").exists():
            return
        text = (folder / "settings.ckpt").read_text("utf-8")
        then = json.loads(with_new_names(text))
        then = {k: v for k, v in LATER.items() if k in self.values} | then
        then = {k: v for k, v in then.items() if k not in GONE}
        changed = [
            f"{key} (was {then.get(key)!r}, is {self.values.get(key)!r})"
            for key in sorted({*then, *self.values})
            if then.get(key) != self.values.get(key) and not is_free(key)
        ]
        if changed:
            save = checkpointer.checkpoints_dir
            raise UserError(
                f"The run in {save.parent} began with other hparams: "
                f"{few(changed, 10)}. Set them as they were to go on with "
                "it, or choose another --output_folder; there "
                f"--pretrained={save} starts from its weights."
            )


def flat(tree, prefix=""):
    """The leaves of a tree of YAML with their paths; tags are text."""
    tag = getattr(getattr(tree, "tag", None), "value", None)
    if tag and prefix:
        yield f"{prefix}tag", tag
    if isinstance(tree, dict | list):
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in pairs:
            yield from flat(value, f"{prefix}{key}.")
    else:
        yield prefix.rstrip("."), getattr(tree, "value", tree)


def is_free(key):
    """Whether a run may go on with another value of a key."""
    first, _, rest = key.partition(".")
    if first == "model":
        return rest.partition(".")[0] in ("recompute", "cuts")
    if first == "dynamic_mixing":
        return rest in ("valid", "test")
    if first == "train_dataloader_opts":
        return rest not in ORDER
    return first in FREE | BUILT
