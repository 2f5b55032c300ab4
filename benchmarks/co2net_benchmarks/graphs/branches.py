"""The branches of a file optimized for the CPU, each as a graph of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx

# one of each per layer, in every branch; the operators between them differ
_LAYERS = ("Conv", "Gemm", "MatMul")
_ACTIVATIONS = ("LeakyRelu", "Sigmoid")

Makers = Mapping[str, onnx.NodeProto]


@dataclass(frozen=True)
class Branch:
    """One branch as a graph without If."""

    model: onnx.ModelProto
    pairs: tuple[tuple[str, str], ...]  # (tensor of the reference, tensor here), both computed
    # the tensor that holds, for every snippet (B, T), its row in tensors of packed rows (R, C);
    # None where nothing is packed
    rows: str | None = None


def branches_of(model: onnx.ModelProto, reference: Makers) -> Iterator[Branch]:
    """Yield every branch of the network that the file holds.

    Tensors of another branch than the plain one are named BRANCH/NAME after those of the plain
    one, and the last Gather of a branch unpacks its rows.

    Args:
        model: The file's graph.
        reference: The nodes that make the tensors of the graph to compare with (`makers`).
    """
    graphs = graphs_of(model)
    for graph in graphs:
        gathers = [node for node in graph.graph.node if node.op_type == "Gather"]
        packed = len(graphs) > 1 and gathers
        rows = gathers[-1].input[1] if packed else None
        yield Branch(graph, _pairs(makers(graph), reference), rows)


def graphs_of(model: onnx.ModelProto) -> list[onnx.ModelProto]:
    """Return the graph itself, or every branch of its If with what stands around it.

    `co2net-export --optimize cpu` writes two branches of the network into one file and lets an If
    choose by the number of snippets; either is right at any length. The plain branch comes first.
    """
    choices = [index for index, node in enumerate(model.graph.node) if node.op_type == "If"]
    if not choices:
        return [model]
    # of the attributes then_branch and else_branch the plain branch is the latter
    branches = sorted(model.graph.node[choices[0]].attribute, key=lambda entry: entry.name)
    return [_inlined(model, choices[0], entry.g) for entry in branches]


def makers(model: onnx.ModelProto) -> Makers:
    """Return the node that makes each tensor, in topological order (ONNX demands it of nodes)."""
    return {name: node for node in model.graph.node for name in node.output if name}


def _pairs(ours: Makers, theirs: Makers) -> tuple[tuple[str, str], ...]:
    named = [(name.rpartition("/")[2], name) for name in ours]
    return tuple(
        (plain, name)
        for plain, name in named
        if plain in theirs and (plain == name or _alike(ours[name], theirs[plain]))
    )


def _alike(ours: onnx.NodeProto, theirs: onnx.NodeProto) -> bool:
    """Whether both are layers, or both the same activation: numbered alike in every branch."""
    if ours.op_type in _LAYERS:
        return theirs.op_type in _LAYERS
    return ours.op_type in _ACTIVATIONS and ours.op_type == theirs.op_type


def _inlined(model: onnx.ModelProto, choice: int, branch: onnx.GraphProto) -> onnx.ModelProto:
    """Return the model with the If (node number `choice`) replaced by one of its branches."""
    inlined = onnx.ModelProto()
    inlined.CopyFrom(model)
    nodes = list(model.graph.node)
    handed_on = [
        onnx.helper.make_node("Identity", [inner.name], [outer])
        for inner, outer in zip(branch.output, nodes[choice].output, strict=True)
    ]
    del inlined.graph.node[:]
    inlined.graph.node.extend([*nodes[:choice], *branch.node, *handed_on, *nodes[choice + 1 :]])
    inlined.graph.initializer.extend(branch.initializer)
    return inlined
