"""Ray Serve: one replica with `serve.batch`, behind its HTTP proxy, with bounded queues and its own request timeout."""

import asyncio
import os
import signal

# Serve's own word for settings of throughput; it is read when serve is imported, and by the processes that ray starts.
os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] = "1"
# Its workers are of niceness 15 by default, behind everyone else on the machine.
os.environ["RAY_worker_niceness"] = "0"

import numpy as np
import ray
from fastapi import FastAPI, Request, Response
from ray import serve

import oip

app = FastAPI()


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=4 * oip.BATCH_MAX,
    max_queued_requests=4 * oip.BATCH_MAX,
    ray_actor_options={"num_cpus": 1},
)
@serve.ingress(app)
class Gemm:
    def __init__(self):
        self.run = oip.run()

    @serve.batch(max_batch_size=oip.BATCH_MAX, batch_wait_timeout_s=oip.WAIT_SECONDS)
    async def rows(self, parts):
        y = await asyncio.to_thread(self.run, np.concatenate(parts))
        return list(y[:, None])

    @app.get(f"/v2/models/{oip.NAME}")
    async def metadata(self):
        return oip.METADATA

    @app.post(f"/v2/models/{oip.NAME}/infer")
    async def infer(self, request: Request):
        body = await request.body()
        x = oip.decode(body, int(request.headers["inference-header-content-length"]))
        answer, headers = oip.encode(await self.rows(x))
        return Response(answer, headers=headers)


def main():
    ray.init(include_dashboard=False, num_cpus=2, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": oip.PORT, "request_timeout_s": oip.QUEUE_SECONDS_MAX})
    serve.run(Gemm.bind(), name=oip.NAME, logging_config={"enable_access_log": False})
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
