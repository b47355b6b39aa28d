"""The `.net` language: text -> program -> layers given to a builder. Knows no layer by name.

    program = lang.load("net.net")            # or lang.parse(text)
    warnings = lang.expand(program, builder)  # builder.layer(...) once per resolved layer, in order

What a name needs is imported at its first use; Lark itself only for a text with mistakes, or without tables.
"""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "parse": "reader", "load": "reader", "Program": "reader",
    "expand": "expander",
    "of_fragment": "findings",
    "sections": "settings",
    "inline": "inliner", "with_input": "inliner",
    "render": "renderer",
    "format": "formatter",
    "LayerError": "errors", "SourceError": "errors",
    "Shape": "shape",
    "Span": "span", "Call": "span",
    "Param": "signature", "Signature": "signature", "Setting": "signature", "REQUIRED": "signature",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
