"""The embedded corpus: synthetic speakers of eSpeak NG, in seconds.

A speaker is a voice variant and an accent of eSpeak NG, a pitch, a speaking
rate, a vocal-tract length and a colour, all drawn from one seed. Training,
validation and test use different variants.
"""

import csv
import ctypes
import fractions
import io
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import traceback
from importlib.util import find_spec

import numpy as np
import scipy.signal
from tqdm import tqdm

from .audio import write_text, write_wav
from .errors import UserError
from .sentences import sentence

logger = logging.getLogger(__name__)

VERSION = 1  # of what the parameters mean: a new one, a new corpus
ESPEAK_RATE = 22050
# Each variant with its median F0 in Hz at eSpeak's pitch 50. Variants that
# sound alike share a split. Few are women's voices, so some men's are raised.
VARIANTS = {
    "train": {
        "high": """Alicia 258, Annie 242, Nguyen 151, belinda 229, f1 182,
            f3 216, shelby 182, steph 186, steph2 186, zac 364, Marco 133,
            ed 127, boris 104, klatt3 103, m6 103, m7 108""",
        "low": """Alex 104, Andy 96, Denis 100, Diogo 107, Henrique 111,
            Marco 133, Mario 109, Michael 108, Mike 92, RicishayMax 104,
            RicishayMax2 101, adam 103, benjamin 103, boris 104, ed 127,
            edward2 103, grandpa 107, ian 83, john 103, klatt3 103,
            klatt4 103, klatt5 103, klatt6 103, m1 95, m2 101, m3 107,
            m4 95, m5 104, m6 103, m7 108, m8 86, max 103, paul 86,
            pedro 104, sandro 100, victor 96""",
    },
    "valid": {
        "high": "Andrea 250, f2 200, f5 211, grandma 205, Gene2 116, Reed 118",
        "low": """Gene 96, iven3 101, Reed 118, mike2 92, quincy 87,
            gustave 107, marcelo 99, norbert 103, Mr serious 103, Hugo 111""",
    },
    "test": {
        "high": """anika 267, aunty 174, f4 182, linda 229, antonio 113,
            Jacky 114""",
        "low": """Lee 98, travis 104, klatt 103, klatt2 104, michel 107,
            miguel 113, rob 111, robert 99, david 76, edward 103, pablo 116,
            Jacky 114""",
    },
}
ACCENTS = """en-us en-us-nyc gmw/en en-029 en-gb-scotland en-gb-x-rp
    en-gb-x-gbclan en-gb-x-gbcwmd""".split()
# F0 in Hz and vocal-tract factor (formants times this): men, then women
REGISTERS = {
    "low": {"f0": (85, 150), "tract": (0.85, 1.08)},
    "high": {"f0": (165, 255), "tract": (0.92, 1.15)},
}


