"""What is learned from experience, and the library that holds it."""
