"""Packs: reproducible, filtered, split by content."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from deid_ops.errors import SetupError
from deid_ops.swap.crop import TEMPLATE_PX
from deid_ops.train.data import Pack, PackConfig, pack, split_of
from deid_ops.train.sources import (
    POINT_COLUMNS,
    SourceImage,
    iter_source,
    landmark_file_of,
    read_landmarks,
    sample,
)
from deid_ops.train.teachers import BLENDSHAPE_INPUT, Labels


class DrawnTeachers:
    """Labels computed from the pixels, so that a mix-up of rows shows."""

    identity_only = False

    def label(self, fine_rgb: np.ndarray, crops_rgb: np.ndarray) -> Labels:
        assert fine_rgb.shape[1:] == (256, 256, 3)
        n = len(crops_rgb)
        mean = crops_rgb.reshape(n, -1).mean(1).astype(np.float32)
        mesh = np.tile(mean[:, None, None], (1, 478, 3))
        presence = (mean < 200).astype(np.float32)
        identity = np.tile(mean[:, None], (1, 128)) / np.linalg.norm(np.ones(128)) / mean[:, None]
        return Labels(mesh, presence, np.zeros((n, 52), np.float32), identity.astype(np.float32))


def _image(seed: int, brightness: int = 90, blur: bool = False) -> bytes:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 40, (160, 160, 3))
    picture = np.clip(noise + brightness, 0, 255).astype(np.uint8)
    if blur:
        picture = cv2.GaussianBlur(picture, (31, 31), 12)
    return bytes(cv2.imencode(".png", picture)[1])


def _images() -> list[SourceImage]:
    points = TEMPLATE_PX + 10
    images = [SourceImage(f"{i}.png", _image(i), points) for i in range(40)]
    images.append(SourceImage("blurred.png", _image(90, blur=True), points))
    images.append(SourceImage("bright.png", _image(91, brightness=230), points))
    images.append(SourceImage("small.png", _image(92), points * 0.2))
    images.append(SourceImage("broken.png", b"no image", points))
    images.append(SourceImage("unknown.png", _image(93), None))
    return images


def test_pack_is_filtered_and_reproducible(tmp_path: Path) -> None:
    config = PackConfig(batch=7, validation_per_mille=300)
    reports: list[int] = []
    metas = []
    for name in ("a", "b"):
        meta = pack(
            [("drawn", iter(_images()))],
            tmp_path / name,
            DrawnTeachers(),
            config,
            report=lambda done, _dropped: reports.append(done),
        )
        metas.append(meta)
    assert metas[0] == metas[1]
    assert metas[0]["n"] == 40
    assert metas[0]["dropped"] == {
        "blurred": 1,
        "no_landmarks": 1,
        "no_mesh": 1,
        "not_an_image": 1,
        "too_small": 1,
    }
    assert reports[-1] == 40
    data = Pack(tmp_path / "a")
    crops = np.asarray(data.columns["crops_rgb"])
    means = crops.reshape(40, -1).mean(1)
    assert np.allclose(data.columns["mesh_xyz_px"][:, 0, 0], means, atol=1e-3)  # rows stay together
    assert 0 < len(data.rows(1)) < 40
    assert len(data.rows(0)) + len(data.rows(1)) == 40
    assert data.inside(np.arange(3)).mean() == 1.0
    assert not list((tmp_path / "a").glob("*.raw"))
    with pytest.raises(SetupError, match="finished pack"):
        pack([("drawn", iter(_images()))], tmp_path / "a", DrawnTeachers(), config)


def test_split_follows_the_content_not_the_name() -> None:
    assert split_of(b"face", 500) == split_of(b"face", 500)
    share = np.mean([split_of(str(i).encode(), 100) for i in range(5000)])
    assert 0.08 < share < 0.12


def test_landmarks_are_found_where_none_are_given(tmp_path: Path) -> None:
    images = [SourceImage("x.png", _image(1), None)]
    meta = pack(
        [("s", iter(images))],
        tmp_path / "p",
        DrawnTeachers(),
        PackConfig(),
        find=lambda frame: TEMPLATE_PX + 10 if frame.shape[0] == 160 else None,
    )
    assert meta["n"] == 1


def test_no_usable_face_is_an_error(tmp_path: Path) -> None:
    images = [SourceImage("x.png", b"", TEMPLATE_PX)]
    with pytest.raises(SetupError, match="no usable face"):
        pack([("s", iter(images))], tmp_path / "p", DrawnTeachers(), PackConfig())
    with pytest.raises(SetupError, match="no finished pack"):
        Pack(tmp_path / "p")


def test_folder_and_tar_give_the_same_images(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.png").write_bytes(_image(1))
    (folder / "sub" / "a.png").write_bytes(_image(2))
    (folder / "readme.txt").write_text("no image")
    archive = tmp_path / "faces.tar"
    with tarfile.open(archive, "w") as tar:
        for path in ("sub/a.png", "b.png", "readme.txt"):
            tar.add(folder / path, arcname=path)
    csv = tmp_path / "faces_landmarks.csv"
    numbers = ",".join(str(v) for v in TEMPLATE_PX.reshape(-1))
    csv.write_text("file," + ",".join(POINT_COLUMNS) + f"\nb.png,{numbers}\n")
    assert landmark_file_of(archive) == csv
    points = read_landmarks(csv)
    both = [
        [(i.name, i.data, i.landmarks_xy_px is None) for i in iter_source(s, points)]
        for s in (folder, archive)
    ]
    assert both[0] == both[1]
    assert [name for name, _, _ in both[0]] == ["b.png", "sub/a.png"]
    assert both[0][0][2] is False
    with pytest.raises(SetupError, match="expected a folder or a tar"):
        list(iter_source(tmp_path / "nothing"))


def test_landmark_file_without_columns(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("file,eye_left_x_px\n")
    with pytest.raises(SetupError, match="columns"):
        read_landmarks(tmp_path / "x.csv")


def test_sample_is_a_fixed_share() -> None:
    images = [SourceImage(str(i), str(i).encode(), None) for i in range(2000)]
    kept = [i.name for i in sample(iter(images), 250)]
    assert kept == [i.name for i in sample(iter(images[::-1]), 250)][::-1]
    assert 430 < len(kept) < 570


def test_blendshape_input_has_no_double() -> None:
    assert len(BLENDSHAPE_INPUT) == 146
    assert max(Counter(BLENDSHAPE_INPUT.tolist()).values()) == 1


@pytest.mark.shared
def test_teachers_read_a_real_face(shared_dir: Path, tmp_path: Path) -> None:
    from deid_ops.train.teachers import Teachers

    source = shared_dir / "faces" / "stylegan40_256.tar"
    find = TEMPLATE_PX * 2.0  # portraits are roughly aligned; good enough for a mesh
    meta = pack(
        [("portraits", iter_source(source))],
        tmp_path / "p",
        Teachers(shared_dir / "models"),
        PackConfig(),
        find=lambda _frame: find,
        limit=4,
    )
    assert meta["n"] == 4
    data = Pack(tmp_path / "p")
    mesh = data.columns["mesh_xyz_px"]
    left, right = mesh[:, 33, 0], mesh[:, 263, 0]
    assert (right - left > 20).all()
    assert np.allclose(np.linalg.norm(data.columns["identity_unit"], axis=1), 1, atol=1e-4)
    assert 0 <= data.columns["expression"].min() <= data.columns["expression"].max() <= 1
