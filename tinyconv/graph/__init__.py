"""Layer graphs as plain data: nothing here needs NumPy or compiled code."""

from .build import build
from .graph import Graph, Head, Node

__all__ = ["Graph", "Head", "Node", "build"]
