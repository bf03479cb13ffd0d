"""
The juniors: one analyst for each kind of evidence - news, technical, fundamental.

Each kind has one written in rules (`news`, `technical`, `fundamental`) and one that asks a
language model (`model_juniors`). `round` asks all of them at once, `track` keeps what their
opinions came to. A junior of one's own takes the place of one of the rules (docs/agents.md).
"""
