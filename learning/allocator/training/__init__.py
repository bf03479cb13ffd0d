"""The trainers of the allocator's policies, and what a phase leaves behind."""
