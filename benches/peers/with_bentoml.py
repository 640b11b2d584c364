"""BentoML: adaptive batching in one worker, told the deadline (`max_latency_ms`), by which it also cancels what waits too long.

BentoML reads JSON, forms and pickles; a serde for the protocol's binary tensors puts them straight into its batches.
"""

import logging
import os
import sys

import bentoml
import numpy as np
from _bentoml_impl import serde
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import oip

metadata = Starlette(routes=[Route(f"/v2/models/{oip.NAME}", lambda _request: JSONResponse(oip.METADATA))])


class OipSerde(serde.JSONSerde):
    media_type = "application/octet-stream"

    async def parse_request(self, request, cls):
        body = await request.body()
        return cls(oip.decode(body, int(request.headers["inference-header-content-length"])))

    def serialize_model(self, model):
        body, headers = oip.encode(model.root)
        return serde.Payload((body,), metadata=headers)


# A refusal is logged with its traceback by default, which takes longer than answering.
logging.getLogger("bentoml").setLevel(logging.CRITICAL)

serde.ALL_SERDE[OipSerde.media_type] = OipSerde


@bentoml.service(name=oip.NAME, workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
@bentoml.asgi_app(metadata, path="/")
class Gemm:
    def __init__(self):
        self.run = oip.run()

    @bentoml.api(
        route=f"/v2/models/{oip.NAME}/infer",
        batchable=True,
        max_batch_size=oip.BATCH_MAX,
        max_latency_ms=round(oip.QUEUE_SECONDS_MAX * 1e3),
    )
    def infer(self, x: np.ndarray, /) -> np.ndarray:
        return self.run(x)


if __name__ == "__main__":
    where = ["--host", "127.0.0.1", "--port", str(oip.PORT), "--working-dir", os.path.dirname(os.path.abspath(__file__))]
    # The service is imported by its module's name in each process.
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", "with_bentoml:Gemm", *where])
