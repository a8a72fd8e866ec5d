"""Load on a service: streamed answers for 1, 4, 8, 16 users at once, then a storm of cancelled and broken requests.

    python benchmarks/service_load.py PIPELINE --out load.json

It starts ``ragdecode serve PIPELINE --only`` and asks it over HTTP. Every answer is held against the one that the same
question got alone. Tokens per second are those of all users together, from the first question to the last answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

QUESTIONS = [
    "What is contrastive decoding of contexts?",
    "How do I build an index?",
    "Which drafters are there?",
    "How is a pipeline written?",
    "What does the governor do?",
    "How are sentences checked against the evidence?",
    "Which stores can be searched?",
    "How do I fetch a model?",
    "What is a view?",
    "What does ragdecode verify show?",
    "How do I add a part of my own?",
    "What is kept of earlier prompts?",
    "How are PDF files read?",
    "What is the difference between a rule and a monitor?",
    "How is the temperature set?",
    "What does ragdecode explain print?",
]
_BROKEN = [b"{", b"", b"[]", b"\xff\xfe", b'{"question": 7}', b'{"question": ""}', b'{"question": "a", "x": 1}']


class Load:
    """Asks a service.

    Args:
        address: Where it is.
        tokens: Longest answer.
    """

    def __init__(self, address: str, tokens: int) -> None:
        self.tokens = tokens
        limits = httpx.Limits(max_connections=256)
        self.http = httpx.AsyncClient(base_url=address, timeout=600, limits=limits)
        self.alone: dict[str, str] = {}

    async def ask(self, question: str, tokens: int | None = None) -> dict[str, Any]:
        """One streamed answer: its text, tokens, seconds to the first text and to the end."""
        begun = time.perf_counter()
        first = None
        body = {
            "question": question,
            "stream": True,
            "explain": 0,
            "settings": {"max_new_tokens": tokens or self.tokens},
        }
        async with self.http.stream("POST", "/v1/ask", json=body) as response:
            if response.status_code != 200:
                return {"status": response.status_code, "retry": int(response.headers.get("retry-after", 1))}
            kind = ""
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif not line:
                    continue
                elif kind == "token" and first is None and json.loads(line[6:])["text"]:
                    first = time.perf_counter() - begun
                elif kind in ("done", "error") and line.startswith("data: "):
                    data = json.loads(line[6:])
                    if kind == "error":
                        return {"status": data["status"], "retry": 1}
                    whole = time.perf_counter() - begun
                    stats = data["answer"]["stats"]
                    return {"status": 200, "answer": data["answer"]["answer"], "tokens": stats["new_tokens"],
                            "first": first, "whole": whole}  # fmt: skip
        return {"status": 0, "retry": 1}

    async def level(self, users: int, questions: list[str]) -> dict[str, Any]:
        """All questions, asked by so many users; each asks the next one when it has its answer."""
        left = list(reversed(questions))
        found: list[tuple[str, dict[str, Any]]] = []

        async def user() -> None:
            while left:
                question = left.pop()
                while (told := await self.ask(question))["status"] == 429:
                    await asyncio.sleep(told["retry"])
                found.append((question, told))

        begun = time.perf_counter()
        await asyncio.gather(*(user() for _ in range(users)))
        seconds = time.perf_counter() - begun
        good = [told for _, told in found if told["status"] == 200]
        if users == 1:
            self.alone |= {question: told["answer"] for question, told in found if told["status"] == 200}
        tokens = sum(told["tokens"] for told in good)
        return {
            "users": users,
            "answers": len(good),
            "failed": len(found) - len(good),
            "as_alone": sum(told.get("answer") == self.alone.get(question) for question, told in found),
            "tokens": tokens,
            "seconds": round(seconds, 2),
            "tokens_per_second": round(tokens / seconds, 2),
            "first_text_p50": _quantile([told["first"] for told in good if told["first"] is not None], 0.5),
            "first_text_p95": _quantile([told["first"] for told in good if told["first"] is not None], 0.95),
            "answer_p50": _quantile([told["whole"] for told in good], 0.5),
            "answer_p95": _quantile([told["whole"] for told in good], 0.95),
        }

    async def storm(self, count: int, process: int, seed: int = 0) -> dict[str, Any]:
        """Whole, cancelled and broken requests in random order, up to 24 at once."""
        draw = random.Random(seed)  # noqa: S311 - not for secrets
        short = {question: (await self.ask(question, 8))["answer"] for question in QUESTIONS[:8]}
        tally: Counter[str] = Counter()
        gate = asyncio.Semaphore(24)
        memory: list[int] = []

        async def one(kind: float, question: str, patience: float, broken: bytes) -> None:
            async with gate:
                if kind < 0.3:
                    told = await self.http.post("/v1/ask", content=broken, headers={"content-type": "application/json"})
                    tally[f"broken {told.status_code}"] += 1
                elif kind < 0.65:
                    try:
                        await asyncio.wait_for(self.ask(question, 64), patience)
                        tally["ended before it was cancelled"] += 1
                    except TimeoutError:
                        tally["cancelled"] += 1
                else:
                    found = await self.ask(question, 8)
                    right = found.get("answer") == short[question]
                    tally[f"whole {found['status']}" + ("" if found["status"] != 200 or right else " WRONG")] += 1
            if sum(tally.values()) % 100 == 0:
                memory.append(_resident(process))

        await asyncio.gather(
            *(
                one(draw.random(), draw.choice(list(short)), draw.uniform(0.02, 1.5), draw.choice(_BROKEN))
                for _ in range(count)
            )
        )
        for _ in range(300):
            text = (await self.http.get("/metrics")).text
            slots = {line.split()[0]: float(line.split()[1]) for line in text.splitlines()
                     if line.startswith(("ragdecode_queue_waiting ", "ragdecode_questions_running "))}  # fmt: skip
            if not any(slots.values()):
                break
            await asyncio.sleep(0.1)
        return {"requests": count, "outcomes": dict(sorted(tally.items())), "slots": slots, "resident_mb": memory}


def _quantile(values: list[float], share: float) -> float | None:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else None


def _resident(process: int) -> int:
    """Memory of a process, in mebibytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


