"""MLServer: a custom runtime behind adaptive batching, asked over gRPC since its HTTP has no binary tensors."""

import asyncio
import importlib

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse, MetadataTensor
from mlserver.utils import install_uvloop_event_loop

import oip


class Gemm(MLModel):
    async def load(self):
        self.run = oip.run()
        return True

    async def predict(self, payload):
        x = NumpyCodec.decode_input(payload.inputs[0]).reshape(-1, 1024).astype(np.float32, copy=False)
        # A thread, so that the loop takes requests while ONNX Runtime has given the interpreter free.
        y = await asyncio.to_thread(self.run, x)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", y)])


async def serve():
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=oip.PORT + 1,
        grpc_port=oip.PORT,
        metrics_endpoint=None,
        parallel_workers=oip.WORKERS,
    )
    # By its name, since a worker is a process of its own, in which this file is not the main one.
    implementation = importlib.import_module("with_mlserver").Gemm
    model = ModelSettings(
        name=oip.NAME,
        implementation=implementation,
        inputs=[MetadataTensor(**one) for one in oip.METADATA["inputs"]],
        outputs=[MetadataTensor(**one) for one in oip.METADATA["outputs"]],
        max_batch_size=oip.BATCH_MAX,
        max_batch_time=oip.WAIT_SECONDS,
    )
    server = MLServer(settings)
    await server.start([model])


if __name__ == "__main__":
    install_uvloop_event_loop()
    asyncio.run(serve())
