"""Language models: what is asked, who answers, and how an answer is kept, bounded and counted."""
