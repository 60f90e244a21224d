"""deploy/nginx.conf as a real nginx serves it from a folder: only addresses and the log's place are others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

SHIPPED = (Path(__file__).resolve().parents[1] / "deploy" / "nginx.conf").read_text()

_MAIN = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/trigger.conf;
}}
"""


def configure(folder: Path, port: int, upstream: int, edits: Mapping[str, str] | None = None) -> list[str]:
    """Write into a folder what an nginx needs that listens on `port` and passes calls on to the port `upstream`.

    `edits` are further changes of the shipped file: what an operator would have edited.

    Returns nginx's arguments. Raises ValueError for a text that the shipped file does not have.
    """
    config = SHIPPED
    for shipped, ours in {
        "server 127.0.0.1:8080;": f"server 127.0.0.1:{upstream};",
        "listen 80;": f"listen 127.0.0.1:{port};",
        "    listen [::]:80;\n": "",
        "/var/log/nginx/trigger.access.log": str(folder / "access.log"),
        **(edits or {}),
    }.items():
        if shipped not in config:
            raise ValueError(f"deploy/nginx.conf has no {shipped!r} any more")
        config = config.replace(shipped, ours)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trigger.conf").write_text(config)
    # As root it would change to a user who may not enter our folder.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user))
    return ["-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
