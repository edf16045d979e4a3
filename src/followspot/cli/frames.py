"""``--at FRAME`` belongs to the annotation before it: option parsers forget the order, so it is bound here first."""

from collections.abc import Sequence

from followspot.errors import AnnotationError

ANNOTATIONS = ("--mask", "--box", "--point", "--keypoints", "--labels", "--colors")
AT = "\x1f"
"""Stands between a value and its frame; no file name or number holds it."""


def bind_frames(tokens: Sequence[str]) -> list[str]:
    """Joins every ``--at FRAME`` to the value of the annotation option before it.

    Args:
        tokens: the command line.

    Returns:
        The command line without ``--at``.

    Raises:
        AnnotationError: ``--at`` follows no annotation, or its frame is no number.

    >>> bind_frames(["track", "v.mp4", "--mask", "f.png", "--at", "20"])[3].split(AT)
    ['f.png', '20']
    """
    bound: list[str] = []
    value_next = at_next = False
    target: int | None = None
    for token in tokens:
        name, equals, rest = token.partition("=")
        if at_next:
            _attach(bound, target, token)
            at_next, target = False, None
        elif value_next and _negative_number(token):
            bound[-1] += f"={token}"  # on its own, -5,0,40,40 would be taken for an option
            target, value_next = len(bound) - 1, False
        elif value_next:
            bound.append(token)
            target, value_next = len(bound) - 1, False
        elif name == "--at":
            if equals:
                _attach(bound, target, rest)
                target = None
            else:
                at_next = True
        else:
            bound.append(token)
            value_next = token in ANNOTATIONS
            target = len(bound) - 1 if name in ANNOTATIONS and equals else None
    if at_next:
        raise AnnotationError("--at needs a frame number, counted from 0: --mask f.png --at 20")
    return bound


def split_frame(value: str) -> tuple[str, int | None]:
    r"""A bound value and its frame, None where ``--at`` was not given.

    >>> split_frame("f.png\x1f20"), split_frame("f.png")
    (('f.png', 20), ('f.png', None))
    """
    text, found, frame = value.partition(AT)
    return text, int(frame) if found else None


def _negative_number(token: str) -> bool:
    return token[:1] == "-" and token[1:2] != "" and token[1:2] in "0123456789."


def _attach(bound: list[str], target: int | None, frame: str) -> None:
    if target is None:
        before = ", ".join(ANNOTATIONS)
        raise AnnotationError(f"--at {frame} follows no annotation; write it right after the one it belongs to ({before})")
    if not frame.isdecimal():
        raise AnnotationError(f'--at "{frame}" is not a frame number; frames are counted from 0: --mask f.png --at 20')
    bound[target] += AT + frame
