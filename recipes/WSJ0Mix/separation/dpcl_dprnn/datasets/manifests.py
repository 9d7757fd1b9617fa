"""From a data set of mixtures to the CSV files that training reads."""

import concurrent.futures
import csv
import hashlib
import io
import json
import logging
import pathlib

import tqdm

from ..common.errors import UserError
from ..common.files import write_text
from ..sound.audio import audio_info, check_format, read_audio
from .data_sets import choose_data_set
from .layouts import SPLITS

logger = logging.getLogger(__name__)


def prepare_manifests(
    data_folder,
    save_folder,
    num_spks=2,
    sample_rate=8000,
    mode="min",
    mixture_type="clean",
    train_folder="",
    splits=SPLITS,
):
    """Check a data set and list it in `train.csv`, `valid.csv`, `test.csv`.

    The columns are `ID, duration, mix_wav, s1_wav, s2_wav, ...`, with the
    duration in seconds and absolute paths. The header of every file is read,
    unless the same files were checked before.

    Arguments
    ---------
    data_folder : str or Path, or a list of them
        A folder of WAV or FLAC files in one of `layouts.LAYOUTS`. Those
        of a list, such as 2speakers and 3speakers, are put together.
    save_folder : str or Path
        Where the CSV files go.
    num_spks : int
        Speakers in each mixture; of a list of folders, the most in a mixture.
        Sources that a mixture lacks have no path.
    sample_rate : int
        The sampling rate that the files must have.
    mode : str
        `min` or `max`, for layouts that have both.
    mixture_type : str
        `clean`, or `both` for mixtures with noise, of layouts that have them.
    train_folder : str
        The folder of training mixtures, such as `train-100`; all by default.
    splits : sequence of str
        Which of `train`, `valid` and `test` are needed.

    Returns
    -------
    dict
        The CSV file of each split.

    Raises
    ------
    UserError
        When the data set is incomplete, not what the options say, or has a
        damaged file.
    """
    save_folder = pathlib.Path(save_folder)
    csv_files = {split: save_folder / f"{split}.csv" for split in splits}
    counts = range(1, num_spks + 1)
    if isinstance(data_folder, str | pathlib.Path):
        data_folder, counts = [data_folder], [num_spks]
    data_sets = [
        choose_data_set(
            folder, sample_rate, mode, mixture_type, counts, train_folder
        )
        for folder in data_folder
    ]
    logger.info("Data: %s.", "; ".join(map(str, data_sets)))
    listed = {split: _list_all(data_sets, split) for split in splits}
    state_file = save_folder / "manifests.json"
    data_state = _data_state(listed, sample_rate, num_spks)
    try:
        before = json.loads(state_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if before == {"data": data_state, **_digests(csv_files)}:
        logger.info("The data are as they were: %s are kept.", save_folder)
    else:
        texts = {
            split: _check_split(*listed[split], sample_rate, num_spks)
            for split in splits
        }
        # From here until the end, nothing vouches for the CSV files.
        state_file.unlink(missing_ok=True)
        for split, path in csv_files.items():
            write_text(path, texts[split])
        state = {"data": data_state, **_digests(csv_files)}
        write_text(state_file, json.dumps(state, indent=2) + "\n")
    return {split: str(path) for split, path in csv_files.items()}


def _list_all(data_sets, split):
    """The rows of a split of all data sets, and what metadata say of them."""
    rows, listing = {}, {}
    for data_set in data_sets:
        listing |= data_set.listing(split)
        for name, row in data_set.rows(split).items():
            if name in rows:
                raise UserError(
                    f"{row[0]} and {rows[name][0]} have the same name. Rename "
                    "one, or leave out one of the folders of --data_folder."
                )
            rows[name] = row
    return rows, listing


def _check_split(rows, listing, rate, num_spks):
    """Check the files of a split; return the text of its CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    sources = [f"s{n}_wav" for n in range(1, num_spks + 1)]
    writer.writerow(["ID", "duration", "mix_wav", *sources])
    # Threads: the time goes in waiting for the disk.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        frames = pool.map(
            lambda name: _check_row(rows[name], listing.get(name), rate), rows
        )
        bar = tqdm.tqdm(frames, "checking", len(rows), unit="mixture")
        for (name, row), count in zip(rows.items(), bar, strict=True):
            missing = [""] * (1 + num_spks - len(row))
            writer.writerow([name, count / rate, *row, *missing])
    return text.getvalue()


def _check_row(row, listed, rate):
    """Check a mixture and its sources; return their number of samples."""
    frames = [check_file(path, rate) for path in row]
    for path, count in zip(row, frames, strict=True):
        if count != frames[0]:
            raise UserError(
                f"{path} has {count} samples, but {row[0]} has {frames[0]}. "
                "A mixture and its sources must have the same length."
            )
    if listed is not None and listed.length != frames[0]:
        raise UserError(
            f"{row[0]} has {frames[0]} samples, but {listed.where}, says "
            f"{listed.length}. Copy or make the file again."
        )
    return frames[0]


def check_file(path, rate):
    """The samples of a sound file that is fit; no more is read than needed."""
    info = audio_info(path)
    check_format(path, info.channels, info.rate, rate)
    if info.frames == 0:
        raise UserError(f"{path} is empty. Copy or make the file again.")
    if info.subtype in ("FLOAT", "DOUBLE"):  # the only ones that can be NaN
        read_audio(path, rate)
    elif info.format == "FLAC":  # a cut one lacks the end
        read_audio(path, rate, start=info.frames - 1, frames=1)
    return info.frames


def _data_state(listed, sample_rate, num_spks):
    """A digest of all that the CSV files depend on."""
    digest = hashlib.sha256(f"{sample_rate} {num_spks}\n".encode())
    for split, (rows, listing) in listed.items():
        for name, row in rows.items():
            digest.update(f"{name} {listing.get(name)}\n".encode())
            for path in row:
                try:
                    stat = path.stat()
                except OSError as error:  # a link to nothing, mostly
                    raise UserError(
                        f"Cannot read {path}: {error.strerror}. Replace or "
                        "remove the file."
                    ) from error
                stamp = f"{path} {stat.st_size} {stat.st_mtime_ns}"
                digest.update(f"{split} {stamp}\n".encode())
    return digest.hexdigest()


def _digests(csv_files):
    return {
        split: hashlib.sha256(path.read_bytes()).hexdigest()
        for split, path in csv_files.items()
        if path.is_file()
    }
