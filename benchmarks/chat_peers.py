"""The same requests through a peer's client, in the peer's environment: `chat_peers.py PEER URL REQUESTS IN_FLIGHT`.

Prints the seconds it took, imports and set-up left out. Each peer is used as its documentation says, with what it does
besides the requests switched off where it can be: distilabel's LLM is called directly in batches of IN_FLIGHT, without
its pipeline; datatrove's runner writes its documents, as ours records its recording, and keeps no request cache.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time

QUESTION = "Which of the two answers is better, and why? " * 20


def distilabel(url: str, requests: int, in_flight: int) -> float:
    """distilabel's OpenAI-compatible LLM."""
    from distilabel.models import OpenAILLM

    llm = OpenAILLM(model="local", base_url=url, api_key="none", generation_kwargs={"temperature": 0.0})
    llm.load()
    batches = [
        [[{"role": "user", "content": f"{QUESTION}{n}"}] for n in range(at, min(at + in_flight, requests))]
        for at in range(0, requests, in_flight)
    ]
    llm.generate_outputs(inputs=batches[0][:8])
    started = time.perf_counter()
    for batch in batches:
        assert len(llm.generate_outputs(inputs=batch)) == len(batch)
    return time.perf_counter() - started


def openai(url: str, requests: int, in_flight: int) -> float:
    """The openai SDK on its aiohttp transport, a semaphore for the limit."""
    import asyncio

    from openai import AsyncOpenAI, DefaultAioHttpClient

    async def work() -> float:
        places = asyncio.Semaphore(in_flight)
        async with AsyncOpenAI(api_key="none", base_url=url, http_client=DefaultAioHttpClient(timeout=60)) as client:

            async def one(number: int) -> None:
                messages = [{"role": "user", "content": f"{QUESTION}{number}"}]
                async with places:
                    await client.chat.completions.create(model="local", messages=messages, temperature=0.0)

            started = time.perf_counter()
            await asyncio.gather(*(one(number) for number in range(requests)))
            return time.perf_counter() - started

    return asyncio.run(work())


def datatrove(url: str, requests: int, in_flight: int) -> float:
    """datatrove's inference runner on an endpoint."""
    from datatrove.data import Document
    from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
    from datatrove.pipeline.writers import JsonlWriter

    async def rollout(document, generate):
        result = await generate({"messages": [{"role": "user", "content": document.text}], "temperature": 0.0})
        return result.text

    with tempfile.TemporaryDirectory() as folder:
        config = InferenceConfig(
            server_type="endpoint", model_name_or_path="local", endpoint_url=url.removesuffix("/v1"),
            max_concurrent_generations=in_flight,
        )  # fmt: skip
        runner = InferenceRunner(rollout, config, JsonlWriter(folder, compression=None))
        documents = [Document(text=f"{QUESTION}{n}", id=str(n)) for n in range(requests)]
        runner.run(documents)
        # Its own measure of the time between server start and clean-up, which leaves readiness probes out.
        return runner.stats.stats["inference_time"].total


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    peer, url, requests, in_flight = sys.argv[1:]
    print(
        {"openai": openai, "distilabel": distilabel, "datatrove": datatrove}[peer](url, int(requests), int(in_flight))
    )
