"""The formats of exported files: how each is written, and run to be checked."""

import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .signature import METADATA, Signature
from .tracing import Traced

Run = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""Of inputs by name, the outputs by name."""


class FileFormat(ABC):
    """A format of files.

    Attributes:
        name: On the command line.
        runtime: What runs the file, in words.
    """

    name: ClassVar[str]
    runtime: ClassVar[str]

    @abstractmethod
    def check_parts(self, weights: int) -> None:
        """Raise what says that a file cannot be written, before anything is computed.

        Args:
            weights: Their bytes.

        Raises:
            ImportError: if a package is missing.
            ValueError: if the network is too large.
        """

    @abstractmethod
    def write(self, graph: Traced, signature: Signature, metadata: str, path: Path) -> None:
        """Write a program, with its metadata.

        Args:
            graph: What is written.
            signature: What it takes and gives.
            metadata: As JSON.
            path: Of the file.
        """

    @abstractmethod
    def load(self, path: Path) -> Run:
        """What runs a file."""


class OnnxFile(FileFormat):
    """ONNX, written by torch's exporter and run by onnxruntime."""

    name = "onnx"
    runtime = "onnxruntime"

    def check_parts(self, weights: int) -> None:
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f"ONNX files need onnx, onnxscript and onnxruntime: pip install 'tsbn_hub[export]'. ({error})"
            ) from error
        if weights >= 2**31 - 2**24:
            raise ValueError(
                f"The weights have {weights / 2**30:.1f} GB, and a file of ONNX up to 2: take torch-export."
            )

    def write(self, graph: Traced, signature: Signature, metadata: str, path: Path) -> None:
        with (
            quiet(),
            sdpa_kernel(SDPBackend.MATH),
        ):  # of the others torch gets the strides wrong when it decomposes them
            exported = torch.onnx.export(graph.program, dynamo=True, verbose=False)
        assert exported is not None
        from .onnx_names import name_graph

        name_graph(exported.model.graph, signature.inputs, signature.outputs, graph.dynamic)
        exported.model.metadata_props[METADATA] = metadata
        exported.save(str(path))

    def load(self, path: Path) -> Run:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

        def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
            names = [output.name for output in session.get_outputs()]
            return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}

        return run


class TorchFile(FileFormat):
    """torch.export, in torch's own archive."""

    name = "torch-export"
    runtime = "torch.export.load"

    def check_parts(self, weights: int) -> None:
        """Nothing is missing."""

    def write(self, graph: Traced, signature: Signature, metadata: str, path: Path) -> None:
        with path.open("wb") as file, quiet():
            torch.export.save(graph.program, file, extra_files={f"{METADATA}.json": metadata})

    def load(self, path: Path) -> Run:
        with path.open("rb") as file, quiet():
            module = torch.export.load(file).module()
        return lambda inputs: module(*inputs.values())


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block, what torch's exporters say of their own code is not shown."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch._export", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
