"""The project's own replacement as subjects of an evaluation: the very steps of the job.

`ours` is what the job publishes: generator, diffusion, judge, ladder, redaction at its end.
`ours_unjudged` is every face as generator and denoiser leave it, `ours_noise_S` the same at the
relative noise strength S, `ours_undiffused` leaves out the denoiser too; `redact` is the treatment
at the end of the ladder on every face.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from deid_ops.attacks.defences import Defence, Treated, apply_defence
from deid_ops.detect.quality import blurs, turns
from deid_ops.errors import SetupError
from deid_ops.identity.vectors import unit_rows
from deid_ops.judge.ladder import gate_faces
from deid_ops.metrics.faceset import FaceSet
from deid_ops.pipeline.guards import embed_for
from deid_ops.pipeline.place import place_segment
from deid_ops.pipeline.settle import PaintedSegment, settle_segment
from deid_ops.pipeline.swap import Painter, swap_segment
from deid_ops.pipeline.trial import ReplaceModels
from deid_ops.redact.fill import CodeRange, Extent, RedactParams, draw_pattern, fill_packed
from deid_ops.swap.aim import aim_each
from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.crop import CROP_SIZE_PX, paste_crop
from deid_ops.swap.face_mask import drawn_weights
from deid_ops.types import F32, I32, U8, FaceCrops, FaceTracks, Reason
from jobs.anchoring import Anchors, PersonViews
from jobs.config import JobConfig
from jobs.models import (
    FindAgain,
    calibration_file,
    conditioning_encoder,
    denoiser,
    generator,
    judge_encoders,
    ladder_guards,
    ladder_params,
)

_BATCH = 32


def redact_defence(config: JobConfig) -> Defence:
    """The job's own redaction, over the whole crop, so in the tone of the key."""
    params = RedactParams(method=config.redact.method)
    side = float(CROP_SIZE_PX)
    extent = Extent((0.0, 0.0, side, side), (0, 0, CROP_SIZE_PX, CROP_SIZE_PX))

    codes = CodeRange(0, 255, 256)

    def treat(crops: U8, _points: F32, rng: np.random.Generator) -> U8:
        painted = [fill_packed(None, draw_pattern(rng), extent, codes, params) for _ in crops]
        return np.stack(painted).astype(np.uint8)

    return Defence("redact", treat, {"method": config.redact.method})


@dataclass(frozen=True)
class Replacement:
    """A face set after the job's own steps."""

    treated: Treated
    swapped: np.ndarray  # [n] bool: replaced, not redacted
    reasons: tuple[Reason, ...]


