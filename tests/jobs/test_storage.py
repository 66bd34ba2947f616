"""The rooted view of a disk folder and of S3: exclusive creation, reading back, named errors."""

import hashlib
import http.client
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from deid_ops.errors import InputError, RetryableError, SetupError
from jobs.s3_env import delta_storage_options, normalize_uri
from jobs.storage import Storage, split_uri


def sha(content):
    return hashlib.sha256(content).hexdigest()


def enforce_access(s3_server, after_requests):
    """Make the server check keys (it knows none) from the given number of requests on."""
    connection = http.client.HTTPConnection(s3_server.removeprefix("http://"), timeout=10)
    connection.request("POST", "/moto-api/reset-auth", body=after_requests)
    assert connection.getresponse().status == 200
    connection.close()


def test_put_if_absent_creates_once_and_reports_what_was_there(root_uri):
    storage = Storage(root_uri)
    first = storage.put_if_absent("clips/a.mp4", b"first")
    second = storage.put_if_absent("clips/a.mp4", b"second one")
    assert (first.created, first.sha256, first.n_bytes) == (True, sha(b"first"), 5)
    assert (second.created, second.sha256, second.n_bytes) == (False, sha(b"first"), 5)
    assert storage.read_bytes("clips/a.mp4") == b"first"
    assert first.uri == f"{root_uri}/clips/a.mp4"


def test_one_of_eight_racing_writers_creates(root_uri, tmp_path):
    files = []
    for number in range(8):
        files.append(tmp_path / f"staged{number}")
        files[-1].write_bytes(bytes([number]) * 100_000)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda f: Storage(root_uri).put_if_absent("one", f), files))
    assert sum(r.created for r in results) == 1
    assert len({r.sha256 for r in results}) == 1
    winner = next(r for r in results if r.created)
    assert winner.sha256 == sha(files[results.index(winner)].read_bytes())
    assert [o.path for o in Storage(root_uri).walk("")] == ["one"]  # nothing is left behind


def test_a_wrong_promise_is_refused_before_anything_is_stored(root_uri):
    storage = Storage(root_uri)
    with pytest.raises(InputError, match="checksum_mismatch"):
        storage.put_if_absent("a", b"content", sha256=sha(b"other"))
    assert not storage.exists("a")


def test_download_verifies_and_appears_only_when_right(root_uri, tmp_path):
    storage = Storage(root_uri)
    storage.write("in/a.bin", b"x" * 100)
    target = tmp_path / "out" / "a.bin"
    info = storage.download("in/a.bin", target, sha(b"x" * 100))
    assert target.read_bytes() == b"x" * 100
    assert info.n_bytes == 100
    with pytest.raises(InputError) as caught:
        storage.download("in/a.bin", tmp_path / "b.bin", sha(b"y"))
    assert caught.value.reason == "checksum_mismatch"
    assert not (tmp_path / "b.bin").exists()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.endswith(".part")) == []


def test_a_transfer_that_ends_early_is_refused(root_uri, tmp_path, monkeypatch):
    storage = Storage(root_uri)
    storage.write("a", b"0123456789")
    monkeypatch.setattr(storage, "chunks", lambda path: iter([b"01234"]))
    with pytest.raises(InputError) as caught:
        storage.download("a", tmp_path / "a")
    assert caught.value.reason == "truncated_transfer"
    assert "expected 10 bytes, found 5" in str(caught.value)


def test_an_upload_that_arrives_short_is_removed_again(root_uri, monkeypatch):
    storage = Storage(root_uri)
    create = storage._create_local if storage.is_local else storage._create_s3
    name = create.__name__
    monkeypatch.setattr(storage, name, lambda uri, content, sha256: create(uri, b"sho", sha256))
    with pytest.raises(InputError) as caught:
        storage.put_if_absent("a", b"short")
    assert caught.value.reason == "truncated_transfer"
    assert not storage.exists("a")


