"""Tools and calls of tools in a row, in the form that chat templates of transformers read.

That form is `{"type": "function", "function": {"name", "arguments": {...}}}` with the arguments as
an object (transformers' documentation, "Tool use"). Files also hold bare functions, arguments and
whole lists as JSON text, and OpenAI's older `function_call`; they mean the same.
"""

from __future__ import annotations

from typing import Any

from lora_engine.data.field_values import InvalidRow, is_empty, json_of, keys_of, kind_of
from lora_engine.language import tr


def calls_in(value: Any, where: str) -> list[dict[str, Any]]:
    """The calls of one turn: a list of calls or one call, as values or as JSON text.

    Raises InvalidRow where something is no call, or its arguments are no object.
    """
    if is_empty(value):
        return []
    found = json_of(value, where)
    calls = found if isinstance(found, list) else [found]
    return [_call(call, f"{where}[{place}]") for place, call in enumerate(calls, start=1)]


def tools_in(value: Any, where: str) -> list[Any]:
    """The tools that a row offers: a list of tools or one tool, as values or as JSON text.

    Raises InvalidRow where something is no tool.
    """
    if is_empty(value):
        return []
    found = json_of(value, where)
    tools = found if isinstance(found, list) else [found]
    return [_tool(tool, f"{where}[{place}]") for place, tool in enumerate(tools, start=1)]


def _call(call: Any, where: str) -> dict[str, Any]:
    call = json_of(call, where)
    given = call.get("function") if isinstance(call, dict) and call.get("function") else call
    if not isinstance(given, dict) or not isinstance(given.get("name"), str) or not given["name"]:
        raise InvalidRow(
            tr(
                "{where} is no call of a tool (name, arguments): it {keys_of}",
                where=where,
                keys_of=keys_of(given),
            )
        )
    found = given.get("arguments", given.get("parameters", given.get("input")))
    arguments = (
        {}
        if found in (None, "")
        else json_of(found, tr("the text of {where}'s arguments", where=where))
    )
    if not isinstance(arguments, dict):
        raise InvalidRow(
            tr(
                "{where}'s arguments are {kind_of}, an object is needed",
                where=where,
                kind_of=kind_of(arguments),
            )
        )
    more = {"id": call["id"]} if isinstance(call.get("id"), str) and call["id"] else {}
    function = {"name": given["name"], "arguments": arguments}
    return {**more, "type": "function", "function": function}


def _tool(tool: Any, where: str) -> Any:
    tool = json_of(tool, where)
    if not isinstance(tool, dict) or not tool:
        raise InvalidRow(
            tr(
                "{where} is {kind_of}, a tool is needed (name, parameters)",
                where=where,
                kind_of=kind_of(tool),
            )
        )
    is_bare = "function" not in tool and isinstance(tool.get("name"), str) and "type" not in tool
    return {"type": "function", "function": tool} if is_bare else tool