class OwnReplacement:
    """Generator, denoiser, anchors and judge of a configuration, loaded once.

    Args:
        config: must name a generator.
        secret_key: decides the anchors.

    Raises:
        SetupError: no generator is configured.
    """

    def __init__(self, config: JobConfig, secret_key: bytes) -> None:
        generate, encoder = generator(config), conditioning_encoder(config)
        if generate is None or encoder is None:
            raise SetupError(
                "replace.generator, replace.attributes and replace.encoder are needed to evaluate "
                "the replacement; without them only the baselines can be measured"
            )
        self._config, self._encoder = config, encoder
        self._generate: Painter = generate
        self._anchors = Anchors(config, secret_key)
        self._denoise = denoiser(config)
        self._judges = judge_encoders(config)

    def painted_by(self, generator_path: str) -> OwnReplacement:
        """Return the same with another generator; who gets which anchor does not change.

        A bank's appearance is left aside for a generator that it was not measured with, and a
        defence that only disturbs the weights would be compared by other anchors.

        Args:
            generator_path: ONNX file; may be gone afterwards.

        Raises:
            SetupError: it cannot be read.
        """
        section = self._config.replace.model_copy(update={"generator": generator_path})
        other = copy(self)
        other._config = self._config.model_copy(update={"replace": section})
        other._generate = generator(other._config)
        return other

    def unjudged(self, noise: Sequence[float] = ()) -> dict[str, float | None]:
        """Return the variants without a judge: name to noise strength, None for no denoiser.

        Args:
            noise: further strengths, relative to the denoiser's own level.

        Raises:
            SetupError: a strength is asked for, but there is no denoiser.
        """
        variants: dict[str, float | None] = {"ours_undiffused": None}
        if self._denoise is not None:
            variants["ours_unjudged"] = self._first_strength
            variants |= {f"ours_noise_{strength:g}": strength for strength in noise}
        elif noise:
            raise SetupError("noise strengths need a denoiser: set replace.denoiser")
        return variants

    def subjects(
        self, faces: FaceSet, names: Collection[str], noise: Sequence[float] = ()
    ) -> Iterator[tuple[str, Replacement]]:
        """Yield the set after each of the named treatments: `ours` and those of `unjudged`."""
        chosen = self._chosen_anchors(faces)
        for name, strength in self.unjudged(noise).items():
            if name in names:
                yield name, self._unjudged(faces, chosen, strength)
        if "ours" in names:
            yield "ours", self._judged(faces, chosen)

    @property
    def _first_strength(self) -> float | None:
        """The noise of the job's first try; None without a denoiser."""
        return None if self._denoise is None else self._config.replace.noise_strengths[0]

    def defence(self, name: str = "swap_diffusion", *, diffuse: bool = True) -> Defence:
        """Return generator and denoiser without judge as a defence for the attacks.

        Each crop is taken for a picture, in which the face is placed as the job places it.
        """

        def treat(crops: U8, points: F32, rng: np.random.Generator) -> U8:
            anchors = self.anchors_of_crops(crops, points, rng)
            strength = self._first_strength if diffuse else None
            pictures = FaceSet("crops", tuple(crops), points, np.arange(len(crops)))
            return np.stack(self._treated(pictures, anchors, strength).faces.images_bgr)

        return Defence(name, treat)

    def anchors_of_crops(self, crops: U8, points: F32, rng: np.random.Generator) -> F32:
        """Choose an anchor [n, d] for each crop, every one in a scope drawn from `rng`."""
        scope = str(rng.integers(2**62))
        options = [
            self._anchors.choose(self._views([c], p[None]), f"{scope}/{i}", "person").anchor_ids
            for i, (c, p) in enumerate(zip(crops, points, strict=True))
        ]
        return self._vectors([ids[0] for ids in options])

    def anchors_of_pictures(self, faces: FaceSet) -> F32:
        """Return the anchor [n, d] that `subjects` tries first on each picture."""
        return self._vectors([ids[0] for ids in self._chosen_anchors(faces)])

    def release(self, faces: FaceSet, secret_key: bytes) -> Treated:
        """Return the set as one release: one anchor per person, chosen with the given key."""
        anchors = Anchors(self._config, secret_key)
        taken: set[int] = set()
        ids = np.zeros(len(faces), dtype=np.int64)
        for person in np.unique(faces.person):
            rows = np.flatnonzero(faces.person == person)
            views = self._views([faces.images_bgr[i] for i in rows], faces.landmarks_xy_px[rows])
            # A bank smaller than the set gives an anchor twice, as it does in the job.
            chosen = anchors.choose(views, "release", str(person), taken).anchor_ids
            taken.update(chosen)
            ids[rows] = chosen[0]
        return self._treated(faces, self._vectors(ids.tolist()), self._first_strength)

    def _diffuse(
        self,
        crops: U8,
        conditions: FaceConditions,
        anchors: F32,
        strength: float,
        _tracks: I32 | None = None,
    ) -> U8:
        # every picture is a track of its own
        out: U8 = self._denoise(crops, conditions, anchors, strength, secrets.token_bytes)
        return out

    def _painted(
        self, crops: U8, anchors: F32, matrices: F32, strength: float | None
    ) -> tuple[U8, U8]:
        """Return painted crops and how much of each pixel is drawn, of 255."""
        told = aim_each(self._generate, crops, self._generate.read(crops), anchors, matrices)
        out = self._generate(crops, told, anchors)
        if strength is not None:
            out = self._diffuse(out, told, anchors, strength)
        return out, drawn_weights(told.masks())

    def _views(self, images: Sequence[U8], points: F32) -> PersonViews:
        """Return how the encoders see the person in some pictures [n, 5, 2], as linking does."""
        means = [
            np.concatenate([e.embed(i, p[None]) for i, p in zip(images, points, strict=True)]).mean(
                0
            )
            for e in (self._encoder, next(iter(self._judges.values())))
        ]
        return PersonViews(*(unit_rows(mean[None])[0] for mean in means))

    def _vectors(self, ids: Sequence[int]) -> F32:
        bank = self._anchors.bank.vectors_unit
        # a face without an admissible anchor would be redacted by the job; -1 takes the first row
        return np.stack([bank[max(i, 0)] for i in ids]).astype(np.float32)

    def _chosen_anchors(self, faces: FaceSet) -> list[tuple[int, ...]]:
        chosen: list[tuple[int, ...]] = []
        pairs = zip(faces.images_bgr, faces.landmarks_xy_px, strict=True)
        for i, (image, points) in enumerate(pairs):
            views = self._views([image], points[None])
            # every picture is a scope of its own: an anchor shared by a person's pictures would
            # link them, which `link` attacks measure on purpose
            chosen.append(self._anchors.choose(views, f"picture-{i}", "person").anchor_ids)
        return chosen

    def _unjudged(
        self, faces: FaceSet, chosen: list[tuple[int, ...]], strength: float | None
    ) -> Replacement:
        anchors = self._vectors([ids[0] for ids in chosen])
        n = len(faces)
        treated = self._treated(faces, anchors, strength)
        return Replacement(treated, np.ones(n, np.bool_), (Reason.REPLACED,) * n)

    def _treated(self, faces: FaceSet, anchors: F32, strength: float | None) -> Treated:
        """Return the set with the anchors [n, d] painted, each face placed as the job places it."""
        rows = np.arange(len(faces), dtype=np.int32)
        crops, placed = place_segment(
            enumerate(faces.images_bgr), _as_tracks(faces), rows, self._generate.find_points
        )
        parts = [
            self._painted(crops[part], anchors[part], placed.matrices[part], strength)
            for part in (slice(i, i + _BATCH) for i in range(0, len(faces), _BATCH))
        ]
        painted, weights = (np.concatenate(p) for p in zip(*parts, strict=True))
        drawn = FaceCrops(rows, painted, placed.matrices, weights)
        return _composed(faces, drawn, self._config)

    def _judged(self, faces: FaceSet, chosen: list[tuple[int, ...]]) -> Replacement:
        config, tracks = self._config, _as_tracks(faces)
        params = ladder_params(config)
        gates: list[Reason | None] = [
            gate or (None if ids[0] >= 0 else Reason.NO_ANCHOR)
            for gate, ids in zip(gate_faces(tracks, params), chosen, strict=True)
        ]
        rows = np.flatnonzero([gate is None for gate in gates]).astype(np.int32)
        first = next(iter(self._judges.items()))
        guards = ladder_guards(config, first, self._encoder, calibration_file())
        swapped = swap_segment(
            enumerate(faces.images_bgr),
            tracks,
            rows,
            self._vectors([ids[0] for ids in chosen]),
            self._generate,
            embed_for(guards),
            _BATCH,
        )
        bank = self._anchors.bank.vectors_unit

        def anchor_of_track(track: int, number: int) -> F32 | None:
            ids = chosen[track]
            return bank[ids[number]] if number < len(ids) and ids[number] >= 0 else None

        models = ReplaceModels(
            self._generate,
            None if self._denoise is None else self._diffuse,
            FindAgain(config),
            guards,
        )
        # Every picture is a person of its own, as it is a track.
        painted = PaintedSegment(swapped, tracks, tracks.track, anchor_of_track)
        settled = settle_segment(painted, gates, models, params)
        replaced = np.zeros(len(faces), np.bool_)
        replaced[settled.crops.row] = True
        treated = _composed(faces, settled.crops, config)
        return Replacement(treated, replaced, settled.reason)


