"""Evaluation: suites of cases, how a reply is scored, how a suite is run, and what two runs show.

Knows the tool formats (`adaptman.toolspec`) and nothing of training, the registry or MLflow.
"""
