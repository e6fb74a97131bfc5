"""The embedded checkpoints: a grammar of small conversations, a tokenizer, a training recipe."""
