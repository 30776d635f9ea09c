"""distilabel's own pipeline over an endpoint, in its environment: `button_peers.py URL ROWS IN_FLIGHT`.

Load rows, ask for each, collect: `LoadDataFromDicts >> TextGeneration`, used as its documentation says, its cache off.
Prints the seconds of `pipeline.run`, imports left out.
"""

from __future__ import annotations

import logging
import sys
import time

QUESTION = "Write a request that needs two functions, one after the other, and say which. " * 10


def main(url: str, rows: int, in_flight: int) -> float:
    """Seconds from the start of the pipeline to its distiset."""
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    settings = {"temperature": 0.0, "max_new_tokens": 256}
    with Pipeline("throughput") as pipeline:
        load = LoadDataFromDicts(data=[{"instruction": f"{QUESTION}{n}"} for n in range(rows)], batch_size=in_flight)
        llm = OpenAILLM(model="local", base_url=url, api_key="none", generation_kwargs=settings)
        load >> TextGeneration(llm=llm, input_batch_size=in_flight)
    started = time.perf_counter()
    made = pipeline.run(use_cache=False)
    seconds = time.perf_counter() - started
    assert len(made["default"]["train"]) == rows
    assert all(made["default"]["train"]["generation"])
    return seconds


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
