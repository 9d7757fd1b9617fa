"""The separator of deep clustering's first papers. Axis letters, and what a
separator maps to what, are in networks.py.
"""

import torch
from speechbrain.nnet.RNN import LSTM
from torch.nn.utils.rnn import (
    pack_padded_sequence,
    pad_packed_sequence,
    pad_sequence,
)


class BLSTMSeparator(torch.nn.Module):
    """The classic deep-clustering trunk: a stack of bidirectional LSTMs.

    References: Hershey et al., arXiv 1508.04306; Isik et al., arXiv
    1607.02173.

    Arguments
    ---------
    in_channels : int
        Bins of the encoder, F.
    hidden_size : int
        Units of each direction.
    num_layers : int
        Number of BLSTM layers.
    dropout : float
        Dropout between layers.
    embedding_head : EmbeddingHead
        Reads 2 * `hidden_size` channels.

    Example
    -------
    >>> from dpcl_dprnn.model.networks import EmbeddingHead
    >>> model = BLSTMSeparator(
    ...     in_channels=129, hidden_size=16, num_layers=2,
    ...     embedding_head=EmbeddingHead(32, bins=129, size=20),
    ... )
    >>> masks, embeddings = model(torch.randn(2, 129, 50))
    >>> masks is None, embeddings.shape
    (True, torch.Size([2, 50, 129, 20]))
    """

    has_masks = False

    def __init__(
        self,
        in_channels,
        embedding_head,
        hidden_size=600,
        num_layers=4,
        dropout=0.3,
    ):
        super().__init__()
        self.norm = torch.nn.LayerNorm(in_channels)
        self.blstm = LSTM(
            hidden_size,
            input_size=in_channels,
            num_layers=num_layers,
            dropout=dropout,
            bidirectional=True,
        )
        self.embedding_head = embedding_head

    def filled(self, frames):
        """Any number of frames fills it."""
        return frames

    def forward(self, features, grid_frames=None):
        """Embed features.

        Arguments
        ---------
        features : torch.Tensor, [B, F, L]
        grid_frames : int, optional
            Frames of the embedding grid, L'; L when not given.

        Returns
        -------
        masks : None
        embeddings : torch.Tensor, [B, L', F', D]
        """
        x = self._read(features)  # [B, L, F]
        x, _ = self.blstm(x)  # [B, L, N]
        frames = grid_frames or features.shape[-1]
        return None, self.embedding_head(x.transpose(1, 2), frames)

    def forward_each(self, features, grid_frames):
        """Embed features of different lengths, as one packed batch.

        Arguments
        ---------
        features : list of torch.Tensor, each [1, F, L]
        grid_frames : list of int

        Returns
        -------
        list of (None, embeddings)
            What `forward` gives for each by itself.
        """
        xs = [self._read(each)[0] for each in features]
        lengths = [len(x) for x in xs]
        packed = pack_padded_sequence(
            pad_sequence(xs, batch_first=True),
            lengths,
            batch_first=True,
            enforce_sorted=False,
        )
        out, _ = pad_packed_sequence(self.blstm.rnn(packed)[0], True)
        return [
            (None, self.embedding_head(x[None, :length].transpose(1, 2), each))
            for x, length, each in zip(out, lengths, grid_frames, strict=True)
        ]

    def _read(self, features):
        """Normalised features [B, L, F], in autocast's precision where it is
        on: PyTorch fails to find an LSTM for fp32 there on CPUs without bf16.
        """
        x = self.norm(features.transpose(1, 2))
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        return x
