import os

import av
import pytest

from deid_ops.video.scheduling import restore_scheduling


@pytest.mark.skipif(
    not hasattr(os, "sched_setscheduler") or os.geteuid() != 0,
    reason="only root on Linux gets real-time priority",
)
def test_an_av1_encoder_does_not_leave_a_real_time_process(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libsvtav1", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.open()
        restore_scheduling()
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert restore_scheduling() == 0