async def _run(load: Load, args: argparse.Namespace, process: int) -> dict[str, Any]:
    await load.ask(QUESTIONS[0])  # the first question warms the machine up
    await load.ask(QUESTIONS[1])
    levels = []
    for users in args.users:
        levels.append(await load.level(users, QUESTIONS[: args.questions]))
        print(json.dumps(levels[-1]), flush=True)
    storm = await load.storm(args.storm, process) if args.storm else None
    print(json.dumps(storm), flush=True)
    await load.http.aclose()
    return {"pipeline": args.pipeline, "max_new_tokens": args.tokens, "levels": levels, "storm": storm}


def main() -> None:
    """Start the service, load it, write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("pipeline")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--storm", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("service_load.json"))
    args = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from ragdecode.cli.main import main; main()", "serve", args.pipeline, "--only"]
    more = ["--port", str(port), "--workers", str(args.workers), "--data", str(args.out.with_suffix(".data")),
            "--limit", "deadline_seconds=600", "--limit", "queue_per_client=64"]  # fmt: skip
    with args.out.with_suffix(".log").open("wb") as log:
        service = subprocess.Popen([*command, *more], stderr=log, env=dict(os.environ))  # noqa: S603
        try:
            address = f"http://127.0.0.1:{port}"
            ready = False
            while not ready:
                if service.poll() is not None:
                    sys.exit(f"the service ended; see {args.out.with_suffix('.log')}")
                time.sleep(0.2)
                with suppress(httpx.TransportError):
                    ready = httpx.get(f"{address}/ready").status_code == 200
            found = asyncio.run(_run(Load(address, args.tokens), args, service.pid))
            args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        finally:
            service.terminate()
            service.wait(30)


if __name__ == "__main__":
    main()
