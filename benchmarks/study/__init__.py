"""Compare every way of preparing a fleet, side by side at equal cost, in a study; its page is docs/study_retraining.md."""
