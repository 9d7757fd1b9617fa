"""The report of an experiment: one HTML page that needs nothing else."""

import datetime
import pathlib

import jinja2
import numpy as np

from ..common.files import write_text
from ..evaluation.scoring import RESULT_FILES, SPEAKERS, TEST_SET
from .figures import NAMES, curve_figure, shown
from .files import read_results
from .log import curves
from .spectra import example_context
from .statistics import FEWEST, RESAMPLES, SEED, column, confusion, describe
from .tables import (
    difference,
    distributions,
    example_scores,
    failure_context,
    groups,
    metric_columns,
    speaker_context,
    systems,
)

FACTS = {  # key of summary.json: what it is called on the page
    "data_folder": "data",
    "speech_folder": "speech",
    "num_spks": "speakers",
    "sample_rate": "sampling rate (Hz)",
    "epoch": "epoch",
    "parameters": "parameters",
    "seed": "seed",
}
TOLERANCE = 0.01  # dB by which summary and results may differ


def write_report(output_folder, date=None):
    """Write report.html into an experiment's output folder.

    Arguments
    ---------
    output_folder : str or Path
        See `files.read_results` for what it has to hold.
    date : datetime.date, optional
        When the page says that it was written; today by default.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    UserError
        When something is missing or broken, or the page cannot be written.
    """
    results = read_results(output_folder)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(
            pathlib.Path(__file__).with_name("templates")
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    template = environment.get_template("report.html")
    path = pathlib.Path(output_folder) / "report.html"
    date = datetime.date.today() if date is None else date
    write_text(path, template.render(report_context(results, date)))
    return path


def report_context(results, date):
    """All that the template shows of `files.Results`."""
    heads, test_set = results.heads, results.test_set
    parts = curves(results.log)
    return {
        "title": str(results.summary.get("experiment") or "experiment"),
        "date": date.isoformat(),
        "names": NAMES,
        "notes": results.notes + remarks(results),
        "facts": facts(results),
        "losses": {
            name: value
            for name, value in (results.summary.get("losses") or {}).items()
            if value != 0  # does not apply
        },
        "resamples": RESAMPLES,
        "seed": SEED,
        "fewest": FEWEST,
        "metrics": metric_columns(heads),
        "systems": systems(heads, test_set),
        "difference": difference(heads),
        "distributions": distributions(heads, test_set),
        "groups": groups(heads, test_set),
        "confusion": confusion(test_set),
        "speakers": speaker_context(results.speakers, heads),
        "failures": failure_context(heads, test_set, results.speakers),
        "examples": [
            example_context(example)
            | {"scores": example_scores(example.name, heads, test_set)}
            for example in results.examples
        ],
        "curves": [curve_figure(*part) for part in parts.items()],
    }


def facts(results):
    """What the head of the page says, as pairs of name and value."""
    summary = results.summary
    ids = {i for rows in results.heads.values() for i in rows}
    seconds = np.nansum(column(results.test_set, "seconds"))
    count = f"{len(ids):,}"
    if seconds > 0:
        count += f" ({seconds / 60:,.1f} minutes)"
    known = {
        name: summary[key]
        for key, name in FACTS.items()
        if summary.get(key) not in (None, "", "None")
    }
    others = {
        key.replace("_", " "): value
        for key, value in summary.items()
        if key not in (*FACTS, "experiment")
        and isinstance(value, str | int | float)
    }
    if "parameters" in known:
        known["parameters"] = f"{known['parameters']:,}"
    values = known | {"test utterances": count} | others
    return [
        (name, f"{value:.6g}" if isinstance(value, float) else str(value))
        for name, value in values.items()
    ]


def remarks(results):
    """What the reader has to know of the results."""
    notes, test_set = [], results.test_set
    alone = sum(known["num_spks"] == 1 for known in test_set.values())
    if alone:
        notes.append(
            f"{alone:,} of the test utterances have one speaker only: with "
            "nothing to separate, they have no score."
        )
    for head, rows in results.heads.items():
        said = results.summary["heads"][head]["si-snr_i"]["mean"]
        mean = describe(column(rows, "si-snr_i")).mean
        fits = {
            "summary.json": np.isclose(
                *np.array([said, mean], dtype=np.float64),
                rtol=0,
                atol=TOLERANCE,
                equal_nan=True,
            ),
            SPEAKERS: {row["snt_id"] for row in results.speakers} <= set(rows),
            TEST_SET: not test_set or set(test_set) == set(rows),
        }
        notes += [
            f"{file} and {RESULT_FILES[head]} are of different tests. Test "
            "again."
            for file, fit in fits.items()
            if not fit
        ]
    return notes
