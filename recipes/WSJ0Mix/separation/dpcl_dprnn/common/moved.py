"""Classes and functions that had other names in earlier versions' YAML."""

import re

MOVED = {
    "dpcl_dprnn.checkpoints.AtomicCheckpointer": "dpcl_dprnn.training.checkpoints.AtomicCheckpointer",
    "dpcl_dprnn.data.RandomMixing": "dpcl_dprnn.datasets.augmentation.RandomMixing",
    "dpcl_dprnn.encoders.LearnedDecoder": "dpcl_dprnn.model.encoders.LearnedDecoder",
    "dpcl_dprnn.encoders.LearnedEncoder": "dpcl_dprnn.model.encoders.LearnedEncoder",
    "dpcl_dprnn.encoders.STFTDecoder": "dpcl_dprnn.model.encoders.STFTDecoder",
    "dpcl_dprnn.encoders.STFTEncoder": "dpcl_dprnn.model.encoders.STFTEncoder",
    "dpcl_dprnn.losses.dpcl_loss": "dpcl_dprnn.model.losses.dpcl_loss",
    "dpcl_dprnn.losses.pit_si_snr_loss": "dpcl_dprnn.model.losses.pit_si_snr_loss",
    "dpcl_dprnn.losses.whitened_dpcl_loss": "dpcl_dprnn.model.losses.whitened_dpcl_loss",
    "dpcl_dprnn.model.BLSTMSeparator": "dpcl_dprnn.model.networks.BLSTMSeparator",
    "dpcl_dprnn.model.DualPathSeparator": "dpcl_dprnn.model.networks.DualPathSeparator",
    "dpcl_dprnn.model.EmbeddingHead": "dpcl_dprnn.model.networks.EmbeddingHead",
    "dpcl_dprnn.schedule.TrapezoidSchedule": "dpcl_dprnn.training.schedule.TrapezoidSchedule",
    "dpcl_dprnn.separation.Separator": "dpcl_dprnn.model.separator.Separator",
    "dpcl_dprnn.training.AveragedWeights": "dpcl_dprnn.training.averaging.AveragedWeights",
    "dpcl_dprnn.training.EarlyStopping": "dpcl_dprnn.training.schedule.EarlyStopping",
    "dpcl_dprnn.training.fastest_precision": "dpcl_dprnn.training.machine.fastest_precision",
}
# Keys of YAML, as runs and model folders keep them
MOVED_KEYS = {
    '"train_mixing.speeds': '"train_mixing.batch_speeds',
    '"train_mixing.gain_db': '"train_mixing.source_gain_db',
    "    start: !ref <start>": "    initial_weights: !ref <start>",
    '"start":': '"initial_weights":',
    '"separator.start': '"separator.initial_weights',
    '"<start>"': '"<initial_weights>"',
}
NAME = re.compile(r"\bdpcl_dprnn(?:\.\w+)+")


def with_new_names(text):
    """The same YAML, or kept settings, with the names of today.

    Example
    -------
    >>> with_new_names("!new:dpcl_dprnn.model.EmbeddingHead")
    '!new:dpcl_dprnn.model.networks.EmbeddingHead'
    """
    for old, new in MOVED_KEYS.items():
        text = text.replace(old, new)
    return NAME.sub(lambda match: MOVED.get(match[0], match[0]), text)


def moved_names(text):
    """What a text names that has another name today.

    Example
    -------
    >>> moved_names("model: !new:dpcl_dprnn.model.BLSTMSeparator")
    ['dpcl_dprnn.model.BLSTMSeparator']
    """
    return [name for name in NAME.findall(text) if name in MOVED]
