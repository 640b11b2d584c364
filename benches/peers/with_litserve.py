"""LitServe: its batched loop in one worker process, over ZeroMQ (`fast_queue`), with its own request timeout."""

import logging
from typing import Annotated

import litserve
import numpy as np
from fastapi import Depends, Request, Response

import oip


async def read(request: Request):
    """The body and the length of its JSON part: LitServe itself reads only JSON and forms."""
    return await request.body(), int(request.headers["inference-header-content-length"])


class Gemm(litserve.LitAPI):
    def setup(self, device):
        # A request that timed out is logged by default, which takes longer than saying so.
        logging.getLogger("litserve").setLevel(logging.CRITICAL)
        self.run = oip.run()

    def decode_request(self, request: Annotated[tuple, Depends(read)]):
        return oip.decode(*request)

    def batch(self, inputs):
        return np.concatenate(inputs)

    def predict(self, x):
        return self.run(x)

    def unbatch(self, output):
        return list(output[:, None])

    def encode_response(self, output):
        body, headers = oip.encode(output)
        return Response(body, headers=headers)


def main():
    api = Gemm(
        max_batch_size=oip.BATCH_MAX,
        batch_timeout=oip.WAIT_SECONDS,
        api_path=f"/v2/models/{oip.NAME}/infer",
    )
    server = litserve.LitServer(api, accelerator="cpu", timeout=oip.QUEUE_SECONDS_MAX, fast_queue=True)
    server.app.add_api_route(f"/v2/models/{oip.NAME}", lambda: oip.METADATA)
    server.run(host="127.0.0.1", port=oip.PORT, generate_client_file=False, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