def test_missing_objects_have_a_name(root_uri, tmp_path):
    storage = Storage(root_uri)
    assert storage.info("none") is None
    for action in (
        lambda: storage.read_bytes("none"),
        lambda: storage.digest("none"),
        lambda: storage.download("none", tmp_path / "x"),
    ):
        with pytest.raises(InputError) as caught:
            action()
        assert caught.value.reason == "source_missing"
    storage.delete("none")


def test_version_follows_the_content(root_uri):
    storage = Storage(root_uri)
    storage.write("a", b"1")
    before = storage.info("a")
    storage.write("a", b"22")
    after = storage.info("a")
    assert before.version != after.version
    assert (after.path, after.n_bytes) == ("a", 2)


def test_walk_lists_files_under_a_folder_in_order(root_uri):
    storage = Storage(root_uri)
    for path in ("clips/b", "clips/a/c", "other/x"):
        storage.write(path, b"1")
    assert [o.path for o in storage.walk("clips")] == ["clips/a/c", "clips/b"]
    assert list(storage.walk("nothing")) == []


def test_walk_follows_links_to_files(tmp_path):
    target = tmp_path / "archive" / "drive.mp4"
    target.parent.mkdir()
    target.write_bytes(b"12345")
    folder = tmp_path / "selection"
    folder.mkdir()
    (folder / "drive.mp4").symlink_to(target)
    (folder / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (found,) = Storage(str(folder)).walk("")
    assert (found.path, found.n_bytes) == ("drive.mp4", 5)
    assert found.n_bytes == Storage(str(target.parent)).info("drive.mp4").n_bytes


@pytest.mark.s3
def test_denied_access_has_a_name(s3_bucket, s3_server, tmp_path):
    storage = Storage(s3_bucket)
    storage.write("a", b"1")
    enforce_access(s3_server, "0")
    try:
        with pytest.raises(InputError) as caught:
            storage.download("a", tmp_path / "a")
        assert caught.value.reason == "source_denied"
        with pytest.raises(SetupError, match="refuses to be written"):
            storage.write("b", b"1")
    finally:
        enforce_access(s3_server, "inf")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_denied_access_on_disk_has_a_name(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "a").chmod(0)
    with pytest.raises(InputError, match="source_denied"):
        Storage(tmp_path).read_bytes("a")


@pytest.mark.s3
def test_a_missing_bucket_to_write_to_is_a_setup_error(s3_bucket):
    with pytest.raises(SetupError, match="does not exist"):
        Storage("s3://there-is-no-such-bucket").write("a", b"1")


@pytest.mark.s3
def test_an_unreachable_store_is_retryable(s3_bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(RetryableError, match=r"127\.0\.0\.1:9"):
        Storage(s3_bucket).read_bytes("a")


@pytest.mark.s3
def test_the_writer_records_the_checksum_on_s3(s3_bucket):
    Storage(s3_bucket).put_if_absent("a", b"1")
    assert Storage(s3_bucket).info("a").sha256 == sha(b"1")


@pytest.mark.s3
def test_large_files_go_up_in_parts_and_only_once(s3_bucket, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(os.urandom(2**20) * 101)  # above twice the part size of 50 MiB
    storage = Storage(s3_bucket)
    assert storage.put_if_absent("big", big).created
    assert not storage.put_if_absent("big", big).created
    assert storage.digest("big")[1] == 101 * 2**20


def test_addresses():
    assert normalize_uri("s3a://b/k/../x/") == "s3://b/x"
    assert normalize_uri("file:///data/a%20b") == "/data/a b"
    with pytest.raises(SetupError, match="gopher"):
        normalize_uri("gopher://x")
    with pytest.raises(SetupError, match="leaves the root"):
        Storage("/data/x").uri("../y")
    storage, name = split_uri("s3://b/drive/a.mp4")
    assert (storage.root, name) == ("s3://b/drive", "a.mp4")


def test_delta_options_come_from_the_environment_alone(monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    assert delta_storage_options("/data/x") == {}
    assert delta_storage_options("s3://b") == {"AWS_REGION": "us-east-1"}
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store:9000")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    assert delta_storage_options("s3://b") == {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://store:9000",
        "AWS_ALLOW_HTTP": "true",
    }
