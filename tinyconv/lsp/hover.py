"""What stands under the cursor: the shapes and costs of a layer or block call, the value of a name."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Graph, Node
from ..graph.describe import axes, describe
from ..graph.graph import add_known
from ..lang.callee import Callee
from ..layers import LAYERS
from .analysis import Analysis
from .completion import callee_of, setting_of, usage_of
from .navigation import resolve
from .outline import Statement
from .project import Found, Project

MOST = 8        # lines for a layer that is built many times


@dataclass(frozen=True)
class Hover:
    """Markdown, and the stretch of the text it is about."""

    text: str
    start: int
    end: int


def hover(project: Project, path: str, offset: int) -> Hover | None:
    """The hover at an offset of an open document, None where there is nothing to say."""
    outline = project.analysis(path).outline
    at = outline.at(offset)
    if at is None:
        return None
    statement, token = at
    found = resolve(project, path, outline, offset)
    callee = statement.tokens[0]
    if token.kind == "ref" or (found and (token.start != callee.start or found.definition.kind != "block")):
        text = of_definition(project, path, found) if found else ""
        return Hover(text, token.start, token.end) if text else None
    if statement.frame.kind == "section":
        text = of_setting(statement)
        return Hover(text, callee.start, statement.tokens[-1].end) if text else None
    if not statement.is_stage:
        return None
    called = resolve(project, path, outline, callee.start)
    lines = costs(project, path, callee.start)
    if called and called.definition.kind == "block":
        lines.insert(0, of_definition(project, path, called))
    elif callee.text in LAYERS:
        lines.insert(0, code(Callee(callee.text, LAYERS[callee.text].signature.params).usage()))
    return Hover("\n\n".join(lines), callee.start, statement.tokens[-1].end) if lines else None


def code(text: str) -> str:
    return f"```net\n{text}\n```"


def of_setting(statement: Statement) -> str:
    """The signature of a setting, or of a step in a pipeline."""
    setting, chosen = setting_of(statement)
    if setting is None:
        return ""
    callee = callee_of(setting, chosen)
    return code(callee.usage() if callee else usage_of(setting))


# Names


def of_definition(project: Project, path: str, found: Found) -> str:
    definition = found.definition
    if definition.kind == "block":
        comment = found.outline.comment_above(definition.start)
        return code(f"block {definition.detail}") + (f"\n\n{comment}" if comment else "")
    if definition.kind == "let":
        value = value_of(project, path, found)
        return code(f"let {definition.name} = {definition.detail}") + (
            f"\n\n= {value}" if value and value != definition.detail else "")
    if definition.kind == "parameter":
        default = f" = {definition.detail}" if definition.detail else ""
        given = parameter_values(project, found)
        text = f"parameter `{definition.name}`{default} of `{definition.frame.name}`"
        return text + (f": {', '.join(f'`{v}`' for v in given)}" if given else "")
    if definition.kind == "index":
        return f"index `{definition.name}` of `{definition.detail}`, from 0"
    if definition.kind == "name":
        shapes = shapes_of(project, found)
        return f"`@{definition.name}`: the output of `{definition.detail}`" + (
            f", {', '.join(f'`{s}`' for s in shapes)}" if shapes else "")
    return ""


def value_of(project: Project, path: str, found: Found) -> str:
    if found.definition.frame.kind != "file":
        return ""
    document = project.documents[path]
    known = (project.analysis(path), document.sound)
    return next((a.lets[found.definition.name] for a in known if a and found.definition.name in a.lets), "")


def parameter_values(project: Project, found: Found) -> list[str]:
    """The values that the open nets give a parameter, each once."""
    block, name = found.definition.frame.name, found.definition.name
    given = [call.args[name] for analysis in analyses(project) for node in analysis.graph.nodes for call in node.trail
             if call.block == block and name in call.args]
    return list(dict.fromkeys(given))[:MOST]


def shapes_of(project: Project, found: Found) -> list[str]:
    """The shapes of an output that `as` names: those of its stage."""
    at = found.outline.at(found.definition.start)
    if at is None or not at[0].is_stage:
        return []
    places = stage_places(project, found.path, at[0].tokens[0].start)
    return list(dict.fromkeys(str(node.shape) for graph, place in places for node in
                              (*layers(graph, place), *(nodes[-1] for _, nodes in calls(graph, place)))))


# Layers and calls


def analyses(project: Project) -> list[Analysis]:
    """The newest analysis of every open document that has a graph."""
    found = []
    for document in project.documents.values():
        newest = project.analysis(document.path)
        chosen = newest if newest.graph is not None else document.sound
        if chosen is not None:
            found.append(chosen)
    return found


def stage_places(project: Project, path: str, offset: int):
    """(graph, its place (file, line, column)) for a stage of an open text or of a file that open nets include."""
    document = project.at(path)
    places = []
    for analysis in analyses(project):
        for file, text in analysis.files.items():
            if project.at(file) is document if document else file == path:
                now = document.text.text if document else text
                place = moved(now, text, offset)
                if place is not None:
                    places.append((analysis.graph, (file, *place)))
    if document and document.sound and document.sound is not document.analysis:
        place = moved(document.text.text, document.sound.text, offset)
        if place is not None and not any(built(graph, at) for graph, at in places):
            places.append((document.sound.graph, (document.path, *place)))
    return places


def moved(now: str, then: str, offset: int) -> tuple[int, int] | None:
    """Line and column from 1 in the text `then` of an offset in `now`; None inside what differs between them."""
    line = now.count("\n", 0, offset)
    column = offset - (now.rfind("\n", 0, offset) + 1)
    if now is not then and now != then:
        new, old = now.split("\n"), then.split("\n")
        if new[:line + 1] != old[:line + 1]:
            below = len(new) - line
            if new[-below:] != old[-below:]:
                return None
            line = len(old) - below
    return line + 1, column + 1


def built(graph: Graph, place) -> bool:
    return bool(layers(graph, place) or calls(graph, place))


def layers(graph: Graph, place) -> list[Node]:
    """The nodes that the layer at a place became, one a pass."""
    return [node for node in graph.nodes if tuple(node.span[:3]) == place]


def calls(graph: Graph, place) -> list[tuple[object, list[Node]]]:
    """(call, its nodes) for every time that the block call at a place was expanded."""
    found: dict[int, tuple[object, list[Node]]] = {}
    for node in graph.nodes:
        for call in node.trail:
            if tuple(call.span[:3]) == place:
                found.setdefault(id(call), (call, []))[1].append(node)
    return list(found.values())


def costs(project: Project, path: str, offset: int) -> list[str]:
    """Shapes and costs of the stage at an offset, one paragraph for each distinct way in which it is built."""
    found: dict[tuple, list[tuple[str, Node]]] = {}
    for graph, place in stage_places(project, path, offset):
        for node in layers(graph, place):
            found.setdefault(facts(graph, [node], described(graph, node)), []).append((node.name, node))
        for call, nodes in calls(graph, place):
            given = " ".join(f"{name}={value}" for name, value in call.args.items())
            found.setdefault(facts(graph, nodes, f"{call.block} {given}".strip()), []).append(("", nodes[-1]))
    shown = [paragraph(key, built) for key, built in list(found.items())[:MOST]]
    return shown + ([f"… and {len(found) - MOST} more"] if len(found) > MOST else [])


def described(graph: Graph, node: Node) -> str:
    text = describe(node.op, node.args, [graph.nodes[i].shape for i in node.inputs])
    return text if node.owner == node.name else f"{text} (weights of {node.owner})"


def facts(graph: Graph, nodes: list[Node], title: str) -> tuple[str, str, str]:
    """`conv 3x3 x64`, shapes, costs; of a call the sums over its layers."""
    first, last = nodes[0], nodes[-1]
    entering = [str(graph.nodes[i].shape) for i in first.inputs][:1 if len(nodes) > 1 else None]
    shapes = f"{', '.join(entering)} -> {last.shape}" if entering else str(last.shape)
    macs = add_known(n.macs for n in nodes)
    work = "MACs unknown: a size is free" if macs is None else f"{macs:,} MACs"
    return title, shapes, f"{sum(n.n_params for n in nodes):,} params, {work}"


def paragraph(key: tuple[str, str, str], built: list[tuple[str, Node]]) -> str:
    title, shapes, work = key
    names = several([name for name, _ in built if name])
    reach = [f"receptive field {several([axes(n.field, True) for _, n in built])}"] if built[0][1].field else []
    jumps = list(dict.fromkeys(axes(n.jump, True) for _, n in built if n.jump))
    reach += [f"jump {several(jumps)}"] if jumps else []
    times = f" ({len(built)} times)" if len(built) > 1 else ""
    return f"{names + ': ' if names else ''}`{title}`{times}  \n{shapes}  \n{', '.join([work, *reach])}"


def several(texts: list[str]) -> str:
    """Each once; of many the first and the last."""
    once = list(dict.fromkeys(texts))
    return ", ".join(once) if len(once) <= 3 else f"{once[0]} … {once[-1]}"
