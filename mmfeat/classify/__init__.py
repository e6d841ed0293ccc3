"""Linear classifiers: learners that need labels, the last stage of a model."""
