"""Output folders of runs that never were, for the report, and its page."""

import base64
import csv
import html.parser
import io
import json
import math
import re

import numpy as np
import soundfile

RATE = 8000
FILES = {"masks": "test_results.csv", "kmeans": "test_results_kmeans.csv"}
LOG = """\
epoch: 1, lr: 1.96e-03 - train loss: -14.6, train pit: -1.16e+00, \
train seconds: 92.90 - valid loss: -18.2, valid pit: -6.47e+00
epoch: 2, lr: 1.86e-03 - train loss: -19.5, train pit: -8.31e+00, \
train seconds: 90.30 - valid loss: -20.4, valid pit: -9.46e+00
epoch loaded: 2 - test loss: -1.80e+01, test pit: -9.10e+00
"""


def plant_run(folder, count=12, num_spks=2, heads=tuple(FILES), kinds=()):
    """Write an output folder, and give the improvements {head: [count]}."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ids = [f"u{n:02d}" for n in range(count)]
    si_snr = rng.normal(0, 1, count)
    gains = {head: rng.normal(2, 2, count) for head in heads}
    for head, gain in gains.items():
        columns = (si_snr + gain + 0.5, gain + 0.4, si_snr + gain, gain)
        write_results(folder / FILES[head], ids, np.stack(columns, axis=1))
    write_summary(folder, gains, num_spks)
    facts = {
        "snt_id": ids,
        "seconds": [0.25] * count,
        "num_spks": [num_spks] * count,
        "level_difference": rng.uniform(0, 6, count),
        "sdr": si_snr + 0.1,
        "si-snr": si_snr,
        "ideal_sdr_i": rng.normal(14, 1, count),
        "ideal_si-snr_i": rng.normal(13, 1, count),
        "genders": [("F-F", "F-M", "M-M")[n % 3] for n in range(count)],
        "counted": [num_spks + (n % 4 == 0) for n in range(count)],
        "confidence": [0.5 if n % 4 == 0 else 0.75 for n in range(count)],
    }
    write_csv(
        folder / "test_set.csv",
        [list(facts), *zip(*facts.values(), strict=True)],
    )
    write_speakers(folder, ids, si_snr, gains)
    for number, kind in enumerate(kinds):
        write_example(folder, ids[number], kind, num_spks, heads)
    (folder / "train_log.txt").write_text(LOG)
    return gains


def write_csv(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def write_speakers(folder, ids, si_snr, gains):
    """Two speakers of each utterance, whose gains' mean is the utterance's."""
    header = ["snt_id", "speaker", "group", "si-snr"]
    rows = [[*header, *(f"{head}_si-snr_i" for head in gains)]]
    for number, snt_id in enumerate(ids):
        for speaker, sign in ((1, 1), (2, -1)):
            level = si_snr[number] + 3 * sign
            each = [gain[number] - 2 * sign for gain in gains.values()]
            rows.append([snt_id, speaker, "FM"[speaker - 1], level, *each])
    write_csv(folder / "test_speakers.csv", rows)


def write_results(path, ids, scores):
    """Scores [utterances, 4] in the order of the columns, and averages."""
    header = ["snt_id", "sdr", "sdr_i", "si-snr", "si-snr_i"]
    rows = [[i, *row] for i, row in zip(ids, scores, strict=True)]
    averages = [mean(column[np.isfinite(column)]) for column in scores.T]
    write_csv(path, [header, *rows, ["avg", *averages]])


def write_scores(folder, ids, scores):
    """The same scores [utterances, 4] of each head, and their summary."""
    for file in FILES.values():
        write_results(folder / file, ids, scores)
    write_summary(folder, dict.fromkeys(FILES, scores[:, 3]))


def write_summary(folder, gains, num_spks=2):
    summary = {
        "experiment": "planted",
        "seed": 7,
        "num_spks": num_spks,
        "sample_rate": RATE,
        "data_folder": "/data/planted",
        "speech_folder": None,
        "epoch": 2,
        "parameters": 1234567,
        "losses": {"loss": -18.0, "pit": None},
        "heads": {},
    }
    for head, values in gains.items():
        defined = np.array(values)[np.isfinite(values)]
        mean = float(defined.mean()) if len(defined) else None
        summary["heads"][head] = {"si-snr_i": {"mean": mean}}
    (folder / "summary.json").write_text(json.dumps(summary))


def signals(num_spks=2, length=2000, seed=0):
    """Sources [C, T]: tones in noise, a tone for each."""
    rng = np.random.default_rng(seed)
    time = np.arange(length) / RATE
    tones = [np.sin(2 * np.pi * 700 * (n + 1) * time) for n in range(num_spks)]
    noise = 0.01 * rng.standard_normal((num_spks, length))
    return (0.2 * np.stack(tones) + noise).astype(np.float32)


def write_example(folder, name, kind, num_spks=2, heads=tuple(FILES), **other):
    """One of examples/*.npz; `other` arrays replace or add some."""
    sources = signals(num_spks)
    rng = np.random.default_rng(1)
    speakers = rng.integers(num_spks, size=200)
    embeddings = np.eye(20)[speakers] + 0.1 * rng.standard_normal((200, 20))
    arrays = {
        "name": name,
        "kind": kind,
        "rate": RATE,
        "mixture": sources.sum(axis=0),
        "sources": sources,
        "embeddings": embeddings.astype(np.float32),
        "speakers": speakers,
    }
    for number, head in enumerate(heads, start=1):
        arrays[head] = sources + 0.1 * number * sources[::-1]
    (folder / "examples").mkdir(exist_ok=True)
    path = folder / "examples" / f"{kind}.npz"
    np.savez(path, **(arrays | other))
    return path


class Page(html.parser.HTMLParser):
    """What is in a page: elements, the cells of its tables, and its text."""

    def __init__(self, path):
        super().__init__()
        self.elements = []  # (tag, attributes)
        self.tables = {}  # id -> rows of cells
        self.paragraphs = []
        self._into = None  # what text is added to
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.append((tag, attrs))
        if tag == "table":
            self._table = self.tables.setdefault(attrs["id"], [])
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._into = self._table[-1]
            self._into.append("")
        elif tag in ("p", "h3", "figcaption", "dd"):
            self._into = self.paragraphs
            self._into.append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th", "p", "h3", "figcaption", "dd"):
            self._into[-1] = " ".join(self._into[-1].split())
            self._into = None

    def handle_data(self, data):
        if self._into is not None:
            self._into[-1] += data

    def all(self, tag):
        """The attributes of all elements of a tag."""
        return [attrs for name, attrs in self.elements if name == tag]

    def row(self, table, name):
        """The cells of a row after its first, that has the name."""
        (cells,) = (r[1:] for r in self.tables[table] if r[0] == name)
        return cells

    def text(self):
        return "\n".join(self.paragraphs)


def numbers(cell):
    """The numbers of a cell, such as "7.19 [6.8, 7.6], n = 9"."""
    pattern = r"(?<![\w.])-?\d+(?:\.\d+)?"
    return [float(n) for n in re.findall(pattern, cell.replace("−", "-"))]


def sound(url):
    """The 16-bit samples and the rate of a data URL."""
    head, data = url.split(",")
    assert head == "data:audio/wav;base64"
    content = io.BytesIO(base64.b64decode(data, validate=True))
    return soundfile.read(content, dtype="int16")


def mean(values):
    """Without NumPy's pairwise sums: an oracle of its own."""
    return math.fsum(values) / len(values) if len(values) else math.nan
