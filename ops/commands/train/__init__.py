"""The commands `train …` train the learners offline."""
