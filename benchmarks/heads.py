#!/usr/bin/env python3
"""What the second head is worth: masks, embeddings and both, at equal CPU time.

> OMP_NUM_THREADS=1 python benchmarks/heads.py --speech DIR --minutes 10

As learning.py, by which it trains: the same trunk, data and CPU time of a
thread for each row (or, by --steps, the same steps). Rows that share a seed are
compared mixture by mixture; intervals of 95 % are of the mean over mixtures and
seeds, both drawn anew (bootstrap).
"""

import sys

import learning
import numpy as np
from learning import PLAIN

WHITENED = "!name:dpcl_dprnn.model.losses.whitened_dpcl_loss"
ROWS = {
    "masks": {**PLAIN, "embedding_head": "null"},
    "both, weight 1": {**PLAIN, "dpcl_weight": 1.0},
    "both, weight 10": {**PLAIN, "dpcl_weight": 10.0},
    "both, weight 100": {**PLAIN, "dpcl_weight": 100.0},
    "both, weight 1000": {**PLAIN, "dpcl_weight": 1000.0},
    "both, whitened": {**PLAIN, "dpcl_loss": WHITENED, "dpcl_weight": 1.0},
    # Its mask head is there, and is not trained.
    "embeddings": {**PLAIN, "loss_weights": "{pit: 0.0, dpcl: 1.0}"},
    # With what the dual path has of mini.yaml.
    "embeddings, BLSTM": {
        **{"hparams": "hparams/dpcl.yaml", "batch_size": 8, "lr": 0.002},
        **{"hidden_size": 128, "num_layers": 2, "training_crop": 2.0},
        **{"embedding_size": 20, "precision": "bf16"},
        **{"warmup_steps": 155, "lr_fall": 0.5, "kmeans": "{softness: 3.0}"},
        **{"num_workers": 0, "number_of_epochs": 1000},
    },
}
COLUMNS = {"test_results": "masks", "test_results_kmeans": "k-means"}
DRAWS = 2000  # of the bootstrap


def interval(each, rng):
    """Mean and 95 % interval of values [seeds, mixtures].

    Example
    -------
    >>> interval(np.ones((3, 5)), np.random.default_rng(0))
    (1.0, 1.0, 1.0)
    """
    seeds, mixtures = each.shape
    means = [
        each[rng.integers(seeds, size=seeds)][
            :, rng.integers(mixtures, size=mixtures)
        ].mean()
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return tuple(map(float, (each.mean(), low, high)))


def table(results, speech, size, speakers):
    """SI-SNRi of both heads in dB, with what is beyond that of masks alone (or
    embeddings alone), the share below 0 dB, and the steps.
    """
    rng = np.random.default_rng(0)
    lines = [
        f"| {speech}, {size}, {speakers} speakers | seeds | steps | masks | to "
        "masks alone | under 0 dB | k-means | to embeddings alone |",
        "|---|---|---|---|---|---|---|---|",
    ]
    alone = {"test_results": "masks", "test_results_kmeans": "embeddings"}
    key = {"speech": speech, "size": size, "speakers": speakers}
    runs = {}
    for result in results:
        if key.items() <= result.items():
            runs.setdefault(result["row"], {})[result["seed"]] = result
    for row, by_seed in runs.items():
        steps = np.mean([run["steps"] for run in by_seed.values()])
        cells = [row, f"{len(by_seed)}", f"{steps:.0f}"]
        for head, other in alone.items():
            name = f"{head}_each"
            has = name in next(iter(by_seed.values()))
            if not has or (head == "test_results" and row == "embeddings"):
                cells += [""] * (3 if head == "test_results" else 2)
                continue
            each = np.array([run[name] for run in by_seed.values()])
            cells.append(
                "{:.2f} ({:.2f} to {:.2f})".format(*interval(each, rng))
            )
            shared = sorted(by_seed.keys() & runs.get(other, {}).keys())
            text = ""
            if shared and row != other:
                beyond = [
                    np.subtract(by_seed[seed][name], runs[other][seed][name])
                    for seed in shared
                ]
                found = interval(np.array(beyond), rng)
                text = "{:+.2f} ({:+.2f} to {:+.2f})".format(*found)
            cells.append(text)
            if head == "test_results":
                cells.append(f"{(each < 0).mean():.0%}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv):
    args = learning.parse(argv, __doc__, ROWS, "heads.jsonl")
    results = learning.run_all(args, ROWS)
    print(table(results, args.speech.name, args.size, args.speakers))


if __name__ == "__main__":
    main(sys.argv[1:])
