"""A trained model at work: model folders and their safety, recordings in,
voices out; ONNX.

May import `common`, `sound`, `model` and `unmixing`.
"""


def __getattr__(name):
    """`SpeechSeparator`, which takes PyTorch a second to import."""
    if name != "SpeechSeparator":
        raise AttributeError(f"{__name__} has no {name}")
    from .separator import SpeechSeparator

    return SpeechSeparator
