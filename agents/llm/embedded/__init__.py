"""The language model that runs in process."""
