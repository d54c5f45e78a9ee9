"""Messages of a request -> turns of a conversation, with their images loaded."""

from dataclasses import replace

from api.errors import invalid
from api.schema.requests import FilePart, ImagePart, Message, TextPart
from engine.handles import Hold
from images.loading import Decoder, ImageLimits, load_images
from images.source import Detail, ImageSource
from modes.choose import Turn


async def load_turns(messages: list[Message], limits: ImageLimits, decoder: Decoder, hold: Hold) -> list[Turn]:
    """The conversation with its images, read off the event loop; `hold` counts their bytes.

    Raises ApiError, ImageError, QueueFull.
    """
    parts = [part for message in messages for part in message.content if not isinstance(part, TextPart)]
    if len(parts) > limits.max_images:
        raise invalid(f"the request holds {len(parts)} images; at most {limits.max_images} are allowed", "messages")
    hold.reserve_bytes(sum(len(_reference(part)[0]) for part in parts))
    turns = []
    for i, message in enumerate(messages):
        texts: list[str] = []
        images: list[ImageSource] = []
        for j, part in enumerate(message.content):
            if isinstance(part, TextPart):
                texts.append(part.text)
                continue
            reference, field, detail = _reference(part)
            password = part.file.password if isinstance(part, FilePart) else None
            param = f"messages.{i}.content.{j}.{field}"
            loaded = await load_images(reference, param, limits, decoder, hold.turn(), password)
            hold.reserve_bytes(max(image.bytes for image in loaded))
            images += [replace(image, detail=detail) for image in loaded]
        role = "system" if message.role == "developer" else message.role
        texts += [call.function.arguments for call in message.tool_calls or []]
        turns.append(Turn(role, "\n".join(texts), images))
    return turns


def _reference(part: ImagePart | FilePart) -> tuple[str, str, Detail]:
    """Address or data URI of a part, the field that holds it, and the detail asked for."""
    if isinstance(part, ImagePart):
        return part.image_url.url, "image_url.url", part.image_url.detail
    return part.file.file_data, "file.file_data", "auto"
