"""How well were voices separated? Told without the truth: a separator that
cannot keep two voices apart gives their bins like embeddings.

Axis letters are in model.py.
"""

import numpy as np
from scipy.stats import linregress

FEWEST = 8  # examples that a line is fitted to
RELIABLE = -0.5  # correlation above which the embeddings do not tell
TINY = 1e-12


class Expectation:
    """The improvement that is to be expected of voices, over all windows.

    Arguments
    ---------
    line : sequence of float
        Slope and intercept of `fit_line`; empty where there is none.

    Example
    -------
    >>> expectation = Expectation([-12.0, 10.0])
    >>> expectation.hear(np.array([[1.0, 0.0], [0.6, 0.8]]))
    >>> round(expectation.improvement, 1)
    2.8
    """

    def __init__(self, line=()):
        self.line = line
        self.alike = self.weight = 0.0

    def hear(self, sums):
        """Take the summed embeddings of the voices of a window.

        Arguments
        ---------
        sums : numpy.ndarray, [C, D]
            Of `grouping.voice_embeddings`. A pair of voices counts as its
            softer one does.
        """
        first, second = np.triu_indices(len(sums), 1)
        norms = np.linalg.norm(sums, axis=1)
        louder = np.maximum(norms[first], norms[second])
        products = (sums[first] * sums[second]).sum(axis=1)
        self.alike += float((products / louder.clip(TINY)).sum())
        self.weight += float(np.minimum(norms[first], norms[second]).sum())

    @property
    def likeness(self):
        """The mean cosine between the embeddings of two voices; None where
        there were never two.
        """
        return self.alike / self.weight if self.weight > TINY else None

    @property
    def improvement(self):
        """The SI-SNR improvement to be expected, dB, or None. Voices that are
        more unlike than unlike ones are trained to be are as those.
        """
        if not len(self.line) or self.likeness is None:
            return None
        slope, intercept = self.line
        return slope * max(0.0, self.likeness) + intercept


def fit_line(pairs):
    """Learn from examples what a likeness of voices says of them.

    Arguments
    ---------
    pairs : sequence of (float, float)
        `Expectation.likeness`, and the SI-SNR improvement that there was, dB.

    Returns
    -------
    list of float
        Slope and intercept; empty where there are fewer than 8 examples, or
        the correlation is above -0.5: guesses help nobody.
    """
    if len(pairs) < FEWEST:
        return []
    likenesses, improvements = np.transpose(pairs)
    if np.ptp(likenesses) < TINY:
        return []
    line = linregress(likenesses, improvements)
    if not line.rvalue <= RELIABLE:
        return []
    return [float(line.slope), float(line.intercept)]
