"""The commands `bench …` measure speed and learning."""
