"""Attack a running service of your own, and say how long others wait for /healthz meanwhile.

python -m bench.attacks --attack pin --url http://127.0.0.1:8080
python -m bench.attacks --attack never-read --url http://127.0.0.1:8080/console/static/console.0123456789ab.css
python -m bench.attacks --attack wrong-passwords --url http://127.0.0.1:8080/v1/api/named/one/async
"""

from __future__ import annotations

import argparse

from bench.attacks.attack import ATTACKS, under_attack


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m bench.attacks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--attack", choices=ATTACKS, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--connections", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    seen = under_attack(asked.attack, asked.url, asked.connections, asked.seconds)
    print(f"{asked.attack}: slowest /healthz {seen.slowest:.3f} s of {seen.probes}")


if __name__ == "__main__":
    main()
