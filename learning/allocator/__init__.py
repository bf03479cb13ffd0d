"""The allocator's training: books, phases and what came of them."""
