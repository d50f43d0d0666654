"""What `clsgen synth` adds to the time that a teacher takes, and whether its memory grows.

    python scripts/measure_synth.py --rows 10000 --in-flight 64 --latency 0.5

A server in a process of its own answers each request after the latency, as many at a time as come. With N requests in
flight it gives N / latency answers a second: that is the limit. Memory is the resident size of the asking process after
a tenth of the requests and at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from clsgen.config.run import RunConfig
from clsgen.pipeline.synth import Shown, synthesise


class Measured(NamedTuple):
    """num_requests: answered. seconds: from the first answer to the last. limit_seconds: what the server allows.

    grown_bytes: resident memory gained between a tenth of the requests and the end.
    """

    num_requests: int
    seconds: float
    limit_seconds: float
    grown_bytes: int

    @property
    def ratio(self) -> float:
        """Throughput as a share of what the server gives."""
        return self.limit_seconds / self.seconds


def measure(folder: Path, *, num_rows: int, in_flight: int, latency_seconds: float) -> Measured:
    """Ask about `num_rows` labelled rows once each.

    Args:
        folder: For the rows and the run.
        num_rows: Requests.
        in_flight: Requests under way at a time.
        latency_seconds: How long the server takes for each.
    """
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(sender, latency_seconds), daemon=True)
    server.start()
    try:
        config = _config(folder, f"http://127.0.0.1:{receiver.recv()}/v1", num_rows=num_rows, in_flight=in_flight)
        marks: list[tuple[int, float, int]] = []

        def mark(shown: Shown) -> None:
            marks.append((shown.progress.num_done, time.monotonic(), resident_bytes()))

        synthesise(config, on_progress=mark)
    finally:
        server.terminate()
        server.join()
    (first, start, _), (last, end, resident) = marks[0], marks[-1]
    return Measured(
        num_requests=last,
        seconds=end - start,
        limit_seconds=(last - first) * latency_seconds / in_flight,
        grown_bytes=resident - marks[len(marks) // 10][2],
    )


def _config(folder: Path, endpoint: str, *, num_rows: int, in_flight: int) -> RunConfig:
    table = folder / "rows.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(round(num_rows / (0.85 * 0.85))):  # test and calibration rows are not asked about
            writer.writerow(
                [f"In bed {number} there is a patient who {'fell' if number % 3 else 'sat'}. " * 20, number % 3 > 0]
            )
    return RunConfig.model_validate(
        {
            "output": str(folder / "run"),
            "data": {"train": str(table)},
            "model": {"backbone": "embedded"},
            "teacher": {
                "endpoint": endpoint,
                "model": "m",
                "num_samples": 1,
                "strategy": "hinted",
                "concurrency": in_flight,
            },
        }
    )


def resident_bytes() -> int:
    """Memory of this process that is in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def serve(sender: Connection, latency_seconds: float) -> None:
    """Answer every request after the latency; sends its port first."""
    asyncio.run(_serve(sender, latency_seconds))


async def _serve(sender: Connection, latency_seconds: float) -> None:
    numbers = iter(range(10**9))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            (length,) = (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
            body = json.loads(await reader.readexactly(length))
            await asyncio.sleep(latency_seconds)
            text = body["messages"][-1]["content"]
            label = text.rpartition("The right answer is: ")[2].partition(".")[0]
            content = json.dumps(
                {"reason": f"Reason {next(numbers)} tells in some words why this is so.", "answer": label}
            )
            payload = json.dumps(
                {
                    "id": "c",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "m",
                    "choices": [
                        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
                    ],
                    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
                }
            ).encode()
            fields = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
            writer.write(fields.encode() + payload)
            await writer.drain()

    async def survive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(survive, "127.0.0.1", 0, backlog=256)
    sender.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def main() -> None:
    """Print one measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(
            Path(folder), num_rows=arguments.rows, in_flight=arguments.in_flight, latency_seconds=arguments.latency
        )
    print(
        f"{found.num_requests} requests in {found.seconds:.1f} s, the server allows {found.limit_seconds:.1f} s: "
        f"{found.ratio:.1%} of its throughput; memory grew by {found.grown_bytes / 2**20:.1f} MiB"
    )


if __name__ == "__main__":
    main()
