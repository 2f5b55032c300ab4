"""Detections as an ELAN annotation file (.eaf, format 3.0): a tier per class, in milliseconds.

Format: the schema EAFv3.0.xsd of the Max Planck Institute for Psycholinguistics. Annotations of
one tier must not overlap.
"""

import mimetypes
from datetime import datetime, timezone
from xml.etree import ElementTree

from co2net_runtime.detections import Detections

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"


def to_eaf(found: Detections, media: str) -> str:
    """Return the text of one video's file.

    Args:
        found: The segments; none may overlap another one of its class.
        media: Where ELAN finds the video, a path or an address.
    """
    ElementTree.register_namespace("xsi", _INSTANCE)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "co2net",
            "DATE": now,
            "FORMAT": "3.0",
            "VERSION": "3.0",
            f"{{{_INSTANCE}}}noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    place = {"MEDIA_URL": media, "MIME_TYPE": mimetypes.guess_type(media)[0] or "video/mp4"}
    if "://" not in media:
        place["RELATIVE_MEDIA_URL"] = f"./{media}"
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", place)
    times = sorted({_milliseconds(edge) for edge in found.segments.ravel().tolist()})
    slots = {time: f"ts{number}" for number, time in enumerate(times, 1)}
    order = ElementTree.SubElement(root, "TIME_ORDER")
    for time, slot in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
    number = 0
    for label, name in enumerate(found.classes):
        tier = ElementTree.SubElement(root, "TIER", LINGUISTIC_TYPE_REF="action", TIER_ID=name)
        for one in found.select(found.labels == label):
            number += 1
            annotation = ElementTree.SubElement(
                ElementTree.SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                ANNOTATION_ID=f"a{number}",
                TIME_SLOT_REF1=slots[_milliseconds(one.start_s)],
                TIME_SLOT_REF2=slots[_milliseconds(one.end_s)],
            )
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = name
    ElementTree.SubElement(
        root,
        "LINGUISTIC_TYPE",
        LINGUISTIC_TYPE_ID="action",
        TIME_ALIGNABLE="true",
        GRAPHIC_REFERENCES="false",
    )
    ElementTree.indent(root, " ")
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
