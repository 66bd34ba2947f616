"""`deid attack`: attackers trained on our own outputs, retrained against every defence.

What an attacker gets: the defence as a black box with fresh keys and noise, and faces of other
people to run it on. What is measured: what it retrieves of people it has never seen, beside the
same attack on the untouched picture and on common baselines. Needs torch (extra `train`).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from deid_ops.attacks.defences import Defence, Treated, apply_defence, hard_mask, mask
from deid_ops.attacks.figures import (
    ReleasePair,
    Setting,
    attackable_rows,
    linkage_figures,
    own_thresholds,
    parrot_figures,
    retrieval_figures,
)
from deid_ops.attacks.learn import (
    Progress,
    fgsm,
    learn_regressor,
    learn_reverser,
    regress,
    reverse,
)
from deid_ops.attacks.networks import ReversalUNet
from deid_ops.errors import SetupError
from deid_ops.judge.protocol import Judge, embedded
from deid_ops.judge.verification import checked_unit_rows, person_pairs
from deid_ops.metrics.faceset import FaceSet
from deid_ops.metrics.figures import Figure
from deid_ops.swap.crop import crop_matrices, paste_crop
from deid_ops.types import F32, I64, U8
from jobs.attack_options import AttackOptions, defences
from jobs.config import JobConfig
from jobs.evaluate_ours import OwnReplacement, redact_defence
from jobs.models import calibration_file, conditioning_encoder, judge_encoders
from jobs.target_oriented import PaintAnchors

_LOG = logging.getLogger("deid.attack")
_BATCH = 64


def attack_faces(
    config: JobConfig,
    background: FaceSet,
    faces: FaceSet,
    options: AttackOptions,
    only: tuple[str, ...],
    secret_key: bytes,
    paint: PaintAnchors | None = None,
) -> list[Figure]:
    """Attack every defence.

    Args:
        config: names judges, and the generator where there is one.
        background: people the attackers learn from.
        faces: other people, on whom the attack is measured.
        options: size of the attack.
        only: names of defences; empty for all.
        secret_key: of the first release; the second one has a key of its own.
        paint: the target-oriented swap; None leaves that defence out.

    Raises:
        SetupError: a defence is unknown, nobody in `faces` has two pictures, or `paint` is given
            where no generator is configured.
    """
    rows = attackable_rows(faces.person, options.n_attacked, options.seed)
    if len(rows) == 0:
        raise SetupError(f"{faces.name}: nobody has two pictures, so nobody can be searched")
    lab = _Laboratory(config, background, faces, rows, options)
    figures: list[Figure] = []
    own, fgsm_after = lab.own, lab.fgsm_defence
    for defence in defences(config, own, fgsm_after, options, only, paint):
        _LOG.info("attacking %s", defence.name)
        figures.extend(lab.attack(defence))
    if not only or "swap_diffusion" in only:
        figures.extend(lab.link_releases(secret_key))
        figures.extend(lab.average_releases())
    params = options.as_params()
    return [replace(figure, params=dict(figure.params) | params) for figure in figures]


class _Laboratory:
    """Everything that is the same for every defence."""

    def __init__(
        self,
        config: JobConfig,
        background: FaceSet,
        faces: FaceSet,
        rows: I64,
        options: AttackOptions,
    ) -> None:
        self.config, self.options = config, options
        self.background, self.faces, self.rows = background, faces, rows
        self.attacked = faces.take(rows)
        self.own = (
            None
            if config.replace.generator is None
            else OwnReplacement(config, secrets.token_bytes(32))
        )
        thresholds = calibration_file()
        self.judges = [
            Judge(name, encoder.embed, thresholds)
            for name, encoder in judge_encoders(config).items()
        ]
        self.galleries = {judge.name: judge.vectors(faces) for judge in self.judges}
        self.encoder = conditioning_encoder(config)
        if self.encoder is None:
            _LOG.warning("replace.encoder is not set: the embedding regressor is left out")
        self._originals = background.aligned()
        self._reversers: dict[str, ReversalUNet] = {}

    def attack(self, defence: Defence) -> Iterator[Figure]:
        """Train the attackers on one defence and measure what they retrieve."""
        releases = [
            self._protect(self.background, defence, i) for i in range(self.options.releases)
        ]
        protected = np.stack([treated.faces.aligned() for treated in releases])
        first, second = (self._protect(self.attacked, defence, 100 + i) for i in range(2))
        yield from self._inversion(defence, protected, first)
        yield from self._regression(defence, releases, protected, (first, second))

    def fgsm_defence(self, swap: Defence) -> Defence:
        """Return the swap moved one step against the attacker that was trained on the swap."""
        if swap.name not in self._reversers:
            releases = [self._protect(self.background, swap, i) for i in range(2)]
            protected = np.stack([treated.faces.aligned() for treated in releases])
            self._learn_reverser(swap.name, protected)
        net = self._reversers[swap.name]

        def treat(crops: U8, points: F32, rng: np.random.Generator) -> U8:
            return fgsm(net, swap.treat(crops, points, rng), self.options.eps)

        return Defence("swap_fgsm", treat, {"eps": self.options.eps})

    def link_releases(self, secret_key: bytes) -> Iterator[Figure]:
        """Compare two releases of the same people, under different keys and under the same key.

        Beside it stand two releases without any face, grey patches and the job's redaction: what
        hair, clothes and place link.
        """
        for defence in (mask(), redact_defence(self.config)):
            first, second = (self._protect(self.attacked, defence, 200 + i).faces for i in range(2))
            yield from self._linked(first, second, defence.name)
        if self.own is None:
            return
        base = self.own.release(self.attacked, secret_key).faces
        other_key = secrets.token_bytes(len(secret_key))
        for name, key in (("same_key", secret_key), ("different_keys", other_key)):
            again = self.own.release(self.attacked, key).faces
            yield from self._linked(base, again, f"ours_{name}")

    def _linked(self, first: FaceSet, second: FaceSet, subject: str) -> Iterator[Figure]:
        for judge in self.judges:
            pair = ReleasePair(judge.vectors(first), judge.vectors(second), first.person)
            setting = Setting(subject, self.faces.name, judge.name)
            yield from linkage_figures(pair, self.options.fars, setting)

    def average_releases(self) -> Iterator[Figure]:
        """Search with the mean of several releases under different keys.

        New faces differ from release to release and cancel out; what all of them owe to the
        original does not.
        """
        if self.own is None:
            return
        n = self.options.averaged_releases
        sums: dict[str, F32] = {}
        for _ in range(n):
            shown = self.own.release(self.attacked, secrets.token_bytes(32)).faces
            for judge in self.judges:
                seen = checked_unit_rows(embedded(judge.embed, shown))
                sums[judge.name] = sums.get(judge.name, np.float32(0)) + seen
        for judge in self.judges:
            yield from retrieval_figures(
                "averaged",
                judge.calibration.centred(judge.name, checked_unit_rows(sums[judge.name])),
                self.rows,
                self.galleries[judge.name],
                self.faces.person,
                self._thresholds(judge),
                Setting(f"ours_{n}_keys", self.faces.name, judge.name),
            )

    def _inversion(self, defence: Defence, protected: U8, attacked: Treated) -> Iterator[Figure]:
        net = self._learn_reverser(defence.name, protected)
        guesses = reverse(net, attacked.faces.aligned())
        shown = _pasted(attacked.faces, guesses)
        for judge in self.judges:
            yield from retrieval_figures(
                "inversion",
                judge.vectors(shown),
                self.rows,
                self.galleries[judge.name],
                self.faces.person,
                self._thresholds(judge),
                Setting(defence.name, self.faces.name, judge.name),
            )

    def _regression(
        self,
        defence: Defence,
        releases: Sequence[Treated],
        protected: U8,
        attacked: tuple[Treated, Treated],
    ) -> Iterator[Figure]:
        encoder = self.encoder
        if encoder is None:
            return
        net = learn_regressor(
            protected,
            np.stack([embedded(encoder.embed, treated.faces) for treated in releases]),
            embedded(encoder.embed, self.background),
            self.options.regressor,
            self.options.device,
            _progress(defence.name),
        )
        gallery = embedded(encoder.embed, self.faces)
        guessed, again = (
            regress(net, t.faces.aligned(), embedded(encoder.embed, t.faces)) for t in attacked
        )
        person = self.faces.person
        setting = Setting(defence.name, self.faces.name, f"attacker_{encoder.name}")
        strangers, _ = person_pairs(gallery, person)
        limits = own_thresholds(strangers, len(self.rows), self.options.fars)
        yield from retrieval_figures(
            "regression", guessed, self.rows, gallery, person, limits, setting
        )
        pair = ReleasePair(guessed, again, self.attacked.person)
        yield from parrot_figures(pair, self.options.fars, setting)

    def _learn_reverser(self, name: str, protected: U8) -> ReversalUNet:
        if name not in self._reversers:
            self._reversers[name] = learn_reverser(
                protected,
                self._originals,
                self.options.reverser,
                self.options.device,
                _progress(name),
            )
        return self._reversers[name]

    def _protect(self, faces: FaceSet, defence: Defence, release: int) -> Treated:
        return apply_defence(faces, defence, self.options.seed + release, batch=_BATCH)

    def _thresholds(self, judge: Judge) -> dict[float, F32]:
        eyes = self.attacked.eye_distance_px
        return {
            far: judge.calibration.thresholds(judge.name, eyes, far) for far in self.options.fars
        }


def _progress(name: str) -> Progress:
    def tell(step: int, steps: int, loss: float) -> None:
        if step % 50 == 0 or step == steps:
            _LOG.info("%s: step %d of %d, loss %.3f", name, step, steps, loss)

    return tell


def _pasted(faces: FaceSet, crops: U8) -> FaceSet:
    matrices, weights = crop_matrices(faces.landmarks_xy_px), hard_mask()
    images = [
        paste_crop(image, crop, matrix, weights)[0]
        for image, crop, matrix in zip(faces.images_bgr, crops, matrices, strict=True)
    ]
    return faces.with_images(images)
