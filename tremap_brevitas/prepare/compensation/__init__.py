"""Choose codes that minimize the error of each layer's output, from a few hundred images, without labels or gradients.

Not here: retraining, whose strategies are one folder above.
"""
