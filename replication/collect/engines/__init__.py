"""Engines: what turns requests into text. `vllm` serves checkpoints in process, `scripted` plays back for tests."""
