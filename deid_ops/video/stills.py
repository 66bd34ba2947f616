"""Photographs as clips of one frame, and telling photographs, GIFs and videos apart.

The display orientation is baked into the pixels. EXIF, XMP and everything after the image (GPS,
serial numbers, embedded thumbnails and motion clips that show the original face) are left out;
the colour profile is kept.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from deid_ops.errors import InputError, InvariantError
from deid_ops.types import U8, Span
from deid_ops.video import tiff
from deid_ops.video.frame import ColorTags, Frame

Kind = Literal["video", "gif", "still"]
Format = Literal["jpeg", "png", "webp", "bmp", "tiff"]

STILL_SPAN = Span(0, 0, None, 1, Fraction(1))
_EXTENSION = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "bmp": ".bmp", "tiff": ".tiff"}
_CONVERT = "convert it to 8-bit JPEG, PNG, WebP, BMP or TIFF"
_STILL_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")
_OTHER_VIDEO = {
    b"FLV\x01": "Flash video",
    b"OggS": "Ogg",
    b"\x30\x26\xb2\x75": "Windows Media",
    b"\x00\x00\x01\xba": "an MPEG program stream",
}


@dataclass(frozen=True, slots=True)
class Still:
    """A photograph as read.

    Attributes:
        path: the file.
        format: how it is stored, and will be written.
        frame: upright `bgr24` pixels.
        alpha: [h, w] transparency, kept as it is; None where there is none.
        is_gray: stored with one channel.
        icc: colour profile.
        jpeg_sampling: OpenCV's chroma sampling number of a JPEG.
        is_lossless: of a WebP.
    """

    path: str
    format: Format
    frame: Frame
    alpha: U8 | None
    is_gray: bool
    icc: bytes | None
    jpeg_sampling: int
    is_lossless: bool


def kind_of(path: str) -> Kind:
    """Tell by its first bytes how a file is treated.

    Raises:
        InputError: `empty_file`, `unsupported_container`, `unsupported_still` or `unreadable`.

    Example:
        >>> kind_of("photo.jpg")  # doctest: +SKIP
        'still'
    """
    with Path(path).open("rb") as file:
        head = file.read(400)
    if not head:
        remedy = "copy the file again from its source"
        raise InputError("empty_file", path, "the file holds 0 bytes", remedy)
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if _still_format(head) is not None:
        return "still"
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        brand = head[8:12].decode("ascii")
        raise InputError("unsupported_still", path, f"a HEIF image ({brand})", _CONVERT)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "video"
    if head[:4] == b"\x1a\x45\xdf\xa3" or head[0::188][:2] == b"\x47\x47":
        return "video"
    found = _OTHER_VIDEO.get(head[:4], "AVI" if head[8:12] == b"AVI " else None)
    if found is not None:
        remedy = "remux to mp4, mkv or MPEG-TS"
        raise InputError("unsupported_container", path, f"the file is {found}", remedy)
    detail = f"neither video nor image: it begins with {head[:8].hex()}"
    raise InputError("unreadable", path, detail, "leave it out")


def read_still(path: str) -> Still:
    """Read a photograph.

    Raises:
        InputError: `unreadable`, `truncated`, `unsupported_still` (animation, several pages, 16
            bits, four-colour print).
    """
    data = Path(path).read_bytes()
    stored = _still_format(data)
    if stored is None:
        raise InputError("unreadable", path, "not a JPEG, PNG, WebP, BMP or TIFF", _CONVERT)
    components, sampling = _jpeg_header(data) if stored == "jpeg" else (3, 0)
    n_pages = _n_pages(path, data, stored)
    if components == 4 or n_pages > 1:
        what = f"{n_pages} pages" if n_pages > 1 else "four-colour print"
        raise InputError("unsupported_still", path, what, _CONVERT)
    if stored == "jpeg" and b"\xff\xd9" not in data[-(1 << 20) :]:
        remedy = "copy the file again from its source"
        raise InputError("truncated", path, "the end of the image is missing", remedy)
    image, icc, orientation = _decode(path, data, stored)
    if image.dtype != np.uint8:
        raise InputError("unsupported_still", path, f"samples are {image.dtype}", _CONVERT)
    image = _upright(image, orientation)
    is_gray = image.ndim == 2
    alpha = np.ascontiguousarray(image[..., 3]) if image.ndim == 3 and image.shape[2] == 4 else None
    bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if is_gray else image[..., :3]
    bgr = np.ascontiguousarray(bgr)
    bgr.flags.writeable = False
    frame = Frame(0, 0, True, "bgr24", (bgr,), ColorTags("bt601", full_range=True))
    lossless = stored == "webp" and b"VP8L" in data[:4096]
    return Still(path, stored, frame, alpha, is_gray, icc, sampling, lossless)


def write_still(out_path: str, still: Still, frame: Frame, quality: int = 95) -> None:
    """Write an edited photograph in the format of its source, without any metadata but the profile.

    Args:
        out_path: file to write; it appears when it is complete.
        still: as read.
        frame: edited pixels of the same size.
        quality: of JPEG and lossy WebP, 1..100.

    Raises:
        InvariantError: the size differs.
    """
    image: Any = frame.planes[0]
    if frame.size_wh_px != still.frame.size_wh_px or frame.pix_fmt != "bgr24":
        raise InvariantError(f"{out_path}: {frame.size_wh_px} in {frame.pix_fmt} does not fit")
    if still.is_gray:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    elif still.alpha is not None:
        image = np.dstack([image, still.alpha])
    options: list[int] = []
    if still.format == "jpeg":
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, still.jpeg_sampling]
    elif still.format == "webp":
        options = [cv2.IMWRITE_WEBP_QUALITY, 101 if still.is_lossless else quality]
    extension = _EXTENSION[still.format]
    if still.icc is not None and still.format in ("jpeg", "png", "webp"):
        profile = [np.frombuffer(still.icc, np.uint8)]
        kinds = [cv2.IMAGE_METADATA_ICCP]
        done, encoded = cv2.imencodeWithMetadata(extension, image, kinds, profile, options)
    else:
        done, encoded = cv2.imencode(extension, image, options)
    if not done:
        raise InvariantError(f"{out_path}: OpenCV cannot write {still.format}")
    data = encoded.tobytes()
    if still.icc is not None and still.format == "tiff":
        data = tiff.with_icc(data, still.icc)
    part_path = Path(f"{out_path}.part")
    part_path.write_bytes(data)
    os.replace(part_path, out_path)


def exif_orientation(data: bytes) -> int:
    """Return the EXIF orientation 1..8 of an encoded JPEG, PNG or WebP image."""
    _, kinds, chunks = cv2.imdecodeWithMetadata(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    found = {int(kind): bytes(chunk) for kind, chunk in zip(kinds, chunks, strict=True)}
    exif = found.get(cv2.IMAGE_METADATA_EXIF, b"").removeprefix(b"Exif\x00\x00")
    return tiff.read_orientation(exif)


def _still_format(head: bytes) -> Format | None:
    if head[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\x00", b"MM\x00*"):
        return "tiff"
    return "bmp" if head[:2] == b"BM" and head[6:10] == b"\x00" * 4 else None


def _n_pages(path: str, data: bytes, stored: Format) -> int:
    if stored == "tiff":
        return cv2.imcount(path)
    animated = b"acTL" in data[:4096] if stored == "png" else data[30:34] == b"ANIM"
    return 2 if animated and stored in ("png", "webp") else 1


def _decode(path: str, data: bytes, stored: Format) -> tuple[Any, bytes | None, int]:
    """Return stored pixels, colour profile and EXIF orientation."""
    image, kinds, chunks = cv2.imdecodeWithMetadata(
        np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED
    )
    if image is None or image.size == 0:
        remedy = "copy the file again from its source"
        raise InputError("truncated", path, f"the {stored} data cannot be decoded", remedy)
    found = {int(kind): bytes(chunk) for kind, chunk in zip(kinds, chunks, strict=True)}
    if stored == "tiff":
        return image, tiff.read_icc(data), 1  # OpenCV turns TIFF images itself
    exif = found.get(cv2.IMAGE_METADATA_EXIF, b"").removeprefix(b"Exif\x00\x00")
    return image, found.get(cv2.IMAGE_METADATA_ICCP), tiff.read_orientation(exif)


def _upright(image: Any, orientation: int) -> Any:
    """Apply one of the eight EXIF orientations."""
    if orientation in (5, 6, 7, 8):
        image = np.swapaxes(image, 0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _jpeg_header(data: bytes) -> tuple[int, int]:
    """Return the number of components and OpenCV's sampling number (0 where it knows none)."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            components = data[at + 9]
            luma = data[at + 11] if components > 1 else 0x11
            return components, {
                0x22: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
                0x21: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
                0x12: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
                0x41: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
            }.get(luma, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 3, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
