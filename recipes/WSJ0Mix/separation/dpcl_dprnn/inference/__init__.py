"""A trained model at work: model folders and their safety, recordings in,
voices out, and the browser page.

May import `common`, `sound`, `model`, `unmixing` and the pictures of
`report`.
"""


def __getattr__(name):
    """`SpeechSeparator`, which takes PyTorch a second to import."""
    if name != "SpeechSeparator":
        raise AttributeError(f"{__name__} has no {name}")
    from .separator import SpeechSeparator

    return SpeechSeparator
