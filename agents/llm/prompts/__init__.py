"""Prompts as versioned files, and how text from outside is quoted in them."""