def draw_speakers(speakers, heldout, hours, rate, seed):
    """Draw the speakers of every split, half of them high and half low.

    Arguments
    ---------
    speakers : int
        Number of training speakers.
    heldout : int
        Number of speakers in valid, and in test.
    hours : float
        Speech of all speakers together; a held-out one speaks 1.5 times as
        long as a training one.
    rate : int
        Samples per second of the corpus.
    seed : int
        Where the draws start.

    Returns
    -------
    list of dict
        One speaker each, with all that `speak` needs to know.

    Example
    -------
    >>> [s["register"] for s in draw_speakers(2, 1, 0.1, 8000, 0)]
    ['low', 'high', 'low', 'low']
    """
    rng = np.random.default_rng(seed)
    counts = {"train": speakers, "valid": heldout, "test": heldout}
    share = hours * 3600 / (speakers + 2 * 1.5 * heldout)
    drawn = []
    for split, count in counts.items():
        seconds = share * (1.0 if split == "train" else 1.5)
        variants = {
            register: rng.permutation(VARIANTS[split][register].split(","))
            for register in REGISTERS
        }
        for index in range(count):
            register = ("low", "high")[index % 2]
            choices = variants[register]
            speaker = draw_voice(
                rng, register, str(choices[index // 2 % len(choices)]), rate
            )
            name = {"split": split, "speaker": f"{split}{index:03d}"}
            seeds = {"seed": [seed, len(drawn)], "quota": seconds}
            drawn.append(name | speaker | seeds)
    return drawn


def draw_voice(rng, register, variant, rate):
    """Draw a speaker of a register who has the given variant ("name F0")."""
    variant, variant_f0 = variant.strip().rsplit(" ", 1)
    log_f0 = rng.uniform(*np.log2(REGISTERS[register]["f0"]))
    tract = rng.uniform(*REGISTERS[register]["tract"])
    # One small ratio resamples to the corpus's rate and scales the formants
    ratio = fractions.Fraction(rate / ESPEAK_RATE / tract)
    ratio = ratio.limit_denominator(50)
    tract = rate / ESPEAK_RATE / float(ratio)
    # F0 doubles in about 70 steps of eSpeak's pitch; resampling moves it too
    pitch = 50 + 70 * (log_f0 - np.log2(float(variant_f0) * tract))
    tilt = rng.uniform(-5, 5)  # dB, from the lowest band to the highest
    bands = tilt * np.linspace(-0.5, 0.5, 5) + rng.normal(0, 1.5, 5)
    return {
        "register": register,
        "voice": f"{rng.choice(ACCENTS)}+{variant}",
        "pitch": int(np.clip(np.round(pitch), 0, 99)),
        "range": int(rng.integers(35, 75)),
        # Divided by the factor, as the resampled speech is that much faster
        "words_per_minute": round(rng.uniform(115, 170) / tract),
        "tract": round(tract, 4),
        "up": ratio.numerator,
        "down": ratio.denominator,
        "eq_db": " ".join(f"{gain:.1f}" for gain in bands),
        "level_db": round(rng.uniform(-31, -25), 1),
        "rate": rate,
    }


def open_voice(speaker):
    """Start eSpeak NG as one speaker.

    What it says depends on all that the process has said before, so a
    process may open one voice only.

    Arguments
    ---------
    speaker : dict
        From `draw_speakers`.

    Returns
    -------
    callable
        From a text to its samples: int16, [T], at 22050 Hz.
    """
    import espeakng_loader

    def check(status, call, good=0):
        if status != good:
            raise UserError(
                f"eSpeak NG's {call} gave {status} for {speaker['voice']}. "
                "Try pip install --force-reinstall espeakng-loader."
            )

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    pieces = []

    @ctypes.CFUNCTYPE(
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_short),
        ctypes.c_int,
        ctypes.c_void_p,
    )
    def collect(samples, count, _):
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    # eSpeak NG refuses a long path, so it gets the shortest there is
    os.chdir(pathlib.Path(espeakng_loader.get_data_path()).parent)
    # 2: synchronous, samples to the callback; 0x8000: never exit
    started = library.espeak_Initialize(2, 0, b".", 0x8000)
    check(started, "espeak_Initialize", ESPEAK_RATE)
    library.espeak_SetSynthCallback(collect)
    seed = ctypes.c_long(speaker["seed"][-1])
    check(library.espeak_ng_SetRandSeed(seed), "espeak_ng_SetRandSeed")
    voice = speaker["voice"].encode()
    check(library.espeak_SetVoiceByName(voice), "espeak_SetVoiceByName")
    # At volume 60 six of the variants clip
    settings = (speaker["words_per_minute"], 30, speaker["pitch"])
    for number, value in enumerate((*settings, speaker["range"]), start=1):
        status = library.espeak_SetParameter(number, value, 0)
        check(status, "espeak_SetParameter")

    def say(text, keep=collect):  # the library holds no reference to it
        pieces.clear()
        text = text.encode()
        size = ctypes.c_size_t(len(text) + 1)
        status = library.espeak_Synth(text, size, 0, 0, 0, 1, None, None)
        check(status, "espeak_Synth")
        return np.concatenate(pieces)

    return say


def colour(speech, speaker):
    """Give eSpeak's speech a vocal tract, a colour and a level, and trim it.

    Arguments
    ---------
    speech : numpy.ndarray, [T]
        At 22050 Hz.
    speaker : dict
        From `draw_speakers`.

    Returns
    -------
    numpy.ndarray, [T']
        Floating point with full scale at 1.0, at the speaker's `rate`.
    """
    speech = speech.astype(np.float64)
    speech = scipy.signal.resample_poly(speech, speaker["up"], speaker["down"])
    gains = 10 ** (np.array(speaker["eq_db"].split(), dtype=float) / 20)
    bands = [0, 0.125, 0.25, 0.5, 1]  # of half the rate
    speech = scipy.signal.upfirdn(
        scipy.signal.firwin2(65, bands, gains), speech
    )
    peak = np.abs(speech).max()
    loud = np.flatnonzero(np.abs(speech) > 0.01 * peak)
    margin = speaker["rate"] // 50
    speech = speech[max(loud[0] - margin, 0) : loud[-1] + margin]
    level = 10 ** (speaker["level_db"] / 20) / np.sqrt(np.mean(speech**2))
    return speech * min(level, 0.8 / peak)


def speak(speaker):
    """Speak a speaker's share into its folder and say how much it was."""
    say, rng = open_voice(speaker), np.random.default_rng(speaker["seed"])
    folder = pathlib.Path(speaker["folder"])
    count, seconds = 0, 0.0
    # Half a sentence short is as near to the share as one can come
    while count == 0 or seconds + 2 < speaker["quota"]:
        samples = colour(say(sentence(rng)), speaker)
        path = folder / f"{speaker['speaker']}_{count:03d}.wav"
        write_wav(path, samples, speaker["rate"])
        count, seconds = count + 1, seconds + len(samples) / speaker["rate"]
    return {"utterances": count, "seconds": round(seconds, 3)}


def speak_and_exit(speaker):
    """Be the process of one speaker: a line of JSON, then the end."""
    status = 1
    try:
        try:
            result = {"speaker": speaker["speaker"], **speak(speaker)}
        except UserError as error:
            result = {"error": str(error)}
        # One write, so that the lines of several processes do not mix
        os.write(1, (json.dumps(result) + "\n").encode())
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


def speak_all(job_file):
    """Fork a fresh process per speaker, `jobs` at a time.

    For a bare interpreter to call: a fork of the user's program would carry
    its threads along, and a spawned process would import it all again.

    Arguments
    ---------
    job_file : str
        JSON with `jobs` and the list `speakers`. A line of JSON for each one
        goes to the standard output when it is done.
    """
    job = json.loads(pathlib.Path(job_file).read_text(encoding="utf-8"))
    free = job["jobs"]
    for speaker in job["speakers"]:
        if free == 0:
            reap()
            free += 1
        if os.fork() == 0:
            speak_and_exit(speaker)
        free -= 1
    for _ in range(job["jobs"] - free):
        reap()


def reap():
    """Wait for a speaker's process and exit if it did not end well."""
    _, status = os.wait()
    if status:
        sys.exit(1)


def run_job(job_file, count, progress):
    """Run `speak_all` in an interpreter of its own; return its results."""
    call = (
        f"import sys; from {__name__} import speak_all; speak_all(sys.argv[1])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", call, str(job_file)],
        cwd=pathlib.Path(__file__).parents[1],  # where the package is found
        # Numpy's threads are of no use here, and do not survive a fork
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        results = {}
        try:
            lines = tqdm(
                process.stdout,
                desc="Speaking",
                total=count,
                unit="speaker",
                disable=not progress,
            )
            for line in lines:
                result = json.loads(line)
                if "error" in result:
                    raise UserError(result["error"])
                results[result.pop("speaker")] = result
        finally:
            if len(results) < count:  # no orphan may go on writing
                os.killpg(process.pid, signal.SIGKILL)
    if len(results) < count:
        raise UserError(
            f"eSpeak NG stopped after {len(results)} of {count} speakers. "
            "See the messages above and run the command again."
        )
    return results


def build_corpus(
    out,
    speakers=300,
    hours=2.5,
    rate=8000,
    seed=1234,
    jobs=None,
    progress=True,
    heldout=24,
):
    """Make the corpus `OUT/<split>/<speaker>/<utterance>.wav`, or nothing.

    The same arguments give the same bytes, whatever `jobs` is. The files are
    16-bit and mono; `OUT/speakers.csv` says who speaks and `OUT/corpus.json`
    what was asked for. A corpus that is there already is kept.

    Arguments
    ---------
    out : str or Path
        A folder that is absent, empty, or holds this very corpus.
    speakers : int
        Number of training speakers.
    hours : float
        Speech of all splits together, within a few per cent.
    rate : int
        Samples per second.
    seed : int
        Another seed gives other speakers and sentences.
    jobs : int, optional
        Processes at a time; as many as there are cores by default.
    progress : bool
        Whether to show a progress bar.
    heldout : int
        Number of speakers in valid, and in test.

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
    out = pathlib.Path(out).resolve()
    parameters = {
        "version": VERSION,
        "speakers": speakers,
        "heldout": heldout,
        "hours": hours,
        "rate": rate,
        "seed": seed,
    }
    check_parameters(parameters)
    finished = finished_corpus(out, parameters)
    if finished is not None:
        logger.info("%s holds this corpus already; it is reused.", out)
        return {**finished, "reused": True}
    if find_spec("espeakng_loader") is None:
        raise UserError(
            "The embedded corpus needs eSpeak NG, which is not installed. "
            "Run pip install espeakng-loader."
        )
    drawn = draw_speakers(speakers, heldout, hours, rate, seed)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=out.parent, prefix=f".{out.name}-"
        ) as temporary:
            corpus = pathlib.Path(temporary, "corpus")
            for speaker in drawn:
                folder = corpus / speaker["split"] / speaker["speaker"]
                speaker["folder"] = str(folder)
            job = {"jobs": jobs or os.cpu_count(), "speakers": drawn}
            job_file = pathlib.Path(temporary, "job.json")
            write_text(job_file, json.dumps(job))
            results = run_job(job_file, len(drawn), progress)
            summary = write_tables(corpus, parameters, drawn, results)
            os.replace(corpus, out)
    except OSError as error:
        raise UserError(
            f"Cannot write {out}: {error.strerror or error}. "
            "Free some space or choose another folder."
        ) from error
    return {**summary, "reused": False}


def check_parameters(parameters):
    """Raise `UserError` for numbers that make no corpus."""
    lowest = {"speakers": 2, "heldout": 2, "hours": 0, "rate": 4000, "seed": 0}
    for name, low in lowest.items():
        value = parameters[name]
        if value < low or (name == "hours" and value == 0):
            than = "above" if name == "hours" else "at least"
            raise UserError(
                f"{name} is {value}; give a number that is {than} {low}."
            )


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


def write_tables(corpus, parameters, drawn, results):
    """Write `speakers.csv`, then `corpus.json`; return what is in that."""
    rows = []
    for speaker in drawn:
        row = {**speaker, **results[speaker["speaker"]]}
        for internal in ("folder", "seed", "quota"):
            del row[internal]
        rows.append(row)
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(corpus / "speakers.csv", text.getvalue())
    summary = {
        "parameters": parameters,
        "hours": round(sum(row["seconds"] for row in rows) / 3600, 3),
        "files": sum(row["utterances"] for row in rows),
    }
    write_text(corpus / "corpus.json", json.dumps(summary, indent=2) + "\n")
    return summary
