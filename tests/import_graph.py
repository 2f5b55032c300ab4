"""The imports of the four packages, read from the source without running it."""

import ast
from collections.abc import Mapping
from pathlib import Path

Graph = Mapping[str, set[str]]


def package_imports(root: Path, package: str) -> dict[str, set[str]]:
    """Return, for each module of a package, the modules of the same package that it imports.

    Imports inside functions and imports for type checking count.
    """
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (root / package).rglob("*.py")
    }
    graph = {}
    for module, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        graph[module] = {
            found
            for node in ast.walk(tree)
            for name in _imported(node)
            if (found := name if name in files else name.rpartition(".")[0]) in files
            and found != module
        }
    return graph


def _imported(node: ast.AST) -> list[str]:
    """Return `a.b.c` for `import a.b.c` and for `from a.b import c`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def rooms(graph: Graph, package: str) -> dict[str, set[str]]:
    """Return the graph of the package's rooms: its folders, and the files beside them."""

    def room(module: str) -> str:
        return ".".join(module.split(".")[:2])

    # a package's __init__ is its door: it may name whatever stands behind it
    found: dict[str, set[str]] = {}
    for module, imported in graph.items():
        if module == package:
            continue
        here = found.setdefault(room(module), set())
        here |= {room(name) for name in imported if name != package} - {room(module)}
    return found


def circles(graph: Graph) -> list[list[str]]:
    """Return the sets of modules that import each other, each sorted (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            start = stack.index(node)
            circle = stack[start:]
            del stack[start:]
            if len(circle) > 1:
                found.append(sorted(circle))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found
