"""Photographs: exact where the format is lossless, upright, without EXIF, with their profile."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deid_ops.errors import InputError, InvariantError
from deid_ops.video import tiff
from deid_ops.video.frame import Frame
from deid_ops.video.stills import kind_of, read_still, write_still


def photo(width: int = 60, height: int = 40) -> Any:
    y, x = np.mgrid[:height, :width]
    return np.dstack([x * 4, y * 6, (x + y) * 2]).astype(np.uint8)


def profile() -> bytes:
    """The smallest RGB profile that libpng takes: a header and one tag."""
    head = struct.pack(
        ">I4sI4s4s4s12s4s4sI4s4sQI3I4s44x",
        132 + 12 + 16, b"test", 0x02100000, b"mntr", b"RGB ", b"XYZ ",
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp", b"\0" * 4, 0, b"\0" * 4, b"\0" * 4,
        0, 0, 0xF6D6, 0x10000, 0xD32D, b"\0" * 4,
    )  # fmt: skip
    tags = struct.pack(">I4sII", 1, b"cprt", 144, 16)
    return head + tags + b"text" + b"\0" * 4 + b"public\0\0"


def exif(orientation: int) -> bytes:
    """EXIF with an orientation and a GPS directory pointer."""
    entries = struct.pack("<HHIHH", 274, 3, 1, orientation, 0)
    entries += struct.pack("<HHII", 0x8825, 4, 1, 0)
    return b"II*\0" + struct.pack("<IH", 8, 2) + entries + b"\0" * 4


def with_exif(image: Any, extension: str, orientation: int) -> bytes:
    block = np.frombuffer(exif(orientation), np.uint8)
    done, data = cv2.imencodeWithMetadata(extension, image, [cv2.IMAGE_METADATA_EXIF], [block])
    assert done
    return bytes(data.tobytes())


@pytest.mark.parametrize("extension", [".png", ".bmp", ".tiff", ".webp"])
def test_lossless_formats_come_back_exactly(tmp_path: Path, extension: str) -> None:
    path, out = str(tmp_path / f"a{extension}"), str(tmp_path / f"b{extension}")
    cv2.imwrite(path, photo(), [cv2.IMWRITE_WEBP_QUALITY, 101] if extension == ".webp" else [])
    still = read_still(path)
    assert kind_of(path) == "still"
    np.testing.assert_array_equal(still.frame.planes[0], photo())
    write_still(out, still, still.frame)
    np.testing.assert_array_equal(cv2.imread(out, cv2.IMREAD_UNCHANGED), photo())


def test_edited_pixels_are_written_and_jpeg_stays_close(tmp_path: Path) -> None:
    path, out = str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")
    cv2.imwrite(path, photo(), [cv2.IMWRITE_JPEG_QUALITY, 95])
    still = read_still(path)
    edited = still.frame.planes[0].copy()
    edited[8:24, 16:32] = (0, 0, 255)
    write_still(out, still, Frame(0, 0, True, "bgr24", (edited,), still.frame.color))
    written = cv2.imread(out).astype(int)
    assert np.abs(written[12:20, 20:28] - (0, 0, 255)).max() < 12
    assert np.abs(written[:, 40:] - still.frame.planes[0][:, 40:]).max() < 12
    assert read_still(out).jpeg_sampling == still.jpeg_sampling


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_baked_in_and_exif_is_gone(
    tmp_path: Path, extension: str, orientation: int
) -> None:
    path, out = tmp_path / f"a{extension}", str(tmp_path / f"b{extension}")
    path.write_bytes(with_exif(photo(), extension, orientation))
    still = read_still(str(path))
    reference = cv2.imread(str(path), cv2.IMREAD_COLOR)  # OpenCV turns the image upright
    np.testing.assert_array_equal(still.frame.planes[0], reference)
    write_still(out, still, still.frame)
    data = np.fromfile(out, np.uint8)
    _, kinds, _ = cv2.imdecodeWithMetadata(data, cv2.IMREAD_UNCHANGED)
    assert cv2.IMAGE_METADATA_EXIF not in [int(k) for k in kinds]
    assert b"II*\0" not in data.tobytes()
    assert read_still(out).frame.size_wh_px == reference.shape[1::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_orientation(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.tiff"
    plain = cv2.imencode(".tiff", photo())[1].tobytes()
    data = tiff.with_entry(plain, struct.pack("<HHIHH", 274, 3, 1, orientation, 0))
    path.write_bytes(data)
    assert tiff.read_orientation(data) == orientation
    expected = photo()
    if orientation in (5, 6, 7, 8):
        expected = np.swapaxes(expected, 0, 1)
    if orientation in (2, 3, 6, 7):
        expected = expected[:, ::-1]
    if orientation in (3, 4, 7, 8):
        expected = expected[::-1]
    np.testing.assert_array_equal(read_still(str(path)).frame.planes[0], expected)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".tiff"])
def test_colour_profile_is_kept(tmp_path: Path, extension: str) -> None:
    path, out = tmp_path / f"a{extension}", tmp_path / f"b{extension}"
    if extension == ".tiff":
        path.write_bytes(tiff.with_icc(cv2.imencode(".tiff", photo())[1].tobytes(), profile()))
    else:
        block = [np.frombuffer(profile(), np.uint8)]
        kinds = [cv2.IMAGE_METADATA_ICCP]
        path.write_bytes(cv2.imencodeWithMetadata(extension, photo(), kinds, block)[1].tobytes())
    still = read_still(str(path))
    assert still.icc == profile()
    write_still(str(out), still, still.frame)
    assert read_still(str(out)).icc == profile()


def test_alpha_and_gray_are_kept(tmp_path: Path) -> None:
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[:10] = 7
    path, out = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    for image in (np.dstack([photo(), alpha]), photo()[..., 0]):
        cv2.imwrite(path, image)
        still = read_still(path)
        assert still.frame.planes[0].shape == (40, 60, 3)
        write_still(out, still, still.frame)
        np.testing.assert_array_equal(cv2.imread(out, cv2.IMREAD_UNCHANGED), image)


def test_refusals_have_names(tmp_path: Path) -> None:
    def reason(data: bytes, function: Any = read_still) -> str:
        path = tmp_path / "file"
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            function(str(path))
        assert str(path) in str(caught.value)
        return caught.value.reason

    jpeg = cv2.imencode(".jpg", photo())[1].tobytes()
    assert reason(jpeg[: len(jpeg) // 2]) == "truncated"
    assert reason(cv2.imencode(".png", photo())[1].tobytes()[:300]) == "truncated"
    deep = cv2.imencode(".png", photo().astype(np.uint16) * 256)[1].tobytes()
    assert reason(deep) == "unsupported_still"
    cv2.imwritemulti(str(tmp_path / "pages.tiff"), [photo(), photo()])
    assert reason((tmp_path / "pages.tiff").read_bytes()) == "unsupported_still"
    assert reason(b"no image at all") == "unreadable"
    assert reason(b"no image at all", kind_of) == "unreadable"
    assert reason(b"", kind_of) == "empty_file"
    assert reason(b"RIFF\0\0\0\0AVI LIST", kind_of) == "unsupported_container"
    assert reason(b"\0\0\0\x18ftypheic", kind_of) == "unsupported_still"


def test_other_sizes_are_not_written(tmp_path: Path) -> None:
    path, out = str(tmp_path / "a.png"), tmp_path / "b.png"
    cv2.imwrite(path, photo())
    still = read_still(path)
    smaller = Frame(0, 0, True, "bgr24", (photo(30, 20),), still.frame.color)
    with pytest.raises(InvariantError):
        write_still(str(out), still, smaller)
    assert not out.exists()


def test_kinds_of_real_containers(make_clip: Any, tmp_path: Path) -> None:
    assert kind_of(make_clip()[0]) == "video"
    mkv = make_clip(name="clip.mkv", time_base=make_clip()[1].time_base / 1, n_frames=2)[0]
    assert kind_of(mkv) == "video"
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + b"\0" * 20)
    assert kind_of(str(tmp_path / "a.gif")) == "gif"


@pytest.mark.shared
def test_real_photographs(shared_media: Path, tmp_path: Path) -> None:
    for path in sorted(shared_media.glob("*.jpg")):
        still, out = read_still(str(path)), str(tmp_path / path.name)
        write_still(out, still, still.frame)
        error = cv2.imread(out).astype(float) - still.frame.planes[0]
        assert 10 * np.log10(255**2 / (error**2).mean()) > 38
