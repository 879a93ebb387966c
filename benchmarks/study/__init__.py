"""The study: every way of preparing a fleet, side by side at equal cost; its page is docs/study.md."""
