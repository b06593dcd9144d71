"""The judgement: pure functions from evidence to a decision, and the policies they follow."""

__distribution__ = "adaptman"
