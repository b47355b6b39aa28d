"""From a graph to numbers: plan, memory, sessions, and the backends that run them."""
