"""The allocator's training: its phases, its trainers and the evaluation of what they left."""
