"""A learner inside a scikit-learn pipeline, its settings chosen by grid search.

Run it:  python examples/04_with_scikit_learn.py
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from mmfeat.learners import Pca
from mmfeat.sklearn import Estimator

if __name__ == "__main__":
    digits = load_digits()
    rows = (digits.data / 16).astype(np.float32)
    pipeline = make_pipeline(Estimator(Pca(8)), LogisticRegression(max_iter=500))
    search = GridSearchCV(pipeline, {"estimator__learner__dims": [8, 16, 32]}, cv=3)
    search.fit(rows[:1000], digits.target[:1000])
    print("best:", search.best_params_)
    print(f"accuracy on the rest: {search.score(rows[1000:], digits.target[1000:]):.3f}")
