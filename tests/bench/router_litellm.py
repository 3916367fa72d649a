"""`python router_litellm.py PORT`: LiteLLM's Router over its OpenAI provider, run by an interpreter that has it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else the list of prices is fetched

import litellm
from router_asking import Ask, serve


def peer(port: int) -> Ask:
    """One deployment, no retries, streamed: what our own router is asked for."""
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    params = {"model": "openai/m", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": "none"}
    router = litellm.Router(model_list=[{"model_name": "box", "litellm_params": params}], num_retries=0)

    async def ask(question: str) -> AsyncIterator[str]:
        stream = await router.acompletion(
            model="box",
            messages=[{"role": "user", "content": question}],
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    return ask


if __name__ == "__main__":
    asyncio.run(serve(peer(int(sys.argv[1]))))
