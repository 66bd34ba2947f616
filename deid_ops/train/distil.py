"""What a student encoder is taught with: a teacher that looks along, losses, a measure of success.

Convention: pictures are [n, 3, 112, 112] RGB in [0, 1]; `unit` vectors [n, d] have length 1; maps
are the outputs of the stages at 28, 14 and 7 px.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from deid_ops.inference.contracts import ModelContract, TensorSpec
from deid_ops.inference.session import Runtime
from deid_ops.models.blocks import channels_last
from deid_ops.models.encoder import TeacherEncoder
from deid_ops.models.export import export_onnx
from deid_ops.swap.crop import ENCODER_SIZE_PX


class _UnitAndMaps(nn.Module):
    def __init__(self, net: TeacherEncoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces_rgb01: Tensor) -> tuple[Tensor, ...]:
        vector, maps = self.net.with_features(faces_rgb01)
        return functional.normalize(vector, dim=1), *maps


class OnlineTeacher:
    """A frozen teacher that labels pictures while the student learns.

    ONNX Runtime runs it: PyTorch takes 1.6 times as long for its depthwise convolutions.

    Args:
        net: the teacher, frozen.
        threads: CPU threads.
    """

    def __init__(self, net: TeacherEncoder, threads: int) -> None:
        module, example = _UnitAndMaps(net), torch.zeros(2, 3, *[ENCODER_SIZE_PX] * 2)
        with torch.no_grad():
            _, *maps = module(example)
        self.channels = tuple(m.shape[1] for m in maps)
        self._outputs = ["unit", *(f"map{i}" for i in range(len(maps)))]
        contract = ModelContract(
            "teacher",
            (TensorSpec("faces", "float32", ("n", 3, *[ENCODER_SIZE_PX] * 2), (0.0, 1.0)),),
            tuple(TensorSpec(name, "float32", ("n", None)) for name in self._outputs),
        )
        graph = export_onnx(module, [example], contract, {}, half=False)
        self._model = Runtime(threads=threads).open(graph.SerializeToString(), (), "teacher")

    def __call__(self, faces_rgb01: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return unit vectors [n, 128] and the maps of the stages."""
        found = self._model.run({"faces": faces_rgb01.numpy()})
        unit, *maps = (torch.from_numpy(found[name]) for name in self._outputs)
        return unit, [m.contiguous(memory_format=torch.channels_last) for m in maps]


class FeatureMatch(nn.Module):
    """How well the student's maps predict the teacher's, place by place.

    A 1x1 convolution translates each of the student's maps; the teacher's are scaled to mean 0 and
    variance 1 per channel. The translators serve training alone and are no part of the encoder.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        pairs = list(zip(student, teacher, strict=True))
        self.translate = nn.ModuleList(nn.Conv2d(mine, theirs, 1) for mine, theirs in pairs)
        self.scale = nn.ModuleList(nn.BatchNorm2d(theirs, affine=False) for _, theirs in pairs)
        channels_last(self)

    def forward(self, mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        """Return the share of the teacher's variance that is not predicted, meant over the maps."""
        parts = [
            functional.mse_loss(translate(m), scale(t))
            for translate, scale, m, t in zip(self.translate, self.scale, mine, theirs, strict=True)
        ]
        return torch.stack(parts).mean()


def distillation_loss(got: Tensor, wanted_unit: Tensor) -> dict[str, Tensor]:
    """Return the cosine and the relational loss of vectors [n, d] against unit vectors [n, d].

    The first is the mean of 1 - cos; the second the mean difference between the cosines of any two
    faces of the batch and the teacher's (Park et al. 2019).

    Example:
        >>> unit = torch.eye(4)
        >>> [round(float(v), 6) for v in distillation_loss(2 * unit, unit).values()]
        [0.0, 0.0]
    """
    unit = functional.normalize(got.float(), dim=1)
    relation = (unit @ unit.T - wanted_unit @ wanted_unit.T).abs().mean()
    return {"cosine": (1.0 - (unit * wanted_unit).sum(1)).mean(), "relation": relation}


def agreement(got: Tensor, wanted_unit: Tensor) -> dict[str, float]:
    """Compare vectors [n, d] of `n` different faces with a teacher's unit vectors [n, d].

    Returns:
        `held_cosine`: mean cosine to the teacher's vector of the same picture;
        `held_correlation`: of the cosines of all pairs of faces with the teacher's;
        `held_found`: share of faces whose own vector of the teacher's is the nearest of all. The
        first two are easily raised by age and sex alone, this one is not.

    Example:
        >>> sorted(set(agreement(3 * torch.eye(4), torch.eye(4)[[0, 1, 3, 2]]).values()))[-1]
        0.5
    """
    unit = functional.normalize(got.float(), dim=1)
    rows, columns = torch.triu_indices(len(unit), len(unit), offset=1)
    pairs = torch.stack([(v @ v.T)[rows, columns] for v in (unit, wanted_unit)])
    nearest = (unit @ wanted_unit.T).argmax(1)
    return {
        "held_cosine": float((unit * wanted_unit).sum(1).mean()),
        "held_correlation": float(torch.corrcoef(pairs)[0, 1].nan_to_num()),
        "held_found": float((nearest == torch.arange(len(unit))).float().mean()),
    }
