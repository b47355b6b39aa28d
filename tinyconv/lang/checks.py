"""What can be told from the program without expanding it: unused names and blocks, blocks that contain themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import Diagnostic
from . import ast
from .reader import Program


def stages_of(chain: list[ast.Stage]) -> Iterator[ast.Stage]:
    """Every stage of a chain, those in braces included."""
    for stage in chain:
        yield stage
        for inner in inner_chains(stage):
            yield from stages_of(inner)


def inner_chains(stage: ast.Stage) -> Iterator[list[ast.Stage]]:
    if isinstance(stage, ast.Layer):
        if stage.branches is not None:
            yield from stage.branches.chains
    elif isinstance(stage, ast.Repeat):
        yield stage.body.chain
    elif isinstance(stage, ast.When):
        branch: ast.Body | ast.When | None = stage
        while isinstance(branch, ast.When):
            yield branch.body.chain
            branch = branch.otherwise
        if branch is not None:
            yield branch.chain


def chains(items: list[ast.Item]) -> Iterator[list[ast.Stage]]:
    for item in items:
        if isinstance(item, ast.Pipe):
            yield item.stages
        elif isinstance(item, (ast.Block, ast.Head)):
            yield item.body.chain


def aliases(program: Program) -> Iterator[ast.Ident]:
    for chain in chains(program.items):
        for stage in stages_of(chain):
            if stage.alias is not None:
                yield stage.alias


def nodes(node) -> Iterator[ast.Node]:
    """A node and every node below it."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, ast.Node):
            yield node
            stack.extend(value for key, value in vars(node).items() if isinstance(value, (list, ast.Node)))


def call_cycle(name: str, blocks: Mapping[str, ast.Block]) -> tuple[list[str], ast.Ident] | None:
    """The chain of blocks by which `name` contains itself, and the call that closes it; None where it does not."""
    seen = {name}
    stack = [([name], blocks[name])]
    while stack:
        chain, block = stack.pop()
        params = {p.name for p in block.params}
        for stage in stages_of(block.body.chain):
            if not isinstance(stage, ast.Layer) or stage.callee.name in params or stage.callee.name not in blocks:
                continue
            called = stage.callee.name
            if called == name:
                return [*chain, name], stage.callee
            if called not in seen:
                seen.add(called)
                stack.append(([*chain, called], blocks[called]))
    return None


def warnings_of(program: Program) -> list[Diagnostic]:
    """Names given with `as` and never used; in a file with layers, blocks of that file never used."""
    found = []
    top = [stage for item in program.root if isinstance(item, ast.Pipe) for stage in item.stages]
    heads = [item for item in program.root if isinstance(item, ast.Head)]
    found += unused_names([top, *(h.body.chain for h in heads)])
    for item in program.root:
        if isinstance(item, ast.Block):
            found += unused_names([item.body.chain])
    if top:
        used = {n.name for n in nodes(program.items) if isinstance(n, (ast.Name, ast.Layer)) for n in [named(n)]}
        for item in program.root:
            if isinstance(item, ast.Block) and item.name.name not in used:
                found.append(Diagnostic("W102", f"the block `{item.name.name}` is never used", *item.name.span,
                                        help="remove it, or put it into a file of its own to include"))
    return sorted(found, key=lambda d: (d.line, d.column))


def named(node):
    return node.callee if isinstance(node, ast.Layer) else node


def unused_names(roots: list[list[ast.Stage]]) -> list[Diagnostic]:
    """Names of one block or file that no `@name` in their reach uses. The first chain's names reach the others."""
    unused: list[ast.Ident] = []

    def walk(chain, outer):
        names = [*outer, {}]
        for stage in chain:
            for ref in own_references(stage):
                for level in reversed(names):
                    if ref.name in level:
                        level[ref.name] = None
                        break
            for inner in inner_chains(stage):
                unused.extend(i for i in walk(inner, names).values() if i is not None)
            if stage.alias is not None:
                names[-1][stage.alias.name] = stage.alias
        return names[-1]

    top = walk(roots[0], [])
    for chain in roots[1:]:
        unused.extend(i for i in walk(chain, [top]).values() if i is not None)
    unused.extend(i for i in top.values() if i is not None)
    return [Diagnostic("W101", f"`{i.name}` is never used", *i.span, help=f"remove `as {i.name}`") for i in unused]


def own_references(stage: ast.Stage) -> Iterator[ast.Ref]:
    """The `@name`s in a stage's own arguments and expressions, and those in the lets of its braces."""
    parts: list = []
    if isinstance(stage, ast.RefStage):
        parts = [stage.ref]
    elif isinstance(stage, ast.Layer):
        parts = list(stage.args)
    elif isinstance(stage, ast.Repeat):
        parts = [stage.count, stage.body.lets]
    elif isinstance(stage, ast.When):
        branch: ast.Body | ast.When | None = stage
        while isinstance(branch, ast.When):
            parts += [branch.condition, branch.body.lets]
            branch = branch.otherwise
        if branch is not None:
            parts.append(branch.lets)
    for part in parts:
        yield from (n for n in nodes(part) if isinstance(n, ast.Ref))
