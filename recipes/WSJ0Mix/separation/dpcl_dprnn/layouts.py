"""How data sets of mixtures lay out their folders."""

import dataclasses

from .audio import SOUND_SUFFIXES
from .errors import UserError

SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a data set keeps its files: `ROOT/SPLIT/{MIXTURE,SOURCE}/*`.

    Arguments
    ---------
    name : str
        What the layout is called.
    root : str
        Folder below the data folder, with `{rate}` (kHz) and `{mode}`.
    splits : tuple
        The folders of the train, valid and test splits.
    mixture : str
        The folder of the mixtures.
    source : str
        The folder of the sources, with `{}` for the number of the speaker.
    """

    name: str
    root: str
    splits: tuple
    mixture: str
    source: str

    def roots(self, data_folder):
        """The roots that the data folder has, sorted."""
        pattern = self.root.format(rate="*", mode="*")
        found = data_folder.glob(pattern) if pattern else [data_folder]
        return sorted(
            root
            for root in found
            if any((root / s / self.mixture).is_dir() for s in self.splits)
        )

    def __str__(self):
        root = f"{self.root.format(rate=8, mode='min')}/" if self.root else ""
        kinds = [self.mixture, self.source.format(1), self.source.format(2)]
        return f"{root}{{{','.join(self.splits)}}}/{{{','.join(kinds)}}}"


LAYOUTS = (
    Layout("wsj0-mix", "wav{rate}k/{mode}", ("tr", "cv", "tt"), "mix", "s{}"),
    Layout("custom", "", SPLITS, "mixture", "source{}"),
)


def find_layout(data_folder, sample_rate=8000, mode="min"):
    """Recognise the layout of a data set from what the folder holds.

    Arguments
    ---------
    data_folder : pathlib.Path
        The data set.
    sample_rate : int
        The wanted sampling rate.
    mode : str
        The wanted mode, `min` or `max`.

    Returns
    -------
    layout : Layout
        One of `LAYOUTS`.
    root : pathlib.Path
        The folder that has the splits.

    Raises
    ------
    UserError
        When there is no such folder, layout, sampling rate or mode.
    """
    if not data_folder.is_dir():
        raise UserError(f"{data_folder} is not a folder. Set --data_folder.")
    for layout in LAYOUTS:
        roots = layout.roots(data_folder)
        wanted = data_folder / layout.root.format(
            rate=f"{sample_rate / 1000:g}", mode=mode
        )
        if wanted in roots:
            return layout, wanted
        if roots:
            there = [str(each.relative_to(data_folder)) for each in roots]
            raise UserError(
                f"{data_folder} has no {wanted.relative_to(data_folder)}, but "
                f"{' and '.join(there)}. Set the sampling rate and mode to "
                "what is there."
            )
    names = sorted(path.name for path in data_folder.iterdir())
    raise UserError(
        f"{data_folder} has no mixtures in a layout known here. Looked for "
        f"{' or '.join(map(str, LAYOUTS))}; "
        f"found {', '.join(names[:5]) or 'an empty folder'}."
    )


def list_files(folder, layout, num_spks):
    """List the mixtures of a split with their sources.

    Arguments
    ---------
    folder : pathlib.Path
        The folder of the split.
    layout : Layout
        Names of the folders in it.
    num_spks : int
        Speakers in each mixture.

    Returns
    -------
    dict
        `{ID: [mixture, source 1, source 2, ...]}`, sorted.

    Raises
    ------
    UserError
        When the split is missing or empty, lacks a source, or has another
        number of speakers.
    """
    mixtures = _sound_files(folder / layout.mixture)
    there = 0
    while (folder / layout.source.format(there + 1)).is_dir():
        there += 1
    if there != num_spks:
        raise UserError(
            f"{folder} has sources of {there} speakers, but num_spks is "
            f"{num_spks}. Set --num_spks={there} or choose other data."
        )
    rows = {name: [path] for name, path in mixtures.items()}
    for number in range(1, num_spks + 1):
        source_folder = folder / layout.source.format(number)
        sources = _sound_files(source_folder)
        for name, row in rows.items():
            if name not in sources:
                raise UserError(
                    f"{source_folder / row[0].name} is missing: {row[0]} "
                    "needs it. Copy or make it again."
                )
            row.append(sources[name])
    return rows


def _sound_files(folder):
    """The sound files of a folder, `{stem: path}`, sorted."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in SOUND_SUFFIXES and path.name[0] != ".":
            if path.stem in found:
                raise UserError(
                    f"{path} and {found[path.stem].name} have the same name. "
                    "Remove one."
                )
            found[path.stem] = path
    if not found:
        raise UserError(f"{folder} has no WAV or FLAC files. Add them.")
    return found
