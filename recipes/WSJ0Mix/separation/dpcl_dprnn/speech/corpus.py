"""The embedded corpus: synthetic speakers of eSpeak NG, in seconds.

`synthetic` draws the speakers and `espeak` makes them speak; this module puts
their utterances and the tables about them in a folder.
"""

import csv
import io
import json
import logging
import math
import os
import pathlib
import tempfile
from importlib.util import find_spec

from ..common.errors import UserError, writing_error
from ..common.files import write_text
from .espeak import run_job
from .synthetic import draw_speakers

logger = logging.getLogger(__name__)

VERSION = 1  # of what the parameters mean: a new one, a new corpus
LOWEST = {"speakers": 2, "heldout": 2, "rate": 4000, "seed": 0, "jobs": 1}


def build_corpus(
    out, speakers=600, hours=4.5, rate=8000, seed=1234, jobs=None, heldout=24
):
    """Make the corpus `OUT/<split>/<speaker>/<utterance>.wav`, or nothing.

    The same arguments give the same bytes, whatever `jobs` is. The files are
    16-bit and mono; `OUT/speakers.csv` says who speaks and `OUT/corpus.json`
    what was asked for. A corpus that is there already is kept.

    Arguments
    ---------
    out : str or Path
        A folder that is absent, empty, or holds this very corpus.
    speakers, heldout : int
        Number of speakers for training, and in each of valid and test.
    hours : float
        Speech of all splits together, within a few per cent.
    rate : int
        Samples per second.
    seed : int
        Another seed gives other speakers and sentences.
    jobs : int, optional
        Processes at a time; as many as there are cores by default.

    Returns
    -------
    dict
        What `corpus.json` holds (`parameters`, `hours`, `files`), and
        `reused`: whether the corpus was there already.

    Raises
    ------
    UserError
        When an argument makes no sense, the folder holds something else or
        cannot be written, or eSpeak NG is missing or fails.
    """
    parameters = {
        "version": VERSION,
        "speakers": speakers,
        "heldout": heldout,
        "hours": hours,
        "rate": rate,
        "seed": seed,
    }
    if jobs is None:
        jobs = os.cpu_count() or 1
    for name, lowest in LOWEST.items():
        value = {**parameters, "jobs": jobs}[name]
        if value < lowest:
            raise UserError(f"{name} is {value}; give {lowest} or more.")
    if not (hours > 0 and math.isfinite(hours)):
        raise UserError(f"hours is {hours}; give a number above 0.")
    out = pathlib.Path(out).resolve()
    try:
        summary = finished_corpus(out, parameters)
        if summary is not None:
            logger.info("%s holds this corpus already; it is reused.", out)
            return {**summary, "reused": True}
        if find_spec("espeakng_loader") is None:
            raise UserError(
                "The embedded corpus needs eSpeak NG, which is not installed. "
                "Run pip install espeakng-loader."
            )
        drawn = draw_speakers(speakers, heldout, hours, rate, seed)
        summary = make_corpus(out, parameters, drawn, jobs)
    except OSError as error:
        raise writing_error(out, error) from error
    return {**summary, "reused": False}


def finished_corpus(out, parameters):
    """The summary of the same corpus in `out`, or None if `out` is empty."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        summary = json.loads((out / "corpus.json").read_text(encoding="utf-8"))
        if summary["parameters"] == parameters:
            return summary
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not a corpus
    raise UserError(
        f"{out} is not empty and holds no corpus with these options. "
        "Remove it or choose another folder."
    )


def make_corpus(out, parameters, speakers, jobs):
    """Make the corpus next to `out`, then rename it: all of it or nothing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=out.parent, prefix=f".{out.name}-"
    ) as temporary:
        # One level deeper, as the temporary folder itself is private
        corpus = pathlib.Path(temporary, "corpus")
        for speaker in speakers:
            folder = corpus / speaker["split"] / speaker["speaker"]
            speaker["folder"] = str(folder)
        results = run_job(corpus.with_name("job.json"), speakers, jobs)
        rows = [{**each, **results[each["speaker"]]} for each in speakers]
        columns = [n for n in rows[0] if n not in ("folder", "seed", "quota")]
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(columns)
        table.writerows([row[name] for name in columns] for row in rows)
        write_text(corpus / "speakers.csv", text.getvalue())
        summary = {
            "parameters": parameters,
            "hours": round(sum(row["seconds"] for row in rows) / 3600, 3),
            "files": sum(row["utterances"] for row in rows),
        }
        text = json.dumps(summary, indent=2) + "\n"
        write_text(corpus / "corpus.json", text)
        os.replace(corpus, out)
    return summary
