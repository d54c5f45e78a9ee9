"""Tools as clients use them to ask for an object: one that must be called, whose arguments are the answer."""

import uuid
from typing import Any

from api.errors import invalid
from api.schema.requests import ChatRequest, NamedTool, Tool
from api.schema.responses import CalledFunction, ToolCall


def forced_tool(body: ChatRequest) -> Tool | None:
    """The tool that the answer must call; None for a request without tools. Raises ApiError for any other choice."""
    choice = body.tool_choice
    if not body.tools:
        if choice == "required" or isinstance(choice, NamedTool):
            raise invalid("tool_choice asks for a tool, and the request has none", "tool_choice")
        return None
    if choice == "none":
        return None
    if isinstance(choice, NamedTool):
        named = [tool for tool in body.tools if tool.function.name == choice.function.name]
        if not named:
            raise invalid(f"tool_choice names {choice.function.name!r}, which is none of the tools", "tool_choice")
        return named[0]
    if choice != "required":
        raise invalid(
            "whether to call a tool is not decided here: send one tool with tool_choice required, or its schema as "
            "response_format",
            "tool_choice",
        )
    if len(body.tools) > 1:
        raise invalid("which tool to call is not decided here: send one, or its schema as response_format", "tools")
    return body.tools[0]


def parameters(tool: Tool) -> dict[str, Any]:
    """The schema of a tool's arguments."""
    return tool.function.parameters or {"type": "object"}


def call_of(tool: Tool, arguments: str) -> ToolCall:
    name = tool.function.name
    return ToolCall(id=f"call_{uuid.uuid4().hex[:24]}", function=CalledFunction(name=name, arguments=arguments))
