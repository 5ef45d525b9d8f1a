"""The `hud` command: parse, call, render. What it calls lives in the layers below."""
