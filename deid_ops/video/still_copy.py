"""Copying photographs without faces: the same compressed image, without what lies around it.

EXIF, XMP, comments, thumbnails and anything after the image (motion clips, other exposures) are
left out. What decides how the pixels look stays: colour profile, transparency, orientation.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deid_ops.errors import InputError, InvariantError
from deid_ops.video.stills import Still, exif_orientation, read_still, write_still

_PNG_KEPT = {
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"sBIT",
    b"pHYs", b"bKGD", b"cICP",
}  # fmt: skip
_WEBP_KEPT = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP"}
_WEBP_EXIF, _WEBP_XMP = 0x08, 0x04


def copy_still(still: Still, out_path: str) -> None:
    """Copy a photograph with every pixel unchanged and all metadata but the profile left out.

    JPEG, PNG and WebP keep their compressed data bit by bit; BMP and TIFF are written again,
    without loss.

    Args:
        still: as read.
        out_path: file to write; it appears when it is complete.

    Raises:
        InputError: `truncated`: the file's structure ends early.
        InvariantError: the copy does not show the same pixels.
    """
    if still.format in ("bmp", "tiff"):
        write_still(out_path, still, still.frame)
        return
    data = Path(still.path).read_bytes()
    orientation = exif_orientation(data)
    strip = {"jpeg": _strip_jpeg, "png": _strip_png, "webp": _strip_webp}[still.format]
    try:
        stripped = strip(data, orientation)
    except (struct.error, IndexError) as error:
        detail = f"the {still.format} structure ends early ({error})"
        raise InputError("truncated", still.path, detail, "copy the file again") from error
    part_path = Path(f"{out_path}.part")
    part_path.write_bytes(stripped)
    try:
        copied = read_still(str(part_path))
        if not np.array_equal(copied.frame.planes[0], still.frame.planes[0]):
            raise InvariantError(f"{out_path}: the copy shows other pixels than {still.path}")
        os.replace(part_path, out_path)
    finally:
        part_path.unlink(missing_ok=True)


def minimal_exif(orientation: int) -> bytes:
    """EXIF (a TIFF directory) that holds the orientation and nothing else."""
    entry = struct.pack("<HHIHH", 274, 3, 1, orientation, 0)
    return b"II*\x00" + struct.pack("<IH", 8, 1) + entry + b"\x00" * 4


def _strip_jpeg(data: bytes, orientation: int) -> bytes:
    kept = [b"\xff\xd8"]
    if orientation != 1:
        payload = b"Exif\x00\x00" + minimal_exif(orientation)
        kept.append(b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload)
    for marker, segment in _jpeg_segments(data):
        is_jfif = marker == 0xE0 and segment[4:9] == b"JFIF\x00"
        is_icc = marker == 0xE2 and segment[4:16] == b"ICC_PROFILE\x00"
        if is_jfif:  # without the thumbnail it may hold
            kept.append(segment[:2] + struct.pack(">H", 16) + segment[4:16] + b"\x00\x00")
        elif is_icc or marker == 0xEE or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)
    return b"".join(kept)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and bytes of each segment to the end of the image, scans with their data."""
    at = 2
    while True:
        while data[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker = data[at + 1]
        if marker == 0xD9:
            yield marker, data[at : at + 2]
            return
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        end = at + 2 + length
        if marker == 0xDA:
            while data[end] != 0xFF or data[end + 1] in (0, *range(0xD0, 0xD8)):
                end = data.index(b"\xff", end + 1) if data[end] != 0xFF else end + 2
        yield marker, data[at:end]
        at = end


def _strip_png(data: bytes, orientation: int) -> bytes:
    kept, at = [data[:8]], 8
    while True:
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = data[at : at + 12 + length]
        if kind == b"IDAT" and orientation != 1:
            payload = b"eXIf" + minimal_exif(orientation)
            crc = struct.pack(">I", zlib.crc32(payload))
            kept.append(struct.pack(">I", len(payload) - 4) + payload + crc)
            orientation = 1
        if kind in _PNG_KEPT:
            kept.append(chunk)
        if kind == b"IEND":
            return b"".join(kept)
        at += len(chunk)


def _strip_webp(data: bytes, orientation: int) -> bytes:
    kept, at = [], 12
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= end:
        kind, length = struct.unpack("<4sI", data[at : at + 8])
        chunk = data[at : at + 8 + length + length % 2]
        if kind == b"VP8X":
            flags = chunk[8] & ~(_WEBP_EXIF | _WEBP_XMP)
            flags |= _WEBP_EXIF if orientation != 1 else 0
            chunk = chunk[:8] + bytes([flags]) + chunk[9:]
        if kind in _WEBP_KEPT:
            kept.append(chunk)
        at += len(chunk)
    if orientation != 1:
        exif = minimal_exif(orientation)
        kept.append(b"EXIF" + struct.pack("<I", len(exif)) + exif)
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body
