"""The names in an ONNX graph by which it is called."""

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from .signature import Open


def name_graph(graph: ir.Graph, inputs: Sequence[str], outputs: Sequence[str], dynamic: Open) -> None:
    """Call a graph's inputs, outputs and dimensions so, in place, whatever else in it is called so.

    Two outputs that are one value, as of tasks that are alike, become two.

    Args:
        graph: Of torch's exporter.
        inputs: Their names, in order. The first is the images.
        outputs: Their names, in order.
        dynamic: Which dimensions of the images are open.
    """
    _part_outputs(graph)
    named = dict(zip([*graph.inputs, *graph.outputs], [*inputs, *outputs], strict=True))
    for value in _inner_values(graph):
        if value not in named and value.name in named.values():
            value.name = f"{value.name}/inner"
    for number, value in enumerate(named):  # two may exchange their names
        value.name = f"/named/{number}"
    for value, name in named.items():
        value.name = name
    lengths = graph.inputs[0].shape
    assert lengths is not None
    dimensions = {str(lengths[place]): name for place, name in dynamic.items()}
    for value in named:
        if value.shape is not None:
            value.shape = ir.Shape([dimensions.get(str(length), length) for length in value.shape])


def _part_outputs(graph: ir.Graph) -> None:
    """Let no value be two outputs."""
    for place, value in enumerate(graph.outputs):
        if value in graph.outputs[:place]:
            copy = ir.node("Identity", [value])
            graph.append(copy)
            copy.outputs[0].shape, copy.outputs[0].type = value.shape, value.type
            graph.outputs[place] = copy.outputs[0]


def _inner_values(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from list(graph.initializers.values())
    for node in graph.all_nodes():
        yield from node.outputs
