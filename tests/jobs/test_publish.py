"""Publishing once, under a key derived from content."""

import hashlib

import pytest

from deid_ops.errors import InputError, InvariantError
from jobs.publish import clip_path, keep_refused, publish_clip
from jobs.storage import Storage

FACTS = {"dataset": "fleet", "unit_id": "ab" * 32, "pipeline_fingerprint": "c" * 64}
KEY = f"clips/fleet/ab/{'ab' * 32}-{'c' * 12}"


def stage(tmp_path, content):
    staged = tmp_path / f"staged-{len(content)}.mkv"
    staged.write_bytes(content)
    return staged, hashlib.sha256(content).hexdigest()


def test_a_clip_is_stored_once_and_equal_bytes_are_adopted(root_uri, tmp_path):
    storage = Storage(root_uri)
    staged, sha256 = stage(tmp_path, b"clip")
    first = publish_clip(storage, staged, sha256=sha256, **FACTS)
    again = publish_clip(storage, staged, sha256=sha256, **FACTS)
    assert first.path == again.path == f"{KEY}.mkv"
    assert (first.adopted, again.adopted) == (False, True)
    assert again.sha256 == sha256
    assert storage.read_bytes(first.path) == b"clip"


def test_other_bytes_of_an_earlier_attempt_are_not_adopted(root_uri, tmp_path):
    storage = Storage(root_uri)
    orphan, orphan_sha = stage(tmp_path, b"orphan of a crash")
    publish_clip(storage, orphan, sha256=orphan_sha, **FACTS)
    staged, sha256 = stage(tmp_path, b"judged")
    published = publish_clip(storage, staged, sha256=sha256, **FACTS)
    assert published.path == f"{KEY}-{sha256[:12]}.mkv"
    assert published.sha256 == sha256
    assert storage.read_bytes(published.path) == b"judged"


def test_a_key_taken_by_something_else_stops_the_run(root_uri, tmp_path):
    storage = Storage(root_uri)
    staged, sha256 = stage(tmp_path, b"judged")
    storage.write(f"{KEY}.mkv", b"x")
    storage.write(f"{KEY}-{sha256[:12]}.mkv", b"y")
    with pytest.raises(InvariantError, match="changed by someone else"):
        publish_clip(storage, staged, sha256=sha256, **FACTS)


def test_a_staged_file_that_changed_after_its_audit_is_not_published(root_uri, tmp_path):
    storage = Storage(root_uri)
    staged, sha256 = stage(tmp_path, b"judged")
    staged.write_bytes(b"changed")
    with pytest.raises(InputError, match="checksum_mismatch"):
        publish_clip(storage, staged, sha256=sha256, **FACTS)
    assert list(storage.walk("clips")) == []


def test_another_fingerprint_is_another_key():
    assert clip_path("d", "ab12", "1" * 64, ".mp4") != clip_path("d", "ab12", "2" * 64, ".mp4")


def test_a_refused_clip_never_lies_under_clips(root_uri, tmp_path):
    storage = Storage(root_uri)
    staged, sha256 = stage(tmp_path, b"shows a face")
    kept = keep_refused(storage, staged, unit_id="u1", run_id="r1")
    assert kept.path == "quarantine/r1/u1.mkv"
    assert kept.sha256 == sha256
    assert list(storage.walk("clips")) == []
