"""JSON instead of pickles for what DBOS keeps: the database cannot run code here, and people can read it."""

import json
from typing import Any

from dbos import Serializer

ERROR = "__error__"


class JsonSerializer(Serializer):
    """Steps take and return JSON only; an exception keeps its type's name and message."""

    def serialize(self, data: Any) -> str:
        if isinstance(data, BaseException):
            data = {ERROR: f"{type(data).__name__}: {data}"}
        return json.dumps(data)

    def deserialize(self, serialized_data: str) -> Any:
        data = json.loads(serialized_data)
        return RuntimeError(data[ERROR]) if isinstance(data, dict) and ERROR in data else data

    def name(self) -> str:
        return "ocr_json"
