"""Reading graphs: what is not ONNX is named."""

import pytest

from deid_ops.errors import SetupError
from deid_ops.inference.graphs import read_graph


@pytest.mark.parametrize("content", [b"\xff\xfe not a model", None])
def test_missing_and_broken_files_are_named(tmp_path, content):
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SetupError, match=r"net\.onnx: cannot be read as an ONNX model"):
        read_graph(str(path))
