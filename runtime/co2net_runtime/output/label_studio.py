"""Detections as Label Studio's tasks (JSON), each with a prediction that people correct.

Format: labelstud.io/guide/task_format and labelstud.io/tags/timelinelabels. A labeling interface
that takes them:

    <View>
      <Video name="video" value="$video" frameRate="$fps"/>
      <TimelineLabels name="actions" toName="video"> <Label value="..."/> ... </TimelineLabels>
    </View>
"""

from typing import Any

from co2net_runtime.detections import Detections


def to_task(video: str, found: Detections, media: str, fps: float, model: str) -> dict[str, Any]:
    """Return the task of one video.

    Args:
        video: The video's name; it travels as `data.name`.
        found: The segments to show.
        media: Where Label Studio finds the video.
        fps: Frame rate of the timeline; frames are numbered from 1, and a range ends with the last
            frame in it.
        model: Name of the model, Label Studio's `model_version`.
    """
    result = []
    for number, one in enumerate(found, 1):
        first = round(one.start_s * fps) + 1
        frames = {"start": first, "end": max(first, round(one.end_s * fps))}
        result.append(
            {
                "id": f"co2net_{number}",
                "type": "timelinelabels",
                "from_name": "actions",
                "to_name": "video",
                "score": one.confidence,
                "value": {"ranges": [frames], "timelinelabels": [one.label]},
            }
        )
    best = max((one.confidence for one in found), default=0.0)
    prediction = {"model_version": model, "score": best, "result": result}
    return {"data": {"video": media, "name": video, "fps": fps}, "predictions": [prediction]}
