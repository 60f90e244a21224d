"""A stand-in for the warehouse that `restock` orders from: `python -m examples.warehouse` answers on port 8090.

With BUSY=2 in the environment its first two answers are 503, so that one can watch the step being tried again.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Warehouse(ThreadingHTTPServer):
    """Takes orders: POST /orders with {"sku": …, "count": …}. The same Idempotency-Key gets the same order again."""

    def __init__(self, port: int = 8090, busy: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.busy = busy  # how many answers are still to be 503
        self.orders: dict[str, dict[str, object]] = {}
        self.numbers = itertools.count(1001)


class _Handler(BaseHTTPRequestHandler):
    server: Warehouse

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.server.busy > 0:
            self.server.busy -= 1
            self._answer(503, {"error": "we are counting, come back soon"})
            return
        key = self.headers.get("Idempotency-Key", "")
        if key not in self.server.orders:
            self.server.orders[key] = {"order": f"W-{next(self.server.numbers)}", **wanted}
        self._answer(201, self.server.orders[key])

    def _answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8090
    with Warehouse(port, busy=int(os.environ.get("BUSY", "0"))) as warehouse:
        print(f"the warehouse takes orders at http://127.0.0.1:{port}/orders", flush=True)
        try:
            warehouse.serve_forever()
        except KeyboardInterrupt:
            pass
