"""The three kinds of failure, and what the caller does with each.

==================  ===============================================  =====================
error               meaning                                          what happens
==================  ===============================================  =====================
`InputError`        this recording, frame or file cannot be treated  quarantine with reason
`RetryableError`    the surroundings failed (storage, a lost worker)  bounded retry
`InvariantError`    the program is wrong or a promise would break    the run stops, exit 1
`SetupError`        a file, option or package the user must provide  the run never starts
==================  ===============================================  =====================
"""

from __future__ import annotations


class DeidError(Exception):
    """Base of every error this project raises on purpose."""


class InputError(DeidError):
    """One input cannot be treated; the rest of the run goes on.

    Args:
        reason: stable snake_case name, written to `quarantine.reason` (for example
            `unsupported_interlaced`, `decoder_signal_11`, `truncated`).
        subject: the file or object that is at fault.
        detail: what was found, with the numbers.
        remedy: what the user can do about it.

    Example:
        >>> str(InputError("truncated", "a.mp4", "moov atom is missing", "copy the file again"))
        'a.mp4: truncated: moov atom is missing. Remedy: copy the file again.'
    """

    def __init__(self, reason: str, subject: str, detail: str, remedy: str) -> None:
        self.reason, self.subject, self.detail, self.remedy = reason, subject, detail, remedy
        super().__init__(f"{subject}: {reason}: {detail}. Remedy: {remedy}.")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, str]]:
        """Keep the four fields when the error crosses a process border."""
        return (type(self), (self.reason, self.subject, self.detail, self.remedy))


class RetryableError(DeidError):
    """A transient failure of storage or of a worker; the same call may succeed later."""


class InvariantError(DeidError):
    """A promise of the system would be broken; nothing more may be published."""


class SetupError(DeidError):
    """Something the user must provide is missing or wrong; the message says what to do."""
