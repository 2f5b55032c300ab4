"""TensorRT's runtime, engine and execution context; ONNX Runtime computes."""

import json
import zlib

import numpy as np
import onnx
import onnxruntime

from tests.runtime.standin.api import (
    TYPES,
    Dims,
    ExecutionContextAllocationStrategy,
    ILogger,
    LayerInformationFormat,
    TensorIOMode,
    TensorLocation,
    refuse_to_start,
)
from tests.runtime.standin.builder import MAGIC
from tests.runtime.standin.cuda import ILLEGAL_ADDRESS, ContractBreach

FORMATS = {
    onnx.TensorProto.FLOAT: "Row major linear FP32 format",
    onnx.TensorProto.FLOAT16: "Half",
    onnx.TensorProto.INT8: "Thirty-two wide channel vectorized row major Int8 format",
}
# activations of a full-size model, bytes a snippet of the largest profile
SCRATCH = 40_000


class Runtime:
    def __init__(self, box, logger):
        refuse_to_start(box, logger)
        self._box = box
        self._logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, content):
        try:
            magic, head, onnx = content.split(b"\n", 2)
            header = json.loads(head)
            damaged = magic + b"\n" != MAGIC or zlib.crc32(onnx) != header["checksum"]
        except ValueError:
            damaged = True
        if damaged:
            return self._refuse("magicTag == kSERIALIZATION_TAG: stream is damaged")
        portable = header["version_compatible"] and self.engine_host_code_allowed
        if header["tensorrt"] != self._box.tensorrt and not portable:
            return self._refuse(f"engine of version {header['tensorrt']}")
        if header["capability"] != list(self._box.capability) and not header["hardware_compatible"]:
            return self._refuse("engine of another device")
        if header["gpu"] != self._box.gpu_name:
            # of the same generation: it only warns
            self._logger.log(ILogger.Severity.WARNING, "Using an engine plan file across devices")
        return Engine(self._box, self._logger, header, onnx)

    def _refuse(self, text):
        self._logger.log(ILogger.Severity.ERROR, text)


class Engine:
    def __init__(self, box, logger, header, onnx):
        self.box = box
        self.logger = logger
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            onnx, options, providers=["CPUExecutionProvider"]
        )
        self.profiles = header["profiles"]
        self.detailed = header["detailed"]
        self.onnx = onnx
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value.name for value in self.session.get_outputs()]
        self.types = {
            value.name: TYPES[value.type]
            for value in (*self.session.get_inputs(), *self.session.get_outputs())
        }
        self.num_io_tensors = len(self.types)
        self.num_optimization_profiles = len(self.profiles)
        self.contexts = 0

    @property
    def device_memory_size_v2(self):
        sizes = [
            p["features"][2][:2] if "features" in p else p["clips"][2][:1] for p in self.profiles
        ]
        return max(SCRATCH * np.prod(size) for size in sizes).item()

    def get_tensor_name(self, index):
        # the order of an engine's tensors is no contract
        return [*self.outputs, *self.inputs][index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return self.types[name]

    def get_tensor_location(self, name):
        return TensorLocation.HOST if name == self.box.host_tensor else TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name, profile_index):
        return [Dims(shape) for shape in self.profiles[profile_index][name]]

    def create_engine_inspector(self):
        return EngineInspector(self)

    def create_execution_context(self, strategy):
        self.contexts += 1
        if self.box.fail_context:
            self.logger.log(ILogger.Severity.ERROR, self.box.fail_context)
            return None
        return Context(self, strategy)


class EngineInspector:
    """Tells a layer for each multiplication; what leads to it is fused."""

    def __init__(self, engine):
        self._engine = engine

    def get_engine_information(self, format):  # noqa: A002  # the real one's name
        assert format is LayerInformationFormat.JSON
        if self._engine.box.inspector is not None:
            return self._engine.box.inspector
        model = onnx.shape_inference.infer_shapes(onnx.load_from_string(self._engine.onnx))
        return json.dumps({"Layers": list(self._layers(model.graph)), "Bindings": []})

    def _layers(self, graph):
        types = {one.name: one.type.tensor_type.elem_type for one in graph.value_info}
        makers = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            if node.op_type not in ("Conv", "Gemm"):
                continue
            if not self._engine.detailed:
                yield node.name
                continue
            maker = makers.get(node.input[0])
            int8 = maker is not None and maker.op_type == "DequantizeLinear"
            reads = onnx.TensorProto.INT8 if int8 else types[node.input[0]]
            yield {
                "Name": node.name,
                "LayerType": "gemm" if node.op_type == "Gemm" else "CaskConvolution",
                "Inputs": [{"Name": node.input[0], "Format/Datatype": FORMATS[reads]}],
                "Outputs": [
                    {"Name": node.output[0], "Format/Datatype": FORMATS[types[node.output[0]]]}
                ],
            }


