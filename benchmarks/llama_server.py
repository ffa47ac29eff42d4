"""llama.cpp's own server, as the wheel xllamacpp carries it.

python llama_server.py MODEL.gguf PORT THREADS SLOTS
"""

from __future__ import annotations

import signal
import sys

import xllamacpp

if __name__ == "__main__":
    model, port, threads, slots = sys.argv[1], *map(int, sys.argv[2:5])
    params = xllamacpp.CommonParams()
    params.model.path, params.port = model, port
    params.n_parallel, params.n_ctx = slots, 512 * slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()
