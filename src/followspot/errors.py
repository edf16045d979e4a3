"""Everything followspot can complain about, in one tree.

FollowspotError
├── VideoError            a video cannot be opened, decoded or encoded
│   └── TruncatedVideoError   it can, but ends before its own header says (what was decoded was delivered)
├── AnnotationError       a mask, box, point, keypoint or label file is unusable
├── OutputError           results cannot be written (disk full, folder in use, wrong run)
├── EncoderError          unknown encoder, missing extra, bad weights
├── DatasetError          a benchmark's files are missing or of the wrong shape
└── SettingError          an option has a value outside its range

Every message is one line: the value, what was expected, and what to do next.
"""


class FollowspotError(Exception):
    """Base of all errors that a user can cause and mend. The command line prints it in one line and exits with 2."""


class VideoError(FollowspotError):
    """A video cannot be opened, decoded or encoded."""


class TruncatedVideoError(VideoError):
    """A video ended early. Raised after every frame that could be decoded has been delivered.

    Args:
        message: one line that names the file and what to do.
        decoded: how many frames were delivered.
        expected: how many the file promised; None for a stream, which promises nothing.
    """

    def __init__(self, message: str, *, decoded: int, expected: int | None) -> None:
        super().__init__(message)
        self.decoded = decoded
        self.expected = expected


class AnnotationError(FollowspotError, ValueError):
    """A mask, box, point, keypoint or label file cannot be used."""


class OutputError(FollowspotError):
    """Results cannot be written."""


class EncoderError(FollowspotError):
    """An encoder is unknown, needs an extra that is not installed, or its weights do not fit."""


class DatasetError(FollowspotError):
    """A benchmark's files are missing or have the wrong shape."""


class SettingError(FollowspotError, ValueError):
    """A setting has a value outside its range."""
