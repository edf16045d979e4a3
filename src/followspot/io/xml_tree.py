"""XML of others, read without obeying it: no document types, no entities, nothing fetched."""

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from followspot.errors import AnnotationError

_LARGEST = 64 * 2**20
"""Bytes. An annotation of one image takes kilobytes."""


def load_xml(path: Path) -> Element:
    """The root of an XML file.

    Raises:
        AnnotationError: missing, too large, not XML, or with a document type (which can make a parser fetch or build anything).
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= _LARGEST else None
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read ({error.strerror}); unpack the annotations again") from error
    if data is None:
        raise AnnotationError(f"{path} is larger than {_LARGEST >> 20} MiB, too large for an annotation; unpack it again")
    return parse_xml(data, str(path))


def parse_xml(data: bytes, where: str) -> Element:
    """The root of an XML document.

    Args:
        data: its bytes; the encoding is as it says, UTF-8 if it says nothing.
        where: what errors name.

    Raises:
        AnnotationError: see `load_xml`.

    >>> parse_xml(b"<a><b>1</b></a>", "a.xml").findtext("b")
    '1'
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()

    def refuse(name: str, *_: object) -> None:
        raise AnnotationError(f"{where}: declares a document type {name!r}, which is refused; save it without <!DOCTYPE>")

    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = builder.start, builder.end, builder.data
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(f"{where} is not readable XML ({error}); unpack the annotations again") from error
    return builder.close()
