"""Language models behind an OpenAI-compatible server, vLLM first."""
