"""Write the HTML report of a run: one self-contained file, readable without a network."""

from __future__ import annotations

import base64
import datetime as dt
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
import pyarrow.dataset as pads

from deid_ops.errors import SetupError
from deid_ops.types import U8
from jobs.lake.tables import Lake
from jobs.report.figures import RunQueries
from jobs.report.pictures import Picture, faces_wanted, frames_wanted, load_pictures
from jobs.sources import SourceCache

MAX_CLIPS, FRAMES_A_CLIP, MAX_FACES = 12, 2, 24
FRAME_WIDTH_PX = 480
PROVENANCE = (
    "pipeline_fingerprint", "code_version", "config_sha256", "weights_json", "versions_json",
    "providers", "identity_scope", "key_id", "plan_id", "lease_epoch", "host",
)  # fmt: skip


def write_report(lake_root: str, out_dir: Path, run_id: str, show_originals: bool) -> Path:
    """Write `report-RUN_ID.html` and return its path.

    Args:
        lake_root: folder or `s3://` prefix of the tables.
        out_dir: local folder, created if need be.
        run_id: a run of the `runs` table.
        show_originals: put frames of the source files beside those of the published clips. The
            file is then personal data.

    Raises:
        SetupError: there is no such run.
        InputError: a published clip is missing or not what its row says.
    """
    lake = Lake(lake_root)
    queries = RunQueries(lake, run_id)
    run = queries.table("SELECT * FROM runs ORDER BY committed_at DESC LIMIT 1").to_pylist()[0]
    with tempfile.TemporaryDirectory(prefix="deid-report-") as folder:
        sources = SourceCache(folder)
        wanted = frames_wanted(queries, MAX_CLIPS, FRAMES_A_CLIP)
        n_frames = len(wanted)
        wanted += faces_wanted(queries, MAX_FACES)
        pictures = load_pictures(wanted, sources, show_originals)
    left = "as recorded on the left, as published on the right" if show_originals else "published"
    sheets = (
        (
            "frames",
            "Frames",
            f"From the clips with most faces, {left}.",
            _embedded(pictures[:n_frames]),
        ),
        (
            "faces",
            "Faces",
            f"The tracks at the head of the review queue, {left}.",
            _embedded(pictures[n_frames:]),
        ),
    )
    html = _template().render(
        run=run,
        figures=queries.figures(),
        sheets=sheets,
        provenance=PROVENANCE,
        show_originals=show_originals,
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / f"report-{run_id}.html"
    path.write_text(html, encoding="utf-8")
    return path


def latest_run(lake_root: str) -> str:
    """Return the run that started last and has ended.

    Raises:
        SetupError: no run has ended.
    """
    runs = Lake(lake_root).read(
        "runs", ["run_id", "started_at"], pads.field("finished_at").is_valid()
    )
    if runs.num_rows == 0:
        raise SetupError(f"{lake_root}: no finished run; start with `deid nightly`")
    return str(runs.sort_by([("started_at", "descending")])["run_id"][0].as_py())


def _embedded(pictures: Sequence[Picture]) -> list[dict[str, str | None]]:
    return [
        {
            "caption": picture.caption,
            "after": _data_uri(picture.after),
            "before": None if picture.before is None else _data_uri(picture.before),
            "problem": picture.problem,
        }
        for picture in pictures
    ]


def _data_uri(image: U8) -> str:
    if image.shape[1] > FRAME_WIDTH_PX:
        height = round(image.shape[0] * FRAME_WIDTH_PX / image.shape[1])
        image = np.asarray(
            cv2.resize(image, (FRAME_WIDTH_PX, height), interpolation=cv2.INTER_AREA), np.uint8
        )
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def _template() -> jinja2.Template:
    source = files("jobs.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"value": format_value, "label": lambda name: name.replace("_", " ")}
    return environment.from_string(source)


def format_value(value: Any) -> str:
    """Return a cell's text: three significant digits, thin spaces in whole numbers, UTC times.

    Example:
        >>> format_value(0.123456), format_value(None), format_value(True)
        ('0.123', '–', 'yes')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}".replace(",", "\u202f")
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    return str(value)
