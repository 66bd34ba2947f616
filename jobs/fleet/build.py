"""Build the demo fleet: recordings in a folder or an S3 prefix, and the manifest beside them."""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time
from fractions import Fraction
from pathlib import Path

import numpy as np

from deid_ops.types import U8
from jobs.fleet.drives import FLEET, Recording, Walker
from jobs.fleet.encode import encode
from jobs.fleet.people import Person
from jobs.fleet.street import Street
from jobs.manifest import write_manifest
from jobs.rows import Row
from jobs.storage import Storage
from schemas.tables import MANIFEST

MANIFEST_NAME = "manifest.parquet"


def build_fleet(root: str, seed: int = 0, recordings: tuple[Recording, ...] = FLEET) -> str:
    """Write every recording and the manifest; return the manifest's address.

    On one machine the same seed and weights give the same bytes. Objects that already hold them
    are left alone.

    Args:
        root: local folder or `s3://bucket/prefix`.
        seed: facades, noise and frame times follow from it.
        recordings: what to build.

    Raises:
        SetupError: a portrait or the weights that paint faces are missing, or the place cannot be
            written to.
        RetryableError: the store failed.
    """
    storage = Storage(root)
    with tempfile.TemporaryDirectory(prefix="deid-fleet-") as folder, ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda item: _store(storage, item, Path(folder), seed), recordings))
    write_manifest(MANIFEST.table(rows), storage.uri(MANIFEST_NAME))
    return storage.uri(MANIFEST_NAME)


def _store(storage: Storage, recording: Recording, folder: Path, seed: int) -> Row:
    path = folder / f"{recording.recording_id}{recording.suffix}"
    write_recording(path, recording, seed)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if not storage.exists(recording.path) or storage.digest(recording.path)[0] != sha256:
        storage.write(recording.path, content)
    return {
        "recording_id": recording.recording_id,
        "uri": storage.uri(recording.path),
        "drive_id": recording.drive,
        "drive_date": recording.day,
        "vehicle_id": recording.vehicle,
        "fleet": "demo",
        "camera": recording.camera,
        "sha256": sha256,
        "start_time_utc": datetime.combine(recording.day, time(8, 30), tzinfo=UTC),
    }


def write_recording(path: Path, recording: Recording, seed: int) -> None:
    """Write one recording to a local file, cut off where its description says so."""
    encode(path, _frames(recording, seed), recording.fps, recording.encoding)
    if recording.kept_share < 1:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * recording.kept_share)])


def _frames(recording: Recording, seed: int) -> Iterator[tuple[Fraction, U8]]:
    """Yield (time in seconds, upright BGR image)."""
    own_seed = zlib.crc32(f"{seed}/{recording.recording_id}".encode())
    street = Street(
        recording.size_wh_px, recording.yaw, recording.speed_m_s, recording.light, own_seed
    )
    people = [(walker, Person(walker.portrait, walker.look)) for walker in recording.walkers]
    for index, time_s in enumerate(_times(recording, own_seed)):
        image = street.frame(float(time_s))
        for walker, person in people:
            _draw(image, walker, person, index / (recording.n_frames - 1))
        yield time_s, street.expose(image)


def _times(recording: Recording, seed: int) -> list[Fraction]:
    """Return presentation times: even, or with distances of 0.5 to 2 nominal frames."""
    if not recording.variable_rate:
        return [Fraction(i, recording.fps) for i in range(recording.n_frames)]
    quarters = np.random.default_rng(seed).integers(2, 9, recording.n_frames)
    ticks = np.concatenate([[0], np.cumsum(quarters)[:-1]])
    return [Fraction(int(t), 4 * recording.fps) for t in ticks]


def _draw(image: U8, walker: Walker, person: Person, share: float) -> None:
    times, xs, ys, faces = np.array(walker.path).T
    hidden = walker.absent is not None and walker.absent[0] <= share < walker.absent[1]
    if hidden or not times[0] <= share <= times[-1]:
        return
    height, width = image.shape[:2]
    step = 2 * np.pi * 4 * share  # four steps along the path
    x = float(np.interp(share, times, xs)) * width
    y = float(np.interp(share, times, ys)) * height
    face_px = float(np.interp(share, times, faces)) * height
    y += 0.04 * face_px * float(np.sin(step))
    person.draw(image, (x, y), face_px, 3.0 * float(np.sin(step / 2)))
