"""A before/after picture of a run, as one image file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from deid_ops.errors import SetupError
from deid_ops.types import U8
from jobs.lake.tables import Lake
from jobs.report.figures import RunQueries
from jobs.report.pictures import Picture, frames_wanted, load_pictures
from jobs.sources import SourceCache

_GAP_PX = 6
_BAND_PX = 24


def write_contact_sheet(
    lake_root: str, path: Path, run_id: str, show_originals: bool, n_clips: int = 3
) -> Path:
    """Write frames of a run's clips, with the originals on their left where asked for.

    Args:
        lake_root: folder or `s3://` prefix of the tables.
        path: `.png` or `.jpg`, in an existing folder.
        run_id: a run of the `runs` table.
        show_originals: put the recorded frame beside each published one; the picture is then
            personal data.
        n_clips: one frame of each of the clips with most faces.

    Raises:
        SetupError: there is no such run, it shows no face, or the file cannot be written.
    """
    queries = RunQueries(Lake(lake_root), run_id)
    with tempfile.TemporaryDirectory(prefix="deid-report-") as folder:
        wanted = frames_wanted(queries, n_clips, 1)
        pictures = load_pictures(wanted, SourceCache(folder), show_originals)
    if not pictures:
        raise SetupError(f"run {run_id}: no published clip shows a face, so there is no picture")
    if not cv2.imwrite(str(path), contact_sheet(pictures)):
        raise SetupError(f"{path}: not written; use .png or .jpg in an existing folder")
    return path


def contact_sheet(pictures: Sequence[Picture], tile_width_px: int = 400) -> U8:
    """Return a picture with one row for each entry, before left of after, captions above.

    Args:
        pictures: at least one; `before` missing leaves one column.
        tile_width_px: width of each frame.

    Returns:
        [h, w, 3] uint8 BGR.
    """
    rows = [_row(picture, tile_width_px) for picture in pictures]
    width = max(row.shape[1] for row in rows)
    sheet = [np.full((_GAP_PX, width, 3), 255, np.uint8)]
    for row in rows:
        padding = np.full((row.shape[0], width - row.shape[1], 3), 255, np.uint8)
        sheet += [np.hstack([row, padding]), sheet[0]]
    return np.vstack(sheet)


def _row(picture: Picture, tile_width_px: int) -> U8:
    images = [image for image in (picture.before, picture.after) if image is not None]
    height = max(round(i.shape[0] * tile_width_px / i.shape[1]) for i in images)
    gap = np.full((height, _GAP_PX, 3), 255, np.uint8)
    parts = [gap]
    for image in images:
        size = (tile_width_px, height)
        parts += [np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), gap]
    tiles = np.hstack(parts)
    band = np.full((_BAND_PX, tiles.shape[1], 3), 255, np.uint8)
    origin, font = (_GAP_PX, _BAND_PX - 7), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(band, picture.caption, origin, font, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
    return np.vstack([band, tiles])
