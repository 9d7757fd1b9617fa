"""The report of an experiment: one HTML page that needs nothing else."""

import datetime
import pathlib

import numpy as np

from ..common.errors import UserError
from ..common.files import write_text
from ..evaluation.scoring import RESULT_FILES
from .counting import confusion
from .examples import by_kind, example_context
from .figures import curve_figure
from .files import read_results
from .log import curves
from .speakers import speaker_context
from .statistics import (
    FEWEST,
    RESAMPLES,
    SEED,
    column,
    describe,
)
from .style import NAMES, shown
from .tables import (
    difference,
    distributions,
    example_scores,
    failure_context,
    groups,
    metric_columns,
    several,
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
    try:
        import jinja2
        import matplotlib  # noqa: F401, slow to import, and optional
    except ImportError as error:
        raise UserError(
            f"The report needs the package {error.name}: "
            "pip install matplotlib jinja2."
        ) from error
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
    """All that the template shows.

    Arguments
    ---------
    results : files.Results
    date : datetime.date

    Returns
    -------
    dict
    """
    heads, test_set = results.heads, results.test_set
    mixed = {head: several(rows, test_set) for head, rows in heads.items()}
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
        "distributions": distributions(mixed, test_set),
        "groups": groups(heads, test_set),
        "confusion": confusion(test_set),
        "speakers": speaker_context(results.speakers, heads),
        "failures": failure_context(mixed, test_set, results.speakers),
        "examples": [
            example_context(example)
            | {"scores": example_scores(example.name, heads, test_set)}
            for example in by_kind(results.examples)
        ],
        "curves": [curve_figure(*part) for part in parts.items()],
    }


def facts(results):
    """What the head of the page says, as [(name, value), ...]."""
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
    values = known | {"test utterances": count} | others
    return [(name, _readable(name, value)) for name, value in values.items()]


def _readable(name, value):
    if name == "parameters" and isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def remarks(results):
    """What the reader has to know of the results."""
    notes = []
    alone = {
        snt_id
        for rows in results.heads.values()
        for snt_id in set(rows) - set(several(rows, results.test_set))
    }
    if alone:
        scored = any(
            np.isfinite(column(rows, "si-snr_i", alone)).any()
            for rows in results.heads.values()
        )
        what = (
            "an older version scored them, and they count in the tables of "
            "scores. Test again."
            if scored
            else "with nothing to separate, they have no score."
        )
        notes.append(
            f"{len(alone):,} of the test utterances have one speaker only: "
            f"{what}"
        )
    for head, rows in results.heads.items():
        said = results.summary["heads"][head].get("si-snr_i") or {}
        mean = describe(column(rows, "si-snr_i")).mean
        said = said.get("mean")
        if (mean is None) != (said is None) or (
            mean is not None and abs(mean - said) > TOLERANCE
        ):
            notes.append(
                f"summary.json gives another SI-SNRi than {RESULT_FILES[head]}:"
                " they are of different tests. Test again."
            )
        strangers = {row["snt_id"] for row in results.speakers} - set(rows)
        if strangers:
            notes.append(
                f"test_speakers.csv has {len(strangers):,} utterances that "
                f"{RESULT_FILES[head]} lacks: they are of different tests."
            )
        unknown = set(rows) ^ set(results.test_set)
        if results.test_set and unknown:
            notes.append(
                f"{RESULT_FILES[head]} and test_set.csv differ in "
                f"{len(unknown):,} utterances: they may be of different tests."
            )
    return notes
