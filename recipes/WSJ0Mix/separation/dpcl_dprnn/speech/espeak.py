"""Makes the eSpeak NG library speak, one process for each speaker.

What the library says depends on all that its process has said before, so a
speaker gets a fresh process: only then are the same speakers the same bytes.
`run_job` starts an interpreter, whose `speak_all` forks the processes, each
of which runs `speak_and_exit`.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import traceback

import numpy as np
import scipy.signal
from tqdm import tqdm

from ..common.errors import UserError
from ..common.files import write_text
from ..sound.audio import write_wav
from .sentences import sentence

ESPEAK_RATE = 22050  # samples per second that the library makes


def check(status, call, good=0):
    """Raise `UserError` unless a call of the library went well."""
    if status != good:
        raise UserError(
            f"eSpeak NG's {call} gave {status}. "
            "Try pip install --force-reinstall espeakng-loader."
        )


def open_voice(speaker):
    """Start eSpeak NG as one speaker, once in a process: gives a function from
    a text to its samples, int16, [T], at 22050 Hz.
    """
    library = start_library()
    pieces = []

    @ctypes.CFUNCTYPE(
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_short),
        ctypes.c_int,
        ctypes.c_void_p,
    )
    def _collect(samples, count, _):
        if samples and count > 0:
            # A copy, as the library writes the next piece over this one
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # 1 would stop the speech

    library.espeak_SetSynthCallback(_collect)
    set_voice(library, speaker)

    # A default argument keeps the callback alive: the library does not
    def _say(text, keep=_collect):
        pieces.clear()
        text = text.encode()
        size = ctypes.c_size_t(len(text) + 1)
        # From the start (0, 0) to the end (0); 1: the text is UTF-8
        status = library.espeak_Synth(text, size, 0, 0, 0, 1, None, None)
        check(status, "espeak_Synth")
        return np.concatenate(pieces)

    return _say


def start_library():
    """Load eSpeak NG and give it its data."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    # eSpeak NG refuses a long path, so it gets the shortest there is
    os.chdir(pathlib.Path(espeakng_loader.get_data_path()).parent)
    # 2: synchronous, samples to the callback; 0x8000: never exit
    rate = library.espeak_Initialize(2, 0, b".", 0x8000)
    check(rate, "espeak_Initialize", good=ESPEAK_RATE)
    return library


def set_voice(library, speaker):
    """Give the library the voice of a speaker."""
    seed = ctypes.c_long(speaker["seed"][-1])
    check(library.espeak_ng_SetRandSeed(seed), "espeak_ng_SetRandSeed")
    voice = speaker["voice"]
    status = library.espeak_SetVoiceByName(voice.encode())
    check(status, f"espeak_SetVoiceByName({voice})")
    # The second is the volume; at 60 six of the variants clip
    settings = (speaker["words_per_minute"], 30, speaker["pitch"])
    for number, value in enumerate((*settings, speaker["range"]), start=1):
        status = library.espeak_SetParameter(number, value, 0)
        check(status, f"espeak_SetParameter({number}, {value})")


def colour(speech, speaker):
    """Give eSpeak's speech, [T] at 22050 Hz, the vocal tract, colour and level
    of a speaker of `draw_speakers`, and trim it: [T'] at the speaker's `rate`,
    floating point with full scale at 1.0.
    """
    speech = speech.astype(np.float64)
    speech = scipy.signal.resample_poly(speech, speaker["up"], speaker["down"])
    gains = 10 ** (np.array(speaker["eq_db"].split(), dtype=float) / 20)
    bands = [0, 0.125, 0.25, 0.5, 1]  # of half the rate
    equaliser = scipy.signal.firwin2(65, bands, gains)
    speech = scipy.signal.upfirdn(equaliser, speech)
    peak = np.abs(speech).max()
    loud = np.flatnonzero(np.abs(speech) > 0.01 * peak)
    margin = speaker["rate"] // 50
    speech = speech[max(loud[0] - margin, 0) : loud[-1] + margin]
    level = 10 ** (speaker["level_db"] / 20) / np.sqrt(np.mean(speech**2))
    return speech * min(level, 0.8 / peak)  # not so loud that it clips


def speak(speaker):
    """Speak a speaker's quota into its folder and say how much it was."""
    say, rng = open_voice(speaker), np.random.default_rng(speaker["seed"])
    folder = pathlib.Path(speaker["folder"])
    count, seconds = 0, 0.0
    # Half a sentence short is as near to the quota as one can come
    while count == 0 or seconds + 2 < speaker["quota"]:
        samples = colour(say(sentence(rng)), speaker)
        path = folder / f"{speaker['speaker']}_{count:03d}.wav"
        write_wav(path, samples, speaker["rate"])
        count, seconds = count + 1, seconds + len(samples) / speaker["rate"]
    return {"utterances": count, "seconds": round(seconds, 3)}


def speak_and_exit(speaker):
    """Be the process of one speaker: print a line of JSON, then end."""
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
        os._exit(status)  # a fork must not go on as if it were `speak_all`


def speak_all(job_file):
    """Fork a process per speaker, a number of them at a time.

    For the bare interpreter of `run_job`: a fork of the user's program would
    carry its threads along, and a spawned process import it all again.
    """
    job = json.loads(pathlib.Path(job_file).read_text(encoding="utf-8"))
    speakers, jobs = job["speakers"], job["jobs"]
    for index, speaker in enumerate(speakers):
        if index >= jobs:
            reap()
        if os.fork() == 0:
            speak_and_exit(speaker)
    for _ in speakers[:jobs]:
        reap()


def reap():
    """Wait for a speaker's process and exit if it did not end well."""
    _, status = os.wait()
    if status:
        sys.exit(1)


def run_job(job_file, speakers, jobs):
    """Run `speak_all` in an interpreter of its own, which reads from
    `job_file` what to do: so many speakers of `draw_speakers` at a time, each
    with a `folder` for its utterances. What `speak` returned, by name of the
    speaker.
    """
    write_text(job_file, json.dumps({"jobs": jobs, "speakers": speakers}))
    call = (
        f"import sys; from {__name__} import speak_all; speak_all(sys.argv[1])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", call, str(job_file)],
        cwd=pathlib.Path(__file__).parents[2],  # where the package is found
        # Numpy's threads are of no use here, and do not survive a fork
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for this process to handle
    ) as process:
        try:
            results = read_results(process.stdout, len(speakers))
        finally:
            # With its forks: one that went on writing would spoil the removal
            # of its folder. Errors: all have ended already
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()  # to the end of a pipe that all hold open
    if len(results) < len(speakers):
        raise UserError(
            f"eSpeak NG stopped after {len(results)} of {len(speakers)} "
            "speakers. See the messages above and run the command again."
        )
    return results


def read_results(lines, count):
    """Collect the lines of `speak_and_exit`, with a progress bar."""
    results = {}
    # Not tqdm(lines): it may close the pipe that is still to be read
    with tqdm(desc="Speaking", total=count, unit="speaker") as bar:
        for line in lines:
            result = json.loads(line)
            if "error" in result:
                raise UserError(result["error"])
            results[result.pop("speaker")] = result
            bar.update()
    return results
