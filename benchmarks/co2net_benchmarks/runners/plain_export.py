"""The alternative to co2net-export: torch.onnx.export of the training model, all defaults."""

from pathlib import Path

import onnx
import torch

from co2net.checkpoint import Checkpoint
from co2net_export.graph.write import set_contract
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.files.atomic import sha256


class _Tensors(torch.nn.Module):
    """The model with tensors as outputs: the exporter takes no dataclass."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = self.model(features)
        return outputs.cas, outputs.attention


def export_plainly(source: Path, path: Path) -> None:
    """Export a checkpoint; a contract in the file's metadata says how to decode."""
    checkpoint = Checkpoint.load(source)
    torch.onnx.export(
        _Tensors(checkpoint.build()),
        (torch.zeros(1, 64, checkpoint.model.feature_dim),),
        str(path),
        input_names=["features"],
        output_names=["cas", "attention"],
        dynamic_shapes={"features": {1: "time"}},
        dynamo=True,
        verbose=False,
    )
    exported = onnx.load(str(path), load_external_data=False)
    contract = Contract(
        classes=checkpoint.classes,
        rgb_dim=checkpoint.model.rgb_dim,
        flow_dim=checkpoint.model.flow_dim,
        opset=exported.opset_import[0].version,
        checkpoint_sha256=sha256(source),
        timing=checkpoint.timing,
        decode=checkpoint.decode,
        pool_kernel=checkpoint.model.pool_kernel,
    )
    set_contract(exported, contract)
    onnx.save(exported, str(path))
