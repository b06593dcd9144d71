"""An MCP server over stdio, plain Python, that behaves or misbehaves as its first argument says."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

HOW = sys.argv[1] if len(sys.argv) > 1 else "well"
PAGES = 3


def tool(number: int) -> dict[str, Any]:
    """Keys in an order of its own, and one that no model knows."""
    schema = {"type": "object", "properties": {"zeta": {"type": "string"}, "alpha": {"type": "integer"}}}
    return {
        "inputSchema": schema,
        "x-own": {"b": 1, "a": 2},
        "name": f"tool{number}",
        "description": "Does it",
    }


def answer(message: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a request."""
    if message["method"] == "initialize":
        asked = message["params"]["protocolVersion"]
        info = {"name": "test", "version": "1"}
        return {"protocolVersion": asked, "capabilities": {"tools": {}}, "serverInfo": info}
    if message["method"] != "tools/list":
        return None
    page = int((message.get("params") or {}).get("cursor") or 0)
    if HOW == "dies":
        sys.stderr.write(f"no database, and the key is {os.environ.get('TEST_KEY')}\n")
        sys.stderr.flush()
        os._exit(3)
    if HOW == "silent":
        time.sleep(60)
    if HOW == "floods":
        while True:
            sys.stdout.write("x" * (1 << 20))
    if HOW == "large":
        return {"tools": [{**tool(page), "description": "x" * (9 << 20)}]}
    if HOW == "twice":
        return {"tools": [tool(1), tool(1)]}
    if HOW == "circle":
        return {"tools": [], "nextCursor": "1"}
    if HOW == "forever":
        return {"tools": [], "nextCursor": str(page + 1)}
    if HOW == "noise":
        print("loading …", flush=True)
    if HOW == "key":
        return {"tools": [{**tool(0), "description": "set" if os.environ.get("TEST_KEY") else "not set"}]}
    more = {"nextCursor": str(page + 1)} if page + 1 < PAGES else {}
    return {"tools": [tool(page)], **more}


def main() -> None:
    """Answer line by line."""
    if HOW == "mute":
        time.sleep(60)
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        if HOW == "refuses" and message["method"] == "tools/list":
            reply: dict[str, Any] = {"error": {"code": -32603, "message": "the tools are asleep"}}
        else:
            reply = {"result": answer(message)}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}), flush=True)


if __name__ == "__main__":
    main()
