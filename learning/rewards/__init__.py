"""What decisions and policies are paid."""
