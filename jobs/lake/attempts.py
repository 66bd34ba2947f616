"""How often a unit was begun, remembered outside Ray so that it survives every kind of crash.

A worker that dies (a decoder crash, out of memory) is restarted by Ray together with the row that
killed it, for ever. Each stage therefore notes its attempt in storage before it touches a unit
and forgets the note when the unit is through. The attempt after the last allowed one is not made:
the unit becomes a quarantine row.
"""

from __future__ import annotations

from deid_ops.errors import InputError
from jobs.storage import Storage

MAX_ATTEMPTS = 2


class AttemptLedger:
    """Counts attempts at (unit, stage) under `attempts/` of the output storage.

    Args:
        storage: rooted where the run writes.
        pipeline_fingerprint: attempts with other code or weights do not count.
        max_attempts: attempts that may fail before the unit is quarantined.
    """

    def __init__(
        self, storage: Storage, pipeline_fingerprint: str, max_attempts: int = MAX_ATTEMPTS
    ) -> None:
        self._storage, self._max = storage, max_attempts
        self._fingerprint = pipeline_fingerprint

    def begin(self, unit_id: str, stage: str, note: str = "") -> int:
        """Note one more attempt and return its number, from 1.

        Args:
            unit_id: the unit.
            stage: the stage about to work on it.
            note: who makes the attempt (run and host), kept for the person who looks into it.

        Raises:
            InputError: `attempts_exhausted`: this would be one attempt too many.
        """
        for number in range(1, self._max + 1):
            path = f"{self._folder(unit_id, stage)}/{number}"
            if self._storage.put_if_absent(path, note.encode()).created:
                return number
        raise InputError(
            "attempts_exhausted",
            unit_id,
            f"{self._max} attempts at {stage} ended without an answer (a crash, out of memory, "
            "or killed)",
            "look at the workers' logs, then run again with the quarantined units included",
        )

    def forget(self, unit_id: str, stage: str) -> None:
        """Remove the notes: the stage is through with the unit, or gave it up in order."""
        for number in range(self._max, 0, -1):
            self._storage.delete(f"{self._folder(unit_id, stage)}/{number}")

    def _folder(self, unit_id: str, stage: str) -> str:
        return f"attempts/{unit_id[:2]}/{unit_id}-{self._fingerprint[:12]}/{stage}"
