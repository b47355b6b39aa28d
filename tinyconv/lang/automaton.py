"""Runs the parser's tables: what reads every text without an error, in a tenth of the time that importing Lark takes.

The tables are Lark's, rewritten by maketables.py. Where a text does not fit, Lark reads it again and says why.
"""

from __future__ import annotations

import re


def _same(children: list) -> list:
    return children


class Token(str):
    """A terminal of the text: its name (`type`) and the offsets where it starts and ends."""

    type: str
    start_pos: int
    end_pos: int


class Automaton:
    """An LALR(1) parser with a contextual lexer: only terminals that the state has an action for are looked for.

    tables: the module that maketables.py writes. builder: its methods are called with the children of each rule.
    """

    def __init__(self, tables, builder):
        self._tables = tables
        self._order = tables.TERMINALS      # (name, pattern, whether it is left out), first match wins
        self._matchers: dict[str, object] = {}
        self._rows: dict[int, tuple[list, dict]] = {}
        self._rules = [(origin, size, getattr(builder, call, None) if call else _same, children, single)
                       for origin, size, call, children, single in tables.RULES]

    def parse(self, text: str):
        """What the builder made of the whole text; None where the text does not fit the grammar."""
        states, values = [self._tables.START], []
        at, end = 0, len(text)
        while True:
            lexer, actions = self._row(states[-1])
            token = None
            while at < end and token is None:
                for name, match, ignored in lexer:
                    found = match(text, at)
                    if found:
                        break
                else:
                    return None
                if not ignored:
                    token = Token(found.group())
                    token.type, token.start_pos, token.end_pos = name, at, found.end()
                at = found.end()
            kind = "$END" if token is None else token.type
            while True:
                action = actions.get(kind)
                if action is None:
                    return None
                if action >= 0:
                    states.append(action)
                    values.append(token)
                    break
                self._reduce(self._rules[~action], states, values)
                if token is None and states[-1] == self._tables.END:
                    return values[-1]
                actions = self._row(states[-1])[1]

    def _reduce(self, rule, states: list[int], values: list) -> None:
        origin, size, call, children, single = rule
        taken = values[len(values) - size:]
        if size:
            del states[-size:], values[-size:]
        if children is not None:
            kept: list = []
            for place, inline in children:
                if place < 0:
                    kept.append(None)
                elif kept:
                    kept += taken[place] if inline else taken[place:place + 1]
                else:
                    # A long list comes item by item: it is taken over, not copied.
                    kept = taken[place] if inline else taken[place:place + 1]
            taken = kept
        values.append(taken[0] if single and len(taken) == 1 else call(taken))
        states.append(self._row(states[-1])[1][origin])

    def _row(self, state: int) -> tuple[list, dict]:
        """The state's lexer, and its actions: {symbol: state to go to, or ~rule to reduce by}."""
        row = self._rows.get(state)
        if row is None:
            actions: dict[str, int] = {}
            for item in self._tables.STATES[state].split():
                symbols, arrow, number = item.partition(">")
                if arrow:
                    actions[symbols] = int(number)
                else:
                    symbols, _, number = item.partition("<")
                    actions.update(dict.fromkeys(symbols.split(","), ~int(number)))
            lexer = [(name, self._matcher(name, pattern), ignored) for name, pattern, ignored in self._order
                     if ignored or name in actions]
            row = self._rows[state] = lexer, actions
        return row

    def _matcher(self, name: str, pattern: str):
        found = self._matchers.get(name)
        if found is None:
            found = self._matchers[name] = re.compile(pattern).match
        return found