class Context:
    def __init__(self, engine, strategy):
        self._engine = engine
        self._box = engine.box
        self._scratch = None if strategy is ExecutionContextAllocationStrategy.USER_MANAGED else 0
        # only the first context of an engine starts with a profile
        self._profile = 0 if engine.contexts == 1 else None
        self._shapes = {}
        self._addresses = {}
        self._settled = False

    def set_device_memory(self, memory, size):
        self._box.cuda.block(memory, size)
        if memory % 256 or size < self._engine.device_memory_size_v2:
            raise ContractBreach("device memory is too small or not aligned")
        self._scratch = memory

    def set_optimization_profile_async(self, profile_index, stream_handle):
        self._stream(stream_handle)
        if not 0 <= profile_index < len(self._engine.profiles):
            self._refuse("no such profile")
        if self._box.fail_profile:
            self._refuse(self._box.fail_profile)
        if self._box.fail_profile or not 0 <= profile_index < len(self._engine.profiles):
            # so the bindings, whose docstring promises False
            raise RuntimeError("Error in set optimization profile async.")
        self._profile, self._settled = profile_index, False
        self._shapes.clear()
        self._addresses.clear()
        return True

    def set_input_shape(self, name, shape):
        if not all(type(size) is int for size in shape):
            raise TypeError("set_input_shape(): incompatible function arguments")
        if self._profile is None:
            return self._refuse("no optimization profile is set")
        if name not in self._engine.inputs:
            return self._refuse(f"{name} is no input")
        low, _, high = self._engine.profiles[self._profile][name]
        if len(shape) != len(low) or not all(
            a <= size <= b for a, size, b in zip(low, shape, high, strict=True)
        ):
            return self._refuse(f"{name} {shape} is out of profile {self._profile}")
        if self._shapes.get(name) != tuple(shape):
            self._shapes[name], self._settled = tuple(shape), False
            self._addresses.clear()
        return True

    def infer_shapes(self):
        if self._box.fail_shapes:
            raise RuntimeError("infer_shapes error code: -1")
        return [name for name in self._engine.inputs if name not in self._shapes]

    def get_tensor_shape(self, name):
        if name in self._shapes:
            return Dims(self._shapes[name])
        if "clips" in self._shapes:
            width = self._engine.session.get_outputs()[self._engine.outputs.index(name)].shape[1]
            return Dims([self._shapes["clips"][0], width])
        if name in self._engine.inputs or "features" not in self._shapes:
            return Dims([-1, -1, -1])
        batch, length, _ = self._shapes["features"]
        channels = self._engine.session.get_outputs()[self._engine.outputs.index(name)].shape[2]
        return Dims([batch, length, channels])

    def set_tensor_address(self, name, memory):
        if self.infer_shapes():
            raise ContractBreach(f"address of {name} before the shapes of {self.infer_shapes()}")
        size = int(np.prod(self._shape(name))) * self._engine.types[name].value().itemsize
        self._box.cuda.block(memory, size)
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        stream = self._stream(stream_handle)
        missing = set(self._engine.types) - set(self._addresses)
        if missing:
            raise ContractBreach(f"execute before the addresses of {missing}")
        if self._scratch is None:
            raise ContractBreach("execute without device memory in a USER_MANAGED context")
        if self._box.fail_execute:
            return self._refuse(self._box.fail_execute.pop(0))
        if stream.recording is not None and not self._settled:
            raise ContractBreach("recorded before one execution with these shapes")
        if self._box.log_error:
            self._engine.logger.log(ILogger.Severity.ERROR, self._box.log_error)
        if stream.recording is not None and self._box.fail_capture:
            stream.invalid = True  # TensorRT synchronized inside
            if self._box.fail_capture == "work":
                return self._refuse("a call that cannot be recorded")
        self._settled = True
        self._box.executions += 1
        if self._box.executions == self._box.lose_after:
            self._box.cuda.sticky = ILLEGAL_ADDRESS
        if stream.recording is None:
            for name, shape in self._shapes.items():
                self._box.calls.append(("shape", self._profile, name, shape))
        stream.put("compute", self._work(dict(self._shapes), dict(self._addresses)))
        return True

    def _work(self, shapes, addresses):
        """Return the launch: shapes and addresses are fixed, what the memory holds is not."""

        def work():
            feeds = {}
            for name in self._engine.inputs:
                dtype = self._engine.types[name].value
                size = int(np.prod(shapes[name])) * dtype().itemsize
                content = bytes(self._box.cuda.block(addresses[name], size)[:size])
                feeds[name] = np.frombuffer(content, dtype).reshape(shapes[name])
            outputs = self._engine.session.run(self._engine.outputs, feeds)
            for name, array in zip(self._engine.outputs, outputs, strict=True):
                block = self._box.cuda.block(addresses[name], array.nbytes)
                block[: array.nbytes] = array.tobytes()

        return work

    def _shape(self, name):
        dims = self.get_tensor_shape(name)
        return [dims[axis] for axis in range(len(dims))]

    def _stream(self, handle):
        self._box.cuda.require_context()
        return self._box.cuda.stream(handle)

    def _refuse(self, text):
        self._engine.logger.log(ILogger.Severity.ERROR, text)
        return False
