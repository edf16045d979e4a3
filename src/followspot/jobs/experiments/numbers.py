"""Lists of numbers, read from texts."""

from followspot.errors import SettingError


def parse_numbers(option: str, text: str, *, all_allowed: bool = False) -> tuple[int | None, ...]:
    """Whole numbers with commas between.

    Args:
        option: for the message.
        text: what was given.
        all_allowed: ``all`` is welcome and gives None.

    Raises:
        SettingError: anything else.

    >>> parse_numbers("--radii", "all,6", all_allowed=True)
    (None, 6)
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() or (all_allowed and part == "all") for part in parts):
        example = "all,12,6" if all_allowed else "1,8"
        raise SettingError(f'{option} "{text}" is not understood; write whole numbers with commas between, such as {example}')
    return tuple(None if part == "all" else int(part) for part in parts)
