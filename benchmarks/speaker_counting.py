#!/usr/bin/env python3
"""How many speakers does a mixture have? Ways to tell, compared.

    python benchmarks/speaker_counting.py --speech READERS

Every way gives features of a mixture, from which logistic regression learns the
number of speakers on the mixtures of the validation voices. Printed is how many
mixtures of the test voices, which neither the model nor the regression has
heard, are then counted right; and the confusion matrix of the way that is used
(`counting.calibrate`). Conditions are set by --mixing, with keys of
`dynamic_mixing`.
"""

import argparse
import pathlib
import tempfile

import numpy as np
import torch
import tqdm
from ruamel.yaml import YAML
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, silhouette_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dpcl_dprnn.inference import SpeechSeparator
from dpcl_dprnn.inference.loading import MODEL
from dpcl_dprnn.mixtures.live_sets import make_dynamic_sets
from dpcl_dprnn.model.targets import bin_weights
from dpcl_dprnn.unmixing.counting import calibrate, count_speakers

RECIPE = pathlib.Path(__file__).parents[1] / "recipes/WSJ0Mix/separation"
MINI = RECIPE / "hparams" / "mini.yaml"  # how it mixes
POINTS = 1000  # embeddings to cluster


def features_of(embeddings, weights, estimates):
    """The features of every way to tell, {name: list of float}."""
    active = weights > 0
    points, shares = embeddings[active], weights[active] / weights.sum()
    gram = (points * shares[:, None]).T @ points
    values = np.linalg.eigvalsh(gram)[::-1].clip(1e-9)
    power = np.sort(np.square(estimates).sum(axis=1))[::-1]
    features = {
        "effective speakers": [-np.log(np.square(values).sum())],
        "entropy of the eigenvalues": [-(values * np.log(values)).sum()],
        "eigengaps": list(np.log(values[:4] / values[1:5])),
        "eigenvalues": list(np.log(values[:4])),
        "levels of the mask outputs": list(np.log(power / power.sum() + 1e-6)),
    }
    rng = np.random.default_rng(0)
    sample = points[rng.choice(len(points), POINTS, p=shares)]
    inertias, silhouettes, smallest = [], [], []
    for count in (1, 2, 3, 4):
        kmeans = KMeans(count, n_init=3, random_state=0).fit(sample)
        inertias.append(kmeans.inertia_ / len(sample))
        if 1 < count < 4:
            labels = kmeans.labels_
            silhouettes.append(silhouette_score(sample, labels))
            smallest.append(np.bincount(labels).min() / len(sample))
    features["k-means gaps"] = list(np.log(np.array(inertias) + 1e-6))
    features["silhouettes"] = silhouettes
    features["occupancy of clusters"] = smallest
    return features


def listen(separator, dataset):
    """Features and numbers of speakers of all mixtures of a set, and the
    features that are used.
    """
    unmixer = separator.unmixer
    rows, counts, used = [], [], []
    for index in tqdm.trange(len(dataset)):
        item = dataset[index]
        (separated,) = unmixer.separator.separate_each([item["mixture"]])
        encoded = unmixer.separator.grid_encoder(item["mixture"][None])
        weights = bin_weights(encoded, unmixer.threshold_db)[0].numpy()
        embeddings = separated.embeddings[0].numpy()
        rows.append(
            features_of(embeddings, weights, separated.estimates[0].numpy())
        )
        counts.append(int((item["sources"].abs().sum(dim=0) > 0).sum()))
        used.append(unmixer.counting_features(item["mixture"], separated))
    return rows, np.array(counts), used


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default=MODEL, help="of up to 3 speakers")
    add("--speech", required=True, help="folder of speakers")
    add("--count", type=int, default=300, help="mixtures a set")
    add("--mixing", default="{}", help="such as '{snr_db: [8, 40]}'")
    add("--seed", type=int, default=1, help="of the mixtures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    separator = SpeechSeparator.from_hparams(
        source=args.model, run_opts={"device": "cpu"}
    )
    settings = {
        **YAML().load(MINI)["dynamic_mixing"],
        **{"train": 1, "valid": args.count, "test": args.count},
        **{"speakers": [1, 2, 3], "speeds": [100]},
        **YAML().load(args.mixing),
    }
    with tempfile.TemporaryDirectory() as cache:
        sets = make_dynamic_sets(
            *(args.speech, cache, settings),
            num_spks=separator.num_spks,
            sample_rate=separator.sample_rate,
            training_crop=separator.sample_rate,
            seed=args.seed,
        )
        heard = {s: listen(separator, sets[s]) for s in ("valid", "test")}
    (known, known_counts, learnt), (rows, counts, used) = heard.values()
    for name in rows[0]:
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit([row[name] for row in known], known_counts)
        found = model.predict([row[name] for row in rows])
        print(f"{(found == counts).mean():6.1%}  {name}")
    weights = calibrate(learnt, known_counts, separator.num_spks)
    found = [count_speakers(features, weights)[0] for features in used]
    print(f"\nWith the weights of `calibrate`, {weights}:")
    print(f"{(found == counts).mean():6.1%} right; rows: the truth")
    print(confusion_matrix(counts, found))


if __name__ == "__main__":
    main()
