"""Copied photographs show the same pixels and nothing else."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deid_ops.errors import InputError
from deid_ops.video import tiff
from deid_ops.video.still_copy import copy_still
from deid_ops.video.stills import read_still

SECRET = b"GPS 48.1351 N 11.5820 E"
QUALITY = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}


def photo() -> Any:
    y, x = np.mgrid[:40, :60]
    noise = np.random.default_rng(0).integers(0, 60, (40, 60, 3))
    return (np.dstack([x * 3, y * 4, x + y]) + noise).clip(0, 255).astype(np.uint8)


def exif(orientation: int) -> bytes:
    entries = struct.pack("<HHIHH", 274, 3, 1, orientation, 0)
    entries += struct.pack("<HHII", 0x010E, 2, len(SECRET), 38)
    return b"II*\0" + struct.pack("<IH", 8, 2) + entries + b"\0" * 4 + SECRET


def tagged(extension: str, orientation: int, image: Any = None) -> bytes:
    """Encode with EXIF, and put secrets wherever else the format has room."""
    image = photo() if image is None else image
    block = [np.frombuffer(exif(orientation), np.uint8)]
    kinds = [cv2.IMAGE_METADATA_EXIF]
    options = [QUALITY[extension], 80] if extension in QUALITY else []
    if extension == ".jpg":
        options += [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 4]
    data = cv2.imencodeWithMetadata(extension, image, kinds, block, options)[1].tobytes()
    if extension == ".jpg":
        comment = b"\xff\xfe" + struct.pack(">H", len(SECRET) + 2) + SECRET
        data = data[:2] + comment + data[2:]
    elif extension == ".png":
        text = b"tEXt" + SECRET
        chunk = struct.pack(">I", len(SECRET)) + text + struct.pack(">I", zlib.crc32(text))
        data = data[:33] + chunk + data[33:]
    return data + b"motion clip " + SECRET


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_same_pixels_without_secrets(tmp_path: Path, extension: str, orientation: int) -> None:
    path, out = tmp_path / f"a{extension}", tmp_path / f"b{extension}"
    path.write_bytes(tagged(extension, orientation))
    assert SECRET in path.read_bytes()
    still = read_still(str(path))
    copy_still(still, str(out))
    assert SECRET not in out.read_bytes()
    assert b"motion" not in out.read_bytes()
    np.testing.assert_array_equal(read_still(str(out)).frame.planes[0], still.frame.planes[0])
    upright = cv2.imread(str(out), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(upright, still.frame.planes[0])
    assert len(list(tmp_path.iterdir())) == 2


def test_the_compressed_image_stays_bit_by_bit(tmp_path: Path) -> None:
    plain = cv2.imencode(".jpg", photo())[1].tobytes()
    path, out = tmp_path / "a.jpg", tmp_path / "b.jpg"
    path.write_bytes(plain)
    copy_still(read_still(str(path)), str(out))
    assert out.read_bytes() == plain


def test_alpha_and_profile_stay(tmp_path: Path) -> None:
    alpha = np.dstack([photo(), photo()[..., 0]])
    for extension in (".png", ".webp"):
        path, out = tmp_path / f"a{extension}", tmp_path / f"b{extension}"
        path.write_bytes(tagged(extension, 1, alpha))
        still = read_still(str(path))
        copy_still(still, str(out))
        np.testing.assert_array_equal(read_still(str(out)).alpha, still.alpha)
    jpeg = tmp_path / "icc.jpg"
    profile = [np.arange(200, dtype=np.uint8)]
    data = cv2.imencodeWithMetadata(".jpg", photo(), [cv2.IMAGE_METADATA_ICCP], profile)[1]
    jpeg.write_bytes(data.tobytes())
    copy_still(read_still(str(jpeg)), str(tmp_path / "out.jpg"))
    assert read_still(str(tmp_path / "out.jpg")).icc == bytes(range(200))


@pytest.mark.parametrize("extension", [".bmp", ".tiff"])
def test_bmp_and_tiff_are_written_without_loss(tmp_path: Path, extension: str) -> None:
    path, out = tmp_path / f"a{extension}", tmp_path / f"b{extension}"
    data = cv2.imencode(extension, photo())[1].tobytes()
    if extension == ".tiff":
        data = tiff.with_entry(data + SECRET, struct.pack("<HHII", 0x010E, 2, 23, len(data)))
    path.write_bytes(data if extension == ".tiff" else data + SECRET)
    copy_still(read_still(str(path)), str(out))
    assert SECRET not in out.read_bytes()
    np.testing.assert_array_equal(cv2.imread(str(out)), photo())


def test_a_cut_structure_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(tagged(".jpg", 1))
    still = read_still(str(path))
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InputError) as caught:
        copy_still(still, str(tmp_path / "b.jpg"))
    assert caught.value.reason == "truncated"
    assert [p.name for p in tmp_path.iterdir()] == ["a.jpg"]


@pytest.mark.shared
def test_real_photographs(shared_media: Path, tmp_path: Path) -> None:
    for path in sorted(shared_media.glob("*.jpg")):
        still, out = read_still(str(path)), str(tmp_path / path.name)
        copy_still(still, out)
        np.testing.assert_array_equal(read_still(out).frame.planes[0], still.frame.planes[0])
