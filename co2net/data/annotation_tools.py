"""Annotations that people made in Label Studio, ELAN or the VGG Image Annotator, read.

Each reader returns the videos as the entries of ActivityNet-style JSON, without "subset", so that
everything behind it is checked as if it came from there.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from co2net.data.video import counted
from co2net_runtime.errors import InputError
from co2net_runtime.files.text import read_text
from co2net_runtime.video import SUFFIXES

Entries = list[tuple[str, dict[str, Any]]]  # name of a video, its entry

# VIA: attributes of a span of time; types of attribute whose values are ids of options
_TEMPORAL_SEGMENT = "FILE1_Z2_XY0"
_CHOICES = (2, 3, 4)


def read_tool(document: Any, where: str) -> tuple[Entries, list[str]] | None:
    """Return the videos in a tool's JSON and warnings; None if it is none of a tool.

    Args:
        document: The content of the file: Label Studio's export (a list of tasks) or a project of
            VIA 3.
        where: Name of the file, for error texts.

    Raises:
        InputError: It is damaged, or does not say what is needed.
    """
    if isinstance(document, list) and document and all(isinstance(one, dict) for one in document):
        return _guarded(_label_studio, document, where, "an export of Label Studio (JSON)")
    if isinstance(document, dict) and {"project", "view", "metadata"} <= document.keys():
        return _guarded(_via, document, where, "a project of VIA 3")
    return None


def read_eaf(path: Path) -> Entries:
    """Return the one video of an ELAN file; its name is the file's.

    The label of an annotation is its value, or its tier's name where the value is empty. Tiers
    that depend on others hold no times, and are left out.

    Raises:
        InputError: It is damaged, or an annotation lacks a time.
    """
    text = read_text(path, "ELAN annotations")
    # entities are never needed, and could make a small file huge
    if "<!DOCTYPE" in text:
        raise InputError(f"{path}: expected an ELAN file (.eaf) without a document type")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: expected an ELAN file (.eaf), XML: {error}") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise InputError(f"{path}: expected an ELAN file (.eaf), found XML of <{root.tag}>")
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    records = []
    for tier in root.iter("TIER"):
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            times = [slots.get(one.get(f"TIME_SLOT_REF{end}")) for end in (1, 2)]
            try:
                segment = [int(str(time)) / 1000 for time in times]
            except (ValueError, OverflowError) as error:
                raise InputError(
                    f"{path}: annotation {one.get('ANNOTATION_ID')}: expected both its times, "
                    f"found {times}: align it in ELAN"
                ) from error
            label = one.findtext("ANNOTATION_VALUE", "").strip() or tier.get("TIER_ID", "")
            records.append({"segment": segment, "label": label})
    return [(path.stem, {"annotations": records})]


def _guarded(
    read: Callable[[Any], tuple[Entries, list[str]]], document: Any, where: str, expected: str
) -> tuple[Entries, list[str]]:
    try:
        return read(document)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(
            f"{where}: expected {expected} (found a {type(error).__name__}: {error})"
        ) from error


def _label_studio(tasks: Sequence[Mapping[str, Any]]) -> tuple[Entries, list[str]]:
    entries: Entries = []
    predicted, several = [], []
    for task in tasks:
        if "data" not in task:
            raise InputError("expected Label Studio's tasks with 'data': export as JSON, in full")
        data = task["data"]
        name = str(data["name"]) if data.get("name") else _video_name(data["video"])
        done = [one for one in task.get("annotations") or () if not one.get("was_cancelled")]
        approved = [one for one in done if one.get("ground_truth")]
        if not done and task.get("predictions"):
            done = task["predictions"]
            predicted.append(name)
        if len(done) > 1 and len(approved) != 1:
            several.append(name)
        chosen = (approved or done or [{"result": []}])[-1]
        regions = [one["value"] for one in chosen["result"] if one["type"] == "timelinelabels"]
        if regions and not data.get("fps"):
            raise InputError(
                f"{name}: expected data.fps, the frame rate of Label Studio's timeline: its times "
                "are frames"
            )
        # frames are numbered from 1, and the last one is in the range
        records = [
            {
                "segment": [
                    (float(span["start"]) - 1) / float(data["fps"]),
                    float(span["end"]) / float(data["fps"]),
                ],
                "label": label,
            }
            for region in regions
            for span in region["ranges"]
            for label in region["timelinelabels"]
        ]
        entries.append((name, {"annotations": records}))
    warnings = counted(predicted, "nobody has annotated it, the model's predictions are taken")
    warnings += counted(several, "annotated several times, the last annotation is taken")
    return entries, warnings


def _via(project: Mapping[str, Any]) -> tuple[Entries, list[str]]:
    files, views = project["file"], project["view"]
    names = {vid: _video_name(files[view["fid_list"][0]]["fname"]) for vid, view in views.items()}
    records: dict[str, list[dict[str, Any]]] = {vid: [] for vid in views}
    label_of = _via_labels(project["attribute"])
    unlabeled = []
    for one in project["metadata"].values():
        if len(one["z"]) != 2:  # a region of a picture
            continue
        labels = label_of(one["av"])
        if not labels:
            unlabeled.append(f"{names[one['vid']]}: {one['z'][0]:g} to {one['z'][1]:g} s")
        for label in labels:
            records[one["vid"]].append({"segment": one["z"], "label": label})
    entries: Entries = [(names[vid], {"annotations": found}) for vid, found in records.items()]
    return entries, counted(unlabeled, "without a class, left out", "segment")


def _via_labels(attributes: Mapping[str, Any]) -> Callable[[Mapping[str, str]], list[str]]:
    """Return a function from a segment's attributes to its classes."""
    spans = {key: one for key, one in attributes.items() if one["anchor_id"] == _TEMPORAL_SEGMENT}
    named = [key for key, one in spans.items() if one["aname"] == "action"]
    keys = named or list(spans)
    if len(keys) > 1:
        found = ", ".join(spans[key]["aname"] for key in keys)
        raise InputError(f"several attributes of segments ({found}): call that of the class action")
    if not keys:
        return lambda _: []
    attribute = spans[keys[0]]

    def labels(values: Mapping[str, str]) -> list[str]:
        value = values.get(keys[0], "")
        if attribute["type"] not in _CHOICES:
            return [value] if value.strip() else []
        return [attribute["options"][option] for option in value.split(",") if option]

    return labels


def _video_name(place: str) -> str:
    """Return the name of a video from its path or address."""
    name = re.split(r"[/\\=]", unquote(place))[-1]
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in SUFFIXES else name
