"""The tag directory that TIFF files and EXIF blocks share (TIFF 6.0, section 2)."""

from __future__ import annotations

import struct

_ORIENTATION = 274
_ICC_PROFILE = 34675
_SHORT, _UNDEFINED = 3, 7


def read_orientation(data: bytes) -> int:
    """Return the orientation 1..8 of a TIFF or EXIF block, 1 where it has none."""
    for tag, kind, _, value, order in _entries(data):
        if tag == _ORIENTATION and kind == _SHORT:
            orientation = int(struct.unpack(f"{order}H", value[:2])[0])
            return orientation if 1 <= orientation <= 8 else 1
    return 1


def read_icc(data: bytes) -> bytes | None:
    """Return the colour profile of a TIFF file."""
    for tag, _, count, value, order in _entries(data):
        if tag == _ICC_PROFILE and count > 4:
            (offset,) = struct.unpack(f"{order}I", value)
            return data[offset : offset + count]
    return None


def with_icc(data: bytes, icc: bytes) -> bytes:
    """Add a colour profile to a TIFF file of one page that has none."""
    padded = data + b"\x00" * (len(data) % 2)
    entry = struct.pack(f"{_order(data)}HHII", _ICC_PROFILE, _UNDEFINED, len(icc), len(padded))
    return with_entry(padded + icc + b"\x00" * (len(icc) % 2), entry)


def with_entry(data: bytes, entry: bytes) -> bytes:
    """Add one 12-byte entry; the directory is written again at the end, with its tags rising."""
    order = _order(data)
    (at,) = struct.unpack(f"{order}I", data[4:8])
    (n_entries,) = struct.unpack(f"{order}H", data[at : at + 2])
    entries = [data[at + 2 + 12 * k : at + 14 + 12 * k] for k in range(n_entries)]
    entries.append(entry)
    entries.sort(key=lambda one: int(struct.unpack(f"{order}H", one[:2])[0]))
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + b"\x00" * 4
    return data[:4] + struct.pack(f"{order}I", len(data)) + data[8:] + directory


def _order(data: bytes) -> str:
    return ">" if data[:2] == b"MM" else "<"


def _entries(data: bytes) -> list[tuple[int, int, int, bytes, str]]:
    """Return `(tag, type, count, value bytes, byte order)` of the first directory."""
    if data[:2] not in (b"II", b"MM") or len(data) < 10:
        return []
    order = _order(data)
    (at,) = struct.unpack(f"{order}I", data[4:8])
    if at + 2 > len(data):
        return []
    (n_entries,) = struct.unpack(f"{order}H", data[at : at + 2])
    found = []
    for k in range(n_entries):
        entry = data[at + 2 + 12 * k : at + 14 + 12 * k]
        if len(entry) == 12:
            tag, kind, count = struct.unpack(f"{order}HHI", entry[:8])
            found.append((tag, kind, count, entry[8:], order))
    return found
