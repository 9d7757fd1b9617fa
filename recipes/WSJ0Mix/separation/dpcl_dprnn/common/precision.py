"""How exactly GPUs compute."""

import torch


def use_tf32(allowed):
    """Whether GPUs may round products of fp32 to the 10 bits of TF32, in this
    process: SpeechBrain lets them when it is imported.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