def _as_tracks(faces: FaceSet) -> FaceTracks:
    """One track of one frame for every picture, with the quality the job would measure."""
    marks = faces.landmarks_xy_px
    eyes = faces.eye_distance_px
    centre = marks.mean(axis=1)
    half = np.stack([1.3 * eyes, 1.6 * eyes], axis=1)
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    blur = [blurs(image, box[None])[0] for image, box in zip(faces.images_bgr, boxes, strict=True)]
    n = len(faces)
    return FaceTracks(
        np.arange(n, dtype=np.int32),
        np.arange(n, dtype=np.int32),
        boxes.astype(np.float32),
        marks,
        np.ones(n, np.bool_),
        np.zeros(n, np.uint8),
        np.ones(n, np.float32),
        eyes,
        np.array(blur, np.float32),
        turns(marks),
    )


def _composed(faces: FaceSet, drawn: FaceCrops, config: JobConfig) -> Treated:
    """Paste replacements with their weights and redact the rest with a hard edge."""
    lost = np.setdiff1d(np.arange(len(faces)), drawn.row)
    images = list(faces.images_bgr)
    changed = [np.zeros(image.shape[:2], np.bool_) for image in images]
    for row, crop, matrix, weight in zip(
        drawn.row, drawn.crops_bgr, drawn.crop_from_frame, drawn.weight, strict=True
    ):
        weights = weight.astype(np.float32) / 255.0
        images[row], changed[row] = paste_crop(images[row], crop, matrix, weights)
    if len(lost):
        seed = secrets.randbits(64)
        redacted = apply_defence(faces.take(lost), redact_defence(config), seed)
        for row, image, inside in zip(
            lost, redacted.faces.images_bgr, redacted.changed, strict=True
        ):
            images[row], changed[row] = image, inside
    return Treated(faces.with_images(images), tuple(changed))
