"""The learning engine: checkpoints, replay, fine-tuning and decoding; the one room that loads torch.

It takes paths and values and returns values, and knows neither the registry nor MLflow, so that it
can be used as a library and can run on another machine.
"""
